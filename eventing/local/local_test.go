package local

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/broker/kafka"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		runChild(dir)
		return
	}
	goleak.VerifyTestMain(m,
		// net/http keeps a connection per host for the next request.
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		// An idle worker of InProcess lingers, kafka-go's and kfake's own end within seconds.
		goleak.IgnoreAnyFunction("github.com/footfall/footfall/eventing/local.(*InProcess).work"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connPool).discover"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*conn).run"),
	)
}

const testTimeout = 20 * time.Second

// world is a Kafka, a wiring of one Broker with one Trigger or more, and what
// the subscribers received.
type world struct {
	t      testing.TB
	kafka  *Kafka
	client *kafka.Client
	wiring *eventing.Wiring
	http   map[string]http.Handler
}

func newKafka(t testing.TB, dir string) *Kafka {
	t.Helper()
	k, err := StartKafka(KafkaConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func newClient(t testing.TB, k *Kafka) *kafka.Client {
	t.Helper()
	c, err := kafka.New(kafka.Config{Brokers: k.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newWorld(t testing.TB, partitions int, triggers ...eventing.Trigger) *world {
	t.Helper()
	w := &world{t: t, wiring: testWiring(partitions, triggers...), http: map[string]http.Handler{}}
	brokers := os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS")
	if brokers == "" {
		w.kafka = newKafka(t, "")
		w.client = newClient(t, w.kafka)
		return w
	}
	// A real Kafka: topics and groups of the test's own.
	own := fmt.Sprintf("-%d", time.Now().UnixNano())
	w.wiring.Brokers[0].Topic.Name += own
	w.wiring.Sinks[0].Topic.Name += own
	for i := range w.wiring.Triggers {
		w.wiring.Triggers[i].ConsumerGroup += own
	}
	var err error
	if w.client, err = kafka.New(kafka.Config{Brokers: strings.Split(brokers, ",")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	return w
}

func (w *world) batches() string { return w.wiring.Brokers[0].Topic.Name }
func (w *world) dead() string    { return w.wiring.Sinks[0].Topic.Name }
func (w *world) group() string   { return w.wiring.Triggers[0].ConsumerGroup }

func testWiring(partitions int, triggers ...eventing.Trigger) *eventing.Wiring {
	return &eventing.Wiring{
		Namespace: "footfall",
		Brokers:   []eventing.Broker{{Name: "batches", Topic: eventing.Topic{Name: "footfall.batches", Partitions: partitions}}},
		Sinks:     []eventing.KafkaSink{{Name: "dead", Topic: eventing.Topic{Name: "footfall.dead", Partitions: 1}}},
		Triggers:  triggers,
	}
}

var anything, _ = filter.Compile(nil)

// trigger to the service "sub" with fast retries; dead letters to the sink.
func trigger(change ...func(*eventing.Trigger)) eventing.Trigger {
	t := eventing.Trigger{
		Name: "sub-batches", Broker: "batches", ConsumerGroup: "knative-trigger-footfall-sub-batches", Filter: anything,
		Subscriber: eventing.Destination{Kind: eventing.TargetService, Name: "sub", Path: "/in"},
		Delivery: eventing.Delivery{
			Retry: 2, BackoffDelay: time.Millisecond, Timeout: 5 * time.Second,
			DeadLetter: &eventing.Destination{Kind: eventing.TargetKafkaSink, Name: "dead"},
		},
	}
	for _, f := range change {
		f(&t)
	}
	return t
}

func (w *world) config() DispatcherConfig {
	return DispatcherConfig{
		Wiring: w.wiring, Kafka: w.client, Services: NewInProcess("footfall", w.http, nil),
		CommitInterval: 20 * time.Millisecond, DrainTimeout: 2 * time.Second, Log: testLog(),
	}
}

func testLog() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return slog.New(slog.DiscardHandler)
}

func (w *world) start(change ...func(*DispatcherConfig)) *Dispatcher {
	w.t.Helper()
	cfg := w.config()
	for _, f := range change {
		f(&cfg)
	}
	d, err := NewDispatcher(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := d.Start(w.ctx()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) publish(events ...cloudevents.Event) {
	w.t.Helper()
	p := kafka.NewPublisher(w.client, map[string]string{"batches": w.batches()})
	if err := p.Publish(w.ctx(), "batches", events...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) idle(d *Dispatcher) {
	w.t.Helper()
	if err := d.WaitIdle(w.ctx()); err != nil {
		w.t.Fatalf("not idle: %v; %+v", err, d.Status())
	}
}

func event(id string, data string) cloudevents.Event {
	e := cloudevents.New()
	e.SetID(id)
	e.SetType("footfall.test.v1")
	e.SetSource("/test")
	if data != "" {
		if err := e.SetData("text/plain", []byte(data)); err != nil {
			panic(err) // text never fails
		}
	}
	return e
}

// inbox is a subscriber that keeps what came and answers as told.
type inbox struct {
	mu     sync.Mutex
	got    []received
	answer func(n int, r received) (status int, header map[string]string, body string)
}

type received struct {
	path   string
	header http.Header
	body   string
}

func (r received) id() string { return r.header.Get("Ce-Id") }

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	rec := received{path: r.URL.RequestURI(), header: r.Header.Clone(), body: string(body)}
	in.mu.Lock()
	in.got = append(in.got, rec)
	n := len(in.got)
	in.mu.Unlock()
	if in.answer == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	status, header, text := in.answer(n, rec)
	for k, v := range header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (in *inbox) all() []received {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]received(nil), in.got...)
}

func (in *inbox) ids() []string {
	var ids []string
	for _, r := range in.all() {
		ids = append(ids, r.id())
	}
	return ids
}

// status answers every request alike.
func status(code int) func(int, received) (int, map[string]string, string) {
	return func(int, received) (int, map[string]string, string) { return code, nil, "" }
}

// topic reads all that a topic holds.
func (w *world) topic(name string) []kafka.Record {
	w.t.Helper()
	ends, err := w.client.Ends(w.ctx(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	want := int64(0)
	for _, e := range ends {
		want += e
	}
	if want == 0 {
		return nil
	}
	c := &collector{want: int(want), full: make(chan struct{})}
	ctx, cancel := context.WithCancel(w.ctx())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- w.client.Consume(ctx, kafka.GroupConfig{Group: fmt.Sprintf("read-%s-%d", name, time.Now().UnixNano()), Topic: name}, c)
	}()
	select {
	case <-c.full:
	case err := <-done:
		w.t.Fatalf("cannot read topic %s: %v", name, err)
	case <-ctx.Done():
		w.t.Fatalf("cannot read topic %s: got %d of %d", name, len(c.records), want)
	}
	cancel()
	<-done
	return c.records
}

type collector struct {
	mu      sync.Mutex
	records []kafka.Record
	want    int
	full    chan struct{}
}

func (c *collector) Assigned(map[int]int64, func(map[int]int64) error) {}
func (c *collector) Ready(int) bool                                    { return true }
func (c *collector) Wait(context.Context)                              {}
func (c *collector) Skipped(int, int64, int64)                         {}
func (c *collector) Revoked()                                          {}
func (c *collector) Take(_ context.Context, _ int, r []kafka.Record, _ int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.records)
	c.records = append(c.records, r...)
	if before < c.want && len(c.records) >= c.want {
		close(c.full)
	}
}

func headers(r kafka.Record) map[string]string {
	m := make(map[string]string)
	for _, h := range r.Message.Headers {
		m[strings.TrimPrefix(h.Key, "ce_")] = string(h.Value)
	}
	return m
}
