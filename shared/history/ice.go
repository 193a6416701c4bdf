package history

import (
	"context"
	"maps"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/summary"
)

// Hours that come to wait, or that a tally lets go of, were closed before the last events
// came that snapshots have told of. What was told last is told on until their stored records
// hold as many events: nobody sees numbers go back.

// ice is what was told of a merchant, by the first instants of the hours of his clock. It
// does not change once it was stored.
type ice struct {
	view   followed
	told   map[int64]*summary.Record // by the last snapshot
	frozen map[int64]*summary.Record // of hours that are not counted on
}

// mostFrozen is how many hours of the clock are kept so. Each UTC hour that a snapshot holds
// touches two at most.
const mostFrozen = 2 * maxLive

// freeze adds hours that wait from now on as they were told last, or that were let go of, and
// leaves out those that are counted again.
func (i *ice) freeze(s *Snapshot, cal *summary.Calendar, told, left map[int64]*summary.Record) {
	maps.DeleteFunc(i.frozen, func(from int64, _ *summary.Record) bool { return s.Touches(cal.Hour(from)) })
	add := func(from int64, r *summary.Record) {
		if r == nil || i.frozen[from] != nil || len(i.frozen) >= mostFrozen || s.Touches(cal.Hour(from)) {
			return
		}
		if i.frozen == nil {
			i.frozen = map[int64]*summary.Record{}
		}
		i.frozen[from] = r
	}
	for from, r := range left {
		add(from, r)
	}
	for _, h := range s.Waiting {
		for _, w := range clockOf(cal, h) {
			add(w.From, told[w.From])
		}
	}
}

// clockOf are the hours of a clock that touch a UTC hour.
func clockOf(cal *summary.Calendar, h event.Hour) []summary.Window {
	w := summary.Of(h, h+1)
	return cal.Hours(w.From, w.To)
}

// thaw lets go of hours whose stored records have come to hold more, or all there is. Where
// they hold as much, what visits have done in the next hour is in them when that is closed.
func (i *ice) thaw(ctx context.Context, l *Loader, s *Snapshot, m *access.Merchant, cal *summary.Calendar) error {
	stored, err := l.stored(ctx, m, slices.Collect(maps.Keys(i.frozen)))
	if err != nil {
		return err
	}
	for from, n := range stored {
		more := n - eventsOf(i.frozen[from])
		w := cal.Hour(from)
		_, to := w.UTCHours()
		open := len(s.stale) > 0 && to >= s.stale[0]
		// Of what is not dirty a record has all: less than was told, where events were erased.
		if more > 0 || more == 0 && !open || more < 0 && !touches(s.Waiting, w) {
			delete(i.frozen, from)
		}
	}
	return nil
}

// eventsOf is how many events were looked at for a record.
func eventsOf(r *summary.Record) int64 { return r.Total[summary.Events] + r.Duplicates + r.Filtered }

// cover adds to a snapshot what is not counted on and not yet stored.
func (i *ice) cover(s *Snapshot) {
	for from, r := range i.frozen {
		s.frozen = append(s.frozen, from)
		s.Hours[from] = r
	}
}
