package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func TestOneProcessOwnsAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "no other process uses"
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("opened a second time: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), dir) {
		t.Errorf("another process got the folder: %v: %s", err, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatalf("cannot open after close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestForeignDataIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key, value []byte
		want       string
	}{
		"a later version":    {[]byte{tableMeta, 'f'}, []byte{formatVersion + 1}, "expected data of format 2 to 4, found 5"},
		"too old a version":  {[]byte{tableMeta, 'f'}, []byte{readableVersion - 1}, "expected data of format 2 to 4, found 1"},
		"an older version":   {[]byte{tableMeta, 'f'}, []byte{readableVersion}, ""},
		"no version":         {[]byte("x"), []byte("y"), "without its format version"},
		"a broken version":   {[]byte{tableMeta, 'f'}, []byte{}, "cut short"},
		"nothing is foreign": {[]byte{tableMeta, 'f'}, []byte{formatVersion}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cache := pebble.NewCache(1 << 20)
			defer cache.Unref()
			db, err := pebble.Open(filepath.Join(dir, "store"), Options{}.withDefaults().pebble(cache))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Set(c.key, c.value, pebble.Sync), db.Close()); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, Options{})
			if err == nil {
				err = s.Close()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, expected %q", err, c.want)
			}
		})
	}
}

func TestClosedStoresRefuse(t *testing.T) {
	t.Parallel()
	s, err := Open("/data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	id := event.BatchID{1}
	inside := make(chan struct{})
	closed := make(chan error, 1)
	if err := s.Processed.Put(ctx, crashPut(id)); err != nil {
		t.Fatal(err)
	}
	// A call under way goes on to its end; Close waits for it.
	err = s.Processed.Scan(ctx, "m", 1, crashHour, crashHour+1, func(store.Doc) error {
		go func() { close(inside); closed <- s.Close() }()
		<-inside
		for s.engine.use.begin() == nil {
			s.engine.use.end()
		}
		select {
		case err := <-closed:
			return fmt.Errorf("closed during a call: %w", err)
		default:
			return nil
		}
	})
	if err := errors.Join(err, <-closed); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"append":   s.Journal.Append(ctx, []store.JournalRow{crashRow(id)}),
		"archive":  s.Archive.Append(ctx, []store.Block{{Batch: id}}),
		"scan":     s.Processed.Scan(ctx, "m", 1, 0, 1, nil),
		"complete": func() error { _, err := s.Archive.Complete(ctx, time.Now(), store.ClosePolicy{}); return err }(),
	} {
		if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s after close: %v", what, err)
		}
	}
}

// TestMarksGoLast crashes at many moments between a summary's writes: where
// the dirty mark is off, what was written before must be there.
func TestMarksGoLast(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, fs)
	rng := rand.New(rand.NewPCG(3, 4))
	clean := 0
	for i := range 30 {
		id := event.BatchID{byte(i)}
		k := store.SummaryKey{Merchant: "m", Start: int64(i)}
		put := crashPut(id)
		put.Docs[0].Key.Hour = event.Hour(i)
		_, seeErr := s.Visitors.See(ctx, "m", 1, []uint64{uint64(i)}, []int64{1}, nil)
		err := errors.Join(s.Processed.Put(ctx, put), seeErr,
			s.Summaries.Put(ctx, []store.SummaryEntry{{Key: k, Data: []byte("x")}}),
			s.Processed.Clean(ctx, []store.Mark{liveMark(put.Docs[0].Key)}))
		if err != nil {
			t.Fatal(err)
		}
		left := mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
		for j := range i + 1 {
			dirty, err := left.Processed.DirtyOf(ctx, "m", liveQueue, event.Hour(j), event.Hour(j+1))
			if err != nil {
				t.Fatal(err)
			}
			if len(dirty) > 0 {
				continue
			}
			clean++
			k.Start = int64(j)
			records, err := left.Summaries.Get(ctx, []store.SummaryKey{k})
			seen, seenErr := left.Visitors.FirstSeen(ctx, "m", 1, []uint64{uint64(j)})
			if err := errors.Join(err, seenErr); err != nil || records[0] == nil || seen[0] != 1 {
				t.Fatalf("hour %d is clean after a crash in step %d, its record is %q, its user was first seen at %d: %v", j, i, records[0], seen[0], err)
			}
		}
	}
	if clean == 0 {
		t.Error("no hour was ever clean")
	}
}

// stuckFS lets syncs wait, while it is stuck, until it is freed.
type stuckFS struct {
	vfs.FS
	stuck atomic.Bool
	free  chan struct{}
}

type stuckFile struct {
	vfs.File
	fs *stuckFS
}

func (f *stuckFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return stuckFile{file, f}, err
}

func (f stuckFile) SyncData() error { f.wait(); return f.File.SyncData() }
func (f stuckFile) Sync() error     { f.wait(); return f.File.Sync() }

// TestBrokenDiskAcknowledgesNothing lets every sync of the log fail.
func TestBrokenDiskAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	fs := &syncFS{FS: vfs.NewMem()}
	fatal := make(chan error, 10)
	s, err := Open("/data", Options{FS: fs, Fatal: func(err error) {
		fatal <- err
		runtime.Goexit() // in place of the end of the process
	}})
	if err != nil {
		t.Fatal(err)
	}
	fs.broken.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 3)
	for i := range cap(results) {
		go func() { results <- s.Journal.Append(ctx, []store.JournalRow{crashRow(event.BatchID{byte(i)})}) }()
	}
	for range cap(results) {
		select {
		case err := <-results:
			if err == nil {
				t.Error("a write was acknowledged though its sync failed")
			}
		case err := <-fatal:
			t.Log("the process would end:", err)
			cancel()
			return
		}
	}
	cancel()
}

// syncFS fails syncs of log files while it is broken.
type syncFS struct {
	vfs.FS
	broken atomic.Bool
}

type syncFile struct {
	vfs.File
	fs *syncFS
}

func (f *syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err == nil && strings.HasSuffix(name, ".log") {
		return syncFile{file, f}, nil
	}
	return file, err
}

func (f syncFile) SyncData() error { return errors.Join(f.err(), f.File.SyncData()) }
func (f syncFile) Sync() error     { return errors.Join(f.err(), f.File.Sync()) }

func (f syncFile) err() error {
	if f.fs.broken.Load() {
		return errors.New("the disk is broken")
	}
	return nil
}

func (f stuckFile) wait() {
	if f.fs.stuck.Load() {
		<-f.fs.free
	}
}

func TestDeadlinesAreKeptOnAStuckDisk(t *testing.T) {
	t.Parallel()
	fs := &stuckFS{FS: vfs.NewMem(), free: make(chan struct{})}
	s, err := Open("/data", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	fs.stuck.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error)
	id := event.BatchID{1}
	block, err := crashBlock(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{
		func() error { return s.Journal.Append(ctx, []store.JournalRow{crashRow(id)}) },
		func() error { return s.Archive.Append(ctx, []store.Block{block}) },
		func() error { return s.Processed.Put(ctx, crashPut(id)) },
	} {
		go func() { results <- write() }()
	}
	cancel() // a deadline that passes at once
	for range 3 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("a write on a stuck disk returned %v", err)
		}
	}
	close(fs.free)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestTornTail cuts an open archive file anywhere.
func TestTornTail(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var ids []event.BatchID
	var blocks []store.Block
	for i := range 3 {
		id := event.BatchID{byte(i)}
		b, err := crashBlock(id)
		if err != nil {
			t.Fatal(err)
		}
		ids, blocks = append(ids, id), append(blocks, b)
	}
	whole := bytes.Clone(event.ContainerHeader())
	ends := []int{len(whole)}
	for _, b := range blocks {
		whole = append(whole, b.Data...)
		ends = append(ends, len(whole))
	}
	broken := bytes.Clone(whole)
	broken[ends[1]+20] ^= 0xff
	cut := func(content []byte, kept int, damaged bool) {
		t.Helper()
		fs := vfs.NewCrashableMem()
		path := "/data/archive/1970/01/05/04/dead-000001.avro.open"
		if err := fs.MkdirAll(fs.PathDir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, strings.Replace(path, ".open", ".part", 1)} {
			f, err := fs.Create(p, vfs.WriteCategoryUnspecified)
			if err == nil {
				_, err = f.Write(bytes.Clone(content))
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		s := mustOpen(t, fs)
		got, err := s.Archive.Complete(ctx, time.Now(), store.ClosePolicy{Age: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != kept || kept > 0 && got[kept-1] != ids[kept-1] {
			t.Fatalf("cut to %d bytes: told of %d batches, expected %d", len(content), len(got), kept)
		}
		if have := archived(t, s); len(have) != kept {
			t.Fatalf("cut to %d bytes: %d batches in the archive, expected %d", len(content), len(have), kept)
		}
		names, err := fs.List(fs.PathDir(path))
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if kept > 0 {
			want++
		}
		if damaged {
			want++ // the file as it was
		}
		if len(names) != want {
			t.Fatalf("cut to %d bytes: the folder holds %v", len(content), names)
		}
	}
	for n := 0; n <= len(whole); n++ {
		kept := 0
		for kept < 3 && ends[kept+1] <= n {
			kept++
		}
		near := slices.ContainsFunc(ends, func(end int) bool { return n > end-20 && n < end+20 })
		if !near && n%97 != 0 {
			continue // each byte around the edges and some between are enough
		}
		cut(whole[:n], kept, false)
	}
	cut(broken, 1, true)
}

// TestFailedWriteIsSetAside lets one write to the archive fail half-way.
func TestFailedWriteIsSetAside(t *testing.T) {
	t.Parallel()
	fs := &brokenFS{FS: vfs.NewMem()}
	s, err := Open("/data", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for i := range 3 {
		b, err := crashBlock(event.BatchID{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		fs.fail = i == 1
		if err := s.Archive.Append(ctx, []store.Block{b}); (err != nil) != fs.fail {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	got, err := s.Archive.Complete(ctx, time.Now(), store.ClosePolicy{})
	if err != nil || len(got) != 2 {
		t.Errorf("told of %v, expected the two that were acknowledged: %v", got, err)
	}
	if have := archived(t, s); len(have) != 2 {
		t.Errorf("the archive holds %d batches, expected 2", len(have))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// brokenFS writes half of what it is given to archive files, when told so.
type brokenFS struct {
	vfs.FS
	fail bool
}

type brokenFile struct {
	vfs.File
	fs *brokenFS
}

func (f *brokenFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err == nil && strings.HasSuffix(name, beingOpen) {
		return brokenFile{file, f}, nil
	}
	return file, err
}

func (f brokenFile) Write(p []byte) (int, error) {
	if f.fs.fail {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, io.ErrShortWrite
	}
	return f.File.Write(p)
}

// Version 2 had each merchant's dirty hours at the place of its hash.
func TestUpgradeMovesDirtyHours(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, err := Open("/data", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var want []store.DirtyHour
	b := s.engine.db.NewBatch()
	for _, m := range []string{"m", "m22222", "mabcdefghij", "mzzzzzzzzzz"} {
		for _, q := range []store.Queue{store.LiveQueue, 3} {
			key := dirtyKey(m, q, 5)
			old := append(appendUint16(slices.Clone(key[:2]), hashPlace(m)), key[4:]...)
			if err := b.Set(old, nil, nil); err != nil {
				t.Fatal(err)
			}
			if q == store.LiveQueue {
				want = append(want, store.DirtyHour{Merchant: m, Queue: q, Hour: 5})
			}
		}
	}
	if err := errors.Join(b.Set([]byte{tableMeta, 'f'}, []byte{readableVersion}, nil), b.Commit(pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open("/data", Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var got []store.DirtyHour
	for i := range 4 {
		hours, err := s.Processed.Dirty(t.Context(), false, store.Shard{Index: i, Count: 4}, event.Hour(9).Start(), store.DirtyHour{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, hours...)
	}
	slices.SortFunc(got, func(a, b store.DirtyHour) int { return strings.Compare(a.Merchant, b.Merchant) })
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, h := range want {
		hours, err := s.Processed.DirtyOf(t.Context(), h.Merchant, []store.Queue{3}, 5, 6)
		if err != nil || len(hours) != 1 {
			t.Error(hours, err)
		}
	}
}
