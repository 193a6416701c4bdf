package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Request is what is sent to POST /events at once.
type Request struct {
	Body   []byte
	Agent  string    // of its sender; "" is Go's own
	Single bool      // one event in structured form, and not a batch
	Valid  int       // of its events are to be accepted; AnyValid where nobody counted
	Due    time.Time // from where on its latency counts
}

// AnyValid is the Valid of a request of which a part may be refused.
const AnyValid = -1

// The content types of the two ways to send.
const (
	ContentTypeBatch  = "application/cloudevents-batch+json"
	ContentTypeSingle = "application/cloudevents+json"
)

// Sender posts requests over a bounded number of connections. It sends as a good
// sender does: what is refused for a time, or breaks off, is sent again with the
// same ids until it is accepted.
type Sender struct {
	// Batches is told the ids of the batches that each answer names, where it is
	// set; from several goroutines at once.
	Batches func(ids []string)

	url         string
	connections int
	client      *http.Client

	requests, accepted, events, refused, broken atomic.Int64
}

// Outcome is what became of requests so far.
type Outcome struct {
	Requests int64 // sent, each time counted
	Accepted int64 // answered for good
	Events   int64 // accepted, by the receipts
	Refused  int64 // for a time: answered with 503 or 429
	Broken   int64 // without an answer, or with 502 by what stands between
}

// Add adds what became of others.
func (o *Outcome) Add(p Outcome) {
	o.Requests += p.Requests
	o.Accepted += p.Accepted
	o.Events += p.Events
	o.Refused += p.Refused
	o.Broken += p.Broken
}

// SentAgain is true where a request was sent more than once: then more events
// may have been accepted than receipts say, and found to be duplicates.
func (o Outcome) SentAgain() bool { return o.Refused+o.Broken > 0 }

// NewSender makes a sender to a system's URL.
func NewSender(url string, connections int) *Sender {
	return &Sender{url: url + "/events", connections: connections, client: &http.Client{
		Timeout:   60 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}}
}

// Outcome is what became of all that was sent.
func (s *Sender) Outcome() Outcome {
	return Outcome{
		Requests: s.requests.Load(), Accepted: s.accepted.Load(), Events: s.events.Load(),
		Refused: s.refused.Load(), Broken: s.broken.Load(),
	}
}

// Close gives up the connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Post sends a request until it is accepted, or refused for good where nothing of
// it is valid. Any other answer is an error, and so is a receipt that speaks of
// other events than it holds.
func (s *Sender) Post(ctx context.Context, r *Request) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s.requests.Add(1)
		status, header, answer, err := s.once(ctx, r)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil, status == http.StatusBadGateway:
			s.broken.Add(1)
		case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
			seconds, err := strconv.Atoi(header.Get("Retry-After"))
			if err != nil || seconds < 1 {
				return fmt.Errorf("POST /events: a %d with Retry-After %q: %.300s", status, header.Get("Retry-After"), answer)
			}
			s.refused.Add(1)
			wait = max(wait, time.Duration(seconds)*time.Second)
		case status == http.StatusAccepted && r.Valid != 0, status/100 == 4 && r.Valid == 0:
			return s.receipt(r, answer)
		default:
			return fmt.Errorf("POST /events: unexpected status %d for %d valid events: %.300s", status, r.Valid, answer)
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

func (s *Sender) receipt(r *Request, answer []byte) error {
	var receipt struct {
		BatchIDs []string `json:"batch_ids"`
		Accepted int      `json:"accepted"`
	}
	if err := json.Unmarshal(answer, &receipt); err != nil {
		return fmt.Errorf("POST /events: cannot read the receipt %.300q: %w", answer, err)
	}
	if r.Valid != AnyValid && receipt.Accepted != r.Valid || receipt.Accepted > 0 && len(receipt.BatchIDs) == 0 {
		return fmt.Errorf("POST /events: expected %d events accepted, got %.300s", r.Valid, answer)
	}
	s.accepted.Add(1)
	s.events.Add(int64(receipt.Accepted))
	if s.Batches != nil {
		s.Batches(receipt.BatchIDs)
	}
	return nil
}

func (s *Sender) once(ctx context.Context, r *Request) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(r.Body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", ContentTypeBatch)
	if r.Single {
		req.Header.Set("Content-Type", ContentTypeSingle)
	}
	if r.Agent != "" {
		req.Header.Set("User-Agent", r.Agent)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// PostAll sends requests as fast as the system takes them, until there are no
// more or one fails.
func (s *Sender) PostAll(ctx context.Context, requests <-chan Request) error {
	group, ctx := errgroup.WithContext(ctx)
	for range s.connections {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case r, more := <-requests:
					if !more {
						return nil
					}
					if err := s.Post(ctx, &r); err != nil {
						return err
					}
				}
			}
		})
	}
	return group.Wait()
}

// PostMix sends requests of n events of a mix (0: single ones) as fast as the
// system takes them, each at the instant that at gives it by its number, as long
// as more says so.
func (s *Sender) PostMix(ctx context.Context, mix *Mix, n int, at func(request int) time.Time, more func(request int) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	requests := make(chan Request, 2*s.connections)
	group.Go(func() error {
		defer close(requests)
		for i := 0; more(i); i++ {
			select {
			case requests <- mix.Request(nil, at(i), n):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error { return s.PostAll(ctx, requests) })
	return group.Wait()
}
