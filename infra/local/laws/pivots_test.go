package laws

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// pivotQuery is the body of runPivotReport.
type pivotQuery struct {
	query
	Pivots []pivot `json:"pivots"`
}

type pivot struct {
	FieldNames         []string     `json:"fieldNames"`
	OrderBys           []pivotOrder `json:"orderBys,omitempty"`
	Offset             int          `json:"offset,omitempty"`
	Limit              int          `json:"limit"`
	MetricAggregations []string     `json:"metricAggregations,omitempty"`
}

type pivotOrder struct {
	Metric    *metricOrder    `json:"metric,omitempty"`
	Dimension *dimensionOrder `json:"dimension,omitempty"`
	Pivot     *selectedOrder  `json:"pivot,omitempty"`
	Desc      bool            `json:"desc,omitempty"`
}

type selectedOrder struct {
	Metric     string      `json:"metricName"`
	Selections []selection `json:"pivotSelections"`
}

type selection struct {
	Dimension string `json:"dimensionName"`
	Value     string `json:"dimensionValue"`
}

// pivotAnswer is what runPivotReport answers.
type pivotAnswer struct {
	Headers    [][]string // by pivot: its tuples
	Counts     []int      // by pivot: of all tuples
	Rows       []string
	Aggregates []string
}

// pivots makes a question about pivots of one without.
func (a *asker) pivots(q query) (pivotQuery, bool) {
	q.OrderBys, q.Limit, q.Offset, q.MetricAggregations = nil, 0, 0, nil
	q.DateRanges = q.DateRanges[:1]
	fields := []string{}
	for _, d := range q.Dimensions {
		fields = append(fields, d.Name)
	}
	if a.chance(30) {
		// Two that follow one another.
		from := a.IntN(a.days)
		middle := from + a.IntN(a.days-from)
		q.DateRanges = []dateRange{{Start: a.day(from, false), End: a.day(middle, false)}, {Start: a.day(middle+1, false), End: a.day(a.days, false), Name: "later"}}
		fields = append(fields, "dateRange")
	}
	// What looks back has no definition for several cells.
	if len(fields) == 0 || len(q.Metrics) == 0 || q.lookBack() > 0 {
		return pivotQuery{}, false
	}
	a.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	p := pivotQuery{query: q}
	for rest := fields; len(rest) > 0; {
		n := 1 + a.IntN(len(rest))
		if len(p.Pivots) == 3 {
			n = len(rest)
		}
		one := pivot{FieldNames: rest[:n], Limit: one(a.Rand, 1, 2, 5, 20), Offset: one(a.Rand, 0, 0, 0, 1)}
		for _, m := range []string{"TOTAL", "MAXIMUM", "MINIMUM"} {
			if a.chance(40) {
				one.MetricAggregations = append(one.MetricAggregations, m)
			}
		}
		p.Pivots, rest = append(p.Pivots, one), rest[n:]
	}
	for i := range p.Pivots {
		own := p.Pivots[i].FieldNames
		for range one(a.Rand, 0, 1, 2) {
			o := pivotOrder{Desc: a.chance(50)}
			metric := one(a.Rand, q.Metrics...).Name
			switch kind := a.IntN(3); {
			case kind == 0:
				o.Dimension = &dimensionOrder{one(a.Rand, own...), one(a.Rand, "", "NUMERIC")}
			case kind == 1 && len(own) < len(fields):
				other := own[0]
				for slices.Contains(own, other) {
					other = one(a.Rand, fields...)
				}
				value := "later"
				if other != "dateRange" {
					value = a.value(other)
				}
				o.Pivot = &selectedOrder{metric, []selection{{other, value}}}
			default:
				o.Metric = &metricOrder{metric}
			}
			p.Pivots[i].OrderBys = append(p.Pivots[i].OrderBys, o)
		}
	}
	return p, true
}

// cell is where tuples of all pivots meet.
type cell struct {
	values map[string]string // by field
	row    *row
}

func (c *cell) tuple(fields []string) []string {
	var values []string
	for _, f := range fields {
		values = append(values, c.values[f])
	}
	return values
}

// together are the metrics of cells, as one group.
func (n *naive) together(q query, cells []*cell) []*big.Rat {
	all := group{n: n}
	for _, c := range cells {
		all.units = append(all.units, c.row.units...)
	}
	return n.values(q, &all)
}

// pivot works a question about pivots out.
func (n *naive) pivot(t testing.TB, q pivotQuery) pivotAnswer {
	t.Helper()
	n.in = q.CurrencyCode
	var cells []*cell
	for i, r := range q.DateRanges {
		for _, row := range n.rows(t, q.query, i, n.day(t, r.Start), n.day(t, r.End)) {
			c := &cell{values: map[string]string{"dateRange": q.rangeName(i)}, row: row}
			for k, d := range q.Dimensions {
				c.values[d.Name] = row.dims[k]
			}
			cells = append(cells, c)
		}
	}
	var out pivotAnswer
	place := make([]map[string]int, len(q.Pivots))
	for i, p := range q.Pivots {
		tuples, count := n.tuples(q, p, cells)
		out.Counts = append(out.Counts, count)
		var shown []string
		place[i] = map[string]int{}
		for k, tuple := range tuples {
			shown = append(shown, strings.Join(tuple, " ~ "))
			place[i][shown[k]] = k
		}
		out.Headers = append(out.Headers, shown)
	}
	out.Rows = n.gathered(q, cells, place, 0, "", nil)
	for _, a := range []struct{ name, mark string }{{"TOTAL", "RESERVED_TOTAL"}, {"MINIMUM", "RESERVED_MIN"}, {"MAXIMUM", "RESERVED_MAX"}} {
		var of func(cells []*cell) []*big.Rat
		if a.name != "TOTAL" {
			sign := map[string]int{"MINIMUM": -1, "MAXIMUM": +1}[a.name]
			of = func(cells []*cell) []*big.Rat {
				var rows []*row
				for _, c := range cells {
					rows = append(rows, c.row)
				}
				return extreme(q.query, rows, sign)
			}
		}
		for mask := 1; mask < 1<<len(q.Pivots); mask++ {
			asked := true
			for i, p := range q.Pivots {
				asked = asked && (mask&(1<<i) == 0 || slices.Contains(p.MetricAggregations, a.name))
			}
			if asked {
				out.Aggregates = append(out.Aggregates, n.gathered(q, cells, place, mask, a.mark, of)...)
			}
		}
	}
	return out
}

// tuples are those of a pivot that its page shows, and how many there are.
func (n *naive) tuples(q pivotQuery, p pivot, cells []*cell) ([][]string, int) {
	of := map[string][]*cell{}
	for _, c := range cells {
		key := strings.Join(c.tuple(p.FieldNames), "\x00")
		of[key] = append(of[key], c)
	}
	order := p.OrderBys
	if len(order) == 0 {
		alone := true
		for _, f := range p.FieldNames {
			if isTime(f) {
				order = append(order, pivotOrder{Dimension: &dimensionOrder{Name: f}})
			}
			alone = alone && f == "dateRange"
		}
		if len(order) == 0 && !alone {
			order = []pivotOrder{{Metric: &metricOrder{q.Metrics[0].Name}, Desc: true}}
		}
	}
	// The order among rows is known: a tuple is one that has the metrics that
	// the orders ask for, each under a name of its own.
	var rows []*row
	plain := query{DateRanges: q.DateRanges}
	for _, f := range p.FieldNames {
		plain.Dimensions = append(plain.Dimensions, name{f})
	}
	for k, o := range order {
		as := fmt.Sprint(k)
		plain.Metrics = append(plain.Metrics, name{as})
		if o.Dimension != nil {
			plain.OrderBys = append(plain.OrderBys, orderBy{Dimension: o.Dimension, Desc: o.Desc})
		} else {
			plain.OrderBys = append(plain.OrderBys, orderBy{Metric: &metricOrder{as}, Desc: o.Desc})
		}
	}
	if len(order) == 0 {
		plain.OrderBys = []orderBy{{Dimension: &dimensionOrder{Name: p.FieldNames[0]}}}
	}
	for _, cells := range of {
		r := &row{dims: cells[0].tuple(p.FieldNames)}
		for _, o := range order {
			metric, those := "", cells
			switch {
			case o.Metric != nil:
				metric = o.Metric.Name
			case o.Pivot != nil:
				metric = o.Pivot.Metric
				those = slices.DeleteFunc(slices.Clone(cells), func(c *cell) bool {
					s := o.Pivot.Selections[0]
					return c.values[s.Dimension] != s.Value
				})
			default:
				r.values = append(r.values, new(big.Rat))
				continue
			}
			r.values = append(r.values, n.together(q.query, those)[slices.Index(q.Metrics, name{metric})])
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *row) int { return compareRows(plain, a, b) })
	var tuples [][]string
	for _, r := range rows[min(p.Offset, len(rows)):min(p.Offset+p.Limit, len(rows))] {
		tuples = append(tuples, r.dims)
	}
	return tuples, len(rows)
}

// gathered are the cells, put together along the pivots of a mask, as lines in
// the order of the pages; of says what of several cells is shown, nil what is
// counted in them.
func (n *naive) gathered(q pivotQuery, cells []*cell, place []map[string]int, mask int, mark string, of func([]*cell) []*big.Rat) []string {
	type line struct {
		at    []int
		cells []string
		of    []*cell
	}
	lines := map[string]*line{}
	add := func(c *cell) {
		l := line{}
		for i, p := range q.Pivots {
			if mask&(1<<i) != 0 {
				l.cells = append(l.cells, slices.Repeat([]string{mark}, len(p.FieldNames))...)
				continue
			}
			tuple := c.tuple(p.FieldNames)
			at, shown := place[i][strings.Join(tuple, " ~ ")]
			if !shown {
				return
			}
			l.at, l.cells = append(l.at, at), append(l.cells, tuple...)
		}
		key := strings.Join(l.cells, "\x00")
		if lines[key] == nil {
			lines[key] = &l
		}
		lines[key].of = append(lines[key].of, c)
	}
	for _, c := range cells {
		add(c)
	}
	if mask == 1<<len(q.Pivots)-1 && len(lines) == 0 {
		var marks []string
		for _, p := range q.Pivots {
			marks = append(marks, slices.Repeat([]string{mark}, len(p.FieldNames))...)
		}
		lines[""] = &line{cells: marks} // also of nothing
	}
	var list []*line
	for _, l := range lines {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *line) int { return cmp.Or(slices.Compare(a.at, b.at), slices.Compare(a.cells, b.cells)) })
	var out []string
	for _, l := range list {
		text := append(slices.Clone(l.cells), "|")
		values := n.together(q.query, l.of)
		if of != nil {
			values = of(l.of)
		}
		for _, v := range values {
			text = append(text, show(v))
		}
		out = append(out, strings.Join(text, " ~ "))
	}
	return out
}

// askPivot asks runPivotReport.
func (s *system) askPivot(q pivotQuery) pivotAnswer {
	s.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.call("POST", "/v1beta/properties/"+s.merchantID+":runPivotReport", s.token, q, http.StatusOK)
	if err != nil {
		s.t.Fatalf("%s: %v", body, err)
	}
	type cells struct{ Value string }
	var got struct {
		PivotHeaders []struct {
			PivotDimensionHeaders []struct{ DimensionValues []cells }
			RowCount              int
		}
		Rows, Aggregates []struct{ DimensionValues, MetricValues []cells }
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		s.t.Fatalf("cannot read the answer %s: %v", answer, err)
	}
	texts := func(list []cells) (out []string) {
		for _, c := range list {
			out = append(out, c.Value)
		}
		return out
	}
	var out pivotAnswer
	for _, h := range got.PivotHeaders {
		var tuples []string
		for _, d := range h.PivotDimensionHeaders {
			tuples = append(tuples, strings.Join(texts(d.DimensionValues), " ~ "))
		}
		out.Headers, out.Counts = append(out.Headers, tuples), append(out.Counts, h.RowCount)
	}
	for _, r := range got.Rows {
		out.Rows = append(out.Rows, strings.Join(append(append(texts(r.DimensionValues), "|"), texts(r.MetricValues)...), " ~ "))
	}
	for _, r := range got.Aggregates {
		out.Aggregates = append(out.Aggregates, strings.Join(append(append(texts(r.DimensionValues), "|"), texts(r.MetricValues)...), " ~ "))
	}
	return out
}

// checkPivots asks all questions about pivots.
func (p *play) checkPivots(n *naive, state string) {
	p.Helper()
	for _, q := range p.pivoted {
		q.query = n.payable(p, q.query)
		if diff := gocmp.Diff(n.pivot(p, q), p.askPivot(q)); diff != "" {
			body, err := json.Marshal(q)
			if err != nil {
				p.Fatal(err)
			}
			p.Fatalf("-seed %d, %s: the answer to\n%s\ndiffers (-worked out here +answered):\n%s", *seed, state, body, diff)
		}
	}
}
