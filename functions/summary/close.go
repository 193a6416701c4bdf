package summary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
	"github.com/footfall/footfall/shared/view"
)

// closing is the work on one merchant in one view.
type closing struct {
	*Service
	m         access.Merchant // in the view
	view      access.View
	queues    []store.Queue // whose marks say what is to be counted
	own       store.Queue   // of hours that are to be counted again in this view
	cal       *summary.Calendar
	settings  summary.Settings
	watermark time.Time
	claimed   uint64        // before the marks of the run under way were read
	looked    int           // rows that the last count looked at
	waited    time.Duration // for hours of other merchants
}

// closing begins the work on a merchant in a view. Marks of LiveQueue count for
// the one that is shown, and are told to the others (see tell).
func (s *Service) closing(m *access.Merchant, v access.View, shown bool, watermark time.Time) (*closing, error) {
	cal, err := summary.NewCalendar(v.Settings.TimeZone)
	if err != nil {
		return nil, err
	}
	in := m.In(v)
	c := &closing{Service: s, m: in, view: v, own: store.Queue(v.Generation), cal: cal, settings: history.SettingsOf(in.Settings), watermark: watermark}
	if c.queues = []store.Queue{store.Queue(v.Generation)}; shown {
		c.queues = history.Queues(&in)
	}
	return c, nil
}

// closeMerchant counts the dirty hours of a merchant anew, with all hours that
// they affect. did is false where it is not their turn.
func (s *Service) closeMerchant(ctx, budget context.Context, dirty []store.DirtyHour, late *lateness) (did bool, err error) {
	id, hours := dirty[0].Merchant, hoursOf(dirty)
	began := time.Now()
	if !s.free(id, began, late) {
		return false, nil
	}
	m, shown, err := s.merchantShown(ctx, id)
	if fault.Is(err, fault.NotFound) {
		// Nobody can ask for its numbers. The hours stay dirty: should the
		// merchant come back, nothing is lost.
		s.Log.Warn("dirty hours of a merchant that is not registered", "merchant", id, "hours", len(hours))
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c, err := s.closing(&m, shown, true, late.watermark)
	if err != nil {
		return false, fmt.Errorf("cannot close hours of %q: %w", id, err)
	}
	defer c.worked(began)
	if did = late.turn(id, dirty); !did {
		did, err = c.open(ctx, late.ended(dirty))
	}
	if err == nil && did {
		err = c.runs(ctx, budget, hours)
	}
	if err != nil {
		return true, fmt.Errorf("cannot close hours of %q: %w", id, err)
	}
	return did, nil
}

// worked notes how long the work has taken that began at an instant.
func (c *closing) worked(began time.Time) {
	c.pace.worked(c.m.ID, began.Add(c.waited), time.Now(), c.cfg.Share)
}

func (s *Service) merchant(ctx context.Context, id string) (access.Merchant, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	m, err := s.Registry.Merchant(ctx, id)
	if err != nil {
		return m, fmt.Errorf("cannot read merchant %q: %w", id, err)
	}
	return m, nil
}

// merchantShown reads a merchant with the view that is shown. Should another be
// by the time that we are done, nothing is wrong: all views have what they need.
func (s *Service) merchantShown(ctx context.Context, id string) (m access.Merchant, shown access.View, err error) {
	if m, err = s.merchant(ctx, id); err != nil {
		return m, shown, err
	}
	book, err := s.published.Book(ctx)
	if err != nil {
		return m, shown, err
	}
	return m, m.View(book), nil
}

// close counts dirty hours and what they affect, writes the records, and takes
// off the marks that it found before it read the documents.
func (c *closing) close(ctx, budget context.Context, loader *history.Loader, dirty []event.Hour) error {
	leave, err := c.enter(ctx, budget, dirty)
	if err != nil {
		return err
	}
	defer leave()
	if c.claimed, err = c.claimedNow(ctx); err != nil {
		return err
	}
	marks, err := c.marks(ctx, dirty)
	if err != nil || len(marks) == 0 {
		return err // none: another instance was quicker
	}
	dirty = marked(marks)
	windows := make([]summary.Window, len(dirty))
	for i, h := range dirty {
		windows[i] = summary.Of(h, h+1)
	}
	near, err := loader.Near(ctx, &c.m, c.columns, windows...)
	if err != nil {
		return err
	}
	c.looked = near.Frame().Len
	p, err := c.plan(ctx, dirty, near)
	if err != nil {
		return err
	}
	if err := near.Add(ctx, p.windows...); err != nil {
		return err
	}
	facts := summary.Resolve(near.Frame(), p.span(), c.settings)
	seen, err := c.see(ctx, facts, p)
	if err != nil {
		return err
	}
	entries := c.records(facts, p)
	// Another may have closed hours of the merchant meanwhile. It may have seen
	// newer documents: do not write over its records. alone looks again, for it may
	// be yet to come.
	if now, err := c.claimedNow(ctx); err != nil || now != c.claimed {
		return err
	}
	if err := c.put(ctx, entries); err != nil {
		return errors.Join(err, c.spoiltMaybe(ctx, p))
	}
	if there, err := c.tell(ctx, marks); err != nil {
		return errors.Join(err, c.spoiltMaybe(ctx, p))
	} else if !there {
		return nil
	}
	if alone, err := c.alone(ctx, seen, entries); err != nil || !alone {
		return errors.Join(err, c.spoilt(ctx, p))
	}
	if err := c.clean(ctx, marks); err != nil {
		return err
	}
	c.closed.Add(1)
	return c.mergeDocuments(ctx, dirty)
}

// marks are those of hours that say what is to be counted.
func (c *closing) marks(ctx context.Context, hours []event.Hour) ([]store.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	marks, err := c.Processed.Marks(ctx, c.m.ID, c.queues, hours[0], hours[len(hours)-1]+1)
	if err != nil {
		return nil, fmt.Errorf("cannot list what is new from hour %s to %s: %w", hours[0], hours[len(hours)-1], err)
	}
	return slices.DeleteFunc(marks, func(m store.Mark) bool {
		_, asked := slices.BinarySearch(hours, m.Hour)
		return !asked || view.IsTrigger(m)
	}), nil
}

// marked are the hours of marks, in order. One that was listed and has none any more was
// closed by another instance. It is not counted: should we die, or be overtaken, once we have
// told who was seen earlier, nothing would say that it is to be counted again.
func marked(marks []store.Mark) []event.Hour {
	hours := make([]event.Hour, len(marks))
	for i := range marks {
		hours[i] = marks[i].Hour
	}
	slices.Sort(hours)
	return slices.Compact(hours)
}

// claimedNow is the last claim of the merchant's hours.
func (c *closing) claimedNow(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	n, err := c.Processed.Claimed(ctx, c.m.ID)
	if err != nil {
		return n, fmt.Errorf("cannot see whether another is at it: %w", err)
	}
	return n, nil
}

// plan is which windows are counted and what else their days are made of.
type plan struct {
	windows []summary.Window // hours of the merchant's clock to count, ascending
	days    []day
}

type day struct {
	window summary.Window
	hours  []summary.Window
	have   []*summary.Record // by hour: the record of an hour that is not counted anew
}

// span holds all windows.
func (p *plan) span() summary.Window {
	return summary.Window{From: p.windows[0].From, To: p.windows[len(p.windows)-1].To}
}

func (p *plan) counts(w summary.Window) bool {
	_, found := slices.BinarySearchFunc(p.windows, w.From, byStart)
	return found
}

func byStart(w summary.Window, from int64) int {
	switch {
	case w.From < from:
		return -1
	case w.From > from:
		return 1
	}
	return 0
}

// plan finds the windows that the dirty hours change, and the records of the
// other hours of their days. Where such a record is missing although there are
// events (the store of records was emptied), its hour is counted, too.
func (c *closing) plan(ctx context.Context, dirty []event.Hour, near *history.Near) (*plan, error) {
	hours := slices.Clone(dirty)
	for _, h := range summary.Affected(dirty, near.Frame(), c.settings) {
		if !h.End().After(c.watermark) {
			hours = append(hours, h)
		}
	}
	slices.Sort(hours)
	p := &plan{}
	for _, h := range slices.Compact(hours) {
		w := summary.Of(h, h+1)
		p.windows = append(p.windows, c.cal.Hours(w.From, w.To)...)
	}
	p.windows = slices.Compact(p.windows)

	for _, w := range p.windows {
		if n := len(p.days); n == 0 || w.From >= p.days[n-1].window.To {
			d := day{window: c.cal.Day(w.From)}
			d.hours = c.cal.Hours(d.window.From, d.window.To)
			d.have = make([]*summary.Record, len(d.hours))
			p.days = append(p.days, d)
		}
	}
	missing, err := c.otherHours(ctx, p, near)
	if err != nil {
		return nil, err
	}
	p.windows = append(p.windows, missing...)
	slices.SortFunc(p.windows, func(a, b summary.Window) int { return byStart(a, b.From) })
	return p, nil
}

// otherHours reads the records of the hours of the plan's days that are not
// counted anew, and returns the hours whose records are missing. Hours under way
// have none: they would be counted each time that others of the day are.
func (c *closing) otherHours(ctx context.Context, p *plan, near *history.Near) ([]summary.Window, error) {
	type place struct{ day, hour int } // hour -1: the day's own record
	var keys []store.SummaryKey
	var places []place
	for i, d := range p.days {
		keys, places = append(keys, c.key(store.GrainDay, d.window)), append(places, place{i, -1})
		for n, h := range d.hours {
			if !p.counts(h) {
				keys, places = append(keys, c.key(store.GrainHour, h)), append(places, place{i, n})
			}
		}
	}
	if len(keys) == len(p.days) {
		return nil, nil // everything is counted
	}
	gctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	data, err := c.Summaries.Get(gctx, keys)
	if err != nil {
		return nil, fmt.Errorf("cannot read records: %w", err)
	}
	// known are by day the hours that have numbers, as its record says.
	known := make([]*summary.Record, len(p.days))
	var missing []summary.Window
	var occupied map[summary.Window]bool
	for i, at := range places {
		r := c.decode(data[i], at.hour >= 0)
		if at.hour < 0 {
			known[at.day] = r
			continue
		}
		d := &p.days[at.day]
		w := d.hours[at.hour]
		if r != nil {
			d.have[at.hour] = r
			continue
		}
		if event.HourOf(time.UnixMilli(w.From)).End().After(c.watermark) {
			continue
		}
		if k := known[at.day]; k != nil {
			if k.Hours>>at.hour&1 == 1 {
				missing = append(missing, w)
			}
			continue
		}
		if occupied == nil {
			occupied = c.occupied(near)
		}
		if looked := near.Looked(); occupied[w] || w.From < looked.From || w.To > looked.To {
			missing = append(missing, w)
		}
	}
	return missing, nil
}

// decode reads a record; one that cannot be read is as good as missing.
func (c *closing) decode(data []byte, whole bool) *summary.Record {
	if data == nil {
		return nil
	}
	want := summary.Want{}
	if whole {
		want = summary.WantAll()
	}
	r, err := summary.DecodeRecord(data, want)
	if err != nil {
		c.Log.Warn("a record cannot be read and is made again", "merchant", c.m.ID, "error", err)
		return nil
	}
	return r
}

// occupied are the hours of the clock that may have events, of those that were
// looked at.
func (c *closing) occupied(near *history.Near) map[summary.Window]bool {
	set := map[summary.Window]bool{}
	var at summary.Window
	for _, ms := range near.Frame().Millis {
		if ms >= at.From && ms < at.To {
			continue
		}
		at = c.cal.Hour(ms)
		set[at] = true
	}
	for h := range near.Passed() {
		w := summary.Of(h, h+1)
		for _, hour := range c.cal.Hours(w.From, w.To) {
			set[hour] = true
		}
	}
	return set
}

func (c *closing) key(grain store.Grain, w summary.Window) store.SummaryKey {
	return store.SummaryKey{Merchant: c.m.ID, Generation: c.m.Generation, Grain: grain, Start: w.From / 1000}
}

// records counts the plan's windows and makes their days. An entry without data
// is of an hour or a day that has no numbers: whatever stands there is outdated,
// for its events are gone.
func (c *closing) records(facts *summary.Facts, p *plan) []store.SummaryEntry {
	var entries []store.SummaryEntry
	for _, d := range p.days {
		parts := make([]*summary.Record, 0, len(d.hours))
		var only []byte // the bytes of the last part that was counted
		for n, h := range d.hours {
			r := d.have[n]
			if p.counts(h) {
				r = summary.NewRecord(facts.Slice(h), n)
				e := store.SummaryEntry{Key: c.key(store.GrainHour, h)}
				if !r.Empty() {
					only = r.Encode()
					e.Data = only
				}
				entries = append(entries, e)
			}
			if r != nil && !r.Empty() {
				parts = append(parts, r)
			}
		}
		day := only
		if len(parts) > 1 || len(parts) == 1 && only == nil {
			day = summary.MergeRecords(parts...).Encode()
		} // else the day is that hour, and equal records have equal bytes
		entries = append(entries, store.SummaryEntry{Key: c.key(store.GrainDay, d.window), Data: day})
	}
	return entries
}

// putBytes bounds one write of records.
const putBytes = 4 << 20

func (c *closing) put(ctx context.Context, all []store.SummaryEntry) error {
	var gone []store.SummaryKey
	entries := make([]store.SummaryEntry, 0, len(all))
	for i := range all {
		if e := &all[i]; e.Data == nil {
			gone = append(gone, e.Key)
		} else {
			entries = append(entries, *e)
		}
	}
	if err := c.forget(ctx, gone); err != nil {
		return err
	}
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && (n == 0 || size+len(entries[n].Data) <= putBytes) {
			size += len(entries[n].Data)
			n++
		}
		if err := c.putSome(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// forget removes records.
func (c *closing) forget(ctx context.Context, keys []store.SummaryKey) error {
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.Summaries.Delete(ctx, keys); err != nil {
		return fmt.Errorf("cannot remove %d records of hours without events: %w", len(keys), err)
	}
	return nil
}

func (c *closing) putSome(ctx context.Context, entries []store.SummaryEntry) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.Summaries.Put(ctx, entries); err != nil {
		return fmt.Errorf("cannot write %d records: %w", len(entries), err)
	}
	return nil
}

// alone claims what was written, and reports whether nobody else was at the merchant
// at the same time, so that the marks may be taken off: whichever hours another
// closes, some of them may have been counted here as well, from documents that were
// older, or days made of their records.
//
// Of those who overlap, which is to say that each has begun before another claims, one
// can claim. Another that wrote before that one looks at its records again is found out
// by it; and one that writes later marks all that it may have spoilt.
func (c *closing) alone(ctx context.Context, seen newcomers, entries []store.SummaryEntry) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	first, err := c.Processed.Claim(ctx, c.m.ID, c.claimed)
	if err != nil {
		return false, fmt.Errorf("cannot see whether another was at it: %w", err)
	}
	if !first {
		return false, nil
	}
	keys := make([]store.SummaryKey, len(entries))
	for i := range entries {
		keys[i] = entries[i].Key
	}
	data, err := c.Summaries.Get(ctx, keys)
	if err != nil {
		return false, fmt.Errorf("cannot read records back: %w", err)
	}
	for i := range entries {
		if !bytes.Equal(data[i], entries[i].Data) {
			return false, nil
		}
	}
	return c.stillNew(ctx, seen)
}

// spoilt has everything counted again that was written: the marks are still there of
// the hours that were to be counted, but not of those that another has counted since
// and that ours stand in place of.
func (c *closing) spoilt(ctx context.Context, p *plan) error {
	var hours []event.Hour
	for _, w := range p.windows {
		from, to := w.UTCHours()
		for h := from; h < to; h++ {
			hours = append(hours, h)
		}
	}
	slices.Sort(hours)
	return c.markDirty(context.WithoutCancel(ctx), slices.Compact(hours))
}

// spoiltMaybe is spoilt where another has claimed since, or nobody can tell: what failed
// may have been done. Who claims later looks at its records again, and finds ours.
func (c *closing) spoiltMaybe(ctx context.Context, p *plan) error {
	if now, err := c.claimedNow(context.WithoutCancel(ctx)); err == nil && now == c.claimed {
		return nil
	}
	return c.spoilt(ctx, p)
}

func (c *closing) clean(ctx context.Context, marks []store.Mark) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.Processed.Clean(ctx, marks); err != nil {
		return fmt.Errorf("cannot take %d marks off: %w", len(marks), err)
	}
	return nil
}

// tell marks for all other views what came lately, before the marks of it are
// taken off. The merchant is read again for that: a view that is made known
// after it counts all documents that are there, and ours were before. there is
// false where our own view was given up meanwhile, and what we wrote is removed.
func (c *closing) tell(ctx context.Context, marks []store.Mark) (there bool, err error) {
	m, err := c.merchant(ctx, c.m.ID)
	if err != nil {
		return false, err
	}
	if v, known := m.ViewOf(c.view.Generation); !known || v.State == access.ViewGone {
		return false, c.remove(ctx, &m, c.view.Generation)
	}
	var also []store.Mark
	for _, v := range m.AllViews() {
		if v.Generation == c.view.Generation || v.State == access.ViewGone {
			continue
		}
		for _, mark := range marks {
			if mark.Queue == store.LiveQueue {
				mark.Queue = store.Queue(v.Generation)
				also = append(also, mark)
			}
		}
	}
	if len(also) == 0 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.Processed.Mark(ctx, also); err != nil {
		return false, fmt.Errorf("cannot mark %d documents for other views: %w", len(also), err)
	}
	return true, nil
}

// markDirty has hours counted again in this view.
func (c *closing) markDirty(ctx context.Context, hours []event.Hour) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for _, h := range hours {
		if err := c.Processed.MarkDirty(ctx, c.m.ID, c.own, c.m.Layers.Revisions(), h, h+1); err != nil {
			return fmt.Errorf("cannot mark hour %s dirty: %w", h, err)
		}
	}
	return nil
}
