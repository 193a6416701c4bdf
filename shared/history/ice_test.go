package history_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// While memory is tight the open hours alone are held, and what is said of them is what a
// snapshot of all says, to the byte. Of hours that are let go of, events that have been told
// are told from then on, though their stored records lack those that came late until they
// are closed again.
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
	ctx := context.Background()
	cal, err := summary.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	const few = 800
	now := event.Hour(1000)
	m := &access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: zone}}
	s := &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(23, seed)), tied: true}
	plain := history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
	clock := func(h event.Hour) []summary.Window { return cal.Hours(summary.Of(h, h+1).From, summary.Of(h, h+1).To) }
	over := func(w summary.Window) bool { _, to := w.UTCHours(); return to <= now-1 }
	closed := func(hours ...event.Hour) {
		days, records := map[int64]*summary.Record{}, map[int64]*summary.Record{}
		for h := now - 120; h < now; h++ {
			for _, w := range clock(h) {
				day := cal.Day(w.From)
				place := slices.Index(cal.Hours(day.From, day.To), w)
				if days[day.From] == nil {
					days[day.From] = &summary.Record{}
				}
				if over(w) {
					days[day.From].Hours |= 1 << place
				}
				if over(w) && slices.Contains(hours, h) {
					facts, err := plain.Facts(ctx, m, w, summary.Needs(summary.RecordKeys()), true, nil)
					if err != nil {
						t.Fatal(err)
					}
					records[w.From] = summary.NewRecord(facts.Slice(w), place)
				}
			}
		}
		for grain, all := range map[store.Grain]map[int64]*summary.Record{store.GrainDay: days, store.GrainHour: records} {
			for from, r := range all {
				if err := s.stores.Summaries.Put(ctx, []store.SummaryEntry{{Data: r.Encode(), Key: store.SummaryKey{
					Merchant: merchant, Generation: 1, Grain: grain, Start: from / 1000}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.close(plain, m, hours...)
	}
	var hours []event.Hour
	for h := now - 60; h < now-1; h++ {
		s.batch(60, h, h+1)
		hours = append(hours, h)
	}
	closed(hours...)
	for range 10 {
		s.batch(20, now-1, now+1)
	}
	tight := seed%2 == 0
	following := history.New(s.stores.Processed, s.stores.Visitors, history.Options{FewAround: -1}).Within(4000).
		Waiting(s.stores.Summaries, 1<<20).Follow(64<<20).Tight(func() bool { return tight }, few)
	told := map[int64]int64{} // events, by hour
	counted, kept := 0, 0
	look := func(what string) (rows int) {
		t.Helper()
		got, err := following.Snapshot(ctx, m, cal)
		if err != nil || !got.Whole {
			t.Fatalf("%s: expected what is open, got %+v, %v", what, got, err)
		}
		want, err := plain.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		if following.Size() > 0 {
			kept++
		}
		for h := now - 120; h <= now; h++ {
			for _, w := range clock(h) {
				is := stored(t, s, w)
				if got.Touches(w) {
					have := got.Hours[w.From]
					if have == nil {
						t.Fatalf("%s: hour %d is to be taken from a snapshot, and not there", what, w.From/hourMs)
					}
					is = have
				}
				n := is.Total[summary.Events] + is.Duplicates + is.Filtered
				if got.Frozen(w.From) {
					frozen++
				}
				if n < told[w.From] {
					t.Fatalf("%s: %d events of hour %d were told, and now %d", what, told[w.From], w.From/hourMs, n)
				}
				told[w.From] = n
			}
		}
		for from, rec := range want.Hours {
			if !over(cal.Hour(from)) {
				counted++
				if have := got.Hours[from]; have == nil || !bytes.Equal(have.Encode(), rec.Encode()) {
					t.Fatalf("%s: hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, rec)
				}
			}
		}
		return got.Rows
	}
	look("at first")
	waits := map[event.Hour]bool{}
	steps := 0
	for round := range 5 {
		for step := range 20 {
			what := fmt.Sprintf("round %d, step %d", round, step)
			switch n := s.rng.IntN(12); {
			case n < 7:
				s.batch(1+s.rng.IntN(8), now-1, now+1)
			case n < 10:
				h := now - 2 - event.Hour(s.rng.IntN(4)*s.rng.IntN(8))
				if s.rng.IntN(4) == 0 {
					h = now - 80 - event.Hour(s.rng.IntN(20)) // nothing has come there before
				}
				s.alone = true // it has to do with nothing else: what would change must wait
				s.batch(1, h, h+1)
				s.alone = false
				waits[h] = true
				what += fmt.Sprintf(", late in hour %d", h)
			case n < 11:
				s.merge(now-event.Hour(s.rng.IntN(30)), uint64(100*round+step), false)
				what += ", merged"
			default:
				closed(slices.Sorted(maps.Keys(waits))...)
				clear(waits)
				tight = s.rng.IntN(3) > 0
				what += fmt.Sprint(", closed again, and tight: ", tight)
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
		if rows := look("an hour closed"); tight && rows > few {
			t.Fatalf("round %d: expected hours that are over to be let go of, and %d events are held", round, rows)
		}
	}
	if n := following.Wholes(); n > steps/4 || counted < steps || kept < steps {
		t.Fatalf("expected few of %d snapshots to be counted whole, got %d; %d hours compared, %d looks kept", steps, n, counted, kept)
	}
	return frozen
}

// stored is an hour's record; an empty one where there is none.
func stored(t *testing.T, s *shopTraffic, w summary.Window) *summary.Record {
	t.Helper()
	data, err := s.stores.Summaries.Get(context.Background(), []store.SummaryKey{{Merchant: merchant, Generation: 1, Grain: store.GrainHour, Start: w.From / 1000}})
	if err != nil {
		t.Fatal(err)
	}
	if data[0] == nil {
		return &summary.Record{}
	}
	r, err := summary.DecodeRecord(data[0], summary.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
