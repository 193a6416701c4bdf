package history

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// What comes late to hours that wait, or that were let go of, is not looked at. It may have
// to do with what is counted, all the same: a session began there, an event is a copy. As
// long as it waits neither shows it; when those hours are closed again both have to.

// recorded is by the first instants of hours of the clock how many events of them were
// there to be looked at when a tally was begun, or let go of them.
type recorded map[int64]int64

// stored is how many events the stored records of some hours of the clock hold, of those
// that have one.
func (l *Loader) stored(ctx context.Context, m *access.Merchant, hours []int64) (recorded, error) {
	if len(hours) == 0 {
		return nil, nil
	}
	keys := make([]store.SummaryKey, len(hours))
	for n, from := range hours {
		keys[n] = store.SummaryKey{Merchant: m.ID, Generation: m.Generation, Grain: store.GrainHour, Start: from / 1000}
	}
	var data [][]byte
	if err := l.within(ctx, func(ctx context.Context) (err error) {
		data, err = l.records.Get(ctx, keys)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot tell what records of %q hold: %w", m.ID, err)
	}
	events := recorded{}
	for n, from := range hours {
		if data[n] == nil {
			continue
		}
		if r, err := summary.DecodeRecord(data[n], summary.Want{}); err == nil { // else it is as good as none
			events[from] = eventsOf(r)
		}
	}
	return events, nil
}

// lookAtRecords notes what the records hold of all hours that may have to do with those
// that are about to be counted, before any document is read: what one of them comes to hold
// after that may not be among what is read.
func (t *taking) lookAtRecords(ctx context.Context, counted []event.Hour) {
	if !t.narrow && len(t.waits) == 0 {
		return
	}
	var reach []stretch
	for _, h := range counted { // and those that they affect
		reach = append(reach, stretch{h - 2*summary.Reach, min(h+2*summary.Reach, t.Last) + 1})
	}
	// Where they cannot be read nothing is known of any, and all is counted anew once more.
	t.recorded, _ = t.stored(ctx, t.m, clockHours(t.cal, joined(reach), func(event.Hour, summary.Window) bool { return true }))
}

// clockHours are the first instants of the hours of a clock that touch UTC hours, but for
// those that are not wanted.
func clockHours(cal *summary.Calendar, all []stretch, wanted func(event.Hour, summary.Window) bool) []int64 {
	hours := map[int64]bool{}
	for _, s := range all {
		for h := s.from; h < s.to; h++ {
			for _, w := range clockOf(cal, h) {
				if wanted(h, w) {
					hours[w.From] = true
				}
			}
		}
	}
	return slices.Collect(maps.Keys(hours))
}

// tookIn reports whether a record has come to hold events that were not there when the
// tally looked, of an hour that has to do with those it counts.
func (f *Following) tookIn(ctx context.Context, m *access.Merchant, cal *summary.Calendar) (bool, error) {
	var reach []stretch
	for _, h := range f.stale {
		from, to := f.tally.Needs(h)
		reach = append(reach, stretch{from, to})
	}
	now, err := f.loader.stored(ctx, m, clockHours(cal, joined(reach), func(h event.Hour, w summary.Window) bool {
		looked := f.reads(h) && f.waits[h] == 0 // at all of it, each time
		return !looked && f.tally.Record(w.From) == nil
	}))
	if err != nil {
		return false, err
	}
	for from, n := range now {
		if n > f.recorded[from] {
			return true, nil
		}
	}
	return false, nil
}

// leaveRecorded notes how many events there were of the hours [from, to), which are let go of.
func (f *Following) leaveRecorded(from, to event.Hour) {
	if f.recorded == nil {
		f.recorded = recorded{}
	}
	maps.DeleteFunc(f.recorded, func(at, _ int64) bool { return hourOf(at) < from-1 })
	for h, held := range f.held.hours {
		if h >= from && h < to {
			// Of a clock that goes by half hours nothing is known so.
			f.recorded[summary.Of(h, h+1).From] = int64(held.rows)
		}
	}
}
