package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// oneFile makes a complete file of its own of some batches of an hour.
func oneFile(t TB, a store.Archive, arrival time.Time, ids ...int) string {
	t.Helper()
	ctx := deadline(t)
	h := event.HourOf(arrival)
	before, err := a.List(ctx, h, h+1)
	ok(t, err)
	var blocks []store.Block
	for _, id := range ids {
		blocks = append(blocks, block(t, id, arrival))
	}
	ok(t, a.Append(ctx, blocks))
	_, err = a.Complete(ctx, arrival, store.ClosePolicy{})
	ok(t, err)
	after, err := a.List(ctx, h, h+1)
	ok(t, err)
	for _, f := range after {
		if !slices.Contains(before, f) {
			return f.Path
		}
	}
	t.Fatalf("no file was completed")
	return ""
}

// fileBytes is a complete file.
func fileBytes(t TB, a store.Archive, path string) []byte {
	t.Helper()
	f, err := a.Open(deadline(t), path)
	ok(t, err)
	data, err := io.ReadAll(f)
	ok(t, errors.Join(err, f.Close()))
	return data
}

// readArchive lists the archive, reads every file and returns the batches in
// order. A file that has gone since the list was made has it list again.
func readArchive(ctx context.Context, a store.Archive) ([]event.BatchID, error) {
	for {
		files, err := a.List(ctx, -1<<31, 1<<31-1)
		if err != nil {
			return nil, err
		}
		ids, err := readFiles(ctx, a, files)
		if !fault.Is(err, fault.NotFound) {
			return sorted(ids), err
		}
	}
}

func readFiles(ctx context.Context, a store.Archive, files []store.ArchiveFile) (ids []event.BatchID, err error) {
	for _, f := range files {
		if !f.Complete {
			continue
		}
		r, err := a.Open(ctx, f.Path)
		if err != nil {
			return nil, err
		}
		end, found, err := event.ScanBlocks(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		if end != f.Bytes {
			return nil, fmt.Errorf("%q ends at byte %d, the list says %d", f.Path, end, f.Bytes)
		}
		ids = append(ids, found...)
	}
	return ids, nil
}

func batchIDs(n int) (ids []event.BatchID) {
	for i := range n {
		ids = append(ids, batchID(i))
	}
	return ids
}

func paths(files []store.ArchiveFile) (paths []string) {
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

// archiveCare is the suite of store.ArchiveCare, a part of store.Archive.
func archiveCare(t *testing.T, open Opener[store.Archive]) {
	type A = store.Archive
	h := event.HourOf(noon)
	sub(t, open, "replaced in one step", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		sources := []string{oneFile(t, a, noon, 0, 1), oneFile(t, a, noon, 2), oneFile(t, a, noon, 1, 3)}
		other := oneFile(t, a, noon.Add(time.Hour), 4)
		var want []store.Digest
		for _, s := range sources {
			data := fileBytes(t, a, s)
			want = append(want, store.Digest{Path: s, Bytes: int64(len(data)), SHA256: sha256.Sum256(data)})
		}
		done, err := a.Replace(ctx, store.Replacement{Hour: h, Sources: sources, At: at(0)})
		ok(t, err)
		files := listAll(t, a)
		same(t, "files", paths(files), []string{done.File.Path, other})
		data := fileBytes(t, a, done.File.Path)
		same(t, "replaced", done, store.Replaced{
			File:    store.Digest{Path: done.File.Path, Bytes: files[0].Bytes, SHA256: sha256.Sum256(data)},
			Sources: want, Batches: 4, Doubled: 1,
		})
		same(t, "batches", readFile(t, a, done.File.Path), []event.BatchID{batchID(0), batchID(1), batchID(2), batchID(3)})
		blocks := slices.Clone(event.ContainerHeader())
		for id := range 4 {
			blocks = append(blocks, block(t, id, noon).Data...)
		}
		same(t, "blocks as they were", data, blocks)

		for _, s := range sources { // who has an older list goes on with it
			fileBytes(t, a, s)
		}
		removed, left, err := a.Sweep(ctx, h, at(0))
		ok(t, err)
		same(t, "removed and left too early", []int{removed, left}, []int{0, 3})
		removed, left, err = a.Sweep(ctx, h, at(1))
		ok(t, err)
		same(t, "removed and left", []int{removed, left}, []int{3, 0})
		for _, s := range sources {
			wantKind(t, second(a.Open(ctx, s)), fault.NotFound)
		}
		removed, left, err = a.Sweep(ctx, h, at(1))
		ok(t, err)
		same(t, "removed and left again", []int{removed, left}, []int{0, 0})
		same(t, "files after it", listAll(t, a), files)
		removed, left, err = a.Sweep(ctx, h+9, at(1))
		ok(t, err)
		same(t, "removed and left of an hour without files", []int{removed, left}, []int{0, 0})
	})
	sub(t, open, "replaced again before it was swept", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		for i, later := range []int{0, 1} { // at the same time, too
			h := h + event.Hour(i)
			noon := noon.Add(time.Duration(i) * time.Hour)
			first, err := a.Replace(ctx, store.Replacement{Hour: h, At: at(0), Sources: []string{oneFile(t, a, noon, 4*i), oneFile(t, a, noon, 4*i+1)}})
			ok(t, err)
			last, err := a.Replace(ctx, store.Replacement{Hour: h, At: at(later), Sources: []string{oneFile(t, a, noon, 4*i+2), first.File.Path, oneFile(t, a, noon, 4*i+3)}})
			ok(t, err)
			removed, left, err := a.Sweep(ctx, h, at(later))
			ok(t, err)
			same(t, "removed and left", []int{removed, left}, []int{2 * i, 5 - 2*i})
			removed, left, err = a.Sweep(ctx, h, at(9))
			ok(t, err)
			same(t, "removed and left later", []int{removed, left}, []int{5 - 2*i, 0})
			files, err := a.List(ctx, h, h+1)
			ok(t, err)
			same(t, "files", paths(files), []string{last.File.Path})
		}
		ids, err := readArchive(ctx, a)
		ok(t, err)
		same(t, "batches", ids, batchIDs(8))
	})
	sub(t, open, "edited blocks", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		source := oneFile(t, a, noon, 0, 1, 2)
		before := listAll(t, a)
		refuse := errors.New("no")
		_, err := a.Replace(ctx, store.Replacement{Hour: h, At: at(0), Sources: []string{source}, Edit: func(b *event.Block) ([]byte, error) {
			if b.Batch == batchID(2) {
				return nil, refuse
			}
			return b.Data, nil
		}})
		if !errors.Is(err, refuse) {
			t.Fatalf("error is %v, expected %v", err, refuse)
		}
		same(t, "files after a replacement that failed", listAll(t, a), before)
		done, err := a.Replace(ctx, store.Replacement{Hour: h, At: at(0), Sources: []string{source}, Edit: func(b *event.Block) ([]byte, error) {
			if !b.Mentions("e1") {
				return b.Data, nil
			}
			batch, err := b.Decode()
			if err != nil {
				return nil, err
			}
			batch.Events[0].ClientID = "somebody else"
			container, err := event.EncodeBatch(batch)
			if err != nil {
				return nil, err
			}
			return event.BlockOf(container)
		}})
		ok(t, err)
		same(t, "edited and batches", []int{done.Edited, done.Batches}, []int{1, 3})
		in := event.NewReader(bytes.NewReader(fileBytes(t, a, done.File.Path)))
		for _, client := range []string{"c", "somebody else", "c"} {
			b, err := in.Next()
			ok(t, err)
			same(t, "client", b.Events[0].ClientID, client)
		}
	})
	sub(t, open, "nothing to replace", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		one, two := oneFile(t, a, noon, 0), oneFile(t, a, noon.Add(time.Hour), 1)
		replaced := oneFile(t, a, noon, 2)
		_, err := a.Replace(ctx, store.Replacement{Hour: h, Sources: []string{replaced}, At: at(0)})
		ok(t, err)
		ok(t, a.Append(ctx, []store.Block{block(t, 3, noon)}))
		writing := slices.DeleteFunc(listAll(t, a), func(f store.ArchiveFile) bool { return f.Complete })[0].Path
		before := listAll(t, a)
		for _, sources := range [][]string{{two}, {one, two}, {one, one}, {replaced}, {"2026/11/23/12/none.avro"}, {"../x.avro"}, {one, writing}} {
			_, err := a.Replace(ctx, store.Replacement{Hour: h, Sources: sources, At: at(0)})
			wantKind(t, err, fault.Conflict)
		}
		_, err = a.Replace(ctx, store.Replacement{Hour: h, At: at(0)})
		wantKind(t, err, fault.Invalid)
		_, err = a.Replace(ended(), store.Replacement{Hour: h, Sources: []string{one}, At: at(0)})
		wantKind(t, err, fault.Transient)
		same(t, "files", listAll(t, a), before)
	})
	sub(t, open, "several replace the same", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		sources := []string{oneFile(t, a, noon, 0), oneFile(t, a, noon, 1), oneFile(t, a, noon, 2)}
		var won atomic.Int32
		parallel(t, 6, func(i int) error {
			r := store.Replacement{Hour: h, Sources: slices.Clone(sources[i%2:]), At: at(i)}
			_, err := a.Replace(ctx, r)
			switch {
			case err == nil:
				won.Add(1)
				return nil
			case fault.Is(err, fault.Conflict):
				return nil
			}
			return err
		})
		same(t, "replacements", won.Load(), int32(1))
		ids, err := readArchive(ctx, a)
		ok(t, err)
		same(t, "batches", ids, batchIDs(3))
	})
	sub(t, open, "read while it is replaced", func(t *testing.T, a A, _ func() A) {
		const rounds, width = 6, 4
		ctx := within(t, 2*time.Minute)
		for i := range rounds * width {
			oneFile(t, a, noon, i)
		}
		want := batchIDs(rounds * width)
		var over atomic.Bool
		var reads atomic.Int32
		parallel(t, 4, func(i int) error {
			if i > 1 {
				for n := 0; !over.Load() || n == 0; n++ {
					ids, err := readArchive(ctx, a)
					if err != nil {
						return err
					}
					if !slices.Equal(ids, want) {
						return fmt.Errorf("a reader found batches %v, expected each of %d once", ids, len(want))
					}
					reads.Add(1)
				}
				return nil
			}
			// Two who look after the hour, and see what they find. Only one of
			// them says when it is over.
			for round := 0; round < rounds; {
				files, err := a.List(ctx, h, h+1)
				if err != nil {
					return err
				}
				if len(files) == 1 {
					break
				}
				_, err = a.Replace(ctx, store.Replacement{Hour: h, At: at(round), Sources: paths(files[:min(width, len(files))])})
				if err == nil {
					round++
					_, _, err = a.Sweep(ctx, h, at(round-1))
				}
				if err != nil && !fault.Is(err, fault.Conflict) {
					return err
				}
			}
			over.Store(true)
			return nil
		})
		t.Logf("%d reads of the whole archive", reads.Load())
	})
	sub(t, open, "hours, and those that are dropped", func(t *testing.T, a A, _ func() A) {
		ctx := deadline(t)
		dropped, err := a.Drop(ctx, h)
		ok(t, err)
		same(t, "dropped of nothing", dropped, store.Dropped{})
		oneFile(t, a, noon, 0)
		oneFile(t, a, noon, 1)
		oneFile(t, a, noon.Add(2*time.Hour), 2)
		oneFile(t, a, noon.AddDate(0, 2, 0), 3)
		far := event.HourOf(noon.AddDate(0, 2, 0))
		for _, c := range []struct {
			from, to event.Hour
			limit    int
			want     []event.Hour
		}{
			{-1 << 31, 1<<31 - 1, 9, []event.Hour{h, h + 2, far}},
			{-1 << 31, 1<<31 - 1, 2, []event.Hour{h, h + 2}},
			{h + 1, far, 9, []event.Hour{h + 2}},
			{h, h, 9, nil},
			{h, far, 0, nil},
		} {
			hours, err := a.Hours(ctx, c.from, c.to, c.limit)
			ok(t, err)
			same(t, fmt.Sprintf("%d hours from %s to %s", c.limit, c.from, c.to), hours, c.want)
		}
		files, err := a.List(ctx, h, h+1)
		ok(t, err)
		done, err := a.Replace(ctx, store.Replacement{Hour: h, Sources: paths(files), At: at(0)})
		ok(t, err)
		dropped, err = a.Drop(ctx, h)
		ok(t, err)
		same(t, "dropped", dropped, store.Dropped{Files: 3, Bytes: done.File.Bytes + files[0].Bytes + files[1].Bytes})
		wantKind(t, second(a.Open(ctx, done.File.Path)), fault.NotFound)
		hours, err := a.Hours(ctx, h, far+1, 9)
		ok(t, err)
		same(t, "hours", hours, []event.Hour{h + 2, far})

		ok(t, a.Append(ctx, []store.Block{block(t, 4, noon)}))
		dropped, err = a.Drop(ctx, h)
		ok(t, err)
		same(t, "dropped of an hour that is written", dropped, store.Dropped{})
		_, err = a.Complete(ctx, noon, store.ClosePolicy{})
		ok(t, err)
		ids, err := readArchive(ctx, a)
		ok(t, err)
		same(t, "batches", ids, []event.BatchID{batchID(2), batchID(3), batchID(4)})
		_, err = a.Hours(ended(), h, far, 9)
		wantKind(t, err, fault.Transient)
		_, err = a.Drop(ended(), h)
		wantKind(t, err, fault.Transient)
		_, _, err = a.Sweep(ended(), h, at(0))
		wantKind(t, err, fault.Transient)
	})
	sub(t, open, "replaced for good", func(t *testing.T, a A, reopen func() A) {
		ctx := within(t, 3*time.Minute)
		sources := []string{oneFile(t, a, noon, 0), oneFile(t, a, noon, 1)}
		_, err := a.Replace(ctx, store.Replacement{Hour: h, Sources: sources, At: at(0)})
		ok(t, err)
		oneFile(t, a, noon, 2)
		files := listAll(t, a)
		a = mustReopen(t, reopen)
		same(t, "files after a crash", listAll(t, a), files)
		_, err = a.Complete(ctx, noon, store.ClosePolicy{})
		ok(t, err)
		removed, left, err := a.Sweep(ctx, h, at(1))
		ok(t, err)
		same(t, "removed and left", []int{removed, left}, []int{2, 0})
		ids, err := readArchive(ctx, a)
		ok(t, err)
		same(t, "batches", ids, batchIDs(3))
	})
}
