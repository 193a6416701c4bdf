package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// elements reads an SVG as XML and counts its elements.
func elements(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return seen
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			seen[e.Name.Local]++
		}
	}
}

func TestSVG(t *testing.T) {
	x := []float64{1, 2, 3, 4}
	var out bytes.Buffer
	err := SVG(&out, 2,
		Panel{Title: "a < b & c", Lines: []Line{{Name: "up", X: x, Y: []float64{1, 2, math.NaN(), 4}}, {Name: "none"}}},
		Panel{Title: "log", LogX: true, LogY: true, FormatY: Bytes, Lines: []Line{{X: x, Y: []float64{0, 1, 10, 1e9}}}},
		Panel{Title: "one value", Lines: []Line{{X: []float64{5}, Y: []float64{0}}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	seen := elements(t, out.Bytes())
	// A value that cannot be shown leaves a gap: three and three of four.
	if seen["svg"] != 1 || seen["g"] != 3 || seen["circle"] != 3+3+1 {
		t.Errorf("elements: %v", seen)
	}
	for _, want := range []string{`width="920" height="500"`, "a &lt; b &amp; c", "100 MB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Errorf("a number that is none in %s", out.String())
	}
	if err := SVG(io.Discard, 2); err == nil {
		t.Error("no panel is no error")
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		values []float64
		log    bool
		ticks  []float64
	}{
		{[]float64{3, 17}, false, []float64{0, 5, 10, 15, 20}},
		{[]float64{0, 0}, false, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{[]float64{-3, 4}, false, []float64{-4, -2, 0, 2, 4}},
		{nil, false, []float64{0, 2, 4, 6, 8, 10}},
		{[]float64{1e6, 1e8}, true, []float64{1e6, 1e7, 1e8}},
		{[]float64{1e6, 1e6}, true, []float64{1e6, 1e7}},
		{[]float64{0.02, 300}, true, []float64{0.01, 0.1, 1, 10, 100, 1000}},
	} {
		x := newAxis(c.values, c.log, 0, 100)
		if !slices.EqualFunc(x.ticks, c.ticks, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("%v: ticks %v, want %v", c.values, x.ticks, c.ticks)
		}
		for _, v := range c.values {
			if at := x.place(v); at < -1e-9 || at > 100+1e-9 {
				t.Errorf("%v: %v at %v", c.values, v, at)
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(11574), "11.6k"}, {Count(1e8), "100M"},
		{Bytes(42.6), "42.6 B"}, {Bytes(1.5e9), "1.5 GB"}, {Bytes(999.9), "1 kB"},
		{Seconds(0), "0"}, {Seconds(0.0185), "18.5 ms"}, {Seconds(19e-6), "19 µs"}, {Seconds(2.437), "2.44 s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
