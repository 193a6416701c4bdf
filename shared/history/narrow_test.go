package history_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
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
	ctx := context.Background()
	cal, err := summary.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	now := event.Hour(1000)
	m := &access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: zone}}
	s := &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(19, seed)), tied: true}
	plain := history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
	closed := func(hours ...event.Hour) {
		s.close(plain, m, hours...)
		days := map[int64]*summary.Record{}
		for h := now - 120; h < now-1; h++ {
			for _, w := range cal.Hours(summary.Of(h, h+1).From, summary.Of(h, h+1).To) {
				day := cal.Day(w.From)
				if days[day.From] == nil {
					days[day.From] = &summary.Record{}
				}
				if _, to := w.UTCHours(); to <= now-1 {
					days[day.From].Hours |= 1 << slices.Index(cal.Hours(day.From, day.To), w)
				}
			}
		}
		for from, r := range days {
			if err := s.stores.Summaries.Put(ctx, []store.SummaryEntry{{Data: r.Encode(), Key: store.SummaryKey{
				Merchant: merchant, Generation: 1, Grain: store.GrainDay, Start: from / 1000}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var hours []event.Hour
	for h := now - 60; h < now-1; h++ {
		s.batch(past, h, h+1)
		hours = append(hours, h)
	}
	closed(hours...)
	for range 10 {
		s.batch(20, now-1, now+1)
	}
	following := history.New(s.stores.Processed, s.stores.Visitors, history.Options{FewAround: -1}).Within(2500).Waiting(s.stores.Summaries, 1<<20).Follow(64 << 20)
	counted, late, kept := 0, 0, 0
	look := func(what string) {
		t.Helper()
		got, err := following.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		s.waitsOrIsOpen(what, m, got, now-1)
		if following.Size() > 0 {
			kept++
		}
		late = max(late, len(got.Waiting))
		for from, have := range got.Hours {
			rec := want.Hours[from]
			if rec == nil || got.Frozen(from) {
				continue // nothing of it has changed, or it is not counted
			}
			counted++
			if !bytes.Equal(have.Encode(), rec.Encode()) {
				t.Fatalf("%s: hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, rec)
			}
		}
		for from, rec := range want.Hours {
			if h := event.Hour(from / hourMs); h >= now-1 && got.Hours[from] == nil {
				t.Fatalf("%s: hour %d is missing, expected\n%+v", what, h, rec)
			}
		}
	}
	look("at first")
	steps := 0
	for round := range rounds {
		for step := range 15 {
			what := fmt.Sprintf("round %d, step %d", round, step)
			switch n := s.rng.IntN(12); {
			case n < 9:
				s.batch(1+s.rng.IntN(8), now-1, now+1)
			case n < 10:
				// It has to do with nothing else: what would change must wait.
				h := now - 40 + event.Hour(s.rng.IntN(30))
				s.alone = true
				s.batch(1, h, h+1)
				s.alone = false
				what += fmt.Sprintf(", late in hour %d", h)
			default:
				s.merge(now-event.Hour(s.rng.IntN(30)), uint64(100*round+step), false)
				what += ", merged"
			}
			look(what)
			steps++
		}
		s.batch(100, now-1, now)
		s.batch(100, now, now+1)
		look("the hour's end")
		now++
		s.batch(10, now-1, now+1)
		look("the next hour")
		closed(now - 2)
		look("an hour closed")
	}
	if n := following.Wholes(); n > steps/10 || kept < steps || late < 1 || counted < steps {
		t.Fatalf("expected few of %d snapshots to be counted whole, most to be counted on, and hours to wait, got %d, %d and %d; %d hours compared", steps, n, kept, late, counted)
	}
}
