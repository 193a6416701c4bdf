package processed

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/zeebo/xxh3"

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
	if u.f.Len == 0 || u.ordered() {
		return u.f
	}
	m := merger{frames: []*Frame{u.f}}
	m.planParts(u.parts)
	if m.whole() {
		return u.f
	}
	return m.merge()
}

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
		return s.mark(byClient, passes.has(mix(0)))
	}
	b := bytesReader{data: c.data}
	switch c.encoding {
	case hashConst:
		some = s.mark(byClient, passes.has(mix(b.uint64())))
	case hashRaw:
		raw := b.take(8 * len(s.marks))
		for i := range len(raw) / 8 {
			if passes.has(mix(binary.LittleEndian.Uint64(raw[8*i:]))) {
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
			s.hits[k] = passes.has(mix(binary.LittleEndian.Uint64(raw[8*k:])))
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

// texts is a text column in which single rows are looked up.
type texts struct {
	starts []uint32 // of each text, by code; the first two are of the first text
	all    []byte
	packed []byte
	width  uint
	first  uint32 // the code of 0
}

// texts reads the head of a column of n rows that is no constant. starts is room.
func (r *reader) texts(c column, n int, starts *[]uint32) (t texts) {
	b := bytesReader{data: c.data}
	count := b.count(1)
	if b.short || count == 0 || c.encoding > textFull {
		r.fail("texts in a dictionary")
		return t
	}
	*starts = append((*starts)[:0], 0)
	total := 0
	for range count {
		length := b.uvarint()
		if length > uint64(len(c.data)-total) {
			r.fail("texts within the column")
			return t
		}
		total += int(length)
		*starts = append(*starts, uint32(total))
	}
	t.starts, t.all, t.width = *starts, b.take(total), uint(bits.Len(uint(count)))
	if c.encoding == textFull {
		t.width, t.first = uint(bits.Len(uint(count-1))), 1
	}
	t.packed = b.take(packedLen(n, t.width))
	r.done(&b)
	return t
}

func (t *texts) text(code uint32) []byte { return t.all[t.starts[code-1]:t.starts[code]] }

func (t *texts) code(row uint32) uint32 {
	return uint32(packedAt(t.packed, int(row), t.width)) + t.first
}

// pick appends the rows that pass.
func (s *Sift) pick(present uint64) {
	r, u := &s.r, &s.out
	f, rows := u.f, s.rows
	has := func(bit int) bool { return present>>bit&1 != 0 }
	start := f.Len
	end := start + len(rows)

	c := bytesReader{data: r.next(true).data}
	c.take(16 * c.count(16))
	ids := c.take(16 * r.rows)
	f.EventID = slices.Grow(f.EventID, len(rows))
	for _, row := range rows {
		f.EventID = append(f.EventID, ID{Hi: binary.LittleEndian.Uint64(ids[16*row:]), Lo: binary.LittleEndian.Uint64(ids[16*row+8:])})
	}
	s.pickBatches(has(hasBatch))
	f.Seq = pickNarrow(s, has(hasSeq), f.Seq)
	f.Millis = s.pickInts(has(hasMillis), f.Millis)
	f.User = s.pickHashes(has(hasUser), f.User, nil)
	f.Client = s.pickHashes(has(hasClient), f.Client, f.User[start:])
	f.Session = s.pickHashes(has(hasSession), f.Session, nil)
	f.Flags = pickNarrow(s, has(hasFlags), f.Flags)
	f.Engaged = s.pickInts(has(hasEngaged), f.Engaged)
	f.Value = s.pickInts(has(hasValue), f.Value)
	for c := range f.Text {
		if has(hasText + c) {
			s.pickTexts(u.columns.Text>>c&1 != 0, r.rows, rows, &f.Text[c], &u.text[c], start)
		}
	}
	if has(hasParams) {
		for _, key := range r.paramKeys() {
			wanted := u.columns.AllParams || slices.Contains(u.columns.Params, key)
			var p paramColumn
			to := &p
			if wanted {
				to = u.param(key)
			}
			s.pickTexts(wanted, r.rows, rows, &to.column, &to.dict, start)
		}
	}
	if has(hasItems) {
		s.pickItems(start)
	}
	if r.body.short || len(r.body.data) != 0 {
		r.fail("a document that ends with its last column")
	}
	f.Len = end
	u.parts = append(u.parts, part{start: start, end: end})
}

// pickBatches lists the batches of the rows in the order of these.
func (s *Sift) pickBatches(present bool) {
	f := s.out.f
	s.codes = pickNarrow(s, present, s.codes[:0])
	if s.r.err == nil && !below(s.codes, len(s.batches)) {
		s.r.fail("rows of listed batches")
	}
	if s.r.err != nil {
		return
	}
	last := -1
	for _, b := range s.codes {
		if int(b) != last {
			f.Batches = append(f.Batches, s.batches[b])
			last = int(b)
		}
		f.Batch = append(f.Batch, uint32(len(f.Batches)-1))
	}
}

func (s *Sift) pickInts(present bool, to []int64) []int64 {
	start := len(to)
	to = extended(to, len(s.rows))
	if c := s.r.nextOf(present, true); present && s.r.err == nil {
		s.r.intsAt(c, s.r.rows, s.rows, to[start:])
	}
	return to
}

func pickNarrow[T uint8 | uint32](s *Sift, present bool, to []T) []T {
	start := len(to)
	to = extended(to, len(s.rows))
	if c := s.r.nextOf(present, true); present && s.r.err == nil {
		s.wide = room(s.wide, len(s.rows))
		s.r.intsAt(c, s.r.rows, s.rows, s.wide)
		for i, v := range s.wide {
			to[start+i] = T(v)
			if int64(to[start+i]) != v {
				s.r.fail("numbers within the column's type")
				break
			}
		}
	}
	return to
}

func (s *Sift) pickHashes(present bool, to, same []uint64) []uint64 {
	start := len(to)
	to = extended(to, len(s.rows))
	if c := s.r.nextOf(present, true); present && s.r.err == nil {
		s.r.hashesAt(c, s.rows, to[start:], same)
	}
	return to
}

// pickTexts reads rows of the n of a column that is there to those from start on.
func (s *Sift) pickTexts(wanted bool, n int, rows []uint32, to *Strings, d *dictionary, start int) {
	r := &s.r
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return
	}
	end := start + len(rows)
	if c.encoding == textConst {
		if len(c.data) == 0 {
			r.fail("a constant that is not empty")
			return
		}
		fill(codesOf(to, start, end, end), d.codeOf(to, c.data))
		return
	}
	t := r.texts(c, n, &s.starts)
	if r.err != nil {
		return
	}
	remap := room(s.out.remap, len(t.starts))
	clear(remap)
	s.out.remap = remap
	codes := codesOf(to, start, end, end)
	for i, row := range rows {
		code := t.code(row)
		if int(code) >= len(remap) {
			r.fail("codes within the dictionary")
			return
		}
		if code != 0 && remap[code] == 0 {
			remap[code] = d.codeOf(to, t.text(code))
		}
		codes[i] = remap[code]
	}
}

// pickItems reads the items of the rows that pass, which go to those from start on.
func (s *Sift) pickItems(start int) {
	r, u := &s.r, &s.out
	n, present := r.itemHeader()
	if r.err != nil {
		return
	}
	items := &u.f.Items
	at := items.Len
	var chosen []uint32
	if c := r.next(u.columns.Items); u.columns.Items && r.err == nil {
		s.codes = room(s.codes, n)
		of := s.codes
		narrowInto(r, c, of)
		if r.err == nil && (!slices.IsSorted(of) || int(of[n-1]) >= r.rows) {
			r.fail("items in the order of their rows")
		}
		if r.err != nil {
			return
		}
		k := 0
		for i, row := range of {
			for k < len(s.rows) && s.rows[k] < row {
				k++
			}
			if k < len(s.rows) && s.rows[k] == row {
				chosen = append(chosen, uint32(i))
				items.Row = append(items.Row, uint32(start+k))
			}
		}
	}
	some := len(chosen) > 0
	items.Len += len(chosen)
	for _, to := range []*[]int64{&items.Price, &items.Quantity} {
		*to = extended(*to, len(chosen))
		if c := r.next(some); some && r.err == nil {
			r.intsAt(c, n, chosen, (*to)[at:])
		}
	}
	for c := range items.Text {
		if present>>c&1 != 0 {
			s.pickTexts(some, n, chosen, &items.Text[c], &u.items[c], at)
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

// intsAt decodes some of the n numbers that appendInts wrote.
func (r *reader) intsAt(c column, n int, rows []uint32, dst []int64) {
	b := bytesReader{data: c.data}
	switch c.encoding {
	case intConst:
		fill(dst, unzigzag(b.uvarint()))
		r.done(&b)
	case intOffset:
		lo, width := uint64(unzigzag(b.uvarint())), uint(b.byte())
		if width > 64 {
			r.fail("width of at most 64 bits")
			return
		}
		packed := b.take(packedLen(n, width))
		if r.done(&b); r.err != nil {
			return
		}
		for i, row := range rows {
			dst[i] = int64(packedAt(packed, int(row), width) + lo)
		}
	default: // each follows from the one before
		r.wide = room(r.wide, n)
		r.ints(c, r.wide)
		for i, row := range rows {
			dst[i] = r.wide[row]
		}
	}
}

// hashesAt decodes some of the hashes that appendHashes wrote.
func (r *reader) hashesAt(c column, rows []uint32, dst, same []uint64) {
	b := bytesReader{data: c.data}
	switch c.encoding {
	case hashConst:
		fill(dst, b.uint64())
	case hashRaw:
		if raw := b.take(8 * r.rows); raw != nil {
			for i, row := range rows {
				dst[i] = binary.LittleEndian.Uint64(raw[8*row:])
			}
		}
	case hashDict:
		n := b.count(8)
		raw, width := b.take(8*n), uint(bits.Len(uint(max(n, 1)-1)))
		packed := b.take(packedLen(r.rows, width))
		if n == 0 || b.short {
			r.fail("hashes in a dictionary")
			return
		}
		for i, row := range rows {
			code := packedAt(packed, int(row), width)
			if code >= uint64(n) {
				r.fail("codes within the dictionary")
				return
			}
			dst[i] = binary.LittleEndian.Uint64(raw[8*code:])
		}
	case hashSame:
		if same == nil {
			r.fail("a column that is no repetition")
			return
		}
		copy(dst, same)
	}
	r.done(&b)
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
