package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Gatherer is the suite of store.Gatherer, beside that of store.Journal.
func Gatherer(t *testing.T, open Opener[store.Gatherer]) {
	type G = store.Gatherer
	sub(t, open, "parts make a batch", func(t *testing.T, g G, reopen func() G) {
		ctx := deadline(t)
		a, b := gathered(1, 10, "a", "b"), gathered(1, 10, "c")
		ok(t, g.Gather(ctx, a))
		ok(t, g.Gather(ctx, b))
		look := func() {
			t.Helper()
			wantCounts(t, g, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3, Pending: 3})
			rows, err := g.Unfinished(ctx, store.StagePublished, time.Time{}, at(100), 10)
			ok(t, err)
			want := a
			want.Payload, want.Counts = nil, []event.StreamHour{{Stream: "G-A", Hour: 5, Events: 3}}
			same(t, "unfinished", rows, []store.JournalRow{want})
			w, err := g.Watermark(ctx, at(100))
			ok(t, err)
			same(t, "watermark", w.Equal(at(10)), true)
		}
		look()
		_, err := g.Payload(ctx, a.Batch)
		wantKind(t, err, fault.NotFound) // it may get more
		g = mustReopen(t, reopen)        // each part is durable
		look()
		wantEvents(t, g, a.Batch, "a", "b", "c")
	})
	sub(t, open, "an append takes the place of parts", func(t *testing.T, g G, reopen func() G) {
		ctx := deadline(t)
		ok(t, g.Gather(ctx, gathered(1, 10, "a", "b")))
		ok(t, g.Gather(ctx, gathered(1, 10, "doubtful")))
		ok(t, g.Mark(ctx, store.StagePublished, []store.JournalRow{{Batch: batchID(1), ReceivedAt: at(10)}}))
		whole := gathered(1, 10, "a", "b")
		whole.Payload = []byte("whole")
		ok(t, g.Append(ctx, []store.JournalRow{whole}))
		look := func() {
			t.Helper()
			p, err := g.Payload(ctx, whole.Batch)
			ok(t, err)
			same(t, "payload", p, whole.Payload)
			wantCounts(t, g, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 2, Pending: 2})
			s, err := g.Stages(ctx, whole.Batch)
			ok(t, err)
			same(t, "stages", s, store.StagePublished)
		}
		look()
		wantKind(t, g.Gather(ctx, gathered(1, 10, "late")), fault.Conflict)
		ok(t, g.Append(ctx, []store.JournalRow{gathered(1, 10, "a", "b"), row(2, 11, "G-B", 5, 1)})) // durable, and with it what came before
		look()
		g = mustReopen(t, reopen)
		look()
	})
	sub(t, open, "parts go once archived and processed", func(t *testing.T, g G, reopen func() G) {
		ctx := deadline(t)
		ok(t, g.Gather(ctx, gathered(1, 10, "a")))
		ok(t, g.Gather(ctx, gathered(1, 10, "b")))
		ok(t, g.Mark(ctx, store.StageProcessed, []store.JournalRow{{Batch: batchID(1)}}))
		ok(t, g.Append(ctx, []store.JournalRow{row(2, 11, "G-B", 5, 1)})) // durable, and with it what came before
		g = mustReopen(t, reopen)
		wantEvents(t, g, batchID(1), "a", "b")
		wantCounts(t, g, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 2})
		ok(t, g.Mark(ctx, store.StageArchived, []store.JournalRow{{Batch: batchID(1)}}))
		_, err := g.Payload(ctx, batchID(1))
		wantKind(t, err, fault.NotFound)
		late := gathered(1, 10, "a", "b")
		ok(t, g.Append(ctx, []store.JournalRow{late}))
		_, err = g.Payload(ctx, batchID(1))
		wantKind(t, err, fault.NotFound)
		wantCounts(t, g, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 2})
	})
	sub(t, open, "an ended context adds no part", func(t *testing.T, g G, _ func() G) {
		wantKind(t, g.Gather(ended(), gathered(1, 10, "a")), fault.Transient)
		wantCounts(t, g, []string{"G-A"}, 0, 10)
	})
	t.Run("parts and their append are as one append", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { gatherModel(t, open) })
	})
}

// gatherModel makes batches in parts, with marks and appends between them, and
// the same ones whole in another journal.
func gatherModel(t *rapid.T, open Opener[store.Gatherer]) {
	g, reopen := open(t)
	plain, _ := open(t)
	ctx := deadline(t)
	streams := []string{"G-A", "G-B", "G-C"}
	for id := range rapid.IntRange(1, 4).Draw(t, "batches") {
		var whole store.JournalRow
		var names []string
		for i := range rapid.IntRange(1, 5).Draw(t, "parts") {
			part := gathered(id, id, fmt.Sprintf("%d-%d", id, i))
			part.Counts = nil
			for _, stream := range streams {
				if n := rapid.IntRange(0, 2).Draw(t, "events"); n > 0 {
					part.Counts = append(part.Counts, event.StreamHour{Stream: stream, Hour: event.Hour(rapid.IntRange(4, 5).Draw(t, "hour")), Events: int64(n)})
				}
			}
			ok(t, g.Gather(ctx, part))
			names = append(names, fmt.Sprintf("%d-%d", id, i))
			counts := append(slices.Clone(whole.Counts), part.Counts...)
			whole = part
			whole.Counts = event.SumCounts(counts)
		}
		whole.Payload = gatheredPayload(t, whole.Batch, whole.ReceivedAt, names)
		ok(t, plain.Append(ctx, []store.JournalRow{whole}))
		for range rapid.IntRange(0, 3).Draw(t, "marks") {
			s := store.Stage(rapid.IntRange(1, 7).Draw(t, "stage"))
			for _, j := range []store.Journal{g, plain} {
				ok(t, j.Mark(ctx, s, []store.JournalRow{{Batch: whole.Batch}}))
			}
		}
		if rapid.Bool().Draw(t, "appended") {
			ok(t, g.Append(ctx, []store.JournalRow{whole}))
		}
	}
	ok(t, g.Append(ctx, []store.JournalRow{row(9, 9, "G-Z", 5, 1)})) // durable, and with it what came before
	ok(t, plain.Append(ctx, []store.JournalRow{row(9, 9, "G-Z", 5, 1)}))
	if g = reopen(); g == nil {
		t.Fatal("cannot open again")
	}
	for _, lacks := range []store.Stage{store.StagePublished, store.StageArchived, store.StageProcessed, store.AllStages} {
		got, err := g.Unfinished(ctx, lacks, time.Time{}, at(1000), 100)
		ok(t, err)
		want, err := plain.Unfinished(ctx, lacks, time.Time{}, at(1000), 100)
		ok(t, err)
		same(t, "unfinished", got, want)
	}
	got, err := g.Counts(ctx, streams, 0, 10)
	ok(t, err)
	want, err := plain.Counts(ctx, streams, 0, 10)
	ok(t, err)
	same(t, "counts", got, want)
	for id := range 4 {
		p, err := plain.Payload(ctx, batchID(id))
		if fault.Is(err, fault.NotFound) {
			_, err = g.Payload(ctx, batchID(id))
			wantKind(t, err, fault.NotFound)
			continue
		}
		ok(t, err)
		q, err := g.Payload(ctx, batchID(id))
		ok(t, err)
		a, err := event.DecodeBatch(p)
		ok(t, err)
		b, err := event.DecodeBatch(q)
		ok(t, err)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("payload (- whole, + gathered):\n%s", diff)
		}
	}
}

// gathered is a part of a batch with events of these ids, of one stream's hour.
func gathered(id, ms int, events ...string) store.JournalRow {
	r := row(id, ms, "G-A", 5, int64(len(events)))
	p := packed(events)
	r.Payload = p.Part(r.Batch, r.ReceivedAt, "test")
	return r
}

// gatheredPayload is a batch's container.
func gatheredPayload(t TB, id event.BatchID, received time.Time, events []string) []byte {
	p := packed(events)
	c, err := p.SealOne(id, received, "test")
	ok(t, err)
	return c
}

func packed(events []string) (p event.Packer) {
	for _, id := range events {
		p.Add(event.AppendEvent(nil, &event.Event{ID: id, Stream: "G-A", Name: "page_view"}))
	}
	return p
}

func wantEvents(t TB, j store.Journal, id event.BatchID, want ...string) {
	t.Helper()
	p, err := j.Payload(deadline(t), id)
	ok(t, err)
	b, err := event.DecodeBatch(p)
	ok(t, err)
	var got []string
	for i := range b.Events {
		got = append(got, b.Events[i].ID)
	}
	same(t, "events", got, want)
	same(t, "batch", b.ID, id)
}
