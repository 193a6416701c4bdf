package summary

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/parallel"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// Hours are counted side by side as long as there is room for their events; one with more
// than that waits for all others, and has others wait.
func TestRoomForHours(t *testing.T) {
	stores, err := embedded.Open("/data", embedded.Options{FS: vfs.NewMem(), NoSync: true, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := context.Background()
	cfg := DefaultConfig()
	cfg.RunEvents = 10
	s, err := New(cfg, Ports{Processed: stores.Processed, Visitors: stores.Visitors, Summaries: stores.Summaries})
	if err != nil {
		t.Fatal(err)
	}
	s.elastic = new(parallel.Elastic) // whether the machine has processors to spare is not asked here
	const hour = event.Hour(100)
	of := func(merchant string, events int) *closing {
		t.Helper()
		id := event.BatchID{merchant[0]}
		var b processed.Builder
		for i := range events {
			b.Add(processed.Row{Batch: id, Seq: uint32(i), Millis: int64(hour) * 3600_000, EventID: processed.ID{Lo: uint64(i)}})
		}
		doc := store.Doc{Key: store.DocKey{Merchant: merchant, Hour: hour, Revision: store.LiveRevision, Batch: id}, Events: events, Data: b.Encode()}
		if err := stores.Processed.Put(ctx, store.Put{Batch: id, Docs: []store.Doc{doc}}); err != nil {
			t.Fatal(err)
		}
		return &closing{Service: s, m: access.Merchant{ID: merchant, Generation: 1}}
	}
	enter := func(c *closing) (leave func()) {
		t.Helper()
		leave, err := c.enter(ctx, ctx, []event.Hour{hour})
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	small, other := enter(of("a", 6)), enter(of("b", 4))
	small()
	other()

	busy := enter(of("c", 1000))
	began, entered := make(chan struct{}), make(chan func())
	waits := of("d", 1)
	go func() {
		close(began)
		leave, err := waits.enter(ctx, ctx, []event.Hour{hour})
		if err != nil {
			t.Error(err)
		}
		entered <- leave
	}()
	<-began
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-entered:
		t.Fatal("expected the hour to wait for that of a busy merchant")
	default:
	}
	busy()
	(<-entered)()

	gone, cancel := context.WithCancel(ctx)
	cancel()
	busy = enter(of("c", 1000))
	if _, err := waits.enter(ctx, gone, []event.Hour{hour}); !errors.Is(err, errSpent) {
		t.Errorf("expected nobody to wait whose budget is spent, got %v", err)
	}
	busy()
}
