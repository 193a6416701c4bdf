package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/store"
)

// formatVersion is the version of keys and values in the database. It grows
// with every change that an older program would misread.
const formatVersion = 4

// readableVersion is the oldest that this program goes on with (see upgrade).
const readableVersion = 2

// Options of a data folder; the zero value is right for production.
type Options struct {
	FS            vfs.FS           // nil: the operating system's files
	Logger        *slog.Logger     // nil: no log
	Now           func() time.Time // nil: time.Now
	CacheBytes    int64            // memory for blocks that were read; 0: 64 MiB
	MemTableBytes uint64           // memory for writes not in tables yet, twice this at most by and large; 0: 32 MiB
	ArchiveFiles  int              // archive files open for writing at once; 0: 16
	NoSync        bool             // for benchmarks only: do not wait for the disk
	// Fatal is called when the disk has failed a write that cannot be undone.
	// It must not return: going on could acknowledge what is not there. Nil
	// ends the process, and the next start finds all that was acknowledged.
	Fatal func(error)
}

// Stores are all stores of one data folder.
type Stores struct {
	Journal   store.Gatherer
	Archive   store.Archive
	Processed store.Processed
	Visitors  store.Visitors
	Summaries store.Summaries
	Quotas    store.Quotas
	Registry  store.Registry
	Revisions store.Revisions
	Erasures  store.Erasures

	engine  *engine
	archive *archive
	cache   *pebble.Cache
	lock    interface{ Close() error }
	closed  func() error
}

// Open opens the data folder, and makes it where there is none. It fails when
// another process has it open, or when a later version has written it.
func Open(dir string, o Options) (*Stores, error) {
	o = o.withDefaults()
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("cannot open data folder %q: %w", dir, err)
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 32 << 20
	}
	if o.ArchiveFiles == 0 {
		o.ArchiveFiles = 16
	}
	if o.Fatal == nil {
		o.Fatal = func(error) { os.Exit(1) }
	}
	return o
}

func open(dir string, o Options) (*Stores, error) {
	storeDir, archiveDir := o.FS.PathJoin(dir, "store"), o.FS.PathJoin(dir, "archive")
	for _, d := range []string{dir, storeDir, archiveDir} {
		if err := makeDir(o.FS, d); err != nil {
			return nil, err
		}
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(dir, "LOCK"))
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || !errors.As(err, new(syscall.Errno)) {
			return nil, fmt.Errorf("expected a folder that no other process uses; stop the Footfall that runs on it, or choose another folder: %w", err)
		}
		return nil, err
	}
	// Pebble takes what its memtables may hold out of the cache: without their
	// share, two of them leave no room for blocks.
	cache := pebble.NewCache(o.CacheBytes + 2*int64(o.MemTableBytes))
	db, err := pebble.Open(storeDir, o.pebble(cache))
	if err != nil {
		cache.Unref()
		return nil, errors.Join(err, lock.Close())
	}
	e := &engine{db: db, noSync: o.NoSync, writes: make(chan struct{}, maxWrites), use: usage{idle: make(chan struct{}, 1)}, runs: newRunners(), says: pebbleLog{o.Logger, o.Fatal}}
	a, err := newArchive(archiveDir, o)
	if err == nil {
		err = e.checkFormat()
	}
	var recent *young
	if err == nil {
		recent, err = openYoung(e)
	}
	if err != nil {
		err = errors.Join(err, db.Close(), lock.Close())
		cache.Unref()
		return nil, err
	}
	s := &Stores{
		Journal:   &journal{e: e, young: recent},
		Archive:   a,
		Processed: &processed{e: e},
		Visitors:  &visitors{e: e},
		Summaries: &summaries{e: e},
		Quotas:    newQuotas(o.Now),
		Registry:  &registry{e: e},
		Revisions: &revisions{e: e}, Erasures: &erasures{e: e},
		engine: e, archive: a, cache: cache, lock: lock,
	}
	s.closed = sync.OnceValue(s.close)
	return s, nil
}

// Close waits for calls under way, refuses new ones, and lets the folder go.
// Everything that was acknowledged is on disk already; what stands in the log
// only is written to tables, so that the next start has no log to read. Closing again
// does nothing, and says what the first time said.
func (s *Stores) Close() error { return s.closed() }

func (s *Stores) close() error {
	s.engine.use.close()
	close(s.engine.runs.stop)
	err := errors.Join(s.archive.Close(), s.engine.db.Flush(), s.engine.db.Close(), s.lock.Close())
	s.cache.Unref()
	return err
}

// checkFormat compares the version in the database with ours, and writes ours
// into an empty one.
func (e *engine) checkFormat() error {
	key := []byte{tableMeta, 'f'}
	var have uint64
	found, err := e.get(key, func(v []byte) error {
		d := decoder{b: v}
		have = d.uvarint()
		return d.err
	})
	switch {
	case err != nil:
		return err
	case found && have == formatVersion:
		return nil
	case found && have >= readableVersion && have < formatVersion:
		return e.upgrade(key, have)
	case found:
		return fmt.Errorf("expected data of format %d to %d, found %d: use the version of Footfall that wrote it", readableVersion, formatVersion, have)
	}
	it, err := e.span(context.Background(), nil, nil)
	if err != nil {
		return err
	}
	empty := !it.First()
	if err := finish(it, nil); err != nil {
		return err
	}
	if !empty {
		return errors.New("expected a store of Footfall, found a database without its format version")
	}
	return e.db.Set(key, binary.AppendUvarint(nil, formatVersion), pebble.Sync)
}

// upgrade moves the keys of dirty hours to their places of today, where version 2 wrote
// them, in one step with the version. Changes of merchants are read as it wrote them, and
// large documents as version 3 did.
func (e *engine) upgrade(version []byte, have uint64) error {
	if have > 2 {
		return e.db.Set(version, binary.AppendUvarint(nil, formatVersion), pebble.Sync)
	}
	b := e.db.NewBatch()
	it, err := e.span(context.Background(), []byte{tableDirty}, []byte{tableDirty + 1})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		old := it.Key()
		d := decoder{b: old[4:]} // after table, queue and place
		name := d.bytes()
		moved := append(appendUint16(slices.Clone(old[:2]), placeOf(string(name))), old[4:]...)
		err = errors.Join(d.err, b.Delete(old, nil), b.Set(moved, nil, nil))
	}
	if err = finish(it, err); err == nil {
		err = b.Set(version, binary.AppendUvarint(nil, formatVersion), nil)
	}
	if err == nil {
		err = e.db.Apply(b, pebble.Sync)
	}
	return errors.Join(err, b.Close())
}

// pebble are the database's options: sizes for a machine that does other
// things, too. Filters spare point reads of keys that are not there (does the
// journal know this batch, is this visitor new) nearly every look at a table.
func (o Options) pebble(cache *pebble.Cache) *pebble.Options {
	p := &pebble.Options{
		FS:                          disk{o.FS, o.Logger},
		Cache:                       cache,
		Merger:                      sumsMerger,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                1000,
		WALBytesPerSync:             1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLog{o.Logger, o.Fatal},
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		p.Levels[i].BlockSize = 16 << 10
		p.Levels[i].IndexBlockSize = 64 << 10
	}
	p.TargetFileSizes[0] = 4 << 20
	return p
}

// pebbleLog passes on what Pebble says.
type pebbleLog struct {
	log   *slog.Logger
	fatal func(error)
}

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("pebble", "says", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "says", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.log.Error("the store cannot go on", "error", err)
	l.fatal(err)
}

// makeDir makes a folder durably: each new one is synced into its parent.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir && parent != "." {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
