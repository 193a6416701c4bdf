package embedded

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// keysOf counts the keys of a table, and the bytes of its values.
func keysOf(t *testing.T, s *Stores, table byte) (keys, values int) {
	t.Helper()
	it, err := s.engine.span(t.Context(), []byte{table}, []byte{table + 1})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		keys++
		values += len(it.Value())
	}
	if err := finish(it, nil); err != nil {
		t.Fatal(err)
	}
	return keys, values
}

// Large merged documents stand apart from what a look at keys steps over, and come and go
// with their keys. Those that version 3 wrote are read where they are.
func TestLargeDocuments(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, err := Open("/data", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := context.Background()
	put := func(batch byte, size int) store.DocKey {
		t.Helper()
		key := store.DocKey{Merchant: "m", Hour: 7, Revision: store.LiveRevision, Batch: event.BatchID{1, batch}}
		doc := store.Doc{Key: key, Events: int(batch), Data: bytes.Repeat([]byte{batch}, size)}
		if err := s.Processed.Put(ctx, store.Put{Batch: key.Batch, Docs: []store.Doc{doc}}); err != nil {
			t.Fatal(err)
		}
		return key
	}
	replace := func(place uint64, size int, old ...store.DocKey) store.DocKey {
		t.Helper()
		key := old[0]
		key.Batch = store.MergedInto(place, old)
		if err := s.Processed.Replace(ctx, old, store.Doc{Key: key, Events: int(place), Data: bytes.Repeat([]byte{byte(place)}, size)}); err != nil {
			t.Fatal(err)
		}
		return key
	}
	want := func(what string, large int, docs map[store.DocKey]int) {
		t.Helper()
		found := 0
		err := s.Processed.Scan(ctx, "m", store.LiveRevision, 0, 100, func(d store.Doc) error {
			found++
			size, known := docs[d.Key]
			if !known || !bytes.Equal(d.Data, bytes.Repeat([]byte{byte(d.Events)}, size)) {
				t.Errorf("%s: found a document of %d bytes and %d events under %v, expected one of %d", what, len(d.Data), d.Events, d.Key, size)
			}
			return nil
		})
		if err != nil || found != len(docs) {
			t.Fatalf("%s: found %d documents, expected %d: %v", what, found, len(docs), err)
		}
		if keys, _ := keysOf(t, s, tableBody); keys != large {
			t.Errorf("%s: %d documents stand apart, expected %d", what, keys, large)
		}
	}
	a, b, c, d := put(1, 2000), put(2, 10), put(3, 10), put(4, 5000)
	want("documents of batches", 0, map[store.DocKey]int{a: 2000, b: 10, c: 10, d: 5000})
	ab := replace(10, 3000, a, b)
	want("a large one", 1, map[store.DocKey]int{ab: 3000, c: 10, d: 5000})
	if _, values := keysOf(t, s, tableDoc); values > 5100 {
		t.Errorf("a look at all keys steps over %d bytes", values)
	}
	small := replace(11, 50, c)
	want("a small one", 1, map[store.DocKey]int{ab: 3000, small: 50, d: 5000})
	all := replace(12, 9000, ab, small, d)
	want("all in one", 1, map[store.DocKey]int{all: 9000})

	// A scan has what was there when it began, whatever becomes of it meanwhile.
	e := put(5, 20)
	var sizes []int
	err = s.Processed.Scan(ctx, "m", store.LiveRevision, 0, 100, func(d store.Doc) error {
		if len(sizes) == 0 {
			replace(13, 7000, all, e)
		}
		sizes = append(sizes, len(d.Data))
		return nil
	})
	if err != nil || !slices.Equal(sizes, []int{20, 9000}) && !slices.Equal(sizes, []int{9000, 20}) {
		t.Errorf("expected what was there when the scan began, got documents of %v bytes, %v", sizes, err)
	}
	// Who wants none reads none.
	asked := 0
	err = s.Processed.Pick(ctx, "m", store.LiveRevision, 0, 100, func(_ store.DocKey, events int) bool {
		asked += events
		return false
	}, nil)
	if err != nil || asked != 13 {
		t.Errorf("expected to be asked for 13 events, got %d, %v", asked, err)
	}
	if err := s.Processed.Drop(ctx, "m", store.LiveRevision, 7, 8); err != nil {
		t.Fatal(err)
	}
	want("dropped", 0, nil)

	// As version 3 wrote it.
	key := a
	key.Batch = store.MergedInto(20, []store.DocKey{a})
	batch := s.engine.db.NewBatch()
	old := append([]byte{20}, bytes.Repeat([]byte{20}, 4000)...)
	if err := errors.Join(batch.Set(docKey(key), old, nil), batch.Set([]byte{tableMeta, 'f'}, []byte{3}, nil), batch.Commit(pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open("/data", Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	want("as version 3 wrote it", 0, map[store.DocKey]int{key: 4000})
	next := replace(21, 4100, key)
	want("merged since", 1, map[store.DocKey]int{next: 4100})
}
