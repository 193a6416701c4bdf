package storetest

import (
	"fmt"
	"testing"

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

// rejects is the part of Processed's suite that is about rejected events.
func rejects(t *testing.T, open Opener[store.Processed]) {
	type P = store.Processed
	list := func(t TB, p P, m string, from, to event.Hour, page int) (all []store.Reject) {
		t.Helper()
		cursor := ""
		for {
			some, next, err := p.Rejects(deadline(t), m, nil, from, to, cursor, page)
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
				same(t, fmt.Sprintf("rejects of %q by %d", m, page), list(t, p, m, -1, 3, page), want[m])
			}
			counts, err := p.RejectCounts(ctx, m, nil, -1, 1)
			ok(t, err)
			same(t, "counts", counts, []store.RejectCount{
				{Hour: -1, Reason: "invalid", Events: 4}, {Hour: -1, Reason: "invalid", Refused: true, Events: 2},
				{Hour: 0, Reason: "invalid", Events: 4}, {Hour: 0, Reason: "invalid", Refused: true, Events: 2},
			})
		}
		same(t, "rejects of no hour", list(t, p, "a", 3, 3, 5), []store.Reject{})
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
		same(t, "rejects", list(t, p, "m", 0, 9, 10), in.Rejects)
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
			got := list(t, p, "m", 0, 9, 10)
			same(t, "the last reject", got[len(got)-1], r)
		}
		counts, err := p.RejectCounts(ctx, "m", nil, 0, 9)
		ok(t, err)
		same(t, "counts", counts, []store.RejectCount{{Hour: 1, Reason: "quota_exceeded", Refused: true, Events: 5 + 1 + 1<<40}})
	})
}
