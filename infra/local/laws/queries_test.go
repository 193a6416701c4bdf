package laws

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// partOfDay are the dimensions that tell parts of a day apart.
var partOfDay = map[string]bool{"hour": true, "dateHour": true, "nthHour": true, "dateHourMinute": true, "minute": true, "nthMinute": true}

// asker makes random questions about a history.
type asker struct {
	*rand.Rand
	t          testing.TB
	n          *naive
	dimensions []string
	metrics    []string
	first      time.Time // the first day that has events
	days       int
}

func (a *asker) chance(percent int) bool { return a.IntN(100) < percent }

func (a *asker) query() query {
	var q query
	for range one(a.Rand, 1, 1, 1, 1, 2, 2, 3, 4) {
		q.DateRanges = append(q.DateRanges, a.dateRange())
	}
	if a.chance(20) {
		for i := range q.DateRanges {
			q.DateRanges[i].Name = fmt.Sprintf("range %c", 'a'+i)
		}
	}
	for _, i := range a.Perm(len(a.dimensions))[:one(a.Rand, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6, 9)] {
		q.Dimensions = append(q.Dimensions, name{a.made(a.dimensions[i])})
	}
	for _, i := range a.Perm(len(a.metrics))[:one(a.Rand, 1, 1, 2, 2, 3, 4, 6, 10)] {
		if m := (name{a.madeMetric(a.metrics[i])}); !slices.Contains(q.Metrics, m) {
			q.Metrics = append(q.Metrics, m)
		}
	}
	if a.chance(3) && len(q.Dimensions) > 0 {
		q.Metrics = nil
	}
	names := a.dimensions
	if q.lookBack() > 0 {
		// Days are counted as wholes, and each looks back at others.
		q.Dimensions = slices.DeleteFunc(q.Dimensions, func(d name) bool { return partOfDay[d.Name] || strings.HasPrefix(d.Name, made) })
		names = slices.DeleteFunc(slices.Clone(names), isTime)
	}
	if a.chance(50) {
		// Often about what is asked for.
		if len(q.Dimensions) > 0 && a.chance(40) {
			names = nil
			for _, d := range q.Dimensions {
				if q.lookBack() == 0 || !isTime(d.Name) {
					names = append(names, d.Name)
				}
			}
		}
		if len(names) == 0 {
			names = []string{"eventName"}
		}
		q.DimensionFilter = a.expression(0, func() *filter { return a.onDimension(one(a.Rand, names...)) })
	}
	if a.chance(25) && len(q.Metrics) > 0 {
		q.MetricFilter = a.expression(0, func() *filter { return a.onMetric(one(a.Rand, q.Metrics...).Name) })
	}
	for range one(a.Rand, 0, 0, 1, 2) {
		o := orderBy{Desc: a.chance(50)}
		switch {
		case a.chance(50) && len(q.Dimensions) > 0:
			o.Dimension = &dimensionOrder{one(a.Rand, q.Dimensions...).Name, one(a.Rand, "", "ALPHANUMERIC", "CASE_INSENSITIVE_ALPHANUMERIC", "NUMERIC")}
		case len(q.Metrics) > 0:
			o.Metric = &metricOrder{one(a.Rand, q.Metrics...).Name}
		default:
			continue
		}
		q.OrderBys = append(q.OrderBys, o)
	}
	if a.chance(30) {
		q.Limit = 1 + a.IntN(8)
	}
	if a.chance(20) {
		q.Offset = a.IntN(6)
	}
	for _, m := range []string{"TOTAL", "MAXIMUM", "MINIMUM", "COUNT"} {
		if a.chance(40) {
			q.MetricAggregations = append(q.MetricAggregations, m)
		}
	}
	q.KeepEmptyRows = a.chance(30)
	if a.chance(20) {
		q.CurrencyCode = one(a.Rand, "EUR", "USD", "JPY")
	}
	return q
}

// dateRange reaches a little over both ends of the history, now and then.
func (a *asker) dateRange() dateRange {
	from := a.IntN(a.days+3) - 2
	to := min(from+a.IntN(a.days+3), a.days)
	if a.chance(20) {
		from, to = -1, a.days
	}
	// Both or none by the day that it is today: in another zone that is another.
	relative := a.chance(15)
	return dateRange{Start: a.day(from, relative), End: a.day(max(from, to), relative)}
}

func (a *asker) day(n int, relative bool) string {
	y, m, d := a.first.Date()
	day := time.Date(y, m, d+n, 0, 0, 0, 0, time.UTC)
	y, m, d = a.n.now.In(a.n.zone).Date()
	ago := int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Sub(day) / (24 * time.Hour))
	switch {
	case !relative || ago < 0:
		return day.Format(time.DateOnly)
	case ago == 0:
		return "today"
	case ago == 1:
		return "yesterday"
	default:
		return fmt.Sprintf("%ddaysAgo", ago)
	}
}

func (a *asker) expression(depth int, condition func() *filter) *expression {
	group := func() *expressions {
		g := &expressions{}
		for range 1 + a.IntN(3) {
			g.Expressions = append(g.Expressions, a.expression(depth+1, condition))
		}
		return g
	}
	switch kind := a.IntN(10); {
	case depth < 3 && kind < 2:
		return &expression{And: group()}
	case depth < 3 && kind < 4:
		return &expression{Or: group()}
	case depth < 3 && kind < 5:
		return &expression{Not: a.expression(depth+1, condition)}
	default:
		return &expression{Filter: condition()}
	}
}

// value is one that a dimension has somewhere, or nearly.
func (a *asker) value(dimension string) string {
	d := dimensions[dimension]
	for range 20 {
		h := one(a.Rand, a.n.hits...)
		var g *goods
		if !h.counts() {
			continue
		}
		if d.item {
			if len(h.goods) == 0 {
				continue
			}
			g = &h.goods[a.IntN(len(h.goods))]
		}
		if v := a.n.show(a.t, &d, h, g, a.first); v != "(not set)" || a.chance(20) {
			return v
		}
	}
	return "(not set)"
}

func (a *asker) onDimension(dimension string) *filter {
	f := &filter{FieldName: dimension}
	value := a.value(dimension)
	if a.chance(15) {
		value = strings.ToUpper(value)
	}
	part := func() string {
		runes := []rune(value)
		if len(runes) == 0 {
			return ""
		}
		from := a.IntN(len(runes))
		return string(runes[from : from+1+a.IntN(len(runes)-from)])
	}
	runes := []rune(value)
	cut := a.IntN(len(runes) + 1)
	sensitive := a.chance(50)
	switch a.IntN(12) {
	case 0, 1:
		f.String = &stringFilter{one(a.Rand, "", "EXACT"), value, sensitive}
	case 2:
		f.String = &stringFilter{"BEGINS_WITH", string(runes[:cut]), sensitive}
	case 3:
		f.String = &stringFilter{"ENDS_WITH", string(runes[cut:]), sensitive}
	case 4:
		f.String = &stringFilter{"CONTAINS", part(), sensitive}
	case 5:
		f.String = &stringFilter{"FULL_REGEXP", regexp.QuoteMeta(string(runes[:cut])) + one(a.Rand, ".*", "", "[a-z]+", `\d`), sensitive}
	case 6:
		f.String = &stringFilter{"PARTIAL_REGEXP", one(a.Rand, "^", "", "") + regexp.QuoteMeta(part()) + one(a.Rand, "$", "", ".", "|^/$"), sensitive}
	case 7, 8:
		f.InList = &inList{Values: []string{value, a.value(dimension)}, CaseSensitive: sensitive}
	case 9:
		f.Empty = &struct{}{}
	case 10:
		f.Numeric = &numeric{a.operation(), number{float64(a.IntN(30))}}
	default:
		low := float64(a.IntN(20))
		f.Between = &between{number{low}, number{low + float64(a.IntN(12))}}
	}
	return f
}

func (a *asker) operation() string {
	return one(a.Rand, "EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL")
}

func (a *asker) onMetric(metric string) *filter {
	f := &filter{FieldName: metric}
	bound := one(a.Rand, 0, 0, 1, 1, 2, 3, 5, 20, 0.5, 1.5, 100)
	if a.chance(30) {
		f.Between = &between{number{bound}, number{bound + one(a.Rand, 0, 1, 2.5, 50)}}
	} else {
		f.Numeric = &numeric{a.operation(), number{bound}}
	}
	return f
}

// smaller are questions like q that ask for a little less.
func smaller(q query) []query {
	var out []query
	with := func(change func(q *query)) {
		s := q
		s.DateRanges, s.Dimensions, s.Metrics = slices.Clone(q.DateRanges), slices.Clone(q.Dimensions), slices.Clone(q.Metrics)
		s.OrderBys, s.MetricAggregations = slices.Clone(q.OrderBys), slices.Clone(q.MetricAggregations)
		change(&s)
		out = append(out, s)
	}
	asks := func(e *expression, field string) bool {
		found := false
		e.each(func(f *filter) { found = found || f.FieldName == field })
		return found
	}
	orders := func(field string) bool {
		return slices.ContainsFunc(q.OrderBys, func(o orderBy) bool {
			return o.Metric != nil && o.Metric.Name == field || o.Dimension != nil && o.Dimension.Name == field
		})
	}
	if q.MetricFilter != nil {
		for _, e := range parts(q.MetricFilter) {
			with(func(q *query) { q.MetricFilter = e })
		}
	}
	if q.DimensionFilter != nil {
		for _, e := range parts(q.DimensionFilter) {
			with(func(q *query) { q.DimensionFilter = e })
		}
	}
	for i := range q.OrderBys {
		with(func(q *query) { q.OrderBys = slices.Delete(q.OrderBys, i, i+1) })
	}
	for i := range q.DateRanges {
		if len(q.DateRanges) > 1 {
			with(func(q *query) { q.DateRanges = slices.Delete(q.DateRanges, i, i+1) })
		}
	}
	for i, d := range q.Dimensions {
		if len(q.Metrics)+len(q.Dimensions) > 1 && !orders(d.Name) && !(strings.HasPrefix(d.Name, made) && asks(q.DimensionFilter, d.Name)) {
			with(func(q *query) { q.Dimensions = slices.Delete(q.Dimensions, i, i+1) })
		}
	}
	for i, m := range q.Metrics {
		if !orders(m.Name) && !asks(q.MetricFilter, m.Name) && len(q.Metrics) > 1 {
			with(func(q *query) { q.Metrics = slices.Delete(q.Metrics, i, i+1) })
		}
	}
	for i := range q.MetricAggregations {
		with(func(q *query) { q.MetricAggregations = slices.Delete(q.MetricAggregations, i, i+1) })
	}
	if q.Limit != 0 {
		with(func(q *query) { q.Limit = 0 })
	}
	if q.Offset != 0 {
		with(func(q *query) { q.Offset = 0 })
	}
	if q.KeepEmptyRows {
		with(func(q *query) { q.KeepEmptyRows = false })
	}
	return out
}

// parts are the expressions within one, and none at all.
func parts(e *expression) []*expression {
	out := []*expression{nil}
	switch {
	case e.And != nil:
		out = append(out, e.And.Expressions...)
	case e.Or != nil:
		out = append(out, e.Or.Expressions...)
	case e.Not != nil:
		out = append(out, e.Not)
	}
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
