package embedded

import (
	"bytes"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/event"
)

// young holds the rows that were written lately, as they are stored. A batch's
// row is asked for when it is appended and at each of its marks, nearly always
// within the second; and that a new batch has no row yet, which the database
// finds out by a look into each of its tables, follows from its id: ids grow
// with time, so that one above all that are not held has none.
//
// Writers of a row have the stripe of its batch. young may forget, but must
// never say what the database does not.
type young struct {
	mu sync.Mutex
	// above it, a batch that is not held has no row
	floor event.BatchID
	// rows of now are joined by others until they are too large; then they are
	// what was before, and that is forgotten
	now, before map[event.BatchID][]byte
	bytes       int // of now
	limit       int // of bytes
}

// maxYoung bounds the bytes of now, and so half of all: some seconds' rows.
const maxYoung = 1 << 20

// youngRow is a row as it is about to be written.
type youngRow struct {
	id   event.BatchID
	data []byte
}

// openYoung finds the newest batch that has a row.
func openYoung(e *engine) (*young, error) {
	y := &young{now: make(map[event.BatchID][]byte), limit: maxYoung}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableRow}, UpperBound: []byte{tableRow + 1}})
	if err != nil {
		return nil, err
	}
	if it.Last() {
		copy(y.floor[:], it.Key()[1:])
	}
	return y, finish(it, nil)
}

// find returns a batch's row, nil where it has none; known is false where only
// the database can tell.
func (y *young) find(id event.BatchID) (data []byte, known bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if data, known = y.now[id]; known {
		return data, true
	}
	if data, known = y.before[id]; known {
		return data, true
	}
	return nil, bytes.Compare(id[:], y.floor[:]) > 0
}

// put takes rows that are about to be written; doubt must follow where they
// cannot be.
func (y *young) put(rows []youngRow) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, r := range rows {
		y.bytes += len(r.id) + len(r.data) - len(y.now[r.id])
		y.now[r.id] = r.data
	}
	if y.bytes < y.limit {
		return
	}
	for id := range y.before {
		if _, renewed := y.now[id]; !renewed {
			y.raise(id)
		}
	}
	y.now, y.before, y.bytes = make(map[event.BatchID][]byte, len(y.now)), y.now, 0
}

// doubt forgets batches of which nobody knows what the database has.
func (y *young) doubt(rows []youngRow) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, r := range rows {
		delete(y.now, r.id)
		delete(y.before, r.id)
		y.raise(r.id)
	}
}

func (y *young) raise(id event.BatchID) {
	if bytes.Compare(id[:], y.floor[:]) > 0 {
		y.floor = id
	}
}
