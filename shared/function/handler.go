package function

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// Paths that every process serves.
const (
	LivenessPath  = "/health/liveness"
	ReadinessPath = "/health/readiness"
	MetricsPath   = "/metrics"
)

// health is the body of both probes.
type health struct {
	Ready    bool     `json:"ready"`
	Draining bool     `json:"draining,omitempty"`
	NotReady []string `json:"not_ready,omitempty"` // names of functions
}

// handler serves the functions with health and metrics.
func (p *Process) handler(fns []Function) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+LivenessPath, func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, health{Ready: true})
	})
	mux.HandleFunc("GET "+ReadinessPath, p.readiness(fns))
	if p.Config.Public {
		fns = slices.Clone(fns)
		for i := range fns {
			fns[i].Events = nil
		}
	} else {
		mux.Handle("GET "+MetricsPath, p.Telemetry.Handler())
	}
	if err := Mount(mux, EventOptions{Log: p.Log, Telemetry: p.Telemetry}, fns...); err != nil {
		return nil, err
	}
	return p.observe(withExpress(mux, fns)), nil
}

// withExpress serves what came by express, which is known by its Pattern:
// everything else gets that from the mux.
func withExpress(mux http.Handler, fns []Function) http.Handler {
	express := map[string]http.HandlerFunc{}
	for _, f := range fns {
		maps.Copy(express, f.Express)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := express[r.Pattern]; h != nil {
			h(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// probe answers the kubelet, whatever path it asks for.
func (p *Process) probe(fns []Function) http.HandlerFunc {
	readiness := p.readiness(fns)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == LivenessPath {
			WriteJSON(w, http.StatusOK, health{Ready: true})
			return
		}
		readiness(w, r)
	}
}

func (p *Process) readiness(fns []Function) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := health{Draining: p.draining.Load()}
		if !h.Draining {
			h.NotReady = p.ready(r.Context(), fns)
		}
		h.Ready = !h.Draining && len(h.NotReady) == 0
		status := http.StatusOK
		if !h.Ready {
			status = http.StatusServiceUnavailable
		}
		WriteJSON(w, status, h)
	}
}

// observe measures requests, turns panics into 500, and logs faults of ours,
// and every request where the configuration asks for it. It logs nothing about
// the sender: no address, no agent, no query.
func (p *Process) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		if p.draining.Load() {
			// The last answer on this connection: its client goes elsewhere
			// instead of sending into one that is about to be closed.
			w.Header().Set("Connection", "close")
		}
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
					panic(v)
				}
				p.Log.Error("request panicked", "route", r.Pattern, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				if rec.status != 0 {
					panic(http.ErrAbortHandler) // half an answer is out: cut the connection
				}
				writeJSON(rec, http.StatusInternalServerError, "application/problem+json", Problem{
					Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError,
					Kind: fault.Transient.String(), Message: "Footfall met a fault of its own; it is logged",
				})
			}
			p.finish(r, rec, time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

func (p *Process) finish(r *http.Request, rec *recorder, d time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	p.Telemetry.request(r.Context(), r.Pattern, status, d)
	if rec.err != nil {
		p.Log.Warn("request failed", "route", r.Pattern, "status", status, "error", rec.err)
	}
	if p.Config.AccessLog {
		p.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", slog.String("method", r.Method),
			slog.String("route", r.Pattern), slog.Int("status", status), slog.Duration("duration", d))
	}
}

// recorder remembers the status of an answer and the error behind it.
type recorder struct {
	http.ResponseWriter
	status int
	err    error
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the server's writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) noteError(err error) { r.err = err }

// newServerLog is net/http's own log with addresses taken out.
func newServerLog(l *slog.Logger) *log.Logger { return log.New(serverLog{l}, "", 0) }

type serverLog struct{ log *slog.Logger }

func (s serverLog) Write(line []byte) (int, error) {
	words := strings.Fields(string(line))
	for i, w := range words {
		if isAddress(strings.TrimRight(w, ":;,")) {
			words[i] = redacted
		}
	}
	s.log.Warn("http server", "message", strings.Join(words, " "))
	return len(line), nil
}

func isAddress(s string) bool {
	if _, err := netip.ParseAddrPort(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}
