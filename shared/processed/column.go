package processed

import (
	"encoding/binary"
	"math/bits"
)

// Encodings of a column; what each means depends on the column's kind.
// shared/docs/formats/processed.md describes the bytes.
const (
	intConst  = 0 // one zigzag varint: all rows
	intOffset = 1 // zigzag minimum, width, packed differences from it
	intStep   = 2 // zigzag first, zigzag smallest step, width, packed steps above it
	intDelta  = 3 // zigzag varints, each the difference from the one before

	hashConst = 0 // 8 bytes: all rows
	hashRaw   = 1 // 8 bytes per row
	hashDict  = 2 // count, 8 bytes each, packed codes
	hashSame  = 3 // equal to the User column

	textConst = 0 // the text of all rows
	textDict  = 1 // count, lengths, texts, packed codes from 0 = ""
	textFull  = 2 // the same without "": codes from 0 = the first text
)

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func varintLen(u uint64) int { return (bits.Len64(u|1) + 6) / 7 }

// appendInts encodes integers in the shortest of four ways. Differences wrap
// around, so that every int64 survives.
func (e *encoder) appendInts(dst []byte, values []int64) ([]byte, byte) {
	first, lo, hi := values[0], values[0], values[0]
	stepLo, stepHi := int64(0), int64(0)
	deltaLen := varintLen(zigzag(first))
	for i := 1; i < len(values); i++ {
		v := values[i]
		lo, hi = min(lo, v), max(hi, v)
		step := v - values[i-1]
		if i == 1 {
			stepLo, stepHi = step, step
		} else {
			stepLo, stepHi = min(stepLo, step), max(stepHi, step)
		}
		deltaLen += varintLen(zigzag(step))
	}
	if lo == hi {
		return binary.AppendUvarint(dst, zigzag(first)), intConst
	}
	width := uint(bits.Len64(uint64(hi) - uint64(lo)))
	stepWidth := uint(bits.Len64(uint64(stepHi) - uint64(stepLo)))
	offsetLen := varintLen(zigzag(lo)) + 1 + packedLen(len(values), width)
	stepLen := varintLen(zigzag(first)) + varintLen(zigzag(stepLo)) + 1 + packedLen(len(values)-1, stepWidth)
	switch {
	case offsetLen <= stepLen && offsetLen <= deltaLen:
		room := e.room(len(values))
		for i, v := range values {
			room[i] = uint64(v) - uint64(lo)
		}
		dst = binary.AppendUvarint(dst, zigzag(lo))
		return appendPacked(append(dst, byte(width)), room, width), intOffset
	case stepLen <= deltaLen:
		room := e.room(len(values) - 1)
		for i := range room {
			room[i] = uint64(values[i+1]) - uint64(values[i]) - uint64(stepLo)
		}
		dst = binary.AppendUvarint(dst, zigzag(first))
		dst = binary.AppendUvarint(dst, zigzag(stepLo))
		return appendPacked(append(dst, byte(stepWidth)), room, stepWidth), intStep
	default:
		last := int64(0)
		for _, v := range values {
			dst = binary.AppendUvarint(dst, zigzag(v-last))
			last = v
		}
		return dst, intDelta
	}
}

// ints decodes what appendInts wrote into dst.
func (r *reader) ints(c column, dst []int64) {
	if len(dst) == 0 {
		return
	}
	b := bytesReader{data: c.data}
	switch c.encoding {
	case intConst:
		fill(dst, unzigzag(b.uvarint()))
	case intOffset:
		lo := uint64(unzigzag(b.uvarint()))
		room := r.unpacked(&b, len(dst))
		for i := range room {
			dst[i] = int64(room[i] + lo)
		}
	case intStep:
		v := uint64(unzigzag(b.uvarint()))
		step := uint64(unzigzag(b.uvarint()))
		dst[0] = int64(v)
		for i, more := range r.unpacked(&b, len(dst)-1) {
			v += step + more
			dst[i+1] = int64(v)
		}
	case intDelta:
		b.data = b.data[r.deltas(c.data, dst):]
	}
	r.done(&b)
}

// deltas decodes differences from the number before, and returns how many bytes
// they take.
func (r *reader) deltas(data []byte, dst []int64) (at int) {
	var v int64
	for i := range dst {
		var u uint64
		switch {
		case at < len(data) && data[at] < 0x80:
			u = uint64(data[at])
			at++
		case at+1 < len(data) && data[at+1] < 0x80:
			u = uint64(data[at]&0x7f) | uint64(data[at+1])<<7
			at += 2
		default:
			long, n := binary.Uvarint(data[at:])
			if n <= 0 {
				r.fail("as many numbers as rows")
				return at
			}
			u = long
			at += n
		}
		v += unzigzag(u)
		dst[i] = v
	}
	return at
}

// unpacked reads a width and n packed values into scratch room.
func (r *reader) unpacked(b *bytesReader, n int) []uint64 {
	width := uint(b.byte())
	if width > 64 {
		r.fail("width of at most 64 bits")
		return nil
	}
	packed := b.take(packedLen(n, width))
	if b.short {
		return nil
	}
	if cap(r.room) < n {
		r.room = make([]uint64, n)
	}
	room := r.room[:n]
	unpack(room, packed, width)
	return room
}

// appendHashes encodes hashes: same is the column that they may repeat.
func (e *encoder) appendHashes(dst []byte, values, same []uint64) ([]byte, byte) {
	constant, repeats := true, same != nil
	for i, v := range values {
		constant = constant && v == values[0]
		repeats = repeats && v == same[i]
	}
	switch {
	case repeats:
		return dst, hashSame
	case constant:
		return binary.LittleEndian.AppendUint64(dst, values[0]), hashConst
	}
	if distinct, codes, width := e.distinct(values); distinct != nil &&
		8*len(distinct)+packedLen(len(values), width)+3 < 8*len(values) {
		dst = binary.AppendUvarint(dst, uint64(len(distinct)))
		for _, v := range distinct {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
		return appendPacked(dst, codes, width), hashDict
	}
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst, hashRaw
}

// distinct lists the different values in order of appearance, and each
// value's place among them; nil where so many differ that it cannot pay. The
// values are hashes already, so their low bits address a small open table.
func (e *encoder) distinct(values []uint64) (distinct []uint64, codes []uint32, width uint) {
	size := 1 << bits.Len(uint(2*len(values)))
	if cap(e.slots) < size {
		e.slots = make([]uint32, size)
	}
	slots := e.slots[:size]
	clear(slots)
	e.codes = e.codes[:0]
	e.values = e.values[:0]
	limit := len(values) - len(values)/8
	for _, v := range values {
		at := int(v) & (size - 1)
		for slots[at] != 0 && e.values[slots[at]-1] != v {
			at = (at + 1) & (size - 1)
		}
		if slots[at] == 0 {
			if len(e.values) >= limit {
				return nil, nil, 0
			}
			e.values = append(e.values, v)
			slots[at] = uint32(len(e.values))
		}
		e.codes = append(e.codes, slots[at]-1)
	}
	return e.values, e.codes, uint(bits.Len(uint(len(e.values) - 1)))
}

// hashes decodes what appendHashes wrote into dst.
func (r *reader) hashes(c column, dst, same []uint64) {
	b := bytesReader{data: c.data}
	switch c.encoding {
	case hashConst:
		fill(dst, b.uint64())
	case hashRaw:
		raw := b.take(8 * len(dst))
		if !b.short {
			for i := range dst {
				dst[i] = binary.LittleEndian.Uint64(raw[8*i:])
			}
		}
	case hashDict:
		n := b.count(8)
		raw := b.take(8 * n)
		if n == 0 || b.short {
			r.fail("hashes in a dictionary")
			return
		}
		codes := r.codes(&b, len(dst), uint(bits.Len(uint(n-1))), n)
		for i, code := range codes {
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

// codes reads n packed codes that must be below limit into scratch room.
func (r *reader) codes(b *bytesReader, n int, width uint, limit int) []uint32 {
	packed := b.take(packedLen(n, width))
	if b.short {
		return nil
	}
	if cap(r.small) < n {
		r.small = make([]uint32, n)
	}
	codes := r.small[:n]
	unpack(codes, packed, width)
	if !below(codes, limit) {
		r.fail("codes within the dictionary")
		return nil
	}
	return codes
}

// appendText encodes a column that is not "" in every row.
func (e *encoder) appendText(dst []byte, s *Strings) ([]byte, byte) {
	lo, hi := s.Code[0], s.Code[0]
	for _, code := range s.Code {
		lo, hi = min(lo, code), max(hi, code)
	}
	if lo == hi {
		return append(dst, s.Dict[lo]...), textConst
	}
	texts := s.Dict[1:]
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	for _, text := range texts {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
	}
	for _, text := range texts {
		dst = append(dst, text...)
	}
	if lo == 0 {
		return appendPacked(dst, s.Code, uint(bits.Len(uint(len(texts))))), textDict
	}
	e.codes = e.codes[:0]
	for _, code := range s.Code {
		e.codes = append(e.codes, code-1)
	}
	return appendPacked(dst, e.codes, uint(bits.Len(uint(len(texts)-1)))), textFull
}

// text decodes what appendText wrote, n rows. ones is a column of n ones that
// all constant columns of a frame share.
func (r *reader) text(c column, n int, ones func() []uint32) Strings {
	if c.encoding == textConst {
		if len(c.data) == 0 {
			r.fail("a constant that is not empty")
			return Strings{}
		}
		return Strings{Dict: []string{"", string(c.data)}, Code: ones()}
	}
	b := bytesReader{data: c.data}
	count := b.count(1)
	if b.short || count == 0 || c.encoding > textFull {
		r.fail("texts in a dictionary")
		return Strings{}
	}
	lengths := b // read twice: once to find where the texts begin, once to cut them
	var total uint64
	for range count {
		length := b.uvarint()
		if length > uint64(len(c.data)) {
			r.fail("texts within the column")
			return Strings{}
		}
		total += length
	}
	if total > uint64(len(c.data)) {
		r.fail("texts within the column")
		return Strings{}
	}
	all := string(b.take(int(total)))
	width, first := uint(bits.Len(uint(count))), uint32(0)
	if c.encoding == textFull {
		width, first = uint(bits.Len(uint(count-1))), 1
	}
	packed := b.take(packedLen(n, width))
	r.done(&b)
	if r.err != nil {
		return Strings{}
	}
	s := Strings{Dict: make([]string, count+1), Code: make([]uint32, n)}
	for k := range count {
		length := lengths.uvarint()
		s.Dict[k+1], all = all[:length], all[length:]
	}
	unpack(s.Code, packed, width)
	if first != 0 {
		for i := range s.Code {
			s.Code[i] += first
		}
	}
	if !below(s.Code, count+1) {
		r.fail("codes within the dictionary")
	}
	return s
}

func below(codes []uint32, limit int) bool {
	var highest uint32
	for _, code := range codes {
		highest = max(highest, code)
	}
	return len(codes) == 0 || int64(highest) < int64(limit)
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}
