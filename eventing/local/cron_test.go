package local

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

const pingYAML = `apiVersion: v1
kind: ConfigMap
metadata: {name: kafka, namespace: footfall}
data:
  bootstrap.servers: "kafka:9092"
  default.topic.partitions: "1"
  default.topic.replication.factor: "1"
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: control
  namespace: footfall
  annotations:
    eventing.knative.dev/broker.class: Kafka
    kafka.eventing.knative.dev/external.topic: footfall.control
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: kafka}
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: summary-tick, namespace: footfall}
spec:
  schedule: "*/10 * * * * *"
  timezone: Europe/Berlin
  contentType: application/json
  data: '{"a": 1}'
  ceOverrides: {extensions: {tick: summary}}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: control}}
`

func TestFire(t *testing.T) {
	w := newWorld(t, 1)
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	wiring := parseWiring(t, pingYAML)
	w.wiring = wiring
	w.start()
	c, err := NewCron(CronConfig{Wiring: wiring, Kafka: w.client, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Fire(w.ctx(), "summary-tick"); err != nil {
			t.Fatal(err)
		}
	}
	got := w.topic("footfall.control")
	if len(got) != 2 {
		t.Fatalf("%d ticks", len(got))
	}
	h := headers(got[0])
	want := map[string]string{
		"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/footfall/pingsources/summary-tick",
		"tick": "summary", "time": "2026-03-04T05:06:07Z", "content-type": "application/json", "specversion": "1.0",
	}
	for k, v := range want {
		if h[k] != v {
			t.Errorf("%s is %q, want %q", k, h[k], v)
		}
	}
	if string(got[0].Message.Value) != `{"a": 1}` || h["id"] == headers(got[1])["id"] {
		t.Errorf("data %q, ids %q and %q", got[0].Message.Value, h["id"], headers(got[1])["id"])
	}
	if err := c.Fire(w.ctx(), "no-such"); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown source: %v", err)
	}
	if next, err := c.Next("summary-tick", now); err != nil || !next.Equal(now.Add(3*time.Second)) {
		t.Errorf("next %v, %v", next, err)
	}
	if !slices.Equal(c.Names(), []string{"summary-tick"}) {
		t.Errorf("names %v", c.Names())
	}
}

// ringer sends every ten seconds to a URL; a transport stands for the network.
func ringer(t *testing.T, now func() time.Time, sink roundTrip) *Cron {
	t.Helper()
	const uriSink = "  sink: {uri: http://sink/}\n"
	yaml := pingYAML[:strings.LastIndex(pingYAML, "  sink:")] + uriSink
	c, err := NewCron(CronConfig{HTTP: sink, Now: now, Wiring: parseWiring(t, yaml)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func reply(code int) *http.Response {
	rec := httptest.NewRecorder()
	rec.WriteHeader(code)
	return rec.Result()
}

func TestRunKeepsTheScheduleAndCatchesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []int
		c := ringer(t, time.Now, func(*http.Request) (*http.Response, error) {
			at = append(at, int(time.Since(start).Seconds()))
			if len(at) == 2 {
				time.Sleep(25 * time.Second) // hangs over two ticks, within nobody's timeout
			}
			return reply(202), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		c.Run(ctx)
		if want := []int{10, 20, 50, 60}; !slices.Equal(at, want) {
			t.Errorf("ticks at %v, want %v", at, want)
		}
	})
}

func TestRunRetriesThenGivesTheTickUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		c := ringer(t, time.Now, func(*http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			return reply(503), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		c.Run(ctx)
		const ms = time.Millisecond
		want := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms} // after the tick
		if len(at) != len(want) {
			t.Fatalf("%d attempts: %v", len(at), at)
		}
		for i := range want {
			if d := at[i] - at[0]; d != want[i] {
				t.Errorf("attempt %d after %v, want %v", i, d, want[i])
			}
		}
	})
}

func TestFireDoesNotRetryWhatWillNotPass(t *testing.T) {
	n := 0
	c := ringer(t, time.Now, func(*http.Request) (*http.Response, error) {
		n++
		return reply(400), nil
	})
	if err := c.Fire(t.Context(), "summary-tick"); err == nil || n != 1 {
		t.Errorf("%d attempts, %v", n, err)
	}
}
