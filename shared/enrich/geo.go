package enrich

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/footfall/footfall/shared/fault"
)

// Place is where an address is. "" is unknown.
type Place struct {
	Country string // ISO 3166-1 alpha-2
	Region  string // English name of the first subdivision
	City    string // English name
	CityID  string // GeoNames id
}

// Geo reads places from a MaxMind DB file that the operator brings (GeoLite2
// City, DB-IP City Lite and the like). A nil Geo knows no place.
type Geo struct {
	db    *maxminddb.Reader
	known *cache[string, Place]
}

// OpenGeo opens an .mmdb file; at most limit addresses are remembered.
func OpenGeo(path string, limit int) (*Geo, error) {
	// It is read whole and not mapped: a file that is overwritten in its place
	// would change, and end, under those who look into it.
	data, err := os.ReadFile(path)
	var db *maxminddb.Reader
	if err == nil {
		db, err = maxminddb.OpenBytes(data)
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Field: "geo file", Expected: "a readable .mmdb file",
			Err: fmt.Errorf("cannot open place file %q: %w", path, err)}
	}
	return &Geo{db: db, known: newCache[string, Place](limit, strings.Clone)}, nil
}

// Verify reads the whole file for faults, which takes seconds of a large one.
func (g *Geo) Verify() error {
	if err := g.db.Verify(); err != nil {
		return &fault.Error{Kind: fault.Invalid, Field: "geo file", Expected: "a whole .mmdb file", Err: fmt.Errorf("cannot use place file: %w", err)}
	}
	return nil
}

// Of is the place of an address, as far as the truncated address tells.
func (g *Geo) Of(ip string) Place {
	if g == nil || ip == "" {
		return Place{}
	}
	if place, ok := g.known.get(ip); ok {
		return place
	}
	ip = strings.Clone(ip)
	place := g.read(ip)
	g.known.add(ip, place)
	return place
}

func (g *Geo) read(ip string) Place {
	if prefix, err := netip.ParsePrefix(ip); err == nil { // "192.0.2.0/24"
		ip = prefix.Addr().String()
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return Place{}
	}
	var record struct {
		Country struct {
			Code string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
		Subdivisions []struct {
			Names struct {
				English string `maxminddb:"en"`
			} `maxminddb:"names"`
		} `maxminddb:"subdivisions"`
		City struct {
			ID    uint64 `maxminddb:"geoname_id"`
			Names struct {
				English string `maxminddb:"en"`
			} `maxminddb:"names"`
		} `maxminddb:"city"`
	}
	// A record that is broken or of another shape is no place; the file was
	// the operator's to check when the process started.
	if err := g.db.Lookup(addr.Unmap()).Decode(&record); err != nil {
		return Place{}
	}
	place := Place{Country: strings.Clone(record.Country.Code), City: strings.Clone(record.City.Names.English)}
	if record.City.ID != 0 {
		place.CityID = strconv.FormatUint(record.City.ID, 10)
	}
	if len(record.Subdivisions) > 0 {
		place.Region = strings.Clone(record.Subdivisions[0].Names.English)
	}
	return place
}

// placeOf combines the file with what a trusted ingress stated of the same
// request: the ingress wins, and what the file has beyond that stays where both
// name one country, region and city.
func (g *Geo) placeOf(ip string, said Place) Place {
	p := g.Of(ip)
	if said.Country != "" && !strings.EqualFold(said.Country, p.Country) {
		p = Place{Country: strings.ToUpper(said.Country)}
	}
	if said.Region != "" && said.Region != p.Region {
		p.Region, p.City, p.CityID = said.Region, "", ""
	}
	if said.City != "" && said.City != p.City {
		p.City, p.CityID = said.City, ""
	}
	return p
}
