package summary

import "slices"

// Grade is how coarse the sets of a table's rows are. The more users the rows hold in
// sum, the coarser: the busiest pages of the busiest merchants keep their users this
// way, and only who needs it loses precision.
type Grade uint8

// grades are, from the finest on, up to how many users a set is exact, and the precision
// of the sketch that a larger one is: relative standard errors of 0.8, 1.6 and 3.3 %. In
// the last one a table of MaxTableRows rows is within MaxTableUsers whatever it holds.
var grades = [...]struct{ exact, precision int }{{UsersExact, finest}, {255, 12}, {127, 10}}

const coarsest = Grade(len(grades) - 1)

// sizeIn is how much of a bound a set takes in a grade. It only grows as users are added.
func (u Users) sizeIn(g Grade) int {
	if u.ranks != nil {
		return grades[g].exact + 1
	}
	return min(len(u.exact), grades[g].exact+1)
}

// in is the set in a grade, as a function of its users alone.
func (u Users) in(g Grade) Users {
	to := grades[g]
	switch {
	case u.ranks == nil && len(u.exact) <= to.exact:
		return u
	case u.ranks == nil:
		return Users{ranks: sketch(to.precision, u.exact)}
	case len(u.ranks) <= 1<<to.precision:
		return u
	}
	ranks := make([]uint8, 1<<to.precision)
	fold(ranks, u.ranks)
	return Users{ranks: ranks}
}

// bounded is a table within the bounds of a record, nil where it has too many rows. Its
// users are in the finest grade in which they are within a bound, and in none that is
// finer than its own. All sizes only grow when tables are merged, so that what is
// left out, and how coarse it is, does not depend on the order of merging.
func bounded(t *Table, mostUsers int) *Table {
	if t == nil || t.Len() > MaxTableRows {
		return nil
	}
	for t.Grade < coarsest && t.usersIn(t.Grade) > mostUsers {
		t.Grade++
	}
	if t.Grade > 0 {
		t.Users = slices.Clone(t.Users)
		for i := range t.Users {
			t.Users[i] = t.Users[i].in(t.Grade)
		}
	}
	return t
}

// usersIn is how many users the rows hold in sum, as a bound counts them.
func (t *Table) usersIn(g Grade) (sum int) {
	for _, u := range t.Users {
		sum += u.sizeIn(g)
	}
	return sum
}
