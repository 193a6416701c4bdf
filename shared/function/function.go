package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// Clock tells the time. The pure middle takes instants; what stands around it
// takes a Clock, so that tests and scenarios set the time.
type Clock func() time.Time

// SystemClock is the machine's clock.
func SystemClock() Clock { return time.Now }

// EventHandler takes one CloudEvent from a Broker. nil means that the event's
// effect is durable and it need not come again; the kind of a *fault.Error
// says whether another delivery would help. Events arrive more than once and
// in any order. The context carries the deadline of the delivery.
type EventHandler func(ctx context.Context, e cloudevents.Event) error

// Function is one deployable function as its runner sees it. Only Name must
// be set. The zero values of the rest mean: none.
type Function struct {
	Name string // "ingest", as in the folder's name
	// Routes adds what people and browsers call ("POST /events"). Patterns
	// must not overlap with those of another function: the local runner
	// serves all functions on one port.
	Routes func(mux *http.ServeMux)
	// Express are paths of Routes whose POST requests ("/events"), and patterns with a
	// wildcard at their end whose GET requests ("GET /v1/reports/{merchant_id}") come in
	// such numbers that what net/http spends on each is much of its price. Their handlers
	// answer in one piece and keep nothing of the request. A GET's context ends within
	// some seconds of its connection's end, a POST's tells nothing of it.
	Express map[string]http.HandlerFunc
	// Events are the subscribers that Triggers name: path ("/batches") to
	// handler. A process in which one function has any serves them beside its
	// routes (unless Config.Public); a process of several such functions does
	// not, because paths repeat: its dispatcher goes through Subscribers.
	Events map[string]EventHandler
	// Deadlines are those of event paths whose deliveries take longer than
	// EventOptions.Timeout. Each is below the timeout of the Trigger that
	// names the path, or the Broker gives up first.
	Deadlines map[string]time.Duration
	// Ready is the truth about readiness: nil when the function can do its
	// work now. It is asked often and must be quick.
	Ready func(ctx context.Context) error
	// Run does background work until ctx is done and then returns nil. An
	// error before that stops the process.
	Run func(ctx context.Context) error
	// Close drains and releases: it is called once, after the last request
	// was answered and Run has returned.
	Close func(ctx context.Context) error
}

// Subscribers serves the function's event paths, as its process does. opts
// applies to each; opts.Name is set to the function's.
func (f Function) Subscribers(opts EventOptions) http.Handler {
	mux := http.NewServeMux()
	f.subscribe(mux, opts)
	return mux
}

// Deadline is how long a delivery to an event path may take.
func (f Function) Deadline(path string) time.Duration {
	if d := f.Deadlines[path]; d > 0 {
		return d
	}
	return usualTimeout
}

func (f Function) subscribe(mux *http.ServeMux, opts EventOptions) {
	opts.Name = f.Name
	for path, h := range f.Events {
		o := opts
		if o.Timeout == 0 || f.Deadlines[path] > 0 {
			o.Timeout = f.Deadline(path)
		}
		mux.Handle(path, Events(h, o))
	}
}

// expressPaths are all that functions have.
func expressPaths(fns []Function) (paths []string) {
	for _, f := range fns {
		for path := range f.Express {
			paths = append(paths, path)
		}
	}
	return paths
}

// Mount adds the routes of functions to mux, and where only one of them has
// event paths those, too: the others are what it stands on. It fails where two
// patterns overlap or one is malformed.
func Mount(mux *http.ServeMux, opts EventOptions, fns ...Function) error {
	subscribers := 0
	for _, f := range fns {
		if len(f.Events) > 0 {
			subscribers++
		}
	}
	for _, f := range fns {
		if err := f.mount(mux, opts, subscribers == 1); err != nil {
			return err
		}
	}
	return nil
}

func (f Function) mount(mux *http.ServeMux, opts EventOptions, lone bool) (err error) {
	// ServeMux panics on a bad or overlapping pattern, which is right for
	// a literal and wrong for a set of functions put together at start.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot mount function %q: %v", f.Name, p)
		}
	}()
	if f.Name == "" {
		return errors.New("cannot mount a function without a name")
	}
	if f.Routes != nil {
		f.Routes(mux)
	}
	if lone {
		f.subscribe(mux, opts)
	}
	return nil
}
