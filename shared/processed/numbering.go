package processed

import "hash/maphash"

// numbering numbers keys, from 0. The zero value is ready.
type numbering[K comparable] struct {
	keys  []K
	slots []uint32 // open addressing: number plus one
}

// number is that of a key, the next one where it is new.
func (n *numbering[K]) number(key K) uint32 {
	if 2*len(n.keys) >= len(n.slots) {
		n.slots = make([]uint32, max(16, 2*len(n.slots)))
		for i, k := range n.keys {
			n.slots[n.slot(k)] = uint32(i) + 1
		}
	}
	slot := n.slot(key)
	if n.slots[slot] == 0 {
		n.keys = append(n.keys, key)
		n.slots[slot] = uint32(len(n.keys))
	}
	return n.slots[slot] - 1
}

func (n *numbering[K]) find(key K) (number uint32, ok bool) {
	if len(n.slots) == 0 {
		return 0, false
	}
	number = n.slots[n.slot(key)]
	return number - 1, number != 0
}

// slot is where a key stands or would stand.
func (n *numbering[K]) slot(key K) uint64 {
	mask := uint64(len(n.slots) - 1)
	slot := maphash.Comparable(seed, key) & mask
	for n.slots[slot] != 0 && n.keys[n.slots[slot]-1] != key {
		slot = (slot + 1) & mask
	}
	return slot
}

var seed = maphash.MakeSeed()

// size is about how much memory it takes.
func (n *numbering[K]) size(perKey int64) int64 {
	return int64(cap(n.keys))*perKey + int64(len(n.slots))*4
}
