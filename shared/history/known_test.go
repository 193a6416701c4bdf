package history_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// scans counts how often documents are read.
type scans struct {
	store.Processed
	n int
}

func (s *scans) Scan(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour, fn func(store.Doc) error) error {
	s.n++
	return s.Processed.Scan(ctx, merchant, rev, from, to, fn)
}

// What is kept of one question answers the next one as documents do, and no longer
// than they stay as they are.
func TestKnownFacts(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	for _, cache := range []int64{0, 20_000, 1 << 20} {
		counting := &scans{Processed: s.Processed}
		l := history.New(counting, s.Visitors, history.Options{CacheBytes: cache})
		plain := history.New(s.Processed, s.Visitors, history.Options{})
		rng := rand.New(rand.NewPCG(1, uint64(cache)))
		kept := 0
		m := &access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR"}}
		for round := range 100 {
			switch rng.IntN(20) {
			case 0:
				put(t, s, byte(round), 1000+event.Hour(rng.IntN(30)), 1+rng.IntN(20), 1+rng.Uint64N(9))
			case 1:
				m.Settings.KeyEvents = []string{"page_view", "sign_up"}[:rng.IntN(3)]
			case 2:
				m.Settings.BotFilter = !m.Settings.BotFilter
			}
			w := summary.Of(1000+event.Hour(rng.IntN(2)), 1029+event.Hour(rng.IntN(2)))
			keys := summary.Keys(summary.DimCountry, summary.DimEventName, summary.DimPagePath)[:rng.IntN(4)]
			columns := summary.Reads(keys)
			columns.Actors = rng.IntN(4) == 0
			version, err := s.Processed.Version(ctx, merchant)
			if err != nil {
				t.Fatal(err)
			}
			before := counting.n
			known, looked, err := l.Known(ctx, m, w, columns, version)
			if err != nil {
				t.Fatal(err)
			}
			if counting.n == before {
				kept++
			}
			facts, err := plain.Lean().Facts(ctx, m, w, columns, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			o := summary.GroupOptions{Users: true}
			want, got := summary.Group(facts, keys, o), summary.Group(known, keys, o)
			if d := cmp.Diff(want, got, cmp.AllowUnexported(summary.Users{})); d != "" || looked != facts.Frame.Len {
				t.Fatalf("round %d: looked at %d, not %d: %s", round, looked, facts.Frame.Len, d)
			}
		}
		if cache == 0 && kept > 0 || cache > 1<<16 && kept < 10 {
			t.Errorf("cache of %d bytes: %d of 100 questions without reading documents", cache, kept)
		}
	}
}
