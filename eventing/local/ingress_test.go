package local

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

// published is a Broker of which a test says whether it takes events.
type published struct {
	events []cloudevents.Event
	err    error
}

func (p *published) Publish(_ context.Context, _ string, events ...cloudevents.Event) error {
	if p.err == nil {
		p.events = append(p.events, events...)
	}
	return p.err
}

func TestIngress(t *testing.T) {
	binary := map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "e1", "Ce-Type": "t", "Ce-Source": "/s", "Content-Type": "text/plain"}
	structured := map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8"}
	without := func(name string) map[string]string {
		m := map[string]string{}
		for k, v := range binary {
			if k != name {
				m[k] = v
			}
		}
		return m
	}
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		body               string
		err                error
		want               int
		retryAfter         string
	}{
		{name: "binary", header: binary, body: "hello", want: 202},
		{name: "binary without data", header: binary, want: 202},
		{name: "structured", header: structured, body: `{"specversion":"1.0","id":"e1","type":"t","source":"/s","data":{"a":1}}`, want: 202},
		{name: "unknown broker", path: "/brokers/other", header: binary, want: 404},
		{name: "method", method: "PUT", header: binary, want: 405},
		{name: "no event", header: map[string]string{"Content-Type": "application/json"}, body: "{}", want: 400},
		{name: "without id", header: without("Ce-Id"), want: 400},
		{name: "without type", header: without("Ce-Type"), want: 400},
		{name: "without source", header: without("Ce-Source"), want: 400},
		{name: "broken structured", header: structured, body: `{"specversion":"1.0"`, want: 400},
		{name: "batch", header: map[string]string{"Content-Type": "application/cloudevents-batch+json"}, body: "[]", want: 400},
		{name: "too large a body", header: binary, body: strings.Repeat("x", 1<<20+1), want: 503},
		{name: "too large a message", header: binary, err: fault.New(fault.TooLarge, "too large"), want: 503},
		{name: "broker away", header: binary, err: errors.New("no leader"), want: 503, retryAfter: "1"},
		{name: "broker full", header: binary, err: &fault.Error{Kind: fault.Overloaded, RetryAfter: 2500 * time.Millisecond}, want: 503, retryAfter: "3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &published{err: c.err}
			in := NewIngress(IngressConfig{Brokers: []string{"batches"}, Publisher: p})
			if c.method == "" {
				c.method = http.MethodPost
			}
			if c.path == "" {
				c.path = "/brokers/batches"
			}
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			in.ServeHTTP(w, r)
			if w.Code != c.want || w.Header().Get("Retry-After") != c.retryAfter {
				t.Fatalf("status %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			if c.want == 202 && (w.Body.Len() != 0 || len(p.events) != 1 || p.events[0].ID() != "e1") {
				t.Errorf("body %q, events %v", w.Body, p.events)
			}
			if c.want != 202 && w.Body.Len() == 0 {
				t.Error("no reason")
			}
		})
	}
}

func TestListing(t *testing.T) {
	w := newWorld(t, 2, trigger())
	w.http["sub"] = &inbox{answer: status(422)}
	d := w.start()
	w.publish(event("e1", ""))
	w.idle(d)
	in := NewIngress(IngressConfig{Status: d.Status})
	rec := httptest.NewRecorder()
	in.ServeHTTP(rec, httptest.NewRequest("GET", "/brokers", nil))
	var got struct{ Brokers []BrokerStatus }
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	tr := got.Brokers[0].Triggers[0]
	if tr.DeadLetters != 1 || tr.Partitions != 2 || tr.Subscriber != "http://sub.footfall.svc.cluster.local/in" || tr.DeadLetter != "kafkasink dead" ||
		tr.LastFailure.Status != 422 || tr.LastFailure.ID != "e1" {
		t.Errorf("%s", rec.Body)
	}
}
