package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// reading is one report at work. It is used by one goroutine.
type reading struct {
	s        *Service
	merchant access.Merchant // in the view that is answered from
	cal      *summary.Calendar
	plan     *report.Plan
	sources  report.Sources
	version  store.Version    // of the merchant's data, before they are read
	now      int64            // ms
	picture  *picture         // that the answer is from; nil where it is not from one
	leave    func()           // gives the slot back; nil before documents are read
	outdated bool             // data have come since the picture was taken, where it saw none
	lost     []summary.Window // clean hours of the date range without a record, in order: quiet, or their records are lost
}

// run answers a query: from records alone where they hold the answer, stored
// ones and the live picture's, and else with documents. question is the text
// that q was read from: the same question is answered once for each picture.
// The version is that of the merchant's data before they were read.
func (s *Service) run(ctx context.Context, m access.Merchant, cal *summary.Calendar, q *report.Query, question string) (*report.Result, store.Version, error) {
	r := &reading{s: s, merchant: m, cal: cal, plan: report.NewPlan(q), now: s.clock().UnixMilli()}
	defer r.close()
	if r.plan.Records {
		result, version, err := r.fromLive(ctx, q, question, false)
		if errors.Is(err, errNoRecords) && r.outdated {
			// What documents say now would be more than the next picture says, if that is
			// being taken already: then who asks again would see numbers go back.
			result, version, err = r.fromLive(ctx, q, question, true)
		}
		if !errors.Is(err, errNoRecords) {
			return result, version, err
		}
		r.picture = nil
	}
	// The marks come first, so that what they promise is in what is read
	// afterwards.
	marks, err := s.live.marks(ctx)
	if err != nil {
		return nil, store.Version{}, err
	}
	version, err := s.ports.Processed.Version(ctx, m.ID)
	if err != nil {
		return nil, version, fmt.Errorf("cannot tell whether the data of merchant %q changed: %w", m.ID, err)
	}
	r.version = version
	first, last, some, err := s.ports.Processed.Extent(ctx, m.ID, m.Layers.Revisions()...)
	if err != nil {
		return nil, version, fmt.Errorf("cannot find the events of merchant %q: %w", m.ID, err)
	}
	builders, err := r.build(q, func(b *report.Builder, days report.DateRange) error {
		if !some {
			return nil
		}
		return r.answer(ctx, b, days, first, last)
	})
	result, err := r.finish(ctx, q, builders, &marks, err)
	return result, version, err
}

// fromLive answers from a picture of what is open and stored records; errNoRecords where
// these do not hold the answer. newer asks for a picture that is begun from now on, unless
// nothing has changed.
func (r *reading) fromLive(ctx context.Context, q *report.Query, question string, newer bool) (*report.Result, store.Version, error) {
	p, marks, err := r.s.live.look(ctx, &r.merchant, r.cal, newer)
	if err != nil {
		return nil, store.Version{}, err
	}
	if r.picture = p; !p.Whole {
		return nil, p.Version, errNoRecords
	}
	// Which empty rows there are depends on the hour.
	kept := answerKey{question, r.cal.Hour(r.now).From}
	if result := p.kept(kept); result != nil {
		result, err := r.again(ctx, q, result, &marks)
		return result, p.Version, err
	}
	builders, err := r.build(q, func(b *report.Builder, days report.DateRange) error {
		if !p.Some {
			return nil
		}
		return r.fromPicture(ctx, b, days, p)
	})
	if errors.Is(err, errNoRecords) {
		r.sources = report.Sources{}
		return nil, p.Version, err
	}
	result, err := r.finish(ctx, q, builders, &marks, err)
	if err == nil && question != "" {
		r.s.live.grow(&r.merchant, p.keep(kept, result))
	}
	return result, p.Version, err
}

// build collects the parts of each date range.
func (r *reading) build(q *report.Query, add func(b *report.Builder, days report.DateRange) error) ([]*report.Builder, error) {
	builders := make([]*report.Builder, len(q.DateRanges))
	for i, days := range q.DateRanges {
		b := report.NewBuilder(r.plan, r.cal, days, history.SettingsOf(r.merchant.Settings), r.s.config.MaxGroups)
		b.EndAt(r.now)
		if q.KeepEmpty {
			if err := b.AddEmpty(days, r.now); err != nil {
				return nil, err
			}
		}
		if err := add(b, days); err != nil {
			return nil, err
		}
		if err := b.Close(); err != nil {
			return nil, err
		}
		builders[i] = b
	}
	return builders, nil
}

func (r *reading) finish(ctx context.Context, q *report.Query, builders []*report.Builder, marks *marks, err error) (*report.Result, error) {
	if err != nil {
		return nil, err
	}
	meta := report.Meta{TimeZone: r.merchant.Settings.TimeZone, Currency: cmp.Or(q.Currency, r.merchant.Settings.Currency), Watermark: marks.watermark, Revision: r.merchant.Layers.Top(), Sources: r.sources}
	if meta.Pending, err = r.s.pending(ctx, &r.merchant, r.cal, q, marks); err != nil {
		return nil, err
	}
	if meta.Rejected, err = r.rejected(ctx, q); err != nil {
		return nil, err
	}
	if r.picture != nil {
		spans := asked(r.cal, q)
		for _, h := range r.picture.Waiting {
			if slices.ContainsFunc(spans, func(s hours) bool { return s.from <= h && h < s.to }) {
				meta.Waiting++
			}
		}
	}
	return report.Finish(q, builders, meta), nil
}

// again is an answer that was given before, as of now.
func (r *reading) again(ctx context.Context, q *report.Query, before *report.Result, marks *marks) (*report.Result, error) {
	result := *before
	result.Meta.Watermark = marks.watermark
	var err error
	result.Meta.Pending, err = r.s.pending(ctx, &r.merchant, r.cal, q, marks)
	return &result, err
}

func currenciesOf(m *access.Merchant, cal *summary.Calendar) report.Currencies {
	return report.Currencies{Settings: history.SettingsOf(m.Settings), Calendar: cal}
}

func streamsOf(m access.Merchant) []string {
	streams := make([]string, len(m.Streams))
	for i := range m.Streams {
		streams[i] = m.Streams[i].MeasurementID
	}
	return streams
}

// answer adds a date range's parts to b. The merchant's documents lie in hours
// [first, last].
func (r *reading) answer(ctx context.Context, b *report.Builder, days report.DateRange, first, last event.Hour) error {
	windows := r.plan.Windows(r.cal, days, first.Start().UnixMilli(), last.End().UnixMilli())
	if len(windows) == 0 {
		return nil
	}
	r.lost = r.lost[:0]
	if !r.plan.Records && !r.plan.FirstSeen {
		return r.fromDocuments(ctx, b, windows, nil)
	}
	// Dirty hours come before records: one that is summarised in between is
	// worked out here, too, and not counted from a record that lacks it.
	open, err := r.open(ctx, windows, first)
	if err != nil {
		return err
	}
	if !r.plan.Records {
		return r.fromDocuments(ctx, b, windows, open)
	}
	missing, err := r.fromRecords(ctx, b, windows, open, r.plan.Hourly)
	if err != nil {
		return err
	}
	if !r.plan.Hourly && len(missing) > 0 {
		// A day of which some hour is dirty: its other hours have records.
		var hours []summary.Window
		for _, day := range missing {
			day = summary.Window{From: max(day.From, first.Start().UnixMilli()), To: min(day.To, last.End().UnixMilli())}
			hours = append(hours, r.cal.Hours(day.From, day.To)...)
		}
		if missing, err = r.fromRecords(ctx, b, hours, open, true); err != nil {
			return err
		}
	}
	if missing, err = r.inhabited(ctx, missing, open); err != nil {
		return err
	}
	return r.fromDocuments(ctx, b, missing, open)
}

// open finds out what records do not hold; nil where they hold everything.
func (r *reading) open(ctx context.Context, windows []summary.Window, first event.Hour) (*history.Open, error) {
	from, to := hullOf(windows).UTCHours()
	since := from - summary.Reach
	if r.plan.FirstSeen {
		since = min(since, first) // a user seen in any earlier hour is not new
	}
	dirty, err := r.s.ports.Processed.DirtyOf(ctx, r.merchant.ID, history.Queues(&r.merchant), since, to+summary.Reach)
	if err != nil {
		return nil, fmt.Errorf("cannot list the dirty hours of merchant %q: %w", r.merchant.ID, err)
	}
	if len(dirty) == 0 {
		return nil, nil
	}
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	open, err := r.s.ports.History.Open(ctx, &r.merchant, from, to, r.plan.FirstSeen)
	if err != nil {
		return nil, fmt.Errorf("cannot work out what summaries do not hold of merchant %q: %w", r.merchant.ID, err)
	}
	return open, nil
}

func stale(open *history.Open, w summary.Window) bool { return open != nil && open.Touches(w) }

// fromRecords adds the windows that are clean and have a record that holds the
// answer, and returns the others.
func (r *reading) fromRecords(ctx context.Context, b *report.Builder, windows []summary.Window, open *history.Open, hourly bool) (missing []summary.Window, err error) {
	grain := store.GrainDay
	if hourly {
		grain = store.GrainHour
	}
	asked := make([]summary.Window, 0, len(windows))
	keys := make([]store.SummaryKey, 0, len(windows))
	for _, w := range windows {
		if stale(open, w) {
			missing = append(missing, w)
			continue
		}
		asked = append(asked, w)
		keys = append(keys, r.key(grain, w))
	}
	if len(keys) == 0 {
		return missing, nil
	}
	data, err := r.s.ports.Summaries.Get(ctx, keys)
	if err != nil {
		// Redis holds nothing that documents do not: an outage makes reports
		// slower, not unanswered.
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cannot read summaries of merchant %q: %w", r.merchant.ID, err)
		}
		return windows, nil
	}
	want := r.want()
	for i, w := range asked {
		if data[i] == nil {
			missing = append(missing, w)
			if hourly {
				r.lost = append(r.lost, w)
			}
			continue
		}
		record, err := r.s.records.decode(keys[i], data[i], want)
		if err != nil || !r.plan.Holds(record) {
			// A record that cannot be read is as good as none.
			missing = append(missing, w)
			continue
		}
		if err := b.AddRecord(w, record); err != nil {
			return nil, err
		}
		if hourly {
			r.sources.HourRecords++
		} else {
			r.sources.DayRecords++
		}
	}
	slices.SortFunc(missing, byTime)
	return missing, nil
}

func byTime(a, b summary.Window) int {
	switch {
	case a.From < b.From:
		return -1
	case a.From > b.From:
		return 1
	default:
		return 0
	}
}

func hullOf(windows []summary.Window) summary.Window {
	return summary.Window{From: windows[0].From, To: windows[len(windows)-1].To}
}

// inhabited leaves out clean windows without documents: a quiet hour has
// neither record nor document, and need not be worked out to be empty.
func (r *reading) inhabited(ctx context.Context, windows []summary.Window, open *history.Open) ([]summary.Window, error) {
	var kept []summary.Window
	for i := 0; i < len(windows); {
		if stale(open, windows[i]) {
			kept = append(kept, windows[i])
			i++
			continue
		}
		end := i + 1
		for end < len(windows) && windows[end].From == windows[end-1].To && !stale(open, windows[end]) {
			end++
		}
		found, some, err := r.s.ports.History.Inhabited(ctx, &r.merchant, hullOf(windows[i:end]))
		if err != nil {
			return nil, fmt.Errorf("cannot tell which hours are quiet: %w", err)
		}
		for ; i < end; i++ {
			if some && windows[i].To > found {
				kept = append(kept, windows[i])
				i++
				break
			}
		}
	}
	return kept, nil
}

// fromDocuments works windows, in order, out from documents.
func (r *reading) fromDocuments(ctx context.Context, b *report.Builder, windows []summary.Window, open *history.Open) error {
	for i := 0; i < len(windows); {
		end := i + 1
		for end < len(windows) && windows[end].From-windows[end-1].To <= int64(2*summary.Reach)*time.Hour.Milliseconds() {
			end++
		}
		if err := r.resolve(ctx, b, windows[i:end], open); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// resolve adds windows that lie close together, within the slots and the
// budget of reports.
func (r *reading) resolve(ctx context.Context, b *report.Builder, windows []summary.Window, open *history.Open) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	if r.plan.Packed {
		return r.fromKnown(ctx, b, windows)
	}
	loader := r.s.ports.History
	if r.plan.Lean {
		loader = loader.Lean()
	}
	facts, err := loader.Facts(ctx, &r.merchant, hullOf(windows), r.plan.Columns, r.plan.FirstSeen, open)
	if err != nil {
		return fmt.Errorf("cannot count the events of merchant %q: %w", r.merchant.ID, err)
	}
	if err := r.looked(windows, facts.Frame.Len); err != nil {
		return err
	}
	if r.plan.Origins {
		if err := r.s.ports.History.TellOrigins(ctx, &r.merchant, facts, r.room); err != nil {
			return fmt.Errorf("cannot find what brought the users of merchant %q: %w", r.merchant.ID, err)
		}
	}
	r.askAgain(facts, windows)
	return b.AddFacts(facts, windows)
}

// fromPacked adds windows that lie close together from packed facts, which may have
// been kept since another question.
func (r *reading) fromKnown(ctx context.Context, b *report.Builder, windows []summary.Window) error {
	w := hullOf(windows)
	columns := r.plan.Columns
	columns.Actors = !r.plan.Timeless || len(r.merchant.Settings.CurrencyRates) > 0 || w.To-w.From != lengthOf(windows)
	facts, looked, err := r.s.ports.History.Known(ctx, &r.merchant, w, columns, r.version)
	if err != nil {
		return fmt.Errorf("cannot count the events of merchant %q: %w", r.merchant.ID, err)
	}
	if err := r.looked(windows, looked); err != nil {
		return err
	}
	return b.AddFacts(facts, windows)
}

func lengthOf(windows []summary.Window) (millis int64) {
	for _, w := range windows {
		millis += w.To - w.From
	}
	return millis
}

// looked notes the windows that documents were read for.
func (r *reading) looked(windows []summary.Window, events int) error {
	for _, w := range windows {
		from, to := w.UTCHours()
		r.sources.Hours += int(to - from)
	}
	return r.room(events)
}

// room counts events that were looked at, within the budget of reports.
func (r *reading) room(events int) error {
	if r.sources.Events += int64(events); r.sources.Events > r.s.config.MaxEvents {
		return &fault.Error{Kind: fault.TooLarge, Field: "from",
			Expected: fmt.Sprintf("a question that looks at no more than %d events; ask for fewer days, or for what summaries hold: time and one other dimension", r.s.config.MaxEvents)}
	}
	return nil
}

// askAgain has those of the windows closed again that are clean and have
// events, and no record: it was lost.
func (r *reading) askAgain(facts *summary.Facts, windows []summary.Window) {
	for _, w := range windows {
		if _, lost := slices.BinarySearchFunc(r.lost, w, byTime); !lost {
			continue
		}
		if f := facts.Slice(w); len(f.Rows) > 0 || f.Duplicates > 0 || f.Filtered > 0 {
			r.s.repairs.ask(&r.merchant, w)
		}
	}
}

// enter takes a slot for reading documents, once.
func (r *reading) enter(ctx context.Context) error {
	if r.leave != nil {
		return nil
	}
	leave, err := r.s.gate.enter(ctx, r.merchant.ID)
	if err != nil {
		return err
	}
	r.leave = leave
	return nil
}

func (r *reading) close() {
	if r.leave != nil {
		r.leave()
	}
}
