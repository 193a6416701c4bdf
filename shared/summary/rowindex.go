package summary

import "github.com/footfall/footfall/shared/processed"

// The things that rows share. Rows that share one of the first ones are near: what
// one of them counts for may depend on the other. Those of a user are looked at where
// it is to be told whether the user is new.
const (
	indexSession = iota
	indexID
	indexOrder
	indexUser
	numIndexes
	numNear = indexUser
)

func newIndexes() (all [numIndexes]rowIndex) {
	all[indexSession].key = func(f *processed.Frame, row uint32) (uint64, uint64, bool) {
		return f.Client[row], f.Session[row], true
	}
	all[indexUser].key = func(f *processed.Frame, row uint32) (uint64, uint64, bool) { return f.User[row], 0, true }
	all[indexID].key = func(f *processed.Frame, row uint32) (uint64, uint64, bool) {
		return f.EventID[row].Hi, f.EventID[row].Lo, true
	}
	all[indexOrder].key = func(f *processed.Frame, row uint32) (uint64, uint64, bool) {
		if !has(f.Text[processed.ColTransactionID].Code, row) {
			return 0, 0, false
		}
		var stream uint32
		if codes := f.Text[processed.ColStream].Code; codes != nil {
			stream = codes[row]
		}
		return uint64(f.Text[processed.ColTransactionID].Code[row]), uint64(stream), true
	}
	return all
}

// rowIndex brings the rows of a growing frame together that have a key in common.
type rowIndex struct {
	key   func(f *processed.Frame, row uint32) (a, b uint64, has bool)
	slots []uint32 // open addressing: one of the key's rows plus one
	next  []uint32 // by row: the next one in a ring of the key's rows
	rings int
}

// grow takes in the rows from start on.
func (x *rowIndex) grow(f *processed.Frame, start int) {
	for row := uint32(start); row < uint32(f.Len); row++ {
		x.next = append(x.next, row)
		a, b, has := x.key(f, row)
		if !has {
			continue
		}
		if 2*x.rings >= len(x.slots) {
			x.widen(f)
		}
		slot := x.slot(f, a, b)
		if x.slots[slot] == 0 {
			x.slots[slot] = row + 1
			x.rings++
			continue
		}
		other := x.slots[slot] - 1
		x.next[row], x.next[other] = x.next[other], row
	}
}

func (x *rowIndex) widen(f *processed.Frame) {
	old := x.slots
	x.slots = make([]uint32, max(64, 2*len(old)))
	for _, one := range old {
		if one != 0 {
			a, b, _ := x.key(f, one-1)
			x.slots[x.slot(f, a, b)] = one
		}
	}
}

// slot is where a row of a key stands or would stand.
func (x *rowIndex) slot(f *processed.Frame, a, b uint64) uint64 {
	mask := uint64(len(x.slots) - 1)
	slot := mix(a+b*0x9e3779b97f4a7c15) & mask
	for ; x.slots[slot] != 0; slot = (slot + 1) & mask {
		if c, d, _ := x.key(f, x.slots[slot]-1); c == a && d == b {
			break
		}
	}
	return slot
}

// any is a row of a key; ok is false where there is none.
func (x *rowIndex) any(f *processed.Frame, a, b uint64) (row uint32, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	one := x.slots[x.slot(f, a, b)]
	return one - 1, one != 0
}
