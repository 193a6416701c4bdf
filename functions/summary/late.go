package summary

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Late events reopen hours that were closed. Counting such an hour looks at all that
// the merchant did in the two days around it, for one event as for a thousand, so
// that late events wait for each other: until an hour of the merchant ends, for
// that looks at the same documents, or until a while (Config.LateEvery) has passed.
// Nothing is missing meanwhile, for reports count what waits from documents. What is
// to be counted again for another reason, as where a record was lost, is marked in
// the view's own queue and does not wait.

// mostLate is how many hours of a merchant wait: reports that would have to look at
// many more at once, as after an import, take long. A busy merchant has late events of
// all hours of the last three days at any time, and those are to wait.
const mostLate = 80

// lateness says whose turn it is. Each merchant has one in LateEvery, at an instant
// of its own, so that they do not all come at once.
type lateness struct {
	asked     bool  // by an operator: nobody waits, whatever the hours cost
	every     int64 // ms
	from, to  int64 // turns after from, up to to; ms since the Unix epoch, by the watermark: while it stands still nobody misses a turn
	watermark time.Time
}

// turn reports whether a merchant's late hours are to be closed; hours are all of
// its dirty ones.
func (l *lateness) turn(merchant string, hours []store.DirtyHour) bool {
	if l.every == 0 || len(hours) > mostLate {
		return true
	}
	at := int64(xxh3.HashString(merchant) % uint64(l.every))
	return (l.to-at)/l.every > (l.from-at)/l.every
}

// ended lists those of a merchant's dirty hours that ended lately. Whether they were
// closed before, their records tell.
func (l *lateness) ended(hours []store.DirtyHour) []event.Hour {
	var ended []event.Hour
	for i := range hours {
		if h := hours[i].Hour; l.watermark.Sub(h.End()).Milliseconds() < l.every {
			ended = append(ended, h)
		}
	}
	return ended
}

// asks reports whether a merchant may have hours to close now.
func (l *lateness) asks(hours []store.DirtyHour) bool {
	return l.turn(hours[0].Merchant, hours) || len(l.ended(hours)) > 0
}

// open reports whether one of the hours has no record yet.
func (c *closing) open(ctx context.Context, hours []event.Hour) (bool, error) {
	var keys []store.SummaryKey
	for _, h := range hours {
		w := summary.Of(h, h+1)
		for _, window := range c.cal.Hours(w.From, w.To) {
			keys = append(keys, c.key(store.GrainHour, window))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	data, err := c.Summaries.Get(ctx, keys)
	if err != nil {
		return false, fmt.Errorf("cannot read records: %w", err)
	}
	for _, d := range data {
		if d == nil {
			return true, nil
		}
	}
	return false, nil
}

func turnsKey(shard store.Shard) store.SummaryKey {
	return store.SummaryKey{Merchant: fmt.Sprintf("!turns-%d-%d", shard.Index, shard.Count), Grain: store.GrainNote}
}

// lateness is whose turn it is in a shard since a run last came to its end, as a note
// beside the records says. Without one it is everybody's.
func (s *Service) lateness(ctx context.Context, d *shardData) *lateness {
	l := &lateness{every: s.cfg.LateEvery.Milliseconds(), to: d.Watermark.UnixMilli(), watermark: d.Watermark}
	if d.Late {
		l.asked, l.every = true, 0
	}
	if l.every == 0 {
		return l
	}
	notes, err := s.getNotes(ctx, []store.SummaryKey{turnsKey(d.shard())})
	if err != nil {
		s.Log.Warn("cannot see whose turn it was last", "shard", d.Shard, "error", err)
		l.from = l.to
		return l
	}
	// An event that comes late is of an older watermark; a note far ahead is of a clock
	// that was.
	if from, err := strconv.ParseInt(string(notes[0]), 10, 64); err == nil && from <= l.to+l.every {
		l.from = min(from, l.to)
	}
	return l
}

// turnsDone notes that all had their turn. Where it cannot, they have it again.
func (s *Service) turnsDone(ctx context.Context, shard store.Shard, l *lateness) {
	if l.every == 0 || l.from == l.to {
		return
	}
	note := store.SummaryEntry{Key: turnsKey(shard), Data: strconv.AppendInt(nil, l.to, 10)}
	if err := s.putNotes(ctx, []store.SummaryEntry{note}); err != nil {
		s.Log.Warn("cannot note whose turn it was", "shard", shard.Index, "error", err)
	}
}
