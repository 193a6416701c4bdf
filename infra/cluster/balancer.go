package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

const (
	// probeEvery is how often an instance that is ready is asked whether it
	// still is, which costs its stores a question each time; that it is gone,
	// a refused connection tells at once. One that is away is asked more often.
	probeEvery     = 2 * time.Second
	probeAwayEvery = 200 * time.Millisecond
	// probeFailures in a row take an instance that answers out, as Kubernetes'
	// failureThreshold does: one that is slow for a moment is not gone.
	probeFailures = 3
	// probeTimeout is longer than a function takes to find out that a store
	// does not answer.
	probeTimeout = 3 * time.Second
	dialTimeout  = 2 * time.Second
	// idleConnections are kept open to an instance: as many as a dispatcher's
	// Triggers and a load generator use at once.
	idleConnections = 256
)

// Pool spreads the requests for one function over its instances, as the
// cluster's own balancer does: to those that say they are ready, one after the
// other. A request whose connection is refused goes to the next instance,
// because nothing of it was sent; one that breaks off later is the sender's to
// send again, because the instance may have done it.
type Pool struct {
	name      string
	instances []*instance
	turn      atomic.Uint64
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	log       *slog.Logger

	mu      sync.Mutex
	changes chan struct{} // closed and renewed when an instance comes or goes
}

// instance is one process of the function.
type instance struct {
	name  string
	url   *url.URL
	ready atomic.Bool
	ask   chan struct{} // it refused a connection: ask it soon whether it is back
}

// NewPool makes a pool of instances, by name, at base URLs. None is ready
// before Run has asked it.
func NewPool(name string, urls []string, log *slog.Logger) (*Pool, error) {
	p := &Pool{
		name: name, log: log, changes: make(chan struct{}),
		transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConnsPerHost:   idleConnections,
			IdleConnTimeout:       time.Minute,
			ExpectContinueTimeout: time.Second,
			DisableCompression:    true, // bodies go through as they are
		},
	}
	for i, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("cannot balance %s: expected an absolute URL, got %q", name, raw)
		}
		p.instances = append(p.instances, &instance{name: fmt.Sprintf("%s-%d", name, i+1), url: u, ask: make(chan struct{}, 1)})
	}
	p.proxy = &httputil.ReverseProxy{
		Rewrite: forward, Transport: p, ErrorHandler: p.fail, FlushInterval: -1,
		BufferPool: &buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		ErrorLog:   slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *Pool) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.proxy.ServeHTTP(w, r) }

// forward tells the function whose request it is. A program on this machine
// is one, and the way through the balancer makes it no other.
func forward(r *httputil.ProxyRequest) {
	r.Out.Host = r.In.Host
	if before := r.In.Header["X-Forwarded-For"]; len(before) > 0 {
		r.Out.Header["X-Forwarded-For"] = slices.Clone(before)
	} else if peer, err := netip.ParseAddrPort(r.In.RemoteAddr); err == nil && peer.Addr().Unmap().IsLoopback() {
		return
	}
	r.SetXForwarded()
}

var errNoInstance = errors.New("no instance is ready")

// brokenError is a request that may have been done although no answer came.
type brokenError struct {
	instance string
	err      error
}

func (e *brokenError) Error() string { return e.instance + ": " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// RoundTrip implements http.RoundTripper: it picks the instance.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		// The transport closes the body of a request that it could not begin.
		r.Body = unclosed{r.Body}
	}
	first := p.turn.Add(1)
	for n := range uint64(len(p.instances)) {
		in := p.instances[(first+n)%uint64(len(p.instances))]
		if !in.ready.Load() {
			continue
		}
		r.URL.Scheme, r.URL.Host = in.url.Scheme, in.url.Host
		resp, err := p.transport.RoundTrip(r)
		if err == nil {
			return resp, nil
		}
		if !refused(err) || r.Context().Err() != nil {
			return nil, &brokenError{in.name, err}
		}
		p.set(in, false, err)
		select {
		case in.ask <- struct{}{}:
		default:
		}
	}
	return nil, errNoInstance
}

// refused reports whether there was no connection at all.
func refused(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// unclosed is a request's body, which the server closes in the end.
type unclosed struct{ io.Reader }

func (unclosed) Close() error { return nil }

func (p *Pool) fail(w http.ResponseWriter, r *http.Request, err error) {
	var broken *brokenError
	switch {
	case r.Context().Err() != nil: // who asked is gone
		w.WriteHeader(http.StatusBadGateway)
	case errors.As(err, &broken):
		p.log.Debug("a request broke off", "function", p.name, "error", err)
		w.Header().Set("Retry-After", "1")
		function.WriteJSON(w, http.StatusBadGateway, function.Problem{
			Title: http.StatusText(http.StatusBadGateway), Status: http.StatusBadGateway, Kind: fault.Transient.String(),
			Message: "the instance that had the request broke off; it may or may not have done it",
		})
	default:
		function.WriteError(w, &fault.Error{Kind: fault.Overloaded, RetryAfter: time.Second, Err: fmt.Errorf("cannot reach %s: %w", p.name, err)})
	}
}

// set notes whether an instance gets requests.
func (p *Pool) set(in *instance, ready bool, why error) {
	if in.ready.Swap(ready) == ready {
		return
	}
	if ready {
		p.log.Info("instance takes requests", "instance", in.name)
	} else {
		p.log.Info("instance is away", "instance", in.name, "error", why)
	}
	p.mu.Lock()
	close(p.changes)
	p.changes = make(chan struct{})
	p.mu.Unlock()
}

// Ready is how many instances take requests.
func (p *Pool) Ready() int {
	n := 0
	for _, in := range p.instances {
		if in.ready.Load() {
			n++
		}
	}
	return n
}

// Await waits until at least n instances take requests.
func (p *Pool) Await(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		changes := p.changes
		p.mu.Unlock()
		ready := p.Ready()
		if ready >= n {
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("%s: %d of %d instances are ready: %w", p.name, ready, len(p.instances), ctx.Err())
		}
	}
}

// Run asks every instance again and again whether it is ready, until ctx is
// done.
func (p *Pool) Run(ctx context.Context) {
	probes := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	var wg sync.WaitGroup
	for _, in := range p.instances {
		wg.Go(func() {
			pause := time.NewTimer(0)
			defer pause.Stop()
			for failures := 0; ; {
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				case <-in.ask:
				}
				err := probe(ctx, probes, in.url)
				if ctx.Err() != nil {
					return
				}
				failures++
				if err == nil {
					failures = 0
				}
				if failures == 0 || failures >= probeFailures || refused(err) {
					p.set(in, err == nil, err)
				}
				if err == nil {
					pause.Reset(probeEvery)
				} else {
					pause.Reset(probeAwayEvery)
				}
			}
		})
	}
	wg.Wait()
	p.transport.CloseIdleConnections()
}

func probe(ctx context.Context, client *http.Client, base *url.URL) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(function.ReadinessPath).String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return nil
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// front serves the paths of all functions on one port, as the local runner
// does, so that everything that talks to a runner can talk to the cluster.
func front(pools map[string]*Pool, brokers http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, route := range []struct{ path, function string }{
		{"/", "ingest"}, // what senders and browsers ask for
		{"/v1/catalog", "report"},
		{"/v1/reports/", "report"},
		{"/v1/ledger/", "report"},
		{"/v1/rejected", "report"},
		{"/v1/rejected/", "report"},
		{"/v1beta/", "report"},
		{"/v1/merchants", "merchant"},
		{"/v1/merchants/", "merchant"},
		{"/v1/reprocess", "reprocess"},
		{"/v1/reprocess/", "reprocess"},
	} {
		mux.Handle(route.path, pools[route.function])
	}
	mux.Handle("/brokers", brokers)
	mux.Handle("/brokers/", brokers)
	mux.HandleFunc("GET "+function.LivenessPath, func(w http.ResponseWriter, _ *http.Request) {
		function.WriteJSON(w, http.StatusOK, map[string]bool{"ready": true})
	})
	mux.HandleFunc("GET "+function.ReadinessPath, func(w http.ResponseWriter, _ *http.Request) {
		// One instance of each is enough to answer.
		away := []string{}
		for name, p := range pools {
			if p.Ready() == 0 {
				away = append(away, name)
			}
		}
		slices.Sort(away)
		status := http.StatusOK
		if len(away) > 0 {
			status = http.StatusServiceUnavailable
		}
		function.WriteJSON(w, status, map[string]any{"ready": len(away) == 0, "not_ready": away})
	})
	return mux
}
