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

// Late hours of busy merchants wait. A merchant with millions of events a day has late
// ones of all hours of days, and to count each of these hours anew, with what lies
// around it, takes longer than anybody waits for an answer. Where that is more than a
// snapshot may read, hours that were closed before are left to their records, the oldest
// first, until they are closed again. So are hours of days ago that had no events before,
// of which nothing is told until then. Hours under way, and what is to be counted again for
// another reason than late events, never wait.

// waiting are hours whose records are used although something of them is not in these.
// A tally does not look at them again, so that what it holds of them stays as it is.
type waiting map[event.Hour]wait

// wait is how an hour waits; 0: it does not.
type wait uint8

const (
	late wait = 1 + iota // its record lacks what came late
	bare                 // it has no record yet
)

// hours lists those of some dirty hours that wait, or wait in one way, in order.
func (w waiting) hours(dirty []event.Hour, ways ...wait) (hours []event.Hour) {
	for _, h := range dirty {
		if w[h] != 0 && (len(ways) == 0 || slices.Contains(ways, w[h])) {
			hours = append(hours, h)
		}
	}
	return hours
}

// stretches are all hours that wait, in order.
func (w waiting) stretches() []stretch {
	var all []stretch
	for h := range w {
		all = append(all, stretch{h, h + 1})
	}
	return joined(all)
}

// around are the hours whose documents are read to count some, and those beside them,
// which change most.
func around(hours []event.Hour) []stretch {
	var all []stretch
	for _, run := range Runs(hours, longestRun) {
		from, to := summary.Of(run[0]-1, run[len(run)-1]+2).Needs()
		all = append(all, stretch{from, to})
	}
	return joined(all)
}

// choose decides which of the dirty hours are counted, and whether all documents around
// them are few enough to go on being counted. Where they are not, what has nothing to do
// with these hours is not read: of a merchant with millions of events a day that is
// nearly all. most is how many are few.
func (t *taking) choose(ctx context.Context, dirty []event.Hour, most int) (hours []event.Hour, err error) {
	if t.most <= 0 || len(dirty) > maxLive/2 {
		return dirty, nil
	}
	all := around(dirty)
	rows, err := t.rowsOf(ctx, t.m, all)
	if err != nil {
		return nil, err
	}
	fits := func(hours []event.Hour) bool { return rows.in(around(hours)) <= most }
	if t.few = fits(dirty); t.few || t.records == nil {
		return dirty, nil
	}
	may, err := t.mayWait(ctx, t.m, t.cal, dirty, dirty)
	if err != nil {
		return nil, err
	}
	full := false
	for _, h := range slices.Backward(dirty) {
		with := slices.Insert(slices.Clone(hours), 0, h)
		if may[h] != 0 && (full || !fits(with)) {
			full = true
			continue
		}
		hours = with
		delete(may, h)
	}
	if t.few = len(may) > 0 && fits(hours); t.few {
		t.waits = may
		return hours, nil
	}
	before := hours[0] - 2 // an hour of the clock may begin in the one before
	if t.tight {
		before++
	}
	room := min(int(t.most/bytesPerRow), t.openRows)
	if t.narrow = hours[len(hours)-1] >= t.Last && rows.in([]stretch{{before, farHour}}) <= room; t.narrow {
		t.Loader = t.Within(room)
	}
	if t.narrow || len(may) > 0 {
		t.waits = may
	}
	return hours, nil
}

// mostRows is how many rows a snapshot may read that goes on being counted in so many
// bytes.
func (l *Loader) mostRows(bytes int64) int {
	most := int(bytes / bytesPerRow)
	if l.options.MaxRows > 0 {
		most = min(most, l.options.MaxRows)
	}
	return most
}

// hourRows is by hour how many rows there are.
type hourRows map[event.Hour]int

func (r hourRows) in(all []stretch) (sum int) {
	for h, n := range r {
		if within(all, h) {
			sum += n
		}
	}
	return sum
}

// rowsOf counts the rows of a merchant's documents.
func (l *Loader) rowsOf(ctx context.Context, m *access.Merchant, all []stretch) (hourRows, error) {
	rows := hourRows{}
	count := func(k store.DocKey, events int) bool {
		rows[k.Hour] += events
		return false
	}
	for _, s := range all {
		for _, rev := range m.Layers.Revisions() {
			if err := l.within(ctx, func(ctx context.Context) error { return l.pick(ctx, m, rev, s.from, s.to, count, nil) }); err != nil {
				return nil, fmt.Errorf("cannot tell how many events %q has: %w", m.ID, err)
			}
		}
	}
	return rows, nil
}

// mayWait says which of some hours may wait. They are dirty, as others may be: these have
// records and lack nothing in them but events that came late, or have none and are more than
// Reach before the last dirty hour.
func (l *Loader) mayWait(ctx context.Context, m *access.Merchant, cal *summary.Calendar, hours, dirty []event.Hour) (waiting, error) {
	if len(hours) == 0 {
		return nil, nil
	}
	again, err := l.dirtyAgain(ctx, m, hours)
	if err != nil {
		return nil, err
	}
	days, keys := map[int64]int{}, []store.SummaryKey(nil)
	for _, h := range hours {
		for _, w := range clockOf(cal, h) {
			day := cal.Day(w.From)
			if _, listed := days[day.From]; !listed {
				days[day.From] = len(keys)
				keys = append(keys, store.SummaryKey{Merchant: m.ID, Generation: m.Generation, Grain: store.GrainDay, Start: day.From / 1000})
			}
		}
	}
	var data [][]byte
	if err = l.within(ctx, func(ctx context.Context) error {
		data, err = l.records.Get(ctx, keys)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot tell which hours of %q were closed: %w", m.ID, err)
	}
	closed := make([]uint32, len(data)) // by day: the hours that have a record
	for i, d := range data {
		if r, err := summary.DecodeRecord(d, summary.Want{}); err == nil {
			closed[i] = r.Hours
		}
	}
	may := waiting{}
	for _, h := range hours {
		if _, other := slices.BinarySearch(again, h); other {
			continue
		}
		clock, records := clockOf(cal, h), 0
		for _, w := range clock {
			day := cal.Day(w.From)
			if place := slices.Index(cal.Hours(day.From, day.To), w); place >= 0 && closed[days[day.From]]>>place&1 == 1 {
				records++
			}
		}
		switch {
		case records == len(clock):
			may[h] = late
		case records == 0 && h < dirty[len(dirty)-1]-summary.Reach:
			may[h] = bare
		}
	}
	return may, nil
}

// dirtyAgain lists those of some dirty hours that are to be counted again for another
// reason than late events: these are marked in the view's own queue.
func (l *Loader) dirtyAgain(ctx context.Context, m *access.Merchant, hours []event.Hour) (again []event.Hour, err error) {
	if err = l.within(ctx, func(ctx context.Context) error {
		again, err = l.processed.DirtyOf(ctx, m.ID, []store.Queue{store.Queue(m.Generation)}, hours[0], hours[len(hours)-1]+1)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot list what is to be counted again of %q: %w", m.ID, err)
	}
	return again, nil
}

// takes reports whether an hour that something else in the counted ones has changed is
// counted with them. Where hours wait, only one beside them is: the documents of others
// would have to be read, and their records are made anew with the counted ones.
func (t *taking) takes(counted []event.Hour, h event.Hour) bool {
	if t.narrow && t.tight && h < counted[0] {
		return false
	}
	return t.waits == nil || t.waits[h] == 0 && slices.ContainsFunc(counted, func(c event.Hour) bool { return h >= c-1 && h <= c+1 })
}

// isFew reports whether all around the dirty hours are few enough events to be counted anew
// and held, as of a merchant of whom rows were let go while memory was tight.
func (f *Following) isFew(ctx context.Context, m *access.Merchant, dirty []event.Hour) (bool, error) {
	all := around(dirty)
	rows, err := f.loader.rowsOf(ctx, m, all)
	return rows.in(all) <= f.mostRows(f.isTight()), err
}

// leaveOut is the dirty hours but for those that wait. What comes to be dirty waits where
// it may, and more would have to be read to count it than a snapshot may read, or keep.
// ok is false where one that waits may not any more.
func (f *Following) leaveOut(ctx context.Context, m *access.Merchant, cal *summary.Calendar, dirty []event.Hour) (_ []event.Hour, ok bool, err error) {
	if len(f.waits) > 0 {
		again, err := f.loader.dirtyAgain(ctx, m, dirty)
		if err != nil || slices.ContainsFunc(again, func(h event.Hour) bool { return f.waits[h] != 0 }) {
			return nil, false, err
		}
	}
	var ask []event.Hour
	for _, h := range dirty {
		if f.isStale(h) || f.waits[h] != 0 {
			continue
		}
		if !f.countable(h) {
			ask = append(ask, h)
		}
	}
	if len(ask) > 0 && f.fringe != nil {
		if few, err := f.isFew(ctx, m, dirty); few || err != nil {
			return nil, false, err
		}
		may, err := f.loader.mayWait(ctx, m, cal, ask, dirty)
		if err != nil || len(may) < len(ask) {
			return nil, false, err
		}
		maps.Copy(f.waits, may)
	} else if len(ask) > 0 {
		missing := without(around(ask), f.spans)
		rows, err := f.loader.rowsOf(ctx, m, missing)
		if err != nil {
			return nil, false, err
		}
		n, most := rows.in(missing), f.loader.options.MaxRows
		if most > 0 && n > most || f.Size()+int64(n)*bytesPerRow > f.most {
			may, err := f.loader.mayWait(ctx, m, cal, ask, dirty)
			if err != nil {
				return nil, false, err
			}
			if f.waits == nil && len(may) > 0 {
				f.waits = waiting{}
			}
			maps.Copy(f.waits, may)
		}
	}
	return slices.DeleteFunc(slices.Clone(dirty), func(h event.Hour) bool { return f.waits[h] != 0 }), true, nil
}
