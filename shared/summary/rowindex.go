package summary

import "github.com/footfall/footfall/shared/processed"

// The things that rows share.
const (
	indexClient = iota
	indexUser
	indexID
	indexOrder
	numIndexes
)

func newIndexes() (all [numIndexes]rowIndex) {
	all[indexClient].key = func(f *processed.Frame, row uint32) (uint64, uint64, bool) { return f.Client[row], 0, true }
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

// rowIndex lists the rows of a growing frame by a key.
type rowIndex struct {
	key   func(f *processed.Frame, row uint32) (a, b uint64, has bool)
	slots []uint32 // open addressing: the list's first row plus one
	next  []uint32 // by row: the list's next row plus one
	lists int
}

// grow takes in the rows from start on.
func (x *rowIndex) grow(f *processed.Frame, start int) {
	x.next = append(x.next, make([]uint32, f.Len-start)...)
	for row := start; row < f.Len; row++ {
		a, b, has := x.key(f, uint32(row))
		if !has {
			continue
		}
		if 2*x.lists >= len(x.slots) {
			x.widen(f)
		}
		slot := x.slot(f, a, b)
		if x.slots[slot] == 0 {
			x.lists++
		}
		x.next[row], x.slots[slot] = x.slots[slot], uint32(row)+1
	}
}

func (x *rowIndex) widen(f *processed.Frame) {
	old := x.slots
	x.slots = make([]uint32, max(64, 2*len(old)))
	for _, head := range old {
		if head != 0 {
			a, b, _ := x.key(f, head-1)
			x.slots[x.slot(f, a, b)] = head
		}
	}
}

// slot is where the list of a key stands or would stand.
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

// head is the first row of a key's list, plus one; 0 where there is none.
func (x *rowIndex) head(f *processed.Frame, a, b uint64) uint32 {
	if len(x.slots) == 0 {
		return 0
	}
	return x.slots[x.slot(f, a, b)]
}

// each calls fn with the rows of a key.
func (x *rowIndex) each(f *processed.Frame, a, b uint64, fn func(row uint32)) {
	for row := x.head(f, a, b); row != 0; row = x.next[row-1] {
		fn(row - 1)
	}
}
