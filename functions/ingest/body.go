package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/fault"
)

// readChunk is how much is reserved and read at a time where a body's length
// is not known beforehand.
const readChunk = 32 << 10

// body reads a request's body, decompressed, into memory of rq. What it takes
// is reserved at the gate before it is read, so that neither many bodies nor
// one that unpacks into gigabytes can exhaust memory.
func (in *Ingest) body(rq *request, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := in.cfg.MaxBodyBytes
	encoding := r.Header.Get("Content-Encoding")
	if encoding != "" {
		encoding = strings.ToLower(strings.TrimSpace(encoding))
	}
	compressed := encoding != "" && encoding != "identity"
	if compressed {
		limit = in.cfg.MaxWireBytes
	}
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	source := r.Body // at most as long as it says
	if r.ContentLength < 0 {
		source = http.MaxBytesReader(w, r.Body, int64(limit))
	}
	var err error
	switch encoding {
	case "", "identity":
		rq.plain, err = in.readAll(rq, rq.plain[:0], source, limit, r.ContentLength)
		return rq.plain, err
	case "gzip", "x-gzip":
		if rq.gzip == nil {
			rq.gzip = new(gzip.Reader)
		}
		if err := rq.gzip.Reset(source); err != nil {
			return nil, readFault(err, limit)
		}
		rq.plain, err = in.readAll(rq, rq.plain[:0], rq.gzip, in.cfg.MaxBodyBytes, -1)
		return rq.plain, err
	case "zstd":
		if rq.wire, err = in.readAll(rq, rq.wire[:0], source, limit, r.ContentLength); err != nil {
			return nil, err
		}
		return in.unzstd(rq)
	default:
		return nil, &fault.Error{Kind: fault.Unsupported, Field: "content-encoding", Expected: "gzip, zstd or none"}
	}
}

// unzstd decompresses rq.wire. A frame says how long it is, or the whole limit
// is reserved for it: the decoder stops there.
func (in *Ingest) unzstd(rq *request) ([]byte, error) {
	size := in.cfg.MaxBodyBytes
	var head zstd.Header
	if head.Decode(rq.wire) == nil && head.HasFCS && head.FrameContentSize < uint64(size) {
		size = int(head.FrameContentSize)
	}
	if err := in.hold(rq, size); err != nil {
		return nil, err
	}
	plain, err := in.zstd.DecodeAll(rq.wire, rq.plain[:0])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), len(plain) > in.cfg.MaxBodyBytes:
		return nil, tooLarge(in.cfg.MaxBodyBytes)
	case err != nil:
		return nil, fault.Field("body", "zstd data, for that is what Content-Encoding says")
	}
	rq.plain = plain
	return plain, nil
}

// readAll reads source to its end, at most limit bytes. size is the length
// where it is known, else -1.
func (in *Ingest) readAll(rq *request, dst []byte, source io.Reader, limit int, size int64) ([]byte, error) {
	room := readChunk
	if size >= 0 {
		room = int(size) + 1 // to see the end
	}
	if cap(dst) < room {
		dst = nil
	} else if err := in.hold(rq, cap(dst)); err != nil { // memory of an earlier request counts from now on
		return dst, err
	}
	for {
		if len(dst) == cap(dst) {
			if err := in.hold(rq, room); err != nil {
				return dst, err
			}
			grown := make([]byte, len(dst), len(dst)+room)
			copy(grown, dst)
			dst = grown
			room = min(cap(dst), limit+1-min(limit, cap(dst))) // doubling, up to one byte too many
		}
		for len(dst) < cap(dst) {
			n, err := source.Read(dst[len(dst):cap(dst)])
			dst = dst[:len(dst)+n]
			if len(dst) > limit {
				return dst, tooLarge(limit)
			}
			if err == io.EOF {
				return dst, nil
			}
			if err != nil {
				return dst, readFault(err, limit)
			}
		}
	}
}

// hold reserves memory for a request; it is given back when the request ends.
func (in *Ingest) hold(rq *request, n int) error {
	if err := in.gate.hold(int64(n)); err != nil {
		return err
	}
	rq.held += int64(n)
	return nil
}

func tooLarge(limit int) error {
	return &fault.Error{Kind: fault.TooLarge, Field: "body", Expected: fmt.Sprintf("at most %d bytes", limit)}
}

// readFault says whose fault it is that a body could not be read.
func readFault(err error, limit int) error {
	var over *http.MaxBytesError
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return fault.Field("body", "gzip data, for that is what Content-Encoding says")
	default:
		return fault.Field("body", "as many bytes as announced")
	}
}

// trimmed is a buffer to keep for the next request, or none where it has
// grown large.
func trimmed(b []byte) []byte {
	const keep = 256 << 10
	if cap(b) > keep {
		return nil
	}
	return b[:0]
}
