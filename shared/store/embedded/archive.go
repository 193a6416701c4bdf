package embedded

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

const (
	complete  = ".avro"
	beingOpen = ".avro.open"
	// maxPending bounds the blocks that wait for the disk.
	maxPending = 64 << 20
)

// archive is a folder of Avro files, YYYY/MM/DD/HH/<instance>-<n>.avro by hour
// of arrival. A file that is being written ends in .avro.open and is renamed
// in one step. Appends that come while the disk turns share the next write and
// its one sync per file.
type archive struct {
	fs       vfs.FS
	dir      string
	log      *slog.Logger
	now      func() time.Time
	instance string // sorts by time of start and names this process's files
	maxFiles int
	noSync   bool
	use      usage
	closing  sync.Once

	mu       sync.Mutex // never held over the disk
	pending  []*appending
	bytes    int  // of pending
	flushing bool // somebody writes what is pending

	disk    sync.Mutex // who has it writes or completes files
	files   map[event.Hour]*archiveFile
	made    int
	left    []*archiveFile // ours, closed, to be completed
	told    []event.BatchID
	scratch []byte

	care chan struct{} // who has it replaces, sweeps or drops files

	scan    sync.Mutex // recovery of what dead processes left: once
	scanned bool
}

// appending is one call of Append as it waits.
type appending struct {
	blocks []store.Block
	err    error
	done   chan struct{}
}

// archiveFile is a file that is being written.
type archiveFile struct {
	path         string // of the open file
	f            vfs.File
	size         int64
	batches      []event.BatchID
	opened, last time.Time
	torn         bool // a write has failed: only a scan tells what it holds
}

func newArchive(dir string, o Options) (*archive, error) {
	id, err := event.NewBatchID()
	if err != nil {
		return nil, err
	}
	return &archive{
		fs: o.FS, dir: dir, log: o.Logger, now: o.Now, maxFiles: o.ArchiveFiles, noSync: o.NoSync,
		instance: id.String()[:16],
		files:    make(map[event.Hour]*archiveFile),
		care:     make(chan struct{}, 1),
		use:      usage{idle: make(chan struct{}, 1)},
	}, nil
}

// Append implements store.Archive.
func (a *archive) Append(ctx context.Context, blocks []store.Block) error {
	if len(blocks) == 0 {
		return nil
	}
	const what = "append to the archive"
	if err := ctx.Err(); err != nil {
		return failed(what, err)
	}
	size := 0
	for i := range blocks {
		size += len(blocks[i].Data)
	}
	call := &appending{blocks: blocks, done: make(chan struct{})}
	a.mu.Lock()
	if a.bytes > 0 && a.bytes+size > maxPending {
		a.mu.Unlock()
		return fault.New(fault.Overloaded, "cannot %s: %d bytes wait for the disk already", what, maxPending)
	}
	if err := a.use.begin(); err != nil { // for the flush that will hold this call
		a.mu.Unlock()
		return failed(what, err)
	}
	a.pending = append(a.pending, call)
	a.bytes += size
	start := !a.flushing
	a.flushing = true
	a.mu.Unlock()
	if start {
		go a.flush()
	}
	select {
	case <-call.done:
		if call.err != nil {
			return failed(what, call.err)
		}
		return nil
	case <-ctx.Done():
		return failed(what, ctx.Err())
	}
}

// flush writes what is pending until nothing is.
func (a *archive) flush() {
	for {
		a.mu.Lock()
		calls := a.pending
		a.pending, a.bytes = nil, 0
		a.flushing = len(calls) > 0
		a.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		a.disk.Lock()
		a.writeCalls(calls)
		a.disk.Unlock()
		for _, c := range calls {
			close(c.done)
			a.use.end()
		}
	}
}

// writeCalls writes the blocks of calls, one write and sync per hour.
func (a *archive) writeCalls(calls []*appending) {
	hours := make(map[event.Hour][]*store.Block)
	for _, c := range calls {
		for i := range c.blocks {
			h := event.HourOf(c.blocks[i].ReceivedAt)
			hours[h] = append(hours[h], &c.blocks[i])
		}
	}
	errs := make(map[event.Hour]error)
	for h, blocks := range hours {
		if err := a.writeHour(h, blocks); err != nil {
			errs[h] = err
		}
	}
	if len(errs) == 0 {
		return
	}
	for _, c := range calls {
		for i := range c.blocks {
			if err := errs[event.HourOf(c.blocks[i].ReceivedAt)]; err != nil {
				c.err = err
			}
		}
	}
}

func (a *archive) writeHour(h event.Hour, blocks []*store.Block) error {
	f, err := a.file(h)
	if err != nil {
		return err
	}
	data := a.scratch[:0]
	if f.size == 0 {
		data = append(data, event.ContainerHeader()...)
	}
	for _, b := range blocks {
		data = append(data, b.Data...)
	}
	if cap(data) <= 4<<20 { // a burst's buffer is not kept
		a.scratch = data
	}
	isNew := f.size == 0
	_, err = f.f.Write(data)
	if err == nil && !a.noSync {
		err = f.f.SyncData()
	}
	if err == nil && isNew {
		err = syncDir(a.fs, a.fs.PathDir(f.path))
	}
	if err != nil {
		// What stands in it now nobody knows: it is scanned and completed later.
		f.torn = true
		return errors.Join(err, a.setAside(h))
	}
	f.size += int64(len(data))
	f.last = a.now()
	for _, b := range blocks {
		f.batches = append(f.batches, b.Batch)
	}
	return nil
}

// file is the open file of an hour. Where too many are open, the one that
// rested longest is set aside.
func (a *archive) file(h event.Hour) (*archiveFile, error) {
	if f := a.files[h]; f != nil {
		return f, nil
	}
	for len(a.files) >= a.maxFiles {
		rest, found := event.Hour(0), false
		for o, f := range a.files {
			if !found || f.last.Before(a.files[rest].last) {
				rest, found = o, true
			}
		}
		if err := a.setAside(rest); err != nil {
			return nil, err
		}
	}
	dir := a.fs.PathJoin(a.dir, a.fs.PathJoin(strings.Split(hourDir(h), "/")...))
	if err := makeDir(a.fs, dir); err != nil {
		return nil, err
	}
	a.made++
	path := a.fs.PathJoin(dir, a.instance+"-"+padded(a.made)+beingOpen)
	f, err := a.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	a.files[h] = &archiveFile{path: path, f: f, opened: a.now()}
	return a.files[h], nil
}

func padded(n int) string {
	s := strconv.Itoa(n)
	return "000000"[:max(0, 6-len(s))] + s
}

// hourDir is the folder of an hour within the archive.
func hourDir(h event.Hour) string { return h.Start().Format("2006/01/02/15") }

// setAside closes the file of an hour; Complete renames it.
func (a *archive) setAside(h event.Hour) error {
	f := a.files[h]
	delete(a.files, h)
	a.left = append(a.left, f)
	err := f.f.Close()
	f.f = nil
	f.torn = f.torn || err != nil
	return err
}

// due reports whether a policy closes a file now.
func (f *archiveFile) due(now time.Time, p store.ClosePolicy) bool {
	return p == store.ClosePolicy{} ||
		p.Bytes > 0 && f.size >= p.Bytes ||
		p.Age > 0 && now.Sub(f.opened) >= p.Age ||
		p.Idle > 0 && now.Sub(f.last) >= p.Idle
}

// Complete implements store.Archive.
func (a *archive) Complete(ctx context.Context, now time.Time, policy store.ClosePolicy) ([]event.BatchID, error) {
	const what = "complete files of the archive"
	if err := ctx.Err(); err != nil {
		return nil, failed(what, err)
	}
	if err := a.use.begin(); err != nil {
		return nil, failed(what, err)
	}
	var told *[]event.BatchID
	err := within(ctx, apart, func() error {
		defer a.use.end()
		// What fails here is tried again by the next call. One bad file does
		// not keep back the news of good ones.
		found, err := a.recoverOnce()
		a.disk.Lock()
		defer a.disk.Unlock()
		a.told = append(a.told, found...)
		if err = errors.Join(err, a.completeDue(now, policy)); err != nil {
			if len(a.told) == 0 {
				return err
			}
			a.log.Error("cannot complete a file of the archive", "error", err)
		}
		if ctx.Err() != nil {
			return ctx.Err() // nobody listens any more: told by the next call
		}
		t := a.told
		a.told = nil
		told = &t
		return nil
	})
	if err != nil {
		return nil, failed(what, err)
	}
	return *told, nil
}

// completeDue completes files that are due and those that were set aside.
func (a *archive) completeDue(now time.Time, policy store.ClosePolicy) error {
	var errs error
	for h, f := range a.files {
		if f.due(now, policy) {
			errs = errors.Join(errs, a.setAside(h))
		}
	}
	left := a.left
	a.left = nil
	for _, f := range left {
		var err error
		if f.torn {
			f.batches, err = a.recoverFile(f.path)
		} else {
			err = a.rename(f.path)
		}
		if err != nil {
			a.left = append(a.left, f)
			errs = errors.Join(errs, err)
			continue
		}
		a.told = append(a.told, f.batches...)
	}
	return errs
}

// rename gives an open file its final name, durably.
func (a *archive) rename(open string) error {
	if err := a.fs.Rename(open, strings.TrimSuffix(open, ".open")); err != nil {
		return err
	}
	return syncDir(a.fs, a.fs.PathDir(open))
}

// Open implements store.Archive.
func (a *archive) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	what := "open archive file " + strconv.Quote(path)
	if err := ctx.Err(); err != nil {
		return nil, failed(what, err)
	}
	f, err := a.openComplete(path)
	if isNotExist(err) {
		return nil, failed(what, fault.New(fault.NotFound, "there is no such file"))
	}
	if err != nil {
		return nil, failed(what, err)
	}
	return f, nil
}

func (a *archive) openComplete(path string) (io.ReadCloser, error) {
	parts := strings.Split(path, "/")
	ok := len(parts) == 5 && strings.HasSuffix(path, complete)
	for _, p := range parts {
		ok = ok && p != "" && p != "." && p != ".." && !strings.ContainsAny(p, `\:`)
	}
	if !ok {
		return nil, fault.New(fault.NotFound, "expected YYYY/MM/DD/HH/name.avro")
	}
	return a.fs.Open(a.fs.PathJoin(a.dir, a.fs.PathJoin(parts...)), vfs.SequentialReadsOption)
}

// Close implements store.Archive.
func (a *archive) Close() (err error) {
	a.closing.Do(func() {
		a.use.close()
		a.disk.Lock()
		defer a.disk.Unlock()
		for h := range a.files {
			err = errors.Join(err, a.setAside(h))
		}
	})
	return err
}
