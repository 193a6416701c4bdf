package ingest

import (
	"errors"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// The journal is away when a batch is accepted, and its consumers for longer
// than their retries last: the dead letter brings it to the journal, and a tick
// to its consumers again.
func TestADeadLetterIsJournaled(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	w.journal.fails(away)
	if status, _, _ := w.post(t, "["+doc("1", "G-A", "")+"]"); status != 202 {
		t.Fatal(status)
	}
	letter := w.topic.events[0].Clone()
	letter.SetExtension("knativeerrorcode", "503")
	if err := w.DeadLetter(ctx, letter); !fault.Is(err, fault.Transient) || !errors.Is(err, errAway) {
		t.Fatalf("expected a transient error while the journal is away, got %v", err)
	}
	w.journal.fails(nil)
	later := arrival.Add(time.Hour)
	w.now.Store(later.UnixMicro())
	tick := func(want int) {
		t.Helper()
		if err := w.Tick(ctx, cloudevents.New()); err != nil {
			t.Fatal(err)
		}
		if got := w.topic.batches(t); len(got) != want || got[want-1].ID != got[0].ID {
			t.Fatalf("%d batches are published, expected %d of the same", len(got), want)
		}
	}
	tick(1) // the mark that it is published brings a row, but no payload
	for range 2 {
		if err := w.DeadLetter(ctx, letter); err != nil {
			t.Fatal(err)
		}
	}
	w.now.Store(later.Add(time.Hour).UnixMicro())
	tick(2)
	counts, err := w.journal.Counts(ctx, []string{"G-A"}, 0, event.HourOf(later)+1)
	if err != nil || len(counts) != 1 || counts[0].Accepted != 1 || counts[0].Pending != 1 {
		t.Fatalf("the journal counts %+v, %v", counts, err)
	}
	// What is done with stays so.
	id := w.topic.batches(t)[0].ID
	if err := w.journal.Mark(ctx, store.AllStages, []store.JournalRow{{Batch: id}}); err != nil {
		t.Fatal(err)
	}
	if err := w.DeadLetter(ctx, letter); err != nil {
		t.Fatal(err)
	}
	if _, err := w.journal.Payload(ctx, id); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a finished batch has a payload again: %v", err)
	}
	// No error may send what is no batch round for ever.
	if err := letter.SetData(event.ContentTypeBatch, []byte("no batch")); err != nil {
		t.Fatal(err)
	}
	if err := w.DeadLetter(ctx, letter); err != nil {
		t.Fatal(err)
	}
}
