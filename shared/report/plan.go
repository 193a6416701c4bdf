package report

import (
	"math"
	"slices"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// Plan is what a query asks of each window of time, whichever of the two
// answers it: a record, or facts.
type Plan struct {
	Query *Query
	// Hourly: the windows are hours, because a time dimension tells hours
	// apart; else they are days.
	Hourly bool
	// Minutely: a time dimension tells minutes apart, which no record does.
	Minutely bool
	// Records: a record can hold the answer. Table is the one that does,
	// where ByTable is set, else the totals do.
	Records bool
	ByTable bool
	Table   summary.TableID
	// Users: sets of users are needed. FirstSeen: who is new must be known.
	// Origins: what brought users first must be known.
	Users, FirstSeen, Origins bool
	// Lean facts are enough: nothing is asked of the rows of sessions.
	Lean bool
	// Packed facts are enough: lean ones of which nothing is asked but what all
	// counters and groupings of events read. Timeless: nor about their instants.
	Packed, Timeless bool
	// Columns of documents that facts must have been resolved from.
	Columns processed.Columns

	base    []*catalog.Dimension // what the query's dimensions are made of, each once
	from    [][]int              // by dimension of the query: places of its parts in base
	keys    []summary.Key        // of the query's dimensions, then one of an item where only the filter has one
	fixed   []summary.Key        // of these and the filter's, those that are no time
	items   bool
	timed   bool // the filter asks about time, too
	itemKey bool // keys has one more than the query has dimensions
	// itemEvents: beside items their events are asked for, which no record has.
	itemEvents bool
	measures   []summary.Measure // of all metrics, each once
}

// NewPlan plans a query that Validate has passed.
func NewPlan(q *Query) *Plan {
	p := &Plan{Query: q, items: q.byItem()}
	var filterItem []summary.Key
	see := func(d *catalog.Dimension) summary.Key {
		for _, part := range d.Parts() {
			k := part.Key()
			switch {
			case part.Dim.Hourly():
				p.Hourly = true
				p.Minutely = p.Minutely || part.Dim.Minutely()
			case !part.Time() && !slices.Contains(p.fixed, k):
				p.fixed = append(p.fixed, k)
			}
			p.FirstSeen = p.FirstSeen || part.Dim.OfFirstSeen()
			p.Origins = p.Origins || part.Dim.IsOrigin()
		}
		return d.Key()
	}
	for _, d := range q.Dimensions {
		p.keys = append(p.keys, see(d.Of))
		var places []int
		for _, part := range d.Of.Parts() {
			at := slices.Index(p.base, part)
			if at < 0 {
				at = len(p.base)
				p.base = append(p.base, part)
			}
			places = append(places, at)
		}
		p.from = append(p.from, places)
	}
	q.DimensionFilter.each(func(f *Filter) {
		k := see(f.Dimension)
		p.timed = p.timed || f.Dimension.Time()
		if k.Dim.IsItem() {
			filterItem = append(filterItem, k)
		}
	})
	q.eachMetric(func(m *catalog.Metric) {
		p.Users = p.Users || m.UsesUsers()
		p.FirstSeen = p.FirstSeen || m.Firsts()
		for _, measure := range m.Measures {
			p.FirstSeen = p.FirstSeen || measure.FirstSeen()
			if !slices.Contains(p.measures, measure) {
				p.measures = append(p.measures, measure)
			}
		}
	})
	p.Users = p.Users || p.trails()
	p.itemEvents = p.items && q.asksEvents()
	p.Records = len(p.fixed) == 0
	if !p.Records && !p.itemEvents {
		p.Table, p.Records = summary.TableFor(p.fixed)
		p.ByTable = p.Records
	}
	if p.Minutely || q.Realtime || slices.ContainsFunc(p.measures, func(m summary.Measure) bool { return m.Days == 0 }) {
		p.Records, p.ByTable = false, false
	}
	p.Lean = !p.FirstSeen && !slices.ContainsFunc(p.fixed, func(k summary.Key) bool { return k.Dim.OfSession() })
	p.Columns = summary.Reads(p.fixed)
	for _, param := range summary.MeasureColumns(p.measures) {
		if !slices.Contains(p.Columns.Params, param) {
			p.Columns.Params = append(p.Columns.Params, param)
		}
	}
	p.Columns.Items = p.Columns.Items || p.countsItems()
	p.Packed = p.Lean && !p.Records && len(p.measures) == 0 && !p.Columns.Items
	p.Timeless = !p.timed && !p.converts() && !slices.ContainsFunc(p.base, (*catalog.Dimension).Time)
	if len(filterItem) > 0 && !p.itemEvents && !slices.ContainsFunc(p.keys, func(k summary.Key) bool { return k.Dim.IsItem() }) {
		p.keys, p.itemKey = append(p.keys, filterItem[0]), true
	}
	return p
}

func (p *Plan) countsItems() bool {
	items := false
	p.Query.eachMetric(func(m *catalog.Metric) { items = items || m.Scope == catalog.ScopeItem })
	return items
}

// Windows cuts a date range into the plan's windows on a calendar, leaving out
// those that the filter on time dimensions leaves out. Instants outside
// [first, end), ms, hold no documents; windows there are left out too. Where
// numbers of users look back, the days before the range are there, too.
func (p *Plan) Windows(cal *summary.Calendar, r DateRange, first, end int64) []summary.Window {
	if r.Minutes != nil {
		w := summary.Window{From: max(r.Minutes.From, first), To: min(r.Minutes.To, end)}
		if w.From >= w.To {
			return nil
		}
		return []summary.Window{w}
	}
	r.From -= p.lead()
	if p.Hourly {
		return p.windows(cal, r, first, end, cal.Hours, !p.Minutely)
	}
	return p.windows(cal, r, first, end, cal.Days, true)
}

// ticks are the spans of time that have a row each in an answer that has no
// other dimension than time, up to end (ms).
func (p *Plan) ticks(cal *summary.Calendar, r DateRange, end int64) []summary.Window {
	if p.Minutely {
		return p.windows(cal, r, math.MinInt64, end, cal.Minutes, true)
	}
	r.From += p.lead()
	return p.Windows(cal, r, math.MinInt64, end)
}

func (p *Plan) windows(cal *summary.Calendar, r DateRange, first, end int64, cut func(from, to int64) []summary.Window, decided bool) []summary.Window {
	span := Span(cal, r)
	cal = p.calendar(cal, r)
	span.From, span.To = max(span.From, first), min(span.To, end)
	if span.From >= span.To {
		return nil
	}
	windows := cut(span.From, span.To)
	if !decided || !p.timed {
		return windows
	}
	return slices.DeleteFunc(windows, func(w summary.Window) bool { return !p.mayPass(cal, w.From) })
}

// calendar is the one that names the instants of a date range.
func (p *Plan) calendar(cal *summary.Calendar, r DateRange) *summary.Calendar {
	if r.Minutes != nil {
		return cal.Since(r.Minutes.Since)
	}
	cal = cal.Since(Span(cal, r).From)
	if r.Shift == (summary.Shift{}) {
		return cal
	}
	shift := r.Shift
	for _, d := range p.base {
		switch d.Dim {
		case summary.DimDate, summary.DimDay, summary.DimDateHour, summary.DimDateHourMinute:
			shift.Weekdays = true // beside a date stands its own day of the week
		}
	}
	return cal.Shifted(shift)
}

// Span is the time of a date range on a calendar.
func Span(cal *summary.Calendar, r DateRange) summary.Window {
	if r.Minutes != nil {
		return r.Minutes.Window
	}
	y, m, d := r.From.Date()
	from := cal.DateStart(y, m, d)
	y, m, d = (r.To + 1).Date()
	return summary.Window{From: from, To: cal.DateStart(y, m, d)}
}

// mayPass reports whether anything of an instant may pass the filter.
func (p *Plan) mayPass(cal *summary.Calendar, ms int64) bool {
	return p.Query.DimensionFilter.can(true, func(l *Filter) (is, known bool) {
		if !l.Dimension.Time() {
			return false, false
		}
		return l.Test.MatchText(timeValue(l.Dimension, cal, ms)), true
	})
}

// passes decides a filter about time alone for an instant.
func (p *Plan) passes(cal *summary.Calendar, ms int64) bool {
	return p.Query.DimensionFilter.Eval(func(l *Filter) bool {
		return l.Test.MatchText(timeValue(l.Dimension, cal, ms))
	})
}

// timeValue is what a dimension about time shows at an instant.
func timeValue(d *catalog.Dimension, cal *summary.Calendar, ms int64) string {
	parts := d.Parts()
	values := make([]string, len(parts))
	for i, part := range parts {
		values[i] = cal.TimeValue(part.Dim, ms)
	}
	return d.Value(values)
}

// value is what dimension i of the query shows, of the values of base.
func (p *Plan) value(i int, base []string) string {
	d := p.Query.Dimensions[i].Of
	if d.Made == nil {
		return d.Show(base[p.from[i][0]])
	}
	parts := make([]string, len(p.from[i]))
	for k, at := range p.from[i] {
		parts[k] = base[at]
	}
	return d.Value(parts)
}

// Holds reports whether a record can answer the plan's question: a table that
// has too many rows or users is absent in it.
func (p *Plan) Holds(r *summary.Record) bool {
	if !p.Records {
		return false
	}
	if !p.ByTable {
		return true
	}
	t := r.Tables[p.Table]
	return t != nil && (!p.Users || t.Users != nil)
}
