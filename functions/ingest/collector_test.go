package ingest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/goleak"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func TestMain(m *testing.M) {
	// The codec makes its channels at its first use. That must not be in a
	// bubble of synctest, which no other may share.
	first, err := event.EncodeBatch(&event.Batch{ID: event.BatchID{1}, ReceivedAt: arrival, Instance: "first"})
	if err == nil {
		_, err = event.DecodeBatch(first)
	}
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// batch is a body of n events with ids that begin with prefix.
func batch(prefix string, n int, stream func(i int) string) string {
	docs := make([]string, n)
	for i := range docs {
		docs[i] = doc(fmt.Sprintf("%s-%d", prefix, i), stream(i), "")
	}
	return "[" + strings.Join(docs, ",") + "]"
}

func TestGroupCommit(t *testing.T) {
	w := newWorld(t, nil)
	const senders, each, size = 32, 20, 3
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				status, _, body := w.post(t, batch(fmt.Sprintf("%d-%d", s, i), size, func(k int) string { return fmt.Sprintf("G-%d", (s+k)%7) }))
				if status != 202 || !strings.Contains(body, `"accepted":3`) {
					t.Errorf("%d %s", status, body)
				}
			}
		})
	}
	wg.Wait()
	// What the journal has may be published a little later; by Close, all is.
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, b := range w.topic.batches(t) {
		for _, e := range b.Events {
			seen[e.ID]++
		}
	}
	if len(seen) != senders*each*size {
		t.Fatalf("%d of %d events are in the topic", len(seen), senders*each*size)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("event %s is there %d times", id, n)
		}
	}
	if n := w.journal.appends.Load(); n >= senders*each {
		t.Errorf("%d requests took %d writes", senders*each, n)
	}
	// The ledger's side: what the journal counts is what was accepted.
	var streams []string
	for i := range 7 {
		streams = append(streams, fmt.Sprintf("G-%d", i))
	}
	counts, err := w.journal.Counts(t.Context(), streams, event.HourOf(arrival)-2, event.HourOf(arrival)+2)
	if err != nil {
		t.Fatal(err)
	}
	var accepted int64
	for _, c := range counts {
		accepted += c.Accepted
	}
	if accepted != senders*each*size {
		t.Errorf("the journal counts %d events, expected %d", accepted, senders*each*size)
	}
}

// TestNeverAFalse2xx lets both sinks fail at random: whatever was answered
// with 2xx must be in one of them.
func TestNeverAFalse2xx(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.LaneEvents = 4 })
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(3, 5))
	chance := func(p float64) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			if rnd.Float64() < p {
				return errAway
			}
			return nil
		}
	}
	w.journal.fails(chance(0.5))
	w.topic.fails(chance(0.5))
	// Without pauses, so that both sinks are tried each time.
	var answered sync.Map
	var refused atomic.Int64
	var wg sync.WaitGroup
	for s := range 16 {
		wg.Go(func() {
			for i := range 25 {
				for _, k := range w.collector.writer.sinks {
					k.until.Store(0)
				}
				id := fmt.Sprintf("%d-%d", s, i)
				status, header, body := w.post(t, batch(id, 2, func(int) string { return "G-" + id }))
				switch status {
				case 202:
					answered.Store(id, true)
				case 503:
					refused.Add(1)
					if header.Get("Retry-After") == "" {
						t.Error("503 without Retry-After")
					}
				default:
					t.Errorf("%d %s", status, body)
				}
			}
		})
	}
	wg.Wait()
	durable := map[string]int{}
	keep := func(b *event.Batch) {
		for _, e := range b.Events {
			durable[e.ID]++
		}
	}
	for _, b := range w.topic.batches(t) {
		keep(b)
	}
	rows, err := w.journal.Unfinished(t.Context(), store.AllStages, time.Time{}, arrival.Add(time.Hour), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		payload, err := w.journal.Payload(t.Context(), r.Batch)
		if fault.Is(err, fault.NotFound) {
			continue // a row by its mark: the Broker has it
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := event.DecodeBatch(payload)
		if err != nil {
			t.Fatal(err)
		}
		keep(b)
	}
	n := 0
	answered.Range(func(id, _ any) bool {
		n++
		for i := range 2 {
			if durable[fmt.Sprintf("%s-%d", id, i)] == 0 {
				t.Errorf("event %s-%d was acknowledged and is nowhere", id, i)
			}
		}
		return true
	})
	if n == 0 || refused.Load() == 0 {
		t.Errorf("%d requests were answered and %d refused: the test tried nothing", n, refused.Load())
	}
}

// Before the first write, and when writes have failed, the sinks are asked: one
// of them is enough.
func TestReadinessAsksTheSinks(t *testing.T) {
	var journal, broker atomic.Pointer[error]
	ask := func(p *atomic.Pointer[error]) func(context.Context) error {
		return func(context.Context) error {
			if err := p.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	w := newWorld(t, nil)
	w.collector.writer.sinks[0].ready, w.collector.writer.sinks[1].ready = ask(&journal), ask(&broker)
	ready := func(want bool, when string) {
		t.Helper()
		if err := w.Ready(t.Context()); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	ready(true, "both there")
	journal.Store(&errAway)
	ready(true, "journal away")
	broker.Store(&errAway)
	ready(false, "both away before the first write")

	w.journal.fails(away)
	w.topic.fails(away)
	if status, _, body := w.post(t, "["+doc("1", "G-A", "")+"]"); status != 503 {
		t.Fatalf("%d %s", status, body)
	}
	ready(false, "both away")
	broker.Store(nil) // nobody sends anything, and yet it shows
	ready(true, "Broker back")
	journal.Store(nil)
	broker.Store(&errAway)
	ready(true, "journal back")
	w.journal.fails(nil)
	if status, _, body := w.post(t, "["+doc("2", "G-A", "")+"]"); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	journal.Store(&errAway)
	ready(true, "a write has just succeeded")
}

func TestOneSinkIsEnough(t *testing.T) {
	for _, c := range []struct {
		name           string
		journal, topic func() error
		status         int
	}{
		{"both there", nil, nil, 202}, {"journal away", away, nil, 202}, {"Broker away", nil, away, 202}, {"both away", away, away, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.journal.fails(c.journal)
			w.topic.fails(c.topic)
			for i := range 5 {
				status, header, body := w.post(t, "["+doc(fmt.Sprint(i), "G-A", "")+"]")
				if status != c.status || (status == 503) != (header.Get("Retry-After") == "1") {
					t.Fatalf("%d %v %s", status, header, body)
				}
			}
			if err := w.Ready(t.Context()); (err == nil) != (c.status == 202) {
				t.Errorf("ready: %v", err)
			}
			if c.topic == nil {
				if n := len(w.published(t, 5)); n != 5 {
					t.Errorf("%d batches were published", n)
				}
			}
			// When it is back, so is ingest.
			w.journal.fails(nil)
			w.topic.fails(nil)
			// Who comes while the last try is still on its way out is told to come again.
			again := "[" + doc("again", "G-A", "") + "]"
			status, _, body := w.post(t, again)
			for deadline := time.Now().Add(5 * time.Second); status == 503 && c.status == 503 && time.Now().Before(deadline); {
				status, _, body = w.post(t, again)
			}
			if status != 202 {
				t.Errorf("%d %s", status, body)
			}
			if err := w.Ready(t.Context()); err != nil && c.name == "both away" {
				t.Errorf("not ready again: %v", err)
			}
		})
	}
}

func TestBackPressure(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRequests = 4 })
	hang := make(chan struct{})
	w.topic.hang = hang
	block := make(chan struct{})
	w.journal.fails(func() error { <-block; return nil })
	results := make(chan int, 20)
	streams := map[uint64]string{} // that share nothing: one alone may not have it all
	for i := 0; len(streams) < 20; i++ {
		name := fmt.Sprintf("G-%d", i)
		streams[w.streams.hash(name)%gateShares] = name
	}
	for _, stream := range streams {
		go func() {
			status, header, _ := w.post(t, "["+doc("1", stream, "")+"]")
			if status == 503 && header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			results <- status
		}()
	}
	for range 16 { // all but those in the buffer are turned away at once
		if status := <-results; status != 503 {
			t.Errorf("answered %d while nothing is durable", status)
		}
	}
	close(block)
	close(hang)
	for range 4 {
		if status := <-results; status != 202 {
			t.Errorf("answered %d", status)
		}
	}
	// A full buffer of bytes turns away, too, before it is read.
	w.gate.bytes.Add(w.gate.maxBytes)
	if status, _, _ := w.post(t, "["+doc("x", "G-A", "")+"]"); status != 503 {
		t.Errorf("answered %d with a full buffer", status)
	}
	w.gate.bytes.Add(-w.gate.maxBytes)
	if status, _, _ := w.post(t, "["+doc("x", "G-A", "")+"]"); status != 202 {
		t.Errorf("answered %d with an empty buffer", status)
	}
}

// stillWorld is a collector within a bubble of still time.
func stillCollector(t *testing.T, j *memoryJournal, p *topic, change func(*Config)) *collector {
	cfg := defaults(t)
	if change != nil {
		change(&cfg)
	}
	m, err := newMeters(noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	ports := Ports{Journal: j, Publisher: p, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	if j.gathers {
		ports.Gatherer = j
	}
	return newCollector(cfg, ports, m)
}

func submissionOf(ids ...string) *submission {
	s := &submission{done: make(chan struct{}, 1), receivedAt: time.Now()}
	for _, id := range ids {
		s.encoded = event.AppendEvent(s.encoded, &event.Event{ID: id, Stream: "G-A"})
		s.add("G-A", 7, 0)
	}
	return s
}

func TestHangingBrokerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, p := &memoryJournal{delay: 2 * time.Millisecond}, &topic{hang: make(chan struct{})}
		c := stillCollector(t, j, p, nil)
		for i := range 50 {
			start := time.Now()
			if err := c.submit(submissionOf(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > patience+10*time.Millisecond {
				t.Fatalf("request %d waited %v for a Broker that hangs", i, d)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(j.rows) != 50 {
			t.Fatalf("%d rows in the journal", len(j.rows))
		}
		close(p.hang)
		p.mu.Lock()
		p.hang = nil
		p.mu.Unlock()
		time.Sleep(10 * time.Second)
		if err := c.submit(submissionOf("back")); err != nil {
			t.Fatal(err)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		last := p.batches(t)
		if len(last) == 0 || last[len(last)-1].Events[0].ID != "back" {
			t.Fatal("the Broker is back, and the last batch is not in it")
		}
		if len(j.marks) == 0 || len(j.marks) > len(last) || j.marks[0].Payload != nil {
			t.Fatalf("%d marks for %d batches", len(j.marks), len(last))
		}
	})
}

func TestHangingBothIs503WithinTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stillCollector(t, &memoryJournal{delay: time.Hour}, &topic{hang: make(chan struct{})}, nil)
		start := time.Now()
		err := c.submit(submissionOf("1"))
		if !fault.Is(err, fault.Transient) {
			t.Fatalf("expected a transient error, found %v", err)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Fatalf("it took %v", d)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// While both hang, one flush at a time finds out how long; nobody waits for two.
func TestNobodyWaitsTwiceForBothAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stillCollector(t, &memoryJournal{delay: time.Hour}, &topic{hang: make(chan struct{})}, nil)
		var all sync.WaitGroup
		begin := time.Now()
		submitAt := func(at time.Duration, most time.Duration) {
			all.Go(func() {
				time.Sleep(at)
				start := time.Now()
				if err := c.submit(submissionOf("1")); !fault.Is(err, fault.Transient) {
					t.Errorf("expected a transient error, found %v", err)
				}
				if d := time.Since(start); d > most {
					t.Errorf("who came after %v waited %v, expected at most %v", at, d, most)
				}
			})
		}
		submitAt(0, 5*time.Second)
		submitAt(time.Second, 4*time.Second)             // turned away with the first flush
		submitAt(6*time.Second, 5*time.Second)           // tries again
		submitAt(7*time.Second, 0)                       // meanwhile nobody waits
		submitAt(10900*time.Millisecond, 0)              // until it has failed
		submitAt(11500*time.Millisecond, 10*time.Second) // and so on
		all.Wait()
		if d := time.Since(begin); d > 25*time.Second {
			t.Errorf("all took %v", d)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Whoever balances sends nothing to an instance that is not ready. It must
// become ready without a request, or it would never hear that a store is back.
func TestReadyAgainWithoutARequest(t *testing.T) {
	w := newWorld(t, nil)
	w.journal.fails(away)
	w.topic.fails(away)
	if status, _, body := w.post(t, "["+doc("1", "G-A", "")+"]"); status != 503 {
		t.Fatalf("%d %s", status, body)
	}
	if err := w.Ready(t.Context()); err == nil {
		t.Fatal("ready while both are away")
	}
	for deadline := time.Now().Add(10 * time.Second); w.Ready(t.Context()) != nil; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it is never ready again")
		}
	}
}

func TestIdleSystemFlushesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memoryJournal{}
		c := stillCollector(t, j, &topic{}, nil)
		for range 20 {
			start := time.Now()
			if err := c.submit(submissionOf("1")); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d != 0 {
				t.Fatalf("a lone request waited %v", d)
			}
			time.Sleep(time.Millisecond)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBusySystemGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memoryJournal{delay: 2 * time.Millisecond}
		c := stillCollector(t, j, &topic{}, nil)
		var wg sync.WaitGroup
		var slowest atomic.Int64
		const requests = 5000 // one every 100 µs: 10,000/s
		for range requests {
			wg.Go(func() {
				start := time.Now()
				if err := c.submit(submissionOf("1")); err != nil {
					t.Error(err)
				}
				if d := int64(time.Since(start)); d > slowest.Load() {
					slowest.Store(d)
				}
			})
			time.Sleep(100 * time.Microsecond)
		}
		wg.Wait()
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(j.rows); n > 25 || n < 10 {
			t.Errorf("%d requests in half a second made %d batches", requests, n)
		}
		if d := time.Duration(slowest.Load()); d > 70*time.Millisecond {
			t.Errorf("the slowest request waited %v", d)
		}
	})
}

func TestSendersThatWaitForAnswersAreNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memoryJournal{delay: time.Millisecond}
		c := stillCollector(t, j, &topic{}, nil)
		start := time.Now()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 100 {
					if err := c.submit(submissionOf("1")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d > 800*time.Millisecond {
			t.Errorf("100 rounds of 64 senders took %v", d)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRefusedAloneAreWrittenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memoryJournal{}
		c := stillCollector(t, j, &topic{}, nil)
		start := time.Now()
		s := submissionOf()
		s.refused = []event.Refused{{ID: "r"}}
		if err := c.submit(s); err != nil || time.Since(start) != 0 {
			t.Fatalf("refused events held their answer up for %v: %v", time.Since(start), err)
		}
		time.Sleep(2 * refusedDelay)
		j.mu.Lock()
		n := len(j.rows)
		j.mu.Unlock()
		if n != 1 || len(j.rows[0].Counts) != 0 {
			t.Fatalf("%d batches were written", n)
		}
		// What is over the limit is dropped, and blocks nothing.
		s = submissionOf()
		for range 100 {
			s.refused = append(s.refused, event.Refused{Data: make([]byte, 4096)})
		}
		if err := c.submit(s); err != nil {
			t.Fatal(err)
		}
		if len(c.refused) > 64 {
			t.Fatalf("%d refused events wait", len(c.refused))
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDrainLosesNothing(t *testing.T) {
	w := newWorld(t, nil)
	var accepted atomic.Int64
	var wg sync.WaitGroup
	started := make(chan struct{}, 100)
	for s := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				status, _, _ := w.post(t, "["+doc(fmt.Sprintf("%d-%d", s, i), "G-A", "")+"]")
				if status != 202 {
					return
				}
				accepted.Add(1)
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 50 {
		<-started
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	n := 0
	for _, b := range w.topic.batches(t) {
		n += len(b.Events)
	}
	if int64(n) != accepted.Load() {
		t.Errorf("%d events were accepted, %d are in the topic", accepted.Load(), n)
	}
	if err := w.Ready(t.Context()); err == nil {
		t.Error("ready after Close")
	}
	rows, err := w.journal.Unfinished(t.Context(), store.StagePublished, time.Time{}, arrival.Add(time.Hour), 10)
	if err != nil || len(rows) != 0 {
		t.Errorf("after Close %d batches are not marked as published: %v", len(rows), err)
	}
}

// A sender that goes away in the middle costs only itself.
func TestSenderThatGoesAway(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+"/events", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/cloudevents-batch+json")
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = res.Body.Close()
		}
	}()
	_, _ = writer.Write([]byte("[" + doc("1", "G-A", "")))
	cancel()
	_ = writer.CloseWithError(errAway) // the transport waits for its body's reader
	<-done
	if status, _, _ := w.post(t, "["+doc("2", "G-A", "")+"]"); status != 202 {
		t.Fatal(status)
	}
	if e := w.only(t); e.ID != "2" {
		t.Fatalf("took %s", e.ID)
	}
}
