package summary

import "slices"

// relation is a set of a tally's rows that no other row is near to: all that share
// a session, an event id or a transaction with one of them are among them.
type relation struct {
	*Tally
	rows []uint32
	seen map[uint32]seen // by row
	full map[uint64]bool // users all of whose rows are among them
}

// seen is what of a row is among the rows of a relation.
type seen uint8

const (
	itself  seen = 1 << iota
	sharing      // bits from here on: those that share one of the kinds of things with it
)

// related are the rows that have to do with the seeds.
func (t *Tally) related(seeds []uint32) *relation {
	r := &relation{Tally: t, rows: make([]uint32, 0, 2*len(seeds)), seen: make(map[uint32]seen, 2*len(seeds)), full: map[uint64]bool{}}
	for _, row := range seeds {
		r.meet(row)
	}
	return r
}

// meet takes in a row and all that have to do with it.
func (r *relation) meet(row uint32) {
	from := len(r.rows)
	add := func(row uint32, what seen) {
		if r.seen[row]&itself == 0 {
			r.rows = append(r.rows, row)
		}
		r.seen[row] |= itself | what
	}
	for add(row, 0); from < len(r.rows); from++ {
		row := r.rows[from]
		for kind := range kinds {
			// Whoever was met as one of many need not look for the others again.
			if what := sharing << kind; r.seen[row]&what == 0 {
				r.index.eachNear(kind, row, func(other uint32) { add(other, what) })
			}
		}
	}
}

// widen takes in all rows of users; more says whether that were any.
func (r *relation) widen(users []uint64) (more bool) {
	n := len(r.rows)
	for _, user := range users {
		r.full[user] = true
		r.index.eachOf(&r.stack, user, r.meet)
	}
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
