package money

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// What Divide makes of an amount is, at the rate, the nearest to it.
func TestDivide(t *testing.T) {
	for _, c := range []struct {
		micros int64
		rate   Rate
		want   int64
		ok     bool
	}{
		{1_000_000, One, 1_000_000, true}, {900_000, 9 * One / 10, 1_000_000, true}, {2, 7 * One / 10, 3, true}, {-2, 7 * One / 10, -3, true},
		{1, 2 * One, 0, true}, {3, 2 * One, 2, true}, {-3, 2 * One, -2, true}, {5, 2 * One, 2, true}, {1, 1, 1_000_000_000_000, true},
		{1 << 40, 1, 0, false}, {-1 << 63, One, -1 << 63, true}, {1<<63 - 1, MaxRate, 9_223_372_036_855, true}, {0, 3, 0, true}, {5, 0, 0, false},
	} {
		if got, ok := Divide(c.micros, c.rate); ok != c.ok || ok && got != c.want {
			t.Errorf("%d at %s: expected %d (%t), got %d (%t)", c.micros, c.rate, c.want, c.ok, got, ok)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		micros, rate := rapid.Int64Range(-1e15, 1e15).Draw(t, "micros"), Rate(rapid.Int64Range(1, int64(MaxRate)).Draw(t, "rate"))
		got, ok := Divide(micros, rate)
		exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(micros), big.NewInt(int64(One))), big.NewInt(int64(rate)))
		if !ok {
			if bound := new(big.Rat).SetInt64(1<<63 - 1); exact.Abs(exact).Cmp(bound) < 0 {
				t.Fatalf("%d at %s is within 64 bits", micros, rate)
			}
			return
		}
		if off := exact.Sub(exact, new(big.Rat).SetInt64(got)); off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%d at %s: %d is not the nearest", micros, rate, got)
		}
	})
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Rate
		out  string
	}{
		{"1", One, "1"}, {"0.92", 920_000_000_000, "0.92"}, {"1.10", 1_100_000_000_000, "1.1"}, {"0.000000000001", 1, "0.000000000001"},
		{"1000000", MaxRate, "1000000"}, {"163.25", 163_250_000_000_000, "163.25"}, {"10", 10 * One, "10"},
		{"", 0, ""}, {"0", 0, ""}, {"0.0", 0, ""}, {"-1", 0, ""}, {"1e3", 0, ""}, {"01", 0, ""}, {"1.", 0, ""}, {".5", 0, ""}, {"1,1", 0, ""}, {"nan", 0, ""},
		{"1000000.000000000001", 0, ""}, {"0.0000000000001", 0, ""}, {"10000000", 0, ""}, {"1.2.3", 0, ""}, {" 1", 0, ""},
	} {
		got, err := ParseRate(c.in)
		if (err == nil) != (c.want != 0) || got != c.want {
			t.Errorf("ParseRate(%q) = %d, %v; expected %d", c.in, got, err, c.want)
		}
		if err == nil && got.String() != c.out {
			t.Errorf("%q is written %q", c.in, got)
		}
	}
}

func TestRatesAreWrittenAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate(rapid.Int64Range(1, int64(MaxRate)).Draw(t, "rate"))
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(data), `"` + string(data) + `"`} {
			var got Rate
			if err := json.Unmarshal([]byte(text), &got); err != nil || got != r {
				t.Fatalf("%d is written %s and read %d, %v", int64(r), text, int64(got), err)
			}
		}
	})
}

// Convert is the exact product, rounded half to even.
func TestConvert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1000, 1000), rapid.Just(int64(math.MinInt64))).Draw(t, "amount")
		rate := rapid.OneOf(rapid.Int64Range(1, int64(MaxRate)), rapid.SampledFrom([]int64{int64(One) / 2, int64(One), 3 * int64(One) / 2})).Draw(t, "rate")
		// Twice the product, plus one half, floored; down by one where it was a
		// middle and came out odd.
		product := new(big.Int).Mul(big.NewInt(amount), big.NewInt(rate))
		one := big.NewInt(int64(One))
		doubled := new(big.Int).Add(new(big.Int).Lsh(product, 1), one)
		want, rest := new(big.Int).DivMod(doubled, new(big.Int).Lsh(one, 1), new(big.Int))
		if rest.Sign() == 0 && want.Bit(0) == 1 {
			want.Sub(want, big.NewInt(1))
		}
		fits := want.IsInt64() && want.Int64() != math.MinInt64
		got, ok := Convert(amount, Rate(rate))
		if rate == int64(One) {
			fits = true
		}
		if ok != fits || ok && got != want.Int64() {
			t.Fatalf("%d at %s: got %d, %t; expected %s", amount, Rate(rate), got, ok, want)
		}
	})
}
