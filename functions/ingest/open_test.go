package ingest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// TestReceiptNamesTheOpenBatch: what a sender is told holds when the batch is
// sealed, in the journal as in the Broker.
func TestReceiptNamesTheOpenBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, p := &memoryJournal{gathers: true, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, nil)
		var mu sync.Mutex
		told := map[string]event.BatchID{}
		var wg sync.WaitGroup
		for s := range 32 {
			wg.Go(func() {
				for i := range 50 {
					id := fmt.Sprintf("%d-%d", s, i)
					sub := submissionOf(id)
					if err := c.submit(sub); err != nil || len(sub.batches) != 1 {
						t.Errorf("%d batches, %v", len(sub.batches), err)
						continue
					}
					mu.Lock()
					told[id] = sub.batches[0]
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, b := range p.batches(t) {
			for i := range b.Events {
				if found++; told[b.Events[i].ID] != b.ID {
					t.Errorf("event %s is in batch %s, and its sender was told of %s", b.Events[i].ID, b.ID, told[b.Events[i].ID])
				}
			}
		}
		if found != 32*50 || len(told) != found {
			t.Errorf("%d events are published, and %d senders were told, of %d", found, len(told), 32*50)
		}
		if len(j.parts) != 0 {
			t.Errorf("%d batches stand in parts", len(j.parts))
		}
		sameInBoth(t, j, p)
	})
}

// TestPartOfASealedBatch: a part comes to the journal after its batch was sealed without
// it, and is refused. Nothing is wrong with the journal then.
func TestPartOfASealedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, p := &memoryJournal{gathers: true, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, nil)
		crowdOf(t, c, 8, 10)
		j.mu.Lock()
		j.parting = 2 * hedge
		j.mu.Unlock()
		crowdOf(t, c, 8, 1)
		time.Sleep(time.Second)
		j.mu.Lock()
		refused := j.refused
		j.mu.Unlock()
		if refused == 0 {
			t.Error("expected the journal to refuse a part")
		}
		if c.writer.sinks[0].until.Load() != 0 {
			t.Error("the journal is taken for one that fails")
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameInBoth(t, j, p)
	})
}

// TestDoubtfulPartIsInOneBatch: the journal does not answer for a part, which it
// has or has not. The part's senders are answered from the Broker, and in the end
// no event stands in two batches.
func TestDoubtfulPartIsInOneBatch(t *testing.T) {
	for name, late := range map[string]bool{"has": true, "has not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, p := &memoryJournal{gathers: true, delay: time.Millisecond}, &topic{}
				c := stillCollector(t, j, p, nil)
				crowdOf(t, c, 8, 10)
				j.slow(3*hedge, late)
				start := time.Now()
				crowdOf(t, c, 8, 1)
				if d := time.Since(start); d > 2*(hedge+patience) {
					t.Errorf("it took %v to answer", d)
				}
				time.Sleep(time.Second)
				j.slow(time.Millisecond, false)
				crowdOf(t, c, 8, 10)
				time.Sleep(time.Second)
				if err := c.close(t.Context()); err != nil {
					t.Fatal(err)
				}
				sameInBoth(t, j, p)
				seen := map[event.BatchID]bool{}
				events := 0
				for _, b := range p.batches(t) {
					if !seen[b.ID] {
						events += len(b.Events)
					}
					seen[b.ID] = true
				}
				if events != 8*21 {
					t.Errorf("%d events are published, expected %d", events, 8*21)
				}
			})
		})
	}
}

// sameInBoth checks that each batch is the same in the journal and in the Broker,
// and counted as it is.
func sameInBoth(t *testing.T, j *memoryJournal, p *topic) {
	t.Helper()
	published := map[string][]byte{}
	for _, e := range p.events {
		published[e.ID()] = e.Data()
	}
	for _, r := range j.all(t) {
		if !bytes.Equal(r.Payload, published[r.Batch.String()]) {
			t.Errorf("batch %s is not the same in the journal and in the Broker", r.Batch)
			continue
		}
		b, err := event.DecodeBatch(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		counted := int64(0)
		for _, n := range r.Counts {
			counted += n.Events
		}
		if counted != int64(len(b.Events)) {
			t.Errorf("batch %s has %d events, and is counted as %d", r.Batch, len(b.Events), counted)
		}
	}
}

// killedJournal is what another instance left.
type killedJournal struct {
	*memoryJournal
	left []store.JournalRow
}

func (j *killedJournal) Unfinished(_ context.Context, lacks store.Stage, _, before time.Time, _ int) (rows []store.JournalRow, _ error) {
	for _, r := range j.left {
		if lacks == store.StagePublished && r.ReceivedAt.Before(before) {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func (j *killedJournal) Payload(_ context.Context, id event.BatchID) ([]byte, error) {
	for _, r := range j.left {
		if r.Batch == id {
			return r.Payload, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no such batch")
}

// TestKillLeavesNoPartBehind: an instance ends while a batch is open; the next one
// publishes what it had answered for.
func TestKillLeavesNoPartBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, p := &memoryJournal{gathers: true, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, func(cfg *Config) { cfg.FlushAge = 0 })
		crowdOf(t, c, 8, 10) // ten flushes, within the time that a batch is open
		j.mu.Lock()
		open := len(j.parts)
		j.mu.Unlock()
		if open != 1 {
			t.Fatalf("%d batches are open", open)
		}
		killed := &killedJournal{memoryJournal: &memoryJournal{}, left: j.all(t)}
		before := len(p.batches(t))
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := &topic{}
		time.Sleep(time.Second)
		in, err := New(defaults(t), Ports{Journal: killed, Publisher: second, Clock: time.Now, Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{}})
		if err != nil {
			t.Fatal(err)
		}
		in.recover(t.Context())
		seen := map[string]int{}
		for _, b := range append(p.batches(t)[:before], second.batches(t)...) {
			for i := range b.Events {
				seen[b.Events[i].ID]++
			}
		}
		if len(seen) != 80 {
			t.Errorf("%d of 80 events are published", len(seen))
		}
		if err := in.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
