package money

import (
	"encoding/json"
	"testing"
)

func TestMicros(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-0", 0, true}, {"1", 1_000_000, true}, {"19.99", 19_990_000, true}, {"0.1", 100_000, true},
		{"19.990000000000002", 19_990_000, true}, {"-0.0000005", -1, true}, {"0.0000004999", 0, true}, {"1.9999995", 2_000_000, true},
		{"1e3", 1_000_000_000, true}, {"1.5E-6", 2, true}, {"1e-400", 0, true}, {"123456e-2", 1_234_560_000, true}, {"0e999999999", 0, true},
		{"9223372036854.775807", 1<<63 - 1, true}, {"9223372036854.775808", 0, false}, {"1e13", 0, false}, {"1e99999", 0, false},
		{"0.000000000000000000000000000000000001", 0, true}, {"100000000000000000000000e-20", 1_000_000_000, true},
		{"", 0, false}, {"-", 0, false}, {"01", 0, false}, {"1.", 0, false}, {".5", 0, false}, {"+1", 0, false}, {"1e", 0, false}, {"nan", 0, false}, {"1 ", 0, false}, {"0x10", 0, false}, {"1.2.3", 0, false},
	} {
		got, ok := Micros(c.in)
		if ok != c.ok || (ok && got != c.want) {
			t.Errorf("Micros(%q) = %d, %v; expected %d, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func FuzzMicros(f *testing.F) {
	for _, s := range []string{"1", "-0.5", "1e3", "9223372036854.775807", "1.2.3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := Micros(s)
		if !ok {
			return
		}
		var n json.Number
		if err := json.Unmarshal([]byte(s), &n); err != nil {
			t.Fatalf("%q was taken for a number", s)
		}
		if f, err := n.Float64(); err == nil && f < 1e9 && f > -1e9 {
			if d := f*1e6 - float64(v); d > 0.51 || d < -0.51 {
				t.Fatalf("Micros(%q) = %d", s, v)
			}
		}
	})
}
