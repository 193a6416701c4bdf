package summary

import (
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
)

// Table holds the numbers of each tuple of values that occurs. Rows are in
// order of their values, which are distinct.
type Table struct {
	Keys     []Key
	Values   [][]string // by key, then by row
	Counters []Counters // by row
	Users    []Users    // by row; nil where users were not asked for
	Extra    []Extra    // by measure that was asked for
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.Counters) }

// Row is the tuple of row i.
func (t *Table) Row(i int) []string {
	row := make([]string, len(t.Keys))
	for k := range row {
		row[k] = t.Values[k][i]
	}
	return row
}

// GroupOptions say what Group takes in and gives out.
type GroupOptions struct {
	// Keep selects among Facts.Rows by place; nil keeps all.
	Keep []bool
	// KeepItems selects among the frame's items in a grouping by items.
	KeepItems []bool
	// ItemEvents makes it a grouping of items, whatever the keys, in which the
	// events that hold them are counted, too: in each row once, so that an
	// event with two items is in the rows of both.
	ItemEvents bool
	// Users asks for the set of users of each row.
	Users bool
	// Measures asks for what no counter counts.
	Measures []Measure
	// Calendar is needed for time dimensions.
	Calendar *Calendar
	// Columns may hold columns that were worked out for filters already.
	Columns map[Key]Column
}

// Group counts the facts by tuples of values. No keys give one row, also where
// nothing was kept. A key of an item makes it a grouping of items: only the
// item counters and users count unless ItemEvents is set, and the other keys are
// those of the item's event.
func Group(f *Facts, keys []Key, o GroupOptions) *Table {
	columns := make([]Column, len(keys))
	items := o.ItemEvents
	for i, k := range keys {
		c, ok := o.Columns[k]
		if !ok {
			c = f.Column(k, o.Calendar)
		}
		columns[i] = c
		items = items || k.Dim.IsItem()
	}
	g := grouping{facts: f, keys: keys, columns: columns, users: o.Users}
	if items {
		g.places(o.Keep, o.KeepItems)
	} else if o.Keep == nil {
		g.all()
	} else {
		g.some(o.Keep)
	}
	g.number()
	if items {
		g.countItems(o.ItemEvents)
	} else {
		g.countRows()
	}
	g.extra = g.extras(o.Measures, items)
	return g.table()
}

// grouping is a Group at work: a list of units (rows or items), the group of
// each, and what was counted.
type grouping struct {
	facts   *Facts
	keys    []Key
	columns []Column
	users   bool

	place  []uint32 // by unit: place in Facts.Rows
	item   []uint32 // by unit: item; nil for rows
	group  []uint32 // by unit; nil: all in group 0
	first  []uint32 // by group: a unit in it
	counts []Counters
	sets   []Users
	extra  []Extra
}

func (g *grouping) all() {
	g.place = make([]uint32, len(g.facts.Rows))
	for i := range g.place {
		g.place[i] = uint32(i)
	}
}

func (g *grouping) some(keep []bool) {
	n := 0
	for _, k := range keep {
		if k {
			n++
		}
	}
	g.place = make([]uint32, 0, n)
	for i, k := range keep {
		if k {
			g.place = append(g.place, uint32(i))
		}
	}
}

// places lists the items of rows that count.
func (g *grouping) places(keep, keepItems []bool) {
	f := g.facts
	if f.itemAt == nil {
		return
	}
	for place, row := range f.Rows {
		if keep != nil && !keep[place] {
			continue
		}
		for i := f.itemAt[row]; i < f.itemAt[row+1]; i++ {
			if keepItems == nil || keepItems[i] {
				g.place = append(g.place, uint32(place))
				g.item = append(g.item, i)
			}
		}
	}
}

// unitOf is where a column has the value of unit u.
func (g *grouping) unitOf(k, u int) uint32 {
	if g.keys[k].Dim.IsItem() {
		return g.item[u]
	}
	return g.place[u]
}

// number gives each unit its group, one key after the other: the group so far
// and the next key's code make the new group.
func (g *grouping) number() {
	units := len(g.place)
	if len(g.keys) == 0 {
		g.first = []uint32{0}
		return
	}
	g.group = make([]uint32, units)
	groups := min(units, 1)
	for k := range g.keys {
		column := &g.columns[k]
		item := g.keys[k].Dim.IsItem()
		from := g.place
		if item {
			from = g.item
		}
		size := len(column.Dict)
		g.first = g.first[:0]
		if groups*size <= max(4*units, 1<<16) {
			// A direct table: group × code.
			renumber := make([]uint32, groups*size)
			for u, at := range from {
				slot := &renumber[int(g.group[u])*size+int(column.Code[at])]
				if *slot == 0 {
					g.first = append(g.first, uint32(u))
					*slot = uint32(len(g.first))
				}
				g.group[u] = *slot - 1
			}
		} else {
			numbers := newPairs(units)
			for u, at := range from {
				before := numbers.len()
				n := numbers.add(uint64(g.group[u]), uint64(column.Code[at]))
				if int(n) == before {
					g.first = append(g.first, uint32(u))
				}
				g.group[u] = n - 1
			}
		}
		groups = len(g.first)
	}
}

func (g *grouping) of(u int) uint32 {
	if g.group == nil {
		return 0
	}
	return g.group[u]
}

func (g *grouping) countRows() {
	f := g.facts
	frame := f.Frame
	g.counts = make([]Counters, len(g.first))
	m := f.money()
	itemAt := f.itemAt
	names := frame.Text[processed.ColName].Code
	for u, place := range g.place {
		row := f.Rows[place]
		c := &g.counts[g.of(u)]
		var cl class
		if names != nil {
			cl = f.classes[names[row]]
		}
		rate := m.rate(row)
		c.addEvent(f, row, cl, &m, rate)
		if itemAt != nil {
			bought := f.Purchase[row]
			for i := itemAt[row]; i < itemAt[row+1]; i++ {
				c.addItem(&m, int(i), cl, bought, rate)
			}
		}
	}
	g.gatherUsers()
}

// addEvent counts an event of a class, whose money has a rate.
func (c *Counters) addEvent(f *Facts, row uint32, cl class, m *currencies, rate money.Rate) {
	frame := f.Frame
	c[Events]++
	if cl&isView != 0 {
		c[Views]++
	}
	if f.Begins[row] {
		c[Sessions]++
		if f.EngagedBegin[row] {
			c[EngagedSessions]++
		}
		c[SessionMillis] += f.SessionMillis[row]
	}
	if frame.Engaged != nil {
		c[EngagementMillis] += frame.Engaged[row]
	}
	if f.NewUser[row] {
		c[NewUsers]++
	}
	if f.KeyEvent[row] {
		c[KeyEvents]++
	}
	if frame.Flags != nil && frame.Flags[row]&processed.FlagHasValue != 0 {
		v, ok := own(frame.Value[row], rate)
		switch {
		case !ok:
			c[Unconverted]++
		case cl&isPurchase == 0:
			c[ValueMicros] += v
			if cl&isRefund != 0 {
				c[RefundMicros] += v
			}
		case f.Purchase[row]:
			c[ValueMicros] += v
			c[RevenueMicros] += v
		}
	}
	if cl&^(isView|isKeyEvent) == 0 {
		return
	}
	switch {
	case f.Purchase[row]:
		c[Transactions]++
		if cl&isAppPurchase != 0 {
			c[AppTransactions]++
		}
		c[TaxMicros] += owned(m.tax.at(int(row)), rate)
		c[ShippingMicros] += owned(m.shipping.at(int(row)), rate)
	case cl&isPurchase != 0:
		c[DuplicateOrders]++
	case cl&isAddToCart != 0:
		c[AddToCarts]++
	case cl&isCheckout != 0:
		c[Checkouts]++
	case cl&isItemView != 0:
		c[ItemViewEvents]++
	case cl&isListView != 0:
		c[ListViews]++
	case cl&isListClick != 0:
		c[ListClicks]++
	case cl&isPromotionView != 0:
		c[PromotionViews]++
	case cl&isPromotionClick != 0:
		c[PromotionClicks]++
	}
}

func (g *grouping) countItems(events bool) {
	f := g.facts
	frame := f.Frame
	g.counts = make([]Counters, len(g.first))
	counted := make([]uint32, len(g.first)) // by group: 1 + the last row whose event it has
	m := f.money()
	names := frame.Text[processed.ColName].Code
	for u, place := range g.place {
		row := f.Rows[place]
		var cl class
		if names != nil {
			cl = f.classes[names[row]]
		}
		c, rate := &g.counts[g.of(u)], m.rate(row)
		// The items of a row stand together.
		if last := &counted[g.of(u)]; events && *last != row+1 {
			*last = row + 1
			c.addEvent(f, row, cl, &m, rate)
		}
		c.addItem(&m, int(g.item[u]), cl, f.Purchase[row], rate)
	}
	g.gatherUsers()
}

// addItem counts an item of an event of a class: its units, and its money
// where some changed hands.
func (c *Counters) addItem(m *currencies, i int, cl class, bought bool, rate money.Rate) {
	items := &m.frame.Items
	quantity := int64(1)
	if items.Quantity != nil {
		quantity = items.Quantity[i]
	}
	price := func() int64 {
		if items.Price == nil {
			return 0
		}
		return owned(items.Price[i]*quantity, rate)
	}
	switch {
	case bought:
		c[ItemQuantity] += quantity
		c[ItemRevenue] += price()
		c[ItemDiscount] += owned(times(m.discount.at(i), quantity), rate)
	case cl&isRefund != 0:
		c[ItemRefund] += price()
	case cl&isItemView != 0:
		c[ItemViews] += quantity
	case cl&isAddToCart != 0:
		c[ItemAddToCarts] += quantity
	case cl&isCheckout != 0:
		c[ItemCheckouts] += quantity
	case cl&isListView != 0:
		c[ItemListViews] += quantity
	case cl&isListClick != 0:
		c[ItemListClicks] += quantity
	case cl&isPromotionView != 0:
		c[ItemPromotionViews] += quantity
	case cl&isPromotionClick != 0:
		c[ItemPromotionClicks] += quantity
	}
}

// times is an amount of so many; nothing where that is beyond 64 bits, as only
// a discount that ingest did not look at can be.
func times(micros, quantity int64) int64 {
	if product := micros * quantity; quantity == 0 || product/quantity == micros {
		return product
	}
	return 0
}

// itemStarts is by row the first item that is not of an earlier row.
func itemStarts(f *processed.Frame) []uint32 {
	if f.Items.Len == 0 {
		return nil
	}
	starts := make([]uint32, f.Len+1)
	for _, row := range f.Items.Row {
		starts[row+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	return starts
}

// gatherUsers finds the distinct users of each group.
func (g *grouping) gatherUsers() {
	if g.users {
		g.sets = g.distinct(nil)
	}
}

// distinct are the distinct users of each group, of the units whose place is
// not 0 by of, or of all: the units are brought together by group, and a stamp
// on each user says which group met it last.
func (g *grouping) distinct(of func(place uint32) int64) []Users {
	f := g.facts
	f.indexUsers()
	sets := make([]Users, len(g.first))
	a := &f.actors
	if len(g.place) == 0 {
		return sets
	}
	starts := make([]uint32, len(g.first)+1)
	users := make([]uint32, len(g.place))
	places, groups := g.place, g.group
	if of != nil {
		places, groups = nil, nil
		for u, place := range g.place {
			if of(place) != 0 {
				places = append(places, place)
				if g.group != nil {
					groups = append(groups, g.group[u])
				}
			}
		}
	}
	if g.group == nil {
		starts[1] = uint32(len(places))
		for u, place := range places {
			users[u] = a.of[place]
		}
	} else {
		for _, group := range groups {
			starts[group+1]++
		}
		for i := 1; i < len(starts); i++ {
			starts[i] += starts[i-1]
		}
		next := slices.Clone(starts)
		for u, place := range places {
			at := &next[groups[u]]
			users[*at] = a.of[place]
			*at++
		}
	}
	stamp := make([]uint32, len(a.users))
	hashes := make([]uint64, 0, len(a.users))
	for i := range sets {
		hashes = hashes[:0]
		for _, user := range users[starts[i]:starts[i+1]] {
			if stamp[user] != uint32(i+1) {
				stamp[user] = uint32(i + 1)
				hashes = append(hashes, a.hashes[user])
			}
		}
		sets[i] = hashSet(hashes, true)
	}
	return sets
}

// table puts the groups into the order of their values.
func (g *grouping) table() *Table {
	t := &Table{Keys: g.keys, Values: make([][]string, len(g.keys)), Counters: g.counts, Users: g.sets, Extra: g.extra}
	for k := range g.keys {
		values := make([]string, len(g.first))
		for i, u := range g.first {
			values[i] = g.columns[k].Dict[g.columns[k].Code[g.unitOf(k, int(u))]]
		}
		t.Values[k] = values
	}
	t.normalise()
	return t
}

// normalise sorts rows by their values and adds up rows of the same ones.
func (t *Table) normalise() {
	if len(t.Keys) == 0 {
		return
	}
	order := make([]uint32, t.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	compare := func(a, b uint32) int {
		for _, values := range t.Values {
			if c := strings.Compare(values[a], values[b]); c != 0 {
				return c
			}
		}
		return 0
	}
	if !slices.IsSortedFunc(order, compare) {
		slices.SortFunc(order, compare)
	}
	var starts []int // of rows of the same values, in order
	for i, row := range order {
		if i == 0 || compare(order[i-1], row) != 0 {
			starts = append(starts, i)
		}
	}
	rows := len(starts)
	starts = append(starts, len(order))
	out := Table{Keys: t.Keys, Values: make([][]string, len(t.Keys)), Counters: make([]Counters, 0, rows)}
	for k := range out.Values {
		out.Values[k] = make([]string, 0, rows)
	}
	if t.Users != nil {
		out.Users = make([]Users, 0, rows)
	}
	for i := range t.Extra {
		out.Extra = append(out.Extra, t.Extra[i].like())
	}
	var sets []Users
	for i, row := range order {
		last := len(out.Counters) - 1
		if last >= 0 && i < starts[last+1] {
			out.Counters[last].Add(&t.Counters[row])
			for k := range out.Extra {
				out.Extra[k].merge(&t.Extra[k], int(row))
			}
			continue
		}
		for k := range t.Keys {
			out.Values[k] = append(out.Values[k], t.Values[k][row])
		}
		out.Counters = append(out.Counters, t.Counters[row])
		if t.Users != nil {
			sets = sets[:0]
			for _, same := range order[i:starts[last+2]] {
				sets = append(sets, t.Users[same])
			}
			out.Users = append(out.Users, UnionAll(sets))
		}
		for k := range out.Extra {
			out.Extra[k].take(&t.Extra[k], int(row))
		}
	}
	*t = out
}

// MergeTables adds up tables of the same keys and measures. With users only
// where all have them.
func MergeTables(tables ...*Table) *Table {
	out := &Table{}
	n, users := 0, true
	var some []*Table // that have rows
	for _, t := range tables {
		out.Keys = t.Keys
		n += t.Len()
		users = users && t.Users != nil
		if t.Len() > 0 {
			some = append(some, t)
		}
	}
	if len(tables) > 1 && len(some) == 1 && len(out.Keys) > 0 && users == (some[0].Users != nil) {
		only := *some[0]
		only.normalise()
		return &only
	}
	if len(tables) == 0 {
		return out
	}
	if len(tables) == 1 {
		return tables[0]
	}
	out.Values = make([][]string, len(out.Keys))
	for k := range out.Values {
		out.Values[k] = make([]string, 0, n)
	}
	out.Counters = make([]Counters, 0, n)
	if users {
		out.Users = make([]Users, 0, n)
	}
	for i := range tables[0].Extra {
		out.Extra = append(out.Extra, tables[0].Extra[i].like())
	}
	for _, t := range tables {
		for i := range out.Extra {
			out.Extra[i].Sums = append(out.Extra[i].Sums, t.Extra[i].Sums...)
			out.Extra[i].Users = append(out.Extra[i].Users, t.Extra[i].Users...)
		}
		for k := range out.Values {
			out.Values[k] = append(out.Values[k], t.Values[k]...)
		}
		out.Counters = append(out.Counters, t.Counters...)
		if users {
			out.Users = append(out.Users, t.Users...)
		}
	}
	if len(out.Keys) == 0 {
		return out.sum(users)
	}
	out.normalise()
	return out
}

// sum is the one row of a table without keys.
func (t *Table) sum(users bool) *Table {
	out := &Table{Counters: make([]Counters, 1)}
	for i := range t.Counters {
		out.Counters[0].Add(&t.Counters[i])
	}
	if users {
		out.Users = []Users{UnionAll(t.Users)}
	}
	for _, e := range t.Extra {
		if e.Users != nil {
			out.Extra = append(out.Extra, Extra{Users: []Users{UnionAll(e.Users)}})
			continue
		}
		sum := int64(0)
		for _, v := range e.Sums {
			sum = Plus(sum, v)
		}
		out.Extra = append(out.Extra, Extra{Sums: []int64{sum}})
	}
	return out
}
