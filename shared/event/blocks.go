package event

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

// Blocks reads a file of the archive block by block without opening them, and
// goes on behind what is damaged.
type Blocks struct {
	r       *bufio.Reader
	started bool
	at      int64
}

// DamageError is a part of a file that holds no whole block.
type DamageError struct {
	At, Bytes int64
	Err       error // what was met there
}

func (d *DamageError) Error() string {
	return fmt.Sprintf("%d bytes at byte %d are no batches: %v", d.Bytes, d.At, d.Err)
}

func (d *DamageError) Unwrap() error { return d.Err }

// NewBlocks reads from r, which stands at the start of a file.
func NewBlocks(r io.Reader) *Blocks { return &Blocks{r: bufio.NewReaderSize(r, 2*maxBlock)} }

// Reset goes on with another file, from its start.
func (b *Blocks) Reset(r io.Reader) {
	b.r.Reset(r)
	b.started, b.at = false, 0
}

// Next is the next whole block, which holds until the next call, and where it
// begins. A *DamageError says that something was passed over: Next may be called
// again. io.EOF is the end; any other error is the reader's.
func (b *Blocks) Next() (block []byte, at int64, err error) {
	if !b.started {
		b.started = true
		header := ContainerHeader()
		got, err := b.r.Peek(len(header))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		if !bytes.Equal(got, header) {
			return nil, 0, b.pass(errors.New("expected the header of footfall.v1.Batch"))
		}
		b.discard(len(header))
	}
	data, err := peekBlock(b.r)
	if err != nil {
		return nil, b.at, err
	}
	if len(data) == 0 {
		return nil, b.at, io.EOF
	}
	n, _, err := splitBlock(data)
	if err != nil {
		return nil, b.at, b.pass(err)
	}
	at = b.at
	b.discard(n) // the bytes stay until the next Peek
	return data[:n], at, nil
}

// discard drops bytes that were peeked.
func (b *Blocks) discard(n int) {
	_, _ = b.r.Discard(n)
	b.at += int64(n)
}

// pass goes to the next whole block, or to the end.
func (b *Blocks) pass(cause error) error {
	damage := &DamageError{At: b.at, Err: cause}
	// A marker may be all that broke: then the next block stands where it would.
	head, _ := b.r.Peek(blockHeadBytes)
	_, n, broken := blockExtent(head)
	if b.at == 0 {
		n, broken = len(ContainerHeader()), nil
	}
	if broken == nil {
		data, err := b.r.Peek(n + maxBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(data) > n {
			if _, _, broken := splitBlock(data[n:]); broken == nil {
				b.discard(n)
				damage.Bytes = b.at - damage.At
				return damage
			}
		}
	}
	for {
		data, err := b.r.Peek(maxBlock)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		at := bytes.Index(data, syncMarker[:])
		if at < 0 {
			if !end {
				b.discard(len(data) - len(syncMarker) + 1)
				continue
			}
			b.discard(len(data))
			damage.Bytes = b.at - damage.At
			return damage
		}
		b.discard(at + len(syncMarker))
		if data, err = peekBlock(b.r); err != nil {
			return err
		}
		if _, _, broken := splitBlock(data); broken == nil || len(data) == 0 {
			damage.Bytes = b.at - damage.At
			return damage
		}
	}
}

// RawSize is how large a whole block says that it is when it is decompressed;
// MaxBatchRaw where it does not say. What is no block is 0.
func RawSize(block []byte) int {
	_, compressed, err := splitBlock(block)
	if err != nil {
		return 0
	}
	var h zstd.Header
	if err := h.Decode(compressed); err != nil || !h.HasFCS || h.FrameContentSize > MaxBatchRaw {
		return MaxBatchRaw
	}
	return int(h.FrameContentSize)
}

// Decoder decodes many blocks into memory that it keeps for the next ones. It
// is for one goroutine.
type Decoder struct {
	slabs   [][]byte // of text; those before at are full
	at      int
	batches []*Batch
	used    int
	d       decoder
}

const slabBytes = 4 << 20

// Batch decodes a block. The batch and all its text hold until Reset.
func (d *Decoder) Batch(block []byte) (*Batch, error) {
	_, compressed, err := splitBlock(block)
	if err != nil {
		return nil, fmt.Errorf("cannot decode a batch: %w", err)
	}
	room := d.room(RawSize(block))
	raw, err := decompressor().DecodeAll(compressed, room)
	if err != nil {
		return nil, fmt.Errorf("cannot decode a batch: cannot decompress a block: %w", err)
	}
	if len(raw) > 0 && unsafe.SliceData(raw) == unsafe.SliceData(room) {
		slab := d.slabs[d.at]
		d.slabs[d.at] = slab[:len(slab)+len(raw)]
	}
	if d.used == len(d.batches) {
		d.batches = append(d.batches, new(Batch))
	}
	b := d.batches[d.used]
	*b = Batch{Events: b.Events[:0]}
	d.d.s, d.d.pos, d.d.count, d.d.err = unsafe.String(unsafe.SliceData(raw), len(raw)), 0, 0, nil
	if err := d.d.batch(b); err != nil {
		return nil, fmt.Errorf("cannot decode a batch: %w", err)
	}
	d.used++
	return b, nil
}

// room is an empty slice with place for n bytes, within a slab.
func (d *Decoder) room(n int) []byte {
	for ; d.at < len(d.slabs); d.at++ {
		if slab := d.slabs[d.at]; cap(slab)-len(slab) >= n {
			return slab[len(slab):len(slab):cap(slab)]
		}
	}
	d.slabs = append(d.slabs, make([]byte, 0, max(n, slabBytes)))
	return d.slabs[d.at]
}

// Reset takes back the memory of all batches.
func (d *Decoder) Reset() {
	for i := range d.slabs {
		d.slabs[i] = d.slabs[i][:0]
	}
	d.at, d.used = 0, 0
	d.d = decoder{}
}
