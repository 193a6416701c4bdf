package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// LoadOptions shape a steady load.
type LoadOptions struct {
	TrafficOptions
	Rate        float64 // requests a second, as long as the connections suffice
	Events      int     // of one request
	Connections int
}

// Load sends traffic at a steady pace, whatever becomes of it, and keeps the
// truth: what was accepted, and in which batches. A request that is refused or
// breaks off is sent again with the same ids until it is accepted, as a good
// sender does, so that in the end every event was.
type Load struct {
	options LoadOptions
	url     string
	client  *http.Client
	bodies  chan []byte
	stop    context.CancelFunc
	ended   chan struct{}
	truth   []Truth // the pacing goroutine's, until it has ended

	mu      sync.Mutex
	outcome Outcome
	failed  error
}

// Outcome is what became of a load.
type Outcome struct {
	Truth    []Truth         // by stream
	Batches  map[string]bool // ids of the batches that hold what was accepted
	Requests int64           // sent, each time counted
	Accepted int64           // answered with 202
	Refused  int64           // answered with 503
	Broken   int64           // without an answer, or with 502 by what stands between
	Slowest  time.Duration   // of the accepted ones, from sending to the answer
}

// Events is how many events were accepted, each id once.
func (o *Outcome) Events() int64 {
	var n int64
	for _, t := range o.Truth {
		n += t.Events
	}
	return n
}

// StartLoad begins to send to a system's URL.
func StartLoad(ctx context.Context, url string, o LoadOptions) *Load {
	pacing, stop := context.WithCancel(ctx)
	l := &Load{
		options: o, url: url + "/events", stop: stop, ended: make(chan struct{}), bodies: make(chan []byte),
		truth: make([]Truth, len(o.Streams)), outcome: Outcome{Batches: map[string]bool{}},
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: o.Connections, MaxConnsPerHost: o.Connections}},
	}
	go l.pace(pacing)
	var senders sync.WaitGroup
	for range o.Connections {
		senders.Go(func() {
			for body := range l.bodies {
				if err := l.send(ctx, body); err != nil {
					l.fail(err)
				}
			}
		})
	}
	go func() {
		senders.Wait()
		l.client.CloseIdleConnections()
		close(l.ended)
	}()
	return l
}

// pace hands out a body at each beat. While all connections are busy it waits
// and goes on at the same pace: it does not pile up what it could not send.
func (l *Load) pace(ctx context.Context) {
	defer close(l.bodies)
	traffic := NewTraffic(l.options.TrafficOptions)
	beat := time.NewTicker(time.Duration(float64(time.Second) / l.options.Rate))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		select {
		case <-ctx.Done():
			return
		case l.bodies <- traffic.AppendBatch(nil, l.options.Events, l.truth):
		}
	}
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// send sends one body until it is accepted.
func (l *Load) send(ctx context.Context, body []byte) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		began := time.Now()
		status, header, answer, err := l.post(ctx, body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.mu.Lock()
		l.outcome.Requests++
		switch {
		case err != nil, status == http.StatusBadGateway:
			l.outcome.Broken++
		case status == http.StatusServiceUnavailable:
			l.outcome.Refused++
		}
		l.mu.Unlock()
		switch {
		case err != nil, status == http.StatusBadGateway:
		case status == http.StatusServiceUnavailable:
			seconds, err := strconv.Atoi(header.Get("Retry-After"))
			if err != nil || seconds < 1 {
				return fmt.Errorf("POST /events: a 503 with Retry-After %q", header.Get("Retry-After"))
			}
			wait = max(wait, time.Duration(seconds)*time.Second)
		case status == http.StatusAccepted:
			return l.accepted(answer, time.Since(began))
		default:
			return fmt.Errorf("POST /events: unexpected status %d: %s", status, answer)
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (l *Load) accepted(answer []byte, took time.Duration) error {
	var receipt struct {
		BatchIDs []string `json:"batch_ids"`
		Accepted int      `json:"accepted"`
	}
	if err := json.Unmarshal(answer, &receipt); err != nil {
		return fmt.Errorf("POST /events: cannot read the receipt %q: %w", answer, err)
	}
	if receipt.Accepted != l.options.Events || len(receipt.BatchIDs) == 0 {
		return fmt.Errorf("POST /events: expected %d accepted, got %s", l.options.Events, answer)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcome.Accepted++
	l.outcome.Slowest = max(l.outcome.Slowest, took)
	for _, id := range receipt.BatchIDs {
		l.outcome.Batches[id] = true
	}
	return nil
}

func (l *Load) post(ctx context.Context, body []byte) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", ContentTypeBatch)
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// SoFar is what has become of it up to now, without Truth.
func (l *Load) SoFar() Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.outcome
	o.Batches = nil
	return o
}

// Stop ends the pace, waits until everything that was begun is accepted, and
// returns what became of it.
func (l *Load) Stop(ctx context.Context) (Outcome, error) {
	l.stop()
	select {
	case <-l.ended:
	case <-ctx.Done():
		return l.SoFar(), fmt.Errorf("not everything was accepted: %w", ctx.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.outcome
	o.Truth = l.truth
	return o, l.failed
}
