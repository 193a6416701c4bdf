package summary_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// same compares two groupings to the byte.
func same(want, got *summary.Table) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, cmp.AllowUnexported(summary.Users{}))
}

// Packed facts answer as those do that they were packed from.
func TestPackedFactsCountAlike(t *testing.T) {
	cal, err := summary.NewCalendar("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		for i := range rows {
			rows[i].Items = nil // are not packed
		}
		settings := drawSettings(t)
		if rapid.Bool().Draw(t, "rates") {
			settings.Rates = []summary.Rate{{Currency: "USD", From: math.MinInt64, Rate: money.One / 2}}
			if len(rows) > 0 {
				settings.Rates = append(settings.Rates, summary.Rate{Currency: "USD", From: rows[len(rows)/2].Millis, Rate: money.One / 4})
			}
		}
		from, to := spanOf(rows)
		w := summary.Of(from, to)
		w.From = rapid.Int64Range(w.From, w.To-1).Draw(t, "from")
		if rapid.Bool().Draw(t, "long") {
			w.To += math.MaxUint32
		}
		facts := summary.ResolveLean(frameOf(rows), w, settings)
		all := summary.Keys(summary.DimPagePath, summary.DimCountry, summary.DimEventName, summary.DimIsKeyEvent, summary.DimDate, summary.DimHour,
			summary.DimCountryName, summary.DimSourceMedium, summary.DimDeviceCategory, summary.DimScreenClass, summary.DimDateHourMinute)
		all = append(all, summary.Key{Dim: summary.DimParam, Param: "size"}, summary.Key{Dim: summary.DimParam, Param: "nothing"})
		timeless := len(settings.Rates) == 0 && rapid.Bool().Draw(t, "timeless")
		if timeless {
			all = slices.DeleteFunc(all, func(k summary.Key) bool { return k.Dim.IsTime() })
		}
		columns := summary.Reads(all)
		columns.Actors = !timeless
		packed := facts.Pack(columns).Facts(settings, !timeless)

		keys := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 3, rapid.ID[summary.Key]).Draw(t, "keys")
		o := summary.GroupOptions{Users: rapid.Bool().Draw(t, "users"), Calendar: cal}
		p := o
		if rapid.Bool().Draw(t, "filter") {
			k := rapid.SampledFrom(all).Draw(t, "by")
			passes := func(text string) bool { return len(text)%2 == 0 }
			o.Keep, p.Keep = make([]bool, len(facts.Rows)), make([]bool, len(packed.Rows))
			facts.Match(k, cal, passes, o.Keep)
			packed.Match(k, cal, passes, p.Keep)
		}
		if rapid.Bool().Draw(t, "columns") && len(keys) > 0 {
			o.Columns = map[summary.Key]summary.Column{keys[0]: facts.Column(keys[0], cal)}
			p.Columns = map[summary.Key]summary.Column{keys[0]: packed.Column(keys[0], cal)}
		}
		if d := same(summary.Group(facts, keys, o), summary.Group(packed, keys, p)); d != "" {
			t.Fatal(d)
		}
		part := summary.Window{From: w.From, To: rapid.Int64Range(w.From, w.To).Draw(t, "cut")}
		s := facts.Slice(part)
		if duplicates, filtered := packed.LeftOut(part); duplicates != s.Duplicates || filtered != s.Filtered {
			t.Fatalf("expected %d duplicates and %d filtered, got %d and %d", s.Duplicates, s.Filtered, duplicates, filtered)
		}
	})
}

// unmixed is the user whose mixed hash is the given one: SplitMix64's finalizer
// backwards.
func unmixed(x uint64) uint64 {
	x ^= x>>31 ^ x>>62
	x *= 0x319642b2d24d8ec3
	x ^= x>>27 ^ x>>54
	x *= 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}

// Many rows are dealt to parts and counted side by side; few tuples each, many, and
// so many that they are numbered as they come; sets and sketches; users whom sets
// cannot tell apart.
func TestManyPackedFactsCountAlike(t *testing.T) {
	f := benchFrame(150_000, 20_000)
	rng := rand.New(rand.NewPCG(7, 8))
	twins := map[uint64]uint64{}
	f.User = slices.Clone(f.User)
	code := make([]uint32, f.Len)
	texts := []string{""}
	for i, user := range f.User {
		if twins[user] == 0 {
			twins[user] = unmixed(rng.Uint64N(30_000)<<49 | rng.Uint64N(4))
		}
		f.User[i] = twins[user]
		if i%2 == 0 {
			texts = append(texts, string(rune('a'+i%26))+f.Text[processed.ColPagePath].At(i)+string(rune('a'+i/26%26)))
			code[i] = uint32(len(texts) - 1)
		}
	}
	f.Text[processed.ColHostname] = processed.Strings{Dict: texts, Code: code} // with texts that stand there twice
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	facts := summary.ResolveLean(f, summary.Of(from, from+24), euros)
	all := summary.Keys(summary.DimPagePath, summary.DimCountry, summary.DimBrowser, summary.DimHostname)
	p := facts.Pack(summary.Reads(all))
	packed := p.Facts(euros, false)
	for _, keys := range [][]summary.Key{nil, all[1:2], all[:2], all[3:], all} {
		for _, filter := range []bool{false, true} {
			o := summary.GroupOptions{Users: true}
			of := o
			if filter {
				passes := func(text string) bool { return text != "Edge" }
				o.Keep, of.Keep = make([]bool, len(facts.Rows)), make([]bool, len(packed.Rows))
				facts.Match(all[2], nil, passes, o.Keep)
				packed.Match(all[2], nil, passes, of.Keep)
			}
			if d := same(summary.Group(facts, keys, o), summary.Group(packed, keys, of)); d != "" {
				t.Fatalf("by %v, filter %v: %.2000s", keys, filter, d)
			}
		}
	}
	if size, rows := p.Size(), int64(len(facts.Rows)); size > 40*rows {
		t.Errorf("%d bytes for %d rows", size, rows)
	}
}
