package processed

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

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
