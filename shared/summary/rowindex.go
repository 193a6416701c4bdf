package summary

import "github.com/footfall/footfall/shared/processed"

// rings brings rows together that have a number in common, from 0.
type rings struct {
	any  []uint32 // by number: one of its rows plus one
	next []uint32 // by row: another one, round to the first
}

// add takes in the next row.
func (x *rings) add(number uint32) {
	row := uint32(len(x.next))
	x.next = append(x.next, row)
	for int(number) >= len(x.any) {
		x.any = append(x.any, 0)
	}
	if other := x.any[number]; other != 0 {
		x.next[row], x.next[other-1] = x.next[other-1], row
		return
	}
	x.any[number] = row + 1
}

// each calls fn with the other rows that have the row's number.
func (x *rings) each(row uint32, fn func(uint32)) {
	for other := x.next[row]; other != row; other = x.next[other] {
		fn(other)
	}
}

// knots does what rings does where nearly every row has something else: it takes
// memory for those that have not.
type knots map[uint32]uint32 // by row: another one, round to the first; without one for itself

func (k knots) join(row, other uint32) {
	next, some := k[other]
	if !some {
		next = other
	}
	k[other], k[row] = row, next
}

func (k knots) each(row uint32, fn func(uint32)) {
	if next, some := k[row]; some {
		for ; next != row; next = k[next] {
			fn(next)
		}
	}
}

// rowIndex finds the rows of a growing stack that share something. Rows that share a
// session, an event id or a transaction in a stream are near: what one of them counts
// for may depend on the other. Those of a user are looked at where it is to be told
// whether the user is new.
type rowIndex struct {
	sessions, users rings
	ids             []uint32 // open addressing: one of an id's rows plus one
	distinct        int      // ids
	orders          map[order]uint32
	sameID          knots
	sameOrder       knots
}

// order is a transaction in a stream, by codes.
type order struct{ id, stream uint32 }

func newRowIndex() rowIndex {
	return rowIndex{orders: map[order]uint32{}, sameID: knots{}, sameOrder: knots{}}
}

// grow takes in the rows that are not yet there.
func (x *rowIndex) grow(s *processed.Stack) {
	for row := uint32(len(x.users.next)); int(row) < s.Len(); row++ {
		x.sessions.add(s.Session(row))
		x.users.add(s.User(row))
		if 2*x.distinct >= len(x.ids) {
			x.widen(s)
		}
		slot := x.slot(s, s.ID(row))
		if other := x.ids[slot]; other != 0 {
			x.sameID.join(row, other-1)
		} else {
			x.ids[slot] = row + 1
			x.distinct++
		}
		id := s.Code(processed.ColTransactionID, row)
		if id == 0 {
			continue
		}
		key := order{id, s.Code(processed.ColStream, row)}
		if other, met := x.orders[key]; met {
			x.sameOrder.join(row, other)
		} else {
			x.orders[key] = row
		}
	}
}

func (x *rowIndex) widen(s *processed.Stack) {
	old := x.ids
	x.ids = make([]uint32, max(64, 2*len(old)))
	for _, one := range old {
		if one != 0 {
			x.ids[x.slot(s, s.ID(one-1))] = one
		}
	}
}

// slot is where a row of an id stands or would stand.
func (x *rowIndex) slot(s *processed.Stack, id processed.ID) uint64 {
	mask := uint64(len(x.ids) - 1)
	slot := mix(id.Hi^id.Lo) & mask
	for ; x.ids[slot] != 0; slot = (slot + 1) & mask {
		if s.ID(x.ids[slot]-1) == id {
			break
		}
	}
	return slot
}

// kinds is how many kinds of things make rows near that share one.
const kinds = 3

// eachNear calls fn with the other rows that share a thing of a kind with a row.
func (x *rowIndex) eachNear(kind int, row uint32, fn func(uint32)) {
	switch kind {
	case 0:
		x.sessions.each(row, fn)
	case 1:
		x.sameID.each(row, fn)
	default:
		x.sameOrder.each(row, fn)
	}
}

// eachOf calls fn with the rows of a user.
func (x *rowIndex) eachOf(s *processed.Stack, user uint64, fn func(uint32)) {
	if number, ok := s.UserNumber(user); ok {
		row := x.users.any[number] - 1
		fn(row)
		x.users.each(row, fn)
	}
}

// size is about how much memory it takes.
func (x *rowIndex) size() int64 {
	const perKnot, perOrder = 20, 40
	return int64(4*(cap(x.sessions.any)+cap(x.sessions.next)+cap(x.users.any)+cap(x.users.next)+len(x.ids)) +
		perKnot*(len(x.sameID)+len(x.sameOrder)) + perOrder*len(x.orders))
}
