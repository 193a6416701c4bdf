package storetest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// queues is the part of Processed's suite that is about queues other than that
// of the ETL.
func queues(t *testing.T, open Opener[store.Processed]) {
	type P = store.Processed
	sub(t, open, "queues know nothing of one another", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m", "ma"}, 1, 2)
		marks := []store.Mark{
			{Merchant: "m", Queue: 3, Hour: 1, Batch: batchID(1)},
			{Merchant: "m", Queue: 3, Hour: 7}, // without a document
			{Merchant: "m", Queue: math.MaxUint32, Hour: 1, Batch: batchID(1)},
			{Merchant: "ma", Queue: 3, Hour: 1, Batch: batchID(1)},
		}
		for range 2 {
			ok(t, p.Mark(ctx, marks))
		}
		ok(t, p.Mark(ctx, nil))
		same(t, "dirty hours of a queue", dirtyOf(t, p, "m", 3), []event.Hour{1, 7})
		same(t, "dirty hours of two queues", dirtyOf(t, p, "m", 3, store.LiveQueue), []event.Hour{1, 2, 7})
		same(t, "dirty hours of the ETL's", dirtyOf(t, p, "m"), []event.Hour{1, 2})
		same(t, "marks of three queues", marksOf(t, p, "m", 1, math.MaxUint32, store.LiveQueue, 3), []store.Mark{mark("m", 1, batchID(1)), marks[0], marks[2]})
		some, err := p.Marks(ctx, "m", []store.Queue{3}, 0, 8)
		ok(t, err)
		same(t, "marks of a queue", some, marks[:2])
		for _, none := range [][]store.Queue{nil, {9}} {
			hours, err := p.DirtyOf(ctx, "m", none, 0, 8)
			ok(t, err)
			same(t, "dirty hours of no queue", hours, []event.Hour{})
			some, err := p.Marks(ctx, "m", none, 0, 8)
			ok(t, err)
			same(t, "marks of no queue", some, []store.Mark{})
		}
		ok(t, p.Clean(ctx, marksOf(t, p, "m", 1)))
		same(t, "dirty hours of the ETL's", dirtyOf(t, p, "m"), []event.Hour{2})
		same(t, "dirty hours of a queue", dirtyOf(t, p, "m", 3), []event.Hour{1, 7})
		ok(t, p.Clean(ctx, marks[:1]))
		same(t, "dirty hours of a queue", dirtyOf(t, p, "m", 3), []event.Hour{7})
		same(t, "dirty hours of another", dirtyOf(t, p, "m", math.MaxUint32), []event.Hour{1})
		put(t, p, 2, live, []string{"m"}, 4)
		same(t, "dirty hours of a queue after a put", dirtyOf(t, p, "m", 3), []event.Hour{7})
	})
	sub(t, open, "a queue that is dropped", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m", "ma"}, 1, 2)
		for _, q := range []store.Queue{3, 4} {
			for _, m := range []string{"m", "ma"} {
				ok(t, p.MarkDirty(ctx, m, q, []store.Revision{live}, 0, 9))
			}
		}
		ok(t, p.DropQueue(ctx, "m", 3))
		ok(t, p.DropQueue(ctx, "m", 99))
		same(t, "dirty hours", dirtyOf(t, p, "m", 3), []event.Hour{})
		same(t, "dirty hours of another merchant", dirtyOf(t, p, "ma", 3), []event.Hour{1, 2})
		same(t, "dirty hours of another queue", dirtyOf(t, p, "m", 4), []event.Hour{1, 2})
		same(t, "dirty hours of the ETL's", dirtyOf(t, p, "m"), []event.Hour{1, 2})
		again := store.Mark{Merchant: "m", Queue: 3, Hour: 2, Batch: batchID(1)}
		ok(t, p.Mark(ctx, []store.Mark{again}))
		same(t, "dirty hours of what is marked again", dirtyOf(t, p, "m", 3), []event.Hour{2})
		same(t, "its marks", marksOf(t, p, "m", 2, 3), []store.Mark{again})
		wantKind(t, p.DropQueue(ctx, "m", store.LiveQueue), fault.Invalid)
	})
	sub(t, open, "marks of the ETL's queue without a put", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m"}, 1)
		ok(t, p.PutRevision(ctx, 2, []store.Doc{doc("m", 2, 2, batchID(2))}, nil))
		ok(t, p.MarkDirty(ctx, "m", store.LiveQueue, []store.Revision{live, 2}, 0, 9))
		ok(t, p.Mark(ctx, []store.Mark{mark("m", 1, batchID(1)), mark("m", 3, batchID(3))}))
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1, 2, 3})
		marks, err := p.Marks(ctx, "m", liveQueue, 0, 9)
		ok(t, err)
		same(t, "marks", marks, []store.Mark{mark("m", 1, batchID(1)), mark("m", 2, batchID(2)), mark("m", 3, batchID(3))})
		sameDirty(t, p, []store.DirtyHour{{Merchant: "m", Hour: 1}, {Merchant: "m", Hour: 2}, {Merchant: "m", Hour: 3}})
		ok(t, p.Clean(ctx, marks))
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{})
		sameDirty(t, p, nil)
	})
	sub(t, open, "shards of the other queues are a partition", func(t *testing.T, p P, _ func() P) {
		want := map[store.DirtyHour]int{}
		var marks []store.Mark
		for i := range 40 {
			for _, q := range []store.Queue{1, 2, math.MaxUint32} {
				for _, h := range []event.Hour{-3, 1, 2, 10} {
					for id := range 3 {
						marks = append(marks, store.Mark{Merchant: name(i), Queue: q, Hour: h, Batch: batchID(id)})
					}
					if h < 10 {
						want[store.DirtyHour{Merchant: name(i), Queue: q, Hour: h}] = 1
					}
				}
			}
		}
		put(t, p, 1, live, []string{name(1), name(2)}, 1, 2)
		ok(t, p.Mark(deadline(t), marks))
		for _, count := range []int{1, 7} {
			got := map[store.DirtyHour]int{}
			for i := range count {
				var after store.DirtyHour
				for {
					page, err := p.Dirty(deadline(t), true, store.Shard{Index: i, Count: count}, event.Hour(2).End(), after, 5)
					ok(t, err)
					for _, d := range page {
						if d.Merchant == after.Merchant && (d.Queue < after.Queue || d.Queue == after.Queue && d.Hour <= after.Hour) {
							t.Fatalf("%+v after %+v", d, after)
						}
						got[d]++
						after = d
					}
					if len(page) < 5 {
						break
					}
				}
			}
			same(t, fmt.Sprintf("dirty hours of %d shards", count), got, want)
		}
		none, err := p.Dirty(deadline(t), true, everything, event.Hour(-9).End(), store.DirtyHour{}, 5)
		ok(t, err)
		same(t, "hours that have not ended", none, []store.DirtyHour{})
	})
	sub(t, open, "a queue of many marks", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		const hours, each = 30, 100
		var marks []store.Mark
		var want []event.Hour
		for h := range event.Hour(hours) {
			for id := range each {
				marks = append(marks, store.Mark{Merchant: "m", Queue: 3, Hour: h, Batch: batchID(id)})
			}
			want = append(want, h)
		}
		ok(t, p.Mark(ctx, marks))
		ok(t, p.Mark(ctx, []store.Mark{{Merchant: "m", Queue: 4, Hour: 31}}))
		same(t, "dirty hours", dirtyOf(t, p, "m", 3), want)
		same(t, "dirty hours of two queues", dirtyOf(t, p, "m", 4, 3), append(want, 31))
		got, err := p.Marks(ctx, "m", []store.Queue{3}, 0, hours)
		ok(t, err)
		same(t, "marks", got, marks)
		due, err := p.Dirty(ctx, true, everything, event.Hour(hours).End(), store.DirtyHour{}, 7)
		ok(t, err)
		for i, d := range due {
			same(t, "a dirty hour", d, store.DirtyHour{Merchant: "m", Queue: 3, Hour: event.Hour(i)})
		}
		ok(t, p.Clean(ctx, marks[28*each:]))
		same(t, "dirty hours", dirtyOf(t, p, "m", 3), want[:28])
		ok(t, p.DropQueue(ctx, "m", 3))
		same(t, "dirty hours", dirtyOf(t, p, "m", 3), []event.Hour{})
		same(t, "dirty hours of the other", dirtyOf(t, p, "m", 4), []event.Hour{31})
	})
}

// besides is the part of Processed's suite that is about revisions other than
// that of the ETL.
func besides(t *testing.T, open Opener[store.Processed]) {
	type P = store.Processed
	rejectsIn := func(t TB, p P, layers ...store.Revision) (n int) {
		t.Helper()
		for _, rev := range layers {
			// A layer over all of time shows all of a revision, and nothing else.
			n += len(listRejects(t, p, "m", layerOf(rev), -9, 9, 100))
			counts, err := p.RejectCounts(deadline(t), "m", layerOf(rev), -9, 9)
			ok(t, err)
			for _, c := range counts {
				n += 100 * int(c.Events)
			}
		}
		return n
	}
	sub(t, open, "a revision lies beside that of the ETL", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		in := store.Put{Batch: batchID(1), Docs: []store.Doc{doc("m", 1, live, batchID(1))}, Rejects: []store.Reject{reject("m", 1, batchID(1), 0, "invalid")}}
		ok(t, p.Put(ctx, in))
		ok(t, p.Clean(ctx, marksOf(t, p, "m", 1)))
		docs := []store.Doc{doc("m", 1, 2, batchID(1)), doc("m", 4, 2, batchID(1)), doc("n", 0, 2, batchID(2))}
		found := []store.Reject{rejectOf(2, "m", 1, batchID(1), 0, "other"), rejectOf(2, "m", 2, batchID(1), 1, "other"), rejectOf(0, "m", 2, batchID(7), 0, "other")}
		for range 2 {
			ok(t, p.PutRevision(ctx, 2, docs, found))
			same(t, "documents of the ETL", scan(t, p, "m", live, 0, 9), in.Docs)
			same(t, "documents of the revision", scan(t, p, "m", 2, 0, 9), docs[:2])
			same(t, "documents of another", scan(t, p, "m", 3, 0, 9), []store.Doc{})
			same(t, "rejects of the ETL", listRejects(t, p, "m", nil, 0, 9, 9), in.Rejects)
			counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
			ok(t, err)
			same(t, "counts of the ETL", counts, []store.RejectCount{{Hour: 1, Reason: "invalid", Events: 1}})
			same(t, "rejects and counts of the revision", rejectsIn(t, p, 2), 303)
			for _, m := range []string{"m", "n"} {
				same(t, "dirty hours", dirtyOf(t, p, m), []event.Hour{})
			}
		}
		sameDirty(t, p, nil)
		for _, c := range []struct {
			revs        []store.Revision
			first, last event.Hour
			ok          bool
		}{{[]store.Revision{live}, 1, 1, true}, {[]store.Revision{2}, 1, 4, true}, {[]store.Revision{3, live, 2}, 1, 4, true}, {[]store.Revision{3}, 0, 0, false}, {nil, 0, 0, false}} {
			first, last, some, err := p.Extent(ctx, "m", c.revs...)
			ok(t, err)
			same(t, fmt.Sprint("extent of ", c.revs), []any{first, last, some}, []any{c.first, c.last, c.ok})
		}
		wantKind(t, p.PutRevision(ctx, live, in.Docs, nil), fault.Invalid)
		wantKind(t, p.PutRevision(ctx, 0, nil, nil), fault.Invalid)
		wantKind(t, p.PutRevision(ctx, 3, docs, nil), fault.Invalid)
		wantKind(t, p.PutRevision(ctx, 3, nil, found), fault.Invalid)
		wantKind(t, p.Put(ctx, store.Put{Batch: batchID(1), Docs: docs[:1]}), fault.Invalid)
		wantKind(t, p.Put(ctx, store.Put{Batch: batchID(1), Rejects: found[:1]}), fault.Invalid)
		ok(t, p.PutRevision(ctx, 2, nil, nil))
	})
	sub(t, open, "mark documents of some revisions", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m", "ma"}, 1, 2, 3)
		for rev := store.Revision(2); rev <= 3; rev++ {
			put(t, p, int(rev), rev, []string{"m", "ma"}, event.Hour(rev), event.Hour(rev)+2)
		}
		ok(t, p.MarkDirty(ctx, "m", 8, []store.Revision{live, 2}, 2, 5))
		same(t, "dirty hours", dirtyOf(t, p, "m", 8), []event.Hour{2, 3, 4})
		marks, err := p.Marks(ctx, "m", []store.Queue{8}, 0, 9)
		ok(t, err)
		want := []store.Mark{mark("m", 2, batchID(1)), mark("m", 2, batchID(2)), mark("m", 3, batchID(1)), mark("m", 4, batchID(2))}
		for i := range want {
			want[i].Queue = 8
		}
		same(t, "marks", marks, want)
		same(t, "dirty hours of another", dirtyOf(t, p, "ma", 8), []event.Hour{})
		ok(t, p.MarkDirty(ctx, "m", 9, nil, 0, 9))
		ok(t, p.MarkDirty(ctx, "m", 9, []store.Revision{live}, 5, 1))
		same(t, "dirty hours of a queue that nothing was marked in", dirtyOf(t, p, "m", 9), []event.Hour{})
	})
	sub(t, open, "documents of a revision are merged", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m"}, 1)
		put(t, p, 1, 2, []string{"m"}, 1)
		put(t, p, 2, 2, []string{"m"}, 1)
		ok(t, p.MarkDirty(ctx, "m", 8, []store.Revision{2}, 0, 9))
		merged := doc("m", 1, 2, store.MergedBatchID(1))
		ok(t, p.Replace(ctx, []store.DocKey{doc("m", 1, 2, batchID(1)).Key, doc("m", 1, 2, batchID(2)).Key}, merged))
		same(t, "documents of the revision", scan(t, p, "m", 2, 0, 9), []store.Doc{merged})
		same(t, "documents of the ETL", len(scan(t, p, "m", live, 0, 9)), 1)
		same(t, "marks of another queue", len(marksOf(t, p, "m", 1, 8)), 2)
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
	})
	sub(t, open, "a revision that is dropped", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		fill := func(rev store.Revision) {
			for _, m := range []string{"m", "ma"} {
				put(t, p, 1, rev, []string{m}, -1, 0, 1, 2)
				for h := event.Hour(-1); h <= 2; h++ {
					r := []store.Reject{rejectOf(rev, m, h, batchID(1), int(h)+1, "invalid")}
					if rev == live {
						ok(t, p.Put(ctx, store.Put{Batch: batchID(1), Rejects: r}))
					} else {
						ok(t, p.PutRevision(ctx, rev, nil, r))
					}
				}
			}
		}
		for rev := store.Revision(1); rev <= 3; rev++ {
			fill(rev)
		}
		ok(t, p.MarkDirty(ctx, "m", 8, []store.Revision{2}, -9, 9))
		ok(t, p.Drop(ctx, "m", 2, 0, 2))
		same(t, "documents", scan(t, p, "m", 2, -9, 9), []store.Doc{doc("m", -1, 2, batchID(1)), doc("m", 2, 2, batchID(1))})
		same(t, "rejects and counts", rejectsIn(t, p, 2), 202)
		same(t, "dirty hours", dirtyOf(t, p, "m", 8), []event.Hour{-1, 0, 1, 2})
		same(t, "documents of others", []int{len(scan(t, p, "ma", 2, -9, 9)), len(scan(t, p, "m", live, -9, 9)), len(scan(t, p, "m", 3, -9, 9))}, []int{4, 4, 4})
		same(t, "rejects and counts of others", []int{rejectsIn(t, p, live), rejectsIn(t, p, 3)}, []int{404, 404})
		ok(t, p.Drop(ctx, "m", 2, 5, 1))
		ok(t, p.Drop(ctx, "m", 2, math.MinInt32, math.MaxInt32))
		same(t, "documents", scan(t, p, "m", 2, -9, 9), []store.Doc{})
		same(t, "rejects and counts", rejectsIn(t, p, 2), 0)
		fill(2)
		same(t, "rejects and counts of what was put again", rejectsIn(t, p, 2), 404)
		ok(t, p.Drop(ctx, "m", live, 0, 9))
		same(t, "documents of the ETL", scan(t, p, "m", live, -9, 9), []store.Doc{doc("m", -1, live, batchID(1))})
		same(t, "dirty hours of the ETL", dirtyOf(t, p, "m"), []event.Hour{-1, 0, 1, 2})
	})
	sub(t, open, "revisions survive a crash", func(t *testing.T, p P, reopen func() P) {
		ctx := deadline(t)
		put(t, p, 1, live, []string{"m"}, 1)
		put(t, p, 1, 2, []string{"m"}, 1, 2)
		put(t, p, 1, 3, []string{"m"}, 1, 2)
		ok(t, p.PutRevision(ctx, 2, nil, []store.Reject{rejectOf(2, "m", 1, batchID(1), 0, "invalid")}))
		ok(t, p.Drop(ctx, "m", 3, 0, 2))
		p = mustReopen(t, reopen)
		same(t, "documents of a revision", len(scan(t, p, "m", 2, 0, 9)), 2)
		same(t, "documents of one that was dropped in part", len(scan(t, p, "m", 3, 0, 9)), 1)
		same(t, "rejects and counts", rejectsIn(t, p, 2), 101)
	})
	sub(t, open, "a revision is put and dropped at the same time", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		parallel(t, 6, func(i int) error {
			for n := range 20 {
				id := batchID(i*100 + n)
				r := rejectOf(2, "m", event.Hour(n%2), id, 0, "invalid")
				if i == 0 {
					if err := p.Drop(ctx, "m", 2, 0, 9); err != nil {
						return err
					}
					continue
				}
				if err := p.PutRevision(ctx, 2, []store.Doc{doc("m", r.Hour, 2, id)}, []store.Reject{r}); err != nil {
					return err
				}
			}
			return nil
		})
		// What is left is counted as it is listed.
		n := len(listRejects(t, p, "m", layerOf(2), -9, 9, 100))
		same(t, "rejects and counts", rejectsIn(t, p, 2), 101*n)
		ok(t, p.Drop(ctx, "m", 2, 0, 9))
		same(t, "rejects and counts of nothing", rejectsIn(t, p, 2), 0)
	})
	sub(t, open, "an ended context", func(t *testing.T, p P, _ func() P) {
		for _, err := range []error{
			p.PutRevision(ended(), 2, []store.Doc{doc("m", 1, 2, batchID(1))}, nil),
			p.Mark(ended(), []store.Mark{mark("m", 1, batchID(1))}),
			p.Drop(ended(), "m", 2, 0, 9), p.DropQueue(ended(), "m", 2),
			p.Resolve(ended(), store.Put{Batch: batchID(2)}, []store.Reject{reject("m", 1, batchID(1), 0, "invalid")}),
			second(p.Dirty(ended(), true, everything, time.Now(), store.DirtyHour{}, 1)),
		} {
			wantKind(t, err, fault.Transient)
		}
	})
}
