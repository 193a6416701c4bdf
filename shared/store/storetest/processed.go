package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

const live = store.LiveRevision

var everything = store.Shard{Index: 0, Count: 1}

// doc is a document whose bytes say what it is.
func doc(m string, h event.Hour, rev store.Revision, id event.BatchID) store.Doc {
	return store.Doc{
		Key:    store.DocKey{Merchant: m, Hour: h, Revision: rev, Batch: id},
		Events: int(id[15]) + 1, Data: fmt.Appendf(nil, "%q %d %d %s", m, h, rev, id),
	}
}

// put writes one document of a batch per merchant and hour.
func put(t TB, p store.Processed, id int, rev store.Revision, merchants []string, hours ...event.Hour) {
	t.Helper()
	in := store.Put{Batch: batchID(id)}
	for _, m := range merchants {
		for _, h := range hours {
			in.Docs = append(in.Docs, doc(m, h, rev, in.Batch))
		}
	}
	if rev == live {
		ok(t, p.Put(deadline(t), in))
		return
	}
	ok(t, p.PutRevision(deadline(t), rev, in.Docs, nil))
}

// mark is what Put marks a document with.
func mark(m string, h event.Hour, id event.BatchID) store.Mark {
	return store.Mark{Merchant: m, Queue: store.LiveQueue, Hour: h, Batch: id}
}

func scan(t TB, p store.Processed, m string, rev store.Revision, from, to event.Hour) (docs []store.Doc) {
	t.Helper()
	ok(t, p.Scan(deadline(t), m, rev, from, to, func(d store.Doc) error {
		d.Data = bytes.Clone(d.Data)
		docs = append(docs, d)
		return nil
	}))
	return docs
}

var liveQueue = []store.Queue{store.LiveQueue}

// dirtyOf lists dirty hours of LiveQueue, or of the queues given.
func dirtyOf(t TB, p store.Processed, m string, queues ...store.Queue) []event.Hour {
	t.Helper()
	if queues == nil {
		queues = liveQueue
	}
	hours, err := p.DirtyOf(deadline(t), m, queues, math.MinInt32, math.MaxInt32)
	ok(t, err)
	return hours
}

// marksOf lists an hour's marks in LiveQueue, or in the queues given.
func marksOf(t TB, p store.Processed, m string, h event.Hour, queues ...store.Queue) []store.Mark {
	t.Helper()
	if queues == nil {
		queues = liveQueue
	}
	marks, err := p.Marks(deadline(t), m, queues, h, h+1)
	ok(t, err)
	return marks
}

// Processed is the suite of store.Processed.
func Processed(t *testing.T, open Opener[store.Processed]) {
	type P = store.Processed
	hours := []event.Hour{math.MinInt32, -25, -1, 0, 1, 24, math.MaxInt32 - 1}

	sub(t, open, "scan by hour, then batch", func(t *testing.T, p P, _ func() P) {
		for _, id := range []int{3, 1, 2} {
			put(t, p, id, live, []string{"m"}, 5, -1, 0)
		}
		var want []store.Doc
		for _, h := range []event.Hour{-1, 0} {
			for _, id := range []int{1, 2, 3} {
				want = append(want, doc("m", h, live, batchID(id)))
			}
		}
		same(t, "documents", scan(t, p, "m", live, -1, 5), want)
		same(t, "documents of no hour", scan(t, p, "m", live, 5, 5), []store.Doc{})
		same(t, "documents of a range that ends before it begins", scan(t, p, "m", live, 5, -5), []store.Doc{})
		put(t, p, 2, live, []string{"m"}, 5, -1, 0) // delivered again
		same(t, "documents", scan(t, p, "m", live, -1, 5), want)
	})
	sub(t, open, "a version is another after each change", func(t *testing.T, p P, _ func() P) {
		met := map[store.Version]string{{}: "none"}
		is := func(what string, changed bool) {
			t.Helper()
			v, err := p.Version(deadline(t), "m")
			ok(t, err)
			same(t, "the version was met before, after "+what, met[v] != "", !changed)
			met[v] = what
			again, err := p.Version(deadline(t), "m")
			ok(t, err)
			same(t, "a version is the same until something changes", again, v)
		}
		is("nothing", true)
		put(t, p, 1, live, []string{"m"}, 5)
		is("put", true)
		put(t, p, 2, live, []string{"m", "other"}, 5, 6)
		is("put of two merchants", true)
		ok(t, p.Clean(deadline(t), marksOf(t, p, "m", 5)))
		is("clean", true)
		ok(t, p.MarkDirty(deadline(t), "m", store.LiveQueue, []store.Revision{live}, 5, 6))
		is("mark dirty", true)
		ok(t, p.Replace(deadline(t), []store.DocKey{doc("m", 5, live, batchID(1)).Key}, doc("m", 5, live, store.MergedBatchID(1))))
		is("replace", true)
		ok(t, p.Mark(deadline(t), []store.Mark{{Merchant: "m", Queue: 3, Hour: 5}}))
		is("mark in a queue", true)
		ok(t, p.MarkDirty(deadline(t), "m", 3, []store.Revision{live}, 0, 9))
		is("mark dirty in a queue", true)
		ok(t, p.Clean(deadline(t), marksOf(t, p, "m", 5, 3)))
		is("clean in a queue", true)
		ok(t, p.DropQueue(deadline(t), "m", 3))
		is("drop queue", true)
		ok(t, p.PutRevision(deadline(t), 2, []store.Doc{doc("m", 5, 2, batchID(3))}, nil))
		is("put revision", true)
		ok(t, p.PutRevision(deadline(t), 2, nil, []store.Reject{rejectOf(2, "m", 1, batchID(3), 0, "invalid")}))
		is("put rejects of a revision", true)
		ok(t, p.Put(deadline(t), store.Put{Batch: batchID(4), Rejects: []store.Reject{reject("m", 1, batchID(4), 0, "invalid")}}))
		is("put of a reject", true)
		ok(t, p.Resolve(deadline(t), store.Put{Batch: batchID(5)}, []store.Reject{reject("m", 1, batchID(4), 0, "invalid")}))
		is("resolve to nothing", true)
		ok(t, p.Drop(deadline(t), "m", 2, 0, 9))
		is("drop", true)
		scan(t, p, "m", live, 0, 10)
		is("reading", false)
	})
	sub(t, open, "of those who overlap one can claim", func(t *testing.T, p P, _ func() P) {
		claimed := func() uint64 {
			t.Helper()
			n, err := p.Claimed(deadline(t), "m")
			ok(t, err)
			return n
		}
		claim := func(last uint64) bool {
			t.Helper()
			first, err := p.Claim(deadline(t), "m", last)
			ok(t, err)
			return first
		}
		met := map[uint64]bool{}
		for range 3 {
			last := claimed()
			same(t, "the claim was met before", met[last], false)
			met[last] = true
			put(t, p, 1, live, []string{"m", "other"}, 5)
			ok(t, p.Clean(deadline(t), marksOf(t, p, "m", 5)))
			same(t, "the first claims", claim(last), true)
			same(t, "so does the second", claim(last), false)
		}
		last := claimed()
		var first atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				won, err := p.Claim(deadline(t), "m", last)
				if err != nil {
					t.Error(err)
				}
				if won {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		same(t, "of many at once who claim", first.Load(), int64(1))
		same(t, "the claim is the one before", claimed() == last, false)
	})
	sub(t, open, "merchants, revisions and hours are apart", func(t *testing.T, p P, _ func() P) {
		for rev := range store.Revision(3) {
			put(t, p, 1, rev+1, neighbours, hours...)
		}
		for _, m := range neighbours {
			for rev := store.Revision(1); rev <= 3; rev++ {
				var want []store.Doc
				for _, h := range hours[1:5] {
					want = append(want, doc(m, h, rev, batchID(1)))
				}
				same(t, fmt.Sprintf("documents of %q", m), scan(t, p, m, rev, -25, 2), want)
				same(t, fmt.Sprintf("number of documents of %q", m), len(scan(t, p, m, rev, math.MinInt32, math.MaxInt32)), len(hours))
				first, last, some, err := p.Extent(deadline(t), m, rev)
				ok(t, err)
				same(t, "extent", []any{first, last, some}, []any{hours[0], hours[len(hours)-1], true})
				same(t, "dirty hours", dirtyOf(t, p, m), hours)
			}
		}
		_, _, some, err := p.Extent(deadline(t), "none", live)
		ok(t, err)
		same(t, "extent of nothing", some, false)
	})
	sub(t, open, "pick what is new", func(t *testing.T, p P, _ func() P) {
		for id := range 6 {
			put(t, p, id, live, []string{"m", "mm"}, 1, 2, event.Hour(3+id))
		}
		ok(t, p.PutRevision(deadline(t), 7, []store.Doc{doc("m", 2, 7, batchID(1))}, nil))
		var asked, wanted, got []store.DocKey
		ok(t, p.Pick(deadline(t), "m", live, 1, 7, func(k store.DocKey, events int) bool {
			if want := doc("m", k.Hour, live, k.Batch).Events; events != want {
				t.Errorf("asked for a document of %d events, expected %d", events, want)
			}
			if asked = append(asked, k); len(asked)%2 == 0 {
				return false
			}
			wanted = append(wanted, k)
			return true
		}, func(d store.Doc) error {
			same(t, "document", d, doc("m", d.Key.Hour, live, d.Key.Batch))
			got = append(got, d.Key)
			return nil
		}))
		var all []store.DocKey
		for _, d := range scan(t, p, "m", live, 1, 7) {
			all = append(all, d.Key)
		}
		same(t, "keys that were asked for", asked, all)
		same(t, "documents that were wanted", got, wanted)
		stop, calls := errors.New("stop"), 0
		err := p.Pick(deadline(t), "m", live, 0, 9, func(store.DocKey, int) bool { return true }, func(store.Doc) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Fatalf("pick returned %v after %d calls, expected the callback's error after one", err, calls)
		}
	})
	sub(t, open, "what is replaced while it is picked", func(t *testing.T, p P, _ func() P) {
		put(t, p, 1, live, []string{"m"}, 1, 2)
		put(t, p, 2, live, []string{"m"}, 1, 2)
		var got []store.DocKey
		merged := doc("m", 2, live, store.MergedBatchID(1))
		replaced := false
		ok(t, p.Pick(deadline(t), "m", live, 1, 3, func(k store.DocKey, _ int) bool {
			if !replaced {
				replaced = true
				ok(t, p.Replace(deadline(t), []store.DocKey{doc("m", 2, live, batchID(1)).Key, doc("m", 2, live, batchID(2)).Key}, merged))
			}
			return true
		}, func(d store.Doc) error { got = append(got, d.Key); return nil }))
		first := []store.DocKey{doc("m", 1, live, batchID(1)).Key, doc("m", 1, live, batchID(2)).Key}
		before := append(slices.Clone(first), doc("m", 2, live, batchID(1)).Key, doc("m", 2, live, batchID(2)).Key)
		if after := append(slices.Clone(first), merged.Key); !slices.Equal(got, before) && !slices.Equal(got, after) {
			t.Fatalf("picked %v, expected the old documents or the merged one", got)
		}
	})
	sub(t, open, "the error of a callback", func(t *testing.T, p P, _ func() P) {
		put(t, p, 1, live, []string{"m"}, 1, 2)
		stop, calls := errors.New("stop"), 0
		err := p.Scan(deadline(t), "m", live, 0, 9, func(store.Doc) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Fatalf("scan returned %v after %d calls, expected the callback's error after one", err, calls)
		}
		ctx, cancel := context.WithCancel(deadline(t))
		err = p.Scan(ctx, "m", live, 0, 9, func(store.Doc) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("scan returned %v, expected that it was cancelled", err)
		}
		wantKind(t, p.Put(ended(), store.Put{Batch: batchID(2), Docs: []store.Doc{doc("m", 3, live, batchID(2))}}), fault.Transient)
		same(t, "documents", len(scan(t, p, "m", live, 0, 9)), 2)
	})
	sub(t, open, "shards are a partition", func(t *testing.T, p P, _ func() P) {
		var merchants []string
		for i := range 100 {
			merchants = append(merchants, name(i))
		}
		put(t, p, 1, live, merchants, 1, 2, 10)
		put(t, p, 2, live+1, merchants, 1)
		want := map[store.DirtyHour]int{}
		for _, m := range merchants {
			want[store.DirtyHour{Merchant: m, Hour: 1}] = 1
			want[store.DirtyHour{Merchant: m, Hour: 2}] = 1
		}
		for _, count := range []int{1, 2, 7, 64} {
			got := map[store.DirtyHour]int{}
			shares := 0
			for i := range count {
				n := len(got)
				var after store.DirtyHour
				for {
					page, err := p.Dirty(deadline(t), false, store.Shard{Index: i, Count: count}, event.Hour(2).End(), after, 3)
					ok(t, err)
					for _, d := range page {
						if d.Merchant == after.Merchant && d.Hour <= after.Hour {
							t.Fatalf("hour %d of %q after hour %d", d.Hour, d.Merchant, after.Hour)
						}
						got[d]++
						after = d
					}
					if len(page) < 3 {
						break
					}
				}
				if len(got) > n {
					shares++
				}
			}
			same(t, fmt.Sprintf("dirty hours of %d shards", count), got, want)
			if shares < (count+1)/2 {
				t.Fatalf("%d of %d shards hold 100 merchants", shares, count)
			}
		}
		for _, s := range []store.Shard{{}, {Index: -1, Count: 2}, {Index: 2, Count: 2}} {
			wantKind(t, second(p.Dirty(deadline(t), false, s, noon, store.DirtyHour{}, 1)), fault.Invalid)
		}
	})
	sub(t, open, "only hours that have ended are due", func(t *testing.T, p P, _ func() P) {
		put(t, p, 1, live, []string{"m"}, -2, 0, 1)
		for _, c := range []struct {
			endBy time.Time
			want  []event.Hour
		}{
			{event.Hour(-2).End().Add(-1), nil},
			{event.Hour(-2).End(), []event.Hour{-2}},
			{event.Hour(1).Start(), []event.Hour{-2, 0}},
			{event.Hour(1).End(), []event.Hour{-2, 0, 1}},
		} {
			got, err := p.Dirty(deadline(t), false, everything, c.endBy, store.DirtyHour{}, 10)
			ok(t, err)
			var hours []event.Hour
			for _, d := range got {
				hours = append(hours, d.Hour)
			}
			same(t, "due by "+c.endBy.String(), hours, c.want)
		}
		none, err := p.Dirty(deadline(t), false, everything, noon, store.DirtyHour{}, 0)
		ok(t, err)
		same(t, "at most none", none, []store.DirtyHour{})
	})
	sub(t, open, "an hour is clean when all its marks are off", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		for id := range 3 {
			put(t, p, id, live, []string{"m", "m2"}, 1, 2)
		}
		marks := marksOf(t, p, "m", 1)
		same(t, "marks", marks, []store.Mark{mark("m", 1, batchID(0)), mark("m", 1, batchID(1)), mark("m", 1, batchID(2))})
		put(t, p, 7, live, []string{"m"}, 1) // between marks and clean
		ok(t, p.Clean(ctx, marks))
		same(t, "marks that stay", marksOf(t, p, "m", 1), []store.Mark{mark("m", 1, batchID(7))})
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1, 2})
		ok(t, p.Clean(ctx, marksOf(t, p, "m", 1)))
		ok(t, p.Clean(ctx, marks)) // again
		ok(t, p.Clean(ctx, nil))
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{2})
		same(t, "dirty hours of another", dirtyOf(t, p, "m2"), []event.Hour{1, 2})
		same(t, "documents", len(scan(t, p, "m", live, 0, 9)), 7)
		got, err := p.Dirty(ctx, false, everything, noon, store.DirtyHour{}, 10)
		ok(t, err)
		same(t, "number of dirty hours", len(got), 3)
	})
	sub(t, open, "a busy hour", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		for id := range 300 {
			put(t, p, id, live, []string{"m"}, 1)
		}
		ok(t, p.Clean(ctx, marksOf(t, p, "m", 1)))
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{})
		put(t, p, 5, live, []string{"m"}, 1)
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
		same(t, "marks", marksOf(t, p, "m", 1), []store.Mark{mark("m", 1, batchID(5))})
	})
	sub(t, open, "mark history dirty", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m", "ma"}, hours...)
		for _, m := range []string{"m", "ma"} {
			for _, h := range hours {
				ok(t, p.Clean(ctx, marksOf(t, p, m, h)))
			}
		}
		ok(t, p.MarkDirty(ctx, "m", store.LiveQueue, []store.Revision{live}, -25, 1))
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{-25, -1, 0})
		same(t, "dirty hours of another", dirtyOf(t, p, "ma"), []event.Hour{})
		same(t, "marks", marksOf(t, p, "m", 0), []store.Mark{mark("m", 0, batchID(1))})
		ok(t, p.MarkDirty(ctx, "none", store.LiveQueue, []store.Revision{live}, -25, 1))
	})
	sub(t, open, "replace", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		var keys []store.DocKey
		for id := range 4 {
			put(t, p, id, live, []string{"m"}, 1)
			keys = append(keys, doc("m", 1, live, batchID(id)).Key)
		}
		marks := marksOf(t, p, "m", 1)
		ok(t, p.Clean(ctx, marks[:2]))
		m1, m2 := doc("m", 1, live, store.MergedBatchID(1)), doc("m", 1, live, store.MergedBatchID(2))
		ok(t, p.Replace(ctx, keys[:2], m1))
		same(t, "marks", marksOf(t, p, "m", 1), marks[2:])
		same(t, "documents", scan(t, p, "m", live, 1, 2), []store.Doc{doc("m", 1, live, batchID(2)), doc("m", 1, live, batchID(3)), m1})
		ok(t, p.Replace(ctx, append(keys[2:], m1.Key), m2))
		same(t, "marks", marksOf(t, p, "m", 1), []store.Mark{mark("m", 1, m2.Key.Batch)})
		same(t, "documents", scan(t, p, "m", live, 1, 2), []store.Doc{m2})
		ok(t, p.Replace(ctx, append(keys[2:], m1.Key), m2)) // again
		same(t, "documents", scan(t, p, "m", live, 1, 2), []store.Doc{m2})
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
		other := m1
		other.Key.Hour = 2
		wantKind(t, p.Replace(ctx, []store.DocKey{m2.Key}, other), fault.Invalid)
		wantKind(t, p.Replace(ctx, nil, doc("m", 1, live, batchID(5))), fault.Invalid)
	})
	sub(t, open, "a put is of one batch", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		wantKind(t, p.Put(ctx, store.Put{Batch: batchID(1), Docs: []store.Doc{doc("m", 1, live, batchID(2))}}), fault.Invalid)
		ok(t, p.Put(ctx, store.Put{Batch: batchID(1)}))
	})
	sub(t, open, "a reader never misses what is replaced", func(t *testing.T, p P, _ func() P) {
		const docs = 20
		ctx := deadline(t)
		var keys []store.DocKey
		for id := range docs {
			put(t, p, id, live, []string{"m"}, 1)
			keys = append(keys, doc("m", 1, live, batchID(id)).Key)
		}
		parallel(t, 4, func(i int) error {
			if i == 0 {
				old := keys
				for n := range uint64(20) {
					merged := doc("m", 1, live, store.MergedBatchID(n))
					if err := p.Replace(ctx, old, merged); err != nil {
						return err
					}
					old = []store.DocKey{merged.Key}
				}
				return nil
			}
			for range 30 {
				single, merged := 0, 0
				err := p.Scan(ctx, "m", live, 1, 2, func(d store.Doc) error {
					if d.Key.IsMerged() {
						merged++
					} else {
						single++
					}
					return nil
				})
				if err != nil {
					return err
				}
				if single < docs && merged == 0 {
					return fmt.Errorf("a scan found %d of %d documents and no merged one", single, docs)
				}
			}
			return nil
		})
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
	})
	sub(t, open, "no mark is lost between writers and cleaners", func(t *testing.T, p P, _ func() P) { processedConcurrent(t, p) })
	queues(t, open)
	besides(t, open)
	sub(t, open, "survives a crash", func(t *testing.T, p P, reopen func() P) {
		ctx := deadline(t)
		in := store.Put{Batch: batchID(1), Docs: []store.Doc{doc("m", 1, live, batchID(1)), doc("m", 2, live, batchID(1))}}
		in.Rejects = []store.Reject{reject("m", 1, batchID(1), 0, "invalid")}
		ok(t, p.Put(ctx, in))
		ok(t, p.Clean(ctx, marksOf(t, p, "m", 2)))
		merged := doc("m", 1, live, store.MergedBatchID(1))
		ok(t, p.Replace(ctx, []store.DocKey{in.Docs[0].Key}, merged))
		put(t, p, 2, live, []string{"n"}, 1)
		ok(t, p.Clean(ctx, marksOf(t, p, "n", 1)))
		ok(t, p.MarkDirty(ctx, "n", store.LiveQueue, []store.Revision{live}, 0, 9))
		ok(t, p.Mark(ctx, []store.Mark{{Merchant: "n", Queue: 3, Hour: 4}, {Merchant: "n", Queue: 4, Hour: 4}}))
		ok(t, p.MarkDirty(ctx, "n", 3, []store.Revision{live}, 0, 9))
		ok(t, p.DropQueue(ctx, "n", 4))
		p = mustReopen(t, reopen)
		same(t, "dirty hours of a queue", dirtyOf(t, p, "n", 3), []event.Hour{1, 4})
		same(t, "dirty hours of a queue that was dropped", dirtyOf(t, p, "n", 4), []event.Hour{})
		same(t, "documents", scan(t, p, "m", live, 0, 9), []store.Doc{merged, in.Docs[1]})
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
		same(t, "dirty hours", dirtyOf(t, p, "n"), []event.Hour{1})
		counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
		ok(t, err)
		same(t, "rejects", counts, []store.RejectCount{{Hour: 1, Reason: "invalid", Events: 1}})
	})
	rejects(t, open)
	t.Run("agrees with a simple model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { processedModel(t, open) })
	})
}

// processedConcurrent has writers put while cleaners clean what they see, in
// LiveQueue and in another: every mark is in the end cleaned or there, and hours
// follow marks.
func processedConcurrent(t *testing.T, p store.Processed) {
	const writers, each = 6, 25
	ctx := deadline(t)
	both := []store.Queue{store.LiveQueue, 3}
	cleaned := make([]map[store.Mark]bool, writers+2)
	parallel(t, writers+2, func(w int) error {
		cleaned[w] = map[store.Mark]bool{}
		for i := range each {
			if w < writers {
				in := store.Put{Batch: batchID(w*each + i)}
				var marks []store.Mark
				for h := range event.Hour(2) {
					in.Docs = append(in.Docs, doc("m", h, live, in.Batch), doc(name(w), h, live, in.Batch))
					marks = append(marks, store.Mark{Merchant: "m", Queue: 3, Hour: h, Batch: in.Batch})
				}
				if err := errors.Join(p.Put(ctx, in), p.Mark(ctx, marks)); err != nil {
					return err
				}
				continue
			}
			h := event.Hour(i % 2)
			marks, err := p.Marks(ctx, "m", both, h, h+1)
			if err != nil {
				return err
			}
			if err := p.Clean(ctx, marks); err != nil {
				return err
			}
			for _, k := range marks {
				cleaned[w][k] = true
			}
		}
		return nil
	})
	known := map[store.Mark]bool{}
	for _, c := range cleaned {
		maps.Copy(known, c)
	}
	for _, q := range both {
		dirty := dirtyOf(t, p, "m", q)
		for h := range event.Hour(2) {
			marks := marksOf(t, p, "m", h, q)
			same(t, "an hour is dirty if it has marks", slices.Contains(dirty, h), len(marks) > 0)
			for _, k := range marks {
				known[k] = true
			}
		}
	}
	same(t, "marks cleaned or there", len(known), 2*2*writers*each)
}

// processedModel compares a store with two sets: its documents and its marks.
func processedModel(t *rapid.T, open Opener[store.Processed]) {
	p, _ := open(t)
	ctx := deadline(t)
	merchants, revs, queues := []string{"a", "ab"}, []store.Revision{live, 2}, []store.Queue{store.LiveQueue, 1, 7}
	merged := uint64(0)
	docs, marks := map[store.DocKey]bool{}, map[store.Mark]bool{}
	docsOf := func(m string, rev store.Revision, from, to event.Hour) (keys []store.DocKey) {
		for k := range docs {
			if k.Merchant == m && k.Revision == rev && k.Hour >= from && k.Hour < to {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, func(a, b store.DocKey) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), bytes.Compare(a.Batch[:], b.Batch[:]))
		})
		return keys
	}
	marked := func(m string, queues []store.Queue, from, to event.Hour) (some []store.Mark) {
		for k := range marks {
			if k.Merchant == m && slices.Contains(queues, k.Queue) && k.Hour >= from && k.Hour < to {
				some = append(some, k)
			}
		}
		slices.SortFunc(some, func(a, b store.Mark) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Queue, b.Queue), bytes.Compare(a.Batch[:], b.Batch[:]))
		})
		return some
	}
	hoursOf := func(some []store.Mark) (hours []event.Hour) {
		for _, k := range some {
			hours = append(hours, k.Hour)
		}
		return slices.Compact(hours)
	}
	drawMerchant := func(t *rapid.T) string { return rapid.SampledFrom(merchants).Draw(t, "merchant") }
	drawHour := func(t *rapid.T) event.Hour { return event.Hour(rapid.IntRange(-2, 2).Draw(t, "hour")) }
	drawRevision := func(t *rapid.T) store.Revision { return rapid.SampledFrom(revs).Draw(t, "revision") }
	drawQueue := func(t *rapid.T) store.Queue { return rapid.SampledFrom(queues).Draw(t, "queue") }
	drawBatch := func(t *rapid.T) event.BatchID { return batchID(rapid.IntRange(0, 5).Draw(t, "batch")) }
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			in := store.Put{Batch: drawBatch(t)}
			for range rapid.IntRange(1, 3).Draw(t, "documents") {
				d := doc(drawMerchant(t), drawHour(t), live, in.Batch)
				in.Docs = append(in.Docs, d)
				docs[d.Key], marks[mark(d.Key.Merchant, d.Key.Hour, in.Batch)] = true, true
			}
			ok(t, p.Put(ctx, in))
		},
		"put revision": func(t *rapid.T) {
			var in []store.Doc
			for range rapid.IntRange(1, 3).Draw(t, "documents") {
				d := doc(drawMerchant(t), drawHour(t), 2, drawBatch(t))
				in, docs[d.Key] = append(in, d), true
			}
			ok(t, p.PutRevision(ctx, 2, in, nil))
		},
		"mark": func(t *rapid.T) {
			var some []store.Mark
			for range rapid.IntRange(0, 3).Draw(t, "marks") {
				k := store.Mark{Merchant: drawMerchant(t), Queue: drawQueue(t), Hour: drawHour(t), Batch: drawBatch(t)}
				some, marks[k] = append(some, k), true
			}
			ok(t, p.Mark(ctx, some))
		},
		"mark dirty": func(t *rapid.T) {
			m, q, from, to := drawMerchant(t), drawQueue(t), drawHour(t), drawHour(t)
			of := revs[:rapid.IntRange(0, len(revs)).Draw(t, "revisions")]
			ok(t, p.MarkDirty(ctx, m, q, of, from, to))
			for _, rev := range of {
				for _, k := range docsOf(m, rev, from, to) {
					marks[store.Mark{Merchant: m, Queue: q, Hour: k.Hour, Batch: k.Batch}] = true
				}
			}
		},
		"clean": func(t *rapid.T) {
			some := marked(drawMerchant(t), queues, drawHour(t), drawHour(t))
			some = some[:rapid.IntRange(0, len(some)).Draw(t, "marks")]
			ok(t, p.Clean(ctx, some))
			for _, k := range some {
				delete(marks, k)
			}
		},
		"replace": func(t *rapid.T) {
			m, rev, h := drawMerchant(t), drawRevision(t), drawHour(t)
			old := docsOf(m, rev, h, h+1)
			old = old[:rapid.IntRange(0, len(old)).Draw(t, "documents")]
			merged++
			d := doc(m, h, rev, store.MergedBatchID(merged))
			before := marked(m, liveQueue, h, h+1)
			ok(t, p.Replace(ctx, old, d))
			for _, k := range old {
				delete(docs, k)
			}
			docs[d.Key] = true
			// A mark of what was replaced may be the merged one's now, instead or
			// besides.
			after, over := marksOf(t, p, m, h), mark(m, h, d.Key.Batch)
			for _, k := range before {
				if !slices.ContainsFunc(old, func(o store.DocKey) bool { return o.Batch == k.Batch }) {
					continue
				}
				if slices.Contains(after, over) {
					marks[over] = true
					if !slices.Contains(after, k) {
						delete(marks, k)
					}
				}
			}
		},
		"drop": func(t *rapid.T) {
			m, rev, from, to := drawMerchant(t), drawRevision(t), drawHour(t), drawHour(t)
			ok(t, p.Drop(ctx, m, rev, from, to))
			for _, k := range docsOf(m, rev, from, to) {
				delete(docs, k)
			}
		},
		"drop queue": func(t *rapid.T) {
			m, q := drawMerchant(t), rapid.SampledFrom(queues[1:]).Draw(t, "queue")
			ok(t, p.DropQueue(ctx, m, q))
			for _, k := range marked(m, []store.Queue{q}, -5, 5) {
				delete(marks, k)
			}
		},
		"": func(t *rapid.T) {
			var due []store.DirtyHour
			for _, m := range merchants {
				var all []event.Hour
				for _, rev := range revs {
					var got []store.DocKey
					for _, d := range scan(t, p, m, rev, -5, 5) {
						got = append(got, d.Key)
						all = append(all, d.Key.Hour)
					}
					same(t, "documents", got, docsOf(m, rev, -5, 5))
				}
				first, last, some, err := p.Extent(ctx, m, revs...)
				ok(t, err)
				same(t, "there are documents", some, len(all) > 0)
				if some {
					same(t, "extent", []event.Hour{first, last}, []event.Hour{slices.Min(all), slices.Max(all)})
				}
				for _, of := range [][]store.Queue{queues[:1], queues[1:2], {7, store.LiveQueue}, queues} {
					want := marked(m, of, -5, 5)
					same(t, "dirty hours", dirtyOf(t, p, m, of...), hoursOf(want))
					got, err := p.Marks(ctx, m, of, -5, 5)
					ok(t, err)
					same(t, "marks", got, want)
				}
				for _, q := range queues {
					for _, h := range hoursOf(marked(m, []store.Queue{q}, -5, 5)) {
						due = append(due, store.DirtyHour{Merchant: m, Queue: q, Hour: h})
					}
				}
			}
			sameDirty(t, p, due)
		},
	})
}

// sameDirty compares what Dirty lists with all dirty hours. Each is listed once,
// but for those of LiveQueue, which may be listed with the others, too.
func sameDirty(t TB, p store.Processed, want []store.DirtyHour) {
	t.Helper()
	got := map[store.DirtyHour]bool{}
	for _, others := range []bool{false, true} {
		list, err := p.Dirty(deadline(t), others, everything, event.Hour(1<<20).End(), store.DirtyHour{}, 1000)
		ok(t, err)
		here := map[store.DirtyHour]bool{}
		for _, d := range list {
			if here[d] || !others && d.Queue != store.LiveQueue {
				t.Fatalf("%+v is listed again, or where it does not belong", d)
			}
			here[d], got[d] = true, true
		}
	}
	all := map[store.DirtyHour]bool{}
	for _, d := range want {
		all[d] = true
	}
	same(t, "dirty hours of all queues", got, all)
}
