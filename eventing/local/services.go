package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// Services finds the functions that Triggers name.
type Services interface {
	// Resolve gives a Service's base URL and how to reach it.
	Resolve(service string) (*url.URL, http.RoundTripper, error)
}

// URLMap reaches functions over the network: Service's name → base URL.
type URLMap struct {
	URLs      map[string]string
	Transport http.RoundTripper // default http.DefaultTransport
}

// Resolve implements Services.
func (m URLMap) Resolve(service string) (*url.URL, http.RoundTripper, error) {
	raw, ok := m.URLs[service]
	if !ok {
		return nil, nil, fault.New(fault.NotFound, "cannot resolve service %q: it has no URL", service)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, nil, &fault.Error{Kind: fault.Invalid, Field: "url of service " + service, Expected: "an absolute URL", Err: err}
	}
	if m.Transport == nil {
		return u, http.DefaultTransport, nil
	}
	return u, m.Transport, nil
}

// Limits of a request in process, the defaults of InProcess.
const (
	defaultMaxBody    = 1 << 20
	defaultConcurrent = 1024
	workerIdle        = 10 * time.Second
)

// InProcess reaches functions that run in this very process: it calls their
// handlers without sockets, but as a server would: the request's context ends
// when the caller gives up, while a handler that does not heed it goes on
// alone; a panic is a 500; bodies and concurrency are bounded.
type InProcess struct {
	namespace string
	handlers  map[string]http.Handler // by host
	log       *slog.Logger
	maxBody   int64

	jobs  chan *exchange // to a parked worker
	slots chan struct{}  // one per worker
}

// NewInProcess makes one for the handlers by Service name.
func NewInProcess(namespace string, handlers map[string]http.Handler, log *slog.Logger) *InProcess {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &InProcess{
		namespace: namespace, handlers: make(map[string]http.Handler, len(handlers)), log: log, maxBody: defaultMaxBody,
		jobs: make(chan *exchange), slots: make(chan struct{}, defaultConcurrent),
	}
	for name, h := range handlers {
		p.handlers[p.host(name)] = h
	}
	return p
}

func (p *InProcess) host(service string) string {
	return service + "." + p.namespace + ".svc.cluster.local"
}

// Resolve implements Services; the URL is the one that the cluster would use.
func (p *InProcess) Resolve(service string) (*url.URL, http.RoundTripper, error) {
	host := p.host(service)
	if _, ok := p.handlers[host]; !ok {
		return nil, nil, fault.New(fault.NotFound, "cannot resolve service %q: no handler of that name runs in this process", service)
	}
	return &url.URL{Scheme: "http", Host: host}, p, nil
}

// RoundTrip implements http.RoundTripper.
func (p *InProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	h, ok := p.handlers[req.URL.Host]
	if !ok {
		return nil, fmt.Errorf("cannot reach %q: no such host in this process", req.URL.Host)
	}
	x := &exchange{pool: p, handler: h, done: make(chan struct{})}
	x.answer.limit = p.maxBody
	x.req = p.serverSide(req, &x.answer)
	ctx := req.Context()
	if err := p.run(ctx, x); err != nil {
		return nil, err
	}
	select {
	case <-x.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x.err != nil {
		return nil, x.err
	}
	return x.answer.response(req), nil
}

// serverSide is the request as a server would see it.
func (p *InProcess) serverSide(req *http.Request, w http.ResponseWriter) *http.Request {
	r := req.Clone(req.Context())
	r.RequestURI = req.URL.RequestURI()
	r.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	r.Host = req.Host
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.RemoteAddr = "127.0.0.1:0"
	if r.Body == nil {
		r.Body = http.NoBody
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, p.maxBody)
	}
	return r
}

// run gives the exchange to a parked worker, else to a new one, and waits
// while there are as many as there may be.
func (p *InProcess) run(ctx context.Context, x *exchange) error {
	select {
	case p.jobs <- x:
		return nil
	default:
	}
	select {
	case p.jobs <- x:
		return nil
	case p.slots <- struct{}{}:
		go p.work(x)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *InProcess) work(x *exchange) {
	defer func() { <-p.slots }()
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		x.serve()
		idle.Reset(workerIdle)
		select {
		case x = <-p.jobs:
		case <-idle.C:
			return
		}
	}
}

// exchange is one request and its answer.
type exchange struct {
	pool    *InProcess
	handler http.Handler
	req     *http.Request
	answer  answerWriter
	err     error
	done    chan struct{}
}

var errAborted = errors.New("the server closed the connection")

func (x *exchange) serve() {
	defer close(x.done)
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		err, _ := r.(error)
		switch {
		case errors.Is(err, http.ErrAbortHandler):
			x.err = errAborted
		default:
			x.pool.log.Error("a handler panicked", "host", x.req.Host, "path", x.req.URL.Path, "panic", r, "stack", string(debug.Stack()))
			x.answer = answerWriter{status: http.StatusInternalServerError}
		}
	}()
	x.handler.ServeHTTP(&x.answer, x.req)
	if x.answer.full {
		x.err = fmt.Errorf("cannot read the answer: it is over %d bytes", x.answer.limit)
	}
}

// answerWriter is the ResponseWriter of an exchange.
type answerWriter struct {
	header http.Header
	sent   http.Header // as it stood at WriteHeader
	status int
	body   bytes.Buffer
	limit  int64
	full   bool
}

func (w *answerWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *answerWriter) WriteHeader(status int) {
	if w.status != 0 || status < 200 { // only the first final status counts
		return
	}
	w.status = status
	w.sent = w.Header().Clone()
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if int64(w.body.Len()+len(b)) > w.limit {
		w.full = true
		return 0, io.ErrShortWrite
	}
	return w.body.Write(b)
}

func (w *answerWriter) response(req *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	res := &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: int64(w.body.Len()), Request: req, Body: http.NoBody,
	}
	if w.body.Len() > 0 {
		res.Body = io.NopCloser(bytes.NewReader(w.body.Bytes()))
		if res.Header.Get("Content-Type") == "" { // as net/http does
			res.Header.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
		}
	}
	return res
}

// join puts a destination's path, which may have a query, behind a base URL.
func join(base *url.URL, path string) (string, error) {
	ref, err := url.Parse(path)
	if err != nil {
		return "", &fault.Error{Kind: fault.Invalid, Field: "path", Expected: "a URL path", Err: err}
	}
	u := base.JoinPath(strings.TrimPrefix(ref.EscapedPath(), "/"))
	if ref.Path == "" || ref.Path == "/" {
		u = base.JoinPath("/")
	}
	u.RawQuery = ref.RawQuery
	return u.String(), nil
}
