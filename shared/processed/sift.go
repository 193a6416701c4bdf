package processed

import (
	"slices"

	"github.com/footfall/footfall/shared/event"
)

// Sift reads from many documents the rows that pass a sieve. Of a document it looks
// at what the sieve asks for, and only of rows that pass at anything else; no
// document is held. It is for one goroutine and one frame.
//
// A batch's rows of one UTC hour count once, as in Union.
type Sift struct {
	sieve   *Sieve
	out     Union // whose frame grows
	skipped skipped

	r       reader // its scratch serves all documents
	body    []byte // an unpacked document
	batches []event.BatchID
	hashes  []uint64 // by row: of its id
	marks   []uint8  // by row: why it passes
	rows    []uint32 // those that pass
	codes   []uint32
	flags   []uint8
	hits    []bool
	starts  []uint32
	wide    []int64
}

// Why a row passes.
const (
	byID uint8 = 1 << iota
	byClient
)

// NewSift makes a sift of the selected columns. Identity and Actors are always
// among them.
func NewSift(columns Columns, sieve *Sieve) *Sift {
	s := &Sift{sieve: sieve, out: *NewUnion(columns)}
	s.out.f = &Frame{}
	return s
}

// Len is the number of rows that have passed, with those that Frame may drop.
func (s *Sift) Len() int { return s.out.f.Len }

// Add adds a document but for rows of batches that do not count. any is false
// where it has no others. Bytes that Encode did not write give an Invalid error,
// where they are looked at.
func (s *Sift) Add(data []byte, keep Keep) (any bool, err error) {
	r := &s.r
	present := r.open(data, &s.body)
	if r.err != nil || r.rows == 0 {
		return false, r.err
	}
	body := r.body
	any = s.look(present, keep)
	if r.err == nil && len(s.rows) > 0 {
		r.body = body
		s.pick(present)
	}
	return any, r.err
}

// Skipped reports whether a row that did not pass may have one of some ids.
func (s *Sift) Skipped(ids []ID) bool { return s.skipped.any(ids) }

// Frame is the rows that have passed; it is called once.
func (s *Sift) Frame() *Frame {
	u := &s.out
	u.rows = u.f.Len
	u.finish()
	u.f.settle(u.parts)
	return u.f
}

// room is a slice of n elements, in the place of another where it is long enough.
func room[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// extended is a slice with n more elements, which are zero.
func extended[T any](s []T, n int) []T {
	start := len(s)
	s = slices.Grow(s, n)[:start+n]
	clear(s[start:])
	return s
}

// skipped holds hashes of the ids of rows that did not pass, as long as they are
// not too many.
type skipped struct {
	chunks [][]uint64
	chunk  []uint64 // the one that is filled
	more   bool     // than are held
}

const (
	// skippedChunk is how many hashes are taken memory for at once.
	skippedChunk = 1 << 13
	// mostSkipped bounds the hashes, which take 32 MB then: where there are more,
	// any id may have been skipped.
	mostSkipped = 1 << 22
)

// grow makes room for a hash.
func (s *skipped) grow() {
	if s.chunk != nil {
		s.chunks = append(s.chunks, s.chunk)
	}
	s.chunk = nil
	if s.more = len(s.chunks) == mostSkipped/skippedChunk; !s.more {
		s.chunk = make([]uint64, 0, skippedChunk)
	}
}

func (s *skipped) any(ids []ID) bool {
	if len(ids) == 0 || s.more {
		return len(ids) > 0
	}
	near, asked := newBitmap(len(ids)), make(map[uint64]bool, len(ids))
	for _, id := range ids {
		near.add(id.hash())
		asked[id.hash()] = true
	}
	for _, chunk := range append(s.chunks, s.chunk) {
		for _, hash := range chunk {
			if near.has(hash) && asked[hash] {
				return true
			}
		}
	}
	return false
}
