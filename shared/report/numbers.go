package report

import (
	"slices"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/summary"
)

// numbers are what the metrics of one row are worked out from.
type numbers struct {
	plan     *Plan
	counters *summary.Counters
	users    int64
	measured []int64 // by measure of the plan
	err      float64 // the largest relative standard error of a number of users; 0 where all are exact
}

// none are the numbers of a row in which nothing was counted.
func (p *Plan) none() numbers {
	return numbers{plan: p, counters: &summary.Counters{}, measured: make([]int64, len(p.measures))}
}

// numbers are those of rows [from, to) of a table, which are one of the answer.
func (p *Plan) numbers(t *summary.Table, from, to int) numbers {
	if p.converts() {
		y := p.tally()
		for i := from; i < to; i++ {
			y.add(t, i)
		}
		return y.numbers()
	}
	i := from
	n := numbers{plan: p, counters: &t.Counters[i]}
	if t.Users != nil {
		n.users, n.err = t.Users[i].Estimate(), t.Users[i].Error()
	}
	if len(p.measures) > 0 {
		n.measured = make([]int64, len(p.measures))
	}
	for k := range n.measured {
		if e := &t.Extra[k]; e.Users != nil {
			n.measured[k] = e.Users[i].Estimate()
			n.err = max(n.err, e.Users[i].Error())
		} else {
			n.measured[k] = e.Sums[i]
		}
	}
	return n
}

func (n *numbers) of(m *catalog.Metric) catalog.Value {
	if m.Expression != nil {
		parts := make([]catalog.Value, len(m.Expression.Parts))
		for i, part := range m.Expression.Parts {
			parts[i] = n.of(part)
		}
		return m.Expression.Of(parts)
	}
	if len(m.Measures) == 0 {
		return m.Of(n.counters, n.users)
	}
	own := make([]int64, len(m.Measures))
	for i, measure := range m.Measures {
		own[i] = n.measured[slices.Index(n.plan.measures, measure)]
	}
	return m.Of(n.counters, n.users, own...)
}

// passes decides the query's filter on metrics.
func (n *numbers) passes() bool {
	return n.plan.Query.MetricFilter.Eval(func(l *Filter) bool { return l.Test.MatchNumber(n.of(l.Metric).Float()) })
}

// tally adds rows up, sets of users by their union.
type tally struct {
	plan     *Plan
	counters map[string]*summary.Counters // by rate
	rate     string                       // of last
	last     *summary.Counters            // to which was added last
	users    []summary.Users
	sums     []int64           // by measure
	sets     [][]summary.Users // by measure
}

func (p *Plan) tally() *tally {
	return &tally{plan: p, counters: map[string]*summary.Counters{}, sums: make([]int64, len(p.measures)), sets: make([][]summary.Users, len(p.measures))}
}

func (y *tally) add(t *summary.Table, i int) {
	// Nearly always all rows are of one rate.
	if rate := y.plan.rateOf(t, i); y.last == nil || rate != y.rate {
		y.rate, y.last = rate, y.counters[rate]
		if y.last == nil {
			y.last = &summary.Counters{}
			y.counters[rate] = y.last
		}
	}
	y.last.Add(&t.Counters[i])
	if t.Users != nil {
		y.users = append(y.users, t.Users[i])
	}
	for k := range t.Extra {
		if e := &t.Extra[k]; e.Users != nil {
			y.sets[k] = append(y.sets[k], e.Users[i])
		} else {
			y.sums[k] = summary.Plus(y.sums[k], e.Sums[i])
		}
	}
}

// instead takes the sums of another tally: rows that hold an event twice do not
// add up to it.
func (y *tally) instead(o *tally) {
	if o != nil {
		y.counters, y.last, y.sums = o.counters, nil, o.sums
	}
}

func (y *tally) numbers() numbers {
	users := summary.UnionAll(y.users)
	var all summary.Counters
	for rate, c := range y.counters {
		converted := y.plan.converted(c, rate)
		all.Add(&converted)
	}
	n := numbers{plan: y.plan, counters: &all, users: users.Estimate(), err: users.Error(), measured: slices.Clone(y.sums)}
	for k, sets := range y.sets {
		if len(sets) > 0 {
			set := summary.UnionAll(sets)
			n.measured[k] = set.Estimate()
			n.err = max(n.err, set.Error())
		}
	}
	return n
}
