package cluster

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/function"
)

// server is an instance whose answers a test decides.
type server struct {
	*httptest.Server
	ready atomic.Bool
	took  atomic.Int64
	heard func(http.ResponseWriter, *http.Request)
}

func newServer(t *testing.T, addr string) *server {
	t.Helper()
	s := &server{}
	s.ready.Store(true)
	s.heard = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("took "), body...))
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == function.ReadinessPath {
			if !s.ready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		s.took.Add(1)
		s.heard(w, r)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newPool(t *testing.T, servers ...*server) *Pool {
	t.Helper()
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.URL
	}
	p, err := NewPool("test", urls, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	await(t, p, len(servers))
	return p
}

func await(t *testing.T, p *Pool, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for p.Ready() > n {
		if ctx.Err() != nil {
			t.Fatalf("expected %d ready instances, got %d", n, p.Ready())
		}
		time.Sleep(time.Millisecond)
	}
	if err := p.Await(ctx, n); err != nil {
		t.Fatal(err)
	}
}

func ask(p http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(body)))
	return w
}

func TestRequestsAreSpread(t *testing.T) {
	a, b := newServer(t, "127.0.0.1:0"), newServer(t, "127.0.0.1:0")
	p := newPool(t, a, b)
	for range 10 {
		if w := ask(p, "this"); w.Code != 200 || w.Body.String() != "took this" {
			t.Fatalf("got %d %q", w.Code, w.Body)
		}
	}
	if a.took.Load() != 5 || b.took.Load() != 5 {
		t.Fatalf("expected five each, got %d and %d", a.took.Load(), b.took.Load())
	}
}

// An instance that refuses connections costs no request, and gets requests
// again when it is back.
func TestAnInstanceGoesAndComes(t *testing.T) {
	a, b := newServer(t, "127.0.0.1:0"), newServer(t, "127.0.0.1:0")
	p := newPool(t, a, b)
	addr := a.Listener.Addr().String()
	a.Close()
	for range 10 {
		if w := ask(p, "that"); w.Code != 200 || w.Body.String() != "took that" {
			t.Fatalf("got %d %q", w.Code, w.Body)
		}
	}
	if p.Ready() != 1 || b.took.Load() != 10 {
		t.Fatalf("expected all at the one that is left, got %d of it, %d ready", b.took.Load(), p.Ready())
	}
	a = newServer(t, addr)
	await(t, p, 2)
	ask(p, "")
	ask(p, "")
	if a.took.Load() != 1 {
		t.Fatalf("expected one of two at the instance that is back, got %d", a.took.Load())
	}
}

// What says that it is not ready gets nothing, and with none left the answer
// says when to come again.
func TestReadinessDecides(t *testing.T) {
	a, b := newServer(t, "127.0.0.1:0"), newServer(t, "127.0.0.1:0")
	p := newPool(t, a, b)
	a.ready.Store(false)
	await(t, p, 1)
	ask(p, "")
	if a.took.Load() != 0 || b.took.Load() != 1 {
		t.Fatalf("expected it at the ready one, got %d and %d", a.took.Load(), b.took.Load())
	}
	b.ready.Store(false)
	await(t, p, 0)
	if w := ask(p, ""); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Fatalf("expected 503 with Retry-After, got %d %v", w.Code, w.Header())
	}
}

// A request that an instance may have done is not given to another.
func TestABrokenRequestIsNotRepeated(t *testing.T) {
	a, b := newServer(t, "127.0.0.1:0"), newServer(t, "127.0.0.1:0")
	cut := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		panic(http.ErrAbortHandler)
	}
	a.heard, b.heard = cut, cut
	p := newPool(t, a, b)
	if w := ask(p, "once"); w.Code != http.StatusBadGateway {
		t.Fatalf("expected 502, got %d", w.Code)
	}
	if n := a.took.Load() + b.took.Load(); n != 1 {
		t.Fatalf("expected it once, got %d", n)
	}
}

// Functions see who asked, and a program on this machine as one.
func TestForwarding(t *testing.T) {
	a := newServer(t, "127.0.0.1:0")
	var heard http.Header
	a.heard = func(_ http.ResponseWriter, r *http.Request) { heard = r.Header.Clone() }
	p := newPool(t, a)
	for _, c := range []struct{ peer, before, want string }{
		{"127.0.0.1:1", "", ""},
		{"198.51.100.7:1", "", "198.51.100.7"},
		{"127.0.0.1:1", "203.0.113.9", "203.0.113.9, 127.0.0.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.before != "" {
			r.Header.Set("X-Forwarded-For", c.before)
		}
		p.ServeHTTP(httptest.NewRecorder(), r)
		if got := strings.Join(heard["X-Forwarded-For"], ", "); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
