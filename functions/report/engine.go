package report

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	merchant access.Merchant
	cal      *summary.Calendar
	plan     *report.Plan
	rev      store.Revision
	sources  report.Sources
	leave    func() // gives the slot back; nil before documents are read
}

// run answers a query: the watermark first, so that what it promises is in
// what is read afterwards.
func (s *Service) run(ctx context.Context, m access.Merchant, cal *summary.Calendar, q *report.Query) (*report.Result, error) {
	now := s.clock()
	meta := report.Meta{TimeZone: m.Settings.TimeZone, Currency: m.Settings.Currency}
	var err error
	if meta.Watermark, err = s.ports.Journal.Watermark(ctx, now); err != nil {
		return nil, fmt.Errorf("cannot read the watermark: %w", err)
	}
	if meta.Watermark.Before(now) {
		if meta.Pending, err = s.pending(ctx, m, cal, q); err != nil {
			return nil, err
		}
	}
	r := &reading{s: s, merchant: m, cal: cal, plan: report.NewPlan(q), rev: store.LiveRevision}
	defer r.close()
	first, last, some, err := s.ports.Processed.Extent(ctx, m.ID, r.rev)
	if err != nil {
		return nil, fmt.Errorf("cannot find the events of merchant %q: %w", m.ID, err)
	}
	builders := make([]*report.Builder, len(q.DateRanges))
	for i, days := range q.DateRanges {
		b := report.NewBuilder(r.plan, cal, s.config.MaxGroups)
		if q.KeepEmpty {
			if err := b.AddEmpty(r.plan.Windows(cal, days, math.MinInt64, now.UnixMilli())); err != nil {
				return nil, err
			}
		}
		if some {
			if err := r.answer(ctx, b, days, first, last); err != nil {
				return nil, err
			}
		}
		builders[i] = b
	}
	meta.Sources = r.sources
	return report.Finish(q, builders, meta), nil
}

// pending counts the accepted events of the asked days that are not processed.
func (s *Service) pending(ctx context.Context, m access.Merchant, cal *summary.Calendar, q *report.Query) (int64, error) {
	var hull summary.Window
	for i, days := range q.DateRanges {
		span := report.Span(cal, days)
		if i == 0 {
			hull = span
		}
		hull = summary.Window{From: min(hull.From, span.From), To: max(hull.To, span.To)}
	}
	from, to := hull.UTCHours()
	streams := streamsOf(m)
	// Nearly always a few batches of all merchants are under way, and looking
	// at these is quicker than at each asked hour.
	rows, err := s.ports.Journal.Unfinished(ctx, store.StageProcessed, s.clock().Add(time.Hour), fewBatches)
	if err != nil {
		return 0, fmt.Errorf("cannot list pending batches: %w", err)
	}
	var n int64
	if len(rows) < fewBatches {
		for i := range rows {
			for _, c := range rows[i].Counts {
				if c.Hour >= from && c.Hour < to && slices.Contains(streams, c.Stream) {
					n += c.Events
				}
			}
		}
		return n, nil
	}
	counts, err := s.ports.Journal.Counts(ctx, streams, from, to)
	if err != nil {
		return 0, fmt.Errorf("cannot count pending events: %w", err)
	}
	for _, c := range counts {
		n += c.Pending
	}
	return n, nil
}

// fewBatches is up to how many batches under way are looked at one by one.
const fewBatches = 64

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
	dirty, err := r.s.ports.Processed.DirtyOf(ctx, r.merchant.ID, r.rev, since, to+summary.Reach)
	if err != nil {
		return nil, fmt.Errorf("cannot list the dirty hours of merchant %q: %w", r.merchant.ID, err)
	}
	if len(dirty) == 0 {
		return nil, nil
	}
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	open, err := r.s.ports.History.Open(ctx, &r.merchant, r.rev, from, to, r.plan.FirstSeen)
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
		keys = append(keys, store.SummaryKey{Merchant: r.merchant.ID, Generation: r.merchant.Generation, Revision: r.rev, Grain: grain, Start: w.From / 1000})
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
	want := summary.Want{Users: r.plan.Users}
	if r.plan.ByTable {
		want.Tables = 1 << r.plan.Table
	}
	for i, w := range asked {
		if data[i] == nil {
			missing = append(missing, w)
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

var errFound = errors.New("found")

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
		from, to := hullOf(windows[i:end]).UTCHours()
		found := event.Hour(math.MaxInt32)
		err := r.s.ports.Processed.Scan(ctx, r.merchant.ID, r.rev, from, to, func(d store.Doc) error {
			found = d.Key.Hour
			return errFound
		})
		if err != nil && !errors.Is(err, errFound) {
			return nil, fmt.Errorf("cannot find the events of merchant %q: %w", r.merchant.ID, err)
		}
		for ; i < end; i++ {
			if _, to := windows[i].UTCHours(); to > found {
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
	facts, err := r.s.ports.History.Facts(ctx, &r.merchant, r.rev, hullOf(windows), r.plan.Columns, r.plan.FirstSeen, open)
	if err != nil {
		return fmt.Errorf("cannot count the events of merchant %q: %w", r.merchant.ID, err)
	}
	for _, w := range windows {
		from, to := w.UTCHours()
		r.sources.Hours += int(to - from)
	}
	if r.sources.Events += int64(facts.Frame.Len); r.sources.Events > r.s.config.MaxEvents {
		return &fault.Error{Kind: fault.TooLarge, Field: "from",
			Expected: fmt.Sprintf("a question that looks at no more than %d events; ask for fewer days, or for what summaries hold: time and one other dimension", r.s.config.MaxEvents)}
	}
	return b.AddFacts(facts, windows)
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
