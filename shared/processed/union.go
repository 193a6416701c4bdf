package processed

import (
	"bytes"
	"math/bits"
	"slices"
	"sync"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// Union reads many documents into one frame. It decodes each straight into its
// place, so that a thousand documents of one row cost little more than one of
// a thousand rows. It is for one goroutine and one frame.
//
// A batch's rows of one UTC hour are the same wherever they stand, and count once:
// those that were added first. Rows come in the order of hour, then batch, then Seq: where documents
// are added hour by hour and batch by batch, few have to be moved.
type Union struct {
	columns Columns
	parts   []part
	rows    int
	held    [][]byte // chunks of what was added, given back by Frame
	f       *Frame
	text    [NumStringColumns]dictionary
	items   [NumItemColumns]dictionary
	params  map[string]*paramColumn
	remap   []uint32 // scratch: codes of a document to codes of the frame
	body    []byte   // scratch: an unpacked document
}

// part is a document, or a frame decoded elsewhere, and the place of its rows.
type part struct {
	data       []byte
	frame      *Frame
	keep       Keep
	none       bool // no row counts; of a document only the identity is read
	start, end int
}

// Keep says whether a batch's rows of a document count. nil takes all.
type Keep func(event.BatchID) bool

// of reports whether all or none of some batches count; neither is true where
// some do.
func (keep Keep) of(batches []event.BatchID) (all, none bool) {
	if keep == nil {
		return true, false
	}
	all, none = true, true
	for _, b := range batches {
		if keep(b) {
			none = false
		} else {
			all = false
		}
	}
	return all, none
}

// chunkSize is how much memory for bytes of documents is taken at once. Most
// unions are of a few small documents: larger chunks were a third of all memory
// that a busy process took.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// NewUnion makes a union of the selected columns. Identity and Actors are
// always among them.
func NewUnion(columns Columns) *Union {
	columns.Identity, columns.Actors = true, true
	return &Union{columns: columns}
}

// Len is the number of rows added, with those that Frame may drop.
func (u *Union) Len() int { return u.rows }

// Add adds a document, whose bytes it copies, but for rows of batches that do
// not count. A document that cannot be one gives an Invalid error here, a
// damaged one only in Frame.
func (u *Union) Add(data []byte, keep Keep) error {
	b := bytesReader{data: data}
	version, flags, rows := b.byte(), b.byte(), b.uvarint()
	size := uint64(len(b.data))
	if flags == flagCompressed {
		most := size * maxRatio
		if size = b.uvarint(); size > most {
			b.short = true
		}
	}
	// Every row has its event id in full: what claims more rows is no document,
	// and no memory is taken for them.
	if b.short || version < oldestVersion || version > formatVersion || rows > size/16 {
		return fault.New(fault.Invalid, "cannot decode processed document: expected a header of version %d to %d", oldestVersion, formatVersion)
	}
	u.add(part{data: u.hold(data), keep: keep}, int(rows))
	return nil
}

// AddFrame adds a frame that Decode made of the same columns, but for rows of
// batches that do not count. It must not change until Frame has returned.
func (u *Union) AddFrame(f *Frame, keep Keep) {
	all, none := keep.of(f.Batches)
	if all {
		keep = nil
	}
	if !none || f.Len == 0 {
		u.add(part{frame: f, keep: keep}, f.Len)
	}
}

func (u *Union) add(p part, rows int) {
	if rows == 0 && p.frame != nil {
		return
	}
	p.start, p.end = u.rows, u.rows+rows
	u.rows = p.end
	u.parts = append(u.parts, p)
}

// hold copies bytes into a chunk.
func (u *Union) hold(data []byte) []byte {
	if len(data) > chunkSize/4 {
		return bytes.Clone(data)
	}
	last := len(u.held) - 1
	if last < 0 || len(u.held[last])+len(data) > chunkSize {
		chunk := chunks.Get().(*[chunkSize]byte)
		u.held = append(u.held, chunk[:0])
		last++
	}
	chunk := u.held[last]
	at := len(chunk)
	u.held[last] = append(chunk, data...)
	return u.held[last][at : at+len(data) : at+len(data)]
}

func (u *Union) release() {
	for _, chunk := range u.held {
		chunks.Put((*[chunkSize]byte)(chunk[:chunkSize]))
	}
	u.held, u.parts = nil, nil
}

// Frame is what was added, which it may share memory with; it is called once. Bytes that Encode did not write
// give an Invalid error.
func (u *Union) Frame() (*Frame, error) {
	defer u.release()
	if p := u.parts; len(p) == 1 && p[0].frame != nil && p[0].keep == nil && p[0].frame.extent(0, p[0].end).sorted {
		return p[0].frame, nil
	}
	n := u.rows
	hashes := make([]uint64, 3*n)
	numbers := make([]int64, 3*n)
	u.f = &Frame{
		Len: n, Batch: make([]uint32, n), Seq: make([]uint32, n), EventID: make([]ID, n), Flags: make([]uint8, n),
		Millis: numbers[:n:n], Engaged: numbers[n : 2*n : 2*n], Value: numbers[2*n:],
		User: hashes[:n:n], Client: hashes[n : 2*n : 2*n], Session: hashes[2*n:],
	}
	if err := u.fillAll(); err != nil {
		return nil, err
	}
	u.f.settle(u.parts)
	return u.f, nil
}

// fill reads all parts into their places.
func (u *Union) fill() error {
	var r reader // its scratch serves all documents
	for i := range u.parts {
		p := &u.parts[i]
		if p.frame != nil {
			u.copyFrame(p)
		} else if err := u.decode(&r, p); err != nil {
			return err
		}
	}
	u.finish()
	return nil
}

// decode reads a document into its place.
func (u *Union) decode(r *reader, p *part) error {
	f, n := u.f, p.end-p.start
	present := r.open(p.data, &u.body)
	if r.err != nil {
		return r.err
	}
	has := func(bit int) bool { return present>>bit&1 != 0 }
	first := uint32(len(f.Batches))
	f.Batches = r.identitiesTo(f.Batches, f.EventID[p.start:p.end])
	batches := uint32(len(f.Batches)) - first
	if n > 0 && batches == 0 {
		r.fail("rows of listed batches")
	}
	var all bool
	if all, p.none = p.keep.of(f.Batches[first:]); all {
		p.keep = nil
	}
	if p.none || r.err != nil {
		f.Batches = f.Batches[:first]
		return r.err
	}
	batch := f.Batch[p.start:p.end]
	if has(hasBatch) {
		narrowTo(r, batch)
		if r.err == nil && !below(batch, int(batches)) {
			r.fail("rows of listed batches")
		}
	}
	for i := range batch {
		batch[i] += first
	}
	if has(hasSeq) {
		narrowTo(r, f.Seq[p.start:p.end])
	}
	user := f.User[p.start:p.end]
	r.intsTo(has(hasMillis), f.Millis[p.start:p.end])
	r.hashesTo(has(hasUser), user, nil)
	r.hashesTo(has(hasClient), f.Client[p.start:p.end], user)
	r.hashesTo(has(hasSession), f.Session[p.start:p.end], nil)
	if has(hasFlags) {
		narrowTo(r, f.Flags[p.start:p.end])
	}
	r.intsTo(has(hasEngaged), f.Engaged[p.start:p.end])
	r.intsTo(has(hasValue), f.Value[p.start:p.end])
	for c := range f.Text {
		if !has(hasText + c) {
			continue
		}
		column := r.next(u.columns.Text>>c&1 != 0)
		if u.columns.Text>>c&1 != 0 && r.err == nil {
			u.textTo(r, column, &f.Text[c], &u.text[c], p.start, p.end, u.rows)
		}
	}
	if has(hasParams) {
		u.paramsTo(r, p)
	}
	if has(hasItems) {
		u.itemsTo(r, p)
	}
	if r.body.short || len(r.body.data) != 0 {
		r.fail("a document that ends with its last column")
	}
	return r.err
}

// textTo reads a text column into rows [from, to) of one that ends up with
// room rows.
func (u *Union) textTo(r *reader, c column, s *Strings, d *dictionary, from, to, room int) {
	if c.encoding == textConst {
		if len(c.data) == 0 {
			r.fail("a constant that is not empty")
			return
		}
		codes := codesOf(s, from, to, room)
		fill(codes, d.codeOf(s, c.data))
		return
	}
	b := bytesReader{data: c.data}
	count := b.count(1)
	if b.short || count == 0 || c.encoding > textFull {
		r.fail("texts in a dictionary")
		return
	}
	lengths := b // read twice: once to find where the texts begin, once to cut them
	var total uint64
	for range count {
		length := b.uvarint()
		if total += min(length, uint64(len(c.data))+1); total > uint64(len(c.data)) {
			r.fail("texts within the column")
			return
		}
	}
	all := b.take(int(total))
	width, first := uint(bits.Len(uint(count))), 0
	if c.encoding == textFull {
		width, first = uint(bits.Len(uint(count-1))), 1
	}
	packed := b.take(packedLen(to-from, width))
	if r.done(&b); r.err != nil {
		return
	}
	if cap(u.remap) < count+1 {
		u.remap = make([]uint32, 2*count+64)
	}
	remap := u.remap[:count+1]
	remap[0] = 0
	for k := 1; k <= count; k++ {
		length := lengths.uvarint()
		remap[k] = d.codeOf(s, all[:length])
		all = all[length:]
	}
	codes := codesOf(s, from, to, room)
	unpack(codes, packed, width)
	remap = remap[first:]
	if !below(codes, len(remap)) {
		r.fail("codes within the dictionary")
		return
	}
	for i, code := range codes {
		codes[i] = remap[code]
	}
}

// codesOf are the codes of rows [from, to), in a column of room rows or more.
func codesOf(s *Strings, from, to, room int) []uint32 {
	if len(s.Code) < to {
		if cap(s.Code) < to {
			s.Code = slices.Grow(s.Code, max(room, to)-len(s.Code))
		}
		before := len(s.Code)
		s.Code = s.Code[:to]
		clear(s.Code[before:])
	}
	return s.Code[from:to]
}

func (u *Union) param(key string) *paramColumn {
	column := u.params[key]
	if column == nil {
		if u.params == nil {
			u.params = map[string]*paramColumn{}
		}
		column = &paramColumn{}
		u.params[key] = column
	}
	return column
}

func (u *Union) paramsTo(r *reader, p *part) {
	for _, key := range r.paramKeys() {
		wanted := u.columns.AllParams
		for _, name := range u.columns.Params {
			wanted = wanted || name == key
		}
		c := r.next(wanted)
		if r.err != nil {
			return
		}
		if wanted {
			column := u.param(key)
			u.textTo(r, c, &column.column, &column.dict, p.start, p.end, u.rows)
		}
	}
}

func (u *Union) itemsTo(r *reader, p *part) {
	n, present := r.itemHeader()
	wanted := u.columns.Items
	if r.err != nil {
		return
	}
	items := &u.f.Items
	start := items.Len
	if wanted {
		items.Len += n
		items.Row = append(items.Row, make([]uint32, n)...)
		items.Price = append(items.Price, make([]int64, n)...)
		items.Quantity = append(items.Quantity, make([]int64, n)...)
		rows := items.Row[start:]
		narrowTo(r, rows)
		if r.err == nil && (!slices.IsSorted(rows) || int(rows[n-1]) >= p.end-p.start) {
			r.fail("items in the order of their rows")
		}
		for i := range rows {
			rows[i] += uint32(p.start)
		}
		r.intsTo(true, items.Price[start:])
		r.intsTo(true, items.Quantity[start:])
	} else {
		for range 3 {
			r.next(false)
		}
	}
	for c := range items.Text {
		if present>>c&1 != 0 {
			column := r.next(wanted)
			if wanted && r.err == nil {
				u.textTo(r, column, &items.Text[c], &u.items[c], start, items.Len, 0)
			}
		}
	}
}

// copyFrame copies a frame to its place.
func (u *Union) copyFrame(p *part) {
	f, from := u.f, p.frame
	first := uint32(len(f.Batches))
	f.Batches = append(f.Batches, from.Batches...)
	batch := f.Batch[p.start:p.end]
	for i, b := range from.Batch {
		batch[i] = b + first
	}
	copy(f.Seq[p.start:], from.Seq)
	copy(f.EventID[p.start:], from.EventID)
	copy(f.Millis[p.start:], from.Millis)
	copy(f.User[p.start:], from.User)
	copy(f.Client[p.start:], from.Client)
	copy(f.Session[p.start:], from.Session)
	copy(f.Flags[p.start:], from.Flags)
	copy(f.Engaged[p.start:], from.Engaged)
	copy(f.Value[p.start:], from.Value)
	for c := range f.Text {
		u.copyText(&f.Text[c], &u.text[c], &from.Text[c], p.start, u.rows)
	}
	for key, s := range from.Params {
		column := u.param(key)
		u.copyText(&column.column, &column.dict, s, p.start, u.rows)
	}
	items := &f.Items
	start := items.Len
	items.Len += from.Items.Len
	for _, row := range from.Items.Row {
		items.Row = append(items.Row, row+uint32(p.start))
	}
	items.Price = append(items.Price, from.Items.Price...)
	items.Quantity = append(items.Quantity, from.Items.Quantity...)
	for c := range items.Text {
		u.copyText(&items.Text[c], &u.items[c], &from.Items.Text[c], start, 0)
	}
}

func (u *Union) copyText(s *Strings, d *dictionary, from *Strings, start, room int) {
	if from.Code == nil {
		return
	}
	u.remap = u.remap[:0]
	for _, text := range from.Dict {
		u.remap = append(u.remap, d.code(s, text))
	}
	codes := codesOf(s, start, start+len(from.Code), room)
	for i, code := range from.Code {
		codes[i] = u.remap[code]
	}
}

// finish makes every column that is in use as long as the frame.
func (u *Union) finish() {
	f := u.f
	for c := range f.Text {
		u.long(&f.Text[c], f.Len)
	}
	for key, p := range u.params {
		if p.column.Dict == nil {
			continue
		}
		u.long(&p.column, f.Len)
		if f.Params == nil {
			f.Params = make(map[string]*Strings, len(u.params))
		}
		f.Params[key] = &p.column
	}
	for c := range f.Items.Text {
		u.long(&f.Items.Text[c], f.Items.Len)
	}
}

func (u *Union) long(s *Strings, n int) {
	if s.Dict == nil {
		s.Code = nil // "" in every row
	} else {
		codesOf(s, n, n, n)
	}
}
