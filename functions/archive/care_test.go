package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bed is an archive on a disk in memory with a clock, and who cares for it.
type bed struct {
	*carer
	t      *testing.T
	fs     vfs.FS
	stores *embedded.Stores
	now    time.Time
	said   strings.Builder
}

func newBed(t *testing.T, cfg Config) *bed {
	t.Helper()
	b := &bed{t: t, fs: vfs.NewMem(), now: noon}
	s, err := embedded.Open("data", embedded.Options{FS: b.fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b.stores = s
	b.restart(cfg)
	return b
}

// restart forgets what the carer remembers.
func (b *bed) restart(cfg Config) {
	log := slog.New(slog.NewTextHandler(&b.said, nil))
	b.carer = newCarer(cfg, b.stores.Archive, b.stores.Journal, func() time.Time { return b.now }, log)
}

// add makes a complete file of a batch that arrived at an instant.
func (b *bed) add(arrival time.Time) event.BatchID {
	b.t.Helper()
	id, err := event.NewBatchIDAt(arrival)
	if err != nil {
		b.t.Fatal(err)
	}
	container, err := event.EncodeBatch(&event.Batch{ID: id, ReceivedAt: arrival, Instance: "i"})
	if err != nil {
		b.t.Fatal(err)
	}
	block, err := event.BlockOf(container)
	if err == nil {
		err = b.stores.Archive.Append(b.t.Context(), []store.Block{{Batch: id, ReceivedAt: arrival, Data: block}})
	}
	if err == nil {
		_, err = b.stores.Archive.Complete(b.t.Context(), arrival, store.ClosePolicy{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bed) tick(after time.Duration) {
	b.t.Helper()
	b.now = noon.Add(after)
	if err := b.care(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// want compares how many files the list has, and the disk, in noon's hour.
func (b *bed) want(when string, listed, onDisk int) {
	b.t.Helper()
	files, err := b.stores.Archive.List(b.t.Context(), event.HourOf(noon), event.HourOf(noon)+1)
	if err != nil {
		b.t.Fatal(err)
	}
	names, err := b.fs.List(b.fs.PathJoin("data", "archive", "2026", "11", "23", "12"))
	if err != nil {
		b.t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".avro") })
	if len(files) != listed || len(names) != onDisk {
		b.t.Errorf("%s: %d files are listed and %d on the disk, want %d and %d", when, len(files), len(names), listed, onDisk)
	}
}

func defaults() Config {
	return Config{
		FileBytes: 256 << 20, FileAge: time.Hour, FileIdle: 2 * time.Minute,
		MergeFiles: 4, MergeAfter: 2 * time.Hour, MergeKeep: 6 * time.Hour,
	}
}

func TestMergeSmallFiles(t *testing.T) {
	t.Parallel()
	b := newBed(t, defaults())
	for range 5 {
		b.add(noon)
	}
	b.tick(2*time.Hour + 59*time.Minute)
	b.want("before its time", 5, 5)
	b.tick(3 * time.Hour)
	b.want("two hours after its end", 1, 6)
	if said := b.said.String(); !strings.Contains(said, "files=5") || !strings.Contains(said, "batches=5 doubled=0") {
		t.Errorf("it said %q", said)
	}
	for range 3 {
		b.add(noon)
	}
	b.tick(8 * time.Hour)
	b.want("three late ones, while the old ones are kept", 4, 9)
	b.tick(10 * time.Hour)
	b.want("later: the old ones are gone, the late ones are merged", 1, 5)
	b.tick(17 * time.Hour)
	b.want("at the end", 1, 1)
}

// A process that knows nothing finds what another one has left to do, however
// long ago.
func TestMergeAfterARestart(t *testing.T) {
	t.Parallel()
	cfg := defaults()
	b := newBed(t, cfg)
	for range 5 {
		b.add(noon)
	}
	b.tick(3 * time.Hour)
	for _, days := range []int{1, 400} {
		for range 4 {
			b.add(noon)
		}
		b.restart(cfg)
		b.tick(time.Duration(days) * 24 * time.Hour)
		b.want(fmt.Sprintf("%d days later", days), 1, 6)
		b.tick(time.Duration(days)*24*time.Hour + 7*time.Hour)
		b.want(fmt.Sprintf("%d days and some hours later", days), 1, 1)
	}
}

// With more old hours than one tick looks at, ticks walk over all of them.
func TestWalkOverOldHours(t *testing.T) {
	t.Parallel()
	b := newBed(t, defaults())
	const hours = 2*hoursAtOnce + 10
	for h := range hours {
		for range 4 {
			b.add(noon.Add(time.Duration(h) * time.Hour))
		}
	}
	for range 3 {
		b.tick(1000 * time.Hour)
	}
	files, err := b.stores.Archive.List(t.Context(), firstHour, 1<<31-1)
	if err != nil || len(files) != hours {
		t.Errorf("%d files are left of %d hours: %v", len(files), hours, err)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	cfg := Config{FileBytes: 100, MergeFiles: 3}
	for _, c := range []struct {
		sizes string // one digit = tens of bytes; x is being written, d damaged
		want  string
	}{
		{"", ""},
		{"11", ""},
		{"111", "012"},
		{"9119", ""},
		{"91191", "124"},
		{"555", ""}, // two fill a file
		{"333333", "012 345"},
		{"1x1d1", "024"},
		{"1111111111111", "0123456789 abc"},
		{"0000", "0123"},
	} {
		var files []store.ArchiveFile
		damaged := map[string]bool{}
		for i, s := range c.sizes {
			path := string("0123456789abcdef"[i])
			f := store.ArchiveFile{Path: path, Complete: s != 'x', Bytes: 10}
			switch {
			case s == 'd':
				damaged[path] = true
			case s != 'x':
				f.Bytes = int64(s-'0') * 10
			}
			files = append(files, f)
		}
		var got []string
		for _, g := range cfg.groups(files, damaged) {
			got = append(got, strings.Join(g, ""))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: groups are %q, want %q", c.sizes, got, c.want)
		}
	}
}

// A damaged file is told of and left alone; the others are merged.
func TestMergeWithoutTheDamaged(t *testing.T) {
	t.Parallel()
	b := newBed(t, defaults())
	for range 5 {
		b.add(noon)
	}
	files, err := b.stores.Archive.List(t.Context(), firstHour, 1<<31-1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.fs.OpenReadWrite(b.fs.PathJoin("data", "archive", files[2].Path), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 8), int64(len(event.ContainerHeader())+20))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	b.tick(3 * time.Hour)
	b.want("when it is found", 5, 5)
	if !strings.Contains(b.said.String(), files[2].Path) {
		t.Errorf("it said %q", b.said.String())
	}
	b.tick(3*time.Hour + time.Minute)
	b.want("a tick later", 2, 6)
}

func TestRetention(t *testing.T) {
	t.Parallel()
	cfg := defaults()
	cfg.Retention = 48 * time.Hour
	b := newBed(t, cfg)
	var waiting event.BatchID
	for h := range 6 {
		arrival := noon.Add(time.Duration(h) * time.Hour)
		id := b.add(arrival)
		row := store.JournalRow{Batch: id, ReceivedAt: arrival, Payload: []byte("payload"), Stages: store.StagePublished}
		if err := b.stores.Journal.Append(t.Context(), []store.JournalRow{row}); err != nil {
			t.Fatal(err)
		}
		b.finish(id, arrival, store.StageArchived)
		if h != 3 {
			b.finish(id, arrival, store.StageProcessed)
		} else {
			waiting = id
		}
	}
	hours := func(want ...event.Hour) {
		t.Helper()
		got, err := b.stores.Archive.Hours(t.Context(), firstHour, 1<<31-1, 99)
		for i := range got {
			got[i] -= event.HourOf(noon)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("hours are noon + %v, want %v: %v", got, want, err)
		}
	}
	b.tick(48*time.Hour + 59*time.Minute)
	hours(0, 1, 2, 3, 4, 5)
	b.tick(49 * time.Hour)
	hours(1, 2, 3, 4, 5)
	b.tick(99 * time.Hour)
	hours(2, 3, 4) // with a batch that waits, and beside it
	if said := b.said.String(); !strings.Contains(said, "hours=1 files=1") || !strings.Contains(said, "unfinished") {
		t.Errorf("it said %q", said)
	}
	b.finish(waiting, noon.Add(3*time.Hour), store.StageProcessed)
	b.tick(99 * time.Hour)
	hours()
}

func (b *bed) finish(id event.BatchID, arrival time.Time, stage store.Stage) {
	b.t.Helper()
	if err := b.stores.Journal.Mark(b.t.Context(), stage, []store.JournalRow{{Batch: id, ReceivedAt: arrival}}); err != nil {
		b.t.Fatal(err)
	}
}

// Two processes get a tick each at the same time, again and again.
func TestTwoCare(t *testing.T) {
	t.Parallel()
	b := newBed(t, defaults())
	for h := range 20 {
		for range 6 {
			b.add(noon.Add(time.Duration(h) * time.Hour))
		}
	}
	b.now = noon.Add(100 * time.Hour)
	done := make(chan error)
	for range 2 {
		c := newCarer(b.cfg, b.archive, b.journal, b.clock, b.log)
		go func() { done <- c.care(context.Background()) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	files, err := b.archive.List(t.Context(), firstHour, 1<<31-1)
	if err != nil || len(files) != 20 {
		t.Errorf("%d files are left of 20 hours: %v", len(files), err)
	}
}

func TestCareConfig(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"":                           func(*Config) {},
		"MERGE_FILES":                func(c *Config) { c.MergeFiles = 1 },
		"MERGE_AFTER":                func(c *Config) { c.MergeAfter = c.FileAge },
		"MERGE_KEEP":                 func(c *Config) { c.MergeKeep = time.Second },
		"FOOTFALL_ARCHIVE_RETENTION": func(c *Config) { c.Retention = time.Hour },
	} {
		cfg := defaults()
		change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want one that names %q", err, want)
		}
	}
	cfg := defaults()
	cfg.MergeFiles, cfg.MergeAfter, cfg.MergeKeep = 0, 0, 0
	if err := cfg.Validate(); err != nil {
		t.Errorf("nothing is merged: %v", err)
	}
}
