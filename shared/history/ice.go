package history

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Hours that come to wait, or that a tally lets go of, were closed before the last events
// came that snapshots have told of. What was told last is told on until their stored records
// hold as many events: nobody sees numbers go back.

// ice is what was told of a merchant, by the first instants of the hours of his clock. It
// does not change.
type ice struct {
	view   followed
	told   map[int64]*summary.Record // by the last snapshot
	frozen map[int64]frozen          // hours that are not counted on
}

type frozen struct {
	record *summary.Record
	since  time.Time
}

const (
	mostFrozen = maxLive / 2   // hours that are kept so, and
	longFrozen = 2 * time.Hour // for how long: what came late is closed again before
)

// freeze adds hours that wait from now on, or that were let go of as they were told last,
// and leaves out those that are counted again.
func (i *ice) freeze(s *Snapshot, cal *summary.Calendar, told, left map[int64]*summary.Record) {
	maps.DeleteFunc(i.frozen, func(from int64, _ frozen) bool { return s.Touches(cal.Hour(from)) })
	now := time.Now()
	add := func(from int64, r *summary.Record) {
		if _, is := i.frozen[from]; is || r == nil || len(i.frozen) >= mostFrozen || s.Touches(cal.Hour(from)) {
			return
		}
		if i.frozen == nil {
			i.frozen = map[int64]frozen{}
		}
		i.frozen[from] = frozen{r, now}
	}
	for from, r := range left {
		add(from, r)
	}
	for _, h := range s.Waiting {
		utc := summary.Of(h, h+1)
		for _, w := range cal.Hours(utc.From, utc.To) {
			add(w.From, told[w.From])
		}
	}
}

// thaw lets go of hours whose stored records have come to hold more, or as much where also
// the hour after it was closed, and with it what visits did there.
func (i *ice) thaw(ctx context.Context, l *Loader, s *Snapshot, m *access.Merchant, cal *summary.Calendar) error {
	all := slices.Collect(maps.Keys(i.frozen))
	keys := make([]store.SummaryKey, len(all))
	for n, from := range all {
		keys[n] = store.SummaryKey{Merchant: m.ID, Generation: m.Generation, Grain: store.GrainHour, Start: from / 1000}
	}
	var data [][]byte
	if err := l.within(ctx, func(ctx context.Context) (err error) {
		data, err = l.records.Get(ctx, keys)
		return err
	}); err != nil {
		return fmt.Errorf("cannot tell whether hours of %q were closed again: %w", m.ID, err)
	}
	now := time.Now()
	for n, from := range all {
		if data[n] == nil {
			continue
		}
		stored, err := summary.DecodeRecord(data[n], summary.Want{})
		if err != nil {
			continue // it is as good as none
		}
		more := eventsOf(stored) - eventsOf(i.frozen[from].record)
		_, to := cal.Hour(from).UTCHours()
		if more > 0 || more == 0 && (len(s.stale) == 0 || to < s.stale[0]) || now.Sub(i.frozen[from].since) > longFrozen {
			delete(i.frozen, from)
		}
	}
	return nil
}

// eventsOf is how many events were looked at for a record.
func eventsOf(r *summary.Record) int64 { return r.Total[summary.Events] + r.Duplicates + r.Filtered }

// cover adds to a snapshot what is not counted on and not yet stored.
func (i *ice) cover(s *Snapshot) {
	for from, hour := range i.frozen {
		s.frozen = append(s.frozen, from)
		s.Hours[from] = hour.record
	}
}
