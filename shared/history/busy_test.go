package history_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// busyShop is a merchant with sixty hours of traffic behind him, all closed, and one and a
// half under way.
type busyShop struct {
	*shopTraffic
	m      *access.Merchant
	cal    *summary.Calendar
	plain  *history.Loader
	now    event.Hour
	closed map[event.Hour]bool
}

func newBusyShop(t *testing.T, seed uint64, zone string, past int) *busyShop {
	t.Helper()
	cal, err := summary.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	s := &busyShop{
		shopTraffic: &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(19, seed)), tied: true},
		m:           &access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: zone}},
		cal:         cal, now: 1000, closed: map[event.Hour]bool{},
	}
	s.plain = history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
	var hours []event.Hour
	for h := s.now - 60; h < s.now-1; h++ {
		s.batch(past, h, h+1)
		hours = append(hours, h)
	}
	s.closeHours(hours...)
	for range 10 {
		s.batch(20, s.now-1, s.now+1)
	}
	return s
}

func (s *busyShop) clock(h event.Hour) []summary.Window {
	return s.cal.Hours(summary.Of(h, h+1).From, summary.Of(h, h+1).To)
}

// over reports whether all of an hour of the clock has gone by.
func (s *busyShop) over(w summary.Window) bool { _, to := w.UTCHours(); return to <= s.now-1 }

// closeHours closes hours, with their records and what days say of which hours have one.
func (s *busyShop) closeHours(hours ...event.Hour) {
	s.t.Helper()
	days := map[int64]*summary.Record{}
	for _, h := range hours {
		s.closed[h] = true
	}
	for h := range s.closed {
		for _, w := range s.clock(h) {
			from, to := w.UTCHours()
			if !s.over(w) || !s.closed[from] || !s.closed[to-1] {
				continue
			}
			day := s.cal.Day(w.From)
			place := slices.Index(s.cal.Hours(day.From, day.To), w)
			if days[day.From] == nil {
				days[day.From] = &summary.Record{}
			}
			days[day.From].Hours |= 1 << place
			if slices.Contains(hours, h) {
				facts, err := s.plain.Facts(context.Background(), s.m, w, summary.Needs(summary.RecordKeys()), true, nil)
				if err != nil {
					s.t.Fatal(err)
				}
				s.keep(store.GrainHour, w.From, summary.NewRecord(facts.Slice(w), place))
			}
		}
	}
	for from, r := range days {
		s.keep(store.GrainDay, from, r)
	}
	s.close(s.plain, s.m, hours...)
}

func (s *busyShop) key(grain store.Grain, from int64) store.SummaryKey {
	return store.SummaryKey{Merchant: merchant, Generation: 1, Grain: grain, Start: from / 1000}
}

func (s *busyShop) keep(grain store.Grain, from int64, r *summary.Record) {
	s.t.Helper()
	if err := s.stores.Summaries.Put(context.Background(), []store.SummaryEntry{{Data: r.Encode(), Key: s.key(grain, from)}}); err != nil {
		s.t.Fatal(err)
	}
}

// stored is an hour's record; nil where there is none.
func (s *busyShop) stored(w summary.Window) *summary.Record {
	s.t.Helper()
	data, err := s.stores.Summaries.Get(context.Background(), []store.SummaryKey{s.key(store.GrainHour, w.From)})
	if err != nil {
		s.t.Fatal(err)
	}
	if data[0] == nil {
		return nil
	}
	r, err := summary.DecodeRecord(data[0], summary.Want{})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// follow follows the merchant, of whom a snapshot may read so many events.
func (s *busyShop) follow(most int) *history.Following {
	return history.New(s.stores.Processed, s.stores.Visitors, history.Options{FewAround: -1}).Within(most).Waiting(s.stores.Summaries, 1<<20).Follow(64 << 20)
}

// compare takes a snapshot by following, and one of all. What both say of hours that are
// counted is the same, to the byte, and all under way is counted. It tells how many hours were
// compared.
func (s *busyShop) compare(what string, following *history.Following) (got *history.Snapshot, hours int) {
	s.t.Helper()
	ctx := context.Background()
	got, err := following.Snapshot(ctx, s.m, s.cal)
	if err != nil {
		s.t.Fatal(err)
	}
	want, err := s.plain.Snapshot(ctx, s.m, s.cal)
	if err != nil {
		s.t.Fatal(err)
	}
	s.waitsOrIsOpen(what, s.m, got, s.now-1)
	for from, rec := range want.Hours {
		have := got.Hours[from]
		switch {
		case have == nil && s.over(s.cal.Hour(from)) || got.Frozen(from):
			continue // nothing of it has changed, or it is not counted
		case have == nil || !bytes.Equal(have.Encode(), rec.Encode()):
			s.t.Fatalf("%s: hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, rec)
		}
		hours++
	}
	return got, hours
}

// late puts an event into an hour that is over. It has to do with nothing else: what would
// change must wait.
func (s *busyShop) late(h event.Hour) {
	s.t.Helper()
	s.alone = true
	s.batch(1, h, h+1)
	s.alone = false
}

// precede puts events into an hour that is over which have to do with some under way: they
// are of the same sessions, orders and sources, and before them.
func (s *busyShop) precede(h event.Hour, n int) {
	s.t.Helper()
	s.batches++
	id := event.BatchID{0, 0, byte(s.batches >> 8), byte(s.batches)}
	var b processed.Builder
	for b.Len() < n {
		doc := s.put[len(s.put)-1-s.rng.IntN(20)]
		if doc.Key.Hour < s.now-1 {
			continue
		}
		f, err := processed.Decode(doc.Data, processed.Everything())
		if err != nil {
			s.t.Fatal(err)
		}
		r := f.Row(s.rng.IntN(f.Len))
		r.Batch, r.Seq = id, uint32(b.Len())
		r.Millis = int64(h+1)*hourMs - 1 - s.rng.Int64N(60_000)
		if s.rng.IntN(3) > 0 {
			r.EventID = processed.ID{Hi: 3, Lo: s.rng.Uint64()}
		}
		b.Add(r)
	}
	key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: id}
	if err := s.stores.Processed.Put(context.Background(), store.Put{Batch: id, Docs: []store.Doc{{Key: key, Events: b.Len(), Data: b.Encode()}}}); err != nil {
		s.t.Fatal(err)
	}
}

// hourEnds has the next hour begin, with a look at each step, and closes the one that is over.
func (s *busyShop) hourEnds(look func(what string)) {
	s.batch(100, s.now-1, s.now)
	s.batch(100, s.now, s.now+1)
	look("the hour's end")
	s.now++
	s.batch(10, s.now-1, s.now+1)
	look("the next hour")
	s.closeHours(s.now - 2)
	look("an hour closed")
}
