package history_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// While memory is tight the open hours alone are held, and what is said of them is what a
// snapshot of all says, to the byte. Of hours that are let go of, events that have been told
// are told from then on, though their stored records lack those that came late until they
// are closed again. No question has to ask documents for them.
func TestHoursLetGo(t *testing.T) {
	frozen := 0
	for seed := range uint64(6) {
		zone := []string{"UTC", "Asia/Kolkata", "America/New_York"}[seed%3]
		t.Run(fmt.Sprint(zone, ", ", seed), func(t *testing.T) { frozen += hoursLetGo(t, seed, zone) })
	}
	if frozen < 20 {
		t.Fatalf("expected hours to be told as they were told last, got %d of them", frozen)
	}
}

func hoursLetGo(t *testing.T, seed uint64, zone string) (frozen int) {
	const few = 800
	s := newBusyShop(t, seed, zone, 60)
	tight := seed%2 == 0
	following := s.follow(4000).Tight(func() bool { return tight }, few)
	told := map[int64]int64{} // events, by hour
	counted, kept, held := 0, 0, 0
	look := func(what string) {
		t.Helper()
		got, hours := s.compare(what, following)
		if following.Size() > 0 {
			kept++
		}
		counted, held = counted+hours, got.Rows
		for h := s.now - 120; h <= s.now; h++ {
			for _, w := range s.clock(h) {
				is := got.Hours[w.From]
				switch {
				case got.Frozen(w.From):
					frozen++
				case !got.Touches(w):
					is = s.stored(w)
				}
				if is == nil && (got.Touches(w) || slices.Contains(got.Waiting, h) && !got.Bare(w)) {
					t.Fatalf("%s: nothing says how many events hour %d has", what, w.From/hourMs)
				}
				if is == nil {
					is = &summary.Record{}
				}
				n := is.Total[summary.Events] + is.Duplicates + is.Filtered
				if n < told[w.From] {
					t.Fatalf("%s: %d events of hour %d were told, and now %d", what, told[w.From], w.From/hourMs, n)
				}
				told[w.From] = n
			}
		}
	}
	look("at first")
	late := map[event.Hour]bool{}
	steps := 0
	for round := range 5 {
		for step := range 20 {
			what := fmt.Sprintf("round %d, step %d", round, step)
			switch n := s.rng.IntN(12); {
			case n < 7:
				s.batch(1+s.rng.IntN(8), s.now-1, s.now+1)
			case n < 10:
				h := s.now - 2 - event.Hour(s.rng.IntN(4)*s.rng.IntN(8))
				if s.rng.IntN(8) == 0 {
					h = s.now - 80 - event.Hour(s.rng.IntN(8)) // it may have no record yet
				}
				s.late(h)
				late[h] = true
				what += fmt.Sprintf(", late in hour %d", h)
			case n < 11:
				s.merge(s.now-event.Hour(s.rng.IntN(30)), uint64(100*round+step), false)
				what += ", merged"
			default:
				s.closeHours(slices.Sorted(maps.Keys(late))...)
				clear(late)
				tight = s.rng.IntN(3) > 0
				what += fmt.Sprint(", closed again, and tight: ", tight)
			}
			look(what)
			steps++
		}
		s.hourEnds(look)
		if tight && held > few {
			t.Fatalf("round %d: expected hours that are over to be let go of, and %d events are held", round, held)
		}
	}
	if n := following.Wholes(); n > steps/4 || counted < steps || kept < steps {
		t.Fatalf("expected few of %d snapshots to be counted whole, got %d; %d hours compared, %d looks kept", steps, n, counted, kept)
	}
	return frozen
}

// What comes late to an hour that was let go of may change the hours that are counted on: a
// session began there, a purchase is a copy. They are counted without it while it waits, and
// with it as soon as its hour was closed again, to the byte.
func TestLateEventsOfHoursLetGo(t *testing.T) {
	for seed := range uint64(12) {
		zone := []string{"UTC", "Asia/Kolkata", "America/New_York"}[seed%3]
		t.Run(fmt.Sprint(zone, ", ", seed), func(t *testing.T) {
			s := newBusyShop(t, seed, zone, 60)
			following := s.follow(4000).Tight(func() bool { return seed%2 == 0 }, 800)
			look := func(what string) { s.compare(what, following) }
			look("at first")
			for range 3 {
				s.hourEnds(look)
				wholes := following.Wholes()
				for round := range 4 {
					h := s.now - 2 - event.Hour(s.rng.IntN(4)*s.rng.IntN(8))
					for range 1 + s.rng.IntN(2) {
						s.batch(5, s.now-1, s.now+1)
						s.precede(h, 4)
						if s.rng.IntN(3) > 0 { // else nobody has seen that it waited
							if _, err := following.Snapshot(t.Context(), s.m, s.cal); err != nil {
								t.Fatal(err)
							}
						}
					}
					s.closeHours(h)
					look(fmt.Sprintf("%d, late events of %d hours ago", round, s.now-h))
				}
				if n := following.Wholes() - wholes; n > 5 {
					t.Errorf("all was counted anew %d times", n)
				}
			}
		})
	}
}

// meanwhile does something when it is asked for a version, or a claim.
type meanwhile struct {
	store.Processed
	version, claimed func()
}

func once(f *func()) {
	if do := *f; do != nil {
		*f = nil
		do()
	}
}

func (m *meanwhile) Version(ctx context.Context, merchant string) (store.Version, error) {
	once(&m.version)
	return m.Processed.Version(ctx, merchant)
}

func (m *meanwhile) Claimed(ctx context.Context, merchant string) (uint64, error) {
	once(&m.claimed)
	return m.Processed.Claimed(ctx, merchant)
}

// An hour that waits may be closed while a snapshot is begun. It is told as it was closed where
// it is not said to wait, and what late events in it had to do with is counted with them: that
// snapshot may be the last one for as long as nothing comes.
func TestClosedWhileLooking(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newBusyShop(t, seed, "UTC", 60)
			between := &meanwhile{Processed: s.stores.Processed}
			following := history.New(between, s.stores.Visitors, history.Options{FewAround: -1}).
				Within(4000).Waiting(s.stores.Summaries, 1<<20).Follow(64<<20).Tight(func() bool { return true }, 800)
			s.compare("at first", following)
			waited := 0
			for range 6 {
				s.hourEnds(func(what string) { s.compare(what, following) })
				h := s.now - 2
				s.precede(h, 4)
				before, err := following.Snapshot(t.Context(), s.m, s.cal)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(before.Waiting, h) {
					waited++
				}
				closing := func() { s.closeHours(h) }
				if s.rng.IntN(3) > 0 {
					between.version = closing
				} else {
					between.claimed = closing
				}
				got, _ := s.compare("closed meanwhile", following)
				w := summary.Of(h, h+1)
				is, want := got.Hours[w.From], s.stored(w) // its record is asked for where it is not touched
				if got.Touches(w) && !slices.Contains(got.Waiting, h) && is.Total != want.Total {
					t.Fatalf("the hour that waited is told with\n%v, and was closed with\n%v", is.Total, want.Total)
				}
			}
			if waited < 3 {
				t.Fatalf("expected late events to wait, and they did so %d times", waited)
			}
		})
	}
}
