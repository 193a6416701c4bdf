package processed

import "math/bits"

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
