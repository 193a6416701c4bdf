package processed

import (
	"encoding/binary"
	"fmt"
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
	raw   []byte   // scratch: an unpacked column
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

// next reads the next column's header; wanted says whether to unpack it. The
// column's bytes hold until the next call.
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
	c.data = r.inflateTo(c.data, r.raw)
	r.raw = c.data
	return c
}

// inflateTo unpacks a length and a zstd stream of that many bytes, into given room
// where it is enough.
func (r *reader) inflateTo(data, room []byte) []byte {
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
	if uint64(cap(room)) < length {
		room = make([]byte, 0, length)
	}
	raw, err := unpacker().DecodeAll(b.data, room[:0])
	if err != nil || uint64(len(raw)) != length {
		r.fail("a zstd stream of the stated length")
		return nil
	}
	return raw
}

// open reads a document's header. A compressed body is unpacked into room, which
// may grow.
func (r *reader) open(data []byte, room *[]byte) (present uint64) {
	r.err, r.body = nil, bytesReader{data: data}
	if v := r.body.byte(); v < oldestVersion || v > formatVersion {
		r.fail(fmt.Sprintf("version %d to %d, got %d", oldestVersion, formatVersion, v))
		return 0
	}
	flags := r.body.byte()
	rows := r.body.uvarint()
	if flags > flagCompressed {
		r.fail("flags of this version")
	}
	if flags == flagCompressed && r.err == nil {
		*room = r.inflateTo(r.body.data, *room)
		r.body.data = *room
	}
	r.size = len(r.body.data)
	present = r.body.uvarint()
	// Every row has its event id in full, so that rows are bounded by bytes.
	if r.body.short || rows > uint64(len(r.body.data)/16) || present>>(hasText+int(NumStringColumns)) != 0 {
		r.fail("a header and as many rows as bytes can hold")
	}
	r.rows = int(rows)
	return present
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
	values := make([]T, n)
	narrowInto(r, c, values)
	return values
}

// narrowInto decodes small unsigned integers into dst.
func narrowInto[T uint8 | uint32](r *reader, c column, dst []T) {
	if cap(r.wide) < len(dst) {
		r.wide = make([]int64, len(dst))
	}
	wide := r.wide[:len(dst)]
	r.ints(c, wide)
	for i, v := range wide {
		dst[i] = T(v)
		if int64(dst[i]) != v {
			r.fail("numbers within the column's type")
			return
		}
	}
}

// The next four read a column into its place, which is zero before.

func narrowTo[T uint8 | uint32](r *reader, dst []T) {
	if c := r.next(true); r.err == nil {
		narrowInto(r, c, dst)
	}
}

func (r *reader) intsTo(present bool, dst []int64) {
	if !present {
		return
	}
	if c := r.next(true); r.err == nil {
		r.ints(c, dst)
	}
}

func (r *reader) hashesTo(present bool, dst, same []uint64) {
	if !present {
		return
	}
	if c := r.next(true); r.err == nil {
		r.hashes(c, dst, same)
	}
}

// identitiesTo appends the batches, and reads the events' ids.
func (r *reader) identitiesTo(batches []event.BatchID, dst []ID) []event.BatchID {
	c := r.next(true)
	if r.err != nil {
		return batches
	}
	b := bytesReader{data: c.data}
	n := b.count(16)
	list, ids := b.take(16*n), b.take(16*len(dst))
	if r.done(&b); r.err != nil {
		return batches
	}
	for ; len(list) > 0; list = list[16:] {
		batches = append(batches, event.BatchID(list[:16]))
	}
	for i := range dst {
		dst[i] = ID{
			Hi: binary.LittleEndian.Uint64(ids[16*i:]),
			Lo: binary.LittleEndian.Uint64(ids[16*i+8:]),
		}
	}
	return batches
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
	r := &reader{}
	var body []byte
	present := r.open(data, &body)
	if r.err != nil {
		return nil, r.err
	}
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
	if !wanted {
		r.next(false)
		return
	}
	f.EventID = make([]ID, r.rows)
	f.Batches = r.identitiesTo(make([]event.BatchID, 0, 1), f.EventID)
}

// paramKeys reads the keys; none where there is an error.
func (r *reader) paramKeys() []string {
	c := r.next(true)
	b := bytesReader{data: c.data}
	n := b.count(1)
	keys := make([]string, n)
	for k := range keys {
		keys[k] = string(b.take(b.count(1)))
	}
	if r.done(&b); r.err != nil {
		return nil
	}
	return keys
}

// params reads the keys, and the columns of those that are wanted.
func (r *reader) params(f *Frame, columns Columns, ones func() []uint32) {
	for _, key := range r.paramKeys() {
		wanted := columns.AllParams
		for _, name := range columns.Params {
			wanted = wanted || name == key
		}
		column := r.textColumn(wanted, r.rows, ones)
		if r.err != nil {
			return
		}
		if wanted {
			if f.Params == nil {
				f.Params = map[string]*Strings{}
			}
			f.Params[key] = &column
		}
	}
}

// itemHeader reads how many items there are, and which of their texts.
func (r *reader) itemHeader() (n int, present uint64) {
	c := r.next(true)
	b := bytesReader{data: c.data}
	count, present := b.uvarint(), b.uvarint()
	if r.done(&b); r.err != nil {
		return 0, 0
	}
	// Equal items need no byte of their own, so that only a ratio bounds how
	// many a document can claim.
	if r.rows == 0 || count == 0 || count > uint64(maxRatio*r.size) || present>>NumItemColumns != 0 {
		r.fail("a plausible number of items")
		return 0, 0
	}
	return int(count), present
}

// items reads the items' columns.
func (r *reader) items(f *Frame, wanted bool) {
	n, present := r.itemHeader()
	if r.err != nil {
		return
	}
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
