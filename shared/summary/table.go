package summary

import (
	"slices"
	"strings"
)

// Table holds the numbers of each tuple of values that occurs. Rows are in
// order of their values, which are distinct.
type Table struct {
	Keys     []Key
	Values   [][]string // by key, then by row
	Counters []Counters // by row
	Users    []Users    // by row; nil where users were not asked for
	Extra    []Extra    // by measure that was asked for
	Grade    Grade      // how coarse Users are, in a record
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

// emptyExtras are those of a table without rows.
func emptyExtras(measures []Measure) []Extra {
	out := make([]Extra, len(measures))
	for i, m := range measures {
		if m.Users() {
			out[i].Users = []Users{}
		} else {
			out[i].Sums = []int64{}
		}
	}
	return out
}

// EmptyTable is a table of the keys and measures without rows.
func EmptyTable(keys []Key, users bool, measures []Measure) *Table {
	t := &Table{Keys: keys, Values: make([][]string, len(keys)), Extra: emptyExtras(measures)}
	if users {
		t.Users = []Users{}
	}
	return t
}

// AddZero appends a row to what the table holds of measures.
func (t *Table) AddZero() {
	for i := range t.Extra {
		e := &t.Extra[i]
		if e.Users != nil {
			e.Users = append(e.Users, Users{})
		} else {
			e.Sums = append(e.Sums, 0)
		}
	}
}

// Select is a table of some rows, in the order that is given.
func (t *Table) Select(rows []int) *Table {
	out := EmptyTable(t.Keys, t.Users != nil, nil)
	out.Counters = make([]Counters, 0, len(rows))
	for i := range t.Extra {
		out.Extra = append(out.Extra, t.Extra[i].like())
	}
	for _, row := range rows {
		for k := range out.Values {
			out.Values[k] = append(out.Values[k], t.Values[k][row])
		}
		out.Counters = append(out.Counters, t.Counters[row])
		if t.Users != nil {
			out.Users = append(out.Users, t.Users[row])
		}
		for i := range out.Extra {
			out.Extra[i].take(&t.Extra[i], row)
		}
	}
	return out
}

// normalise sorts rows by their values and adds up rows of the same ones.
func (t *Table) normalise() {
	if len(t.Keys) == 0 {
		return
	}
	order, starts := inOrder(t.Values, t.Len())
	if order == nil {
		return
	}
	rows := len(starts) - 1
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

// inOrder is the order of rows by their values, and where in it those of the
// same values start, with its end; nil where they stand in it and all differ.
func inOrder(values [][]string, rows int) (order []uint32, starts []int) {
	compare := func(a, b uint32) int {
		for _, of := range values {
			if c := strings.Compare(of[a], of[b]); c != 0 {
				return c
			}
		}
		return 0
	}
	order = make([]uint32, rows)
	done := true
	for i := range order {
		order[i] = uint32(i)
		done = done && (i == 0 || compare(order[i-1], order[i]) < 0)
	}
	if done {
		return nil, nil
	}
	slices.SortFunc(order, compare)
	for i, row := range order {
		if i == 0 || compare(order[i-1], row) != 0 {
			starts = append(starts, i)
		}
	}
	return order, append(starts, len(order))
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
