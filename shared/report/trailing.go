package report

import (
	"slices"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Numbers of users in the days up to a row's last day (active28DayUsers,
// dauPerMau) ask for days before the date range, and for unions that no row of
// one day holds. A builder keeps the users of each day apart for them.

// trail are the users of one tuple of values of the dimensions that are no time.
type trail struct {
	values []string
	days   map[int64][]summary.Users // by civil day
}

// checkTrailing refuses what has no last day, or not all of its days.
func (q *Query) checkTrailing() error {
	name := ""
	q.eachMetric(func(m *catalog.Metric) {
		if slices.ContainsFunc(m.Measures, func(m summary.Measure) bool { return m.Days > 0 }) {
			name = m.Name
		}
	})
	if name == "" {
		return nil
	}
	for _, d := range q.Dimensions {
		for _, part := range d.Of.Parts() {
			if part.Dim.Hourly() {
				return fault.Field("dimensions", "no parts of days beside "+name+", which is about whole days: not "+d.Name)
			}
			if part.Time() != d.Of.Time() {
				return fault.Field("dimensions", "no time and what is none put together beside "+name+", which is about days: not "+d.Name)
			}
		}
	}
	var err error
	q.DimensionFilter.each(func(f *Filter) {
		if slices.ContainsFunc(f.Dimension.Parts(), (*catalog.Dimension).Time) {
			err = fault.Field("filter", "no filter on time beside "+name+", which looks back from each day: not "+f.Dimension.Name)
		}
	})
	return err
}

// lead is how many days before the date range matter.
func (p *Plan) lead() Day {
	days := 0
	for _, m := range p.measures {
		days = max(days, m.Days-1)
	}
	return Day(days)
}

func (p *Plan) trails() bool {
	return slices.ContainsFunc(p.measures, func(m summary.Measure) bool { return m.Days > 0 })
}

// EndAt says which instant (ms) it is: days that have not begun have no row.
func (b *Builder) EndAt(now int64) { b.span.To = min(b.span.To, now) }

func (b *Builder) trail(values []string, day int64, users summary.Users) {
	key := rowKey(values)
	t := b.trailing[key]
	if t == nil {
		t = &trail{values: values, days: map[int64][]summary.Users{}}
		b.trailing[key] = t
	}
	t.days[day] = append(t.days[day], users)
}

// still are the keys of what the query's dimensions are made of and is no time.
func (p *Plan) still() []summary.Key {
	var keys []summary.Key
	for _, d := range p.base {
		if !d.Time() {
			keys = append(keys, d.Key())
		}
	}
	return keys
}

// stillKey names a row by its values that are no time.
func (p *Plan) stillKey(values []string) string {
	var key []byte
	for i, d := range p.Query.Dimensions {
		if !d.Of.Time() {
			key = appendKey(key, values[i])
		}
	}
	return string(key)
}

// shownStill is what a row with a trail's values shows of what is no time.
func (p *Plan) shownStill(t *trail) []string {
	base := p.joined(make([]string, len(p.base)), t.values)
	values := make([]string, len(p.Query.Dimensions))
	for i, d := range p.Query.Dimensions {
		if !d.Of.Time() {
			values[i] = p.value(i, base)
		}
	}
	return values
}

// trailTable takes the users of a table whose first keys are those of still.
func (b *Builder) trailTable(t *summary.Table, day func(row int) int64) {
	keys := b.plan.still()
	for row := range t.Len() {
		values := make([]string, len(keys))
		for i := range keys {
			values[i] = t.Values[i][row]
		}
		b.trail(values, day(row), t.Users[row])
	}
}

func (b *Builder) trailRecord(w summary.Window, r *summary.Record) {
	day := b.plain.CivilDay(w.From)
	if !b.plan.ByTable {
		b.trail(nil, day, r.Users)
		return
	}
	keys := b.plan.still()
	table := r.Tables[b.plan.Table]
	b.trailTable(table.Project(keys, b.keepRows(w, table), b.primary), func(int) int64 { return day })
}

func (b *Builder) trailFacts(f *summary.Facts, o summary.GroupOptions) {
	keys := b.plan.still()
	o.Calendar, o.Users, o.ItemEvents = b.plain, true, b.plan.items
	t := summary.Group(f, append(keys, summary.Key{Dim: summary.DimDate}), o)
	dates := t.Values[len(keys)]
	b.trailTable(t, func(row int) int64 {
		date, err := time.Parse("20060102", dates[row])
		if err != nil {
			panic(err) // as the calendar writes it
		}
		return int64(DayOf(date))
	})
}

// bucket is a tuple of values of time dimensions, and its last day.
type bucket struct {
	values []string // as Builder.times has them
	last   int64
}

// joined are the values of base: of times, and of a trail what is no time.
func (p *Plan) joined(times, still []string) []string {
	base := slices.Clone(times)
	n := 0
	for i, d := range p.base {
		if !d.Time() {
			base[i] = still[n]
			n++
		}
	}
	return base
}

func (b *Builder) buckets() []bucket {
	var list []bucket
	at := map[string]int{}
	for _, w := range b.plain.Days(b.span.From, b.span.To) {
		values := b.times(w.From)
		key := rowKey(values)
		i, known := at[key]
		if !known {
			i = len(list)
			at[key] = i
			list = append(list, bucket{values: values})
		}
		list[i].last = b.plain.CivilDay(w.From)
	}
	return list
}

// before are the users of the days up to a last one.
func (t *trail) before(last int64, days int) summary.Users {
	var sets []summary.Users
	for day := last - int64(days) + 1; day <= last; day++ {
		sets = append(sets, t.days[day]...)
	}
	return summary.UnionAll(sets)
}

// Close adds what can only be told once all has been collected: the rows of
// the measures that look back, with nothing else in them.
func (b *Builder) Close() error {
	if len(b.trailing) == 0 {
		return nil
	}
	t := b.plan.emptyTable()
	buckets := b.buckets()
	if err := b.room(len(buckets) * len(b.trailing)); err != nil {
		return err
	}
	for _, trail := range b.trailing {
		for _, bucket := range buckets {
			some := false
			sets := make([]summary.Users, len(b.plan.measures))
			for i, m := range b.plan.measures {
				if m.Days > 0 {
					sets[i] = trail.before(bucket.last, m.Days)
					some = some || sets[i].Estimate() > 0
				}
			}
			if !some {
				continue
			}
			base := b.plan.joined(bucket.values, trail.values)
			for i := range b.plan.Query.Dimensions {
				t.Values[i] = append(t.Values[i], b.plan.value(i, base))
			}
			if last := len(b.plan.Query.Dimensions); b.plan.converts() {
				t.Values[last] = append(t.Values[last], b.plan.rateAt(b.span.From))
			}
			t.Counters = append(t.Counters, summary.Counters{})
			if b.plan.Users {
				t.Users = append(t.Users, summary.Users{})
			}
			t.AddZero()
			for i, m := range b.plan.measures {
				if m.Days > 0 {
					t.Extra[i].Users[len(t.Counters)-1] = sets[i]
				}
			}
		}
	}
	b.parts = append(b.parts, t)
	return nil
}

// lookBack makes the total's measures that look back those of the range's last
// day: the rows' are of different days. Only users of rows that pass (nil: of
// all) are in it, as in any total.
func (b *Builder) lookBack(total *tally, rows []Row, all int) {
	if b.span.From >= b.span.To {
		return
	}
	var passed map[string]bool // by the values that are no time
	if len(rows) < all {
		passed = map[string]bool{}
		for _, row := range rows {
			passed[b.plan.stillKey(row.Dimensions)] = true
		}
	}
	last := b.plain.CivilDay(b.span.To - 1)
	for i, m := range b.plan.measures {
		if m.Days > 0 {
			total.sets[i] = nil
			for _, t := range b.trailing {
				if passed != nil && !passed[b.plan.stillKey(b.plan.shownStill(t))] {
					continue
				}
				total.sets[i] = append(total.sets[i], t.before(last, m.Days))
			}
		}
	}
}

// lookBack makes the numbers of users that look back of a pivot's tuples those
// of the last day of each: of the date range where no field is about time.
func (s *sheet) lookBack(p *Plan, fields []int, out *summary.Table) {
	var timed, still []int // places in out's columns
	for k, at := range fields {
		switch {
		case at == RangeField:
		case p.Query.Dimensions[at].Of.Time():
			timed = append(timed, k)
		default:
			still = append(still, k)
		}
	}
	pick := func(columns []int, value func(k int) string) string {
		values := make([]string, len(columns))
		for i, k := range columns {
			values[i] = value(k)
		}
		return rowKey(values)
	}
	passed := map[string]bool{} // by the values that are no time
	for i := range s.cells.Len() {
		passed[p.stillKey(s.cells.Row(i))] = true
	}
	sets := make([][][]summary.Users, len(p.measures)) // by measure and row
	for i := range sets {
		sets[i] = make([][]summary.Users, out.Len())
	}
	for _, b := range s.builders {
		last := map[string]int64{}
		for _, bucket := range b.buckets() {
			key := pick(timed, func(k int) string { return p.value(fields[k], bucket.values) })
			last[key] = max(last[key], bucket.last)
		}
		trails := map[string][]*trail{}
		for _, t := range b.trailing {
			shown := p.shownStill(t)
			if !passed[p.stillKey(shown)] {
				continue
			}
			key := pick(still, func(k int) string { return shown[fields[k]] })
			trails[key] = append(trails[key], t)
		}
		for row := range out.Len() {
			value := func(k int) string { return out.Values[k][row] }
			day, some := last[pick(timed, value)]
			if !some {
				continue
			}
			for _, t := range trails[pick(still, value)] {
				for i, m := range p.measures {
					if m.Days > 0 {
						sets[i][row] = append(sets[i][row], t.before(day, m.Days))
					}
				}
			}
		}
	}
	for i, m := range p.measures {
		if m.Days > 0 {
			for row := range out.Len() {
				out.Extra[i].Users[row] = summary.UnionAll(sets[i][row])
			}
		}
	}
}
