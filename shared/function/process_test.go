package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/footfall/footfall/shared/fault"
)

// start serves functions on a free port until the returned stop is called.
func start(t *testing.T, w io.Writer, fns ...Function) (url string, p *Process, stop func() error) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	cfg.LogFormat = "json"
	cfg.AccessLog = true
	p, err := NewProcess(t.Context(), cfg, w)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := p.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, fns...) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return "http://" + addr.String(), p, stop
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestServe(t *testing.T) {
	var logged syncBuffer
	var unready error
	var mu sync.Mutex
	url, p, stop := start(t, &logged, Function{
		Name: "demo",
		Routes: func(mux *http.ServeMux) {
			mux.HandleFunc("GET /hello/{who}", func(w http.ResponseWriter, r *http.Request) {
				WriteJSON(w, http.StatusOK, map[string]string{"hello": r.PathValue("who"), "proto": r.Proto})
			})
			mux.HandleFunc("GET /away", func(w http.ResponseWriter, _ *http.Request) {
				WriteError(w, errors.New("dial tcp 10.1.2.3: refused"))
			})
			mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
		},
		Events: map[string]EventHandler{"/batches": func(context.Context, cloudevents.Event) error { return nil }},
		Ready:  func(context.Context) error { mu.Lock(); defer mu.Unlock(); return unready },
	})
	if code, body := get(t, http.DefaultClient, url+"/hello/you?email=a@b.c"); code != 200 || !strings.Contains(body, `"HTTP/1.1"`) {
		t.Errorf("hello: %d %s", code, body)
	}
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	if code, body := get(t, &http.Client{Transport: &http.Transport{Protocols: h2c}}, url+"/hello/you"); code != 200 || !strings.Contains(body, `"HTTP/2.0"`) {
		t.Errorf("hello over HTTP/2 without TLS: %d %s", code, body)
	}
	if code, body := get(t, http.DefaultClient, url+"/away"); code != 503 || strings.Contains(body, "10.1.2.3") {
		t.Errorf("away: %d %s", code, body)
	}
	if code, _ := get(t, http.DefaultClient, url+"/panic"); code != 500 {
		t.Errorf("panic: %d", code)
	}
	if code, _ := get(t, http.DefaultClient, url+LivenessPath); code != 200 {
		t.Errorf("liveness: %d", code)
	}
	if code, _ := get(t, http.DefaultClient, url+ReadinessPath); code != 200 {
		t.Errorf("readiness: %d", code)
	}
	mu.Lock()
	unready = errors.New("no store")
	mu.Unlock()
	if code, body := get(t, http.DefaultClient, url+ReadinessPath); code != 503 || !strings.Contains(body, `"not_ready":["demo"]`) {
		t.Errorf("readiness without a store: %d %s", code, body)
	}
	protocol, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(url + "/batches"))
	if err != nil {
		t.Fatal(err)
	}
	if result := protocol.Send(t.Context(), testEvent(t, nil)); !cloudevents.IsACK(result) {
		t.Errorf("event: %v", result)
	}
	counter, err := p.Telemetry.Meter("demo").Int64Counter("footfall.demo.things")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	code, metrics := get(t, http.DefaultClient, url+MetricsPath)
	for _, want := range []string{"go_goroutines", "footfall_demo_things_total 3", `footfall_event_duration_seconds_count{function="demo",outcome="ok"} 1`,
		`http_server_request_duration_seconds_count{http_response_status_code="200",http_route="GET /hello/{who}"} 2`} {
		if code != 200 || !strings.Contains(metrics, want) {
			t.Errorf("metrics: %d, no %q", code, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if log := logged.String(); !strings.Contains(log, "10.1.2.3") || !strings.Contains(log, "GET /hello/{who}") ||
		!strings.Contains(log, "boom") || strings.Contains(log, "a@b.c") {
		t.Errorf("log: %s", log)
	}
}

// A request under way ends before background work is stopped, and that before
// the functions close, one after the other.
func TestServeDrainsInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(s string) { mu.Lock(); defer mu.Unlock(); order = append(order, s) }
	entered, leave := make(chan struct{}), make(chan struct{})
	url, p, stop := start(t, io.Discard,
		Function{
			Name: "a",
			Routes: func(mux *http.ServeMux) {
				mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
					close(entered)
					<-leave
					note("answered")
					w.WriteHeader(http.StatusNoContent)
				})
			},
			Run:   func(ctx context.Context) error { <-ctx.Done(); note("run ended"); return nil },
			Close: func(context.Context) error { note("a closed"); return nil },
		},
		Function{Name: "b", Close: func(context.Context) error { note("b closed"); return nil }})
	slow := make(chan int)
	go func() { code, _ := get(t, http.DefaultClient, url+"/slow"); slow <- code }()
	<-entered
	ended := make(chan error)
	go func() { ended <- stop() }()
	for !p.draining.Load() { // set before the server stops to listen
		time.Sleep(time.Millisecond)
	}
	w := httptest.NewRecorder()
	p.readiness(nil)(w, httptest.NewRequest(http.MethodGet, ReadinessPath, nil))
	if w.Code != 503 {
		t.Errorf("readiness while draining: %d", w.Code)
	}
	close(leave)
	if code := <-slow; code != 204 {
		t.Errorf("slow request: %d", code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if want := []string{"answered", "run ended", "a closed", "b closed"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// A process that nobody talks to ends cleanly, whichever of draining and server
// closes its listener first.
func TestEndOfAQuietProcess(t *testing.T) {
	for range 50 {
		_, _, stop := start(t, io.Discard, Function{Name: "a"})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// Clients that know nothing of readiness and send request after request on the
// connections that they have: each request is answered, until the client is
// told to go and finds nobody listening.
func TestDrainCutsNoRequest(t *testing.T) {
	for name, length := range map[string]int64{"by net/http": -1, "by express": 1} {
		t.Run(name, func(t *testing.T) { drainCutsNoRequest(t, length) })
	}
}

func drainCutsNoRequest(t *testing.T, length int64) {
	var answered atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		answered.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}
	url, _, stop := start(t, io.Discard, Function{
		Name:    "a",
		Routes:  func(mux *http.ServeMux) { mux.HandleFunc("POST /x", handle) },
		Express: map[string]http.HandlerFunc{"/x": handle},
	})
	var clients sync.WaitGroup
	var sent atomic.Int64
	for i := range 16 {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(i%2 == 0)
		protocols.SetUnencryptedHTTP2(i%2 == 1)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		t.Cleanup(client.CloseIdleConnections)
		clients.Go(func() {
			for {
				// Not from a reader that could be read again: nothing is tried twice behind our back.
				req, err := http.NewRequest(http.MethodPost, url+"/x", io.MultiReader(strings.NewReader("x")))
				if err != nil {
					t.Error(err)
					return
				}
				req.ContentLength = length
				res, err := client.Do(req)
				var dial *net.OpError
				if errors.As(err, &dial) && dial.Op == "dial" {
					return // nobody listens: nothing was sent
				}
				if err != nil {
					t.Errorf("a request was cut: %v", err)
					return
				}
				res.Body.Close()
				sent.Add(1)
			}
		})
	}
	for answered.Load() < 1000 {
		time.Sleep(time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	clients.Wait()
	if sent.Load() != answered.Load() {
		t.Errorf("%d requests were answered, %d answers came", answered.Load(), sent.Load())
	}
}

// While it waits for quiet, a process takes requests and lets no probe pass.
func TestDrainWaitsForQuiet(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Addr, cfg.DrainQuiet, cfg.Grace = "127.0.0.1:0", 100*time.Millisecond, 10*time.Second
	p, err := NewProcess(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := p.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Serve(ctx, Function{Name: "a", Routes: func(mux *http.ServeMux) {
			mux.HandleFunc("GET /x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		}})
	}()
	url := "http://" + addr.String()
	if code, _ := get(t, http.DefaultClient, url+"/x"); code != 204 {
		t.Fatalf("status %d", code)
	}
	cancel()
	for !p.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	if code, _ := get(t, http.DefaultClient, url+ReadinessPath); code != 503 {
		t.Errorf("readiness while draining: %d", code)
	}
	if code, _ := get(t, http.DefaultClient, url+"/x"); code != 204 {
		t.Errorf("a late request: %d", code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeEndsWhenAFunctionFails(t *testing.T) {
	closed := false
	_, _, stop := start(t, io.Discard, Function{
		Name:  "a",
		Run:   func(context.Context) error { return errors.New("disk full") },
		Close: func(context.Context) error { closed = true; return nil },
	})
	if err := stop(); err == nil || !strings.Contains(err.Error(), `cannot go on with function "a": disk full`) || !closed {
		t.Errorf("got %v, closed %v", err, closed)
	}
}

func TestMountRefusesOverlap(t *testing.T) {
	route := func(mux *http.ServeMux) { mux.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {}) }
	err := Mount(http.NewServeMux(), EventOptions{}, Function{Name: "a", Routes: route}, Function{Name: "b", Routes: route})
	if err == nil || !strings.Contains(err.Error(), `cannot mount function "b"`) {
		t.Errorf("got %v", err)
	}
}

// Several functions in one process share no event path with the outside.
func TestEventPathsOfManyStayInside(t *testing.T) {
	events := map[string]EventHandler{"/batches": func(context.Context, cloudevents.Event) error { return nil }}
	a, b := Function{Name: "a", Events: events}, Function{Name: "b", Events: events}
	mux := http.NewServeMux()
	if err := Mount(mux, EventOptions{}, a, b); err != nil {
		t.Fatal(err)
	}
	post := func(h http.Handler) int {
		r := httptest.NewRequest(http.MethodPost, "/batches", strings.NewReader(`{"specversion":"1.0","id":"1","type":"t","source":"s"}`))
		r.Header.Set("Content-Type", "application/cloudevents+json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if got := post(mux); got != 404 {
		t.Errorf("from outside: %d, want 404", got)
	}
	if got := post(a.Subscribers(EventOptions{})); got != 202 {
		t.Errorf("through Subscribers: %d, want 202", got)
	}
}

// What a function stands on is served with it and does not hide its event
// paths; an address that is open to all has neither these nor the metrics.
func TestEventPathsOfOne(t *testing.T) {
	fns := []Function{
		{Name: "a", Events: map[string]EventHandler{"/batches": func(context.Context, cloudevents.Event) error { return nil }}},
		{Name: "store", Ready: func(context.Context) error { return nil }},
	}
	for public, want := range map[bool][2]int{false: {202, 200}, true: {404, 404}} {
		cfg := DefaultConfig()
		cfg.Public = public
		p, err := NewProcess(t.Context(), cfg, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		h, err := p.handler(fns)
		if err != nil {
			t.Fatal(err)
		}
		event := httptest.NewRequest(http.MethodPost, "/batches", strings.NewReader(`{"specversion":"1.0","id":"1","type":"t","source":"s"}`))
		event.Header.Set("Content-Type", "application/cloudevents+json")
		for i, r := range []*http.Request{event, httptest.NewRequest(http.MethodGet, MetricsPath, nil)} {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != want[i] {
				t.Errorf("public %v, %s: %d, want %d", public, r.URL.Path, w.Code, want[i])
			}
		}
	}
}

func TestWriteError(t *testing.T) {
	tests := []struct {
		err                        error
		status                     int
		kind, field, expected, msg string
		retryAfter                 string
	}{
		{fault.Field("metrics", "at least one"), 400, "invalid", "metrics", "at least one", "metrics: expected at least one", ""},
		{fmt.Errorf("cannot read: %w", fault.New(fault.NotFound, "no merchant %q", "m1")), 404, "not_found", "", "", `cannot read: no merchant "m1"`, ""},
		{&fault.Error{Kind: fault.Overloaded, RetryAfter: 1500 * time.Millisecond, Err: errors.New("full")}, 503, "overloaded", "", "", "full", "2"},
		{errors.New("secret address"), 503, "transient", "", "", "Footfall cannot do this right now; please try again", "1"},
		{fault.New(fault.Unauthenticated, "no token"), 401, "unauthenticated", "", "", "no token", ""},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		WriteError(w, tt.err)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		want := Problem{Title: http.StatusText(tt.status), Status: tt.status, Kind: tt.kind, Field: tt.field, Expected: tt.expected, Message: tt.msg}
		if w.Code != tt.status || p != want || w.Header().Get("Retry-After") != tt.retryAfter ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("got %d %+v %v, want %+v", w.Code, p, w.Header(), want)
		}
	}
}

func TestServerLogKeepsNoAddress(t *testing.T) {
	var b strings.Builder
	newServerLog(slog.New(slog.NewTextHandler(&b, nil))).Printf("http: bad request from 192.0.2.7:4711: odd header; [2001:db8::1]:80")
	if s := b.String(); strings.Contains(s, "192.0.2.7") || strings.Contains(s, "2001:db8") || !strings.Contains(s, "odd header") {
		t.Error(s)
	}
}
