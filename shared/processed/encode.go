package processed

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The first byte of a document, and the bits of the second.
const (
	formatVersion  = 2
	oldestVersion  = 1 // has fewer texts
	flagCompressed = 1
)

// Version is the version of documents that Encode writes.
const Version = formatVersion

// Where compression pays. A short body stays as it is: a stream's own
// overhead would eat the gain, and stores compress neighbours together. A
// middling one is compressed whole; of a long one each column by itself, so
// that reading some columns does not unpack the others.
const (
	compressFrom   = 1 << 10
	compressWhole  = 64 << 10
	compressColumn = 256
	// maxRatio bounds what a document can unpack to: a column that shrinks
	// more than this is kept as it is.
	maxRatio = 4096
)

// Places of the columns in the presence bits.
const (
	hasBatch = iota
	hasSeq
	hasMillis
	hasUser
	hasClient
	hasSession
	hasFlags
	hasEngaged
	hasValue
	hasParams
	hasItems
	hasText // first of NumStringColumns
)

// Everything selects all columns.
func Everything() Columns {
	return Columns{Identity: true, Actors: true, Text: AllText, AllParams: true, Items: true}
}

type encoder struct {
	buf   []byte
	spans []span

	slots  []uint32 // scratch of distinct
	codes  []uint32
	values []uint64
	wide   []uint64
	ints   []int64
}

type span struct {
	start, end int
	encoding   byte
}

func (e *encoder) room(n int) []uint64 {
	if cap(e.wide) < n {
		e.wide = make([]uint64, n)
	}
	return e.wide[:n]
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// packWindow bounds what each encoder keeps for good of what it has packed. Few
// documents are longer, which then cost a little more room.
const packWindow = 1 << 20

var packer = sync.OnceValue(func() *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(packWindow))
	if err != nil {
		panic(fmt.Sprintf("processed: constant zstd options: %v", err))
	}
	return w
})

var unpacker = sync.OnceValue(func() *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("processed: constant zstd options: %v", err))
	}
	return r
})

// Encode packs a frame that holds all its columns into a document. The same
// frame gives the same bytes.
func Encode(f *Frame) []byte {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.buf, e.spans = e.buf[:0], e.spans[:0]

	var present uint64
	start := 0
	add := func(encoding byte) {
		e.spans = append(e.spans, span{start, len(e.buf), encoding})
		start = len(e.buf)
	}
	e.buf = appendIdentities(e.buf, f)
	add(0)
	if f.Len > 0 {
		number := func(bit int, values []int64) {
			if !zero(values) {
				present |= 1 << bit
				var encoding byte
				e.buf, encoding = e.appendInts(e.buf, values)
				add(encoding)
			}
		}
		hash := func(bit int, values, same []uint64) {
			if !zero(values) {
				present |= 1 << bit
				var encoding byte
				e.buf, encoding = e.appendHashes(e.buf, values, same)
				add(encoding)
			}
		}
		number(hasBatch, widen(e, f.Batch))
		number(hasSeq, widen(e, f.Seq))
		number(hasMillis, f.Millis)
		hash(hasUser, f.User, nil)
		if zero(f.User) {
			hash(hasClient, f.Client, nil)
		} else {
			hash(hasClient, f.Client, f.User)
		}
		hash(hasSession, f.Session, nil)
		number(hasFlags, widen(e, f.Flags))
		number(hasEngaged, f.Engaged)
		number(hasValue, f.Value)
	}
	for c := range f.Text {
		if e.text(&f.Text[c], add) {
			present |= 1 << (hasText + c)
		}
	}
	if keys := paramKeys(f); len(keys) > 0 {
		present |= 1 << hasParams
		e.buf = binary.AppendUvarint(e.buf, uint64(len(keys)))
		for _, key := range keys {
			e.buf = binary.AppendUvarint(e.buf, uint64(len(key)))
			e.buf = append(e.buf, key...)
		}
		add(0)
		for _, key := range keys {
			e.text(f.Params[key], add)
		}
	}
	if f.Items.Len > 0 {
		present |= 1 << hasItems
		e.items(&f.Items, add)
	}
	return e.assemble(f.Len, present)
}

// text adds a text column unless it is "" in every row.
func (e *encoder) text(s *Strings, add func(byte)) bool {
	if zero(s.Code) {
		return false
	}
	var encoding byte
	e.buf, encoding = e.appendText(e.buf, s)
	add(encoding)
	return true
}

func (e *encoder) items(f *ItemFrame, add func(byte)) {
	var present uint64
	for c := range f.Text {
		if !zero(f.Text[c].Code) {
			present |= 1 << c
		}
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(f.Len))
	e.buf = binary.AppendUvarint(e.buf, present)
	add(0)
	for _, values := range [][]int64{widen(e, f.Row), f.Price, f.Quantity} {
		var encoding byte
		e.buf, encoding = e.appendInts(e.buf, values)
		add(encoding)
	}
	for c := range f.Text {
		e.text(&f.Text[c], add)
	}
}

// assemble puts the columns' headers before them and compresses where it pays.
func (e *encoder) assemble(rows int, present uint64) []byte {
	each := len(e.buf) > compressWhole
	body := make([]byte, 0, len(e.buf)+3*len(e.spans)+24)
	head := binary.AppendUvarint([]byte{formatVersion, 0}, uint64(rows))
	if each || len(e.buf) < compressFrom {
		body = append(body, head...)
	}
	start := len(body)
	body = binary.AppendUvarint(body, present)
	for _, s := range e.spans {
		data := e.buf[s.start:s.end]
		if each && len(data) >= compressColumn {
			packed := binary.AppendUvarint(make([]byte, 0, len(data)/2+64), uint64(len(data)))
			packed = packer().EncodeAll(data, packed)
			if pays(len(data), len(packed)) {
				body = binary.AppendUvarint(body, uint64(len(packed))<<3|4|uint64(s.encoding))
				body = append(body, packed...)
				continue
			}
		}
		body = binary.AppendUvarint(body, uint64(len(data))<<3|uint64(s.encoding))
		body = append(body, data...)
	}
	if start > 0 {
		return body
	}
	packed := make([]byte, 0, len(body)+len(head)+16)
	packed = append(packed, head...)
	prefix := len(packed)
	packed = binary.AppendUvarint(packed, uint64(len(body)))
	packed = packer().EncodeAll(body, packed)
	if pays(len(body), len(packed)-prefix) {
		packed[1] = flagCompressed
		return packed
	}
	return append(packed[:prefix], body...)
}

// pays reports whether compressed bytes are worth the time to unpack them.
func pays(raw, packed int) bool { return packed <= raw-raw/8 && raw <= maxRatio*packed }

// appendIdentities appends the batch ids and the event ids, which nothing
// compresses.
func appendIdentities(dst []byte, f *Frame) []byte {
	dst = slices.Grow(dst, 16*(f.Len+len(f.Batches))+10)
	dst = binary.AppendUvarint(dst, uint64(len(f.Batches)))
	for i := range f.Batches {
		dst = append(dst, f.Batches[i][:]...)
	}
	for _, id := range f.EventID {
		dst = binary.LittleEndian.AppendUint64(dst, id.Hi)
		dst = binary.LittleEndian.AppendUint64(dst, id.Lo)
	}
	return dst
}

func paramKeys(f *Frame) []string {
	if len(f.Params) == 0 {
		return nil
	}
	keys := make([]string, 0, len(f.Params))
	for key, column := range f.Params {
		if !zero(column.Code) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func zero[T comparable](values []T) bool {
	var none T
	for _, v := range values {
		if v != none {
			return false
		}
	}
	return true
}

// widen copies small numbers into scratch room that holds until the next call.
func widen[T uint8 | uint32](e *encoder, values []T) []int64 {
	if cap(e.ints) < len(values) {
		e.ints = make([]int64, len(values))
	}
	wide := e.ints[:len(values)]
	for i, v := range values {
		wide[i] = int64(v)
	}
	return wide
}
