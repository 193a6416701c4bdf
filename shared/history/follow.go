package history

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Following takes snapshots of a merchant in a view, one after the other. What the
// last one has counted it need not count again: of documents that came since, it
// reads and counts the rows that have to do with them. Where these change hours that
// records hold so far, it counts these, too. Where that takes documents that were
// not read, or anything else has changed, all is counted anew. It is for one
// goroutine at a time.
type Following struct {
	loader *Loader
	most   int64
	wholes int
	// back is how far before what open hours need documents are read when all is
	// counted, for hours that may have to be counted later; short by how much
	// that was not enough.
	back, short event.Hour
	tight       func() bool               // nil: never
	few         int                       // see Tight
	ice         atomic.Pointer[ice]       // what was told so far; nil: nothing
	thawed      uint64                    // the claim when stored records were last asked for what is in it
	left        map[int64]*summary.Record // of hours that the snapshot under way has let go of
	counted
}

// counted is what goes on being counted; without a tally there is nothing.
type counted struct {
	tally *summary.Tally
	spans []stretch  // whose documents are in the tally; ascending, and apart
	since event.Hour // the first hour that was dirty when it was begun, or came later
	stale []event.Hour
	view  followed
	claim uint64 // the last one when it was counted: as long as it is, nobody has been told to be seen earlier
	held  holdings
	// recorded is asked when somebody has closed hours since lookedAt, a claim.
	recorded recorded
	lookedAt uint64
	waits    waiting // nil where nothing may wait
	// fringe is what is before the spans of a merchant who has too much for all that an
	// hour needs to be held; nil of others.
	fringe *fringe
}

// stretch are the hours [from, to).
type stretch struct{ from, to event.Hour }

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

// Follow begins to follow a merchant. At most so many bytes are kept for counting
// on; 0 counts all anew each time.
func (l *Loader) Follow(most int64) *Following { return &Following{loader: l, most: most} }

// Tight has it hold less while memory is tight: of a merchant with more than so many events
// around those that are open hardly more than these, and of whoever has an eighth as many in
// hours that are over, these go. What comes late to such hours waits, as that of busy merchants
// does. It is for a loader that has late hours wait.
func (f *Following) Tight(is func() bool, few int) *Following {
	f.tight, f.few = is, few
	return f
}

func (f *Following) isTight() bool { return f.tight != nil && f.tight() }

// mostRows is how many rows may be read around what is open of a merchant of whom all of
// that is held.
func (f *Following) mostRows(tight bool) int {
	most := f.loader.mostRows(f.most)
	if tight {
		most = min(most, f.few)
	}
	return most
}

// Afresh is one that has counted nothing, and says nothing older than this one. It may be
// asked for while this one is at work.
func (f *Following) Afresh() *Following {
	other := &Following{loader: f.loader, most: f.most, tight: f.tight, few: f.few}
	other.ice.Store(f.ice.Load())
	return other
}

// Size is about how many bytes are kept.
func (f *Following) Size() int64 {
	if f.tally == nil {
		return 0
	}
	n := f.tally.Size() + f.held.size()
	if f.fringe != nil {
		n += f.fringe.size()
	}
	return n
}

// Wholes is how many times all was counted.
func (f *Following) Wholes() int { return f.wholes }

// Snapshot is Loader.Snapshot.
func (f *Following) Snapshot(ctx context.Context, m *access.Merchant, cal *summary.Calendar) (*Snapshot, error) {
	s, dirty, err := f.loader.frame(ctx, m)
	if err != nil {
		return nil, err
	}
	// Whoever closes hours tells the visitors' store, claims, and then takes the marks
	// off: what was closed without being seen to be dirty was claimed by now.
	claim, err := f.loader.claimed(ctx, m)
	if err != nil {
		return nil, err
	}
	last := f.ice.Load()
	if last == nil || last.view != followedBy(m) {
		last = &ice{view: followedBy(m)}
	}
	f.left = nil
	if err := f.count(ctx, m, cal, s, dirty, claim); err != nil {
		return nil, err
	}
	if !s.Whole {
		return s, nil // documents are asked
	}
	next := &ice{view: last.view, frozen: maps.Clone(last.frozen)}
	next.freeze(s, cal, last.told, f.left)
	if claim != f.thawed {
		if len(next.frozen) > 0 && next.thaw(ctx, f.loader, s, m, cal) != nil {
			s.Version = store.Version{} // while it cannot be told what is stored, what was told stays
		} else {
			f.thawed = claim
		}
	}
	next.cover(s)
	next.told = s.Hours
	f.ice.Store(next)
	return s, nil
}

// count counts what is open and does not wait: some hours are dirty, and claim is the last one
// before any document or record is read.
func (f *Following) count(ctx context.Context, m *access.Merchant, cal *summary.Calendar, s *Snapshot, dirty []event.Hour, claim uint64) error {
	if s.Whole {
		f.counted = counted{}
		return nil
	}
	if f.tally != nil && f.view == followedBy(m) {
		more, err := f.goOn(ctx, m, cal, s, dirty, claim)
		if err != nil {
			f.counted = counted{}
			return err
		}
		if more {
			return nil
		}
	}
	f.counted = counted{}
	f.wholes++
	if f.back /= 2; f.short > 0 {
		f.back, f.short = min(4*f.back+2*f.short, summary.Reach), 0
	}
	t, err := f.anew(ctx, s, m, cal, dirty)
	if s.Whole {
		s.waits(t.waits, dirty)
	}
	if t.kept == nil {
		f.back = 0 // there is no room
	}
	if err != nil {
		if fault.Is(err, fault.TooLarge) {
			return nil
		}
		return err
	}
	if t.kept != nil {
		f.counted = *t.kept
		f.recorded = t.recorded
		f.claim, f.lookedAt = claim, claim
	}
	return nil
}

// anew counts all that is open and does not wait. A fault of kind TooLarge says that it is
// too much.
func (f *Following) anew(ctx context.Context, s *Snapshot, m *access.Merchant, cal *summary.Calendar, dirty []event.Hour) (*taking, error) {
	t := &taking{Loader: f.loader, Snapshot: s, m: m, cal: cal, most: f.most, back: f.back, tight: f.isTight()}
	hours, err := t.choose(ctx, dirty, f.mostRows(t.tight))
	if err != nil {
		return t, err
	}
	t.lookAtRecords(ctx, hours)
	for {
		err = t.take(ctx, hours)
		if !fault.Is(err, fault.TooLarge) || !t.few && !t.narrow {
			return t, err
		}
		// With what lies further back, or what other hours need, it is too much: these
		// wait, where they may, and else only what is near is read.
		s.Rows = 0
		less := &taking{Loader: f.loader, Snapshot: s, m: m, cal: cal, waits: t.waits, recorded: t.recorded}
		if t.waits == nil && t.records != nil {
			less.most, less.few, less.waits = f.most, true, waiting{}
		}
		t = less
	}
}

// claimed is the last claim of a merchant's hours.
func (l *Loader) claimed(ctx context.Context, m *access.Merchant) (claim uint64, err error) {
	if err = l.within(ctx, func(ctx context.Context) error {
		claim, err = l.processed.Claimed(ctx, m.ID)
		return err
	}); err != nil {
		return 0, fmt.Errorf("cannot tell whether hours of %q were closed: %w", m.ID, err)
	}
	return claim, nil
}

// keep makes a tally of what was loaded, where it can be counted on and is not
// too much, and takes the records from it.
func (t *taking) keep(since event.Hour) bool {
	if t.most <= 0 || len(t.facts) == 0 {
		return false
	}
	c := &counted{since: since, stale: t.stale, view: followedBy(t.m), held: newHoldings(), waits: t.waits}
	rows := 0
	for _, facts := range t.facts {
		s := t.frames[slices.IndexFunc(t.frames, func(s span) bool { return s.frame == facts.Frame })]
		if n := len(c.spans); n > 0 && s.from < c.spans[n-1].to {
			return false // rows that two hold would count twice
		}
		c.spans = append(c.spans, stretch{s.from, s.to})
		rows += facts.Frame.Len
	}
	last := &c.spans[len(c.spans)-1]
	if last.to <= t.Last || int64(rows)*bytesPerRow > t.most {
		return false
	}
	last.to = farHour // there is nothing after it so far
	c.tally = summary.NewTally(t.facts, t.cal, t.open)
	for _, facts := range t.facts {
		c.held.add(facts.Frame)
	}
	t.kept = c
	t.Hours = c.tally.Records()
	return true
}

// bytesPerRow is about what a row of a tally takes.
const bytesPerRow = 100

// mostStale is how many hours stay in a tally after they were closed, at least.
const mostStale = 2

// mostlyPast reports whether most rows are of hours that none from the first dirty
// one on has to do with: late events keep hours of days ago open until they are
// closed, and then few have gone by for whom all would be counted anew.
func (f *Following) mostlyPast(first event.Hour) bool {
	return f.held.before(first-summary.Reach) > f.tally.Rows()/2
}

// farHour is after every hour that holds events.
const farHour = event.Hour(math.MaxInt32 / 2)

// goOn counts what came since the last snapshot. false: all must be counted anew.
func (f *Following) goOn(ctx context.Context, m *access.Merchant, cal *summary.Calendar, s *Snapshot, all []event.Hour, claim uint64) (bool, error) {
	dirty := all
	if f.loader.records != nil {
		var ok bool
		var err error
		if dirty, ok, err = f.leaveOut(ctx, m, cal, all); !ok || err != nil || len(dirty) == 0 {
			return false, err
		}
		if claim != f.lookedAt && (f.fringe != nil || len(f.waits) > 0) {
			some, err := f.tookIn(ctx, m, cal)
			if some {
				return false, nil
			}
			if err != nil {
				s.Version = store.Version{} // while it cannot be told what is stored, what was told stays
			} else {
				f.lookedAt = claim
			}
		}
		if dirty, err = f.makeRoom(ctx, m, cal, dirty); err != nil {
			return false, err
		}
	}
	if f.Size() > f.most {
		return false, nil
	}
	if f.fringe == nil && dirty[0] > f.since+mostStale {
		if f.mostlyPast(dirty[0]) {
			return false, nil
		}
		f.since = dirty[0]
	}
	rows, ok, err := f.news(ctx, m)
	if !ok || err != nil {
		return false, err
	}
	fresh := map[event.Hour]bool{} // hours that are not stale so far
	rows.Rows(func(_ event.BatchID, hour event.Hour, _ int) { fresh[hour] = !f.isStale(hour) })
	maps.DeleteFunc(fresh, func(_ event.Hour, is bool) bool { return !is })
	var far []event.Hour // dirty hours of which nothing was read
	for _, h := range dirty {
		switch {
		case f.isStale(h) || fresh[h]:
		case f.reads(h):
			// Its rows came after the hours were listed and before they were read, or it is
			// marked again without anything new.
			fresh[h] = true
		default:
			fresh[h], far = true, append(far, h)
		}
	}
	if len(f.stale)+len(fresh) > maxLive {
		return false, nil
	}
	if f.fringe != nil && len(far) > 0 {
		return false, nil
	}
	if f.fringe != nil {
		if err := f.fetch(ctx, m, rows); err != nil {
			return false, err
		}
	} else if len(far) > 0 {
		if rows, ok, err = f.reach(ctx, m, rows, far); !ok || err != nil {
			return false, err
		}
	}
	firstSeen := func(users []uint64) ([]int64, error) { return f.loader.FirstSeen(ctx, m, users) }
	for _, h := range slices.Sorted(maps.Keys(fresh)) {
		if ok, err = f.around(ctx, m, h); ok && err == nil {
			ok, err = f.tally.Adopt(h, firstSeen)
		}
		if !ok || err != nil {
			return false, err
		}
	}
	adopted, ok, err := f.tally.Add(rows, summary.Around{
		FirstSeen: firstSeen, Earlier: claim != f.claim,
		Whole: func(h event.Hour) bool {
			is := f.countable(h)
			if at := f.spanOf(h); !is && at >= 0 && f.fringe == nil {
				from, _ := f.tally.Needs(h)
				f.short = max(f.short, f.spans[at].from-from)
			}
			return is
		},
		Waits: func(h event.Hour) bool { return f.waits != nil && (f.waits[h] != 0 || !f.countable(h)) },
	})
	if err != nil || !ok {
		return false, err
	}
	f.held.add(rows)
	f.claim = claim
	for h := range fresh {
		f.since = min(f.since, h)
	}
	for _, h := range adopted {
		fresh[h] = true
	}
	if len(fresh) > 0 {
		// Snapshots share what was there.
		f.stale = slices.AppendSeq(slices.Clip(f.stale), maps.Keys(fresh))
		slices.Sort(f.stale)
	}
	s.Hours, s.stale, s.Rows, s.Whole = f.tally.Records(), f.stale, f.tally.Rows(), true
	s.waits(f.waits, all)
	return true, nil
}

func (c *counted) isStale(h event.Hour) bool {
	_, known := slices.BinarySearch(c.stale, h)
	return known
}

// spanOf is the place of the stretch that an hour is in, -1 where it is in none.
func (c *counted) spanOf(h event.Hour) int {
	return slices.IndexFunc(c.spans, func(s stretch) bool { return s.from <= h && h < s.to })
}

// reads reports whether the documents of an hour are in the tally.
func (c *counted) reads(h event.Hour) bool { return c.spanOf(h) >= 0 }

// countable reports whether all is there that counting an hour takes, or will be when it
// is asked for.
func (c *counted) countable(h event.Hour) bool {
	from, to := c.tally.Needs(h)
	if c.fringe != nil {
		if from < c.fringe.from {
			return false
		}
		from = max(from, c.fringe.to)
	}
	at := c.spanOf(from)
	return at >= 0 && to <= c.spans[at].to
}

// reach adds what stands in hours of which nothing was read so far to the rows that
// are new: which of it records hold already cannot be told, and whom it concerns is
// counted with it.
func (f *Following) reach(ctx context.Context, m *access.Merchant, rows *processed.Frame, hours []event.Hour) (*processed.Frame, bool, error) {
	frames := []*processed.Frame{rows}
	for _, h := range hours {
		frame, ok, err := f.take(ctx, m, stretch{h, h + 1})
		if !ok || err != nil {
			return nil, false, err
		}
		frames = append(frames, frame)
	}
	frame, err := united(summary.Needs(summary.RecordKeys()), frames)
	return frame, err == nil, err
}

// around sees to it that all rows are there which counting an hour takes.
func (f *Following) around(ctx context.Context, m *access.Merchant, h event.Hour) (ok bool, err error) {
	if f.fringe != nil {
		return f.countable(h), nil
	}
	from, to := f.tally.Needs(h)
	for from < to {
		if at := f.spanOf(from); at >= 0 {
			from = f.spans[at].to
			continue
		}
		gap := stretch{from, to}
		for _, s := range f.spans {
			if s.from > from {
				gap.to = min(gap.to, s.from)
			}
		}
		frame, ok, err := f.take(ctx, m, gap)
		if !ok || err != nil {
			return false, err
		}
		f.tally.Hold(frame)
		f.held.add(frame)
		from = gap.to
	}
	return true, nil
}

// take reads the documents of hours that were not read, while there is room.
func (f *Following) take(ctx context.Context, m *access.Merchant, hours stretch) (_ *processed.Frame, ok bool, err error) {
	frame, err := f.loader.Load(ctx, m, hours.from, hours.to, summary.Needs(summary.RecordKeys()))
	if err != nil {
		if fault.Is(err, fault.TooLarge) {
			return nil, false, nil
		}
		return nil, false, err
	}
	f.spans = joined(append(f.spans, hours))
	return frame, f.Size()+int64(frame.Len)*bytesPerRow <= f.most, nil
}

// news reads the rows of documents that are not in the tally. ok is false where
// something that is in it is not there any more, or something else.
func (f *Following) news(ctx context.Context, m *access.Merchant) (_ *processed.Frame, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.loader.options.Timeout)
	defer cancel()
	n := f.held.look(summary.Needs(summary.RecordKeys()), f.waits)
	spans := without(f.spans, f.waits.stretches())
	for _, rev := range m.Layers.Revisions() {
		for _, s := range spans {
			if err := f.loader.pick(ctx, m, rev, s.from, s.to, n.wants, n.at); err != nil {
				return nil, false, fmt.Errorf("cannot read the events of %q: %w", m.ID, err)
			}
		}
	}
	if !n.allThere() {
		return nil, false, nil
	}
	rows, err := n.union.Frame()
	if err != nil {
		return nil, false, fmt.Errorf("cannot read the events of %q: %w", m.ID, err)
	}
	return rows, true, nil
}
