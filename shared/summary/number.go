package summary

import (
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/parallel"
)

// number gives each unit its group. Groups are in the order of their values, and
// those of the same values are one: the number of a group is cheap to move, its
// counters are not.
func (g *grouping) number() {
	units := len(g.place)
	g.values = make([][]string, len(g.keys))
	if len(g.keys) == 0 {
		g.groups = 1
		return
	}
	g.group = make([]uint32, units)
	if !g.byRanks() {
		g.arrange(g.byAppearance())
	}
}

// from is by unit where a column of key k has its value.
func (g *grouping) from(k int) []uint32 {
	if g.keys[k].Dim.IsItem() {
		return g.item
	}
	return g.place
}

// byRanks numbers the tuples that there may be in the order of their values, where
// they are not many more than units, and then those that there are.
func (g *grouping) byRanks() bool {
	units := len(g.place)
	tuples := 1
	for k := range g.columns {
		// Texts cost some comparisons each.
		texts := len(g.columns[k].Dict)
		if texts > max(16, units/8) || tuples*texts > max(units, 1<<10) {
			return false
		}
		tuples *= texts
	}
	tuples = 1
	for k := range g.values {
		g.values[k] = []string{}
	}
	ranks, texts := make([][]uint32, len(g.keys)), make([][]string, len(g.keys))
	for k := range g.keys {
		ranks[k], texts[k] = ranksOf(g.columns[k].Dict)
		tuples *= len(texts[k])
	}
	ranges := workers(units)
	used := make([][]bool, ranges)
	parallel.Do(ranges, func(i int) {
		used[i] = make([]bool, tuples)
		from, to := units*i/ranges, units*(i+1)/ranges
		group := g.group[from:to]
		for k, rank := range ranks {
			size, codes := uint32(len(texts[k])), g.columns[k].Code
			at := g.from(k)[from:to]
			for u, place := range at {
				group[u] = group[u]*size + rank[codes[place]]
			}
		}
		for _, tuple := range group {
			used[i][tuple] = true
		}
	})
	number := make([]uint32, tuples)
	for tuple := range number {
		for i := range used {
			if used[i][tuple] {
				number[tuple] = uint32(g.groups)
				g.groups++
				rest := tuple
				for k := len(texts) - 1; k >= 0; k-- {
					g.values[k] = append(g.values[k], texts[k][rest%len(texts[k])])
					rest /= len(texts[k])
				}
				break
			}
		}
	}
	if g.groups < tuples {
		parallel.Do(ranges, func(i int) {
			group := g.group[units*i/ranges : units*(i+1)/ranges]
			for u, tuple := range group {
				group[u] = number[tuple]
			}
		})
	}
	return true
}

// ranksOf is by text its place in the order of the different ones.
func ranksOf(texts []string) (rank []uint32, ordered []string) {
	order := make([]uint32, len(texts))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return strings.Compare(texts[a], texts[b]) })
	rank, ordered = make([]uint32, len(texts)), make([]string, 0, len(texts))
	for i, at := range order {
		if i == 0 || texts[at] != texts[order[i-1]] {
			ordered = append(ordered, texts[at])
		}
		rank[at] = uint32(len(ordered) - 1)
	}
	return rank, ordered
}

// byAppearance numbers the tuples as they come, one key after the other: the group
// so far and the next key's code make the new group. The answer is by group a unit
// in it.
func (g *grouping) byAppearance() (first []uint32) {
	units := len(g.place)
	groups := min(units, 1)
	for k := range g.keys {
		column, from := &g.columns[k], g.from(k)
		size := len(column.Dict)
		first = first[:0]
		if groups*size <= max(4*units, 1<<16) {
			// A direct table: group × code.
			renumber := make([]uint32, groups*size)
			for u, at := range from {
				slot := &renumber[int(g.group[u])*size+int(column.Code[at])]
				if *slot == 0 {
					first = append(first, uint32(u))
					*slot = uint32(len(first))
				}
				g.group[u] = *slot - 1
			}
		} else {
			numbers := newPairs(units)
			for u, at := range from {
				before := numbers.len()
				n := numbers.add(uint64(g.group[u]), uint64(column.Code[at]))
				if int(n) == before {
					first = append(first, uint32(u))
				}
				g.group[u] = n - 1
			}
		}
		groups = len(first)
	}
	return first
}

// arrange puts groups, of which a unit is given, into the order of their values.
func (g *grouping) arrange(first []uint32) {
	g.groups = len(first)
	for k := range g.keys {
		g.values[k] = make([]string, len(first))
		from := g.from(k)
		for i, u := range first {
			g.values[k][i] = g.columns[k].Dict[g.columns[k].Code[from[u]]]
		}
	}
	order, starts := inOrder(g.values, len(first))
	if order == nil {
		return
	}
	row := make([]uint32, len(order)) // by group
	g.groups = len(starts) - 1
	for i := range g.groups {
		for _, group := range order[starts[i]:starts[i+1]] {
			row[group] = uint32(i)
		}
	}
	for u, group := range g.group {
		g.group[u] = row[group]
	}
	for k, of := range g.values {
		values := make([]string, g.groups)
		for i, at := range starts[:g.groups] {
			values[i] = of[order[at]]
		}
		g.values[k] = values
	}
}
