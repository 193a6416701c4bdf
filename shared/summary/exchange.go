package summary

import "slices"

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

// leaving is what sets ask about users who leave them. A set that does not know its
// users has of each register only who stands highest in it: where one is taken out who
// may be that, the next one is needed. It is asked about in two rounds: the first one
// lists the registers, and the second one is given those who are left of them.
type leaving struct {
	left bool // whoever is left is given
	from registerSet
}

// registerSet is a set of registers of sketches.
type registerSet struct {
	bits [registers / 64]uint64
	some bool
}

func (s *registerSet) add(register uint64) {
	s.bits[register>>6] |= 1 << (register & 63)
	s.some = true
}

// has reports whether a user falls into one of the registers.
func (s *registerSet) has(user uint64) bool {
	register, _ := standing(userHash(user), finest)
	return s.bits[register>>6]>>(register&63)&1 != 0
}

// exchange takes users out and puts others in. No user that is taken out may be there
// for another reason. rest are those of the set, when that is done, who fall into the
// registers that are asked about, in the second round. false: that cannot be told.
func (u Users) exchange(less, more, rest Users, asked *leaving) (Users, bool) {
	if !less.remembers() || !more.remembers() || !rest.remembers() {
		return u, false
	}
	out, in := minus(less.exact, more.exact), minus(more.exact, less.exact)
	switch {
	case len(out) == 0 && len(in) == 0:
		return u, true
	case !u.remembers():
		return u.Union(Users{exact: in}).without(out, rest, asked)
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

// fewest is how many users a sketch must seem to hold so that some may be taken out: of
// one that comes near to UsersExact it could not be told that it is no sketch any more.
const fewest = 4 * UsersExact

// without takes users out of a sketch.
func (u Users) without(out []uint64, rest Users, asked *leaving) (Users, bool) {
	if len(out) == 0 {
		return u, true
	}
	if u.Estimate() < fewest {
		return u, false
	}
	ranks := u.ranks
	for _, hash := range out {
		register, rank := standing(hash, finest)
		switch {
		case rank < u.ranks[register]: // somebody else stands higher
		case !asked.left:
			asked.from.add(register)
		default:
			if &ranks[0] == &u.ranks[0] {
				ranks = slices.Clone(ranks)
			}
			ranks[register] = 0
		}
	}
	if &ranks[0] != &u.ranks[0] {
		insert(ranks, rest.exact)
	}
	return Users{ranks: ranks}, true
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
// All have users, without whom a row is none. rest are the rows of those who are left,
// where that is known.
func (t *Table) exchange(less, more, rest *Table, asked *leaving) (*Table, bool) {
	if t == nil {
		return nil, true
	}
	if less == nil || more == nil || rest == nil && asked.left {
		return nil, false
	}
	out := &Table{Keys: t.Keys, Values: make([][]string, len(t.Keys)), Counters: make([]Counters, 0, t.Len()+more.Len()), Users: make([]Users, 0, t.Len()+more.Len())}
	for k := range out.Values {
		out.Values[k] = make([]string, 0, t.Len()+more.Len())
	}
	for i, l, m, r := 0, 0, 0, 0; i < t.Len() || m < more.Len(); {
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
		var left Users
		if asked.left {
			for r < rest.Len() && compareRows(rest, r, of, at) < 0 {
				r++
			}
			if r < rest.Len() && compareRows(rest, r, of, at) == 0 {
				left = rest.Users[r]
			}
		}
		set, ok := users.exchange(gone, come, left, asked)
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
