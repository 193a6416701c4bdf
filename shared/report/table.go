package report

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Builder collects the parts of one date range's answer, from records and from
// facts, in any order.
type Builder struct {
	plan      *Plan
	cal       *summary.Calendar
	primary   *channel.Group // the merchant's
	maxGroups int
	rows      *summary.Table   // from records
	parts     []*summary.Table // from facts
	groups    int
	items     []itemPart // with Plan.itemEvents: parts, as facts

	duplicates, filtered int64 // of the windows added

	rowAt  map[string]int    // place in rows by values
	sets   [][]summary.Users // by row
	key    []byte            // of the row at hand
	values []string          // likewise
	base   []string          // what they are made of

	plain    *summary.Calendar // that names days as they are
	span     summary.Window    // of the date range, up to now
	trailing map[string]*trail // where numbers of users look back; by values
}

// itemPart are facts by whose items rows were made, and how.
type itemPart struct {
	facts   *summary.Facts
	options summary.GroupOptions
	rate    string // as Plan.rateAt has it
}

// NewBuilder collects at most maxGroups rows of a date range before they are
// merged, for a merchant with these settings.
func NewBuilder(p *Plan, cal *summary.Calendar, r DateRange, s summary.Settings, maxGroups int) *Builder {
	return &Builder{plan: p, cal: p.calendar(cal, r), primary: channel.NewGroup(s.ChannelRules), maxGroups: maxGroups, rows: p.emptyTable(),
		plain: cal, span: Span(cal, r), trailing: map[string]*trail{}, rowAt: map[string]int{}}
}

// emptyTable has the keys of the query's dimensions and no rows.
func (p *Plan) emptyTable() *summary.Table {
	return p.emptyOf(p.keys[:len(p.Query.Dimensions)])
}

func (b *Builder) room(rows int) error {
	if b.groups += rows; b.groups > b.maxGroups {
		return &fault.Error{Kind: fault.TooLarge, Field: "dimensions",
			Expected: fmt.Sprintf("a question that makes at most %d rows; ask for fewer days or dimensions, or filter", b.maxGroups)}
	}
	return nil
}

// AddEmpty adds a row of zeros for each span of time up to end (ms) that a row
// can stand for, so that a report by time has one where nothing happened. It
// does nothing where another dimension than time is asked for.
func (b *Builder) AddEmpty(r DateRange, end int64) error {
	for _, d := range b.plan.Query.Dimensions {
		if !d.Of.Time() {
			return nil
		}
	}
	if b.plan.Minutely {
		// There may be too many to list before they are counted.
		span := Span(b.cal, r)
		if minutes := (min(span.To, end) - span.From) / time.Minute.Milliseconds(); minutes > int64(b.maxGroups) {
			return b.room(b.maxGroups + 1)
		}
	}
	ticks := b.plan.ticks(b.cal, r, end)
	if err := b.room(len(ticks)); err != nil {
		return err
	}
	for _, w := range ticks {
		b.add(w, b.times(w.From), nil, 0, &summary.Counters{}, summary.Users{})
	}
	return nil
}

// times are the values of what the query's dimensions are made of at an
// instant, "" for what is not about time.
func (b *Builder) times(ms int64) []string {
	values := make([]string, len(b.plan.base))
	for i, d := range b.plan.base {
		if d.Time() {
			values[i] = b.cal.TimeValue(d.Dim, ms)
		}
	}
	return values
}

// add adds one row: the values of time dimensions, and of the others from a row
// of a projected table. Days have the same pages: what is there is added to, and
// users are put together once all have come.
func (b *Builder) add(w summary.Window, times []string, t *summary.Table, row int, c *summary.Counters, u summary.Users) {
	n := 0
	b.base = append(b.base[:0], times...)
	for i, d := range b.plan.base {
		if !d.Time() {
			b.base[i] = t.Values[n][row]
			n++
		}
	}
	b.key = b.key[:0]
	b.values = b.values[:0]
	for i := range b.plan.Query.Dimensions {
		v := b.plan.value(i, b.base)
		b.values = append(b.values, v)
		b.key = appendKey(b.key, v)
	}
	if b.plan.converts() {
		rate := b.plan.rateAt(w.From)
		b.values = append(b.values, rate)
		b.key = appendKey(b.key, rate)
	}
	at, there := b.rowAt[string(b.key)]
	if there {
		b.rows.Counters[at].Add(c)
	} else {
		at = b.rows.Len()
		b.rowAt[string(b.key)] = at
		for i, v := range b.values {
			b.rows.Values[i] = append(b.rows.Values[i], v)
		}
		b.rows.Counters = append(b.rows.Counters, *c)
		b.rows.AddZero() // records have no measures
		b.sets = append(b.sets, nil)
	}
	if b.plan.Users {
		b.sets[at] = append(b.sets[at], u)
	}
}

// rowKey names a row by its values, whatever stands in them.
func rowKey(values []string) string {
	var b []byte
	for _, v := range values {
		b = appendKey(b, v)
	}
	return string(b)
}

func appendKey(b []byte, value string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// AddRecord adds a window that a record answers, as Plan.Holds says it does.
func (b *Builder) AddRecord(w summary.Window, r *summary.Record) error {
	p := b.plan
	if p.trails() {
		b.trailRecord(w, r)
		if w.From < b.span.From {
			return nil
		}
	}
	if !p.ByTable {
		if p.Query.DimensionFilter != nil && !p.passes(b.cal, w.From) {
			return nil
		}
		b.leftOut(r.Duplicates, r.Filtered)
		if r.Total[summary.Events] == 0 {
			return nil // all that came was left out: that is no row
		}
		b.add(w, b.times(w.From), nil, 0, &r.Total, r.Users)
		return b.room(1)
	}
	b.leftOut(r.Duplicates, r.Filtered)
	table := r.Tables[p.Table]
	keys := p.still()
	keep := b.keepRows(w, table)
	if slices.Equal(keys, table.Keys) {
		// The table as it stands: nothing to group.
		times := b.times(w.From)
		kept := 0
		for row := range table.Len() {
			if keep == nil || keep(row) {
				var u summary.Users
				if p.Users {
					u = table.Users[row]
				}
				b.add(w, times, table, row, &table.Counters[row], u)
				kept++
			}
		}
		return b.room(kept)
	}
	some := false
	projected := table.Project(keys, func(row int) bool {
		kept := keep == nil || keep(row)
		some = some || kept
		return kept
	}, b.primary)
	if !some {
		return nil // without keys there is a row of nothing
	}
	times := b.times(w.From)
	for row := range projected.Len() {
		var u summary.Users
		if p.Users {
			u = projected.Users[row]
		}
		b.add(w, times, projected, row, &projected.Counters[row], u)
	}
	return b.room(projected.Len())
}

// keepRows decides the filter for the rows of a record's table; nil keeps all.
func (b *Builder) keepRows(w summary.Window, t *summary.Table) func(row int) bool {
	filter := b.plan.Query.DimensionFilter
	if filter == nil {
		return nil
	}
	verdicts := map[*Filter][]bool{}
	filter.each(func(l *Filter) {
		v := make([]bool, t.Len())
		parts := l.Dimension.Parts()
		columns := make([]func(row int) string, len(parts))
		for k, part := range parts {
			if part.Time() {
				at := b.cal.TimeValue(part.Dim, w.From)
				columns[k] = func(int) string { return at }
			} else {
				columns[k] = t.Column(summary.Key{Dim: part.Dim}, b.primary)
			}
		}
		values := make([]string, len(parts))
		for i := range v {
			for k, column := range columns {
				values[k] = column(i)
			}
			v[i] = l.Test.MatchText(l.Dimension.Value(values))
		}
		verdicts[l] = v
	})
	return func(row int) bool {
		return filter.Eval(func(l *Filter) bool { return verdicts[l][row] })
	}
}

// AddFacts adds what facts hold of the given windows, which are in order and
// lie within the facts' own. Who is new must have been told the facts first.
func (b *Builder) AddFacts(f *summary.Facts, windows []summary.Window) error {
	p := b.plan
	columns := map[summary.Key]summary.Column{}
	var column func(d *catalog.Dimension) summary.Column
	column = func(d *catalog.Dimension) summary.Column {
		c, ok := columns[d.Key()]
		switch {
		case ok:
			return c
		case d.Made == nil:
			c = f.Column(d.Key(), b.cal)
		default:
			c = madeColumn(f, d, column)
		}
		columns[d.Key()] = c
		return c
	}
	for _, d := range p.Query.Dimensions {
		if d.Of.Made != nil {
			column(d.Of) // which facts do not have
		}
	}
	keep, keepItems := p.keep(f, b.cal, column)
	if p.trails() {
		b.trailFacts(f, summary.GroupOptions{Keep: within(f, windows, slices.Clone(keep)), KeepItems: keepItems})
		windows = slices.DeleteFunc(slices.Clone(windows), func(w summary.Window) bool { return w.From < b.span.From })
	}
	for _, w := range windows {
		b.leftOut(f.LeftOut(w))
	}
	for _, windows := range p.byRate(windows) {
		o := summary.GroupOptions{
			Keep: within(f, windows, slices.Clone(keep)), KeepItems: keepItems, ItemEvents: p.itemEvents,
			Users: p.Users, Measures: p.measures, Calendar: b.cal, Columns: columns,
		}
		if err := b.addGroups(f, o, p.rateAt(windows[0].From)); err != nil {
			return err
		}
	}
	return nil
}

// addGroups adds rows of facts whose windows are of one rate.
func (b *Builder) addGroups(f *summary.Facts, o summary.GroupOptions, rate string) error {
	p := b.plan
	t := summary.Group(f, p.keys, o)
	if p.itemEvents {
		b.items = append(b.items, itemPart{f, o, rate})
	}
	if p.itemKey {
		t.Keys, t.Values = t.Keys[:len(t.Keys)-1], t.Values[:len(t.Values)-1]
	}
	for i, d := range p.Query.Dimensions {
		for row, v := range t.Values[i] {
			t.Values[i][row] = d.Of.Show(v)
		}
	}
	p.withRate(t, rate)
	b.parts = append(b.parts, t)
	return b.room(t.Len())
}

// madeColumn is the column of a dimension that is made of others.
func madeColumn(f *summary.Facts, d *catalog.Dimension, column func(*catalog.Dimension) summary.Column) summary.Column {
	parts := d.Parts()
	columns := make([]summary.Column, len(parts))
	for k, part := range parts {
		columns[k] = column(part)
	}
	values := make([]string, len(parts))
	if len(parts) == 1 {
		out := summary.Column{Dict: make([]string, len(columns[0].Dict)), Code: columns[0].Code}
		for i, v := range columns[0].Dict {
			values[0] = v
			out.Dict[i] = d.Value(values)
		}
		return out
	}
	units := len(f.Rows)
	var place []int32
	if d.Scope == catalog.ScopeItem {
		units, place = f.Frame.Items.Len, places(f)
	}
	out := summary.Column{Code: make([]uint32, units)}
	known := map[string]uint32{}
	var key []byte
	for u := range units {
		key = key[:0]
		for k, part := range parts {
			at := u
			if place != nil && part.Scope != catalog.ScopeItem {
				at = max(0, int(place[f.Frame.Items.Row[u]])) // what does not count has any value
			}
			code := uint32(0)
			if at < len(columns[k].Code) {
				code = columns[k].Code[at]
			}
			key = binary.LittleEndian.AppendUint32(key, code)
			values[k] = ""
			if int(code) < len(columns[k].Dict) {
				values[k] = columns[k].Dict[code]
			}
		}
		code, ok := known[string(key)]
		if !ok {
			code = uint32(len(out.Dict))
			known[string(key)] = code
			out.Dict = append(out.Dict, d.Value(values))
		}
		out.Code[u] = code
	}
	return out
}

// itemTables count the events whose items are in rows that pass (nil: in any
// row) by some of the query's dimensions, each event once in a row: one with two
// items may be in two rows of all dimensions.
func (b *Builder) itemTables(dims []int, passes func(dimensions []string) bool) []*summary.Table {
	keys := make([]summary.Key, len(dims))
	for k, at := range dims {
		keys[k] = b.plan.keys[at]
	}
	tables := make([]*summary.Table, 0, len(b.items))
	for _, part := range b.items {
		o := part.options
		o.Users = false
		if passes != nil {
			o.KeepItems = b.itemsOf(part, passes)
		}
		t := summary.Group(part.facts, keys, o)
		for k, at := range dims {
			for row, v := range t.Values[k] {
				t.Values[k][row] = b.plan.Query.Dimensions[at].Of.Show(v)
			}
		}
		b.plan.withRate(t, part.rate)
		tables = append(tables, t)
	}
	return tables
}

// itemsOf selects the items of a part that are in rows that pass.
func (b *Builder) itemsOf(part itemPart, passes func(dimensions []string) bool) []bool {
	f := part.facts
	keys := b.plan.keys[:len(b.plan.Query.Dimensions)]
	values := make([]string, len(keys))
	columns := make([]summary.Column, len(keys))
	for k, key := range keys {
		c, ok := part.options.Columns[key]
		if !ok {
			c = f.Column(key, b.cal)
		}
		columns[k] = c
	}
	place := places(f)
	out := make([]bool, f.Frame.Items.Len)
	for i, row := range f.Frame.Items.Row {
		at := place[row]
		if at < 0 || part.options.KeepItems != nil && !part.options.KeepItems[i] {
			continue
		}
		for k, key := range keys {
			from := int(at)
			if key.Dim.IsItem() {
				from = i
			}
			values[k] = b.plan.Query.Dimensions[k].Of.Show(columns[k].Dict[columns[k].Code[from]])
		}
		out[i] = passes(values)
	}
	return out
}

// places is by row of the frame its place in Rows, -1 where it does not count.
func places(f *summary.Facts) []int32 {
	place := make([]int32, f.Frame.Len)
	for i := range place {
		place[i] = -1
	}
	for i, row := range f.Rows {
		place[row] = int32(i)
	}
	return place
}

// within leaves out the facts that lie between windows.
func within(f *summary.Facts, windows []summary.Window, keep []bool) []bool {
	from := f.Window.From
	whole := true
	for _, w := range windows {
		whole = whole && w.From == from
		from = w.To
	}
	if whole && from == f.Window.To {
		return keep
	}
	if keep == nil {
		keep = make([]bool, len(f.Rows))
		for i := range keep {
			keep[i] = true
		}
	}
	at := 0 // rows of one instant's neighbourhood mostly follow each other
	for i, row := range f.Rows {
		ms := f.Frame.Millis[row]
		if w := windows[at]; ms < w.From || ms >= w.To {
			at = sort.Search(len(windows)-1, func(i int) bool { return ms < windows[i].To })
			keep[i] = keep[i] && ms >= windows[at].From && ms < windows[at].To
		}
	}
	return keep
}

// keep decides the filter for facts: by place in Rows, or by item where the
// filter asks about items; nil keeps all. Each text is looked at once, each
// event costs one look-up for each condition.
func (p *Plan) keep(f *summary.Facts, cal *summary.Calendar, column func(*catalog.Dimension) summary.Column) (rows, items []bool) {
	filter := p.Query.DimensionFilter
	if filter == nil {
		return nil, nil
	}
	verdicts := func(l *Filter) ([]bool, []uint32) {
		c := column(l.Dimension)
		v := make([]bool, len(c.Dict))
		for i, text := range c.Dict {
			v[i] = l.Test.MatchText(l.Dimension.Show(text))
		}
		return v, c.Code
	}
	byItem := false
	filter.each(func(l *Filter) { byItem = byItem || l.Dimension.Dim.IsItem() })
	if !byItem {
		return mask(filter, len(f.Rows), func(l *Filter, out []bool) {
			if l.Dimension.Made == nil {
				f.Match(l.Dimension.Key(), cal, func(text string) bool { return l.Test.MatchText(l.Dimension.Show(text)) }, out)
				return
			}
			v, code := verdicts(l)
			for i, c := range code {
				out[i] = v[c]
			}
		}), nil
	}
	place := places(f)
	frame := &f.Frame.Items
	return nil, mask(filter, frame.Len, func(l *Filter, out []bool) {
		v, code := verdicts(l)
		for i, row := range frame.Row {
			at := i
			if !l.Dimension.Dim.IsItem() {
				at = int(place[row])
			}
			out[i] = at >= 0 && v[code[at]]
		}
	})
}

// mask evaluates a filter for n things at once.
func mask(f *Filter, n int, leaf func(l *Filter, out []bool)) []bool {
	out := make([]bool, n)
	switch f.Op {
	case Leaf:
		leaf(f, out)
	case Not:
		for i, v := range mask(f.Kids[0], n, leaf) {
			out[i] = !v
		}
	default:
		copy(out, mask(f.Kids[0], n, leaf))
		for _, k := range f.Kids[1:] {
			for i, v := range mask(k, n, leaf) {
				if f.Op == And {
					out[i] = out[i] && v
				} else {
					out[i] = out[i] || v
				}
			}
		}
	}
	return out
}

func (b *Builder) leftOut(duplicates, filtered int64) {
	b.duplicates += duplicates
	b.filtered += filtered
}

// table merges what was collected.
func (b *Builder) table() *summary.Table {
	if b.plan.Users {
		b.rows.Users = make([]summary.Users, len(b.sets))
		for i, sets := range b.sets {
			b.rows.Users[i] = summary.UnionAll(sets)
		}
	}
	// The empty table makes sure that there is something to merge with, so
	// that equal rows become one also within the only part.
	parts := append(slices.Clone(b.parts), b.rows, b.plan.emptyTable())
	return b.plan.one(summary.MergeTables(parts...))
}
