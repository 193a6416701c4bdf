package function

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
)

// serveProfiles serves Go's profiles on an address of their own, for operators
// only: they tell what the process does and cost it time. "" serves none. The
// returned function stops the serving.
func (p *Process) serveProfiles(ctx context.Context) (func(), error) {
	if p.Config.ProfileAddr == "" {
		return func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.Config.ProfileAddr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q for profiles: %w", p.Config.ProfileAddr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: p.Config.HeaderTimeout}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.Log.Warn("profiles are not served any more", "error", err)
		}
	}()
	p.Log.Info("serving profiles", "addr", l.Addr().String())
	return func() { _ = srv.Close() }, nil
}
