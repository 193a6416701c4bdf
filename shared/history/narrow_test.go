package history_test

import (
	"fmt"
	"testing"

	"github.com/footfall/footfall/shared/event"
)

// Of a merchant with too many events in a day for all to be held, the open hours and the
// one before them go on being counted, and what is said of them is what a snapshot of all
// says, to the byte: with sessions, copies and transactions that reach back a day, and
// while hours end and others begin.
func TestOpenHoursOfBusyMerchants(t *testing.T) {
	for seed := range uint64(6) {
		zone := []string{"UTC", "Asia/Kolkata", "America/New_York"}[seed%3]
		for past, rounds := range map[int]int{150: 4, 40: 7} { // the second comes to be busy
			t.Run(fmt.Sprint(zone, ", ", past, ", ", seed), func(t *testing.T) { openHours(t, seed, zone, past, rounds) })
		}
	}
}

func openHours(t *testing.T, seed uint64, zone string, past, rounds int) {
	s := newBusyShop(t, seed, zone, past)
	following := s.follow(2500)
	counted, late, kept := 0, 0, 0
	look := func(what string) {
		t.Helper()
		got, hours := s.compare(what, following)
		if following.Size() > 0 {
			kept++
		}
		late, counted = max(late, len(got.Waiting)), counted+hours
	}
	look("at first")
	steps := 0
	for round := range rounds {
		for step := range 15 {
			what := fmt.Sprintf("round %d, step %d", round, step)
			switch n := s.rng.IntN(12); {
			case n < 9:
				s.batch(1+s.rng.IntN(8), s.now-1, s.now+1)
			case n < 10:
				h := s.now - 40 + event.Hour(s.rng.IntN(30))
				s.late(h)
				what += fmt.Sprintf(", late in hour %d", h)
			default:
				s.merge(s.now-event.Hour(s.rng.IntN(30)), uint64(100*round+step), false)
				what += ", merged"
			}
			look(what)
			steps++
		}
		s.hourEnds(look)
	}
	if n := following.Wholes(); n > steps/10 || kept < steps || late < 1 || counted < steps {
		t.Fatalf("expected few of %d snapshots to be counted whole, most to be counted on, and hours to wait, got %d, %d and %d; %d hours compared", steps, n, kept, late, counted)
	}
}
