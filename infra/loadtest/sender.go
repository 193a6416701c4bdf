package loadtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sender posts bodies to POST /events over a bounded number of connections.
type Sender struct {
	URL         string
	Connections int
	client      *http.Client
}

// NewSender makes a sender to a system's URL.
func NewSender(url string, connections int) *Sender {
	return &Sender{URL: url, Connections: connections, client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}}
}

// Post sends one body until it is accepted; 503 and broken connections are
// tried again with the same ids, for that is what a good sender does. Any
// other answer is an error.
func (s *Sender) Post(ctx context.Context, contentType string, body []byte) error {
	return s.PostAs(ctx, "", contentType, body)
}

// PostAs is Post by a visitor with an agent; "" is Go's own.
func (s *Sender) PostAs(ctx context.Context, agent, contentType string, body []byte) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		status, retryAfter, err := s.once(ctx, agent, contentType, body)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && status == http.StatusAccepted:
			return nil
		case err == nil && status != http.StatusServiceUnavailable:
			return fmt.Errorf("POST /events: unexpected status %d", status)
		}
		pause := time.NewTimer(max(wait, retryAfter))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (s *Sender) once(ctx context.Context, agent, contentType string, body []byte) (status int, retryAfter time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/events", bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", contentType)
	if agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if seconds, bad := strconv.Atoi(resp.Header.Get("Retry-After")); bad == nil {
		retryAfter = time.Duration(seconds) * time.Second
	}
	return resp.StatusCode, retryAfter, err
}

// The content types of the two ways to send.
const (
	ContentTypeBatch  = "application/cloudevents-batch+json"
	ContentTypeSingle = "application/cloudevents+json"
)

// PostAll sends bodies as fast as the system takes them.
func (s *Sender) PostAll(ctx context.Context, contentType string, bodies <-chan []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range s.Connections {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case body, more := <-bodies:
					if !more {
						return
					}
					if err := s.Post(ctx, contentType, body); err != nil {
						cancel(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// PostMix sends requests of n events of a mix as fast as the system takes them,
// each at the instant that at gives it by its number, as long as more says so.
func (s *Sender) PostMix(ctx context.Context, mix *Mix, n int, at func(request int) time.Time, more func(request int) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	type made struct {
		body  []byte
		agent string
	}
	bodies := make(chan made, 2*s.Connections)
	group.Go(func() error {
		defer close(bodies)
		for i := 0; more(i); i++ {
			var m made
			m.body, m.agent, _ = mix.Request(make([]byte, 0, 700*n), at(i), n)
			select {
			case bodies <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range s.Connections {
		group.Go(func() error {
			for m := range bodies {
				if err := s.PostAs(ctx, m.agent, ContentTypeBatch, m.body); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
