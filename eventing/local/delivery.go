package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/kafka"
)

// What a Knative dispatcher adds to events: where a record came from on every
// delivery, and on a dead letter why it is one.
const (
	extPartition = "knativekafkapartition"
	extOffset    = "knativekafkaoffset"
	extErrorDest = "knativeerrordest"
	extErrorCode = "knativeerrorcode"
	extErrorData = "knativeerrordata"

	errorHeader   = "Kne-" // of an answer: becomes an extension of the dead letter
	maxErrorData  = 1024   // bytes of the answer's body, before base64
	maxAnswerBody = 1 << 20
)

// answer is what a target said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// target takes one event once. An error means that no answer came.
type target interface {
	send(ctx context.Context, e *cloudevents.Event) (*answer, error)
	String() string
}

// httpTarget POSTs events in binary mode.
type httpTarget struct {
	url       string
	namespace string
	transport http.RoundTripper
	request   *http.Request // template
}

func newHTTPTarget(url, namespace string, transport http.RoundTripper) (*httpTarget, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, nil) // each delivery brings its own
	if err != nil {
		return nil, fmt.Errorf("cannot make requests to %q: %w", url, err)
	}
	return &httpTarget{url: url, namespace: namespace, transport: transport, request: req}, nil
}

func (t *httpTarget) String() string { return t.url }

func (t *httpTarget) send(ctx context.Context, e *cloudevents.Event) (*answer, error) {
	req := t.request.WithContext(ctx)
	req.Header = make(http.Header, 16)
	if err := broker.WriteHTTP(req.Header, e); err != nil {
		return nil, err
	}
	req.Header["Prefer"] = []string{"reply"}
	req.Header["Kn-Namespace"] = []string{t.namespace}
	if len(e.DataEncoded) > 0 {
		data := e.DataEncoded
		req.Body = io.NopCloser(bytes.NewReader(data))
		req.ContentLength = int64(len(data))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	// The transport and not a client: a redirect is an answer like any other.
	res, err := t.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, header: res.Header}
	if res.Body != http.NoBody {
		a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswerBody+1))
		if err != nil {
			return nil, err
		}
		if len(a.body) > maxAnswerBody {
			return nil, fmt.Errorf("cannot read the answer of %q: it is over %d bytes", t.url, maxAnswerBody)
		}
	}
	return a, nil
}

// topicTarget puts events into a topic: a KafkaSink's or a Broker's.
type topicTarget struct {
	name       string
	topic      string
	structured bool
	client     *kafka.Client
}

func (t *topicTarget) String() string { return t.name }

func (t *topicTarget) send(ctx context.Context, e *cloudevents.Event) (*answer, error) {
	m, err := broker.Encode(e)
	if err != nil {
		return nil, err
	}
	if t.structured {
		body, err := e.MarshalJSON()
		if err != nil {
			return nil, err
		}
		m.Value = body
		m.Headers = []broker.Header{{Key: "content-type", Value: []byte(cloudevents.ApplicationCloudEventsJSON)}}
	}
	if err := t.client.Produce(ctx, t.topic, m); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusAccepted}, nil
}

// outcome is how a delivery to a target, with its retries, ended.
type outcome uint8

const (
	delivered outcome = iota
	failed
	aborted // shut down before it was decided: the event comes again
)

// courier delivers the events of one Trigger.
type courier struct {
	subscriber target
	deadLetter target // nil: none
	reply      target // the Trigger's own Broker
	delivery   eventing.Delivery
	faults     *faults
	stats      *stats
}

// deliver takes an event through subscriber, retries, reply and dead letter.
// ctx ends what is under way; stopping ends what has not begun: pauses and
// further attempts. It reports whether the event is settled, which it is even
// where it was lost.
func (c *courier) deliver(ctx context.Context, stopping <-chan struct{}, e *cloudevents.Event, partition int, offset int64) bool {
	v1, ok := e.Context.(*cloudevents.EventContextV1)
	if !ok {
		v1 = e.Context.AsV1()
		e.Context = v1
	}
	setExtension(v1, extPartition, strconv.Itoa(partition))
	setExtension(v1, extOffset, strconv.FormatInt(offset, 10))

	begin := time.Now()
	how, a, err := c.attempt(ctx, stopping, c.subscriber, e, true)
	if how == delivered {
		how, err = c.handleAnswer(ctx, stopping, a)
		if how == failed {
			a = nil // as Knative: the status was no failure, so that it is not told
		}
	}
	switch how {
	case delivered:
		c.stats.delivered(time.Since(begin))
		return true
	case aborted:
		return false
	}
	if c.deadLetter == nil {
		c.stats.lost(e, c.subscriber.String(), a, err)
		return true
	}
	letter := c.letter(v1, e, a)
	how, da, derr := c.attempt(ctx, stopping, c.deadLetter, letter, false)
	if how == delivered {
		how, derr = c.handleAnswer(ctx, stopping, da)
	}
	switch how {
	case delivered:
		c.stats.deadLettered(e, c.subscriber.String(), a, err)
		return true
	case aborted:
		return false
	}
	c.stats.lost(e, c.deadLetter.String(), da, derr)
	return true
}

// attempt sends until an answer below 300 comes, one comes that a retry cannot
// help, or the retries are used up.
func (c *courier) attempt(ctx context.Context, stopping <-chan struct{}, t target, e *cloudevents.Event, subscriber bool) (outcome, *answer, error) {
	for n := 0; ; n++ {
		select {
		case <-stopping:
			return aborted, nil, nil
		default:
		}
		a, err := c.once(ctx, t, e, subscriber)
		if err == nil && a.status < 300 {
			return delivered, a, nil
		}
		if ctx.Err() != nil { // the attempt was cut, which says nothing of the target
			return aborted, nil, ctx.Err()
		}
		if err == nil && !retryable(a.status) || n >= c.delivery.Retry {
			return failed, a, err
		}
		c.stats.retried()
		if !wait(ctx, stopping, c.delivery.Pause(n+1)) {
			return aborted, nil, nil
		}
	}
}

// once is one attempt within the Trigger's timeout, with the faults that a test
// has asked for.
func (c *courier) once(ctx context.Context, t target, e *cloudevents.Event, subscriber bool) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.delivery.Timeout)
	defer cancel()
	if subscriber && c.faults != nil {
		return c.faults.send(ctx, t, e)
	}
	return t.send(ctx, e)
}

// retryable is the rule of Knative's data plane: 5xx, and the 4xx that may pass.
func retryable(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

var errForeignBody = errors.New("the answer has a body that is no CloudEvent")

// handleAnswer publishes the event that a 2xx answer may hold to the Trigger's
// Broker. A body that is none fails the delivery, without retry.
func (c *courier) handleAnswer(ctx context.Context, stopping <-chan struct{}, a *answer) (outcome, error) {
	if len(a.body) == 0 && !broker.IsHTTPEvent(a.header) {
		return delivered, nil
	}
	e, err := broker.ReadHTTP(a.header, a.body)
	if err != nil {
		if len(a.body) == 0 {
			return delivered, nil
		}
		return failed, fmt.Errorf("%w: %w", errForeignBody, err)
	}
	select {
	case <-stopping:
		return aborted, nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, c.delivery.Timeout)
	defer cancel()
	if _, err := c.reply.send(ctx, &e); err != nil {
		return failed, fmt.Errorf("cannot publish the reply: %w", err)
	}
	return delivered, nil
}

// letter is a copy of the event with the reason why it is dead.
func (c *courier) letter(v1 *cloudevents.EventContextV1, e *cloudevents.Event, a *answer) *cloudevents.Event {
	ctx := v1.Clone().(*cloudevents.EventContextV1)
	setExtension(ctx, extErrorDest, c.subscriber.String())
	if a != nil {
		setExtension(ctx, extErrorCode, strconv.Itoa(a.status))
		for name, values := range a.header {
			if ext, ok := strings.CutPrefix(name, errorHeader); ok && len(values) > 0 {
				if ext = strings.ToLower(ext); isExtensionName(ext) {
					setExtension(ctx, ext, values[0])
				}
			}
		}
		if len(a.body) > 0 {
			setExtension(ctx, extErrorData, base64.StdEncoding.EncodeToString(a.body[:min(len(a.body), maxErrorData)]))
		}
	}
	return &cloudevents.Event{Context: ctx, DataEncoded: e.DataEncoded, DataBase64: e.DataBase64}
}

func isExtensionName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func setExtension(c *cloudevents.EventContextV1, name, value string) {
	if c.Extensions == nil {
		c.Extensions = make(map[string]any, 2)
	}
	c.Extensions[name] = value
}

// wait reports false when it was cut short.
func wait(ctx context.Context, stopping <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stopping:
		return false
	case <-ctx.Done():
		return false
	}
}
