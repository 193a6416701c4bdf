package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/transform"
)

// Limits bound what a replay takes. The zero value of each means what is said
// with it.
type Limits struct {
	Workers     int           // chunks worked on at once: one for each CPU, and one that waits for the store
	ChunkBytes  int           // of a chunk's batches, decompressed: 16 MiB
	ChunkEvents int           // whose rows are packed together: 64,000
	DocEvents   int           // of a document, but for its last batch: 45,000
	DocBytes    int           // the same, in bytes: 8 MiB
	PutBytes    int           // of documents and rejects written at once: 4 MiB
	PutDocs     int           // the same, in number: 1000
	Timeout     time.Duration // of one call of a store: 30 s
}

func (l Limits) withDefaults() Limits {
	l.Workers = cmp.Or(l.Workers, runtime.GOMAXPROCS(0)+1)
	l.ChunkBytes = cmp.Or(l.ChunkBytes, 16<<20)
	l.ChunkEvents = cmp.Or(l.ChunkEvents, 64_000)
	l.DocEvents = cmp.Or(l.DocEvents, 45_000)
	l.DocBytes = cmp.Or(l.DocBytes, 8<<20)
	l.PutBytes = cmp.Or(l.PutBytes, 4<<20)
	l.PutDocs = cmp.Or(l.PutDocs, 1000)
	l.Timeout = cmp.Or(l.Timeout, 30*time.Second)
	return l
}

// Source is the archive as a replay reads it. store.Archive is one.
type Source interface {
	List(ctx context.Context, from, to event.Hour) ([]store.ArchiveFile, error)
	Open(ctx context.Context, path string) (io.ReadCloser, error)
}

// Target takes documents of a revision. store.Processed is one.
type Target interface {
	PutRevision(ctx context.Context, rev store.Revision, docs []store.Doc, rejects []store.Reject) error
}

// Replay does shards.
type Replay struct {
	source    Source
	target    Target
	transform *transform.Transform
	limits    Limits
}

// New makes a replay.
func New(source Source, target Target, t *transform.Transform, limits Limits) *Replay {
	return &Replay{source: source, target: target, transform: t, limits: limits.withDefaults()}
}

// Shard says what to replay.
type Shard struct {
	Revision store.Revision
	Index    int // of the shard within its job; names its documents
	// From and To bound the arrival of batches, [From, To) in ms since the Unix
	// epoch, by the instant in their ids.
	From, To int64
	// Covers says whose rows are wanted; nil: everybody's.
	Covers func(merchant string) bool
	Files  []string
	// Lenient reads on where a file cannot be read to its end, as if it ended
	// there, and says so.
	Lenient bool
}

// Done is what a shard did.
type Done struct {
	Counts   revision.Counts
	Problems []revision.Problem
}

// ReadError says that a file could not be read on, which another try may mend.
type ReadError struct {
	Path string
	At   int64 // bytes
	Err  error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("cannot read archive file %q behind byte %d: %v", e.Path, e.At, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

const (
	maxProblems = 100 // that are told one by one
	maxRelists  = 5   // of hours whose files went away
)

// Limits of a document's name.
const (
	MaxShards = 1 << 18 // of a job
	maxChunks = 1 << 11 // of a shard
	maxNumber = 1 << 11 // of a merchant's documents of one hour in a chunk
)

// docBatch names the n-th document of a merchant's hour in a chunk of a shard.
// It is below what package summary names the documents that it merges, of which
// the upper 24 bits are at least 1.
func docBatch(shard, chunk, n int) event.BatchID {
	return store.MergedBatchID(uint64(shard)<<22 | uint64(chunk)<<11 | uint64(n))
}

// chunk is a part of a shard's files.
type chunk struct {
	index  int
	data   []byte // of all blocks
	blocks []block
}

// block is where a block stands.
type block struct {
	start, end int // in data
	path       string
	at         int64
}

// Do replays a shard. What cannot be read is among the problems and does not
// stop it. An error of kind NotFound means that the shard is not one; any other
// that it must be done again.
func (r *Replay) Do(ctx context.Context, s Shard) (Done, error) {
	if s.Index < 0 || s.Index >= MaxShards {
		return Done{}, fault.New(fault.Invalid, "cannot replay shard %d: expected at most %d", s.Index, MaxShards)
	}
	w := &work{Replay: r, shard: s}
	group, ctx := errgroup.WithContext(ctx)
	chunks, free := make(chan *chunk), make(chan *chunk, r.limits.Workers+1)
	group.Go(func() error {
		defer close(chunks)
		r := &reading{
			work: w, blocks: event.NewBlocks(nil), chunks: chunks, free: free,
			seen: map[xxh3.Uint128]struct{}{}, read: map[string]bool{},
		}
		return r.files(ctx)
	})
	for range r.limits.Workers {
		group.Go(func() error {
			var decode event.Decoder
			for c := range chunks {
				if err := w.chunk(ctx, &decode, c); err != nil {
					return err
				}
				decode.Reset()
				free <- c
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Done{}, err
	}
	return w.finish(), nil
}

// work is one shard under way.
type work struct {
	*Replay
	shard Shard

	mu     sync.Mutex
	done   Done
	untold int // problems beyond maxProblems
}

func (w *work) problem(path, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.done.Problems) == maxProblems {
		w.untold++
		return
	}
	w.done.Problems = append(w.done.Problems, revision.Problem{
		Shard: strconv.Itoa(w.shard.Index), Path: path, Detail: fmt.Sprintf(format, args...),
	})
}

func (w *work) add(c revision.Counts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Counts.Add(c)
}

func (w *work) finish() Done {
	slices.SortFunc(w.done.Problems, func(a, b revision.Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Detail, b.Detail))
	})
	if w.untold > 0 {
		w.done.Problems = append(w.done.Problems, revision.Problem{
			Shard: strconv.Itoa(w.shard.Index), Detail: fmt.Sprintf("%d more", w.untold),
		})
	}
	return w.done
}

// reading is the way through a shard's files.
type reading struct {
	*work
	blocks *event.Blocks
	chunks chan<- *chunk
	free   <-chan *chunk
	made   int
	now    *chunk
	raw    int // bytes of now's batches, decompressed
	next   int // chunk's index
	seen   map[xxh3.Uint128]struct{}
	read   map[string]bool
}

// files reads all files. One that went away was merged with others of its hour
// into larger ones, which are read instead.
func (r *reading) files(ctx context.Context) error {
	gone := map[event.Hour]string{}
	for _, path := range r.shard.Files {
		if err := r.fileOrGone(ctx, path, gone); err != nil {
			return err
		}
	}
	for try := 0; len(gone) > 0; try++ {
		again := map[event.Hour]string{}
		for hour, path := range gone {
			if try == maxRelists {
				return &ReadError{Path: path, Err: errors.New("the files of its hour go away again and again")}
			}
			if err := r.hour(ctx, hour, path, again); err != nil {
				return err
			}
		}
		gone = again
	}
	if r.now != nil && len(r.now.blocks) > 0 {
		return r.send(ctx)
	}
	return nil
}

// hour reads the files that an hour has now, but for those that were read.
func (r *reading) hour(ctx context.Context, hour event.Hour, missing string, gone map[event.Hour]string) error {
	asking, cancel := context.WithTimeout(ctx, r.limits.Timeout)
	files, err := r.source.List(asking, hour, hour+1)
	cancel()
	if err != nil {
		return err
	}
	found := 0
	for _, f := range files {
		if !f.Complete {
			continue
		}
		found++
		if !r.read[f.Path] {
			if err := r.fileOrGone(ctx, f.Path, gone); err != nil {
				return err
			}
		}
	}
	if found == 0 {
		r.problem(missing, "the file is not there any more, nor another of its hour")
	}
	return nil
}

func (r *reading) fileOrGone(ctx context.Context, path string, gone map[event.Hour]string) error {
	err := r.file(ctx, path)
	if err == nil {
		r.read[path] = true
		return nil
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	hour, ok := hourOf(path)
	if !ok {
		r.problem(path, "the file is not there, and its name says no hour")
		return nil
	}
	gone[hour] = path
	return nil
}

// hourOf is the hour of arrival that a path begins with, "2026/11/23/18/…".
func hourOf(path string) (event.Hour, bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 5 {
		return 0, false
	}
	at := make([]int, 4)
	for i := range at {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return 0, false
		}
		at[i] = n
	}
	start, _ := store.FolderSpan(at)
	return event.HourOf(start), true
}

// file reads one file block by block. NotFound where it is not there.
func (r *reading) file(ctx context.Context, path string) error {
	in, err := r.source.Open(ctx, path)
	if err != nil {
		if fault.Is(err, fault.NotFound) || !r.shard.Lenient || ctx.Err() != nil {
			return err
		}
		r.problem(path, "it cannot be opened: %v", err)
		return nil
	}
	defer in.Close()
	for r.blocks.Reset(in); ; {
		data, at, err := r.blocks.Next()
		var damage *event.DamageError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &damage):
			r.problem(path, "%v", damage)
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.Is(err, fault.NotFound): // it went away while it was read: what was read is met again
			return err
		case r.shard.Lenient:
			r.problem(path, "it cannot be read behind byte %d: %v", at, err)
			return nil
		default:
			return &ReadError{Path: path, At: at, Err: err}
		}
		hash := xxh3.Hash128(data)
		if _, met := r.seen[hash]; met {
			continue
		}
		r.seen[hash] = struct{}{}
		if err := r.add(ctx, data, path, at); err != nil {
			return err
		}
	}
}

// add puts a block into the chunk that is being filled.
func (r *reading) add(ctx context.Context, data []byte, path string, at int64) error {
	raw := event.RawSize(data)
	if r.now != nil && len(r.now.blocks) > 0 && r.raw+raw > r.limits.ChunkBytes {
		if err := r.send(ctx); err != nil {
			return err
		}
	}
	if r.now == nil {
		if r.next == maxChunks {
			return fault.New(fault.Invalid, "cannot replay shard %d: it is larger than %d chunks of %d bytes", r.shard.Index, maxChunks, r.limits.ChunkBytes)
		}
		c, err := r.room(ctx)
		if err != nil {
			return err
		}
		*c = chunk{index: r.next, data: c.data[:0], blocks: c.blocks[:0]}
		r.now, r.raw = c, 0
		r.next++
	}
	c := r.now
	start := len(c.data)
	c.data = append(c.data, data...)
	c.blocks = append(c.blocks, block{start: start, end: len(c.data), path: path, at: at})
	r.raw += raw
	return nil
}

// room is a chunk that nobody uses: at most one for each worker and one that is
// being filled.
func (r *reading) room(ctx context.Context) (*chunk, error) {
	select {
	case c := <-r.free:
		return c, nil
	default:
	}
	if r.made <= r.limits.Workers {
		r.made++
		return new(chunk), nil
	}
	select {
	case c := <-r.free:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reading) send(ctx context.Context) error {
	select {
	case r.chunks <- r.now:
		r.now = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
