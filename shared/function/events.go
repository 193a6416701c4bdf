package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/footfall/footfall/shared/fault"
)

// EventOptions bounds and names a receiver of events. Zero values mean the
// defaults stated here.
type EventOptions struct {
	Name        string        // of the function, for logs
	MaxBytes    int64         // of a request's body: 2 MiB
	MaxInFlight int           // deliveries handled at once, more get 503: 256
	Timeout     time.Duration // of one delivery, below the Trigger's own: 25 s
	Log         *slog.Logger  // slog.Default() where nil
	Telemetry   *Telemetry    // measures every delivery where not nil
}

const usualTimeout = 25 * time.Second

func (o EventOptions) withDefaults() EventOptions {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 2 << 20
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 256
	}
	if o.Timeout <= 0 {
		o.Timeout = usualTimeout
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Events serves h to a Broker over HTTP: CloudEvents in binary and structured
// mode. Answers, as a Knative dispatcher understands them:
//
//	202, empty   h returned nil
//	503          h failed for now, or too many deliveries are under way: retry
//	422          h says that it will never work: dead letter at once
//	400          not a CloudEvent: dead letter
//	413          the body is over MaxBytes: dead letter
//	405          not a POST
//	500          h panicked: retry
//
// Answers of 4xx and 5xx carry {"error": {"kind", "field", "expected",
// "message"}}, which a dead letter keeps as knativeerrordata.
func Events(h EventHandler, opts EventOptions) http.Handler {
	opts = opts.withDefaults()
	if opts.Telemetry != nil {
		h = opts.Telemetry.Instrument(opts.Name, h)
	}
	return &receiver{handle: h, opts: opts, slots: make(chan struct{}, opts.MaxInFlight)}
}

type receiver struct {
	handle EventHandler
	opts   EventOptions
	slots  chan struct{}

	mu     sync.Mutex
	told   time.Time // when the last refused delivery was logged
	untold int       // refused since, and not logged
}

// complainEvery is how often one path logs a delivery that a later one may
// mend: while a store is away there are hundreds of the same.
const complainEvery = time.Second

// complain logs a refused delivery. One that is refused for good is always
// logged.
func (rc *receiver) complain(ctx context.Context, path string, e cloudevents.Event, status int, err error) {
	attrs := []slog.Attr{
		slog.String("function", rc.opts.Name), slog.String("path", path), slog.String("type", e.Type()),
		slog.String("id", e.ID()), slog.Int("status", status), slog.String("error", err.Error()),
	}
	if status >= http.StatusInternalServerError {
		rc.mu.Lock()
		now := time.Now()
		if now.Sub(rc.told) < complainEvery {
			rc.untold++
			rc.mu.Unlock()
			return
		}
		if rc.untold > 0 {
			attrs = append(attrs, slog.Int("untold", rc.untold))
		}
		rc.told, rc.untold = now, 0
		rc.mu.Unlock()
	}
	rc.opts.Log.LogAttrs(ctx, slog.LevelWarn, "event not handled", attrs...)
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeBrokerError(w, http.StatusMethodNotAllowed, fault.New(fault.Unsupported, "cannot take method %q: expected POST", r.Method))
		return
	}
	select {
	case rc.slots <- struct{}{}:
		defer func() { <-rc.slots }()
	default:
		writeBrokerError(w, http.StatusServiceUnavailable,
			fault.New(fault.Overloaded, "cannot take event: %d deliveries are under way", rc.opts.MaxInFlight))
		return
	}
	e, err := readEvent(w, r, rc.opts.MaxBytes)
	if err != nil {
		status := http.StatusBadRequest
		switch fault.KindOf(err) {
		case fault.TooLarge:
			status = http.StatusRequestEntityTooLarge
		case fault.Transient: // the body broke off
			status = http.StatusServiceUnavailable
		}
		writeBrokerError(w, status, err)
		return
	}
	if rc.opts.Timeout > usualTimeout {
		// The server's own deadline for answers is for people's requests. A
		// connection that has none (in process, in tests) needs no change.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rc.opts.Timeout + 5*time.Second))
	}
	ctx, cancel := context.WithTimeout(r.Context(), rc.opts.Timeout)
	defer cancel()
	err, panicked := rc.call(ctx, e)
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	status := fault.KindOf(err).BrokerStatus()
	if panicked {
		status = http.StatusInternalServerError
	}
	rc.complain(ctx, r.URL.Path, e, status, err)
	writeBrokerError(w, status, err)
}

// call runs the handler; a panic becomes an error that another delivery may
// not meet, for a poisoned event ends as a dead letter after its retries.
func (rc *receiver) call(ctx context.Context, e cloudevents.Event) (err error, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			rc.opts.Log.LogAttrs(ctx, slog.LevelError, "handler panicked",
				slog.String("function", rc.opts.Name), slog.String("type", e.Type()), slog.String("id", e.ID()),
				slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
			err, panicked = fault.New(fault.Transient, "cannot handle event %q: the handler panicked", e.ID()), true
		}
	}()
	return rc.handle(ctx, e), false
}

// readEvent reads a CloudEvent of at most limit bytes. Errors: TooLarge,
// Transient (the connection broke), Invalid (no CloudEvent).
func readEvent(w http.ResponseWriter, r *http.Request, limit int64) (cloudevents.Event, error) {
	body, err := readBody(w, r, limit)
	if err != nil {
		return cloudevents.Event{}, err
	}
	msg := cehttp.NewMessage(r.Header, nil)
	binary := msg.ReadEncoding() == binding.EncodingBinary
	switch {
	case binary:
		// The data is the body as it is: no need to copy it once more.
	case msg.ReadEncoding() == binding.EncodingStructured:
		msg.BodyReader = io.NopCloser(bytes.NewReader(body))
	default:
		return cloudevents.Event{}, fault.New(fault.Invalid, "cannot read event: the request is no CloudEvent in binary or structured mode")
	}
	e, err := binding.ToEvent(r.Context(), msg)
	if err != nil {
		return cloudevents.Event{}, fault.New(fault.Invalid, "cannot read event: %w", err)
	}
	if binary && len(body) > 0 {
		e.DataEncoded = body
	}
	if err := e.Validate(); err != nil {
		return cloudevents.Event{}, fault.New(fault.Invalid, "cannot read event %q: %w", e.ID(), err)
	}
	return *e, nil
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fault.New(fault.TooLarge, "cannot read event: expected at most %d bytes, got %d", limit, r.ContentLength)
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead) // ReadFrom wants room to meet the end
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, fault.New(fault.TooLarge, "cannot read event: expected at most %d bytes", limit)
		}
		return nil, fault.New(fault.Transient, "cannot read event: %w", err)
	}
	return buf.Bytes(), nil
}

// brokerError is the body of a refused delivery.
type brokerError struct {
	Error brokerErrorDetail `json:"error"`
}

type brokerErrorDetail struct {
	Kind     string `json:"kind"`
	Field    string `json:"field,omitempty"`
	Expected string `json:"expected,omitempty"`
	Message  string `json:"message"`
}

func writeBrokerError(w http.ResponseWriter, status int, err error) {
	d := brokerErrorDetail{Kind: fault.KindOf(err).String(), Message: err.Error()}
	var f *fault.Error
	if errors.As(err, &f) {
		d.Field, d.Expected = f.Field, f.Expected
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
	}
	body, jsonErr := json.Marshal(brokerError{d})
	if jsonErr != nil { // strings always encode
		body = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
