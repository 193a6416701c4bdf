package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func TestTickClosesGaps(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	w.leaves(t, 3)
	tick := cloudevents.New()
	tick.SetExtension(event.ExtensionTick, "journal")
	// Too early: the batches are fresh.
	if err := w.Tick(ctx, tick); err != nil || len(w.topic.batches(t)) != 0 {
		t.Fatalf("%d batches, %v", len(w.topic.batches(t)), err)
	}
	at := func(d time.Duration) int {
		w.now.Store(arrival.Add(d).UnixMicro())
		if err := w.Tick(ctx, tick); err != nil {
			t.Fatal(err)
		}
		return len(w.topic.batches(t))
	}
	if n := at(2 * time.Minute); n != 3 {
		t.Fatalf("after two minutes %d batches were published", n)
	}
	if n := at(3 * time.Minute); n != 3 {
		t.Fatalf("published again at once: %d", n)
	}
	// Nobody processes them: a dead letter. Again after half an hour, then
	// after another one, two, …
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{31 * time.Minute, 3}, {33 * time.Minute, 6}, {64 * time.Minute, 6}, {94 * time.Minute, 9}} {
		if n := at(c.after); n != c.want {
			t.Fatalf("after %v %d batches were published, expected %d", c.after, n, c.want)
		}
	}
	// Processed and archived: nothing is left, and the rows go in the end.
	rows, err := w.journal.Unfinished(ctx, store.AllStages, time.Time{}, arrival.Add(time.Hour), 10)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, stage := range []store.Stage{store.StageArchived, store.StageProcessed} {
		if err := w.journal.Mark(ctx, stage, rows); err != nil {
			t.Fatal(err)
		}
	}
	if n := at(48 * time.Hour); n != 9 {
		t.Fatalf("a finished batch was published: %d", n)
	}
	if n := at(8 * 24 * time.Hour); n != 9 {
		t.Fatal("a finished batch was published")
	}
	if n, err := w.journal.Sweep(ctx, arrival.Add(30*24*time.Hour)); n != 0 || err != nil {
		t.Fatalf("the tick left %d rows to sweep, %v", n, err)
	}
	other := cloudevents.New()
	other.SetExtension(event.ExtensionTick, "summary")
	if err := w.Tick(ctx, other); err != nil {
		t.Fatal(err)
	}
}

// After an outage of the Broker the ticks of its whole time come at once. What
// was left behind is published once, and not once for each tick.
func TestTicksTogetherPublishOnce(t *testing.T) {
	w := newWorld(t, nil)
	var rows []store.JournalRow
	for range 40 {
		id, err := event.NewBatchID()
		if err != nil {
			t.Fatal(err)
		}
		data, err := event.EncodeBatch(&event.Batch{ID: id, ReceivedAt: arrival, Instance: "killed", Events: []event.Event{{ID: "1", Stream: "G-A", Name: "page_view", TimeMicros: arrival.UnixMicro()}}})
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, store.JournalRow{Batch: id, ReceivedAt: arrival, PartitionKey: "a", Payload: data})
	}
	if err := w.journal.Append(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	w.now.Store(arrival.Add(2 * time.Minute).UnixMicro())
	tick := cloudevents.New()
	tick.SetExtension(event.ExtensionTick, "journal")
	// The first has listed its batches when the others come.
	hang := make(chan struct{})
	w.topic.hang = hang
	var ticks sync.WaitGroup
	for range 12 {
		ticks.Go(func() {
			if err := w.Tick(t.Context(), tick); err != nil {
				t.Error(err)
			}
		})
	}
	for deadline := time.Now().Add(200 * time.Millisecond); w.journal.lists.Load() < 12 && time.Now().Before(deadline); runtime.Gosched() {
	}
	if n := w.journal.lists.Load(); n != 1 {
		t.Errorf("%d ticks have listed the same batches", n)
	}
	close(hang)
	ticks.Wait()
	if n := len(w.topic.batches(t)); n != len(rows) {
		t.Errorf("%d batches were published, expected %d", n, len(rows))
	}
	if rows, err := w.journal.Unfinished(t.Context(), store.StagePublished, time.Time{}, arrival.Add(time.Hour), 100); err != nil || len(rows) > 0 {
		t.Errorf("%d batches are not marked as published, %v", len(rows), err)
	}
}

// A batch that came while the clock was ahead is found when it is right again,
// and not only when the time has come that the clock said.
func TestTickAfterAClockThatWasAhead(t *testing.T) {
	w := newWorld(t, nil)
	w.now.Store(arrival.Add(2 * time.Hour).UnixMicro())
	w.leaves(t, 1)
	w.now.Store(arrival.UnixMicro())
	tick := cloudevents.New()
	tick.SetExtension(event.ExtensionTick, "journal")
	for range 2 { // with the second it is still waited for
		if err := w.Tick(t.Context(), tick); err != nil {
			t.Fatal(err)
		}
		if n := len(w.topic.batches(t)); n != 1 {
			t.Errorf("%d batches were published, expected 1", n)
		}
	}
}

// While a file of the archive fills, its batches are not archived; that is no
// gap. And however many of these there are, what is not processed is found.
func TestTickLeavesBatchesToTheArchive(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	w.leaves(t, 2)
	rows, err := w.journal.Unfinished(ctx, store.AllStages, time.Time{}, arrival.Add(time.Hour), 10)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if err := w.journal.Mark(ctx, store.StageProcessed, rows[:1]); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{2 * time.Minute, 2}, {33 * time.Minute, 3}, {50 * time.Minute, 3}, {183 * time.Minute, 5}} {
		w.now.Store(arrival.Add(c.after).UnixMicro())
		if err := w.Tick(ctx, cloudevents.New()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.topic.batches(t)); n != c.want {
			t.Fatalf("after %v %d batches were published, expected %d", c.after, n, c.want)
		}
	}
}

func TestTickReportsABrokerThatIsAway(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TickBatches = 2 })
	w.leaves(t, 3)
	w.topic.fails(away)
	w.now.Store(arrival.Add(5 * time.Minute).UnixMicro())
	if err := w.Tick(t.Context(), cloudevents.New()); !fault.Is(err, fault.Transient) {
		t.Fatalf("expected a transient error, found %v", err)
	}
	w.topic.fails(nil)
	if err := w.Tick(t.Context(), cloudevents.New()); err != nil || len(w.topic.batches(t)) != 3 {
		t.Fatalf("all that was not published is: %d, %v", len(w.topic.batches(t)), err)
	}
	w.now.Store(arrival.Add(40 * time.Minute).UnixMicro())
	if err := w.Tick(t.Context(), cloudevents.New()); err != nil || len(w.topic.batches(t)) != 5 {
		t.Fatalf("a tick publishes 2 of what is only late: %d, %v", len(w.topic.batches(t))-3, err)
	}
}

// After an outage of the Broker that was longer than StaleAfter nothing that it
// brought to the Broker is stale: it is late, and whoever works it off is not
// given it twice, by whichever instance.
func TestTickTellsLateFromStale(t *testing.T) {
	w := newWorld(t, nil)
	other, err := New(w.cfg, w.ports)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	w.topic.fails(away)
	for i := range 3 {
		if status, _, _ := w.post(t, "["+doc(fmt.Sprint(i), "G-A", "")+"]"); status != 202 {
			t.Fatal(status)
		}
	}
	w.now.Store(arrival.Add(40 * time.Minute).UnixMicro())
	w.topic.fails(nil)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		rows, err := w.journal.Unfinished(t.Context(), store.StagePublished, time.Time{}, arrival.Add(time.Hour), 10)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d batches are not published, %v", len(rows), err)
		}
		if len(rows) == 0 {
			break
		}
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{40 * time.Minute, 3}, {69 * time.Minute, 3}, {71 * time.Minute, 6}} {
		w.now.Store(arrival.Add(c.after).UnixMicro())
		for _, in := range []*Ingest{w.Ingest, other} {
			if err := in.Tick(t.Context(), cloudevents.New()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.topic.batches(t)); n != c.want {
			t.Fatalf("after %v %d batches were published, expected %d", c.after, n, c.want)
		}
	}
}

func TestRefreshGoesOnAfterAFault(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.StreamsRefresh = time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	r := refresher{cfg: w.cfg, registry: &flakyRegistry{Registry: w.registry}, streams: w.streams, visitors: w.visitors, log: w.ports.Log}
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	w.merchant(t, "G-LATER", "s", nil)
	for !w.visitors.keyed() || w.streams.Len() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

type flakyRegistry struct {
	store.Registry
	calls atomic.Int64
}

func (r *flakyRegistry) Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	if r.calls.Add(1)%2 == 1 {
		return nil, errAway
	}
	return r.Registry.Secret(ctx, name, make)
}

// A journal that is too slow for all marks at once takes them in parts, and
// none twice.
func TestMarksOfASlowJournal(t *testing.T) {
	j := &slowJournal{rows: map[event.BatchID]int{}}
	m := newMarks(Config{WriteTimeout: time.Second}, Ports{Journal: j, Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	rows := make([]store.JournalRow, 1000)
	for i := range rows {
		id, err := event.NewBatchID()
		if err != nil {
			t.Fatal(err)
		}
		rows[i].Batch = id
	}
	m.add(rows)
	for range 10 {
		m.write(t.Context())
	}
	m.close(t.Context())
	if len(j.rows) != len(rows) {
		t.Errorf("%d of %d batches are marked", len(j.rows), len(rows))
	}
	for id, n := range j.rows {
		if n != 1 {
			t.Fatalf("batch %s was marked %d times", id, n)
		}
	}
}

// slowJournal marks as many rows as it has time for, and fails each third time.
type slowJournal struct {
	store.Journal
	rows  map[event.BatchID]int
	calls int
}

func (j *slowJournal) Mark(_ context.Context, _ store.Stage, rows []store.JournalRow) error {
	if j.calls++; len(rows) > 200 || j.calls%3 == 0 {
		return context.DeadlineExceeded
	}
	for _, r := range rows {
		j.rows[r.Batch]++
	}
	return nil
}
