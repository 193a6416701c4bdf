package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/function/functiontest"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/mongo"
)

func TestMain(m *testing.M) { functiontest.Main(m, main) }

// nowhere is a MongoDB that is away.
const nowhere = "mongodb://127.0.0.1:1/?directConnection=true"

// world is the Kafka and, where one is named, the MongoDB of a test.
type world struct {
	brokers []string
	topic   string
	client  *kafka.Client
	uri     string
	mongodb bool
	db      string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	own := fmt.Sprintf("footfall-test-%d", time.Now().UnixNano())
	w := &world{topic: own, db: own, uri: nowhere}
	if uri := os.Getenv("FOOTFALL_TEST_MONGODB_URI"); uri != "" {
		w.uri, w.mongodb = uri, true
	}
	if named := os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS"); named != "" {
		w.brokers = strings.Split(named, ",")
	} else {
		k, err := local.StartKafka(local.KafkaConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		w.brokers = k.Brokers()
	}
	var err error
	if w.client, err = kafka.New(kafka.Config{Brokers: w.brokers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	return w
}

func (w *world) makeTopic(t *testing.T) {
	t.Helper()
	if err := w.client.EnsureTopics(within(t, time.Minute), kafka.Topic{Name: w.topic, Partitions: 4, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) start(t *testing.T, environ ...string) *functiontest.Process {
	t.Helper()
	return functiontest.Start(t, append([]string{
		"FOOTFALL_KAFKA_BROKERS=" + strings.Join(w.brokers, ","), "FOOTFALL_TOPIC_BATCHES=" + w.topic,
		"FOOTFALL_MONGODB_URI=" + w.uri, "FOOTFALL_MONGODB_DATABASE=" + w.db, "FOOTFALL_INSTANCE=test-1",
	}, environ...)...)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// reader keeps the ids of the events in a topic.
type reader struct {
	t       *testing.T
	mu      sync.Mutex
	records int
	ids     map[string]bool
	came    chan struct{}
}

func (*reader) Assigned(map[int]int64, func(map[int]int64) error) {}
func (*reader) Ready(int) bool                                    { return true }
func (*reader) Wait(context.Context)                              {}
func (*reader) Skipped(int, int64, int64)                         {}
func (*reader) Revoked()                                          {}
func (r *reader) Take(_ context.Context, _ int, records []kafka.Record, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range records {
		r.records++
		r.keep(record.Message.Value)
	}
	select {
	case r.came <- struct{}{}:
	default:
	}
}

func (r *reader) keep(container []byte) {
	b, err := event.DecodeBatch(container)
	if err != nil {
		r.t.Error(err)
		return
	}
	if b.Instance != "test-1" {
		r.t.Errorf("a batch is of instance %q", b.Instance)
	}
	for i := range b.Events {
		r.ids[b.Events[i].ID] = true
	}
}

// durable is the ids of all events that stand in the topic or in the journal.
func (w *world) durable(t *testing.T) map[string]bool {
	t.Helper()
	ends, err := w.client.Ends(within(t, 30*time.Second), w.topic)
	if err != nil {
		t.Fatal(err)
	}
	var want int
	for _, end := range ends {
		want += int(end)
	}
	r := &reader{t: t, ids: map[string]bool{}, came: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.client.Consume(ctx, kafka.GroupConfig{Group: w.topic, Topic: w.topic, SessionTimeout: 6 * time.Second}, r); err != nil {
			t.Error(err)
		}
	}()
	for read := 0; read < want && ctx.Err() == nil; {
		select {
		case <-r.came:
		case <-ctx.Done():
			t.Fatalf("read %d batches of %d", read, want)
		}
		r.mu.Lock()
		read = r.records
		r.mu.Unlock()
	}
	cancel()
	<-done
	if !w.mongodb {
		return r.ids
	}
	var cfg mongo.Config
	if err := function.Load([]string{"FOOTFALL_MONGODB_URI=" + w.uri, "FOOTFALL_MONGODB_DATABASE=" + w.db}, nil, &cfg); err != nil {
		t.Fatal(err)
	}
	stores, err := mongo.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close(context.Background())
	rows, err := stores.Journal.Unfinished(within(t, 30*time.Second), store.AllStages, time.Time{}, time.Now().Add(time.Hour), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		payload, err := stores.Journal.Payload(within(t, 30*time.Second), row.Batch)
		if err != nil {
			t.Fatal(err)
		}
		r.keep(payload)
	}
	return r.ids
}

// load sends events one by one on many connections until nobody listens, or
// until told to stop, and keeps the ids of those that were accepted.
type load struct {
	t        *testing.T
	url      string
	stop     atomic.Bool
	accepted sync.Map
	answers  atomic.Int64
	clients  sync.WaitGroup
}

func (l *load) start(clients int) {
	for i := range clients {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(i%3 != 0)
		protocols.SetUnencryptedHTTP2(i%3 == 0)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 30 * time.Second}
		l.clients.Go(func() {
			defer client.CloseIdleConnections()
			for n := 0; !l.stop.Load(); n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				if !l.send(client, id) {
					return
				}
			}
		})
	}
}

// send reports whether to go on.
func (l *load) send(client *http.Client, id string) bool {
	body := `{"specversion":"1.0","id":"` + id + `","source":"/t","type":"footfall.event.v1","measurementid":"G-A","data":{"name":"page_view","client_id":"c"}}`
	// Not from a reader that can be read again: the client tries nothing twice.
	req, err := http.NewRequest(http.MethodPost, l.url+"/events", io.MultiReader(strings.NewReader(body)))
	if err != nil {
		l.t.Error(err)
		return false
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	res, err := client.Do(req)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return false // nobody listens any more: nothing was sent
	}
	if err != nil {
		l.t.Errorf("a request was cut: %v", err)
		return false
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted {
		l.t.Errorf("%d %s %v", res.StatusCode, answer, err)
		return false
	}
	l.accepted.Store(id, true)
	l.answers.Add(1)
	return true
}

// SIGTERM under load: what was accepted is durable, no request is cut, and the
// process ends in time.
func TestTerminateUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		quiet string
		heed  bool // senders stop when the readiness probe fails
	}{
		{"senders that know nothing of readiness", "0s", false},
		{"senders behind a readiness probe, as in a cluster", "300ms", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.makeTopic(t)
			const grace = 20 * time.Second
			p := w.start(t, "FOOTFALL_DRAIN_QUIET="+c.quiet, "FOOTFALL_GRACE="+grace.String())
			p.Await(http.StatusOK)
			l := &load{t: t, url: p.URL}
			l.start(12)
			for l.answers.Load() < 1000 && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
			p.Terminate()
			if c.heed {
				p.Await(http.StatusServiceUnavailable)
				l.stop.Store(true)
			}
			l.clients.Wait()
			if err := p.Wait(grace); err != nil {
				t.Errorf("the process ended with %v", err)
			}
			durable := w.durable(t)
			n := 0
			l.accepted.Range(func(id, _ any) bool {
				n++
				if !durable[id.(string)] {
					t.Errorf("event %s was accepted and is nowhere", id)
				}
				return true
			})
			t.Logf("%d events accepted, %d durable, MongoDB %v", n, len(durable), w.mongodb)
		})
	}
}

// Without journal and without a topic that is fit it is alive and not ready,
// says why, and needs no restart when the topic is there.
func TestReadinessTellsTheTruth(t *testing.T) {
	w := newWorld(t)
	w.uri, w.mongodb = nowhere, false
	p := w.start(t)
	if status, _ := p.Get("/health/liveness"); status != http.StatusOK {
		t.Errorf("liveness: %d", status)
	}
	if status, body := p.Get("/health/readiness"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"ingest"`) {
		t.Errorf("readiness: %d %s", status, body)
	}
	for !strings.Contains(p.Log(), `topic \"`+w.topic+`\" is missing: make it with: footfall topics ensure`) {
		time.Sleep(time.Millisecond)
	}
	w.makeTopic(t)
	p.Await(http.StatusOK)
	p.Terminate()
	if err := p.Wait(20 * time.Second); err != nil {
		t.Error(err)
	}
}

// An event that no batch and no Broker would take is refused at the door, with
// the limit, and takes its neighbours with it neither in the request nor in
// the flush.
func TestOversizeEventIsRefusedAtTheDoor(t *testing.T) {
	w := newWorld(t)
	w.makeTopic(t)
	p := w.start(t)
	p.Await(http.StatusOK)
	post := func(contentType string, body []byte) (int, string) {
		t.Helper()
		res, err := http.Post(p.URL+"/events", contentType, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(answer)
	}
	var params strings.Builder
	for i := range 90 {
		fmt.Fprintf(&params, `%s"p%d":%q`, map[bool]string{true: "", false: ","}[i == 0], i, strings.Repeat("x", 1000))
	}
	var items strings.Builder
	for i := range 200 {
		fmt.Fprintf(&items, `%s{"item_id":"i%d",%s}`, map[bool]string{true: "", false: ","}[i == 0], i, params.String()[:20*1010-7])
	}
	one := func(id, more string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/t","type":"footfall.event.v1","measurementid":"G-A","data":{"name":"purchase","client_id":"c"` + more + `}}`
	}
	large := one("large", `,"params":{`+params.String()+`},"items":[`+items.String()+`]`)
	if status, answer := post("application/cloudevents+json", []byte(large)); status != 413 && status != 400 {
		t.Errorf("alone: %d %.300s", status, answer)
	}
	status, answer := post("application/cloudevents-batch+json", []byte("["+one("a", "")+","+one("large", `,"params":{`+params.String()+`},"junk":"`+strings.Repeat("y", 300<<10)+`"`)+","+one("b", "")+"]"))
	if status != 202 || !strings.Contains(answer, `"accepted":2`) || !strings.Contains(answer, "large") {
		t.Errorf("with others: %d %.300s", status, answer)
	}
	if status, answer := post("application/cloudevents+json", []byte(one("body", `,"junk":"`+strings.Repeat("z", 5<<20)+`"`))); status != 413 {
		t.Errorf("a body over the limit: %d %.300s", status, answer)
	}
}
