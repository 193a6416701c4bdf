package embedded

import (
	"bytes"
	"sync"

	"github.com/footfall/footfall/shared/event"
)

// position orders batches by arrival, then id: the tail of an index key.
type position [24]byte

func positionOf(receivedMicros int64, id event.BatchID) position {
	var p position
	b := appendInt64(p[:0], receivedMicros)
	copy(p[:], append(b, id[:]...))
	return p
}

func (p position) before(o position) bool { return bytes.Compare(p[:], o[:]) < 0 }

// endOfTime is after every position that a batch can have in practice.
var endOfTime = position(bytes.Repeat([]byte{0xff}, 24))

// floor knows a position before which no unprocessed batch stands, so that
// the watermark is found without stepping over the traces of all that were
// processed since the last compaction.
type floor struct {
	mu      sync.Mutex
	at      position
	writing map[*position]struct{} // being written, not visible yet
	raising bool
	since   position // the lowest one written while a reader looks
}

// enter tells of a batch that is about to be written; leave that it is
// visible. Both only touch memory.
func (f *floor) enter(p position) *position {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.before(f.at) {
		f.at = p
	}
	if p.before(f.since) {
		f.since = p
	}
	if f.writing == nil {
		f.writing = make(map[*position]struct{})
	}
	f.writing[&p] = struct{}{}
	return &p
}

func (f *floor) leave(p *position) {
	f.mu.Lock()
	delete(f.writing, p)
	f.mu.Unlock()
}

// look returns where to look from, and whether this reader is the one that
// may raise the floor with what it finds; if so it must call raise.
func (f *floor) look() (from position, may bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raising {
		return f.at, false
	}
	f.raising = true
	f.since = endOfTime
	for p := range f.writing {
		if p.before(f.since) {
			f.since = *p
		}
	}
	return f.at, true
}

// raise lifts the floor to what was found, or to what was written meanwhile.
func (f *floor) raise(found position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.raising = false
	if f.since.before(found) {
		found = f.since
	}
	f.at = found
}
