package transform

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// counting is a registry that counts how often it is asked for a stream, by several at once.
type counting struct {
	store.Registry
	asked atomic.Int64
}

func (c *counting) MerchantByStream(ctx context.Context, stream string) (access.Merchant, error) {
	c.asked.Add(1)
	return c.Registry.MerchantByStream(ctx, stream)
}

type fixture struct {
	t        *testing.T
	registry *counting
	owners   *owners
	now      time.Time
	cursor   string
}

func newFixture(t *testing.T, limit int) *fixture {
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
	f := &fixture{t: t, registry: &counting{Registry: s.Registry}, now: time.Unix(0, 0)}
	f.owners = newOwners(f.registry, limit, time.Second, func() time.Time { return f.now }, slog.New(slog.DiscardHandler))
	return f
}

func (f *fixture) create(id string, streams ...string) {
	f.t.Helper()
	m := access.Merchant{ID: id, Name: id, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR"}}
	for _, s := range streams {
		m.Streams = append(m.Streams, access.Stream{MeasurementID: s})
	}
	if err := f.registry.CreateMerchant(f.t.Context(), m); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) of(streams ...string) map[string]enrich.Owner {
	f.t.Helper()
	b := &event.Batch{}
	for _, s := range streams {
		b.Events = append(b.Events, event.Event{Stream: s})
	}
	found, err := f.owners.of(f.t.Context(), []*event.Batch{b})
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

func (f *fixture) follow(walked bool) {
	f.t.Helper()
	next, end, err := f.owners.follow(f.t.Context(), f.cursor, walked)
	if err != nil || !end {
		f.t.Fatalf("follow: %v, end %v", err, end)
	}
	f.cursor = next
}

// TestChanges: a stream that is disabled, and one that comes into being, are
// noticed by following, and nobody is asked.
func TestChanges(t *testing.T) {
	f := newFixture(t, 100)
	f.create("m1", "G-1")
	f.follow(false)
	if o := f.of("G-1", "G-NEW"); o["G-1"].Merchant != "m1" || len(o) != 1 {
		t.Fatalf("owners: %v", o)
	}
	m, err := f.registry.Merchant(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	m.Streams[0].Disabled = true
	m.Streams[0].APISecrets = []access.Hash{"ab"}
	if err := f.registry.UpdateMerchant(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f.create("m2", "G-NEW")
	f.follow(true)
	o := f.of("G-1", "G-NEW")
	if !o["G-1"].Disabled || len(o["G-1"].Secrets) != 1 || o["G-NEW"].Merchant != "m2" {
		t.Errorf("owners after the changes: %v", o)
	}
	if f.registry.asked.Load() != 1 {
		t.Errorf("asked %d times, want once, for the stream that was nobody's", f.registry.asked.Load())
	}
	// An answer that was overtaken by the change is dropped.
	f.owners.put("G-1", entry{owner: enrich.Owner{Merchant: "m1"}})
	f.owners.put("G-1", entry{until: f.now.Add(time.Hour)})
	if !f.of("G-1")["G-1"].Disabled {
		t.Error("an old answer took the place of a new one")
	}
}

// TestUnknownExpires: nobody's stream is asked for again after a while.
func TestUnknownExpires(t *testing.T) {
	f := newFixture(t, 100)
	f.of("G-1")
	f.create("m1", "G-1")
	if len(f.of("G-1")) != 0 || f.registry.asked.Load() != 1 {
		t.Errorf("asked %d times, want 1", f.registry.asked.Load())
	}
	f.now = f.now.Add(unknownFor)
	if f.of("G-1")["G-1"].Merchant != "m1" || f.registry.asked.Load() != 2 {
		t.Errorf("asked %d times, want 2", f.registry.asked.Load())
	}
}

// TestBound: more streams than there is room for are found by asking.
func TestBound(t *testing.T) {
	f := newFixture(t, 10)
	for i := range 50 {
		f.create(fmt.Sprint("m", i), fmt.Sprint("G-", i))
	}
	f.follow(false)
	for range 2 {
		for i := range 50 {
			stream := fmt.Sprint("G-", i)
			if got := f.of(stream)[stream].Merchant; got != fmt.Sprint("m", i) {
				t.Fatalf("stream %d belongs to %q", i, got)
			}
			if n := len(f.owners.young) + len(f.owners.old); n > 10 {
				t.Fatalf("%d streams remembered, limit 10", n)
			}
		}
	}
}

func TestRunEnds(t *testing.T) {
	f := newFixture(t, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.owners.run(ctx); err != nil {
		t.Error(err)
	}
}

// What is remembered keeps no batch alive, however often generations change: a
// stream's name is cut out of the memory of all its batch.
func TestOwnersKeepNoBatchAlive(t *testing.T) {
	o := newOwners(nil, 2, time.Second, time.Now, slog.New(slog.DiscardHandler))
	o.put("G-A", entry{owner: enrich.Owner{Merchant: "a"}})
	o.put("G-B", entry{owner: enrich.Owner{Merchant: "b"}}) // the next generation
	batch := strings.Repeat("x", 1<<20) + "G-A"
	name := batch[1<<20:]
	if e, ok := o.get(name); !ok || e.owner.Merchant != "a" {
		t.Fatal(e, ok)
	}
	for known := range o.young {
		if known == name && unsafe.StringData(known) == unsafe.StringData(name) {
			t.Error("the name that is remembered is a part of the batch")
		}
	}
	if _, known := o.young[name]; !known {
		t.Error("expected a stream that was met again to be in the younger generation")
	}
}
