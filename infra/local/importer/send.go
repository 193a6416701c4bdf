package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// receipt is ingest's answer to a batch of events.
type receipt struct {
	Accepted int64 `json:"accepted"`
	Rejected []struct {
		Index  int    `json:"index"`
		ID     string `json:"id"`
		Field  string `json:"field"`
		Reason string `json:"reason"`
	} `json:"rejected"`
}

// eachEvent reports whether events were rejected one by one, and not the
// request as a whole, which has the index -1.
func (r *receipt) eachEvent() bool {
	for _, e := range r.Rejected {
		if e.Index < 0 {
			return false
		}
	}
	return len(r.Rejected) > 0
}

// Back-off between tries of one batch: from the first to the longest, doubled
// each time, half of it random so that many importers do not come together.
const (
	firstWait     = 200 * time.Millisecond
	longestWait   = 30 * time.Second
	requestTime   = 30 * time.Second // of one try
	maxAnswer     = 4 << 20          // bytes of an answer
	maxAnswerTold = 200              // of these, bytes that an error repeats
)

// sender posts events to a running Footfall.
type sender struct {
	client *http.Client
	url    string // of POST /events
	secret string
	tries  time.Duration // how long a batch is tried
	wait   func(ctx context.Context, d time.Duration) error
	notify func(err error, wait time.Duration) // before each wait
}

// send posts events until they are answered for good: with a receipt, or with
// an error that trying again does not mend.
func (s *sender) send(ctx context.Context, events [][]byte) (receipt, error) {
	body := batchOf(events)
	wait, spent := firstWait, time.Duration(0)
	for {
		r, retryAfter, err := s.try(ctx, body)
		if err == nil || retryAfter < 0 || ctx.Err() != nil {
			return r, err
		}
		if spent >= s.tries {
			return r, fmt.Errorf("gave up after %s: %w", spent.Round(time.Second), err)
		}
		pause := max(retryAfter, wait/2+rand.N(wait/2)) //nolint:gosec // spreads load, keeps no secret
		s.notify(err, pause)
		if err := s.wait(ctx, pause); err != nil {
			return r, err
		}
		spent += pause
		wait = min(2*wait, longestWait)
	}
}

// final says that another try would not help.
const final = time.Duration(-1)

// try posts once. With an error comes how long the server asked to wait before
// another try (0: it did not say), or final.
func (s *sender) try(ctx context.Context, body []byte) (receipt, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return receipt{}, final, fmt.Errorf("cannot send events to %q: %w", s.url, err)
	}
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Authorization", "Bearer "+s.secret)
	res, err := s.client.Do(req)
	if err != nil {
		return receipt{}, 0, fmt.Errorf("cannot send events: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return receipt{}, 0, fmt.Errorf("cannot read the answer: %w", err)
	}
	var r receipt
	parsed := json.Unmarshal(answer, &r) == nil
	told := answer[:min(len(answer), maxAnswerTold)]
	switch code := res.StatusCode; {
	case code >= 200 && code < 300 && parsed:
		return r, 0, nil
	case (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity) && r.eachEvent():
		return r, 0, nil // all were rejected, each for its own reason
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return r, retryAfter(res.Header, time.Now()), fmt.Errorf("the server answered %s: %s", res.Status, told)
	default:
		return r, final, fmt.Errorf("cannot send events to %q: the server answered %s: %s", s.url, res.Status, told)
	}
}

// retryAfter reads the header's seconds or date; 0 where it says nothing. More
// than an hour is taken for an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(n, 3600)) * time.Second
	} else if t, err := http.ParseTime(text); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// batchOf is a JSON array of events.
func batchOf(events [][]byte) []byte {
	n := 2
	for _, e := range events {
		n += len(e) + 1
	}
	b := make([]byte, 0, n)
	b = append(b, '[')
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']')
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
