package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxLine bounds a line, in bytes. A web server's own limit on a request line
// is 8 KiB, and a log line holds one, a referrer and an agent.
const maxLine = 64 << 10

// decompress reads plain text, gzip or zstd, told apart by their first bytes.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return io.NopCloser(buffered), nil
	}
}

// lines reads lines of at most maxLine bytes.
type lines struct {
	r *bufio.Reader
	n int64 // lines read so far
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine)} }

// next returns a line with its end; it is valid until the next call. tooLong
// says that the line was longer than maxLine: only its beginning is returned.
// The last line may have no end. io.EOF comes after it.
func (l *lines) next() (line []byte, tooLong bool, err error) {
	line, err = l.r.ReadSlice('\n')
	switch {
	case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
		l.n++
		return line, false, nil
	case errors.Is(err, io.EOF):
		return nil, false, io.EOF
	case !errors.Is(err, bufio.ErrBufferFull):
		return nil, false, fmt.Errorf("cannot read line %d: %w", l.n+1, err)
	}
	l.n++
	line = bytes.Clone(line[:256])
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("cannot read line %d: %w", l.n, err)
	}
	return line, true, nil
}
