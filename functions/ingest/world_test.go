package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

var arrival = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

var errAway = errors.New("away")

// faultyJournal is a journal whose writes can be made to fail or to hang.
type faultyJournal struct {
	store.Gatherer
	appends atomic.Int64
	lists   atomic.Int64
	outage
}

// outage is how the calls of a store or Broker fail, which may change while some
// are under way.
type outage struct{ fail atomic.Pointer[func() error] }

// fails has calls fail with what fail returns from now on; nil: no more.
func (o *outage) fails(fail func() error) { o.fail.Store(&fail) }

func (o *outage) err() error {
	if fail := o.fail.Load(); fail != nil && *fail != nil {
		return (*fail)()
	}
	return nil
}

func away() error { return errAway }

func (j *faultyJournal) Unfinished(ctx context.Context, lacks store.Stage, from, before time.Time, limit int) ([]store.JournalRow, error) {
	j.lists.Add(1)
	return j.Gatherer.Unfinished(ctx, lacks, from, before, limit)
}

func (j *faultyJournal) Append(ctx context.Context, rows []store.JournalRow) error {
	j.appends.Add(1)
	if err := j.err(); err != nil {
		return err
	}
	return j.Gatherer.Append(ctx, rows)
}

func (j *faultyJournal) Gather(ctx context.Context, part store.JournalRow) error {
	j.appends.Add(1)
	if err := j.err(); err != nil {
		return err
	}
	return j.Gatherer.Gather(ctx, part)
}

// topic is a Broker's topic in memory.
type topic struct {
	mu sync.Mutex
	outage
	events    []cloudevents.Event
	publishes int
	hang      chan struct{} // while open, Publish hangs until its deadline
}

func (p *topic) Publish(ctx context.Context, broker string, events ...cloudevents.Event) error {
	p.mu.Lock()
	hang := p.hang
	p.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publishes++
	if err := p.err(); err != nil {
		return err
	}
	if broker != "batches" {
		return fault.New(fault.Invalid, "unknown Broker %q", broker)
	}
	p.events = append(p.events, events...)
	return nil
}

// batches decodes what stands in the topic.
func (p *topic) batches(t testing.TB) []*event.Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*event.Batch
	for _, e := range p.events {
		b, err := event.DecodeBatch(e.Data())
		if err != nil {
			t.Fatal(err)
		}
		if b.ID.String() != e.ID() || e.Type() != event.TypeBatchAccepted || e.Extensions()["partitionkey"] == "" || e.DataContentType() != event.ContentTypeBatch {
			t.Fatalf("batch %s travels as %s", b.ID, e)
		}
		out = append(out, b)
	}
	return out
}

// memoryJournal is a journal for tests that stop the clock, where a database
// with goroutines of its own cannot be.
type memoryJournal struct {
	store.Journal
	outage
	mu    sync.Mutex
	rows  []store.JournalRow
	marks []store.JournalRow
	delay time.Duration

	gathers bool // it is a Gatherer, too
	parts   map[event.BatchID][]store.JournalRow
	// late has a part that hangs written down at once, and told of late.
	late    bool
	parting time.Duration // that a part takes besides
	refused int           // parts of batches that were sealed
}

// slow sets how long it takes from now on.
func (j *memoryJournal) slow(delay time.Duration, late bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.delay, j.late = delay, late
}

func (j *memoryJournal) hang(ctx context.Context) error {
	j.mu.Lock()
	delay := j.delay
	j.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (j *memoryJournal) Append(ctx context.Context, rows []store.JournalRow) error {
	if err := j.hang(ctx); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.err(); err != nil {
		return err
	}
	for _, r := range rows {
		delete(j.parts, r.Batch)
	}
	j.rows = append(j.rows, rows...)
	return nil
}

func (j *memoryJournal) Gather(ctx context.Context, part store.JournalRow) error {
	j.mu.Lock()
	late := j.late
	j.mu.Unlock()
	if late {
		j.gather(part)
	}
	if err := j.hang(ctx); err != nil {
		return err
	}
	if err := j.err(); err != nil {
		return err
	}
	if late {
		return nil
	}
	j.mu.Lock()
	parting := j.parting
	j.mu.Unlock()
	time.Sleep(parting)
	j.mu.Lock()
	sealed := slices.ContainsFunc(j.rows, func(r store.JournalRow) bool { return r.Batch == part.Batch })
	if sealed {
		j.refused++
	}
	j.mu.Unlock()
	if sealed {
		return fault.New(fault.Conflict, "batch %q takes no more parts", part.Batch)
	}
	j.gather(part)
	return nil
}

func (j *memoryJournal) gather(part store.JournalRow) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.parts == nil {
		j.parts = map[event.BatchID][]store.JournalRow{}
	}
	j.parts[part.Batch] = append(j.parts[part.Batch], part)
}

// all are the rows, those in parts among them.
func (j *memoryJournal) all(t *testing.T) []store.JournalRow {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := slices.Clone(j.rows)
	for _, parts := range j.parts {
		row := parts[0]
		var payloads [][]byte
		for _, p := range parts {
			payloads = append(payloads, p.Payload)
		}
		var err error
		if row.Payload, err = event.JoinParts(payloads); err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func (j *memoryJournal) Mark(_ context.Context, _ store.Stage, rows []store.JournalRow) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks = append(j.marks, rows...)
	return nil
}

func defaults(t testing.TB) Config {
	var cfg Config
	if err := function.Load(nil, nil, &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Instance = "test"
	return cfg
}

// world is an ingest with real embedded stores and a topic in memory.
type world struct {
	*Ingest
	journal  *faultyJournal
	topic    *topic
	registry store.Registry
	now      atomic.Int64
	server   *httptest.Server
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	stores, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := defaults(t)
	if change != nil {
		change(&cfg)
	}
	w := &world{journal: &faultyJournal{Gatherer: stores.Journal}, topic: &topic{}, registry: stores.Registry}
	w.now.Store(arrival.UnixMicro())
	w.Ingest, err = New(cfg, Ports{
		Journal: w.journal, Gatherer: w.journal, Publisher: w.topic, Registry: stores.Registry,
		Clock: func() time.Time { return time.UnixMicro(w.now.Load()).UTC() },
		Log:   slog.New(slog.DiscardHandler), Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.Function().Routes(mux)
	w.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		w.server.Close()
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// secretHash is the stored form of an API secret.
func secretHash(secret string) access.Hash { return access.Hash(sha256Hex(secret)) }

// merchant puts a merchant with one stream into the registry and the snapshot.
func (w *world) merchant(t testing.TB, stream, secret string, change func(*access.Merchant)) {
	t.Helper()
	m := access.Merchant{ID: "m-" + stream, Version: 1, Name: stream, Streams: []access.Stream{{MeasurementID: stream, APISecrets: []access.Hash{"zz", secretHash("other"), secretHash(secret)}}}}
	if change != nil {
		change(&m)
	}
	if err := w.registry.CreateMerchant(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	r := refresher{cfg: w.cfg, registry: w.registry, streams: w.streams, visitors: w.visitors, log: w.ports.Log}
	if err := r.once(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// post sends a body and returns status, header and body of the answer.
func (w *world) post(t testing.TB, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	return w.do(t, http.MethodPost, strings.NewReader(body), header...)
}

func (w *world) do(t testing.TB, method string, body io.Reader, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.server.URL+"/events", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/cloudevents-batch+json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

// leaves has n batches in the journal and nowhere else, as an instance leaves them
// that is gone before the Broker took one.
func (w *world) leaves(t testing.TB, n int) {
	t.Helper()
	ports, dead := w.ports, &topic{}
	dead.fails(away)
	ports.Publisher = dead
	gone, err := New(w.cfg, ports)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	gone.Function().Routes(mux)
	for i := range n {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/events", strings.NewReader("["+doc(fmt.Sprint(i), "G-A", "")+"]"))
		r.Header.Set("Content-Type", "application/cloudevents-batch+json")
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, r)
		if answer.Code != http.StatusAccepted {
			t.Fatal(answer.Code, answer.Body)
		}
	}
	if err := gone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// doc is a structured event of a stream; data has further members of data.
func doc(id, stream, data string) string {
	if data != "" {
		data = "," + data
	}
	return `{"specversion":"1.0","id":"` + id + `","source":"/t","type":"footfall.event.v1","measurementid":"` + stream + `","time":"2026-11-23T17:59:00Z","data":{"name":"page_view"` + data + `}}`
}

// published waits until n batches are in the topic: the journal's word may have
// been enough for the answer, and the Broker follows.
func (w *world) published(t testing.TB, n int) []*event.Batch {
	t.Helper()
	batches := w.topic.batches(t)
	for deadline := time.Now().Add(5 * time.Second); len(batches) < n && time.Now().Before(deadline); runtime.Gosched() {
		batches = w.topic.batches(t)
	}
	return batches
}

// only is the one event that was published.
func (w *world) only(t testing.TB) event.Event {
	t.Helper()
	batches := w.published(t, 1)
	if len(batches) != 1 || len(batches[0].Events) != 1 {
		t.Fatalf("published %d batches", len(batches))
	}
	return batches[0].Events[0]
}
