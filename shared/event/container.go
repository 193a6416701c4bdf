package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The codecs are made once at first use and never change afterwards; both may
// be used by many goroutines at once.
var (
	compressor = sync.OnceValue(func() *zstd.Encoder {
		// Options that are constant and valid cannot fail.
		z, err := zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
			zstd.WithWindowSize(1<<20))
		if err != nil {
			panic("cannot make a zstd encoder: " + err.Error())
		}
		return z
	})
	decompressor = sync.OnceValue(func() *zstd.Decoder {
		z, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
			zstd.WithDecoderMaxMemory(MaxBatchRaw),
			zstd.WithDecoderMaxWindow(MaxBatchRaw))
		if err != nil {
			panic("cannot make a zstd decoder: " + err.Error())
		}
		return z
	})
)

// blockHeadBytes is the most that stands before a block's compressed data: a
// count of records (always 1) and a length.
const blockHeadBytes = 2 * binary.MaxVarintLen64

// appendContainer appends header, one block of one record, and sync marker.
func appendContainer(dst, compressed []byte) []byte {
	dst = append(dst, ContainerHeader()...)
	dst = appendLong(dst, 1)
	dst = appendLong(dst, int64(len(compressed)))
	dst = append(dst, compressed...)
	return append(dst, syncMarker[:]...)
}

// EncodeBatch is a batch as an Avro container of one block. It fails where the
// batch is over MaxBatchEvents, MaxBatchRaw or MaxBatchBytes: a Packer splits
// such a batch.
func EncodeBatch(b *Batch) ([]byte, error) {
	var p Packer
	for i := range b.Events {
		p.scratch = AppendEvent(p.scratch[:0], &b.Events[i])
		if !p.Add(p.scratch) {
			return nil, fmt.Errorf("cannot encode batch %q: expected at most %d events and %d bytes", b.ID, MaxBatchEvents, MaxBatchRaw)
		}
	}
	for i := range b.Refused {
		if !p.AddRefused(&b.Refused[i]) {
			return nil, fmt.Errorf("cannot encode batch %q: expected at most %d bytes", b.ID, MaxBatchRaw)
		}
	}
	container, err := p.seal(b.ID, b.ReceivedAt, b.Instance, 0, p.Events(), true)
	if err != nil {
		return nil, fmt.Errorf("cannot encode batch %q: %w", b.ID, err)
	}
	return container, nil
}

// DecodeBatch reads a container of one block, as EncodeBatch and Packer write
// it. It takes at most MaxBatchRaw bytes of memory for the block and the
// batch's own size; its strings are parts of one allocation.
func DecodeBatch(container []byte) (*Batch, error) {
	block, err := BlockOf(container)
	if err != nil {
		return nil, err
	}
	_, raw, err := openBlock(block)
	if err != nil {
		return nil, fmt.Errorf("cannot decode a batch: %w", err)
	}
	b, err := decodeRaw(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot decode a batch: %w", err)
	}
	return b, nil
}

// BlockOf is the part of a container that is appended to a file of the
// archive: the block with its count, its length and its sync marker. It is a
// part of container.
func BlockOf(container []byte) ([]byte, error) {
	h := ContainerHeader()
	if !bytes.HasPrefix(container, h) {
		return nil, errors.New("cannot read a batch container: expected the header of footfall.v1.Batch")
	}
	block := container[len(h):]
	n, _, err := splitBlock(block)
	if err != nil {
		return nil, fmt.Errorf("cannot read a batch container: %w", err)
	}
	if n != len(block) {
		return nil, errors.New("cannot read a batch container: expected exactly one block")
	}
	return block, nil
}

// errTorn says that data ends within a block.
var errTorn = errors.New("expected a whole block, found its beginning only")

// blockExtent reads the head of the first block of data: where its compressed
// bytes begin, and how long it is with its sync marker. errTorn where data
// ends within the head.
func blockExtent(data []byte) (start, length int, err error) {
	count, a := binary.Varint(data)
	size, b := binary.Varint(data[max(a, 0):])
	if a < 0 || b < 0 || (a > 0 && count != 1) || (b > 0 && (size < 0 || size > MaxBatchBytes)) {
		return 0, 0, errors.New("expected a block of one batch within the size limit")
	}
	if a == 0 || b == 0 {
		return 0, 0, errTorn
	}
	return a + b, a + b + int(size) + len(syncMarker), nil
}

// splitBlock finds the first block of data: its length with its marker, and
// its compressed bytes. errTorn where data ends before the block does.
func splitBlock(data []byte) (n int, compressed []byte, err error) {
	start, n, err := blockExtent(data)
	if err != nil {
		return 0, nil, err
	}
	if len(data) < n {
		return 0, nil, errTorn
	}
	end := n - len(syncMarker)
	if [16]byte(data[end:]) != syncMarker {
		return 0, nil, errors.New("expected the sync marker after a block")
	}
	return n, data[start:end], nil
}

// openBlock is splitBlock and the block's decompressed bytes, verified by the
// checksum of their frame.
func openBlock(data []byte) (n int, raw []byte, err error) {
	n, compressed, err := splitBlock(data)
	if err != nil {
		return 0, nil, err
	}
	raw, err = decompressor().DecodeAll(compressed, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot decompress a block: %w", err)
	}
	if len(raw) > MaxBatchRaw {
		return 0, nil, fmt.Errorf("cannot decompress a block: expected at most %d bytes", MaxBatchRaw)
	}
	return n, raw, nil
}
