package enrich

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/fault"
)

// The test writes a place file of its own, after the format's description
// (https://maxmind.github.io/MaxMind-DB/), for nobody else's is kept with the code.

type pair struct {
	key   string
	value any
}

// appendValue encodes a value of the format: string, uint16, uint32, uint64,
// []any or []pair (a map).
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(append(b, 2<<5|byte(len(v))), v...)
	case uint16:
		return binary.BigEndian.AppendUint16(append(b, 5<<5|2), v)
	case uint32:
		return binary.BigEndian.AppendUint32(append(b, 6<<5|4), v)
	case uint64:
		return binary.BigEndian.AppendUint64(append(b, 8, 9-7), v)
	case []any:
		b = append(b, byte(len(v)), 11-7)
		for _, x := range v {
			b = appendValue(b, x)
		}
		return b
	case []pair:
		b = append(b, 7<<5|byte(len(v)))
		for _, p := range v {
			b = appendValue(appendValue(b, p.key), p.value)
		}
		return b
	default:
		panic("a value of another kind")
	}
}

func writePlaces(t *testing.T, places map[string]any) string {
	t.Helper()
	type node [2]int // 0: nothing; >0: a node; <0: -1-offset of data
	nodes := []node{{}}
	var data []byte
	for _, prefix := range slices.Sorted(maps.Keys(places)) {
		value := places[prefix]
		p := netip.MustParsePrefix(prefix)
		addr, at := p.Addr().As4(), 0
		for bit := range p.Bits() {
			side := addr[bit/8] >> (7 - bit%8) & 1
			if bit == p.Bits()-1 {
				nodes[at][side] = -1 - len(data)
				break
			}
			if nodes[at][side] == 0 {
				nodes = append(nodes, node{})
				nodes[at][side] = len(nodes) - 1
			}
			at = nodes[at][side]
		}
		data = appendValue(data, value)
	}
	var file []byte
	for _, n := range nodes {
		for _, to := range n {
			record := to
			switch {
			case to == 0:
				record = len(nodes)
			case to < 0:
				record = len(nodes) + 16 + (-1 - to)
			}
			file = append(file, byte(record>>16), byte(record>>8), byte(record))
		}
	}
	file = append(append(file, make([]byte, 16)...), data...)
	file = append(file, "\xab\xcd\xefMaxMind.com"...)
	file = appendValue(file, []pair{
		{"binary_format_major_version", uint16(2)}, {"binary_format_minor_version", uint16(0)}, {"build_epoch", uint64(1)},
		{"database_type", "Test-City"}, {"description", []pair{{"en", "test"}}}, {"ip_version", uint16(4)}, {"languages", []any{"en"}},
		{"node_count", uint32(len(nodes))}, {"record_size", uint16(24)},
	})
	path := filepath.Join(t.TempDir(), "places.mmdb")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The place files of other tests are made up here, of networks that nobody has
// (RFC 5737).
func TestPlaceFilesOfTests(t *testing.T) {
	english := func(name string) []pair { return []pair{{"names", []pair{{"en", name}}}} }
	of := func(country, region, city string, id uint32) []pair {
		return []pair{
			{"country", []pair{{"iso_code", country}}}, {"subdivisions", []any{english(region)}},
			{"city", append(english(city), pair{"geoname_id", id})},
		}
	}
	two := map[string]any{"192.0.2.0/24": of("DE", "Berlin", "Berlin", 2950159), "198.51.100.0/24": of("US", "New York", "New York", 5128581)}
	for file, places := range map[string]map[string]any{
		"../transform/testdata/places.mmdb":               two,
		"../../infra/local/scenario/testdata/places.mmdb": two,
		"../transform/testdata/places-moved.mmdb":         {"192.0.2.0/24": of("DE", "Brandenburg", "Potsdam", 2852458)},
	} {
		want, err := os.ReadFile(writePlaces(t, places))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, expected these %d:\n%x", file, len(got), len(want), want)
		}
	}
}

func TestGeo(t *testing.T) {
	names := func(name string) []pair { return []pair{{"names", []pair{{"de", "x"}, {"en", name}}}} }
	path := writePlaces(t, map[string]any{
		"192.0.2.0/24":    []pair{{"country", []pair{{"iso_code", "DE"}}}, {"subdivisions", []any{names("Berlin State")}}, {"city", append(names("Berlin"), pair{"geoname_id", uint32(2950159)})}},
		"198.51.100.0/24": []pair{{"country", []pair{{"iso_code", "FR"}}}},
		"203.0.113.0/24":  []pair{{"country", "not a map"}},
	})
	geo, err := OpenGeo(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	berlin := Place{"DE", "Berlin State", "Berlin", "2950159"}
	for ip, want := range map[string]Place{
		"192.0.2.0": berlin, "192.0.2.0/24": berlin, "::ffff:192.0.2.77": berlin, "198.51.100.0": {Country: "FR"},
		"203.0.113.0": {}, "8.8.8.8": {}, "2001:db8::": {}, "nonsense": {}, "": {},
	} {
		for range 2 { // the second time from memory
			if got := geo.Of(ip); got != want {
				t.Errorf("%q: got %+v, want %+v", ip, got, want)
			}
		}
	}
	for said, want := range map[Place]Place{
		{}: berlin, {Country: "de"}: berlin, {Country: "DE"}: berlin, {Country: "AT"}: {Country: "AT"},
		{Country: "DE", City: "Potsdam"}: {Country: "DE", Region: "Berlin State", City: "Potsdam"}, {Region: "Brandenburg"}: {Country: "DE", Region: "Brandenburg"},
		{Country: "DE", Region: "Berlin State", City: "Berlin"}: berlin, {Country: "AT", Region: "Tyrol", City: "Hall"}: {Country: "AT", Region: "Tyrol", City: "Hall"},
	} {
		if got := geo.placeOf("192.0.2.0", said); got != want {
			t.Errorf("ingress says %+v: got %+v, want %+v", said, got, want)
		}
	}
	var none *Geo
	if got := none.placeOf("192.0.2.0", Place{Country: "DE"}); got != (Place{Country: "DE"}) {
		t.Errorf("without a file: %+v", got)
	}
	if err := os.WriteFile(path, []byte("no places"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := geo.Of("198.51.100.9"); got.Country != "FR" {
		t.Errorf("a file that was overwritten is used: %+v", got)
	}
	for _, bad := range []string{path, path + ".missing"} {
		if _, err := OpenGeo(bad, 10); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", bad, err)
		}
	}
}
