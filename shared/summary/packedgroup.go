package summary

import (
	"slices"

	"github.com/footfall/footfall/shared/parallel"
	"github.com/footfall/footfall/shared/processed"
)

// group is Group of packed facts: rows are gone through once, range by range of
// users, and each adds to the tuple of its values.
func (p *Packed) group(f *Facts, keys []Key, o GroupOptions) *Table {
	g := packedGrouping{Packed: p, facts: f, keep: o.Keep, users: o.Users, named: make([][]string, len(keys))}
	g.columns(keys, o)
	g.money()
	g.count()
	t := &Table{Keys: keys, Extra: make([]Extra, 0)}
	t.Values, t.Counters, t.Users = g.table()
	return t
}

type packedGrouping struct {
	*Packed
	facts *Facts
	keep  []bool
	users bool

	codes  []narrow   // by key
	texts  [][]string // by key: ascending, each once
	tuples int        // that there may be
	named  [][]string // by key, then by tuple; nil: they follow from texts

	currencies    currencies
	tax, shipping packedAmounts
	ranges        []packedRange
}

// packedRange is what a range of users adds.
type packedRange struct {
	user, from, to int // the first user, rows [from, to)
	often          []packedCounts
	seldom         []Counters // nil where there was nothing
	met            []meeting
}

// packedCounts are what nearly each row adds to: few bytes, so that many tuples fit
// a processor's cache.
type packedCounts struct {
	last                                    uint64 // 1 + what sets keep of the user that was met last
	length, focus                           int64
	events, views, begun, engaged, key, met uint32
}

// meeting is a user whom a tuple met, the first time.
type meeting struct{ tuple, user uint32 }

// mostTuples is how many there may be for so many rows that each has its counts, of
// each range: some 11 MB.
func mostTuples(rows int) int { return min(max(1<<10, rows/16), 1<<15) }

// columns finds the codes of keys; where there may be too many tuples, they are
// those of the tuples that there are.
func (g *packedGrouping) columns(keys []Key, o GroupOptions) {
	columns := make([]Column, len(keys))
	g.tuples = 1
	for k, key := range keys {
		t, ok := g.textOf(key)
		if c, given := o.Columns[key]; given || !ok {
			if !given {
				c = g.facts.Column(key, o.Calendar)
			}
			columns[k] = c
			t = c.packed()
		}
		g.codes, g.texts = append(g.codes, t.code), append(g.texts, t.dict)
		g.tuples = min(g.tuples, mostTuples(g.n)+1) * len(t.dict)
	}
	if g.tuples <= mostTuples(g.n) {
		return
	}
	for k, key := range keys {
		if columns[k].Dict == nil {
			columns[k] = g.facts.Column(key, o.Calendar)
		}
	}
	all := grouping{facts: g.facts, keys: keys, columns: columns}
	if g.keep == nil {
		all.all()
	} else {
		all.some(g.keep)
	}
	all.number()
	group := make([]uint32, g.n)
	for u, place := range all.place {
		group[place] = all.group[u]
	}
	g.codes, g.tuples, g.named = []narrow{{words: group}}, all.groups, all.values
	g.texts = [][]string{make([]string, all.groups)}
}

// textOf is the packed column of a key that is one.
func (p *Packed) textOf(k Key) (packedText, bool) {
	if k.Dim == DimParam {
		t, ok := p.params[k.Param]
		return t, ok
	}
	c, ok := textOf(k.Dim)
	return p.text[c], ok && !k.Dim.OfSession() && p.text[c].dict != nil
}

// packed puts a column's texts in order.
func (c *Column) packed() packedText {
	rank, texts := ranksOf(c.Dict)
	t := packedText{dict: texts, code: narrow{words: make([]uint32, len(c.Code))}}
	for i, code := range c.Code {
		t.code.words[i] = rank[code]
	}
	return t
}

// packedAmounts are a parameter read as decimal numbers.
type packedAmounts struct {
	code   narrow
	micros []int64
}

func (a *packedAmounts) of(row uint32) int64 {
	if a.micros == nil {
		return 0
	}
	return a.micros[a.code.at(row)]
}

func (g *packedGrouping) money() {
	frame := &processed.Frame{Millis: g.facts.Frame.Millis}
	frame.Text[processed.ColCurrency].Dict = g.text[processed.ColCurrency].dict
	g.currencies = currenciesOf(frame, &g.facts.Settings)
	amounts := func(param string) packedAmounts {
		t, ok := g.params[param]
		if !ok {
			return packedAmounts{}
		}
		return packedAmounts{t.code, microsOf(t.dict)}
	}
	g.tax, g.shipping = amounts(paramTax), amounts(paramShipping)
}

func (g *packedGrouping) count() {
	n := workers(g.n)
	if g.tuples > mostTuples(g.n) {
		n = 1
	}
	g.ranges = make([]packedRange, n)
	user, from := 0, 0
	for i := range g.ranges {
		next, _ := slices.BinarySearch(g.ends, uint32(g.n*(i+1)/n+1))
		for next > 0 && next < len(g.hashes) && g.hashes[next] == g.hashes[next-1] {
			next++ // sets cannot tell them apart
		}
		to := 0
		if next > 0 {
			to = int(g.ends[next-1])
		}
		g.ranges[i] = packedRange{user: user, from: from, to: to}
		user, from = next, to
	}
	parallel.Do(n, func(i int) { g.countRange(&g.ranges[i]) })
}

// countRange goes through a range of rows in pieces whose codes fit the nearest cache.
func (g *packedGrouping) countRange(r *packedRange) {
	const piece = 2048
	var room [piece]uint32
	r.often = make([]packedCounts, g.tuples)
	if g.users {
		r.met = make([]meeting, 0, r.to-r.from)
	}
	names, classes := &g.text[processed.ColName].code, g.facts.classes
	user, end, hash := r.user-1, r.from, uint64(0)
	begun, valued := 0, 0
	for _, flags := range g.flags[:r.from] {
		begun += int(flags & packedBegins)
		valued += int(flags & packedValue / packedValue)
	}
	for from := r.from; from < r.to; from += piece {
		to := min(from+piece, r.to)
		tuples := room[:to-from]
		clear(tuples)
		for k := range g.codes {
			g.codes[k].mixInto(tuples, from, uint32(len(g.texts[k])))
		}
		for i, tuple := range tuples {
			row := from + i
			flags := g.flags[row]
			session, value := begun, valued
			begun += int(flags & packedBegins)
			valued += int(flags & packedValue / packedValue)
			if g.keep != nil && !g.keep[row] {
				continue
			}
			c := &r.often[tuple]
			c.events++
			cl := classes[names.at(uint32(row))]
			if cl&isView != 0 {
				c.views++
			}
			if cl&isKeyEvent != 0 {
				c.key++
			}
			if flags&packedBegins != 0 {
				c.begun++
				c.length += int64(g.lengths[session])
				c.engaged += uint32(flags & packedEngaged / packedEngaged)
			}
			c.focus += g.engaged.at(uint32(row))
			if g.users {
				for row >= end {
					user++
					end, hash = int(g.ends[user]), g.hashes[user]+1
				}
				if c.last != hash {
					c.last = hash
					c.met++
					r.met = append(r.met, meeting{tuple, uint32(user)})
				}
			}
			if flags&packedValue != 0 || cl&^(isView|isKeyEvent) != 0 {
				g.countSeldom(r, tuple, uint32(row), value, cl)
			}
		}
	}
}

// countSeldom counts money, and what a shop asks. value is where the row's is, if it
// has one.
func (g *packedGrouping) countSeldom(r *packedRange, tuple, row uint32, value int, cl class) {
	if r.seldom == nil {
		r.seldom = make([]Counters, g.tuples)
	}
	c, flags := &r.seldom[tuple], g.flags[row]
	rate := g.currencies.of(uint32(g.text[processed.ColCurrency].code.at(row)), row)
	if flags&packedValue != 0 {
		c.addValue(g.values[value], cl, flags&packedBought != 0, rate)
	}
	if flags&packedBought != 0 {
		c.addPurchase(cl, g.tax.of(row), g.shipping.of(row), rate)
	} else {
		c.addClass(cl)
	}
}

// mixInto makes tuples of earlier keys those with the next one, of so many texts.
func (v *narrow) mixInto(tuples []uint32, from int, texts uint32) {
	switch {
	case v.bytes != nil:
		for i, code := range v.bytes[from : from+len(tuples)] {
			tuples[i] = tuples[i]*texts + uint32(code)
		}
	case v.shorts != nil:
		for i, code := range v.shorts[from : from+len(tuples)] {
			tuples[i] = tuples[i]*texts + uint32(code)
		}
	case v.words != nil:
		for i, code := range v.words[from : from+len(tuples)] {
			tuples[i] = tuples[i]*texts + code
		}
	default:
		for i := range tuples {
			tuples[i] *= texts
		}
	}
}

// table are the tuples that there are, with what was counted.
func (g *packedGrouping) table() (values [][]string, counts []Counters, sets []Users) {
	var groups []int // tuples
	for tuple := range g.tuples {
		if len(g.codes) == 0 || slices.ContainsFunc(g.ranges, func(r packedRange) bool { return r.often[tuple].events > 0 }) {
			groups = append(groups, tuple)
		}
	}
	values = g.named
	if len(values) > 0 && values[0] == nil {
		for k := range values {
			values[k] = make([]string, len(groups))
		}
		for i, tuple := range groups {
			for k := len(values) - 1; k >= 0; k-- {
				texts := g.texts[k]
				values[k][i], tuple = texts[tuple%len(texts)], tuple/len(texts)
			}
		}
	}
	if len(g.ranges) == 1 && len(groups) == g.tuples {
		counts, g.ranges[0].seldom = g.ranges[0].seldom, nil
	}
	if counts == nil {
		counts = make([]Counters, len(groups))
	}
	for _, r := range g.ranges {
		for i, tuple := range groups {
			c, o := &counts[i], &r.often[tuple]
			c[Events] += int64(o.events)
			c[Views] += int64(o.views)
			c[Sessions] += int64(o.begun)
			c[EngagedSessions] += int64(o.engaged)
			c[SessionMillis] += o.length
			c[EngagementMillis] += o.focus
			c[KeyEvents] += int64(o.key)
			if r.seldom != nil {
				c.Add(&r.seldom[tuple])
			}
		}
	}
	if g.users {
		sets = g.sets(groups)
	}
	return values, counts, sets
}

// sets are the distinct users of tuples: each met its users in the order in which
// sets keep them.
func (g *packedGrouping) sets(tuples []int) []Users {
	sets, lists := make([]Users, len(tuples)), make([][]uint64, g.tuples)
	// Exact sets share memory; what becomes a sketch is not kept.
	exact, sketches := 0, 0
	sizes := make([]int, len(tuples))
	for i, tuple := range tuples {
		for k := range g.ranges {
			met := &g.ranges[k].often[tuple].met
			*met, sizes[i] = uint32(sizes[i]), sizes[i]+int(*met)
		}
		if sizes[i] <= UsersExact {
			exact += sizes[i]
		} else {
			sketches += sizes[i]
		}
	}
	kept, rest := make([]uint64, exact), make([]uint64, sketches)
	for i, tuple := range tuples {
		from, n := &kept, sizes[i]
		if n > UsersExact {
			from = &rest
		}
		lists[tuple], *from = (*from)[:n:n], (*from)[n:]
	}
	parallel.Do(len(g.ranges), func(k int) {
		often := g.ranges[k].often
		for _, m := range g.ranges[k].met {
			lists[m.tuple][often[m.tuple].met] = g.hashes[m.user]
			often[m.tuple].met++
		}
	})
	for i, tuple := range tuples {
		if sizes[i] > 0 {
			sets[i] = sortedUsers(lists[tuple])
		}
	}
	return sets
}
