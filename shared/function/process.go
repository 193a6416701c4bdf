package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"knative.dev/pkg/network/handlers"
	"knative.dev/pkg/signals"
)

// Process is one running program: its log, its telemetry and its server.
type Process struct {
	Config    Config
	Log       *slog.Logger
	Telemetry *Telemetry

	listener net.Listener
	draining atomic.Bool
	unready  sync.Map // name of function → true, so that a change is logged once
	begun    sync.Map // name of function → true, once it has been ready
}

// NewProcess makes a process that logs to w. It opens nothing yet.
func NewProcess(ctx context.Context, cfg Config, w io.Writer) (*Process, error) {
	telemetry, err := NewTelemetry(ctx, cfg)
	if err != nil {
		return nil, err
	}
	log := NewLogger(cfg, w)
	if cfg.Instance != "" {
		log = log.With("instance", cfg.Instance)
	}
	return &Process{Config: cfg, Log: log, Telemetry: telemetry}, nil
}

// NewLogger makes the log of a configuration.
func NewLogger(cfg Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Main is the main function of a function: it loads the configuration from the
// environment into cfgs (see Load) and serves what build makes of it until
// SIGTERM or SIGINT. A fault of the configuration or of build ends the program
// with status 1 and its text on standard error.
func Main(build func(ctx context.Context, p *Process) ([]Function, error), cfgs ...any) {
	if err := run(signals.NewContext(), build, cfgs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, build func(ctx context.Context, p *Process) ([]Function, error), cfgs ...any) error {
	var cfg Config
	if err := Load(os.Environ(), nil, append([]any{&cfg}, cfgs...)...); err != nil {
		return err
	}
	BoundMemory()
	p, err := NewProcess(ctx, cfg, os.Stderr)
	if err != nil {
		return err
	}
	fns, err := build(ctx, p)
	if err != nil {
		return err
	}
	return p.Serve(ctx, fns...)
}

// Listen opens the address, so that its port is known before Serve. Serve
// calls it where nobody has.
func (p *Process) Listen(ctx context.Context) (net.Addr, error) {
	if p.listener != nil {
		return p.listener.Addr(), nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.Config.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", p.Config.Addr, err)
	}
	p.listener = newListener(l)
	return l.Addr(), nil
}

// Serve runs functions until ctx is done or one of them fails. Then it drains:
// readiness turns false while requests are still taken until none comes any
// more, no further connection is accepted, requests under way are answered,
// background work is told to end and waited for, and the functions are closed
// in the order given. All that takes at most Config.Grace. nil means a clean
// end.
func (p *Process) Serve(ctx context.Context, fns ...Function) error {
	handler, err := p.handler(fns)
	if err != nil {
		return err
	}
	if _, err := p.Listen(ctx); err != nil {
		return err
	}
	stopProfiles, err := p.serveProfiles(ctx)
	if err != nil {
		return err
	}
	defer stopProfiles()
	drainer := &handlers.Drainer{Inner: handler, HealthCheck: p.probe(fns), QuietPeriod: p.Config.DrainQuiet}
	srv := p.server(drainer)
	open := newConnections()
	srv.ConnState = open.track
	express := newExpress(p.listener, drainer, &p.Config, expressPaths(fns), open.track)

	// Background work outlives ctx: requests under way may depend on it.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	failed := make(chan error, len(fns)+1)
	var running sync.WaitGroup
	for _, f := range fns {
		if f.Run == nil {
			continue
		}
		running.Go(func() {
			if err := f.Run(background); err != nil {
				failed <- fmt.Errorf("cannot go on with function %q: %w", f.Name, err)
			}
		})
	}
	go func() {
		if err := srv.Serve(express); !errors.Is(err, http.ErrServerClosed) && !p.draining.Load() {
			failed <- fmt.Errorf("cannot serve %q: %w", p.listener.Addr(), err)
		}
	}()
	p.Log.Info("serving", "addr", p.listener.Addr().String())

	var errs []error
	select {
	case <-ctx.Done():
	case err := <-failed:
		errs = append(errs, err)
	}

	p.draining.Store(true)
	p.Log.Info("draining", "grace", p.Config.Grace)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Config.Grace)
	defer cancel()
	if p.Config.DrainQuiet > 0 {
		quiet := make(chan struct{})
		go func() { drainer.Drain(); close(quiet) }()
		half, cancel := context.WithTimeout(grace, p.Config.Grace/2)
		await(half, quiet)
		cancel()
	}
	// Shutdown closes idle connections at once, and with them a request that
	// is on its way. So the clients get the time to hang up first: each was
	// told so with its last answer.
	if err := p.listener.Close(); err != nil {
		errs = append(errs, fmt.Errorf("cannot stop listening: %w", err))
	}
	open.await(grace, lastWords)
	if err := errors.Join(srv.Shutdown(grace), express.shutdown(grace)); err != nil {
		errs = append(errs, fmt.Errorf("cannot answer all requests within %s: %w", p.Config.Grace, err), srv.Close())
	}
	stopBackground()
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	if !await(grace, ended) {
		errs = append(errs, fmt.Errorf("cannot end background work within %s", p.Config.Grace))
	}
	for _, f := range fns {
		if f.Close == nil {
			continue
		}
		if err := f.Close(grace); err != nil {
			errs = append(errs, fmt.Errorf("cannot close function %q: %w", f.Name, err))
		}
	}
	if err := p.Telemetry.Shutdown(grace); err != nil {
		errs = append(errs, fmt.Errorf("cannot push the last metrics: %w", err))
	}
	// A second function may have failed while the first one's end was awaited.
	for len(failed) > 0 {
		errs = append(errs, <-failed)
	}
	p.Log.Info("stopped", "clean", errors.Join(errs...) == nil)
	return errors.Join(errs...)
}

// await reports whether done was closed before ctx was done.
func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Process) server(h http.Handler) *http.Server {
	// HTTP/2 without TLS beside HTTP/1.1, as Knative's ingress may speak. The
	// standard library's own, because its Shutdown knows these connections.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: p.Config.HeaderTimeout,
		ReadTimeout:       p.Config.ReadTimeout,
		WriteTimeout:      p.Config.WriteTimeout,
		IdleTimeout:       p.Config.IdleTimeout,
		MaxHeaderBytes:    p.Config.MaxHeaderBytes,
		ErrorLog:          newServerLog(p.Log),
	}
}

// readyTimeout bounds one question about readiness.
const readyTimeout = 2 * time.Second

// ready asks every function. It returns the names of those that are not ready.
func (p *Process) ready(ctx context.Context, fns []Function) []string {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var not []string
	for _, f := range fns {
		if f.Ready == nil {
			continue
		}
		err := f.Ready(ctx)
		_, was := p.unready.Load(f.Name)
		switch {
		case err != nil:
			not = append(not, f.Name)
			if _, begun := p.begun.Load(f.Name); begun && !was {
				p.unready.Store(f.Name, true)
				p.Log.Warn("function is not ready any more", "function", f.Name, "error", err)
			}
		case was:
			p.unready.Delete(f.Name)
			p.Log.Info("function is ready again", "function", f.Name)
		default:
			p.begun.Store(f.Name, true)
		}
	}
	return not
}
