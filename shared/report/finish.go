package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/catalog"
)

// Finish merges the parts of each date range into the answer: metrics, the
// filter on them, order, totals and the page. builders are in the order of the
// query's date ranges.
func Finish(q *Query, builders []*Builder, meta Meta) *Result {
	r := &Result{Query: q, Meta: meta}
	for _, b := range builders {
		r.Meta.Duplicates += b.duplicates
		r.Meta.Bots += b.filtered
	}
	if len(q.Pivots) > 0 {
		r.pivot(builders)
		return r
	}
	var all []Row
	if q.Compare != CompareNone {
		all = r.compare(builders[0], builders[1])
	} else {
		for i, b := range builders {
			all = append(all, r.rows(i, b)...)
		}
	}
	r.RowCount = len(all)
	order := q.OrderBys
	if len(order) == 0 {
		order = q.DefaultOrder()
	}
	sortRows(all, order)
	from := min(int64(len(all)), q.Offset)
	to := min(int64(len(all)), from+q.Limit)
	r.Rows = all[from:to:to]
	return r
}

// total is the sum of what was counted in the rows that pass (nil: in all),
// where it is not that of the rows.
func (b *Builder) total(passes func(dimensions []string) bool) *tally {
	if !b.plan.itemEvents {
		return nil
	}
	y := b.plan.tally()
	for _, t := range b.itemTables(nil, passes) {
		y.add(t, 0) // it has one row
	}
	return y
}

// passed tells by their values which rows are among those that passed; nil where
// all did.
func passed(rows []Row, all int) func(dimensions []string) bool {
	if len(rows) == all {
		return nil
	}
	set := make(map[string]bool, len(rows))
	for _, row := range rows {
		set[rowKey(row.Dimensions)] = true
	}
	return func(values []string) bool { return set[rowKey(values)] }
}

// rows turns what was collected of a date range into the rows that pass, and
// adds its totals, minimums and maximums.
func (r *Result) rows(rangeAt int, b *Builder) []Row {
	q, t := r.Query, b.table()
	total := b.plan.tally()
	rows := make([]Row, 0, t.Len())
	slab := make([]catalog.Value, t.Len()*len(q.Metrics))
	texts := make([]string, t.Len()*len(q.Dimensions))
	all := 0
	for i, to := range b.plan.spans(t) {
		all++
		numbers := b.plan.numbers(t, i, to)
		values := slab[:len(q.Metrics):len(q.Metrics)]
		empty := true
		for j, m := range q.Metrics {
			values[j] = numbers.of(m.Of)
			empty = empty && values[j].Zero()
		}
		if empty && !q.KeepEmpty && len(q.Metrics) > 0 {
			continue
		}
		if !numbers.passes() {
			continue
		}
		slab = slab[len(q.Metrics):]
		dims := texts[:len(q.Dimensions):len(q.Dimensions)]
		texts = texts[len(q.Dimensions):]
		for k := range dims {
			dims[k] = t.Values[k][i]
		}
		rows = append(rows, Row{Range: rangeAt, Dimensions: dims, Metrics: values})
		for ; i < to; i++ {
			total.add(t, i)
		}
		r.Meta.UsersError = max(r.Meta.UsersError, numbers.err)
	}
	if slices.Contains(q.Aggregations, Total) {
		total.instead(b.total(passed(rows, all)))
		b.lookBack(total, rows, all)
	}
	r.aggregate(rangeAt, rows, total)
	return rows
}

func (r *Result) aggregate(rangeAt int, rows []Row, total *tally) {
	q := r.Query
	for _, a := range q.Aggregations {
		row := Row{Range: rangeAt}
		switch a {
		case Total:
			row.Metrics = r.total(total)
			r.Totals = append(r.Totals, row)
		case Minimum, Maximum:
			row.Metrics = make([]catalog.Value, len(q.Metrics))
			for j := range q.Metrics {
				row.Metrics[j] = extreme(rows, j, a == Maximum)
			}
			if a == Maximum {
				r.Maximums = append(r.Maximums, row)
			} else {
				r.Minimums = append(r.Minimums, row)
			}
		case Count:
			// RowCount is the answer, and is always there.
		}
	}
}

// total are the metrics of everything together.
func (r *Result) total(total *tally) []catalog.Value {
	numbers := total.numbers()
	r.Meta.UsersError = max(r.Meta.UsersError, numbers.err)
	values := make([]catalog.Value, len(r.Query.Metrics))
	for j, m := range r.Query.Metrics {
		values[j] = numbers.of(m.Of)
	}
	return values
}

// extreme is the largest or smallest value of a metric; 0 without rows.
func extreme(rows []Row, metric int, largest bool) catalog.Value {
	best := catalog.Value{D: 1}
	for i := range rows {
		v := rows[i].Metrics[metric]
		if i == 0 || largest == (v.Float() > best.Float()) && v.Float() != best.Float() {
			best = v
		}
	}
	return best
}

// sortRows orders rows; those that tie stand by their dimensions' values and
// then by date range, so that pages do not overlap.
func sortRows(rows []Row, order []OrderBy) {
	compare := func(a, b *Row) int {
		for _, o := range order {
			c := 0
			if o.Dimension >= 0 {
				c = compareText(a.Dimensions[o.Dimension], b.Dimensions[o.Dimension], o.Order)
			} else {
				c = cmp.Compare(a.Metrics[o.Metric].Float(), b.Metrics[o.Metric].Float())
			}
			if o.Desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		if c := slices.Compare(a.Dimensions, b.Dimensions); c != 0 {
			return c
		}
		return a.Range - b.Range
	}
	slices.SortFunc(rows, func(a, b Row) int { return compare(&a, &b) })
}

func compareText(a, b string, order DimensionOrder) int {
	switch order {
	case IgnoreCase:
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	case Numeric:
		// What is no number stands before all numbers, as Google has it.
		x, errX := strconv.ParseFloat(a, 64)
		y, errY := strconv.ParseFloat(b, 64)
		switch {
		case errX != nil && errY != nil:
			return strings.Compare(a, b)
		case errX != nil:
			return -1
		case errY != nil:
			return 1
		}
		return cmp.Compare(x, y)
	default:
		return strings.Compare(a, b)
	}
}
