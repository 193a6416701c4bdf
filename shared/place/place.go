// Package place knows the countries of the world: their English names, and the
// continents and regions that they belong to, as the Common Locale Data
// Repository and UN M49 have them. Facts hold a country's code; all else follows
// from it.
package place

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed data/countries.txt
var countryList string

// Country is what is known of a country. "" is unknown.
type Country struct {
	Name         string // in English
	Continent    string // id by UN M49, such as 150
	SubContinent string // id by UN M49, such as 155
}

type world struct {
	countries map[string]Country // by ISO 3166-1 alpha-2
	regions   map[string]string  // names by id
}

var known = sync.OnceValue(func() *world {
	w, err := parse(countryList)
	if err != nil {
		panic("the embedded list of countries does not parse: " + err.Error())
	}
	return w
})

func parse(list string) (*world, error) {
	w := &world{countries: map[string]Country{}, regions: map[string]string{}}
	for line := range strings.Lines(list) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Split(line, "\t")
		switch {
		case len(words) == 2 && len(words[0]) == 3:
			w.regions[words[0]] = words[1]
		case len(words) == 2 && len(words[0]) == 2:
			w.countries[words[0]] = Country{Name: words[1]}
		case len(words) == 4 && len(words[0]) == 2 && w.regions[words[2]] != "" && w.regions[words[3]] != "":
			w.countries[words[0]] = Country{words[1], words[2], words[3]}
		default:
			return nil, fmt.Errorf("cannot read %q: expected a region, or a country with its regions", line)
		}
	}
	return w, nil
}

// Of is the country of a code of ISO 3166-1 alpha-2, in capitals.
func Of(code string) Country { return known().countries[code] }

// Region is the English name of a continent or subcontinent.
func Region(id string) string { return known().regions[id] }
