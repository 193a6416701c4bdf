package http_test

import (
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/http"
	"github.com/footfall/footfall/shared/fault"
)

func event(id, key string) cloudevents.Event {
	e := cloudevents.New()
	e.SetID(id)
	e.SetType("t")
	e.SetSource("s")
	if key != "" {
		e.SetExtension("partitionkey", key)
	}
	if err := e.SetData("text/plain", []byte("data of "+id)); err != nil {
		panic(err)
	}
	return e
}

func TestPublish(t *testing.T) {
	var mu sync.Mutex
	byKey := map[string][]string{}
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e, err := broker.ReadHTTP(r.Header, body)
		if err != nil || r.Method != "POST" || r.URL.Path != "/footfall/batches" || string(e.Data()) != "data of "+e.ID() {
			t.Errorf("%s %s: %v, %v", r.Method, r.URL, e, err)
		}
		mu.Lock()
		key, _ := e.Extensions()["partitionkey"].(string)
		byKey[key] = append(byKey[key], e.ID())
		mu.Unlock()
		w.WriteHeader(202)
	}))
	defer srv.Close()
	p, err := http.New(http.Config{URLs: map[string]string{"batches": srv.URL + "/footfall/batches"}})
	if err != nil {
		t.Fatal(err)
	}
	var events []cloudevents.Event
	for i := range 90 {
		events = append(events, event(fmt.Sprintf("%02d", i), []string{"", "a", "b"}[i%3]))
	}
	if err := p.Publish(t.Context(), "batches", events...); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "a", "b"} {
		if len(byKey[key]) != 30 || key != "" && !slices.IsSorted(byKey[key]) {
			t.Errorf("key %q: %v", key, byKey[key])
		}
	}
	if err := p.Publish(t.Context(), "other", events[0]); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown broker: %v", err)
	}
	if err := p.Publish(t.Context(), "batches", cloudevents.New()); !fault.Is(err, fault.Invalid) {
		t.Errorf("no event: %v", err)
	}
	if err := p.Publish(t.Context(), "batches"); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	for status, want := range map[int]fault.Kind{
		301: fault.Invalid, 400: fault.Invalid, 401: fault.Invalid, 404: fault.Transient, 408: fault.Transient, 409: fault.Transient,
		413: fault.TooLarge, 429: fault.Overloaded, 500: fault.Transient, 503: fault.Transient,
	} {
		srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		p, err := http.New(http.Config{URLs: map[string]string{"b": srv.URL}})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Publish(t.Context(), "b", event("1", ""))
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != want || f.RetryAfter != 7*time.Second {
			t.Errorf("%d: %v", status, err)
		}
		srv.Close()
		if err := p.Publish(t.Context(), "b", event("1", "")); !fault.Is(err, fault.Transient) {
			t.Errorf("server away: %v", err)
		}
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	p, err := http.New(http.Config{URLs: map[string]string{"b": srv.URL}, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), "b", event("1", "")); !fault.Is(err, fault.Transient) {
		t.Errorf("%v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []http.Config{{URLs: map[string]string{"b": "broker"}}, {URLs: map[string]string{"b": "ftp://h/"}}, {Timeout: -1}, {Concurrency: -1}} {
		if _, err := http.New(cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
