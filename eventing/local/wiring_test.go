package local

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
)

func parseWiring(t testing.TB, yaml string) *eventing.Wiring {
	t.Helper()
	w, err := eventing.Parse(fstest.MapFS{"all.yaml": {Data: []byte(yaml)}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The wiring that the cluster gets runs here, from an empty folder, twice.
func TestTheRealWiring(t *testing.T) {
	wiring, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	inboxes := map[string]*inbox{}
	services := map[string]http.Handler{}
	for _, s := range wiring.Services() {
		inboxes[s] = &inbox{}
		services[s] = inboxes[s]
	}
	for round := 1; round <= 2; round++ {
		begin := time.Now()
		k, err := StartKafka(KafkaConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		client, err := kafka.New(kafka.Config{Brokers: k.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDispatcher(DispatcherConfig{Wiring: wiring, Kafka: client, Services: NewInProcess(wiring.Namespace, services, nil), Log: testLog()})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		started := time.Since(begin)
		c, err := NewCron(CronConfig{Wiring: wiring, Kafka: client})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.Names() {
			if err := c.Fire(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: started after %v, idle after %v", round, started, time.Since(begin))
		for _, b := range d.Status() {
			for _, tr := range b.Triggers {
				if tr.Lost+tr.DeadLetters+tr.Invalid != 0 {
					t.Errorf("%+v", tr)
				}
			}
		}
		d.Close()
		client.Close()
		k.Close()
	}
	for _, name := range []string{"summary", "archive", "ingest"} {
		if n := len(inboxes[name].all()); n != 2 {
			t.Errorf("%s got %d ticks, want 2", name, n)
		}
	}
}

func TestWrongDestinationsStopTheStart(t *testing.T) {
	w := newWorld(t, 1, trigger(), trigger(func(t *eventing.Trigger) {
		t.Name, t.Delivery.DeadLetter = "other", &eventing.Destination{Kind: eventing.TargetKafkaSink, Name: "none"}
	}))
	_, err := NewDispatcher(w.config())
	for _, part := range []string{`trigger "sub-batches"`, `service "sub"`, `trigger "other"`, `"none"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name %s: %v", part, err)
		}
	}
	w.http["sub"] = &inbox{}
	cfg := w.config()
	cfg.Faults.Delay = 2
	if _, err := NewDispatcher(cfg); err == nil || !strings.Contains(err.Error(), "faults") {
		t.Errorf("wrong faults: %v", err)
	}
}

func TestFolderIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kafka")
	k := newKafka(t, dir)
	if _, err := StartKafka(KafkaConfig{Dir: dir}); !fault.Is(err, fault.Conflict) {
		t.Errorf("second start: %v", err)
	}
	k.Close()
	newKafka(t, dir)
}

// Retention lets old records go, read or not, and a consumer that missed them
// says so and goes on.
func TestRetention(t *testing.T) {
	if os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS") != "" {
		t.Skip("a real Kafka trims when it likes")
	}
	w := newWorld(t, 1, trigger())
	in := &inbox{}
	w.http["sub"] = in
	w.wiring.Brokers[0].Topic.Config = map[string]string{"retention.ms": "0", "segment.bytes": "1024"}
	d, err := NewDispatcher(w.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(w.ctx()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.publish(event("old", "some data that fills a segment some data that fills a segment"))
	}
	w.kafka.Trim()
	if err := d.Start(w.ctx()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	eventually(t, func() bool { return d.Status()[0].Triggers[0].Expired == 20 })
	w.publish(event("new", ""))
	w.idle(d)
	if got := in.ids(); len(got) != 1 || got[0] != "new" {
		t.Errorf("got %v", got)
	}
}

// What every Trigger has settled is released, what one of them has not stays,
// and a partition's numbers go on after a restart without a snapshot, as after
// a crash.
func TestRelease(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kafka")
	slow := trigger(func(tr *eventing.Trigger) {
		tr.Name, tr.ConsumerGroup, tr.Order = "slow", "slow", eventing.Ordered
		tr.Subscriber.Name = "slow"
	})
	w := &world{t: t, wiring: testWiring(1, trigger(), slow), http: map[string]http.Handler{}}
	w.wiring.Brokers[0].Topic.Config = map[string]string{"segment.bytes": "1024"}
	open := func() (d *Dispatcher, released func() int64, shut func()) {
		w.kafka = newKafka(t, dir)
		w.client = newClient(t, w.kafka)
		d = w.start()
		released = func() (to int64) {
			d.Settled(func(topic string, partition int, offset int64) {
				if topic == w.batches() && partition == 0 {
					to = offset
				}
				if err := w.kafka.Release(topic, partition, offset); err != nil {
					t.Error(err)
				}
			})
			return to
		}
		return d, released, func() {
			if err := errors.Join(d.Close(), w.client.Close()); err != nil {
				t.Error(err)
			}
			w.kafka.Close()
		}
	}
	segments := func() int {
		found, err := filepath.Glob(filepath.Join(dir, "partitions", w.batches()+"-0", "*.dat"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	in, gate := &inbox{}, make(chan struct{})
	w.http["sub"] = in
	w.http["slow"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") == "e10" {
			<-gate
		}
		rw.WriteHeader(http.StatusAccepted)
	})
	d, released, shut := open()
	for i := range 20 {
		w.publish(event(fmt.Sprint("e", i), strings.Repeat("some data that fills a segment ", 20)))
	}
	eventually(t, func() bool { return released() == 10 })
	if n := segments(); n < 5 || n > 8 { // two records each
		t.Errorf("%d segments while 10 of 20 records are settled", n)
	}
	close(gate)
	w.idle(d)
	eventually(t, func() bool { return released() == 20 })
	if n := segments(); n != 1 {
		t.Errorf("%d segments when all is settled", n)
	}
	shut()
	snapshots, err := filepath.Glob(filepath.Join(dir, "partitions", "*", "snapshot.json"))
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("no snapshots: %v", err)
	}
	for _, path := range snapshots {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	d, released, shut = open()
	w.publish(event("new", ""))
	w.idle(d)
	eventually(t, func() bool { return released() == 21 })
	if got := in.ids(); len(got) != 21 || got[20] != "new" || d.Status()[0].Triggers[0].Expired != 0 {
		t.Errorf("got %v, %+v", got, d.Status())
	}
	shut()
}

func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	w := newWorld(t, 1, trigger())
	w.http["sub"] = &inbox{}
	d := w.start(func(c *DispatcherConfig) { c.Meter = provider.Meter("test") })
	w.publish(event("e1", ""), event("e2", ""))
	w.idle(d)
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range got.ScopeMetrics {
		for _, m := range s.Metrics {
			seen[m.Name] = true
			if m.Name == "footfall.broker.delivery.duration" {
				if h := m.Data.(metricdata.Histogram[float64]); h.DataPoints[0].Count != 2 {
					t.Errorf("%d durations", h.DataPoints[0].Count)
				}
			}
		}
	}
	for _, name := range []string{"footfall.broker.lag", "footfall.broker.in_flight", "footfall.broker.events", "footfall.broker.retries", "footfall.broker.delivery.duration"} {
		if !seen[name] {
			t.Errorf("no metric %s", name)
		}
	}
}
