package summary

import (
	"slices"

	"github.com/footfall/footfall/shared/processed"
)

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
	// remember asks for sketches that remember their users.
	remember bool
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
	if f.packed != nil {
		return f.packed.group(f, keys, o)
	}
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
	g := grouping{facts: f, keys: keys, columns: columns, users: o.Users, remember: o.remember}
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
	return &Table{Keys: keys, Values: g.values, Counters: g.counts, Users: g.sets, Extra: g.extras(o.Measures, items)}
}

// grouping is a Group at work: a list of units (rows or items), the group of
// each, and what was counted.
type grouping struct {
	facts   *Facts
	keys    []Key
	columns []Column
	users   bool
	// remember is GroupOptions.remember.
	remember bool

	place  []uint32   // by unit: place in Facts.Rows
	item   []uint32   // by unit: item; nil for rows
	group  []uint32   // by unit; nil: all in group 0
	groups int        // in the order of their values
	values [][]string // by key, then by group
	counts []Counters
	sets   []Users
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

func (g *grouping) of(u int) uint32 {
	if g.group == nil {
		return 0
	}
	return g.group[u]
}

func (g *grouping) countRows() {
	f := g.facts
	g.counts = make([]Counters, g.groups)
	m := &f.money
	itemAt := f.itemAt
	for u, place := range g.place {
		row := f.Rows[place]
		c := &g.counts[g.of(u)]
		cl, rate := f.class(row), m.rate(row)
		c.addEvent(f, row, cl, m, rate)
		if itemAt != nil {
			bought := f.Purchase[row]
			for i := itemAt[row]; i < itemAt[row+1]; i++ {
				c.addItem(m, int(i), cl, bought, rate)
			}
		}
	}
	g.gatherUsers()
}

func (g *grouping) countItems(events bool) {
	f := g.facts
	g.counts = make([]Counters, g.groups)
	counted := make([]uint32, g.groups) // by group: 1 + the last row whose event it has
	m := &f.money
	for u, place := range g.place {
		row := f.Rows[place]
		c, cl, rate := &g.counts[g.of(u)], f.class(row), m.rate(row)
		// The items of a row stand together.
		if last := &counted[g.of(u)]; events && *last != row+1 {
			*last = row + 1
			c.addEvent(f, row, cl, m, rate)
		}
		c.addItem(m, int(g.item[u]), cl, f.Purchase[row], rate)
	}
	g.gatherUsers()
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
	sets := make([]Users, g.groups)
	a := &f.actors
	if len(g.place) == 0 {
		return sets
	}
	starts := make([]uint32, g.groups+1)
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
		if g.remember && len(hashes) > UsersExact {
			slices.Sort(hashes)
			sets[i] = remembered(slices.Clone(slices.Compact(hashes)))
		} else {
			sets[i] = hashSet(hashes, true)
		}
	}
	return sets
}

// extras measures the groups.
func (g *grouping) extras(measures []Measure, items bool) []Extra {
	out := make([]Extra, len(measures))
	for i, m := range measures {
		of := g.facts.measure(m)
		if m.Users() {
			out[i].Users = g.distinct(of)
			continue
		}
		sums := make([]int64, g.groups)
		counted := make([]uint32, g.groups) // by group: 1 + the last place that it has
		for u, place := range g.place {
			group := g.of(u)
			if items {
				// The items of a row stand together, and the row counts once.
				if counted[group] == place+1 {
					continue
				}
				counted[group] = place + 1
			}
			sums[group] = Plus(sums[group], of(place))
		}
		out[i].Sums = sums
	}
	return out
}
