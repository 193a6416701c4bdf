package event

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// rawBuffers lends buffers for blocks before and after compression.
var rawBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxBlock is the most that one block takes in a file, and so what a reader
// of blocks must be able to look ahead.
const maxBlock = MaxBatchBytes + blockHeadBytes + len(syncMarker)

// Reader reads the batches of a container file, as the archive keeps them. A
// batch may stand in the archive twice: drop it by its ID.
type Reader struct {
	r       *bufio.Reader
	started bool
	at      int64 // where the next block begins
	peeked  int   // bytes of the last block, which still stand in r
}

// peekBlock looks at the next block, or at what there is of it: nothing at the
// end, less where it is torn, its head only where that makes no sense.
func peekBlock(br *bufio.Reader) ([]byte, error) {
	data, err := br.Peek(blockHeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	_, n, broken := blockExtent(data)
	if broken != nil {
		n = blockHeadBytes // of what makes no sense the head is enough
	}
	data, err = br.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// NewReader reads from r, which stands at the start of a file.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 2*maxBlock)}
}

// Next is the next batch; io.EOF at the end of the file.
func (r *Reader) Next() (*Batch, error) {
	at := r.at
	block, err := r.NextBlock()
	if err != nil {
		return nil, err
	}
	b, err := block.Decode()
	if err != nil {
		r.at, r.peeked = at, 0 // it stays the next one
		return nil, fmt.Errorf("cannot read a batch at byte %d: %w", at, err)
	}
	return b, nil
}

// Block is a batch as it stands in a file: opened, so that its bytes are known
// to be whole, but not decoded.
type Block struct {
	Batch BatchID
	Data  []byte // with its count, its length and its sync marker; valid until the reader's next call
	raw   []byte // decompressed
}

// Mentions reports whether a text stands anywhere in the batch, be it as a
// part of another one. It decodes nothing.
func (b *Block) Mentions(text string) bool { return bytes.Contains(b.raw, []byte(text)) }

// Decode reads the batch.
func (b *Block) Decode() (*Batch, error) { return decodeRaw(b.raw) }

// NextBlock is the next block; io.EOF at the end of the file.
func (r *Reader) NextBlock() (Block, error) {
	if !r.started {
		if err := r.header(); err != nil {
			return Block{}, err
		}
		r.started = true
	}
	// What was peeked is there until the next call.
	_, _ = r.r.Discard(r.peeked)
	r.peeked = 0
	data, err := peekBlock(r.r)
	if err != nil {
		return Block{}, fmt.Errorf("cannot read a batch at byte %d: %w", r.at, err)
	}
	if len(data) == 0 {
		return Block{}, io.EOF
	}
	n, raw, err := openBlock(data)
	if err == nil && len(raw) < len(BatchID{}) {
		err = errors.New("expected a batch id")
	}
	if err != nil {
		return Block{}, fmt.Errorf("cannot read a batch at byte %d: %w", r.at, err)
	}
	r.peeked = n
	r.at += int64(n)
	return Block{Batch: BatchID(raw[:len(BatchID{})]), Data: data[:n], raw: raw}, nil
}

func (r *Reader) header() error {
	want := ContainerHeader()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.r, got); err != nil {
		return fmt.Errorf("cannot read the header of a batch file: %w", err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("cannot read a batch file: expected the header of footfall.v1.Batch")
	}
	r.at = int64(len(want))
	return nil
}

// ScanBlocks walks a file that a writer may have left behind: validEnd is
// where its last whole block ends (0 where not even the header is whole), and
// ids are the batches up to there, in order. A tail that was torn by a crash
// is no error. A broken block that whole ones follow is one: then validEnd and
// ids stop before it.
func ScanBlocks(r io.Reader) (validEnd int64, ids []BatchID, err error) {
	br := bufio.NewReaderSize(r, 2*maxBlock)
	header := ContainerHeader()
	got, err := br.Peek(len(header))
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, nil, fmt.Errorf("cannot scan a batch file: %w", err)
	case len(got) < len(header):
		return 0, nil, nil
	case !bytes.Equal(got, header):
		return 0, nil, errors.New("cannot scan a batch file: expected the header of footfall.v1.Batch")
	}
	_, _ = br.Discard(len(header))
	validEnd = int64(len(header))
	for {
		data, err := peekBlock(br)
		if err != nil {
			return validEnd, ids, fmt.Errorf("cannot scan a batch file: %w", err)
		}
		if len(data) == 0 {
			return validEnd, ids, nil
		}
		n, id, broken := blockID(data)
		if broken != nil {
			later, err := laterBlock(br)
			if err != nil {
				return validEnd, ids, fmt.Errorf("cannot scan a batch file: %w", err)
			}
			if later {
				return validEnd, ids, fmt.Errorf("cannot read the block at byte %d, though whole ones follow: %w", validEnd, broken)
			}
			return validEnd, ids, nil
		}
		ids = append(ids, id)
		_, _ = br.Discard(n)
		validEnd += int64(n)
	}
}

// blockID opens the block at the start of data and reads its batch's id.
func blockID(data []byte) (n int, id BatchID, err error) {
	n, raw, err := openBlock(data)
	if err != nil {
		return 0, id, err
	}
	if len(raw) < len(id) {
		return 0, id, errors.New("expected a batch id")
	}
	return n, BatchID(raw), nil
}

// laterBlock reports whether a whole block stands somewhere behind a broken
// one: where that one says that it ends (its own marker may be what broke), or
// behind any sync marker of what is left.
func laterBlock(br *bufio.Reader) (bool, error) {
	head, _ := br.Peek(blockHeadBytes)
	if _, n, broken := blockExtent(head); broken == nil {
		data, err := br.Peek(n + maxBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if len(data) > n {
			if _, _, broken := blockID(data[n:]); broken == nil {
				return true, nil
			}
		}
	}
	for {
		data, err := br.Peek(maxBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		at := bytes.Index(data, syncMarker[:])
		if at < 0 {
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			_, _ = br.Discard(len(data) - len(syncMarker) + 1)
			continue
		}
		_, _ = br.Discard(at + len(syncMarker))
		if data, err = peekBlock(br); err != nil {
			return false, err
		}
		if _, _, broken := blockID(data); broken == nil {
			return true, nil
		}
	}
}
