package local

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever is done in whatever order, the tracker commits up to the first
// record that is not done, and never less than before.
func TestTrackerCommitsToTheFirstGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1000).Draw(t, "start")
		tr := newTracker(start)
		type rec struct {
			offset int64
			ticket uint64
			done   bool
		}
		var all []*rec
		next, last := start, start
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				next += rapid.Int64Range(0, 3).Draw(t, "hole") // a compacted or control record
				all = append(all, &rec{offset: next, ticket: tr.add(next)})
				next++
			} else {
				var open []*rec
				for _, r := range all {
					if !r.done {
						open = append(open, r)
					}
				}
				if len(open) == 0 {
					continue
				}
				r := open[rapid.IntRange(0, len(open)-1).Draw(t, "which")]
				r.done = true
				tr.done(r.ticket)
			}
			want := next
			for _, r := range all {
				if !r.done {
					want = r.offset
					break
				}
			}
			if got := tr.commit(); got != want || got < last {
				t.Fatalf("commit %d, want %d, before %d", got, want, last)
			}
			last = tr.commit()
		}
	})
}

func BenchmarkTracker(b *testing.B) {
	b.ReportAllocs()
	tr := newTracker(0)
	for i := range b.N {
		tr.done(tr.add(int64(i)))
	}
}
