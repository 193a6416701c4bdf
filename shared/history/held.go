package history

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// holdings are the batches whose rows a tally holds, and the documents that these rows
// stand in, as far as was seen. A batch's rows of one hour are a unit: they are the
// same wherever they stand, and readers take them once. Busy merchants have millions
// of such units, so that of each only a hash is kept, and whether all are still there
// is told by sums over documents.
type holdings struct {
	units hashSet
	hours map[event.Hour]holding
	docs  map[docPlace]heldDoc
	round uint32 // of looking at documents
}

// holding is what is held of an hour.
type holding struct {
	sum  uint64 // of all units
	rows int
}

// docPlace names a document of a merchant.
type docPlace struct {
	batch event.BatchID
	hour  event.Hour
	rev   store.Revision
}

func placeOf(k *store.DocKey) docPlace { return docPlace{k.Batch, k.Hour, k.Revision} }

// heldDoc is a document that was looked at.
type heldDoc struct {
	sum    uint64 // of its units but for those that another one stands for
	events uint32
	round  uint32 // that met it last
}

// unit is a batch's rows of an hour.
type unit struct {
	batch event.BatchID
	hour  event.Hour
}

func (u *unit) hash() uint64 {
	var b [20]byte
	copy(b[:], u.batch[:])
	binary.LittleEndian.PutUint32(b[16:], uint32(u.hour))
	return max(1, xxh3.Hash(b[:])) // a set holds no 0
}

// summand is what a unit of so many rows adds to sums.
func summand(hash uint64, rows int) uint64 { return processed.Mix(hash ^ processed.Mix(uint64(rows))) }

func newHoldings() holdings {
	return holdings{hours: map[event.Hour]holding{}, docs: map[docPlace]heldDoc{}}
}

// size is about how much memory they take.
func (h *holdings) size() int64 {
	const perDoc = 64
	return h.units.size() + int64(len(h.docs)*perDoc)
}

// add notes the rows of a frame, which were not there before.
func (h *holdings) add(f *processed.Frame) {
	units := map[unit]int{}
	f.Rows(func(batch event.BatchID, hour event.Hour, rows int) { units[unit{batch, hour}] += rows })
	for u, rows := range units {
		hash := u.hash()
		h.units.add(hash)
		of := h.hours[u.hour]
		of.sum += summand(hash, rows)
		of.rows += rows
		h.hours[u.hour] = of
	}
}

// before is how many rows are held of the hours before one.
func (h *holdings) before(hour event.Hour) (rows int) {
	for of, held := range h.hours {
		if of < hour {
			rows += held.rows
		}
	}
	return rows
}

// look begins to look at all documents there are, but for those of hours that wait.
func (h *holdings) look(columns processed.Columns, waits waiting) *look {
	h.round++
	l := &look{holdings: h, union: processed.NewUnion(columns), met: map[uint64]uint32{}}
	for hour, held := range h.hours {
		if waits[hour] == 0 {
			l.sum += held.sum
		}
	}
	return l
}

// look finds what documents hold that a tally does not. Whoever looks takes in what
// it finds, or begins anew.
type look struct {
	*holdings
	union *processed.Union
	other bool   // something is not what it was
	sum   uint64 // of the units that are to be met
	seen  uint64 // sum of those that were met and that were there before
	// met are the units of documents that were not looked at before, with their rows:
	// they may stand in several of these.
	met map[uint64]uint32
}

// wants reports whether a document is to be looked at.
func (l *look) wants(key store.DocKey, events int) bool {
	if l.other {
		return false
	}
	place := placeOf(&key)
	d, known := l.docs[place]
	if !known {
		return true
	}
	if d.events != uint32(events) {
		l.other = true
		return false
	}
	d.round = l.round
	l.docs[place] = d
	l.seen += d.sum
	return false
}

// at looks at a document for the first time.
func (l *look) at(d store.Doc, keep processed.Keep) error {
	units := map[unit]int{}
	if d.Key.IsMerged() {
		f, err := processed.Decode(d.Data, processed.Columns{Identity: true, Actors: true})
		if err != nil {
			return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
		}
		f.Rows(func(batch event.BatchID, hour event.Hour, rows int) {
			if keep == nil || keep(batch) {
				units[unit{batch, hour}] += rows
			}
		})
	} else if keep == nil || keep(d.Key.Batch) {
		units[unit{d.Key.Batch, d.Key.Hour}] = d.Events
	}
	doc := heldDoc{events: uint32(d.Events), round: l.round}
	strange := map[event.BatchID]bool{}
	for u, rows := range units {
		hash := u.hash()
		if before, met := l.met[hash]; met {
			l.other = l.other || before != uint32(rows)
			continue // the other document stands for it
		}
		l.met[hash] = uint32(rows)
		sum := summand(hash, rows)
		doc.sum += sum
		if !l.units.has(hash) {
			strange[u.batch] = true
		} else if alone, known := l.docs[docPlace{u.batch, u.hour, d.Key.Revision}]; !known || alone.round != l.round {
			l.seen += sum
		} // else this document is about to take the place of that one, which was met, too
	}
	l.docs[placeOf(&d.Key)] = doc
	switch {
	case len(strange) == 0:
		return nil
	case !d.Key.IsMerged():
		return l.union.Add(d.Data, keep)
	}
	return l.union.Add(d.Data, func(batch event.BatchID) bool { return strange[batch] })
}

// allThere reports whether all that is held was met: then what was not met of
// documents has gone into others.
func (l *look) allThere() bool {
	if l.other || l.seen != l.sum {
		return false
	}
	for place, d := range l.docs {
		if d.round != l.round {
			delete(l.docs, place)
		}
	}
	return true
}

// hashSet is a set of hashes, of which none is 0. The zero value is empty.
type hashSet struct {
	slots []uint64
	n     int
}

func (s *hashSet) add(hash uint64) {
	if 4*s.n >= 3*len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, max(64, 2*len(old)))
		for _, h := range old {
			if h != 0 {
				s.slots[s.slot(h)] = h
			}
		}
	}
	if slot := s.slot(hash); s.slots[slot] == 0 {
		s.slots[slot] = hash
		s.n++
	}
}

func (s *hashSet) has(hash uint64) bool { return s.n > 0 && s.slots[s.slot(hash)] != 0 }

// slot is where a hash stands or would stand.
func (s *hashSet) slot(hash uint64) uint64 {
	mask := uint64(len(s.slots) - 1)
	slot := hash & mask
	for s.slots[slot] != 0 && s.slots[slot] != hash {
		slot = (slot + 1) & mask
	}
	return slot
}

func (s *hashSet) size() int64 { return int64(8 * len(s.slots)) }
