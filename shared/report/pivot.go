package report

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Pivot is one axis of a report that is laid out along several: the tuples of
// values that some of the query's dimensions have. A cell of the report is where
// a tuple of each axis meets.
type Pivot struct {
	Fields        []int // places in Query.Dimensions, or RangeField
	OrderBys      []PivotOrder
	Offset, Limit int64 // of its tuples
	Aggregations  []Aggregation
}

// RangeField is the date range as a field of a pivot.
const RangeField = -1

// PivotOrder is one key of the order of a pivot's tuples. Dimension is a place
// in Fields. A metric is that of all cells of the tuple, or of those where the
// fields of other pivots have the values that Where says.
type PivotOrder struct {
	OrderBy
	Where []Selection
}

// Selection is a field's value.
type Selection struct {
	Field int
	Value string
}

// PivotHeader are the tuples of a pivot.
type PivotHeader struct {
	Tuples   [][]string // the page that the pivot's limit and offset cut
	RowCount int        // of all tuples
}

// Limits of pivots.
const (
	maxCells       = MaxRows // product of the pivots' limits, as the Data API's
	maxAggregating = 4       // pivots with aggregations: each set of them is added up
)

// checkPivots checks what is asked of the pivots together.
func (q *Query) checkPivots() error {
	cells, aggregating := int64(1), 0
	for i, p := range q.Pivots {
		field := fmt.Sprintf("pivots[%d]", i)
		switch {
		case p.Limit < 1 || p.Limit > maxCells:
			return fault.Field(field+".limit", fmt.Sprintf("1 to %d", maxCells))
		case p.Offset < 0:
			return fault.Field(field+".offset", "0 or more")
		}
		if cells *= p.Limit; cells > maxCells {
			return fault.Field("pivots", fmt.Sprintf("limits whose product is at most %d", maxCells))
		}
		if len(p.Aggregations) > 0 {
			aggregating++
		}
	}
	if aggregating > maxAggregating {
		return fault.Field("pivots", fmt.Sprintf("metricAggregations in at most %d pivots", maxAggregating))
	}
	if q.ranged() {
		return nil
	}
	for i, r := range q.DateRanges {
		for _, o := range q.DateRanges[:i] {
			if r.From <= o.To && o.From <= r.To {
				return fault.Field("pivots", "the field "+rangeDimension+" in a pivot where date ranges overlap: without it they are one, and a day counts once")
			}
		}
	}
	return nil
}

// ranged reports whether a pivot tells the date ranges apart.
func (q *Query) ranged() bool {
	return slices.ContainsFunc(q.Pivots, func(p Pivot) bool { return slices.Contains(p.Fields, RangeField) })
}

// fields are those of all pivots, the columns of the answer.
func (q *Query) fields() []int {
	var list []int
	for _, p := range q.Pivots {
		list = append(list, p.Fields...)
	}
	return list
}

func (q *Query) fieldName(at int) string {
	if at == RangeField {
		return rangeDimension
	}
	return q.Dimensions[at].Name
}

// layout is a pivot report at work.
type layout struct {
	result *Result
	query  *Query
	plan   *Plan
	sheets []sheet
	cells  *summary.Table   // of all sheets, by all fields
	pages  []map[string]int // by pivot: place on its page, by tuple
}

// sheet are the cells of a date range, or of all where no pivot tells them apart.
type sheet struct {
	name     string
	builders []*Builder
	cells    *summary.Table // those that stand in the answer
	passes   func(values []string) bool
}

// pivot lays what was collected out along the query's pivots. What is asked of
// a tuple, or of several cells together, is worked out from all that was counted
// in them: a user in two cells is one.
func (r *Result) pivot(builders []*Builder) {
	q := r.Query
	l := &layout{result: r, query: q, plan: builders[0].plan}
	if q.ranged() {
		for i, b := range builders {
			l.addSheet(q.DateRanges[i].Name, []*Builder{b})
		}
	} else {
		l.addSheet("", builders)
	}
	l.cells = l.project(q.fields())
	for i := range q.Pivots {
		l.addHeader(&q.Pivots[i])
	}
	l.addRows()
	l.aggregate()
}

// addSheet takes the cells that pass.
func (l *layout) addSheet(name string, builders []*Builder) {
	tables := []*summary.Table{l.plan.emptyTable()}
	for _, b := range builders {
		tables = append(tables, b.table())
	}
	all := l.plan.one(summary.MergeTables(tables...))
	var kept []int
	for i, to := range l.plan.spans(all) {
		numbers := l.plan.numbers(all, i, to)
		empty := len(l.query.Metrics) > 0
		for _, m := range l.query.Metrics {
			empty = empty && numbers.of(m.Of).Zero()
		}
		if empty && !l.query.KeepEmpty || !numbers.passes() {
			continue
		}
		for ; i < to; i++ {
			kept = append(kept, i)
		}
		l.result.Meta.UsersError = max(l.result.Meta.UsersError, numbers.err)
	}
	s := sheet{name: name, builders: builders, cells: all}
	if len(kept) < all.Len() {
		s.cells = all.Select(kept)
		set := make(map[string]bool, len(kept))
		for i := range kept {
			set[rowKey(l.plan.row(s.cells, i))] = true
		}
		s.passes = func(values []string) bool { return set[rowKey(values)] }
	}
	l.sheets = append(l.sheets, s)
}

// project adds the cells up to tuples of some fields.
func (l *layout) project(fields []int) *summary.Table {
	// The empty table sees to it that equal tuples of one sheet become one, too.
	tables := []*summary.Table{l.plan.tableOf(fields)}
	for i := range l.sheets {
		tables = append(tables, l.sheets[i].project(l.plan, fields))
	}
	return l.plan.one(summary.MergeTables(tables...))
}

// tableOf has keys for some fields and no rows.
func (p *Plan) tableOf(fields []int) *summary.Table {
	keys := make([]summary.Key, len(fields))
	for k, at := range fields {
		if at == RangeField {
			keys[k] = summary.Key{Dim: summary.DimParam, Param: rangeDimension}
		} else {
			keys[k] = p.keys[at]
		}
	}
	return p.emptyOf(keys)
}

func (s *sheet) project(p *Plan, fields []int) *summary.Table {
	out := p.tableOf(fields)
	out.Counters, out.Users, out.Extra = s.cells.Counters, s.cells.Users, s.cells.Extra
	for k, at := range fields {
		if at == RangeField {
			out.Values[k] = slices.Repeat([]string{s.name}, s.cells.Len())
		} else {
			out.Values[k] = s.cells.Values[at]
		}
	}
	if last := len(s.cells.Values) - 1; p.converts() {
		out.Values[len(fields)] = s.cells.Values[last]
	}
	if !p.itemEvents && !p.trails() {
		return out
	}
	out = summary.MergeTables(out, p.tableOf(fields))
	if p.itemEvents {
		s.countEvents(p, fields, out)
	}
	if p.trails() {
		s.lookBack(p, fields, out)
	}
	return out
}

// countEvents counts anew what rows by items do not add up to: an event with
// two of them is in two rows, and once in what they have in common.
func (s *sheet) countEvents(p *Plan, fields []int, out *summary.Table) {
	dims := slices.DeleteFunc(slices.Clone(fields), func(at int) bool { return at == RangeField })
	tables := []*summary.Table{p.tableOf(dims)}
	for _, b := range s.builders {
		tables = append(tables, b.itemTables(dims, s.passes)...)
	}
	counted := summary.MergeTables(tables...)
	at := make(map[string]int, counted.Len())
	for i := range counted.Len() {
		at[rowKey(counted.Row(i))] = i
	}
	values := make([]string, 0, len(dims))
	for row := range out.Len() {
		values = values[:0]
		for k, field := range fields {
			if field != RangeField {
				values = append(values, out.Values[k][row])
			}
		}
		if p.converts() {
			values = append(values, p.rateOf(out, row))
		}
		i, there := at[rowKey(values)]
		out.Counters[row] = summary.Counters{}
		if there {
			out.Counters[row] = counted.Counters[i]
		}
		for k := range out.Extra {
			if e := &out.Extra[k]; e.Users == nil {
				e.Sums[row] = 0
				if there {
					e.Sums[row] = counted.Extra[k].Sums[i]
				}
			}
		}
	}
}

// tuplesOf are the tuples of a pivot with the metrics that its orders ask for,
// each as the order's own.
func (l *layout) tuplesOf(p *Pivot, orders []PivotOrder) ([]Row, []OrderBy) {
	table := l.project(p.Fields)
	var rows []Row
	var numbers []numbers
	for i, to := range l.plan.spans(table) {
		rows = append(rows, Row{Dimensions: l.plan.row(table, i), Metrics: make([]catalog.Value, len(orders))})
		numbers = append(numbers, l.plan.numbers(table, i, to))
	}
	keys := make([]OrderBy, len(orders))
	for k, o := range orders {
		keys[k] = o.OrderBy
		if o.Dimension >= 0 {
			continue
		}
		keys[k].Metric = k
		metric := l.query.Metrics[o.Metric].Of
		if len(o.Where) == 0 {
			for i := range rows {
				rows[i].Metrics[k] = numbers[i].of(metric)
			}
			continue
		}
		selected := l.selected(p.Fields, o.Where, metric)
		for i := range rows {
			rows[i].Metrics[k] = catalog.Value{D: 1}
			if v, there := selected[rowKey(rows[i].Dimensions)]; there {
				rows[i].Metrics[k] = v
			}
		}
	}
	return rows, keys
}

// selected is a metric by tuple, of the cells where other fields have given
// values.
func (l *layout) selected(fields []int, where []Selection, metric *catalog.Metric) map[string]catalog.Value {
	wide := slices.Clone(fields)
	for _, s := range where {
		if !slices.Contains(wide, s.Field) {
			wide = append(wide, s.Field)
		}
	}
	table := l.project(wide)
	values := map[string]catalog.Value{}
	for i, to := range l.plan.spans(table) {
		row := l.plan.row(table, i)
		if slices.ContainsFunc(where, func(s Selection) bool { return row[slices.Index(wide, s.Field)] != s.Value }) {
			continue
		}
		numbers := l.plan.numbers(table, i, to)
		values[rowKey(row[:len(fields)])] = numbers.of(metric)
	}
	return values
}

// defaultOrder is the order of a pivot that names none: by its time dimensions
// as time passes, else by the first metric, highest first.
func (q *Query) defaultOrder(p *Pivot) []PivotOrder {
	var order []PivotOrder
	others := false
	for i, at := range p.Fields {
		if at != RangeField && q.Dimensions[at].Of.Time() {
			order = append(order, PivotOrder{OrderBy: OrderBy{Dimension: i}})
		}
		others = others || at != RangeField
	}
	if len(order) == 0 && others && len(q.Metrics) > 0 {
		order = append(order, PivotOrder{OrderBy: OrderBy{Dimension: -1, Desc: true}})
	}
	return order
}

func (l *layout) addHeader(p *Pivot) {
	order := p.OrderBys
	if len(order) == 0 {
		order = l.query.defaultOrder(p)
	}
	rows, keys := l.tuplesOf(p, order)
	sortRows(rows, keys)
	header := PivotHeader{RowCount: len(rows)}
	page := map[string]int{}
	from := min(int64(len(rows)), p.Offset)
	for _, row := range rows[from:min(int64(len(rows)), from+p.Limit)] {
		page[rowKey(row.Dimensions)] = len(header.Tuples)
		header.Tuples = append(header.Tuples, row.Dimensions)
	}
	l.result.Headers = append(l.result.Headers, header)
	l.pages = append(l.pages, page)
}

// placed is a row with its tuples' places on the pages of their pivots.
type placed struct {
	Row
	at []int
}

// place is where a row of fields stands; its values are by column of the answer,
// those of pivots in the mask are mark. ok is false where a tuple is on no page.
func (l *layout) place(columns []string, mask uint, mark string) (p placed, ok bool) {
	p.Dimensions = make([]string, 0, len(l.query.Dimensions)+1)
	for i := range l.query.Pivots {
		n := len(l.query.Pivots[i].Fields)
		if mask&(1<<i) != 0 {
			p.Dimensions = append(p.Dimensions, slices.Repeat([]string{mark}, n)...)
			continue
		}
		at, there := l.pages[i][rowKey(columns[:n])]
		if !there {
			return p, false
		}
		p.at = append(p.at, at)
		p.Dimensions = append(p.Dimensions, columns[:n]...)
		columns = columns[n:]
	}
	return p, true
}

// inPlace orders rows as the pages do, the first pivot's first.
func inPlace(list []placed) []Row {
	slices.SortFunc(list, func(a, b placed) int { return slices.Compare(a.at, b.at) })
	rows := make([]Row, len(list))
	for i := range list {
		rows[i] = list[i].Row
	}
	return rows
}

// outside are the fields of the pivots that are not in the mask.
func (l *layout) outside(mask uint) []int {
	fields := []int{}
	for i := range l.query.Pivots {
		if mask&(1<<i) == 0 {
			fields = append(fields, l.query.Pivots[i].Fields...)
		}
	}
	return fields
}

// addRows adds the cells whose tuples are all on their pages.
func (l *layout) addRows() {
	l.result.Rows = l.rowsOf(0, "")
	l.result.RowCount = len(l.result.Rows)
}

// rowsOf are the rows in which the pivots of the mask are added up.
func (l *layout) rowsOf(mask uint, mark string) []Row {
	var list []placed
	table := l.cells
	if mask != 0 {
		table = l.project(l.outside(mask))
	}
	for i, to := range l.plan.spans(table) {
		row, ok := l.place(l.plan.row(table, i), mask, mark)
		if !ok {
			continue
		}
		numbers := l.plan.numbers(table, i, to)
		l.result.Meta.UsersError = max(l.result.Meta.UsersError, numbers.err)
		for _, m := range l.query.Metrics {
			row.Metrics = append(row.Metrics, numbers.of(m.Of))
		}
		list = append(list, row)
	}
	return inPlace(list)
}

// extremesOf are the rows with the largest or smallest values of the cells along
// the pivots of the mask.
func (l *layout) extremesOf(mask uint, mark string, largest bool) []Row {
	fields, outside := l.query.fields(), l.outside(mask)
	groups := map[string][]Row{}
	for i, to := range l.plan.spans(l.cells) {
		values := make([]string, len(outside))
		for k, at := range outside {
			values[k] = l.cells.Values[slices.Index(fields, at)][i]
		}
		numbers := l.plan.numbers(l.cells, i, to)
		cell := Row{Dimensions: values}
		for _, m := range l.query.Metrics {
			cell.Metrics = append(cell.Metrics, numbers.of(m.Of))
		}
		key := rowKey(values)
		groups[key] = append(groups[key], cell)
	}
	if len(outside) == 0 && len(groups) == 0 {
		groups[""] = nil // a whole report has them, also of nothing
	}
	var list []placed
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		cells := groups[key]
		var values []string
		if len(cells) > 0 {
			values = cells[0].Dimensions
		}
		row, ok := l.place(values, mask, mark)
		if !ok {
			continue
		}
		for j := range l.query.Metrics {
			row.Metrics = append(row.Metrics, extreme(cells, j, largest))
		}
		list = append(list, row)
	}
	return inPlace(list)
}

// aggregate adds, for each aggregation and each set of pivots that ask for it,
// the rows in which these pivots' tuples are taken together.
func (l *layout) aggregate() {
	for _, a := range []struct {
		of   Aggregation
		rows func(mask uint) []Row
	}{
		{Total, func(mask uint) []Row { return l.rowsOf(mask, "RESERVED_TOTAL") }},
		{Minimum, func(mask uint) []Row { return l.extremesOf(mask, "RESERVED_MIN", false) }},
		{Maximum, func(mask uint) []Row { return l.extremesOf(mask, "RESERVED_MAX", true) }},
		// Count is in the headers.
	} {
		asking := uint(0)
		for i, p := range l.query.Pivots {
			if slices.Contains(p.Aggregations, a.of) {
				asking |= 1 << i
			}
		}
		for mask := uint(1); mask < 1<<bits.Len(asking); mask++ {
			if mask&asking == mask {
				l.result.Aggregates = append(l.result.Aggregates, a.rows(mask)...)
			}
		}
	}
}
