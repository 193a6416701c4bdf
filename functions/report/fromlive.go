package report

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// liveKey names a day's live record, or what a question wants of it.
type liveKey struct {
	from int64 // ms
	want summary.Want
}

// liveDay is a day some of whose hours are open: their live records and the
// stored ones of its other hours, merged.
type liveDay struct {
	record  *summary.Record // nil where the day is empty
	sources report.Sources
	holds   bool // all its hours could be had as records
	// outdated: they could not, for data had come where the picture saw none
	outdated bool
}

// answerKey is a question by its text, and the hour of the merchant's clock in
// which it was asked.
type answerKey struct {
	question string
	hour     int64
}

// A picture keeps a page's worth of answers that are not long.
const (
	mostAnswers = 64
	longAnswer  = 2000 // cells
	longText    = 4096 // bytes of the question
)

func (p *picture) kept(key answerKey) *report.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers[key]
}

// keep remembers an answer where there is room, and returns what it takes.
func (p *picture) keep(key answerKey, result *report.Result) (bytes int64) {
	cells := result.Cells()
	p.mu.Lock()
	defer p.mu.Unlock()
	if cells > longAnswer || len(key.question) > longText || len(p.answers) >= mostAnswers || p.answers[key] != nil {
		return 0
	}
	result.Freeze()
	p.answers[key] = result
	return int64(1024 + len(key.question) + 96*cells)
}

// mostDays bounds the days that a picture keeps.
const mostDays = 256

// part is a window of the answer with its record.
type part struct {
	window summary.Window
	record *summary.Record
}

// errNoRecords says that a question takes documents, too.
var errNoRecords = errors.New("records do not hold the answer")

// fromPicture adds a date range's parts to b from records alone, stored ones
// and the picture's; errNoRecords where that is not possible.
func (r *reading) fromPicture(ctx context.Context, b *report.Builder, days report.DateRange, p *picture) error {
	windows := r.plan.Windows(r.cal, days, p.First.Start().UnixMilli(), p.Last.End().UnixMilli())
	if len(windows) == 0 {
		return nil
	}
	var sources report.Sources
	parts := make([]part, 0, len(windows))
	clean := make([]summary.Window, 0, len(windows))
	for _, w := range windows {
		switch {
		case !p.Touches(w) && (r.plan.Hourly || !p.Bare(w)):
			clean = append(clean, w)
		case r.plan.Hourly:
			record := p.Hours[w.From]
			if record == nil || !r.plan.Holds(record) {
				return errNoRecords
			}
			sources.Add(liveSources(w, record))
			if !record.Empty() {
				parts = append(parts, part{w, record})
			}
		default:
			day, err := r.liveDay(ctx, p, w)
			if err != nil {
				return err
			}
			if !day.holds {
				r.outdated = r.outdated || day.outdated
				return errNoRecords
			}
			sources.Add(day.sources)
			if day.record != nil {
				parts = append(parts, part{w, day.record})
			}
		}
	}
	grain := store.GrainDay
	if r.plan.Hourly {
		grain = store.GrainHour
	}
	stored, holds, err := r.stored(ctx, grain, clean)
	if err != nil {
		return err
	}
	if !holds {
		return errNoRecords
	}
	for _, list := range [][]part{parts, stored} {
		for _, part := range list {
			if err := b.AddRecord(part.window, part.record); err != nil {
				return err
			}
		}
	}
	if r.plan.Hourly {
		sources.HourRecords += len(stored)
	} else {
		sources.DayRecords += len(stored)
	}
	r.sources.Add(sources)
	return nil
}

func liveSources(w summary.Window, r *summary.Record) report.Sources {
	from, to := w.UTCHours()
	return report.Sources{Hours: int(to - from), Events: r.Total[summary.Events] + r.Duplicates + r.Filtered}
}

// stored reads the records of clean windows; those of quiet ones are left out.
// holds is false where a record is missing or does not hold the answer.
func (r *reading) stored(ctx context.Context, grain store.Grain, windows []summary.Window) (parts []part, holds bool, err error) {
	if len(windows) == 0 {
		return nil, true, nil
	}
	keys := make([]store.SummaryKey, len(windows))
	for i, w := range windows {
		keys[i] = r.key(grain, w)
	}
	data, err := r.s.ports.Summaries.Get(ctx, keys)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, fmt.Errorf("cannot read summaries of merchant %q: %w", r.merchant.ID, err)
		}
		return nil, false, nil // documents hold the same
	}
	want := r.want()
	parts = make([]part, 0, len(windows))
	var quiet []summary.Window
	for i, w := range windows {
		if data[i] == nil {
			if !r.picture.Bare(w) {
				quiet = append(quiet, w)
			}
			continue
		}
		record, err := r.s.records.decode(keys[i], data[i], want)
		if err != nil || !r.plan.Holds(record) {
			return nil, false, nil //nolint:nilerr // a record that cannot be read is as good as none
		}
		parts = append(parts, part{w, record})
	}
	inhabited, err := r.inhabited(ctx, quiet, nil)
	r.outdated = r.outdated || len(inhabited) > 0
	return parts, len(inhabited) == 0, err
}

// liveDay is the record of a day of the picture, as far as the question wants
// it. It is worked out once for all who ask.
func (r *reading) liveDay(ctx context.Context, p *picture, w summary.Window) (*liveDay, error) {
	key := liveKey{w.From, r.want()}
	p.mu.Lock()
	day := p.days[key]
	p.mu.Unlock()
	if day != nil {
		return day, nil
	}
	day, err := r.mergeDay(ctx, p, w)
	if err != nil {
		return nil, err
	}
	first, kept := p.keepDay(key, day)
	if kept && day.record != nil {
		r.s.live.grow(&r.merchant, int64(recordSize(day.record)))
	}
	return first, nil
}

// keepDay remembers a day and returns the first one that was: one answer for
// all.
func (p *picture) keepDay(key liveKey, day *liveDay) (first *liveDay, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.days[key]; first != nil {
		return first, false
	}
	if len(p.days) >= mostDays {
		return day, false
	}
	p.days[key] = day
	return day, true
}

func (r *reading) mergeDay(ctx context.Context, p *picture, day summary.Window) (*liveDay, error) {
	var records []*summary.Record
	var clean []summary.Window
	out := &liveDay{}
	first, end := p.First.Start().UnixMilli(), p.Last.End().UnixMilli()
	for _, w := range r.cal.Hours(max(day.From, first), min(day.To, end)) {
		if !p.Touches(w) {
			clean = append(clean, w)
			continue
		}
		record := p.Hours[w.From]
		if record == nil || !r.plan.Holds(record) {
			return out, nil
		}
		out.sources.Add(liveSources(w, record))
		if !record.Empty() {
			records = append(records, r.wanted(record))
		}
	}
	stored, holds, err := r.stored(ctx, store.GrainHour, clean)
	if err != nil || !holds {
		out.outdated = r.outdated
		return out, err
	}
	for _, part := range stored {
		records = append(records, part.record)
	}
	out.sources.HourRecords = len(stored)
	if len(records) > 0 {
		out.record = summary.MergeWide(records...)
		out.holds = r.plan.Holds(out.record)
		return out, nil
	}
	out.holds = true
	return out, nil
}

// want is what the plan takes of a record.
func (r *reading) want() summary.Want {
	want := summary.Want{Users: r.plan.Users}
	if r.plan.ByTable {
		want.Tables = 1 << r.plan.Table
	}
	return want
}

// wanted is the part of a record that the plan takes, as decoding leaves it.
func (r *reading) wanted(record *summary.Record) *summary.Record {
	out := &summary.Record{Total: record.Total, Duplicates: record.Duplicates, Filtered: record.Filtered, Hours: record.Hours}
	if r.plan.Users {
		out.Users = record.Users
	}
	if r.plan.ByTable {
		table := *record.Tables[r.plan.Table]
		if !r.plan.Users {
			table.Users = nil
		}
		out.Tables[r.plan.Table] = &table
	}
	return out
}

func (r *reading) key(grain store.Grain, w summary.Window) store.SummaryKey {
	return store.SummaryKey{Merchant: r.merchant.ID, Generation: r.merchant.Generation, Grain: grain, Start: w.From / 1000}
}

// pending counts the accepted events of the asked days that were not processed
// when the marks were read.
func (s *Service) pending(ctx context.Context, m *access.Merchant, cal *summary.Calendar, q *report.Query, marks *marks) (int64, error) {
	if len(marks.unfinished) == 0 {
		return 0, nil
	}
	spans := asked(cal, q)
	streams := streamsOf(*m)
	var n int64
	if len(marks.unfinished) < fewBatches {
		for i := range marks.unfinished {
			for _, c := range marks.unfinished[i].Counts {
				if slices.Contains(streams, c.Stream) && slices.ContainsFunc(spans, func(s hours) bool { return c.Hour >= s.from && c.Hour < s.to }) {
					n += c.Events
				}
			}
		}
		return n, nil
	}
	for _, span := range spans {
		counts, err := s.ports.Journal.Counts(ctx, streams, span.from, span.to)
		if err != nil {
			return 0, fmt.Errorf("cannot count pending events: %w", err)
		}
		for _, c := range counts {
			n += c.Pending
		}
	}
	return n, nil
}

// hours are UTC hours [from, to).
type hours struct{ from, to event.Hour }

// asked are the UTC hours of all date ranges, each once.
func asked(cal *summary.Calendar, q *report.Query) []hours {
	spans := make([]hours, 0, len(q.DateRanges))
	for _, days := range q.DateRanges {
		from, to := report.Span(cal, days).UTCHours()
		spans = append(spans, hours{from, to})
	}
	slices.SortFunc(spans, func(a, b hours) int { return int(a.from - b.from) })
	apart := spans[:1]
	for _, s := range spans[1:] {
		if last := &apart[len(apart)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			apart = append(apart, s)
		}
	}
	return apart
}

// rejected counts the events of the asked days that were accepted and could not
// be counted. Whoever asks a picture about the same days has them counted once.
func (r *reading) rejected(ctx context.Context, q *report.Query) (int64, error) {
	var n int64
	for _, s := range asked(r.cal, q) {
		if r.picture != nil {
			if kept, ok := r.picture.rejects(s); ok {
				n += kept
				continue
			}
		}
		counts, err := r.s.ports.Processed.RejectCounts(ctx, r.merchant.ID, r.merchant.Layers, s.from, s.to)
		if err != nil {
			return 0, fmt.Errorf("cannot count the rejected events of merchant %q: %w", r.merchant.ID, err)
		}
		var of int64
		for _, c := range counts {
			if !c.Refused {
				of += c.Events
			}
		}
		if r.picture != nil {
			r.picture.keepRejects(s, of)
		}
		n += of
	}
	return n, nil
}

func (p *picture) rejects(s hours) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.rejected[s]
	return n, ok
}

func (p *picture) keepRejects(s hours, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rejected == nil {
		p.rejected = map[hours]int64{}
	}
	if len(p.rejected) < mostDays {
		p.rejected[s] = n
	}
}

// fewBatches is up to how many batches under way are looked at one by one.
const fewBatches = 64
