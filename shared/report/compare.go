package report

import (
	"fmt"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Compare says which time a report is compared with.
type Compare string

// The comparisons: with as many days just before, or with the same dates of the
// year before.
const (
	CompareNone    Compare = ""
	PreviousPeriod Compare = "previous_period"
	PreviousYear   Compare = "previous_year"
)

// What is appended to a metric's name for its value in the time compared with,
// and for what it has grown by since.
const (
	beforeSuffix     = "_before"
	differenceSuffix = "_difference"
)

// parseCompare adds the date range to compare with. Its dates are named as
// those that they stand beside.
func (q *Query) parseCompare(s string) error {
	r := q.DateRanges[0]
	before := r
	switch q.Compare = Compare(s); q.Compare {
	case CompareNone:
		return nil
	case PreviousPeriod:
		days := r.To - r.From + 1
		before.From, before.To = r.From-days, r.To-days
		before.Shift.Days = int64(days)
	case PreviousYear:
		before.From, before.To = r.From.yearBefore(), r.To.yearBefore()
		before.Shift.Years = 1
	default:
		return fault.Field("compare", string(PreviousPeriod)+" or "+string(PreviousYear))
	}
	if before.From < firstDay {
		return fault.Field("compare", fmt.Sprintf("a time to compare with that begins on %s or later, not on %s", firstDay, before.From))
	}
	q.DateRanges = append(q.DateRanges, before)
	return nil
}

// yearBefore is the same date of the year before; the 28th for 29 February.
func (d Day) yearBefore() Day {
	year, month, day := d.Date()
	before := time.Date(year-1, month, day, 0, 0, 0, 0, time.UTC)
	if before.Day() != day {
		before = before.AddDate(0, 0, -1)
	}
	return DayOf(before)
}

// compare lays what was counted before beside what is counted now. A row stands
// in the answer where either has something; the filter on metrics asks about
// now, and totals are over the rows that pass it.
func (r *Result) compare(now, before *Builder) []Row {
	q := r.Query
	sides := [2]struct {
		table *summary.Table
		at    map[string][2]int // rows [from, to)
		total *tally
	}{}
	var keys []string // rows in order of their first appearance
	var dims [][]string
	for i, b := range []*Builder{now, before} {
		s := &sides[i]
		s.table, s.at, s.total = b.table(), map[string][2]int{}, b.plan.tally()
		for from, to := range b.plan.spans(s.table) {
			values := b.plan.row(s.table, from)
			key := rowKey(values)
			s.at[key] = [2]int{from, to}
			if _, there := sides[0].at[key]; i == 0 || !there {
				keys, dims = append(keys, key), append(dims, values)
			}
		}
	}
	var rows []Row
	for k, key := range keys {
		both := [2]numbers{now.plan.none(), before.plan.none()}
		var values [2][]catalog.Value
		empty := true
		for i := range sides {
			if at, there := sides[i].at[key]; there {
				both[i] = both[i].plan.numbers(sides[i].table, at[0], at[1])
			}
			for _, m := range q.Metrics {
				v := both[i].of(m.Of)
				empty = empty && v.Zero()
				values[i] = append(values[i], v)
			}
		}
		if empty && !q.KeepEmpty || !both[0].passes() {
			continue
		}
		rows = append(rows, Row{Dimensions: dims[k], Metrics: values[0], Before: values[1]})
		for i := range sides {
			if at, there := sides[i].at[key]; there {
				for row := at[0]; row < at[1]; row++ {
					sides[i].total.add(sides[i].table, row)
				}
			}
			r.Meta.UsersError = max(r.Meta.UsersError, both[i].err)
		}
	}
	passes := passed(rows, len(keys))
	total := func(i int, b *Builder) []catalog.Value {
		sides[i].total.instead(b.total(passes))
		b.lookBack(sides[i].total, rows, len(keys))
		return r.total(sides[i].total)
	}
	r.Totals = []Row{{Metrics: total(0, now), Before: total(1, before)}}
	return rows
}
