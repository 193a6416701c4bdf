package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func reject(m string, h event.Hour, id event.BatchID, index int, reason string) store.Reject {
	return store.Reject{
		Merchant: m, Revision: live, Stream: "G-A", Batch: id, Index: index, EventID: fmt.Sprint("e", index), Hour: h, ReceivedAt: at(index),
		Reason: reason, Field: "name", Detail: "a name", Data: []byte{0, 1, byte(index)},
	}
}

// rejectOf is a reject of a revision.
func rejectOf(rev store.Revision, m string, h event.Hour, id event.BatchID, index int, reason string) store.Reject {
	r := reject(m, h, id, index, reason)
	r.Revision = rev
	return r
}

// listRejects lists all rejects of a merchant's hours, by pages.
func listRejects(t TB, p store.Processed, m string, layers access.Layers, from, to event.Hour, page int) (all []store.Reject) {
	t.Helper()
	cursor := ""
	for {
		some, next, err := p.Rejects(deadline(t), m, layers, from, to, cursor, page)
		ok(t, err)
		if len(some) > page {
			t.Fatalf("a page has %d rejects, expected at most %d", len(some), page)
		}
		all = append(all, some...)
		if next == "" {
			return all
		}
		cursor = next
	}
}

// rejects is the part of Processed's suite that is about rejected events.
func rejects(t *testing.T, open Opener[store.Processed]) {
	type P = store.Processed
	sub(t, open, "rejects by hour, batch and index", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		want := map[string][]store.Reject{}
		for _, m := range neighbours {
			for _, id := range []int{2, 1} {
				in := store.Put{Batch: batchID(id)}
				for _, h := range []event.Hour{3, -1, 0} {
					for _, index := range []int{300, 2, 1} {
						r := reject(m, h, in.Batch, index+int(h)+1, "invalid")
						r.Refused = index == 300
						in.Rejects = append(in.Rejects, r)
					}
				}
				ok(t, p.Put(ctx, in))
			}
			for _, h := range []event.Hour{-1, 0} {
				for _, id := range []int{1, 2} {
					for _, index := range []int{1, 2, 300} {
						r := reject(m, h, batchID(id), index+int(h)+1, "invalid")
						r.Refused = index == 300
						want[m] = append(want[m], r)
					}
				}
			}
		}
		for _, m := range neighbours {
			for _, page := range []int{1, 5, 12, 100} {
				same(t, fmt.Sprintf("rejects of %q by %d", m, page), listRejects(t, p, m, nil, -1, 3, page), want[m])
			}
			counts, err := p.RejectCounts(ctx, m, nil, -1, 1)
			ok(t, err)
			same(t, "counts", counts, []store.RejectCount{
				{Hour: -1, Reason: "invalid", Events: 4}, {Hour: -1, Reason: "invalid", Refused: true, Events: 2},
				{Hour: 0, Reason: "invalid", Events: 4}, {Hour: 0, Reason: "invalid", Refused: true, Events: 2},
			})
		}
		same(t, "rejects of no hour", listRejects(t, p, "a", nil, 3, 3, 5), []store.Reject{})
		for _, cursor := range []string{"x", "00"} {
			_, _, err := p.Rejects(ctx, "a", nil, 0, 9, cursor, 5)
			wantKind(t, err, fault.Invalid)
		}
	})
	sub(t, open, "a reject counts once", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		in := store.Put{Batch: batchID(1), Rejects: []store.Reject{
			reject("m", 1, batchID(1), 0, "invalid"), reject("m", 1, batchID(1), 1, "invalid"), reject("m", 1, batchID(1), 2, "unknown_stream"),
		}}
		parallel(t, 8, func(int) error { return p.Put(ctx, in) })
		in.Rejects[1].Reason = "unknown_stream" // seen otherwise when delivered again
		ok(t, p.Put(ctx, in))
		counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
		ok(t, err)
		same(t, "counts", counts, []store.RejectCount{{Hour: 1, Reason: "invalid", Events: 1}, {Hour: 1, Reason: "unknown_stream", Events: 2}})
		same(t, "rejects", listRejects(t, p, "m", nil, 0, 9, 10), in.Rejects)
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{})
	})
	sub(t, open, "a reject that stands for many", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		for id, events := range []int64{5, 0, 1 << 40} {
			r := reject("m", 1, batchID(id), 0, "quota_exceeded")
			r.Refused, r.Events, r.EventID, r.Data = true, events, "", nil
			for range 2 {
				ok(t, p.Put(ctx, store.Put{Batch: batchID(id), Rejects: []store.Reject{r}}))
			}
			got := listRejects(t, p, "m", nil, 0, 9, 10)
			same(t, "the last reject", got[len(got)-1], r)
		}
		counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
		ok(t, err)
		same(t, "counts", counts, []store.RejectCount{{Hour: 1, Reason: "quota_exceeded", Refused: true, Events: 5 + 1 + 1<<40}})
	})
	sub(t, open, "what rejects became", func(t *testing.T, p P, _ func() P) {
		ctx := deadline(t)
		in := store.Put{Batch: batchID(1)}
		for index, m := range []string{"m", "m", "m", ""} {
			in.Rejects = append(in.Rejects, reject(m, 1, in.Batch, index, "unknown_stream"))
		}
		in.Rejects[0].Events = 5
		ok(t, p.Put(ctx, in))
		again := store.Put{Batch: batchID(2), Docs: []store.Doc{doc("n", 1, live, batchID(2))}, Rejects: []store.Reject{reject("n", 1, batchID(2), 0, "invalid")}}
		gone := []store.Reject{in.Rejects[0], in.Rejects[3], in.Rejects[0], reject("m", 2, in.Batch, 0, "never there")}
		gone[0].Revision = 0 // that of the ETL
		for range 2 {
			parallel(t, 4, func(int) error { return p.Resolve(ctx, again, gone) })
			same(t, "rejects", listRejects(t, p, "m", nil, 0, 9, 2), in.Rejects[1:3])
			same(t, "rejects of no merchant", listRejects(t, p, "", nil, 0, 9, 2), []store.Reject{})
			same(t, "rejects that they became", listRejects(t, p, "n", nil, 0, 9, 2), again.Rejects)
			counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
			ok(t, err)
			same(t, "counts", counts, []store.RejectCount{{Hour: 1, Reason: "unknown_stream", Events: 2}})
			counts, err = p.RejectCounts(ctx, "", nil, 0, 9)
			ok(t, err)
			same(t, "counts of no merchant", counts, []store.RejectCount{})
			same(t, "documents", scan(t, p, "n", live, 0, 9), again.Docs)
			same(t, "marks", marksOf(t, p, "n", 1), []store.Mark{mark("n", 1, batchID(2))})
		}
		wantKind(t, p.Resolve(ctx, again, again.Rejects), fault.Invalid)
		wantKind(t, p.Resolve(ctx, store.Put{Batch: batchID(3), Docs: again.Docs}, gone), fault.Invalid)
		ok(t, p.Resolve(ctx, store.Put{Batch: batchID(3)}, nil))
	})
	sub(t, open, "what rejects became survives a crash", func(t *testing.T, p P, reopen func() P) {
		ctx := deadline(t)
		in := store.Put{Batch: batchID(1), Rejects: []store.Reject{reject("m", 1, batchID(1), 0, "invalid"), reject("m", 1, batchID(1), 1, "invalid")}}
		ok(t, p.Put(ctx, in))
		again := store.Put{Batch: batchID(2), Docs: []store.Doc{doc("m", 1, live, batchID(2))}}
		ok(t, p.Resolve(ctx, again, in.Rejects[:1]))
		p = mustReopen(t, reopen)
		same(t, "documents", scan(t, p, "m", live, 0, 9), again.Docs)
		same(t, "dirty hours", dirtyOf(t, p, "m"), []event.Hour{1})
		same(t, "rejects", listRejects(t, p, "m", nil, 0, 9, 9), in.Rejects[1:])
	})
	t.Run("rejects of each batch are those of the revision that owns it", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { rejectsOfLayers(t, open) })
	})
}

// rejectsOfLayers writes rejects of random batches and revisions, and compares
// what layers make of them with what Owner says.
func rejectsOfLayers(t *rapid.T, open Opener[store.Processed]) {
	p, _ := open(t)
	ctx := deadline(t)
	const first = int64(1_700_000_000_000) // ms
	all := map[string]store.Reject{}
	for rev := live; rev <= 3; rev++ {
		var some []store.Reject
		for range rapid.IntRange(0, 12).Draw(t, "rejects") {
			id := event.FirstBatchID(first + int64(rapid.IntRange(0, 9).Draw(t, "arrival")))
			id[15] = byte(rapid.IntRange(0, 1).Draw(t, "batch"))
			r := rejectOf(rev, "m", event.Hour(rapid.IntRange(0, 2).Draw(t, "hour")), id, rapid.IntRange(0, 1).Draw(t, "index"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "reason"))
			r.Refused, r.Events = rapid.Bool().Draw(t, "refused"), int64(rapid.IntRange(0, 3).Draw(t, "events"))
			key := fmt.Sprint(rev, r.Hour, id, r.Index)
			if _, again := all[key]; again {
				continue
			}
			all[key], some = r, append(some, r)
		}
		for _, r := range some {
			if rev == live {
				ok(t, p.Put(ctx, store.Put{Batch: r.Batch, Rejects: []store.Reject{r}}))
			}
		}
		if rev != live {
			ok(t, p.PutRevision(ctx, rev, nil, some))
		}
	}
	for range 4 {
		var layers access.Layers
		for range rapid.IntRange(0, 3).Draw(t, "layers") {
			from := int64(rapid.IntRange(-1, 9).Draw(t, "from"))
			l := access.Layer{Revision: store.Revision(rapid.IntRange(2, 4).Draw(t, "revision")), From: first + from, To: first + from + int64(rapid.IntRange(0, 11).Draw(t, "length"))}
			layers = append(layers, l)
		}
		from, to := event.Hour(rapid.IntRange(0, 2).Draw(t, "first hour")), event.Hour(rapid.IntRange(1, 3).Draw(t, "last hour"))
		var want []store.Reject
		sums := map[store.RejectCount]int64{}
		for _, r := range all {
			if r.Hour >= from && r.Hour < to && layers.Owner(r.Batch.Millis()) == r.Revision {
				want = append(want, r)
				sums[store.RejectCount{Hour: r.Hour, Reason: r.Reason, Refused: r.Refused}] += max(r.Events, 1)
			}
		}
		slices.SortFunc(want, func(a, b store.Reject) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Index, b.Index))
		})
		same(t, "rejects", listRejects(t, p, "m", layers, from, to, rapid.IntRange(1, 7).Draw(t, "page")), want)
		counts, err := p.RejectCounts(ctx, "m", layers, from, to)
		ok(t, err)
		got := map[store.RejectCount]int64{}
		for i, c := range counts {
			if i > 0 && counts[i-1].Hour > c.Hour {
				t.Fatalf("hour %d after %d", c.Hour, counts[i-1].Hour)
			}
			n := c.Events
			c.Events = 0
			if got[c] != 0 {
				t.Fatalf("%+v is counted twice", c)
			}
			got[c] = n
		}
		same(t, "counts", got, sums)
	}
}
