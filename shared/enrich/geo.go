package enrich

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/footfall/footfall/shared/fault"
)

// Place is where an address is. "" is unknown.
type Place struct {
	Country string // ISO 3166-1 alpha-2
	Region  string // English name of the first subdivision
	City    string // English name
}

// Geo reads places from a MaxMind DB file that the operator brings (GeoLite2
// City, DB-IP City Lite and the like). A nil Geo knows no place.
type Geo struct {
	db    *maxminddb.Reader
	known *cache[Place]
}

// OpenGeo opens an .mmdb file; at most limit addresses are remembered.
func OpenGeo(path string, limit int) (*Geo, error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Field: "geo file", Expected: "a readable .mmdb file",
			Err: fmt.Errorf("cannot open place file %q: %w", path, err)}
	}
	return newGeo(db, limit), nil
}

func newGeo(db *maxminddb.Reader, limit int) *Geo {
	return &Geo{db: db, known: newCache[Place](limit)}
}

// Close releases the file. Nobody may look up afterwards.
func (g *Geo) Close() error {
	if g == nil {
		return nil
	}
	return g.db.Close()
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
	if len(record.Subdivisions) > 0 {
		place.Region = strings.Clone(record.Subdivisions[0].Names.English)
	}
	return place
}

// placeOf combines the file with the country that a trusted ingress stated of
// the same request: the ingress wins, and the file's region and city stay
// where both name one country.
func (g *Geo) placeOf(ip, country string) Place {
	place := g.Of(ip)
	if country != "" && !strings.EqualFold(country, place.Country) {
		return Place{Country: strings.ToUpper(country)}
	}
	return place
}
