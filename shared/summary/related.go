package summary

import "slices"

// relation is a set of a tally's rows that no other row is near to: all that share
// a session, an event id or a transaction with one of them are among them.
type relation struct {
	*Tally
	rows     []uint32
	followed int             // of rows: those whose near ones are among them
	full     map[uint64]bool // users all of whose rows are among them
}

// related are the rows that have to do with the seeds.
func (t *Tally) related(seeds []uint32) *relation {
	r := &relation{Tally: t, rows: make([]uint32, 0, 2*len(seeds)), full: map[uint64]bool{}}
	r.restart(seeds)
	return r
}

// restart marks the rows anew, where the tally's marks were used for others.
func (r *relation) restart(rows []uint32) {
	r.round++
	r.rows, r.followed = r.rows[:0], 0
	for _, row := range rows {
		r.meet(row)
	}
	r.follow()
}

func (r *relation) meet(row uint32) {
	if r.met[row].round != r.round {
		r.met[row] = met{round: r.round}
		r.rows = append(r.rows, row)
	}
}

func (r *relation) follow() {
	for ; r.followed < len(r.rows); r.followed++ {
		row := r.rows[r.followed]
		for k := range numNear {
			next := r.indexes[k].next
			if next[row] == row || r.met[row].indexes>>k&1 != 0 {
				continue
			}
			for other := next[row]; other != row; other = next[other] {
				r.meet(other)
				r.met[other].indexes |= 1 << k
			}
		}
	}
}

// widen takes in all rows of users; more says whether that were any.
func (r *relation) widen(users []uint64) (more bool) {
	n := len(r.rows)
	byUser := &r.indexes[indexUser]
	for _, user := range users {
		r.full[user] = true
		first, ok := byUser.any(r.stack.Frame(), user, 0)
		if !ok {
			continue
		}
		r.meet(first)
		for row := byUser.next[first]; row != first; row = byUser.next[row] {
			r.meet(row)
		}
	}
	r.follow()
	return len(r.rows) > n
}

// before are the rows before end, in order.
func (r *relation) before(end uint32) []uint32 {
	slices.Sort(r.rows)
	n, _ := slices.BinarySearch(r.rows, end)
	return r.rows[:n]
}

// knows reports whether the tally knows when a user, or a buyer, was first seen and
// the rows need not tell: some of the user's may not be among them, and none of
// those that are is the first one.
func (r *relation) knows(name, user uint64) bool {
	_, known := r.first[name]
	return known && !r.full[user]
}

// inQuestion are the users of facts of the rows who may be seen first in one of them,
// and of whom others may be seen nowhere else any more.
func (r *relation) inQuestion(facts ...*Facts) (users []uint64) {
	for _, f := range facts {
		names, millis := f.Firsts()
		for i, name := range names {
			if user := f.whose(i); r.knows(name, user) && millis[i] <= r.first[name] {
				users = append(users, user)
			}
		}
	}
	return users
}

// tell tells facts of the rows when their users were first seen, and lists the hours
// in which users cease to be new, as Reopened does.
func (r *relation) tell(f *Facts, firstSeen FirstSeen) (names []uint64, told []int64, err error) {
	names, _ = f.Firsts()
	told = make([]int64, len(names))
	var ask []uint64
	var places []int
	for i, name := range names {
		if r.knows(name, f.whose(i)) {
			told[i] = r.first[name]
			continue
		}
		ask, places = append(ask, name), append(places, i)
	}
	stored, err := firstSeen(ask)
	if err != nil {
		return nil, nil, err
	}
	for k, i := range places {
		told[i] = stored[k]
	}
	return names, told, nil
}
