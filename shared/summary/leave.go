package summary

import (
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// Leave goes on with a UTC hour and those after it, and counts no others, whose records it
// gives out as they are. Of rows before the UTC hour in which the first counted one begins it
// keeps those that have to do with a later one. fn is called for all of them, some at a time,
// with what says which stay.
func (t *Tally) Leave(h event.Hour, fn func(f *processed.Frame, stays func(row int) bool)) (left map[int64]*Record) {
	first := t.clock(h)[0].From
	from := hourOf(first)
	left = map[int64]*Record{}
	for at, hour := range t.hours {
		if at < first {
			left[at] = hour.out
			delete(t.hours, at)
		}
	}
	before := Of(from, from+1).From
	stay := t.related(t.reaching(before))
	var stack processed.Stack
	var kept, gone []uint32
	move := func(least int) {
		if len(kept) > least {
			stack.Append(t.stack.Select(kept))
			kept = kept[:0]
		}
		if len(gone) > least {
			fn(t.stack.Select(gone), func(row int) bool { return stay.seen[gone[row]] != 0 })
			gone = gone[:0]
		}
	}
	const atOnce = 1 << 14
	for row := range uint32(t.Rows()) {
		goes := t.stack.Millis(row) < before
		if !goes || stay.seen[row] != 0 {
			kept = append(kept, row)
		}
		if goes {
			gone = append(gone, row)
		}
		move(atOnce)
	}
	move(0)
	t.stack, t.index = stack, newRowIndex()
	t.index.grow(&t.stack)
	t.forget(first)
	return left
}

// reaching are the rows before an instant that share something with one that is not.
func (t *Tally) reaching(instant int64) (rows []uint32) {
	later := make([]bool, len(t.index.sessions.any)) // by session
	for row := range uint32(t.Rows()) {
		if t.stack.Millis(row) >= instant {
			later[t.stack.Session(row)] = true
		}
	}
	for row := range uint32(t.Rows()) {
		if t.stack.Millis(row) < instant && later[t.stack.Session(row)] {
			rows = append(rows, row)
		}
	}
	for _, k := range []knots{t.index.sameID, t.index.sameOrder} {
		for row := range k {
			reaches := false
			if t.stack.Millis(row) < instant {
				k.each(row, func(other uint32) { reaches = reaches || t.stack.Millis(other) >= instant })
			}
			if reaches {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// forget drops what is known of users of whom nothing is held, and who was new before an
// instant.
func (t *Tally) forget(before int64) {
	buyers := map[uint64]bool{}
	for _, user := range t.stack.Users() {
		if _, known := t.first[Buyer(user)]; known {
			buyers[Buyer(user)] = true
		}
	}
	for name, at := range t.first {
		_, held := t.stack.UserNumber(name)
		if held = held || buyers[name]; !held {
			delete(t.first, name)
		}
		if !held || at < before {
			delete(t.fresh, name)
		}
	}
}
