package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Snapshot is what records do not hold of a merchant's data at one moment, in
// the form of records: with it every question that records can answer is
// answered by merging records. It does not change and may be shared.
type Snapshot struct {
	// Version was read before anything else: what came later may be missing. It is none
	// where it could not be told whether all is there.
	Version store.Version
	// First and Last are the merchant's first and last hour with documents;
	// Some is false where there are none.
	First, Last event.Hour
	Some        bool
	// Whole is false where too much is open to be worked out beforehand, as
	// during an import: then there is nothing else, and each question asks Open.
	Whole bool
	// Hours are the records of the hours of the merchant's clock whose stored
	// records must not be used, by their first instant (ms since the Unix
	// epoch). An hour without events has an empty one.
	Hours map[int64]*summary.Record
	// Waiting are dirty hours whose stored records may be used all the same: they lack
	// events that came late, until they are closed again (Loader.Waiting).
	Waiting []event.Hour
	// Rows is how many events were looked at.
	Rows int

	stale  []event.Hour
	frozen []int64 // first instants of hours of the clock that are as they were told last
	bare   []event.Hour
}

// Bare reports whether nothing is told so far of an hour of the clock: it has no record, and
// waits for its first one.
func (s *Snapshot) Bare(w summary.Window) bool { return touches(s.bare, w) }

func (s *Snapshot) waits(w waiting, dirty []event.Hour) {
	s.Waiting, s.bare = w.hours(dirty), w.hours(dirty, bare)
}

// Touches reports whether the stored record of a window must not be used.
func (s *Snapshot) Touches(w summary.Window) bool {
	return touches(s.stale, w) || slices.ContainsFunc(s.frozen, func(from int64) bool { return from >= w.From && from < w.To })
}

// maxLive is how many stale hours a snapshot works out.
const maxLive = 192

// Snapshot works out what records do not hold of a merchant in a view, by the
// code that makes records.
// It is to be asked before records are read, as Open is.
func (l *Loader) Snapshot(ctx context.Context, m *access.Merchant, cal *summary.Calendar) (*Snapshot, error) {
	return l.Follow(0).Snapshot(ctx, m, cal)
}

// frame is a snapshot without what is open, and the hours that are dirty.
func (l *Loader) frame(ctx context.Context, m *access.Merchant) (s *Snapshot, dirty []event.Hour, err error) {
	s = &Snapshot{Hours: map[int64]*summary.Record{}}
	if err := l.within(ctx, func(ctx context.Context) error {
		if s.Version, err = l.processed.Version(ctx, m.ID); err != nil {
			return err
		}
		s.First, s.Last, s.Some, err = l.processed.Extent(ctx, m.ID, m.Layers.Revisions()...)
		return err
	}); err != nil {
		return nil, nil, fmt.Errorf("cannot find the events of %q: %w", m.ID, err)
	}
	if s.Some {
		dirty, err = l.dirtyOf(ctx, m, s.First, s.Last+1)
	}
	s.Whole = len(dirty) == 0
	return s, dirty, err
}

func (l *Loader) within(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	return fn(ctx)
}

// taking is a snapshot at work.
type taking struct {
	*Loader
	*Snapshot
	m      *access.Merchant
	cal    *summary.Calendar
	few    bool             // all documents around are read, and may go on being counted
	narrow bool             // all of the open hours are, and what has to do with them of those before
	tight  bool             // memory is
	waits  waiting          // nil where nothing may wait
	frames []span           // what was loaded, where few
	nears  []*Near          // where not
	facts  []*summary.Facts // of stale hours that lie close together
	first  map[uint64]int64 // when the users of facts were first seen, ms
	back   event.Hour       // how far before what they need documents are read
	most   int64            // bytes that what goes on being counted may take
	kept   *counted         // what does; nil where it is not to be

	recorded recorded
}

// span is a frame with the documents of the hours [from, to).
type span struct {
	from, to event.Hour
	frame    *processed.Frame
}

func (t *taking) take(ctx context.Context, dirty []event.Hour) error {
	if len(dirty) > maxLive/2 {
		return nil
	}
	var err error
	t.first = map[uint64]int64{}
	stale := slices.Clone(dirty)
	settings := SettingsOf(t.m.Settings)
	if t.narrow {
		if err := t.readOpen(ctx, dirty[0]); err != nil {
			return err
		}
	}
	before := firstHour // the last dirty hour before the run
	for _, run := range Runs(dirty, longestRun) {
		var frame *processed.Frame
		if t.few {
			back := max(0, min(t.back, run[0]-before-2*summary.Reach-1))
			before = run[len(run)-1]
			frame, err = t.load(ctx, summary.Of(run[0]-back, before+1))
		} else {
			frame, err = t.near(ctx, run)
		}
		if err != nil {
			return err
		}
		for _, h := range summary.Affected(run, frame, settings) {
			if t.takes(dirty, h) {
				stale = append(stale, h)
			}
		}
	}
	// Users who cease to be new may add hours, whose users are all known
	// already: the second look adds none.
	for range 3 {
		slices.Sort(stale)
		stale = slices.Compact(stale)
		if len(stale) > maxLive {
			return nil
		}
		if err := t.resolve(ctx, stale, settings); err != nil {
			return err
		}
		more, err := t.seen(ctx)
		if err != nil {
			return err
		}
		n := len(stale)
		for _, h := range more {
			if _, known := slices.BinarySearch(stale[:n], h); !known && t.takes(dirty, h) {
				stale = append(stale, h)
			}
		}
		if len(stale) == n {
			break
		}
	}
	for _, facts := range t.facts {
		users, millis := facts.Firsts()
		for i, u := range users {
			millis[i] = t.first[u]
		}
		facts.SetFirstSeen(users, millis)
	}
	t.stale, t.Whole = stale, true
	if t.few && len(dirty) > 0 && t.keep(dirty[0]) {
		return nil
	}
	if t.narrow {
		if kept, err := t.keepOpen(ctx, dirty[0]); kept || err != nil {
			return err
		}
	}
	for _, facts := range t.facts {
		for _, h := range t.open(facts) {
			day := t.cal.Day(h.From)
			t.Hours[h.From] = summary.NewWideRecord(facts.Slice(h), slices.Index(t.cal.Hours(day.From, day.To), h))
		}
	}
	return nil
}

// near is a frame with all rows of some hours, which lie close together, and what has
// to do with them.
func (t *taking) near(ctx context.Context, hours []event.Hour) (*processed.Frame, error) {
	var windows []summary.Window
	for _, h := range hours {
		clock := clockOf(t.cal, h)
		windows = append(windows, summary.Window{From: clock[0].From, To: clock[len(clock)-1].To})
	}
	first, last := windows[0], windows[len(windows)-1]
	at := slices.IndexFunc(t.nears, func(n *Near) bool { return n.Looked().From < last.To && first.From < n.Looked().To })
	if at < 0 {
		at = len(t.nears)
		t.nears = append(t.nears, &Near{loader: t.Loader, m: t.m, columns: summary.Needs(summary.RecordKeys()), frame: &processed.Frame{}})
	}
	n := t.nears[at]
	t.Rows -= n.Frame().Len
	if err := n.Add(ctx, windows...); err != nil {
		return nil, err
	}
	t.Rows += n.Frame().Len
	return n.Frame(), t.bounded()
}

// bounded is a fault of kind TooLarge where more rows were read than may be.
func (t *taking) bounded() error {
	if t.options.MaxRows > 0 && t.Rows > t.options.MaxRows {
		return fault.New(fault.TooLarge, "cannot work out what records do not hold of %q: more than %d events", t.m.ID, t.options.MaxRows)
	}
	return nil
}

// load is a frame that holds at least what the window needs. What was loaded of it
// before is not read again.
func (t *taking) load(ctx context.Context, w summary.Window) (*processed.Frame, error) {
	from, to := w.Needs()
	all := span{from: from, to: to}
	var frames []span
	for _, s := range t.frames {
		if s.from <= from && to <= s.to {
			return s.frame, nil
		}
		if s.from < to && from < s.to {
			// A later one holds those before it.
			frames, all.from, all.to = []span{s}, min(from, s.from), max(to, s.to)
		}
	}
	missing := []stretch{{all.from, all.to}}
	if len(frames) > 0 {
		missing = without(missing, []stretch{{frames[0].from, frames[0].to}})
	}
	for _, hours := range missing {
		frame, err := t.Load(ctx, t.m, hours.from, hours.to, summary.Needs(summary.RecordKeys()))
		if err != nil {
			return nil, err
		}
		t.Rows += frame.Len
		if err := t.bounded(); err != nil {
			return nil, err
		}
		frames = append(frames, span{hours.from, hours.to, frame})
	}
	slices.SortFunc(frames, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	parts := make([]*processed.Frame, len(frames))
	for i, s := range frames {
		parts[i] = s.frame
	}
	var err error
	if all.frame, err = united(summary.Needs(summary.RecordKeys()), parts); err != nil {
		return nil, err
	}
	t.frames = append(t.frames, all)
	return all.frame, nil
}

// resolve works out the facts of the stale hours.
func (t *taking) resolve(ctx context.Context, stale []event.Hour, settings summary.Settings) error {
	t.facts = t.facts[:0]
	for _, run := range Runs(stale, longestRun) {
		whole := summary.Of(run[0], run[len(run)-1]+1)
		hours := t.cal.Hours(whole.From, whole.To)
		w := summary.Window{From: hours[0].From, To: hours[len(hours)-1].To}
		var frame *processed.Frame
		var err error
		if t.few {
			frame, err = t.load(ctx, w)
		} else {
			frame, err = t.near(ctx, run)
		}
		if err != nil {
			return err
		}
		t.facts = append(t.facts, summary.Resolve(frame, w, settings))
	}
	return nil
}

// seen works out when the users of the facts were first seen, in what is
// summarised or in what is not, and lists the hours in which users cease to be
// new.
func (t *taking) seen(ctx context.Context) ([]event.Hour, error) {
	clear(t.first)
	for _, facts := range t.facts {
		users, millis := facts.Firsts()
		for i, u := range users {
			if at, met := t.first[u]; !met || millis[i] < at {
				t.first[u] = millis[i]
			}
		}
	}
	users, millis := make([]uint64, 0, len(t.first)), make([]int64, 0, len(t.first))
	for u, at := range t.first {
		users, millis = append(users, u), append(millis, at)
	}
	before, err := t.FirstSeen(ctx, t.m, users)
	if err != nil {
		return nil, err
	}
	for i, u := range users {
		t.first[u] = min(millis[i], before[i])
	}
	return summary.Reopened(millis, before), nil
}

// open lists the hours of the clock among the facts that are stale.
func (t *taking) open(facts *summary.Facts) []summary.Window {
	return slices.DeleteFunc(t.cal.Hours(facts.Window.From, facts.Window.To), func(w summary.Window) bool { return !t.Touches(w) })
}
