package summary_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// Rows that are so many that they are dealt to parts and worked on side by side
// say the same as those of a few clients alone, in any order.
func TestManyRowsCountLikeFew(t *testing.T) {
	const events, groups = 40_000, 20
	f := benchFrame(events, 2000)
	rng := rand.New(rand.NewPCG(3, 4))
	before := map[uint64]int{} // a row of each client
	for i := range f.Len {
		if other, ok := before[f.Client[i]]; ok && rng.IntN(20) == 0 {
			f.EventID[i] = f.EventID[other]
		}
		if rng.IntN(3) == 0 {
			before[f.Client[i]] = i
		}
		if f.Client[i]%50 == 0 {
			f.Flags[i] = processed.FlagBot
		}
		f.Session[i] = uint64(i / 12_000) // of each some rows, so that it goes on in the next
	}
	var shuffled processed.Builder
	for _, i := range rng.Perm(f.Len) {
		shuffled.Add(f.Row(i))
	}
	orders := map[string]*processed.Frame{"in order": f, "shuffled": shuffled.Frame()}

	whole := summary.Of(event.Hour(hourOf(slices.Min(f.Millis))), event.Hour(hourOf(slices.Max(f.Millis))+1))
	for name, window := range map[string]summary.Window{
		"all":     whole,
		"an hour": {From: whole.From + 9*time.Hour.Milliseconds(), To: whole.From + 10*time.Hour.Milliseconds()},
	} {
		t.Run(name, func(t *testing.T) {
			want, users := map[string]view{}, 0
			var duplicates, filtered int64
			var stack processed.Stack
			stack.Append(f)
			for group := range uint64(groups) {
				var rows []uint32
				for i, client := range f.Client {
					if client/7%groups == group {
						rows = append(rows, uint32(i))
					}
				}
				facts := summary.Resolve(stack.Select(rows), window, euros)
				maps.Copy(want, viewsOf(facts))
				few, _ := facts.Users()
				users, duplicates, filtered = users+len(few), duplicates+facts.Duplicates, filtered+facts.Filtered
			}
			if duplicates == 0 || filtered == 0 || len(want) < 1000 {
				t.Fatalf("%d duplicates, %d filtered, %d counted: too few to tell", duplicates, filtered, len(want))
			}
			for order, frame := range orders {
				facts := summary.Resolve(frame, window, euros)
				if got := viewsOf(facts); !maps.Equal(want, got) {
					t.Fatalf("%s: %s", order, cmp.Diff(want, got))
				}
				if many, firsts := facts.Users(); len(many) != users || !slices.IsSorted(firsts) {
					t.Errorf("%s: %d users, want %d, in the order of their first rows", order, len(many), users)
				}
				if facts.Duplicates != duplicates || facts.Filtered != filtered {
					t.Errorf("%s: %d duplicates and %d filtered, want %d and %d", order, facts.Duplicates, facts.Filtered, duplicates, filtered)
				}
			}
		})
	}
}
