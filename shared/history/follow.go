package history

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Following takes snapshots of a merchant in a view, one after the other. What the
// last one has counted it need not count again: of documents that came since, it
// reads and counts the rows that have to do with them. Where they change
// other hours than those that are open, and where anything else has changed, all is
// counted anew. It is for one goroutine at a time.
type Following struct {
	loader *Loader
	most   int64
	wholes int
	counted
}

// counted is what goes on being counted; without a tally there is nothing.
type counted struct {
	tally *summary.Tally
	from  event.Hour // all documents from here on are in the tally
	since event.Hour // the first hour that was dirty when it was begun
	stale []event.Hour
	view  followed
	held  map[batchHour]*holding
	// merged are the batches of merged documents that were looked at.
	merged map[store.DocKey][]event.BatchID
	round  uint32
}

// followed is what a count is of.
type followed struct {
	merchant     string
	generation   uint32
	version      uint64
	layers, zone string
}

func followedBy(m *access.Merchant) followed {
	return followed{m.ID, m.Generation, m.Version, fmt.Sprint(m.Layers), m.Settings.TimeZone}
}

// batchHour is the unit of which readers take each once.
type batchHour struct {
	batch event.BatchID
	hour  event.Hour
}

type holding struct {
	rows  int
	round uint32 // of looking for documents that met it last
}

// Follow begins to follow a merchant. At most so many bytes are kept for counting
// on; 0 counts all anew each time.
func (l *Loader) Follow(most int64) *Following { return &Following{loader: l, most: most} }

// Size is about how many bytes are kept.
func (f *Following) Size() int64 {
	if f.tally == nil {
		return 0
	}
	const perBatch = 96
	return f.tally.Size() + int64(len(f.held)*perBatch)
}

// Wholes is how many times all was counted.
func (f *Following) Wholes() int { return f.wholes }

// Snapshot is Loader.Snapshot.
func (f *Following) Snapshot(ctx context.Context, m *access.Merchant, cal *summary.Calendar) (*Snapshot, error) {
	s, dirty, err := f.loader.frame(ctx, m)
	if err != nil {
		return nil, err
	}
	if s.Whole {
		f.counted = counted{}
		return s, nil
	}
	if f.tally != nil && f.view == followedBy(m) {
		more, err := f.goOn(ctx, m, s, dirty)
		if err != nil {
			f.counted = counted{}
			return nil, err
		}
		if more {
			return s, nil
		}
	}
	f.counted = counted{}
	f.wholes++
	t := taking{Loader: f.loader, Snapshot: s, m: m, cal: cal, first: map[uint64]int64{}, most: f.most}
	if err := t.take(ctx, dirty); err != nil {
		if fault.Is(err, fault.TooLarge) {
			return s, nil
		}
		return nil, err
	}
	if t.kept != nil {
		f.counted = *t.kept
	}
	return s, nil
}

// keep makes a tally of what was loaded, where it can be counted on and is not
// too much, and takes the records from it.
func (t *taking) keep(since event.Hour) bool {
	if t.most <= 0 || len(t.facts) != 1 || len(t.frames) == 0 {
		return false
	}
	facts := t.facts[0]
	span := t.frames[slices.IndexFunc(t.frames, func(s span) bool { return s.frame == facts.Frame })]
	if span.to <= t.Last || int64(facts.Frame.Len)*bytesPerRow > t.most {
		return false
	}
	t.kept = &counted{
		tally: summary.NewTally(facts, t.cal, t.open(facts)), from: span.from, since: since, stale: t.stale, view: followedBy(t.m),
		held: map[batchHour]*holding{}, merged: map[store.DocKey][]event.BatchID{},
	}
	t.kept.hold(facts.Frame)
	t.Hours = t.kept.tally.Records()
	return true
}

// bytesPerRow is about what a row of a tally takes.
const bytesPerRow = 256

// mostStale is how many hours stay in a tally after they were closed.
const mostStale = 2

// farHour is after every hour that holds events.
const farHour = event.Hour(math.MaxInt32 / 2)

// hold notes the rows of a frame.
func (c *counted) hold(f *processed.Frame) {
	f.Rows(func(batch event.BatchID, hour event.Hour, rows int) {
		key := batchHour{batch, hour}
		h := c.held[key]
		if h == nil {
			h = &holding{round: c.round}
			c.held[key] = h
		}
		h.rows += rows
	})
}

// goOn counts what came since the last snapshot. false: all must be counted anew.
func (f *Following) goOn(ctx context.Context, m *access.Merchant, s *Snapshot, dirty []event.Hour) (bool, error) {
	if dirty[0] > f.since+mostStale || f.Size() > f.most {
		return false, nil
	}
	rows, ok, err := f.news(ctx, m)
	if !ok || err != nil {
		return false, err
	}
	var hours []event.Hour
	rows.Rows(func(_ event.BatchID, hour event.Hour, _ int) { hours = append(hours, hour) })
	slices.Sort(hours)
	for _, h := range slices.Compact(hours) {
		if _, known := slices.BinarySearch(f.stale, h); known {
			continue
		}
		if h < f.stale[len(f.stale)-1] || !f.tally.Extend(h) {
			return false, nil
		}
		f.stale = append(slices.Clip(f.stale), h) // snapshots share what was there
	}
	for _, h := range dirty {
		if _, known := slices.BinarySearch(f.stale, h); !known {
			return false, nil // marked again without anything new
		}
	}
	if ok, err = f.tally.Add(rows, func(users []uint64) ([]int64, error) { return f.loader.FirstSeen(ctx, m, users) }); !ok || err != nil {
		return false, err
	}
	f.hold(rows)
	s.Hours, s.stale, s.Rows, s.Whole = f.tally.Records(), f.stale, f.tally.Rows(), true
	return true, nil
}

// news reads the rows of documents that are not in the tally. ok is false where
// something that is in it is not there any more, or something else.
func (f *Following) news(ctx context.Context, m *access.Merchant) (_ *processed.Frame, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.loader.options.Timeout)
	defer cancel()
	f.round++
	n := look{Following: f, union: processed.NewUnion(summary.Needs(summary.RecordKeys()))}
	for _, rev := range m.Layers.Revisions() {
		if err := f.loader.scan(ctx, m, rev, f.from, farHour, n.at); err != nil {
			return nil, false, fmt.Errorf("cannot read the events of %q: %w", m.ID, err)
		}
	}
	for _, h := range f.held {
		n.other = n.other || h.round != f.round
	}
	if n.other {
		return nil, false, nil
	}
	rows, err := n.union.Frame()
	if err != nil {
		return nil, false, fmt.Errorf("cannot read the events of %q: %w", m.ID, err)
	}
	return rows, true, nil
}

// look is a Following that looks at documents.
type look struct {
	*Following
	union *processed.Union
	other bool // a batch is not what it was
}

func (n *look) at(d store.Doc, keep processed.Keep) error {
	switch {
	case n.other:
	case !d.Key.IsMerged():
		if keep == nil || keep(d.Key.Batch) {
			if !n.met(batchHour{d.Key.Batch, d.Key.Hour}, d.Events) {
				return n.union.Add(d.Data, nil)
			}
		}
	case n.merged[d.Key] != nil:
		for _, batch := range n.merged[d.Key] {
			n.met(batchHour{batch, d.Key.Hour}, -1)
		}
	default:
		return n.atMerged(d, keep)
	}
	return nil
}

// atMerged looks at a merged document for the first time.
func (n *look) atMerged(d store.Doc, keep processed.Keep) error {
	f, err := processed.Decode(d.Data, processed.Columns{Identity: true, Actors: true})
	if err != nil {
		return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
	}
	rows := map[batchHour]int{}
	f.Rows(func(batch event.BatchID, hour event.Hour, count int) {
		if keep == nil || keep(batch) {
			rows[batchHour{batch, hour}] += count
		}
	})
	batches := make([]event.BatchID, 0, len(rows))
	strange := map[event.BatchID]bool{}
	for key, count := range rows {
		batches = append(batches, key.batch)
		if !n.met(key, count) {
			strange[key.batch] = true
		}
	}
	n.merged[d.Key] = batches
	if len(strange) == 0 {
		return nil
	}
	return n.union.Add(d.Data, func(batch event.BatchID) bool { return strange[batch] })
}

// met notes that a batch's rows of an hour are still there; false where they are
// not in the tally. rows -1 are as many as before.
func (n *look) met(key batchHour, rows int) bool {
	h := n.held[key]
	if h == nil {
		return false
	}
	h.round = n.round
	n.other = n.other || rows >= 0 && rows != h.rows
	return true
}
