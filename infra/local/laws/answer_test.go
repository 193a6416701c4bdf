package laws

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// query is the body of runReport.
type query struct {
	DateRanges         []dateRange `json:"dateRanges"`
	Dimensions         []name      `json:"dimensions,omitempty"`
	Metrics            []name      `json:"metrics,omitempty"`
	DimensionFilter    *expression `json:"dimensionFilter,omitempty"`
	MetricFilter       *expression `json:"metricFilter,omitempty"`
	OrderBys           []orderBy   `json:"orderBys,omitempty"`
	Limit              int         `json:"limit,omitempty"`
	Offset             int         `json:"offset,omitempty"`
	MetricAggregations []string    `json:"metricAggregations,omitempty"`
	KeepEmptyRows      bool        `json:"keepEmptyRows,omitempty"`
	CurrencyCode       string      `json:"currencyCode,omitempty"`
}

type name struct {
	Name string `json:"name"`
}

type dateRange struct {
	Start string `json:"startDate"`
	End   string `json:"endDate"`
	Name  string `json:"name,omitempty"`
}

type expression struct {
	And    *expressions `json:"andGroup,omitempty"`
	Or     *expressions `json:"orGroup,omitempty"`
	Not    *expression  `json:"notExpression,omitempty"`
	Filter *filter      `json:"filter,omitempty"`
}

type expressions struct {
	Expressions []*expression `json:"expressions"`
}

type filter struct {
	FieldName string        `json:"fieldName"`
	String    *stringFilter `json:"stringFilter,omitempty"`
	InList    *inList       `json:"inListFilter,omitempty"`
	Numeric   *numeric      `json:"numericFilter,omitempty"`
	Between   *between      `json:"betweenFilter,omitempty"`
	Empty     *struct{}     `json:"emptyFilter,omitempty"`
}

type stringFilter struct {
	MatchType     string `json:"matchType,omitempty"`
	Value         string `json:"value"`
	CaseSensitive bool   `json:"caseSensitive,omitempty"`
}

type inList struct {
	Values        []string `json:"values"`
	CaseSensitive bool     `json:"caseSensitive,omitempty"`
}

type numeric struct {
	Operation string `json:"operation"`
	Value     number `json:"value"`
}

type between struct {
	From number `json:"fromValue"`
	To   number `json:"toValue"`
}

type number struct {
	Double float64 `json:"doubleValue"`
}

type orderBy struct {
	Metric    *metricOrder    `json:"metric,omitempty"`
	Dimension *dimensionOrder `json:"dimension,omitempty"`
	Desc      bool            `json:"desc,omitempty"`
}

type metricOrder struct {
	Name string `json:"metricName"`
}

type dimensionOrder struct {
	Name string `json:"dimensionName"`
	Type string `json:"orderType,omitempty"`
}

// answer is what runReport answers, as rows of "value value | metric metric".
type answer struct {
	Rows     []string
	RowCount int
	Totals   []string
	Maximums []string
	Minimums []string
}

// row is a row of an answer at work.
type row struct {
	date int // which date range
	dims []string
	group
	values []*big.Rat
}

// answer works a question out.
func (n *naive) answer(t testing.TB, q query) answer {
	t.Helper()
	n.in = q.CurrencyCode
	var out answer
	var all []*row
	for i, r := range q.DateRanges {
		from, to := n.day(t, r.Start), n.day(t, r.End)
		rows := n.rows(t, q, i, from, to)
		all = append(all, rows...)
		for _, a := range q.MetricAggregations {
			switch a {
			case "TOTAL":
				total := group{n: n, last: n.lastDay(to.AddDate(0, 0, 1))}
				for _, r := range rows {
					total.units = append(total.units, r.units...)
					total.everyDay = append(total.everyDay, r.everyDay...)
				}
				out.Totals = append(out.Totals, line(q, i, nil, n.values(q, &total), "RESERVED_TOTAL"))
			case "MAXIMUM":
				out.Maximums = append(out.Maximums, line(q, i, nil, extreme(q, rows, +1), "RESERVED_MAX"))
			case "MINIMUM":
				out.Minimums = append(out.Minimums, line(q, i, nil, extreme(q, rows, -1), "RESERVED_MIN"))
			}
		}
	}
	out.RowCount = len(all)
	slices.SortFunc(all, func(a, b *row) int { return compareRows(q, a, b) })
	limit := q.Limit
	if limit == 0 {
		limit = 10_000
	}
	all = all[min(q.Offset, len(all)):]
	for _, r := range all[:min(limit, len(all))] {
		out.Rows = append(out.Rows, line(q, r.date, r.dims, r.values, ""))
	}
	return out
}

// line shows a row.
func line(q query, date int, dims []string, values []*big.Rat, reserved string) string {
	var cells []string
	for i := range q.Dimensions {
		if reserved != "" {
			cells = append(cells, reserved)
		} else {
			cells = append(cells, dims[i])
		}
	}
	if len(q.DateRanges) > 1 {
		cells = append(cells, q.rangeName(date))
	}
	cells = append(cells, "|")
	for _, v := range values {
		cells = append(cells, show(v))
	}
	return strings.Join(cells, " ~ ")
}

func (q *query) rangeName(i int) string {
	return cmp.Or(q.DateRanges[i].Name, fmt.Sprintf("date_range_%d", i))
}

func show(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strconv.FormatFloat(float(r), 'f', -1, 64)
}

func float(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}

// day is the first instant of a day as a date range names it.
func (n *naive) day(t testing.TB, s string) time.Time {
	t.Helper()
	y, m, d := n.now.In(n.zone).Date()
	switch days, relative := strings.CutSuffix(s, "daysAgo"); {
	case s == "today":
	case s == "yesterday":
		d--
	case relative:
		ago, err := strconv.Atoi(days)
		if err != nil {
			t.Fatal(err)
		}
		d -= ago
	default:
		date, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		y, m, d = date.Date()
	}
	return time.Date(y, m, d, 0, 0, 0, 0, n.zone)
}

func (n *naive) values(q query, g *group) []*big.Rat {
	var values []*big.Rat
	for _, m := range q.Metrics {
		values = append(values, metrics[m.Name](g))
	}
	return values
}

// rows are those of one date range that stand in the answer.
func (n *naive) rows(t testing.TB, q query, date int, first, last time.Time) []*row {
	t.Helper()
	end := last.AddDate(0, 0, 1)
	groups := map[string]*row{}
	at := func(dims []string) *row {
		key := strings.Join(dims, "\x00")
		if groups[key] == nil {
			groups[key] = &row{date: date, dims: dims, group: group{n: n}}
		}
		return groups[key]
	}
	if len(q.Dimensions) == 0 {
		at(nil) // one row, also of nothing
	}
	earlier := first.AddDate(0, 0, -q.lookBack())
	everyDay := map[string][]unit{} // by the dimensions that are no time
	for _, h := range n.hits {
		if !h.counts() || h.local.Before(earlier) || !h.local.Before(end) {
			continue
		}
		units := []unit{{h, nil}}
		if q.byItem() {
			units = nil
			for i := range h.goods {
				units = append(units, unit{h, &h.goods[i]})
			}
		}
		for _, u := range units {
			if !q.DimensionFilter.holds(t, func(f *filter) bool {
				d := dimensions[f.FieldName]
				return f.text(t, n.show(t, &d, u.hit, u.item, first))
			}) {
				continue
			}
			dims := make([]string, len(q.Dimensions))
			for i, name := range q.Dimensions {
				d := dimensions[name.Name]
				dims[i] = n.show(t, &d, u.hit, u.item, first)
			}
			kind := q.still(dims)
			everyDay[kind] = append(everyDay[kind], u)
			if h.local.Before(first) {
				continue
			}
			r := at(dims)
			r.units = append(r.units, u)
		}
	}
	if q.KeepEmptyRows {
		for _, dims := range n.empty(t, q, first, end) {
			at(dims)
		}
	}
	if q.lookBack() > 0 {
		n.addLookBack(t, q, first, end, groups, everyDay, at)
	}
	var rows []*row
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		r := groups[key]
		r.values = n.values(q, &r.group)
		nothing := len(r.values) > 0
		for _, v := range r.values {
			nothing = nothing && v.Sign() == 0
		}
		if nothing && !q.KeepEmptyRows {
			continue
		}
		if q.MetricFilter.holds(t, func(f *filter) bool {
			return f.number(t, float(metrics[f.FieldName](&r.group)))
		}) {
			rows = append(rows, r)
		}
	}
	return rows
}

// empty lists the values of a report by nothing but time: those of each hour of
// the range that has begun, whatever happened in it, unless nothing in it could
// pass the filter: Google removes an empty row that a filter removes.
func (n *naive) empty(t testing.TB, q query, first, end time.Time) [][]string {
	t.Helper()
	for _, d := range q.Dimensions {
		if !isTime(d.Name) {
			return nil
		}
	}
	var out [][]string
	// All clocks are put by quarters of an hour.
	step := 15 * time.Minute
	for _, d := range q.Dimensions {
		if d.Name == "minute" || d.Name == "nthMinute" || d.Name == "dateHourMinute" {
			step = time.Minute
		}
	}
	q.DimensionFilter.each(func(f *filter) {
		if f.FieldName == "minute" || f.FieldName == "nthMinute" || f.FieldName == "dateHourMinute" {
			step = time.Minute
		}
	})
	for at := first; at.Before(end) && at.Before(n.now); at = at.Add(step) {
		h := &hit{local: at.In(n.zone)}
		if !q.DimensionFilter.can(true, func(f *filter) (is, known bool) {
			d := dimensions[f.FieldName]
			return d.time && f.text(t, n.show(t, &d, h, nil, first)), d.time
		}) {
			continue
		}
		var dims []string
		for _, name := range q.Dimensions {
			d := dimensions[name.Name]
			dims = append(dims, n.show(t, &d, h, nil, first))
		}
		out = append(out, dims)
	}
	return out
}

// lookBack is how many days the question's metrics are about; 0 where they are
// about those of the date range.
func (q *query) lookBack() int {
	days := 0
	for _, m := range q.Metrics {
		days = max(days, looksBack[m.Name])
	}
	return days
}

// still names a row by its values that are no time.
func (q *query) still(dims []string) string {
	var b strings.Builder
	for i, d := range q.Dimensions {
		if !isTime(d.Name) {
			b.WriteString(dims[i] + "\x00")
		}
	}
	return b.String()
}

// lastDay is the last day before an instant that has begun.
func (n *naive) lastDay(end time.Time) int {
	last := civil(end.In(n.zone).Add(-time.Millisecond))
	return min(last, civil(n.now.In(n.zone)))
}

// addLookBack tells rows what numbers of users look back at, and adds the rows
// that have nothing else.
func (n *naive) addLookBack(t testing.TB, q query, first, end time.Time, groups map[string]*row, everyDay map[string][]unit, at func(dims []string) *row) {
	t.Helper()
	// The days of each value of the time dimensions.
	last := map[string]int{}
	times := map[string][]string{}
	for day := first; day.Before(end) && !day.After(n.now); day = day.AddDate(0, 0, 1) {
		dims := make([]string, len(q.Dimensions))
		for i, name := range q.Dimensions {
			if d := dimensions[name.Name]; d.time {
				dims[i] = n.show(t, &d, &hit{local: day}, nil, first)
			}
		}
		key := strings.Join(dims, "\x00")
		last[key], times[key] = civil(day), dims
	}
	for kind, units := range everyDay {
		h := units[0]
		for key, dims := range times {
			g := group{n: n, everyDay: units, last: last[key]}
			row := slices.Clone(dims)
			for i, name := range q.Dimensions {
				if d := dimensions[name.Name]; !d.time {
					row[i] = n.show(t, &d, h.hit, h.item, first)
				}
			}
			if q.still(row) != kind {
				t.Fatalf("%q is not of %q", row, kind)
			}
			if _, there := groups[strings.Join(row, "\x00")]; there || g.trailing(q.lookBack()).Sign() > 0 {
				r := at(row)
				r.everyDay, r.last = g.everyDay, g.last
			}
		}
	}
}

// byItem reports whether a question groups or filters items.
func (q *query) byItem() bool {
	items := false
	for _, d := range q.Dimensions {
		items = items || dimensions[d.Name].item
	}
	q.DimensionFilter.each(func(f *filter) { items = items || dimensions[f.FieldName].item })
	return items
}

// each calls fn with every condition.
func (e *expression) each(fn func(*filter)) {
	switch {
	case e == nil:
	case e.And != nil:
		for _, k := range e.And.Expressions {
			k.each(fn)
		}
	case e.Or != nil:
		for _, k := range e.Or.Expressions {
			k.each(fn)
		}
	case e.Not != nil:
		e.Not.each(fn)
	default:
		fn(e.Filter)
	}
}

// holds decides an expression, given how to decide a condition.
func (e *expression) holds(t testing.TB, condition func(*filter) bool) bool {
	t.Helper()
	switch {
	case e == nil:
		return true
	case e.And != nil:
		all := true
		for _, k := range e.And.Expressions {
			all = all && k.holds(t, condition)
		}
		return all
	case e.Or != nil:
		for _, k := range e.Or.Expressions {
			if k.holds(t, condition) {
				return true
			}
		}
		return false
	case e.Not != nil:
		return !e.Not.holds(t, condition)
	default:
		return condition(e.Filter)
	}
}

// can reports whether an expression may come to a verdict, whatever the
// conditions come to that are not known.
func (e *expression) can(verdict bool, condition func(*filter) (is, known bool)) bool {
	able := func(k *expression) bool { return k.can(verdict, condition) }
	unable := func(k *expression) bool { return !able(k) }
	switch {
	case e == nil:
		return verdict
	case e.And != nil && verdict:
		return !slices.ContainsFunc(e.And.Expressions, unable)
	case e.And != nil:
		return slices.ContainsFunc(e.And.Expressions, able)
	case e.Or != nil && verdict:
		return slices.ContainsFunc(e.Or.Expressions, able)
	case e.Or != nil:
		return !slices.ContainsFunc(e.Or.Expressions, unable)
	case e.Not != nil:
		return e.Not.can(!verdict, condition)
	}
	is, known := condition(e.Filter)
	return !known || is == verdict
}

// text decides about a dimension's value.
func (f *filter) text(t testing.TB, v string) bool {
	t.Helper()
	folded := func(s string, sensitive bool) string {
		if sensitive {
			return s
		}
		return strings.ToLower(s)
	}
	switch {
	case f.String != nil:
		s := f.String
		pattern := s.Value
		if !s.CaseSensitive {
			pattern = "(?i)" + pattern
		}
		value, want := folded(v, s.CaseSensitive), folded(s.Value, s.CaseSensitive)
		switch s.MatchType {
		case "", "EXACT":
			return value == want
		case "BEGINS_WITH":
			return strings.HasPrefix(value, want)
		case "ENDS_WITH":
			return strings.HasSuffix(value, want)
		case "CONTAINS":
			return strings.Contains(value, want)
		case "FULL_REGEXP":
			return regexp.MustCompile(`\A(?:` + pattern + `)\z`).MatchString(v)
		case "PARTIAL_REGEXP":
			return regexp.MustCompile(pattern).MatchString(v)
		}
		t.Fatalf("no definition of the match type %q", s.MatchType)
		return false
	case f.InList != nil:
		for _, one := range f.InList.Values {
			if folded(one, f.InList.CaseSensitive) == folded(v, f.InList.CaseSensitive) {
				return true
			}
		}
		return false
	case f.Empty != nil:
		return v == "" || v == "(not set)"
	default:
		x, err := strconv.ParseFloat(v, 64)
		return err == nil && f.number(t, x)
	}
}

// number decides about a metric's value, or a dimension's that is a number.
func (f *filter) number(t testing.TB, v float64) bool {
	t.Helper()
	if b := f.Between; b != nil {
		return b.From.Double <= v && v <= b.To.Double
	}
	want := f.Numeric.Value.Double
	switch f.Numeric.Operation {
	case "EQUAL":
		return v == want
	case "LESS_THAN":
		return v < want
	case "LESS_THAN_OR_EQUAL":
		return v <= want
	case "GREATER_THAN":
		return v > want
	case "GREATER_THAN_OR_EQUAL":
		return v >= want
	}
	t.Fatalf("no definition of the operation %q", f.Numeric.Operation)
	return false
}

// compareRows is the order that a question asks for: without one by the time
// dimensions, else by the first metric, highest first. What ties stands by its
// values and then by date range.
func compareRows(q query, a, b *row) int {
	order := q.OrderBys
	if len(order) == 0 {
		for _, d := range q.Dimensions {
			if isTime(d.Name) {
				order = append(order, orderBy{Dimension: &dimensionOrder{Name: d.Name}})
			}
		}
		if len(order) == 0 && len(q.Metrics) > 0 {
			order = append(order, orderBy{Metric: &metricOrder{q.Metrics[0].Name}, Desc: true})
		}
	}
	for _, o := range order {
		c := 0
		if o.Metric != nil {
			i := slices.Index(q.Metrics, name{o.Metric.Name})
			c = cmp.Compare(float(a.values[i]), float(b.values[i]))
		} else {
			i := slices.Index(q.Dimensions, name{o.Dimension.Name})
			x, y := a.dims[i], b.dims[i]
			switch o.Dimension.Type {
			case "CASE_INSENSITIVE_ALPHANUMERIC":
				c = strings.Compare(strings.ToLower(x), strings.ToLower(y))
			case "NUMERIC":
				// What is no number stands before all numbers.
				n, errN := strconv.ParseFloat(x, 64)
				m, errM := strconv.ParseFloat(y, 64)
				switch {
				case errN != nil && errM != nil:
					c = strings.Compare(x, y)
				case errN != nil:
					c = -1
				case errM != nil:
					c = +1
				default:
					c = cmp.Compare(n, m)
				}
			default:
				c = strings.Compare(x, y)
			}
		}
		if o.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Or(slices.Compare(a.dims, b.dims), cmp.Compare(a.date, b.date))
}

// extreme is by metric the highest (+1) or lowest (-1) value; 0 without rows.
func extreme(q query, rows []*row, sign int) []*big.Rat {
	values := make([]*big.Rat, len(q.Metrics))
	for i := range values {
		values[i] = new(big.Rat)
		for j, r := range rows {
			if j == 0 || r.values[i].Cmp(values[i]) == sign {
				values[i] = r.values[i]
			}
		}
	}
	return values
}

// readAnswer reads what runReport answered.
func readAnswer(t testing.TB, body []byte) answer {
	t.Helper()
	type cells struct{ Value string }
	type rows []struct{ DimensionValues, MetricValues []cells }
	var got struct {
		Rows, Totals, Maximums, Minimums rows
		RowCount                         int
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("cannot read the answer %s: %v", body, err)
	}
	lines := func(list rows) (out []string) {
		for _, r := range list {
			var line []string
			for _, c := range r.DimensionValues {
				line = append(line, c.Value)
			}
			line = append(line, "|")
			for _, c := range r.MetricValues {
				line = append(line, c.Value)
			}
			out = append(out, strings.Join(line, " ~ "))
		}
		return out
	}
	return answer{Rows: lines(got.Rows), RowCount: got.RowCount, Totals: lines(got.Totals), Maximums: lines(got.Maximums), Minimums: lines(got.Minimums)}
}
