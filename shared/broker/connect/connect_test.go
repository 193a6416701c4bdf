package connect_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/connect"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// server gives a Kafka and a topic of the test's own: a real one where the
// environment names it, else one in this process.
func server(t testing.TB) (brokers []string, topic string) {
	t.Helper()
	if named := os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS"); named != "" {
		return strings.Split(named, ","), fmt.Sprintf("footfall-test-%d", time.Now().UnixNano())
	}
	k, err := local.StartKafka(local.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k.Brokers(), "batches"
}

func config(t testing.TB, environ ...string) connect.Config {
	t.Helper()
	var c connect.Config
	if err := function.Load(environ, nil, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t testing.TB, cfg connect.Config, brokers ...string) *connect.Publisher {
	t.Helper()
	p, err := connect.Open(cfg, slog.New(slog.DiscardHandler), brokers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func client(t testing.TB, brokers []string) *kafka.Client {
	t.Helper()
	c, err := kafka.New(kafka.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func batch(key string) cloudevents.Event {
	e := cloudevents.New()
	e.SetID("01a20a15-" + key)
	e.SetType("footfall.batch.accepted.v1")
	e.SetSource("/ingest/a")
	e.SetTime(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	e.SetExtension("partitionkey", key)
	if err := e.SetData("application/vnd.apache.avro+batch", []byte{0, 1, 0xff}); err != nil {
		panic(err)
	}
	return e
}

// reader is a kafka.Handler that keeps what a topic holds.
type reader struct {
	mu      sync.Mutex
	records []kafka.Record
	came    chan struct{}
}

func (*reader) Assigned(map[int]int64, func(map[int]int64) error) {}
func (*reader) Ready(int) bool                                    { return true }
func (*reader) Wait(context.Context)                              {}
func (*reader) Skipped(int, int64, int64)                         {}
func (*reader) Revoked()                                          {}
func (r *reader) Take(_ context.Context, _ int, records []kafka.Record, _ int64) {
	r.mu.Lock()
	r.records = append(r.records, records...)
	r.mu.Unlock()
	select {
	case r.came <- struct{}{}:
	default:
	}
}

func read(t testing.TB, c *kafka.Client, topic string, n int) []kafka.Record {
	t.Helper()
	r := &reader{came: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Consume(ctx, kafka.GroupConfig{Group: topic + "-reader", Topic: topic, SessionTimeout: 6 * time.Second}, r); err != nil {
			t.Error(err)
		}
	}()
	defer func() { cancel(); <-done }()
	for {
		r.mu.Lock()
		got := slices.Clone(r.records)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.came:
		case <-ctx.Done():
			t.Fatalf("read %d records of %d", len(got), n)
		}
	}
}

// What Knative's dispatcher must find in its external topic: binary mode, and
// the partition that the Java client gives a key. The hashes are those of the
// tests of Kafka's own org.apache.kafka.common.utils.Utils.murmur2.
func TestKafkaBinding(t *testing.T) {
	const partitions = 24
	hashes := map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	}
	brokers, topic := server(t)
	c := client(t, brokers)
	if err := c.EnsureTopics(within(t, 30*time.Second), kafka.Topic{Name: topic, Partitions: partitions, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	p := open(t, config(t, "FOOTFALL_KAFKA_BROKERS="+strings.Join(brokers, ","), "FOOTFALL_TOPIC_BATCHES="+topic, "FOOTFALL_TOPIC_BATCHES_PARTITIONS=24"), broker.Batches)
	if err := p.Run(within(t, 30*time.Second)); err != nil || p.Fit(t.Context()) != nil {
		t.Fatal(err, p.Fit(t.Context()))
	}
	if err := p.Ready(within(t, 5*time.Second)); err != nil {
		t.Errorf("not ready: %v", err)
	}
	for key := range hashes {
		if err := p.Publish(within(t, 10*time.Second), broker.Batches, batch(key)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range read(t, c, topic, len(hashes)) {
		key := string(r.Message.Key)
		if want := int(hashes[key]&0x7fffffff) % partitions; r.Partition != want {
			t.Errorf("key %q is in partition %d, Java puts it into %d", key, r.Partition, want)
		}
		headers := map[string]string{}
		for _, h := range r.Message.Headers {
			headers[h.Key] = string(h.Value)
		}
		want := map[string]string{
			"ce_specversion": "1.0", "ce_id": "01a20a15-" + key, "ce_type": "footfall.batch.accepted.v1", "ce_source": "/ingest/a",
			"ce_time": "2026-11-23T10:00:00Z", "ce_partitionkey": key, "content-type": "application/vnd.apache.avro+batch",
		}
		if fmt.Sprint(headers) != fmt.Sprint(want) || string(r.Message.Value) != "\x00\x01\xff" {
			t.Errorf("headers %v, want %v; value %q", headers, want, r.Message.Value)
		}
	}
}

// The other way: what a POST to a Broker's ingress puts there is the same.
func TestBrokerURL(t *testing.T) {
	brokers, topic := server(t)
	c := client(t, brokers)
	if err := c.EnsureTopics(within(t, 30*time.Second), kafka.Topic{Name: topic, Partitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	ingress := local.NewIngress(local.IngressConfig{Brokers: []string{broker.Batches}, Publisher: kafka.NewPublisher(c, map[string]string{broker.Batches: topic})})
	srv := httptest.NewServer(ingress)
	defer srv.Close()
	p := open(t, config(t, "FOOTFALL_BROKER_BATCHES_URL="+srv.URL+"/brokers/batches"), broker.Batches)
	if err := p.Run(t.Context()); err != nil || p.Fit(t.Context()) != nil {
		t.Fatal(err, p.Fit(t.Context()))
	}
	if err := p.Ready(within(t, 5*time.Second)); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if err := p.Publish(within(t, 10*time.Second), broker.Batches, batch("a"), batch("b")); err != nil {
		t.Fatal(err)
	}
	for _, r := range read(t, c, topic, 2) {
		e, err := broker.Decode(&r.Message)
		if err != nil || e.Type() != "footfall.batch.accepted.v1" || e.Extensions()["partitionkey"] != string(r.Message.Key) || string(e.Data()) != "\x00\x01\xff" {
			t.Errorf("got %v, %v", e, err)
		}
	}
	big := batch("c")
	big.DataEncoded = make([]byte, 2<<20)
	if err := p.Publish(within(t, 10*time.Second), broker.Batches, big); !fault.Is(err, fault.TooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := p.Publish(t.Context(), broker.Control, batch("a")); !fault.Is(err, fault.Invalid) {
		t.Errorf("a broker that it was not opened for: %v", err)
	}
}

func TestBrokerURLThatIsAway(t *testing.T) {
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, url := range []string{missing.URL, "http://" + l.Addr().String()} {
		p := open(t, config(t, "FOOTFALL_BROKER_BATCHES_URL="+url), broker.Batches)
		if err := p.Ready(within(t, 5*time.Second)); !fault.Is(err, fault.Transient) || p.Fit(t.Context()) != nil {
			t.Errorf("ready %v, fit %v", err, p.Fit(t.Context()))
		}
	}
}

// A topic that is missing or too small is told, and no more once it is right.
func TestTopicsAreLookedAt(t *testing.T) {
	brokers, topic := server(t)
	c := client(t, brokers)
	batches, control := topic+"-1", topic+"-2"
	cfg := config(t, "FOOTFALL_KAFKA_BROKERS="+strings.Join(brokers, ","), "FOOTFALL_TOPIC_BATCHES="+batches, "FOOTFALL_TOPIC_CONTROL="+control,
		"FOOTFALL_TOPIC_CONTROL_PARTITIONS=3")
	if err := c.EnsureTopics(within(t, 30*time.Second), kafka.Topic{Name: batches, Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"max.message.bytes": "700000"}}); err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	p, err := connect.Open(cfg, slog.New(slog.NewTextHandler(&logged, nil)), broker.Batches, broker.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(within(t, time.Minute)) }()
	var unfit error
	for unfit == nil {
		time.Sleep(5 * time.Millisecond)
		unfit = p.Fit(t.Context())
	}
	for _, want := range []string{`"` + batches + `" takes max.message.bytes of 700000 bytes, expected at least 1048576`, `"` + control + `" is missing`} {
		if !strings.Contains(unfit.Error(), want) {
			t.Errorf("%q is not in %v", want, unfit)
		}
	}
	if err := p.Ready(within(t, 5*time.Second)); err == nil {
		t.Error("ready with topics that are not fit")
	}
	if err := c.EnsureTopics(within(t, 30*time.Second), kafka.Topic{Name: control, Partitions: 2, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(p.Fit(t.Context()).Error(), `"`+control+`" has 2 partitions, expected at least 3`) {
		time.Sleep(5 * time.Millisecond)
	}
	if err := c.SetTopic(within(t, 30*time.Second), batches, map[string]string{"max.message.bytes": "1048588"}); err != nil {
		t.Fatal(err)
	}
	if err := c.AddPartitions(within(t, 30*time.Second), control, 3); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || p.Fit(t.Context()) != nil {
		t.Errorf("ended with %v, fit: %v", err, p.Fit(t.Context()))
	}
	if !strings.Contains(logged.String(), "the topics are as they must be") {
		t.Error(logged.String())
	}
}

// Kafka that is away is no fault of the topics: whoever has a journal goes on.
func TestKafkaAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := open(t, config(t, "FOOTFALL_KAFKA_BROKERS="+l.Addr().String()), broker.Batches)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	if err := p.Ready(within(t, time.Second)); err == nil {
		t.Error("ready")
	}
	if err := p.Fit(t.Context()); err != nil {
		t.Errorf("not fit: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	var c connect.Config
	err := function.Load([]string{"FOOTFALL_BROKER_CONTROL_URL=kafka:9092", "FOOTFALL_KAFKA_BROKERS=nohost", "FOOTFALL_KAFKA_MAX_MESSAGE_BYTES=700000",
		"FOOTFALL_TOPIC_BATCHES_PARTITIONS=0", "FOOTFALL_KAFKA_PROTOCOL=SASL_SSL"}, nil, &c)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{"FOOTFALL_BROKER_CONTROL_URL", "FOOTFALL_KAFKA_BROKERS", "FOOTFALL_KAFKA_MAX_MESSAGE_BYTES", "FOOTFALL_TOPIC_BATCHES_PARTITIONS", "FOOTFALL_KAFKA_SASL_PASSWORD"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if err := function.Load(nil, nil, &connect.Config{}); err == nil || !strings.Contains(err.Error(), "FOOTFALL_KAFKA_BROKERS") {
		t.Errorf("no way at all: %v", err)
	}
	urls := config(t, "FOOTFALL_BROKER_BATCHES_URL=http://b/footfall/batches")
	if _, err := connect.Open(urls, slog.New(slog.DiscardHandler), broker.Control); err == nil || !strings.Contains(err.Error(), `"control"`) {
		t.Errorf("a broker without a way: %v", err)
	}
}
