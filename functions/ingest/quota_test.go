package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// memoryQuotas is what instances of a test share; it can be away.
type memoryQuotas struct {
	mu    sync.Mutex
	used  map[store.Usage]int64 // by tenant and window
	calls int
	away  bool
}

func (q *memoryQuotas) Add(_ context.Context, uses []store.Usage, _ time.Duration) ([]int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	if q.away {
		return nil, errAway
	}
	if q.used == nil {
		q.used = map[store.Usage]int64{}
	}
	totals := make([]int64, len(uses))
	for i, u := range uses {
		key := store.Usage{Tenant: u.Tenant, Window: u.Window}
		q.used[key] += u.Events
		totals[i] = q.used[key]
	}
	return totals, nil
}

// docs is a batch of n events of a stream.
func docs(stream string, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = doc(fmt.Sprint(i), stream, "")
	}
	return "[" + strings.Join(all, ",") + "]"
}

func limited(n int64) func(*access.Merchant) {
	return func(m *access.Merchant) { m.Settings.QuotaEventsPerMinute = &n }
}

// later moves the clock on.
func (w *world) later(d time.Duration) { w.now.Add(d.Microseconds()) }

func TestQuota(t *testing.T) {
	w := newWorld(t, nil)
	w.merchant(t, "G-LIMITED", "s", limited(5))
	w.merchant(t, "G-FREE", "s", nil)
	w.later(20 * time.Second) // of a minute of the clock, 40 s are left
	for _, c := range []struct {
		name, body        string
		status            int
		accepted, refused int
	}{
		{"within", docs("G-LIMITED", 3), 202, 3, 0},
		{"partly over", docs("G-LIMITED", 4), 202, 2, 2},
		{"over", docs("G-LIMITED", 1), 429, 0, 1},
		{"over and invalid", "[" + doc("1", "UA-1", "") + "," + doc("2", "G-LIMITED", "") + "]", 429, 0, 2},
		{"others", docs("G-FREE", 50), 202, 50, 0},
		{"among others", "[" + doc("1", "G-FREE", "") + "," + doc("2", "G-LIMITED", "") + "]", 202, 1, 1},
		{"a stream that nobody knows yet", docs("G-NEW", 50), 202, 50, 0},
	} {
		status, header, receipt := w.post(t, c.body)
		if status != c.status || !strings.Contains(receipt, fmt.Sprintf(`"accepted":%d,`, c.accepted)) || strings.Count(receipt, `"reason"`) != c.refused {
			t.Errorf("%s: %d %s", c.name, status, receipt)
		}
		if over := strings.Contains(receipt, `"field":"quota","reason":"quota_exceeded","expected":"at most 5 events a minute"`); over != (c.refused > 0) ||
			over != (header.Get("Retry-After") == "40") {
			t.Errorf("%s: Retry-After %q, %s", c.name, header.Get("Retry-After"), receipt)
		}
	}
	w.later(39 * time.Second)
	if status, header, _ := w.post(t, docs("G-LIMITED", 1)); status != 429 || header.Get("Retry-After") != "1" {
		t.Errorf("at the end of the minute: %d, Retry-After %q", status, header.Get("Retry-After"))
	}
	w.later(time.Second)
	if status, _, receipt := w.post(t, docs("G-LIMITED", 5)); status != 202 {
		t.Errorf("in the next minute: %d %s", status, receipt)
	}

	// The ledger hears of what was refused: one entry, and nothing of the
	// events themselves.
	w.quotas.flush()
	w.post(t, docs("G-FREE", 1))
	var refused []event.Refused
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && len(refused) < 2; {
		refused = refused[:0]
		for _, b := range w.topic.batches(t) {
			refused = append(refused, b.Refused...)
		}
	}
	events := int64(0)
	for i := range refused {
		if refused[i].Reason == event.ReasonQuota {
			events += refused[i].Events()
			if refused[i].Stream != "G-LIMITED" || refused[i].ID != "" || len(refused[i].Data) > 2 {
				t.Errorf("kept %+v", refused[i])
			}
		}
	}
	if events != 6 || len(refused) != 2 { // the other one is the invalid event
		t.Errorf("%d events over the quota in %d entries: %+v", events, len(refused), refused)
	}
}

// The operator's default holds for who has no quota of its own; a changed one
// holds at once, and what was used stays used.
func TestDefaultAndChangedQuota(t *testing.T) {
	s := NewStreams(10)
	m := access.Merchant{ID: "m", Streams: []access.Stream{{MeasurementID: "G-1"}, {MeasurementID: "G-2"}}}
	apply := func(quota *int64) *tenant {
		m.Settings.QuotaEventsPerMinute = quota
		s.Apply([]access.Merchant{m})
		one, _ := s.find(s.hash("G-1"))
		two, _ := s.find(s.hash("G-2"))
		if one.tenant() != two.tenant() {
			t.Fatal("streams of one merchant have quotas of their own")
		}
		return one.tenant()
	}
	of := func(n int64) *int64 { return &n }
	take := func(c *tenant) (n int) {
		for {
			if ok, _ := c.take(60); !ok {
				return n
			}
			n++
		}
	}
	if n := take(apply(nil)); n != 10 {
		t.Errorf("%d events by default, expected 10", n)
	}
	if n := take(apply(of(15))); n != 5 {
		t.Errorf("%d more events after a rise to 15, expected 5", n)
	}
	if n := take(apply(of(3))); n != 0 {
		t.Errorf("%d more events after a fall to 3", n)
	}
	if apply(of(0)) != nil {
		t.Error("0 is a limit")
	}
}

// Instances hold a tenant to one quota together, with few calls, and go on
// alone where the store is away.
func TestInstancesShareQuotas(t *testing.T) {
	shared := &memoryQuotas{}
	now := arrival
	var warnings atomic.Int64
	instance := func() *quotas {
		return newQuotas(Ports{Quotas: shared, Clock: func() time.Time { return now },
			Log: slog.New(counting{slog.DiscardHandler, &warnings})}, func([]event.Refused) {})
	}
	a, b := instance(), instance()
	at, bt := &tenant{id: "m", limit: 1000}, &tenant{id: "m", limit: 1000}
	take := func(q *quotas, t *tenant, n int) (ok int) {
		for range n {
			took, tell := t.take(windowAt(now))
			if tell {
				q.tell(t)
			}
			if took {
				ok++
			}
		}
		return ok
	}
	share := func(q *quotas) { q.share(context.Background()) }

	if n := take(a, at, 5); n != 5 {
		t.Fatalf("took %d", n)
	}
	share(a)
	if shared.calls != 0 {
		t.Error("a tenant far below its quota is told of")
	}
	take(a, at, 595)
	share(a)
	take(b, bt, 300)
	share(b)
	if n := take(b, bt, 900); n != 100 {
		t.Errorf("the second instance took %d more after the others' 600 and its own 300, expected 100", n)
	}
	share(b)
	share(b)
	if shared.calls != 3 {
		t.Errorf("%d calls, expected 3", shared.calls)
	}
	// What a broken call has told is not told again.
	now = now.Add(time.Minute)
	shared.away = true
	for range 3 {
		take(a, at, 100)
		share(a)
	}
	if warnings.Load() != 1 {
		t.Errorf("%d warnings, expected 1", warnings.Load())
	}
	if n := take(a, at, 2000); n != 700 {
		t.Errorf("alone the first instance took %d more, expected 700", n)
	}
	shared.away = false
	now = now.Add(time.Minute)
	if n := take(a, at, 2000); n != 1000 {
		t.Errorf("took %d of a new minute", n)
	}
	share(a)
	take(b, bt, 10)
	share(b)
	if n := take(b, bt, 10); n != 0 {
		t.Errorf("took %d although the others have used all", n)
	}
	at.giveBack(windowAt(now), 5)
	if n := take(a, at, 5); n != 0 {
		t.Errorf("%d events that the others know of were given back", n)
	}
}

// counting counts warnings.
type counting struct {
	slog.Handler
	n *atomic.Int64
}

func (c counting) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (c counting) Handle(context.Context, slog.Record) error {
	c.n.Add(1)
	return nil
}

// What could not be made durable is not used up.
func TestFailedEventsUseNoQuota(t *testing.T) {
	w := newWorld(t, nil)
	w.merchant(t, "G-LIMITED", "s", limited(5))
	w.journal.fails(away)
	w.topic.fails(away)
	if status, _, receipt := w.post(t, docs("G-LIMITED", 5)); status != 503 {
		t.Fatalf("%d %s", status, receipt)
	}
	s, _ := w.streams.find(w.streams.hash("G-LIMITED"))
	s.tenant().mu.Lock()
	defer s.tenant().mu.Unlock()
	if s.tenant().used != 0 {
		t.Errorf("%d events are used up", s.tenant().used)
	}
}

func TestAShareOfTheBuffer(t *testing.T) {
	g := &gate{maxBytes: 1000, maxRequests: 1 << 40}
	const flood, other = 7, 8
	var held []share
	enter := func(stream uint64, bytes int64) error {
		if err := g.enter(); err != nil {
			return err
		}
		if err := g.hold(bytes); err != nil {
			g.leave(0, share{})
			return err
		}
		s, err := g.claim(stream, bytes)
		if err != nil {
			g.leave(bytes, share{})
			return err
		}
		held = append(held, s)
		return nil
	}
	n := 0
	for enter(flood, 50) == nil {
		n++
	}
	if n != 10 {
		t.Errorf("a flood holds %d of 1000 bytes, expected half", 50*n)
	}
	for i := range uint64(5) {
		if err := enter(other+i, 100); err != nil {
			t.Errorf("another stream is kept out: %v", err)
		}
	}
	if err := enter(other, 1); !fault.Is(err, fault.Overloaded) {
		t.Errorf("beyond the bound: %v", err)
	}
	for _, s := range held {
		g.leave(s.bytes, s)
	}
	for i := range g.shares {
		if b, r := g.shares[i].bytes.Load(), g.shares[i].requests.Load(); b != 0 || r != 0 {
			t.Errorf("share %d still has %d bytes of %d requests", i, b, r)
		}
	}
	if g.bytes.Load() != 0 || g.requests.Load() != 0 {
		t.Errorf("%d bytes of %d requests are left", g.bytes.Load(), g.requests.Load())
	}
	// Of requests, too: each waits for a flush.
	g = &gate{maxBytes: 1 << 40, maxRequests: 100}
	n = 0
	for enter(flood, 1) == nil {
		n++
	}
	if n != 50 {
		t.Errorf("a flood holds %d of 100 requests, expected half", n)
	}
}
