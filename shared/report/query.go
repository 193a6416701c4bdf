package report

import (
	"fmt"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Limits of a query.
const (
	MaxDimensions = 9       // as the Data API's
	MaxMetrics    = 100     // more than there are
	MaxDateRanges = 4       // as the Data API's
	MaxRows       = 250_000 // of one answer, as the Data API's
	MaxDays       = 36525   // of one ledger: all that a date can name
	maxFilterSize = 200     // conditions of one filter
)

// Query is one question, resolved: names are found, days are days.
type Query struct {
	Merchant   string
	DateRanges []DateRange
	Dimensions []Column[*catalog.Dimension]
	Metrics    []Column[*catalog.Metric]
	// DimensionFilter says which events count, by the values that dimensions
	// show; MetricFilter which finished rows stand in the answer.
	DimensionFilter *Filter
	MetricFilter    *Filter
	OrderBys        []OrderBy // empty: DefaultOrder
	Limit, Offset   int64
	KeepEmpty       bool // also rows whose metrics are all 0
	Aggregations    []Aggregation
	Quota           bool // the asker wants to see the quota
	Hidden          int  // so many metrics, the last ones, are no columns of the answer
	// Currency is that of the answer's money; "" is the merchant's.
	Currency string
	rates    []summary.Rate // of Currency, ascending by instant
	// Realtime: the date ranges are Minutes.
	Realtime bool
	// Pivots lay the answer out along several axes; what they say stands for
	// OrderBys, Limit, Offset and Aggregations.
	Pivots []Pivot
	// Compare lays the second date range beside the first, row by row.
	Compare Compare
}

// Column is a dimension or metric under the name by which it was asked for.
type Column[T any] struct {
	Name string
	Of   T
}

// DateRange is a span of days, both counted, on the merchant's calendar.
type DateRange struct {
	Name     string
	From, To Day
	// Shift names its dates as those of the range that it is compared with.
	Shift summary.Shift
	// Minutes is a span of minutes instead of days.
	Minutes *Minutes
}

// Minutes is a span of time, and the instant (ms) from which its minutes count.
type Minutes struct {
	summary.Window
	Since int64
}

// OrderBy is one key of the answer's order: a dimension's or a metric's place
// in the query, or of the date range where DateRange is set.
type OrderBy struct {
	Dimension int // -1: it is a metric
	Metric    int
	Order     DimensionOrder
	Desc      bool
}

// DimensionOrder says how the values of a dimension compare.
type DimensionOrder uint8

// The orders.
const (
	Alphanumeric DimensionOrder = iota
	IgnoreCase
	Numeric
)

// Aggregation is a row about all rows.
type Aggregation uint8

// The aggregations.
const (
	Total Aggregation = iota
	Minimum
	Maximum
	Count
)

// Validate checks what both languages must obey.
func (q *Query) Validate() error {
	switch {
	case len(q.visible()) == 0 && len(q.Dimensions) == 0:
		return fault.Field("metrics", "at least one metric")
	case len(q.Metrics) > MaxMetrics:
		return fault.Field("metrics", fmt.Sprintf("at most %d metrics", MaxMetrics))
	case len(q.Dimensions) > MaxDimensions:
		return fault.Field("dimensions", fmt.Sprintf("at most %d dimensions", MaxDimensions))
	case q.Limit < 1 || q.Limit > MaxRows:
		return fault.Field("limit", fmt.Sprintf("1 to %d rows", MaxRows))
	case q.Offset < 0:
		return fault.Field("offset", "0 or more rows")
	}
	seen := map[string]bool{}
	for _, d := range q.Dimensions {
		if seen[d.Name] {
			return fault.Field("dimensions", fmt.Sprintf("each dimension once, %q is there twice", d.Name))
		}
		seen[d.Name] = true
	}
	for _, m := range q.Metrics {
		if seen[m.Name] {
			return fault.Field("metrics", fmt.Sprintf("each name once, %q is there twice", m.Name))
		}
		seen[m.Name] = true
	}
	return q.checkTrailing()
}

// asksEvents reports whether the query asks for what is counted of events and
// not of items or users.
func (q *Query) asksEvents() bool {
	events := false
	q.eachMetric(func(m *catalog.Metric) { events = events || m.Scope != catalog.ScopeItem && !m.OnlyUsers() })
	return events
}

// eachMetric calls fn for the metrics of the columns and of the filter, and for
// those that expressions are made of.
func (q *Query) eachMetric(fn func(*catalog.Metric)) {
	see := func(m *catalog.Metric) {
		if m.Expression == nil {
			fn(m)
			return
		}
		for _, part := range m.Expression.Parts {
			fn(part)
		}
	}
	for _, m := range q.Metrics {
		see(m.Of)
	}
	q.MetricFilter.each(func(f *Filter) { see(f.Metric) })
}

// byItem reports whether the query groups or filters items.
func (q *Query) byItem() bool {
	items := false
	for _, d := range q.Dimensions {
		items = items || d.Of.Scope == catalog.ScopeItem
	}
	q.DimensionFilter.each(func(f *Filter) {
		items = items || f.Dimension.Scope == catalog.ScopeItem
	})
	return items
}

// DefaultOrder is the order where the asker named none: by the time dimensions
// as time passes, else by the first metric, highest first.
func (q *Query) DefaultOrder() []OrderBy {
	var order []OrderBy
	for i, d := range q.Dimensions {
		if d.Of.Time() {
			order = append(order, OrderBy{Dimension: i})
		}
	}
	if len(order) == 0 && len(q.Metrics) > 0 {
		order = append(order, OrderBy{Dimension: -1, Metric: 0, Desc: true})
	}
	return order
}

// visible are the metrics that are columns of the answer.
func (q *Query) visible() []Column[*catalog.Metric] { return q.Metrics[:len(q.Metrics)-q.Hidden] }

func (q *Query) dimension(name string) int {
	for i, d := range q.Dimensions {
		if d.Name == name {
			return i
		}
	}
	return -1
}

func (q *Query) metric(name string) int {
	for i, m := range q.Metrics {
		if m.Name == name {
			return i
		}
	}
	return -1
}
