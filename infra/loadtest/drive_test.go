package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// accepting answers as ingest does, when answer lets it; answer may answer by
// itself, and says so.
func accepting(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) *Process {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if answer(w, r) {
			return
		}
		n := 1
		if r.Header.Get("Content-Type") == ContentTypeBatch {
			var events []json.RawMessage
			if err := json.Unmarshal(body, &events); err != nil {
				t.Error(err)
			}
			n = len(events)
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"batch_ids":["b"],"accepted":%d}`, n)
	}))
	t.Cleanup(server.Close)
	return &Process{URL: server.URL}
}

// valid is traffic of which nothing is refused.
func valid(seed uint64) MixOptions {
	return MixOptions{Seed: seed, Streams: mixStreams(3), Duplicates: 0.1}
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !until() {
		select {
		case <-pause.C:
		case <-deadline.C:
			t.Fatal("waited in vain: ", what)
		}
	}
}

// A server that stands still is seen in the latencies of all requests that were
// due meanwhile, and not only of those that its connections had room for.
func TestLatencyCountsFromWhenItWasDue(t *testing.T) {
	gate := make(chan struct{})
	p := accepting(t, func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	truth := NewTruths()
	began := time.Now()
	d := p.StartDrive(t.Context(), nil, DriveOptions{Mix: valid(1), Rate: 2000, Batch: 10, Writers: 2}, truth)
	wait(t, "80 requests", func() bool { return truth.Accepted() >= 800 })
	stood := time.Since(began)
	stopped := make(chan error, 1)
	d.stop()
	go func() { stopped <- d.Stop() }()
	close(gate)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if p50, most := d.Writes.Quantile(50), d.Writes.Quantile(100); p50 < stood/4 || most < stood*9/10 {
		t.Errorf("p50 %v, greatest %v, when nothing was answered for %v", p50, most, stood)
	}
	if o := d.Outcome(); o.Events != truth.Accepted() || o.SentAgain() {
		t.Errorf("%+v, %d events made", o, truth.Accepted())
	}
}

// While nothing is answered, no more is made than has room, the loop says how
// far it is behind, and what was due then counts from then on.
func TestBacklogIsBounded(t *testing.T) {
	gate := make(chan struct{})
	p := accepting(t, func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	truth := NewTruths()
	d := p.StartDrive(t.Context(), nil, DriveOptions{Mix: valid(2), Rate: 2000, Batch: 10, Writers: 2, Backlog: 4}, truth)
	const behind = 100 * time.Millisecond
	wait(t, "a loop that is behind", func() bool { return d.Behind() > behind })
	const room = 2 + 4 + 1 // with the writers, waiting, and in the loop's hand
	if n := truth.Accepted(); n > 10*room {
		t.Errorf("%d events made, room for %d", n, 10*room)
	}
	close(gate)
	wait(t, "a loop that has caught up", func() bool { return d.Behind() < behind/10 })
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	// At 200 a second, 20 were due in that time, of which all but a few had no room.
	if n := d.Outcome().Accepted; n < 20 {
		t.Errorf("%d requests: what was due was left out", n)
	}
	if p := d.Writes.Quantile(100); p < behind*9/10 {
		t.Errorf("greatest latency %v", p)
	}
}

// With Skip what had no room is left out.
func TestSkip(t *testing.T) {
	gate := make(chan struct{})
	p := accepting(t, func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	truth := NewTruths()
	d := p.StartDrive(t.Context(), nil, DriveOptions{Mix: valid(2), Rate: 10_000, Batch: 10, Writers: 1, Backlog: 1, Skip: true}, truth)
	wait(t, "a loop that is behind", func() bool { return d.Behind() > 200*time.Millisecond }) // of 200 requests
	d.stop()
	close(gate)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := d.Outcome().Accepted; n > 10 {
		t.Errorf("%d requests", n)
	}
}

// What is refused for a time or breaks off is sent again, the same to the byte;
// any other answer ends it.
func TestSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		first func(w http.ResponseWriter)
		want  Outcome
		fails string
	}{
		"bad gateway":             {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, Outcome{Requests: 2, Accepted: 1, Events: 5, Broken: 1}, ""},
		"broken off":              {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, Outcome{Requests: 2, Accepted: 1, Events: 5, Broken: 1}, ""},
		"full":                    {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); w.WriteHeader(503) }, Outcome{Requests: 2, Accepted: 1, Events: 5, Refused: 1}, ""},
		"full without an instant": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, Outcome{Requests: 1}, "Retry-After"},
		"refused":                 {func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnprocessableEntity) }, Outcome{Requests: 1}, "422"},
		"one forgotten": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"batch_ids":["b"],"accepted":4}`)
		}, Outcome{Requests: 1}, "expected 5 events"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			p := accepting(t, func(w http.ResponseWriter, _ *http.Request) bool {
				if seen.Add(1) > 1 {
					return false
				}
				c.first(w)
				return true
			})
			sender := NewSender(p.URL, 1)
			r := NewMix(valid(3), NewTruths()).Request(nil, mixStart, 5)
			err := sender.Post(t.Context(), &r)
			if got := sender.Outcome(); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%v, want %q", err, c.fails)
			}
		})
	}
}

// An error of a sender or a reader is the drive's.
func TestDriveFails(t *testing.T) {
	p := accepting(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusTeapot)
		}
		return r.Method == http.MethodGet
	})
	merchants := make([]Merchant, 3)
	d := p.StartDrive(t.Context(), merchants, DriveOptions{Mix: valid(4), Rate: 100, Reports: 100}, NewTruths())
	wait(t, "an error", func() bool { return d.Failed() != nil })
	if err := d.Stop(); !strings.Contains(err.Error(), "418") {
		t.Error(err)
	}
	d = p.StartDrive(t.Context(), merchants, DriveOptions{Mix: valid(4), Reports: 1, Ask: "why"}, NewTruths())
	wait(t, "an error", func() bool { return d.Failed() != nil })
	if err := d.Stop(); !strings.Contains(err.Error(), `"why"`) {
		t.Error(err)
	}
}
