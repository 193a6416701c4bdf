package history

import (
	"context"
	"maps"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// Of a merchant with millions of events a day a tally holds the open hours and the one
// before them, whose sessions go on in these, or where memory is tight the open hours only.
// What is before that is its fringe.

// readOpen reads what counting the hours from a dirty one on takes: all of these and, unless
// memory is tight, of the one before, and of hours around what has to do with them.
func (t *taking) readOpen(ctx context.Context, first event.Hour) error {
	var hours []event.Hour
	if !t.tight {
		first--
	}
	for h := first; h <= t.Last; h++ {
		hours = append(hours, h)
	}
	_, err := t.near(ctx, hours)
	return err
}

// keepOpen is keep of what readOpen has read.
func (t *taking) keepOpen(ctx context.Context, since event.Hour) (bool, error) {
	if t.most <= 0 || len(t.nears) != 1 || len(t.facts) != 1 {
		return false, nil
	}
	near, facts := t.nears[0], t.facts[0]
	if near.all || len(near.asked) != 1 || facts.Frame != near.frame || near.asked[0].to <= t.Last {
		return false, nil
	}
	whole := near.asked[0]
	c := &counted{
		since: since, stale: t.stale, view: followedBy(t.m), held: newHoldings(), waits: t.waits,
		spans:  []stretch{{whole.from, farHour}},
		fringe: newFringe(stretch{whole.from - summary.Reach, whole.from}, facts.Settings),
	}
	if int64(facts.Frame.Len)*bytesPerRow > t.most {
		return false, nil
	}
	for row, ms := range facts.Frame.Millis {
		switch h := hourOf(ms); {
		case h < whole.from:
			c.fringe.rows.add(rowHash(facts.Frame, row))
		case h >= whole.to:
			return false, nil // of hours after them some came meanwhile
		}
	}
	if err := c.fringe.read(ctx, t.Loader, t.m); err != nil {
		return false, err
	}
	if int64(facts.Frame.Len)*bytesPerRow+c.fringe.size() > t.most {
		return false, nil
	}
	c.tally = summary.NewTally(t.facts, t.cal, t.open)
	for _, w := range near.whole {
		c.held.add(w.frame)
	}
	t.kept = c
	t.Hours = c.tally.Records()
	return true, nil
}

// fetch has the tally hold what of the fringe has to do with rows that are to be counted.
func (f *Following) fetch(ctx context.Context, m *access.Merchant, rows *processed.Frame) error {
	found, err := f.fringe.fetch(ctx, f.loader, m, summary.Needs(summary.RecordKeys()), rows)
	for _, frame := range found {
		f.tally.Hold(frame)
	}
	return err
}

// makeRoom lets go of what is before the hour before the first one that is dirty and does
// not wait, where that is much: of a merchant with a fringe, and of one of whom more is
// held than a snapshot may read. Where memory is tight, what is before that hour itself goes,
// too, of whoever has some thousand rows. Hours that may wait do so from then on. It returns
// the hours that are dirty and do not wait.
func (f *Following) makeRoom(ctx context.Context, m *access.Merchant, cal *summary.Calendar, dirty []event.Hour) ([]event.Hour, error) {
	before, tight := event.Hour(1), f.isTight() && f.tally.Rows() >= f.few/8
	if tight {
		before = 0
	}
	much := func(h event.Hour) bool { return 4*f.held.before(h-before) > f.tally.Rows() }
	full := f.Size() > f.most || f.tally.Rows() > f.loader.mostRows(f.most)
	if f.fringe == nil && !tight && !full || !much(dirty[len(dirty)-1]) {
		return dirty, nil
	}
	if !full {
		// As an hour ends everybody's rows go. All at once they would keep those waiting whose
		// pictures take a moment.
		if !f.loader.leaving.TryLock() {
			return dirty, nil
		}
		defer f.loader.leaving.Unlock()
	}
	may, err := f.loader.mayWait(ctx, m, cal, dirty, dirty)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(dirty, func(h event.Hour) bool { return may[h] == 0 })
	if first < 0 || !much(dirty[first]) {
		return dirty, nil
	}
	h := dirty[first] - before
	if f.fringe == nil && !f.holdsAround(h) {
		return dirty, nil
	}
	maps.DeleteFunc(may, func(of event.Hour, _ wait) bool { return of >= h })
	if f.waits == nil {
		f.waits = waiting{}
	}
	maps.Copy(f.waits, may)
	f.leave(h, m)
	return slices.DeleteFunc(slices.Clone(dirty), func(of event.Hour) bool { return f.waits[of] != 0 }), nil
}

// holdsAround reports whether all rows are held from Reach before an hour on.
func (f *Following) holdsAround(h event.Hour) bool {
	from, _ := f.tally.Needs(h)
	at := f.spanOf(from)
	return at >= 0 && f.spans[at].to == farHour
}

// leave lets go of what is before an hour; its fringe takes its place.
func (f *Following) leave(h event.Hour, m *access.Merchant) {
	needs, _ := f.tally.Needs(h)
	from := needs + summary.Reach
	g := f.fringe
	if g == nil {
		g = newFringe(stretch{needs, from}, SettingsOf(m.Settings))
		f.fringe = g
	}
	g.stretch = stretch{needs, from}
	maps.DeleteFunc(g.hours, func(h event.Hour, _ filter) bool { return h < needs })
	for h, held := range f.held.hours {
		if h >= needs && h < from {
			g.make(h, held.rows)
		}
	}
	g.rows, g.asked = hashSet{}, hashSet{}
	f.left = f.tally.Leave(h, func(frame *processed.Frame, stays func(int) bool) { g.add(frame, nil, stays) })
	f.leaveRecorded(needs, from)
	f.spans = []stretch{{from, farHour}}
	at, _ := slices.BinarySearch(f.stale, h)
	f.stale = slices.Clone(f.stale[at:])
	maps.DeleteFunc(f.held.hours, func(h event.Hour, _ holding) bool { return h < from })
	f.since = max(f.since, h)
}
