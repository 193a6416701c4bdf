package processed

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// reader walks a document's columns.
type reader struct {
	body  bytesReader
	size  int // of the document, uncompressed
	rows  int
	err   error
	room  []uint64 // scratch
	small []uint32
	wide  []int64
}

// column is one column's bytes, unpacked.
type column struct {
	data     []byte
	encoding byte
}

func (r *reader) fail(expected string) {
	if r.err == nil {
		r.err = fault.New(fault.Invalid, "cannot decode processed document: expected %s", expected)
	}
}

// done checks that a column was read to its end and no further.
func (r *reader) done(b *bytesReader) {
	if b.short || len(b.data) != 0 {
		r.fail("a column as long as its header says")
	}
}

// next reads the next column's header; wanted says whether to unpack it.
func (r *reader) next(wanted bool) column {
	header := r.body.uvarint()
	length := header >> 3
	if length > uint64(len(r.body.data)) {
		r.fail("columns within the document")
		return column{}
	}
	c := column{data: r.body.take(int(length)), encoding: byte(header & 3)}
	if header&4 == 0 || !wanted || r.err != nil {
		return c
	}
	c.data = r.inflate(c.data)
	return c
}

// inflate unpacks a length and a zstd stream of that many bytes.
func (r *reader) inflate(data []byte) []byte {
	b := bytesReader{data: data}
	length := b.uvarint()
	if b.short || length > uint64(maxRatio*len(data)) {
		r.fail("a plausible length of compressed data")
		return nil
	}
	var stream zstd.Header
	if err := stream.Decode(b.data); err != nil || stream.HasFCS && stream.FrameContentSize != length {
		r.fail("a zstd stream of the stated length")
		return nil
	}
	raw, err := unpacker().DecodeAll(b.data, make([]byte, 0, length))
	if err != nil || uint64(len(raw)) != length {
		r.fail("a zstd stream of the stated length")
		return nil
	}
	return raw
}

func (r *reader) numbers(present bool, wanted bool, n int) []int64 {
	if !present {
		if !wanted {
			return nil
		}
		return make([]int64, n)
	}
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return nil
	}
	values := make([]int64, n)
	r.ints(c, values)
	return values
}

// narrow is numbers for a column of small unsigned integers.
func narrow[T uint8 | uint32](r *reader, present, wanted bool, n int) []T {
	if !present {
		if !wanted {
			return nil
		}
		return make([]T, n)
	}
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return nil
	}
	if cap(r.wide) < n {
		r.wide = make([]int64, n)
	}
	wide := r.wide[:n]
	r.ints(c, wide)
	values := make([]T, n)
	for i, v := range wide {
		values[i] = T(v)
		if int64(values[i]) != v {
			r.fail("numbers within the column's type")
			return nil
		}
	}
	return values
}

func (r *reader) hashColumn(present, wanted bool, same []uint64) []uint64 {
	if !present {
		if !wanted {
			return nil
		}
		return make([]uint64, r.rows)
	}
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return nil
	}
	values := make([]uint64, r.rows)
	r.hashes(c, values, same)
	return values
}

// Decode unpacks the selected columns of a document. Columns of the frame may
// share memory with one another: a frame is read, never written. Bytes that
// Encode did not write give an Invalid error.
func Decode(data []byte, columns Columns) (*Frame, error) {
	r := &reader{body: bytesReader{data: data}}
	if v := r.body.byte(); v != formatVersion {
		return nil, fault.New(fault.Invalid, "cannot decode processed document: expected version %d, got %d", formatVersion, v)
	}
	flags := r.body.byte()
	rows := r.body.uvarint()
	if flags > flagCompressed {
		r.fail("flags of this version")
	}
	if flags == flagCompressed && r.err == nil {
		r.body.data = r.inflate(r.body.data)
	}
	r.size = len(r.body.data)
	present := r.body.uvarint()
	// Every row has its event id in full, so that rows are bounded by bytes.
	if r.body.short || rows > uint64(len(r.body.data)/16) || present>>(hasText+int(NumStringColumns)) != 0 {
		r.fail("a header and as many rows as bytes can hold")
	}
	if r.err != nil {
		return nil, r.err
	}
	r.rows = int(rows)
	f := &Frame{Len: r.rows}
	has := func(bit int) bool { return present>>bit&1 != 0 }

	r.identities(f, columns.Identity)
	if r.err != nil {
		return nil, r.err
	}
	f.Batch = narrow[uint32](r, has(hasBatch), columns.Identity, r.rows)
	if columns.Identity && r.rows > 0 && !below(f.Batch, len(f.Batches)) {
		r.fail("rows of listed batches")
	}
	f.Seq = narrow[uint32](r, has(hasSeq), columns.Identity, r.rows)
	f.Millis = r.numbers(has(hasMillis), columns.Actors, r.rows)
	f.User = r.hashColumn(has(hasUser), columns.Actors, nil)
	f.Client = r.hashColumn(has(hasClient), columns.Actors, f.User)
	f.Session = r.hashColumn(has(hasSession), columns.Actors, nil)
	f.Flags = narrow[uint8](r, has(hasFlags), columns.Actors, r.rows)
	f.Engaged = r.numbers(has(hasEngaged), columns.Actors, r.rows)
	f.Value = r.numbers(has(hasValue), columns.Actors, r.rows)

	var shared []uint32
	ones := func() []uint32 {
		if shared == nil {
			shared = make([]uint32, r.rows)
			fill(shared, 1)
		}
		return shared
	}
	for c := range f.Text {
		if !has(hasText + c) {
			continue
		}
		f.Text[c] = r.textColumn(columns.Text>>c&1 != 0, r.rows, ones)
	}
	if has(hasParams) {
		r.params(f, columns, ones)
	}
	if has(hasItems) {
		r.items(f, columns.Items)
	}
	if r.body.short || len(r.body.data) != 0 {
		r.fail("a document that ends with its last column")
	}
	if r.err != nil {
		return nil, r.err
	}
	return f, nil
}

func (r *reader) textColumn(wanted bool, n int, ones func() []uint32) Strings {
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return Strings{}
	}
	return r.text(c, n, ones)
}

// identities reads the batches' and the events' ids.
func (r *reader) identities(f *Frame, wanted bool) {
	c := r.next(wanted)
	if !wanted || r.err != nil {
		return
	}
	b := bytesReader{data: c.data}
	n := b.count(16)
	batches, ids := b.take(16*n), b.take(16*r.rows)
	if r.done(&b); r.err != nil {
		return
	}
	f.Batches = make([]event.BatchID, n)
	for i := range f.Batches {
		copy(f.Batches[i][:], batches[16*i:])
	}
	f.EventID = make([]ID, r.rows)
	for i := range f.EventID {
		f.EventID[i] = ID{
			Hi: binary.LittleEndian.Uint64(ids[16*i:]),
			Lo: binary.LittleEndian.Uint64(ids[16*i+8:]),
		}
	}
}

// params reads the keys, and the columns of those that are wanted.
func (r *reader) params(f *Frame, columns Columns, ones func() []uint32) {
	c := r.next(true)
	b := bytesReader{data: c.data}
	n := b.count(1)
	keys := make([][]byte, n)
	for k := range keys {
		keys[k] = b.take(b.count(1))
	}
	if r.done(&b); r.err != nil {
		return
	}
	for _, key := range keys {
		wanted := columns.AllParams
		for _, name := range columns.Params {
			wanted = wanted || name == string(key)
		}
		column := r.textColumn(wanted, r.rows, ones)
		if r.err != nil {
			return
		}
		if wanted {
			if f.Params == nil {
				f.Params = map[string]*Strings{}
			}
			f.Params[string(key)] = &column
		}
	}
}

// items reads the items' columns.
func (r *reader) items(f *Frame, wanted bool) {
	c := r.next(true)
	b := bytesReader{data: c.data}
	count, present := b.uvarint(), b.uvarint()
	if r.done(&b); r.err != nil {
		return
	}
	// Equal items need no byte of their own, so that only a ratio bounds how
	// many a document can claim.
	if r.rows == 0 || count == 0 || count > uint64(maxRatio*r.size) || present>>NumItemColumns != 0 {
		r.fail("a plausible number of items")
		return
	}
	n := int(count)
	rows := narrow[uint32](r, true, wanted, n)
	price := r.numbers(true, wanted, n)
	quantity := r.numbers(true, wanted, n)
	if wanted && r.err == nil {
		if !slices.IsSorted(rows) || int(rows[n-1]) >= r.rows {
			r.fail("items in the order of their rows")
			return
		}
		f.Items = ItemFrame{Len: n, Row: rows, Price: price, Quantity: quantity}
	}
	var shared []uint32
	ones := func() []uint32 {
		if shared == nil {
			shared = make([]uint32, n)
			fill(shared, 1)
		}
		return shared
	}
	for c := range f.Items.Text {
		if present>>c&1 != 0 {
			f.Items.Text[c] = r.textColumn(wanted, n, ones)
		}
	}
}

// bytesReader reads from the front of data; short is set, and zero values are
// returned, once there is too little.
type bytesReader struct {
	data  []byte
	short bool
}

func (b *bytesReader) take(n int) []byte {
	if b.short || n < 0 || n > len(b.data) {
		b.short = true
		return nil
	}
	taken := b.data[:n:n]
	b.data = b.data[n:]
	return taken
}

func (b *bytesReader) byte() byte {
	if t := b.take(1); t != nil {
		return t[0]
	}
	return 0
}

func (b *bytesReader) uint64() uint64 {
	if t := b.take(8); t != nil {
		return binary.LittleEndian.Uint64(t)
	}
	return 0
}

func (b *bytesReader) uvarint() uint64 {
	if len(b.data) > 0 && b.data[0] < 0x80 && !b.short {
		v := uint64(b.data[0])
		b.data = b.data[1:]
		return v
	}
	v, n := binary.Uvarint(b.data)
	if n <= 0 || b.short {
		b.short = true
		return 0
	}
	b.data = b.data[n:]
	return v
}

// count reads a number of things that take at least size bytes each.
func (b *bytesReader) count(size int) int {
	n := b.uvarint()
	if n > uint64(len(b.data)/size) {
		b.short = true
		return 0
	}
	return int(n)
}
