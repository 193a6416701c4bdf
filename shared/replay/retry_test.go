package replay_test

import (
	"sync"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/replay"
	"github.com/footfall/footfall/shared/store"
)

// etl writes what batches become, as the ETL does.
func (w *world) etl(batches ...*event.Batch) {
	w.tb.Helper()
	for _, b := range batches {
		put, err := w.transform.Batch(w.tb.Context(), b)
		if err == nil {
			err = w.stores.Processed.Put(w.tb.Context(), put)
		}
		if err != nil {
			w.tb.Fatal(err)
		}
	}
}

// counted are the rows of a merchant's live documents, each batch's once.
func (w *world) counted(merchant string) int {
	w.tb.Helper()
	u := processed.NewUnion(processed.Everything())
	if err := w.stores.Processed.Scan(w.tb.Context(), merchant, store.LiveRevision, 0, 1<<30, func(d store.Doc) error { return u.Add(d.Data, nil) }); err != nil {
		w.tb.Fatal(err)
	}
	f, err := u.Frame()
	if err != nil {
		w.tb.Fatal(err)
	}
	return f.Len
}

func (w *world) rejected(merchant string) (n int64) {
	w.tb.Helper()
	counts, err := w.stores.Processed.RejectCounts(w.tb.Context(), merchant, nil, 0, 1<<30)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, c := range counts {
		n += c.Events
	}
	return n
}

// Events of a stream that nobody had registered are counted once it is: once
// each, however many try at the same time, with what else was rejected left as
// it is.
func TestRetry(t *testing.T) {
	w := newWorld(t, 2)
	var batches []*event.Batch
	lost := 0
	for i := range 40 {
		b := w.batch(noon.Add(time.Duration(i)*time.Minute), 30)
		for k := range b.Events {
			switch {
			case k%10 == 3:
				b.Events[k].Stream = "G-soon"
				lost++
			case b.Events[k].Stream == "G-nobody":
				b.Events[k].Stream = "G-never"
			}
		}
		b.Refused = append(b.Refused, event.Refused{Stream: "G-soon", ID: "r", Field: "time", Reason: "invalid", Data: []byte("{}")})
		batches = append(batches, b)
	}
	w.etl(batches...)
	before := w.rejected("")
	m := access.Merchant{ID: "late", Name: "late", Settings: access.DefaultSettings(), Streams: []access.Stream{{MeasurementID: "G-soon"}}}
	all := func(limit int, reasons ...string) (sum replay.Retried) {
		retry := replay.NewRetry(w.stores.Processed, w.transform, 10*time.Second)
		for cursor := ""; ; {
			did, next, err := retry.Page(t.Context(), access.Merchant{}, 0, 1<<30, reasons, cursor, limit)
			if err != nil {
				t.Error(err)
				return sum
			}
			if sum.Add(did); next == "" {
				return sum
			}
			cursor = next
		}
	}
	if did := all(100); did.Counted != 0 || did.Rejected != before-40 || did.Refused != 40 {
		t.Fatalf("before it is registered: %+v, %d were rejected", did, before)
	}
	if err := w.stores.Registry.CreateMerchant(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.forget()
	if did := all(100, "disabled_stream"); did.Counted != 0 || did.Skipped != before-40 {
		t.Fatalf("of another reason: %+v", did)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() { all(7 + 30*i) })
	}
	group.Wait()
	if n := w.counted("late"); n != lost {
		t.Errorf("%d of %d events are counted", n, lost)
	}
	if n := w.rejected(""); n != before-int64(lost) {
		t.Errorf("%d of %d are still rejected, expected %d", n, before, before-int64(lost))
	}
	if did := all(1000); did.Counted != 0 || did.Looked != before-int64(lost) {
		t.Errorf("once more: %+v", did)
	}
	marks, err := w.stores.Processed.DirtyOf(t.Context(), "late", []store.Queue{store.LiveQueue}, 0, 1<<30)
	if err != nil || len(marks) == 0 {
		t.Errorf("no hour is to be counted anew: %v, %v", marks, err)
	}
}

// What a reprocess has rejected is tried again by another one.
func TestRetryLeavesRevisions(t *testing.T) {
	w := newWorld(t, 1)
	b := w.batch(noon, 20)
	for k := range b.Events {
		b.Events[k].Stream = "G-0"
	}
	reject := store.Reject{Merchant: "m0", Revision: rev, Stream: "G-0", Batch: b.ID, Index: 1, EventID: b.Events[1].ID, Hour: b.Events[1].Hour(),
		ReceivedAt: noon, Reason: "disabled_stream", Data: event.EncodeEvent(&b.Events[1])}
	if err := w.stores.Processed.PutRevision(t.Context(), rev, nil, []store.Reject{reject}); err != nil {
		t.Fatal(err)
	}
	m := access.Merchant{ID: "m0", Layers: access.Layers{{Revision: rev, From: noon.Add(-time.Hour).UnixMilli(), To: noon.Add(time.Hour).UnixMilli()}}}
	did, _, err := replay.NewRetry(w.stores.Processed, w.transform, time.Second).Page(t.Context(), m, 0, 1<<30, nil, "", 10)
	if want := (replay.Retried{Looked: 1, Other: 1}); err != nil || did != want {
		t.Errorf("got %+v, %v", did, err)
	}
}

// forget makes a transformation that knows nothing of before.
func (w *world) forget() {
	w.tb.Helper()
	w.transform = newTransform(w.tb, w.stores.Registry)
}
