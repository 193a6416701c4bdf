package processed

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
)

// look finds the rows that pass.
func (s *Sift) look(present uint64, keep Keep) (any bool) {
	r, n := &s.r, s.r.rows
	has := func(bit int) bool { return present>>bit&1 != 0 }
	s.rows = s.rows[:0]
	s.marks = room(s.marks, n)
	clear(s.marks)

	c := bytesReader{data: r.next(true).data}
	batches := c.count(16)
	list, ids := c.take(16*batches), c.take(16*n)
	if r.done(&c); r.err == nil && batches == 0 {
		r.fail("rows of listed batches")
	}
	if r.err != nil {
		return false
	}
	s.batches = s.batches[:0]
	for ; len(list) > 0; list = list[16:] {
		s.batches = append(s.batches, event.BatchID(list[:16]))
	}
	all, none := keep.of(s.batches)
	if none {
		return false
	}
	s.hashes = room(s.hashes, n)
	for i := range s.hashes {
		hash := ID{Hi: binary.LittleEndian.Uint64(ids[16*i:]), Lo: binary.LittleEndian.Uint64(ids[16*i+8:])}.hash()
		s.hashes[i] = hash
		if s.sieve.ids.has(hash) {
			s.marks[i] = byID
		}
	}
	var dropped []bool // batches that do not count
	var of []uint32    // by row: its batch
	if c := r.nextOf(has(hasBatch), !all); !all {
		if of = extended(s.codes[:0], n); has(hasBatch) && r.err == nil {
			narrowInto(r, c, of)
		}
		if s.codes = of; r.err == nil && !below(of, batches) {
			r.fail("rows of listed batches")
		}
		dropped = make([]bool, len(s.batches))
		for i, b := range s.batches {
			dropped[i] = !keep(b)
		}
	}
	r.nextOf(has(hasSeq), false)
	r.nextOf(has(hasMillis), false)
	some := s.lookAtClients(has(hasUser), has(hasClient))
	r.nextOf(has(hasSession), false)
	if c := r.nextOf(has(hasFlags), some); some && has(hasFlags) {
		s.lookAtFlags(c)
	}
	r.nextOf(has(hasEngaged), false)
	r.nextOf(has(hasValue), false)
	if has(hasText + int(ColTransactionID)) {
		for text := range ColTransactionID {
			r.nextOf(has(hasText+int(text)), false)
		}
		s.lookAtTransactions(r.next(true))
	}
	if r.err != nil {
		return false
	}
	for i, mark := range s.marks {
		switch {
		case dropped != nil && dropped[of[i]]:
		case mark != 0:
			s.rows = append(s.rows, uint32(i))
		case !s.skipped.more:
			if len(s.skipped.chunk) == cap(s.skipped.chunk) {
				s.skipped.grow()
			}
			s.skipped.chunk = append(s.skipped.chunk, s.hashes[i])
		}
	}
	return true
}

// lookAtClients marks the rows whose clients pass, and reports whether there are any.
func (s *Sift) lookAtClients(users, clients bool) (some bool) {
	r := &s.r
	at := r.body
	r.nextOf(users, false)
	c := r.nextOf(clients, true)
	if clients && c.encoding == hashSame && r.err == nil {
		after := r.body
		r.body = at
		if c = r.nextOf(users, true); users && c.encoding == hashSame {
			r.fail("a column that is no repetition")
		}
		clients, r.body = users, after
	}
	if r.err != nil {
		return false
	}
	passes := s.sieve.clients
	if !clients {
		return s.mark(byClient, passes.has(Mix(0)))
	}
	b := bytesReader{data: c.data}
	switch c.encoding {
	case hashConst:
		some = s.mark(byClient, passes.has(Mix(b.uint64())))
	case hashRaw:
		raw := b.take(8 * len(s.marks))
		for i := range len(raw) / 8 {
			if passes.has(Mix(binary.LittleEndian.Uint64(raw[8*i:]))) {
				s.marks[i] |= byClient
				some = true
			}
		}
	case hashDict:
		n := b.count(8)
		raw := b.take(8 * n)
		if n == 0 || b.short {
			r.fail("hashes in a dictionary")
			return false
		}
		s.hits = room(s.hits, n)
		for k := range s.hits {
			s.hits[k] = passes.has(Mix(binary.LittleEndian.Uint64(raw[8*k:])))
			some = some || s.hits[k]
		}
		if !some {
			return false
		}
		for i, code := range r.codes(&b, len(s.marks), uint(bits.Len(uint(n-1))), n) {
			if s.hits[code] {
				s.marks[i] |= byClient
			}
		}
	}
	r.done(&b)
	return some
}

// mark marks all rows, if they are to be.
func (s *Sift) mark(why uint8, passes bool) bool {
	if passes {
		for i := range s.marks {
			s.marks[i] |= why
		}
	}
	return passes
}

// lookAtFlags takes the mark of clients off rows whose client tells nothing.
func (s *Sift) lookAtFlags(c column) {
	if s.sieve.drops == 0 || s.r.err != nil {
		return
	}
	s.flags = room(s.flags, len(s.marks))
	narrowInto(&s.r, c, s.flags)
	for i, flags := range s.flags {
		if flags&s.sieve.drops != 0 {
			s.marks[i] &^= byClient
		}
	}
}

// lookAtTransactions marks the rows whose transactions pass.
func (s *Sift) lookAtTransactions(c column) {
	r, passes := &s.r, s.sieve.transactions
	if r.err != nil {
		return
	}
	if c.encoding == textConst {
		s.mark(byID, passes.has(xxh3.Hash(c.data)))
		return
	}
	t := r.texts(c, len(s.marks), &s.starts)
	if r.err != nil {
		return
	}
	s.hits = room(s.hits, len(s.starts))
	s.hits[0] = false
	any := false
	for k := 1; k < len(s.starts); k++ {
		s.hits[k] = passes.has(xxh3.Hash(t.text(uint32(k))))
		any = any || s.hits[k]
	}
	if !any {
		return
	}
	for i := range s.marks {
		if code := t.code(uint32(i)); int(code) >= len(s.hits) {
			r.fail("codes within the dictionary")
			return
		} else if s.hits[code] {
			s.marks[i] |= byID
		}
	}
}

// nextOf is next of a column that may not be there.
func (r *reader) nextOf(present, wanted bool) column {
	if !present {
		return column{}
	}
	return r.next(wanted)
}
