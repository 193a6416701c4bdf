package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

func open(t *testing.T) *embedded.Stores {
	t.Helper()
	s, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func service(t *testing.T, s *embedded.Stores, journal store.Journal, clock function.Clock) function.Function {
	t.Helper()
	cfg := archive.Config{FileBytes: 1 << 20, FileAge: time.Hour, FileIdle: 2 * time.Minute}
	svc, err := archive.New(cfg, s.Archive, journal, clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return svc.Function()
}

func accepted(t *testing.T, received time.Time) (event.BatchID, cloudevents.Event) {
	t.Helper()
	id, err := event.NewBatchID()
	if err != nil {
		t.Fatal(err)
	}
	data, err := event.EncodeBatch(&event.Batch{ID: id, ReceivedAt: received, Instance: "i", Events: []event.Event{
		{ID: "e", Stream: "G-1", Name: "page_view", TimeMicros: received.UnixMicro()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e := cloudevents.New()
	e.SetID(id.String())
	e.SetType(event.TypeBatchAccepted)
	e.SetSource("/test")
	if err := e.SetData(event.ContentTypeBatch, data); err != nil {
		t.Fatal(err)
	}
	return id, e
}

// Of several instances, one gets a tick. The others complete their files, too.
func TestFilesAreCompletedWithoutATick(t *testing.T) {
	s := open(t)
	cfg := archive.Config{FileBytes: 1 << 20, FileAge: time.Hour, FileIdle: 20 * time.Millisecond}
	svc, err := archive.New(cfg, s.Archive, s.Journal, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := svc.Function()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	for range 2 { // it goes on after it was idle
		id, e := accepted(t, time.Now())
		if err := f.Events["/batches"](t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
			stages, err := s.Journal.Stages(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if stages&store.StageArchived != 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the batch is never marked as archived")
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func tick() cloudevents.Event {
	e := cloudevents.New()
	e.SetType(event.TypePing)
	e.SetExtension(event.ExtensionTick, "archive")
	return e
}

// archived lists the batches in complete files.
func archived(t *testing.T, s *embedded.Stores) map[event.BatchID]int {
	t.Helper()
	now := event.HourOf(time.Now())
	files, err := s.Archive.List(t.Context(), now-2, now+2)
	if err != nil {
		t.Fatal(err)
	}
	found := map[event.BatchID]int{}
	for _, f := range files {
		if !f.Complete {
			continue
		}
		file, err := s.Archive.Open(t.Context(), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		for r := event.NewReader(file); ; {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found[b.ID]++
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func unarchived(t *testing.T, s *embedded.Stores) int {
	t.Helper()
	rows, err := s.Journal.Unfinished(t.Context(), store.StageArchived, time.Time{}, time.Now().Add(time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

func TestAppendAndTick(t *testing.T) {
	s := open(t)
	now := time.Now()
	fn := service(t, s, s.Journal, func() time.Time { return now })
	ids := map[event.BatchID]bool{}
	for range 3 {
		id, e := accepted(t, now)
		ids[id] = true
		if err := s.Journal.Append(t.Context(), []store.JournalRow{{Batch: id, ReceivedAt: now, Payload: e.Data()}}); err != nil {
			t.Fatal(err)
		}
		if err := fn.Events["/batches"](t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := fn.Events["/ticks"](t.Context(), tick()); err != nil {
		t.Fatal(err)
	}
	if n := unarchived(t, s); n != 3 {
		t.Errorf("%d batches not archived before any file is due, want 3", n)
	}
	now = now.Add(3 * time.Minute)
	if err := fn.Events["/ticks"](t.Context(), tick()); err != nil {
		t.Fatal(err)
	}
	if n := unarchived(t, s); n != 0 {
		t.Errorf("%d batches not archived, want 0", n)
	}
	found := archived(t, s)
	for id := range ids {
		if found[id] != 1 {
			t.Errorf("batch %s stands %d times in complete files", id, found[id])
		}
	}
}

// forgetful is a journal that is away for its first marks.
type forgetful struct {
	store.Journal
	failures int
}

func (f *forgetful) Mark(ctx context.Context, stage store.Stage, rows []store.JournalRow) error {
	if f.failures > 0 {
		f.failures--
		return errors.New("the journal is away")
	}
	return f.Journal.Mark(ctx, stage, rows)
}

// TestJournalAway: the archive names a completed batch once, so the function
// must remember what the journal did not take. It knows of a batch that the
// journal does not know when it came, by the batch's id.
func TestJournalAway(t *testing.T) {
	s := open(t)
	now := time.Now()
	fn := service(t, s, &forgetful{s.Journal, 2}, func() time.Time { return now })
	id, e := accepted(t, now)
	if err := fn.Events["/batches"](t.Context(), e); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	for range 2 {
		if err := fn.Events["/ticks"](t.Context(), tick()); fault.KindOf(err) != fault.Transient || err == nil {
			t.Errorf("got %v, want Transient", err)
		}
	}
	if err := fn.Events["/ticks"](t.Context(), tick()); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Journal.Unfinished(t.Context(), store.StageProcessed, time.Time{}, now, 10)
	if err != nil || len(rows) != 1 || rows[0].Batch != id || rows[0].Stages&store.StageArchived == 0 {
		t.Fatalf("journal rows: %+v, %v", rows, err)
	}
	if d := rows[0].ReceivedAt.Sub(now.Add(-time.Hour)); d < -time.Second || d > time.Second {
		t.Errorf("received %s off", d)
	}
}

func TestClose(t *testing.T) {
	s := open(t)
	fn := service(t, s, s.Journal, time.Now)
	id, e := accepted(t, time.Now())
	if err := fn.Events["/batches"](t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := fn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if archived(t, s)[id] != 1 {
		t.Error("a stopped function's file is not complete")
	}
}

func TestFaults(t *testing.T) {
	s := open(t)
	fn := service(t, s, s.Journal, time.Now)
	for name, change := range map[string]func(e *cloudevents.Event){
		"another type": func(e *cloudevents.Event) { e.SetType("other") },
		"no batch id":  func(e *cloudevents.Event) { e.SetID("x") },
		"no container": func(e *cloudevents.Event) { e.DataEncoded = []byte("x") },
	} {
		_, e := accepted(t, time.Now())
		change(&e)
		if err := fn.Events["/batches"](t.Context(), e); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
	other := tick()
	other.SetExtension(event.ExtensionTick, "summary")
	if err := fn.Events["/ticks"](t.Context(), other); !fault.Is(err, fault.Invalid) {
		t.Errorf("another tick: got %v, want Invalid", err)
	}
	if err := (&archive.Config{}).Validate(); err == nil || len(fmt.Sprint(err)) < 100 {
		t.Errorf("not all faults are reported: %v", err)
	}
}
