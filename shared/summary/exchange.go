package summary

// exchange takes counters off and adds others.
func (c *Counters) exchange(less, more *Counters) {
	for i := range c {
		c[i] += more[i] - less[i]
	}
}

// extra is how many bytes remembering takes.
func (u Users) extra() int64 {
	if u.ranks == nil {
		return 0
	}
	return int64(8 * len(u.exact))
}

// exchange takes users out and puts others in. No user that is taken out may be
// there for another reason. false: a set does not know its users, so that none can
// be taken out.
func (u Users) exchange(less, more Users) (Users, bool) {
	if !less.remembers() || !more.remembers() {
		return u, false
	}
	out, in := minus(less.exact, more.exact), minus(more.exact, less.exact)
	switch {
	case len(out) == 0 && len(in) == 0:
		return u, true
	case !u.remembers():
		return u.Union(Users{exact: in}), len(out) == 0
	case u.ranks != nil && len(out) == 0:
		all := union(u.exact, in)
		u = u.forget().Union(Users{exact: in})
		if len(all) <= mostRemembered {
			u.exact = all
		}
		return u, true
	default:
		return remembered(union(minus(u.exact, out), in)), true
	}
}

// minus is what of an ascending list is not in another.
func minus(a, b []uint64) []uint64 {
	if len(b) == 0 {
		return a
	}
	var out []uint64
	for _, x := range a {
		for len(b) > 0 && b[0] < x {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != x {
			out = append(out, x)
		}
	}
	return out
}

// exchange takes the rows of a table off and adds those of another; nil stays nil.
// All have users, without whom a row is none.
func (t *Table) exchange(less, more *Table) (*Table, bool) {
	if t == nil {
		return nil, true
	}
	if less == nil || more == nil {
		return nil, false
	}
	out := &Table{Keys: t.Keys, Values: make([][]string, len(t.Keys)), Counters: make([]Counters, 0, t.Len()+more.Len()), Users: make([]Users, 0, t.Len()+more.Len())}
	for k := range out.Values {
		out.Values[k] = make([]string, 0, t.Len()+more.Len())
	}
	for i, l, m := 0, 0, 0; i < t.Len() || m < more.Len(); {
		// The next row of the change, less or more; of two equal ones both.
		changed, row := less, l
		if l == less.Len() || m < more.Len() && compareRows(more, m, less, l) < 0 {
			changed, row = more, m
		}
		order := -1
		switch {
		case row == changed.Len():
		case i == t.Len():
			order = 1
		default:
			order = compareRows(t, i, changed, row)
		}
		if order < 0 {
			out.take(t, i, &t.Counters[i], t.Users[i])
			i++
			continue
		}
		var counters Counters
		var users, gone, come Users
		if order == 0 {
			counters, users = t.Counters[i], t.Users[i]
			i++
		}
		of, at := changed, row
		if l < less.Len() && compareRows(less, l, of, at) == 0 {
			counters.exchange(&less.Counters[l], &Counters{})
			gone = less.Users[l]
			l++
		}
		if m < more.Len() && compareRows(more, m, of, at) == 0 {
			counters.exchange(&Counters{}, &more.Counters[m])
			come = more.Users[m]
			m++
		}
		set, ok := users.exchange(gone, come)
		if !ok {
			return nil, false
		}
		if set.size() > 0 {
			out.take(of, at, &counters, set)
		}
	}
	return out, true
}

// take appends a row of another table with other numbers.
func (t *Table) take(of *Table, row int, counters *Counters, users Users) {
	for k := range t.Values {
		t.Values[k] = append(t.Values[k], of.Values[k][row])
	}
	t.Counters, t.Users = append(t.Counters, *counters), append(t.Users, users)
}

// compareRows is the order of two rows by their values.
func compareRows(a *Table, i int, b *Table, k int) int {
	for n := range a.Values {
		x, y := a.Values[n][i], b.Values[n][k]
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
	}
	return 0
}
