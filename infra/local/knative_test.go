package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/functions/etl"
	"github.com/footfall/footfall/functions/ingest"
	"github.com/footfall/footfall/functions/merchant"
	"github.com/footfall/footfall/functions/report"
	"github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/transform"
)

// topicInMemory keeps what is published as the records that a Broker's topic
// would hold.
type topicInMemory struct {
	mu      sync.Mutex
	records []broker.Message
}

func (p *topicInMemory) Publish(_ context.Context, _ string, events ...cloudevents.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		m, err := broker.Encode(&events[i])
		if err != nil {
			return err
		}
		p.records = append(p.records, m)
	}
	return nil
}

func (p *topicInMemory) take() []broker.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := p.records
	p.records = nil
	return records
}

// delivery is a record as Knative's dispatcher posts it: attributes in lower
// case, its own headers and extensions, and what the ways through the cluster
// add. Nothing here comes from our own dispatcher or from the SDK.
func delivery(m broker.Message, offset int) (http.Header, []byte) {
	h := http.Header{}
	h.Set("Prefer", "reply")
	h.Set("Kn-Namespace", "footfall")
	h.Set("User-Agent", "Vert.x-WebClient/4.5")
	h.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	h.Set("X-Forwarded-For", "10.244.0.17, 10.244.0.9")
	h.Set("X-Forwarded-Proto", "http")
	h.Set("Forwarded", "for=10.244.0.17;proto=http")
	h.Set("X-Request-Id", "0c1d3e7a")
	h.Set("Ce-Knativekafkapartition", "3")
	h.Set("Ce-Knativekafkaoffset", fmt.Sprint(offset))
	for _, x := range m.Headers {
		name, ok := strings.CutPrefix(x.Key, "ce_")
		if ok {
			name = "ce-" + name
		}
		h.Set(name, string(x.Value))
	}
	return h, m.Value
}

// deadLetter is a record that went through a KafkaSink: with why it is dead.
func deadLetter(m broker.Message) broker.Message {
	m.Headers = append(headers(map[string]string{
		"ce_knativeerrordest": "http://etl.footfall.svc.cluster.local/batches", "ce_knativeerrorcode": "503",
		"ce_knativeerrordata":      base64.StdEncoding.EncodeToString([]byte(`{"error":{"kind":"transient","message":"a store is away"}}`)),
		"ce_knativekafkapartition": "11", "ce_knativekafkaoffset": "4711",
	}), m.Headers...)
	return m
}

func headers(pairs map[string]string) []broker.Header {
	var all []broker.Header
	for k, v := range pairs {
		all = append(all, broker.Header{Key: k, Value: []byte(v)})
	}
	return all
}

// cluster is all functions, each behind a server of its own, and no dispatcher.
type cluster struct {
	t      *testing.T
	topic  topicInMemory
	stores *embedded.Stores
	urls   map[string]string
	offset int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	stores, err := embedded.Open(t.TempDir(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, stores: stores, urls: map[string]string{}}
	log, clock := slog.New(slog.DiscardHandler), function.SystemClock()
	var cfg settings
	if err := function.Load([]string{"FOOTFALL_ADMIN_TOKEN=admin"}, nil, &cfg.ingest, &cfg.archive, &cfg.transform, &cfg.etl, &cfg.summary, &cfg.report, &cfg.merchant); err != nil {
		t.Fatal(err)
	}
	collect, err := ingest.New(cfg.ingest, ingest.Ports{Journal: stores.Journal, Publisher: &c.topic, Registry: stores.Registry, Clock: clock, Log: log, Meter: noop.Meter{}})
	if err != nil {
		t.Fatal(err)
	}
	keep, err := archive.New(cfg.archive, stores.Archive, stores.Journal, clock, log)
	if err != nil {
		t.Fatal(err)
	}
	transformation, err := transform.New(cfg.transform, stores.Registry, clock, log, noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	process, err := etl.New(cfg.etl, transformation, stores.Processed, stores.Journal)
	if err != nil {
		t.Fatal(err)
	}
	closing, err := summary.New(cfg.summary, summary.Ports{Journal: stores.Journal, Revisions: stores.Revisions, Processed: stores.Processed, Visitors: stores.Visitors,
		Summaries: stores.Summaries, Registry: stores.Registry, Publisher: &c.topic, Clock: clock, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	answer := report.New(cfg.report, report.Ports{Registry: stores.Registry, Revisions: stores.Revisions, Journal: stores.Journal, Processed: stores.Processed, Summaries: stores.Summaries,
		History: history.New(stores.Processed, stores.Visitors, history.Options{})}, clock)
	merchants := merchant.New(stores.Registry, stores.Processed, stores.Revisions, stores.Erasures, access.NewAuthorizer("admin", stores.Registry), clock)
	for _, f := range []function.Function{collect.Function(), keep.Function(), process.Function(), closing.Function(), answer.Function(), merchants.Function()} {
		mux := http.NewServeMux()
		if err := function.Mount(mux, function.EventOptions{Log: log}, f); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(mux)
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetHTTP1(true)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		t.Cleanup(srv.Close)
		c.urls[f.Name] = srv.URL
	}
	t.Cleanup(func() {
		if err := collect.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cluster) do(client *http.Client, method, url string, h http.Header, body []byte) (int, []byte) {
	c.t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if h != nil {
		req.Header = h
	}
	res, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, answer
}

// deliver posts a record to a function twice, as at-least-once means, over
// HTTP/1.1 and over HTTP/2 without TLS; both must end in an empty 2xx.
func (c *cluster) deliver(service, path string, m broker.Message) {
	c.t.Helper()
	c.offset++
	for _, h2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!h2)
		protocols.SetUnencryptedHTTP2(h2)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		h, body := delivery(m, c.offset)
		status, answer := c.do(client, http.MethodPost, c.urls[service]+path, h, body)
		if status < 200 || status > 204 || len(answer) > 0 {
			c.t.Errorf("%s%s answered %d with %q, Knative takes only an empty 2xx for success", service, path, status, answer)
		}
		client.CloseIdleConnections()
	}
}

// tick is a PingSource's event as it comes out of the control Broker.
func (c *cluster) tick(name string) broker.Message {
	c.t.Helper()
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range w.Sources {
		if s.Name == name {
			e, err := s.Event("6f1b6c0e-"+name, time.Now())
			if err != nil {
				c.t.Fatal(err)
			}
			m, err := broker.Encode(&e)
			if err != nil {
				c.t.Fatal(err)
			}
			return m
		}
	}
	c.t.Fatalf("no source %q", name)
	return broker.Message{}
}

// An event's whole way with nothing but requests as Knative's receiver and
// dispatcher send them, each twice.
func TestFunctionsBehindKnativesDispatcher(t *testing.T) {
	c := newCluster(t)
	status, body := c.do(http.DefaultClient, http.MethodPost, c.urls["merchant"]+"/v1/merchants",
		http.Header{"Authorization": {"Bearer admin"}, "Content-Type": {"application/json"}}, []byte(`{"name":"m","time_zone":"UTC","currency":"EUR"}`))
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	var m struct {
		MerchantID  string `json:"merchant_id"`
		ReportToken string `json:"report_token"`
		Streams     []struct {
			MeasurementID string `json:"measurement_id"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	send := func(id string) []broker.Message {
		t.Helper()
		at := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
		status, body := c.do(http.DefaultClient, http.MethodPost, c.urls["ingest"]+"/events", http.Header{"Content-Type": {"application/cloudevents+json"}},
			[]byte(`{"specversion":"1.0","type":"footfall.event.v1","source":"/t","id":"`+id+`","time":"`+at+`","measurementid":"`+m.Streams[0].MeasurementID+`","data":{"name":"page_view","client_id":"anna","page":{"location":"https://shop.example/`+id+`"}}}`))
		if status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
		for {
			if records := c.topic.take(); len(records) > 0 {
				return records
			}
			time.Sleep(time.Millisecond)
		}
	}

	// A batch to its two consumers, the second of them in the other order, and
	// one without the key that a record has when it comes from elsewhere.
	first, second := send("one"), send("two")
	for _, r := range append(second, first...) {
		c.deliver("etl", "/batches", r)
	}
	for _, r := range append(first, second...) {
		keyless := r
		keyless.Headers = nil
		for _, h := range r.Headers {
			if h.Key != "ce_partitionkey" {
				keyless.Headers = append(keyless.Headers, h)
			}
		}
		c.deliver("archive", "/batches", keyless)
	}
	// A batch back from the dead, also to a journal that does not know it.
	third := send("three")
	batch, err := event.ParseBatchID(headerOf(third[0], "ce_id"))
	if err != nil {
		t.Fatal(err)
	}
	other := newCluster(t)
	other.deliver("ingest", "/dead-letters", deadLetter(third[0]))
	if payload, err := other.stores.Journal.Payload(t.Context(), batch); err != nil || !bytes.Equal(payload, third[0].Value) {
		t.Errorf("the journal did not take the dead letter: %v", err)
	}
	c.deliver("ingest", "/dead-letters", deadLetter(third[0]))
	c.deliver("etl", "/batches", deadLetter(third[0]))
	if stages, err := c.stores.Journal.Stages(t.Context(), batch); err != nil || stages&store.StageProcessed == 0 {
		t.Errorf("stages %b, %v", stages, err)
	}

	// Ticks, and the shards that one of them makes.
	c.deliver("ingest", "/ticks", c.tick("tick-journal"))
	c.deliver("archive", "/ticks", c.tick("tick-archive"))
	c.topic.take()
	c.deliver("summary", "/ticks", c.tick("tick-summary"))
	shards := c.topic.take()
	if len(shards) == 0 {
		t.Fatal("no shards")
	}
	for _, s := range shards {
		if headerOf(s, "ce_type") != event.TypeSummaryShard {
			t.Errorf("%s", headerOf(s, "ce_type"))
		}
		c.deliver("summary", "/shards", s)
	}

	status, body = c.do(http.DefaultClient, http.MethodGet, c.urls["report"]+"/v1/reports/"+m.MerchantID+"?metrics=views,users&from=yesterday&to=today",
		http.Header{"Authorization": {"Bearer " + m.ReportToken}, "Accept": {"text/csv"}}, nil)
	if status != http.StatusOK || !strings.Contains(string(body), "3,1") {
		t.Errorf("report: %d\n%s", status, body)
	}
}

// What a function refuses for good, it refuses in a way that makes Knative's
// dispatcher give up at once; and what is not for it to judge, it takes.
func TestRefusalsBehindKnativesDispatcher(t *testing.T) {
	c := newCluster(t)
	ping := c.tick("tick-summary")
	for _, x := range []struct {
		service, path string
		m             broker.Message
		status        int
	}{
		{"etl", "/batches", broker.Message{Headers: ping.Headers, Value: ping.Value}, 422},
		{"archive", "/batches", broker.Message{Headers: ping.Headers, Value: ping.Value}, 422},
		{"archive", "/ticks", ping, 422}, // a tick of another
		{"summary", "/shards", ping, 422},
		{"ingest", "/dead-letters", ping, 202}, // its dead letter sink is where it comes from
	} {
		h, body := delivery(x.m, 1)
		if status, answer := c.do(http.DefaultClient, http.MethodPost, c.urls[x.service]+x.path, h, body); status != x.status {
			t.Errorf("%s%s: %d %s, want %d", x.service, x.path, status, answer, x.status)
		}
	}
}

func headerOf(m broker.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
