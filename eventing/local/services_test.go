package local

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// The same handlers answer the same in process and over a socket.
func TestInProcessAnswersAsAServerDoes(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"nocontent": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"text":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") },
		"echo": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Path", r.URL.Path)
			w.Header().Set("X-Query", r.URL.RawQuery)
			w.Header().Set("X-Uri", r.RequestURI)
			w.Header().Set("X-In", r.Header.Get("X-In"))
			w.WriteHeader(207)
			w.Header().Set("X-Late", "1")
			w.WriteHeader(500)
			_, _ = io.Copy(w, r.Body)
		},
		"early": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(102); w.WriteHeader(201) },
		"abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) {
			p := NewInProcess("ns", map[string]http.Handler{"fn": h}, nil)
			base, transport, err := p.Resolve("fn")
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewUnstartedServer(h)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a second WriteHeader is part of the test
			srv.Start()
			defer srv.Close()
			do := func(rt http.RoundTripper, base string) (string, error) {
				req, err := http.NewRequest("POST", base+"/a/b?c=d", strings.NewReader("data"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-In", "in")
				res, err := rt.RoundTrip(req)
				if err != nil {
					return "", errors.New("broken")
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				h := res.Header
				return strings.Join([]string{res.Status, string(body), h.Get("Content-Type"), h.Get("X-Path"), h.Get("X-Query"), h.Get("X-Uri"), h.Get("X-In"), h.Get("X-Late")}, "|"), err
			}
			got, gotErr := do(transport, base.String())
			want, wantErr := do(srv.Client().Transport, srv.URL)
			if got != want || (gotErr == nil) != (wantErr == nil) {
				t.Errorf("in process %q %v, over a socket %q %v", got, gotErr, want, wantErr)
			}
		})
	}
}

func TestInProcessLimits(t *testing.T) {
	var got error
	p := NewInProcess("ns", map[string]http.Handler{
		"body": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, got = io.ReadAll(r.Body)
			w.WriteHeader(202)
		}),
		"answer": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = w.Write(make([]byte, 1<<19))
			}
		}),
		"panic": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }),
		"slow":  http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	}, nil)
	do := func(ctx context.Context, name, body string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+name+".ns.svc.cluster.local/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return p.RoundTrip(req)
	}
	ctx := t.Context()
	var tooLarge *http.MaxBytesError
	if _, err := do(ctx, "body", strings.Repeat("x", 1<<20+1)); err != nil || !errors.As(got, &tooLarge) {
		t.Errorf("large body: %v, %v", err, got)
	}
	if _, err := do(ctx, "answer", ""); err == nil {
		t.Error("a large answer passed")
	}
	if res, err := do(ctx, "panic", ""); err != nil || res.StatusCode != 500 {
		t.Errorf("panic: %v, %v", res, err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := do(short, "slow", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	if _, err := do(ctx, "other", ""); err == nil {
		t.Error("an unknown host answered")
	}
	if _, _, err := p.Resolve("other"); !fault.Is(err, fault.NotFound) {
		t.Errorf("resolve: %v", err)
	}
}

func TestJoin(t *testing.T) {
	for _, c := range [][3]string{
		{"http://h", "/batches", "http://h/batches"}, {"http://h", "/", "http://h/"}, {"http://h", "", "http://h/"},
		{"http://h/base/", "/a/b?c=d", "http://h/base/a/b?c=d"}, {"http://h/base", "/a%2Fb", "http://h/base/a%2Fb"},
	} {
		base, err := url.Parse(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := join(base, c[1]); err != nil || got != c[2] {
			t.Errorf("join(%s, %s) = %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
}
