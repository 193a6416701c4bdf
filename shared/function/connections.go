package function

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lastWords is how long a connection that is open while a process drains may
// be silent before it is closed.
const lastWords = 250 * time.Millisecond

// connections counts a server's open connections.
type connections struct {
	open    atomic.Int64
	awaited atomic.Bool
	changes chan struct{} // something has happened, while the end is awaited
}

func newConnections() *connections { return &connections{changes: make(chan struct{}, 1)} }

// track is http.Server.ConnState.
func (c *connections) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
	}
	if c.awaited.Load() {
		select {
		case c.changes <- struct{}{}:
		default:
		}
	}
}

// await returns when no connection is open, when nothing has happened on any
// for so long, or when ctx is done.
func (c *connections) await(ctx context.Context, silence time.Duration) {
	c.awaited.Store(true)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for c.open.Load() > 0 {
		select {
		case <-c.changes:
			timer.Reset(silence)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// listener may be closed more than once, as draining does it before the server
// does.
type listener struct {
	net.Listener
	close func() error
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, close: sync.OnceValue(l.Close)}
}

func (l *listener) Close() error { return l.close() }
