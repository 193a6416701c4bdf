// Package http publishes events by POST to a Broker's URL, as Knative's
// receiver takes them: one event per request, in binary mode, 202 when it is
// in the Broker's topic.
package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
)

// Config names the Brokers' URLs. Zero values mean the defaults.
type Config struct {
	URLs        map[string]string // Broker's name → its URL
	Timeout     time.Duration     // of one request; default 10 s
	Concurrency int               // requests at a time of one Publish; default 8
	// MaxEventBytes is the largest data that is sent; default 1 MiB less room
	// for attributes. A receiver answers 503 to what its Kafka takes for too
	// large, and it would be sent again for ever.
	MaxEventBytes int
	Transport     http.RoundTripper // default: a pool of Concurrency connections per host
}

const defaultEventBytes = 1<<20 - 16<<10

// Publisher implements broker.Publisher over HTTP.
type Publisher struct {
	cfg    Config
	client *http.Client
}

var _ broker.Publisher = (*Publisher)(nil)

// New makes a publisher; it reports all faults of the configuration.
func New(cfg Config) (*Publisher, error) {
	var errs []error
	cfg.URLs = maps.Clone(cfg.URLs)
	for name, raw := range cfg.URLs {
		if u, err := url.Parse(raw); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, &fault.Error{Kind: fault.Invalid, Field: "url of broker " + name, Expected: "an absolute http or https URL", Err: err})
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	if cfg.MaxEventBytes == 0 {
		cfg.MaxEventBytes = defaultEventBytes
	}
	if cfg.Timeout < 0 || cfg.Concurrency < 0 || cfg.MaxEventBytes < 0 {
		errs = append(errs, fault.Field("timeout, concurrency, max_event_bytes", "positive values"))
	}
	if cfg.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = cfg.Concurrency
		cfg.Transport = t
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cannot make an HTTP publisher: %w", err)
	}
	return &Publisher{cfg: cfg, client: &http.Client{
		Transport: cfg.Transport,
		// A redirect would turn the POST into a GET or lose the event.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Publish implements broker.Publisher: one request per event, several at a
// time. Events of one partition key keep their order, for they are sent one
// after the other.
func (p *Publisher) Publish(ctx context.Context, name string, events ...cloudevents.Event) error {
	target, ok := p.cfg.URLs[name]
	if !ok {
		return fault.New(fault.Invalid, "cannot publish to broker %q: no such broker", name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lanes := make([][]int, min(p.cfg.Concurrency, len(events)))
	for i := range events {
		l := i % len(lanes)
		if key, ok := events[i].Extensions()[broker.ExtensionPartitionKey].(string); ok {
			l = lane(key, len(lanes))
		}
		lanes[l] = append(lanes[l], i)
	}
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, indices := range lanes {
		if len(indices) == 0 {
			continue
		}
		wg.Go(func() {
			for _, i := range indices {
				if err := p.post(ctx, name, target, &events[i]); err != nil {
					once.Do(func() { first = err })
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

func lane(key string, n int) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return int(h % uint32(n))
}

func (p *Publisher) post(ctx context.Context, name, target string, e *cloudevents.Event) error {
	if n := len(e.DataEncoded); n > p.cfg.MaxEventBytes {
		return fault.New(fault.TooLarge, "cannot publish event %q to broker %q: it has %d bytes, the limit is %d", e.ID(), name, n, p.cfg.MaxEventBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(e.DataEncoded))
	if err != nil {
		return fault.New(fault.Invalid, "cannot publish to broker %q: %w", name, err)
	}
	if err := broker.WriteHTTP(req.Header, e); err != nil {
		return fault.New(fault.Invalid, "cannot publish to broker %q: %w", name, err)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return fault.New(fault.Transient, "cannot publish to broker %q: %w", name, err)
	}
	defer res.Body.Close()
	// Read a little so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	if res.StatusCode < 300 {
		return nil
	}
	e2 := &fault.Error{Kind: kindOf(res.StatusCode), Err: fmt.Errorf("cannot publish to broker %q: it answered %s", name, res.Status)}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e2.RetryAfter = time.Duration(s) * time.Second
	}
	return e2
}

// kindOf follows the Broker's own rule: 5xx, 404, 408, 409 and 429 may pass
// (a Broker that is being made answers 404), every other answer stays.
func kindOf(status int) fault.Kind {
	switch {
	case status >= 500, status == http.StatusNotFound, status == http.StatusRequestTimeout, status == http.StatusConflict:
		return fault.Transient
	case status == http.StatusTooManyRequests:
		return fault.Overloaded
	case status == http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	default:
		return fault.Invalid
	}
}
