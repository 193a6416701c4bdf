package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// block is a real batch as a block; ms is its arrival.
func block(t TB, id int, arrival time.Time) store.Block {
	t.Helper()
	b := event.Batch{ID: batchID(id), ReceivedAt: arrival, Instance: "i", Events: []event.Event{
		{ID: fmt.Sprint("e", id), Stream: "G-A", Name: "page_view", TimeMicros: arrival.UnixMicro(), ClientID: "c"},
	}}
	container, err := event.EncodeBatch(&b)
	ok(t, err)
	data, err := event.BlockOf(container)
	ok(t, err)
	return store.Block{Batch: b.ID, ReceivedAt: arrival, Data: data}
}

// readFile returns the batches of a complete file, in its order.
func readFile(t TB, a store.Archive, path string) (ids []event.BatchID) {
	t.Helper()
	f, err := a.Open(deadline(t), path)
	ok(t, err)
	r := event.NewReader(f)
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		if len(b.Events) != 1 {
			t.Fatalf("batch %s of %s has %d events, expected 1", b.ID, path, len(b.Events))
		}
		ids = append(ids, b.ID)
	}
	ok(t, f.Close())
	return ids
}

func listAll(t TB, a store.Archive) []store.ArchiveFile {
	t.Helper()
	files, err := a.List(deadline(t), -1<<31, 1<<31-1)
	ok(t, err)
	return files
}

func sorted(ids []event.BatchID) []event.BatchID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b event.BatchID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// Archive is the suite of store.Archive.
func Archive(t *testing.T, open Opener[store.Archive]) {
	type A = store.Archive
	all := store.ClosePolicy{}
	archiveCare(t, open)
	sub(t, open, "files by hour of arrival", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		ok(t, a.Append(ctx, nil))
		ok(t, a.Append(ctx, []store.Block{block(t, 1, noon), block(t, 2, noon.Add(-time.Nanosecond)), block(t, 3, noon.Add(time.Hour-1))}))
		ok(t, a.Append(ctx, []store.Block{block(t, 4, noon)}))
		for _, f := range listAll(t, a) {
			if f.Complete {
				t.Fatalf("file %+v is complete before Complete", f)
			}
			wantKind(t, second(a.Open(ctx, f.Path)), fault.NotFound)
		}
		ids, err := a.Complete(ctx, noon, all)
		ok(t, err)
		same(t, "batches in complete files", sorted(ids), []event.BatchID{batchID(1), batchID(2), batchID(3), batchID(4)})
		ids, err = a.Complete(ctx, noon, all)
		ok(t, err)
		same(t, "batches told twice", ids, []event.BatchID{})
		files := listAll(t, a)
		same(t, "number of files", len(files), 2)
		h := event.HourOf(noon)
		for i, want := range []struct {
			hour event.Hour
			ids  []event.BatchID
		}{{h - 1, []event.BatchID{batchID(2)}}, {h, []event.BatchID{batchID(1), batchID(3), batchID(4)}}} {
			f := files[i]
			same(t, "batches", readFile(t, a, f.Path), want.ids)
			if f.Hour != want.hour || !f.Complete || f.Bytes <= 0 || !strings.HasPrefix(f.Path, want.hour.Start().Format("2006/01/02/15/")) || !strings.HasSuffix(f.Path, ".avro") {
				t.Fatalf("file is %+v, expected a complete one of hour %s", f, want.hour)
			}
		}
		for _, c := range []struct {
			from, to event.Hour
			want     []store.ArchiveFile
		}{{h - 1, h, files[:1]}, {h, h + 1, files[1:]}, {h - 1, h + 1, files}, {h, h, nil}, {h + 1, h + 9, nil}, {-5, 5, nil}} {
			got, err := a.List(ctx, c.from, c.to)
			ok(t, err)
			same(t, fmt.Sprintf("files from %s to %s", c.from, c.to), got, c.want)
		}
	})
	sub(t, open, "closed when due", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		b := block(t, 1, noon)
		ok(t, a.Append(ctx, []store.Block{b}))
		now := time.Now()
		for i, c := range []struct {
			now    time.Time
			policy store.ClosePolicy
			due    bool
		}{
			{now, store.ClosePolicy{Bytes: 1 << 30, Age: time.Hour, Idle: time.Hour}, false},
			{now, store.ClosePolicy{Bytes: int64(len(b.Data))}, true},
			{now.Add(50 * time.Minute), store.ClosePolicy{Bytes: 1 << 30, Age: time.Hour}, false},
			{now.Add(time.Hour + time.Minute), store.ClosePolicy{Bytes: 1 << 30, Age: time.Hour}, true},
			{now.Add(50 * time.Minute), store.ClosePolicy{Idle: time.Hour}, false},
			{now.Add(time.Hour + time.Minute), store.ClosePolicy{Idle: time.Hour}, true},
		} {
			ids, err := a.Complete(ctx, c.now, c.policy)
			ok(t, err)
			same(t, fmt.Sprintf("file is closed in step %d", i), len(ids) > 0, c.due)
			if c.due {
				ok(t, a.Append(ctx, []store.Block{b}))
			}
		}
		ids, err := a.Complete(ctx, now, all)
		ok(t, err)
		same(t, "batches", ids, []event.BatchID{b.Batch})
	})
	sub(t, open, "a batch may come twice", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		b := block(t, 1, noon)
		ok(t, a.Append(ctx, []store.Block{b, b}))
		ok(t, a.Append(ctx, []store.Block{b}))
		ids, err := a.Complete(ctx, noon, all)
		ok(t, err)
		same(t, "batches", slices.Compact(ids), []event.BatchID{b.Batch})
	})
	sub(t, open, "more hours than files may be open", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		var want []event.BatchID
		for i := range 100 {
			ok(t, a.Append(ctx, []store.Block{block(t, i, noon.Add(time.Duration(i%50)*time.Hour))}))
			want = append(want, batchID(i))
		}
		ids, err := a.Complete(ctx, noon, all)
		ok(t, err)
		same(t, "batches", sorted(ids), want)
	})
	sub(t, open, "what is not there", func(t *testing.T, a A, _ func() A) {
		for _, path := range []string{
			"2026/11/23/12/none.avro", "", "/", "..", "2026/11/23/12/../../../../../../etc/passwd.avro", "2026/11/23/12/..avro", "/etc/passwd",
		} {
			wantKind(t, second(a.Open(deadline(t), path)), fault.NotFound)
		}
		wantKind(t, a.Append(ended(), []store.Block{block(t, 1, noon)}), fault.Transient)
		wantKind(t, second(a.Complete(ended(), noon, all)), fault.Transient)
		same(t, "files", listAll(t, a), []store.ArchiveFile{})
	})
	sub(t, open, "many at once", func(t *testing.T, a A, _ func() A) {
		const writers, each = 16, 20
		ctx := deadline(t)
		blocks := make([]store.Block, writers*each)
		for i := range blocks {
			blocks[i] = block(t, i, noon.Add(time.Duration(i%2)*time.Hour))
		}
		var mu sync.Mutex
		var told []event.BatchID
		tell := func() error {
			ids, err := a.Complete(ctx, noon, all)
			mu.Lock()
			defer mu.Unlock()
			told = append(told, ids...)
			return err
		}
		parallel(t, writers, func(w int) error {
			for i := range each {
				err := a.Append(ctx, blocks[w*each+i:][:1])
				if i%10 == 5 && w == 0 {
					err = errors.Join(err, tell())
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		ok(t, tell())
		var read []event.BatchID
		for _, f := range listAll(t, a) {
			read = append(read, readFile(t, a, f.Path)...)
		}
		same(t, "number of batches", len(told), writers*each)
		same(t, "batches told and read", sorted(read), sorted(told))
	})
	sub(t, open, "survives a crash", func(t *testing.T, a A, reopen func() A) {
		ctx := within(t, 3*time.Minute)
		ok(t, a.Append(ctx, []store.Block{block(t, 1, noon)}))
		ids, err := a.Complete(ctx, noon, all)
		ok(t, err)
		same(t, "batches", ids, []event.BatchID{batchID(1)})
		ok(t, a.Append(ctx, []store.Block{block(t, 2, noon), block(t, 3, noon.Add(time.Hour))}))
		ok(t, a.Append(ctx, []store.Block{block(t, 4, noon)}))
		a = mustReopen(t, reopen)
		ok(t, a.Append(ctx, []store.Block{block(t, 5, noon)}))
		ids, err = a.Complete(ctx, noon, all)
		ok(t, err)
		for tick := time.Tick(100 * time.Millisecond); len(ids) < 4; <-tick { // not before the store knows of the death
			more, err := a.Complete(ctx, noon, all)
			ok(t, err) // fails at the deadline
			ids = append(ids, more...)
		}
		same(t, "batches", sorted(ids), []event.BatchID{batchID(2), batchID(3), batchID(4), batchID(5)})
		var read []event.BatchID
		for _, f := range listAll(t, a) {
			read = append(read, readFile(t, a, f.Path)...)
		}
		same(t, "batches of all files", sorted(read), []event.BatchID{batchID(1), batchID(2), batchID(3), batchID(4), batchID(5)})
	})
}
