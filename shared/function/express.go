package function

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// express serves the plainest of requests to a few paths itself: HTTP/1.1, a POST
// with its length or a GET, nothing asked of the connection. What net/http does besides
// (a second goroutine that watches the connection, timers, a mux) costs more
// than such a request. At the first that is not so plain, a connection goes to
// net/http, with what was read of it, and stays there: express refuses nothing
// and so needs to know nothing of what is wrong or rare.
//
// It is the listener that net/http serves.
type express struct {
	listener net.Listener
	handler  http.Handler
	cfg      *Config
	routes   map[string]*expressRoute // by method and path, up to its wildcard
	track    func(net.Conn, http.ConnState)

	passed chan net.Conn // to net/http
	closed chan struct{} // by Close
	failed chan error    // the listener did, and nobody had closed it

	mu    sync.Mutex
	conns map[*expressConn]struct{}
	ends  atomic.Bool // no further request on any connection
}

const (
	// expressHead is the longest head of a request that express looks at.
	expressHead = 8 << 10
	// expressRest is the longest rest of a body that is read past a handler
	// that has not read it.
	expressRest = 256 << 10
	// expressKept is the largest buffer that a connection keeps for its next
	// answer.
	expressKept = 16 << 10
	// lastRead is how long a sender that has not been heard out has time for the
	// answer.
	lastRead = 500 * time.Millisecond
)

// newExpress makes a listener that answers requests of some patterns (Function.Express)
// by handler, whose requests have them as their Pattern.
func newExpress(l net.Listener, handler http.Handler, cfg *Config, patterns []string, track func(net.Conn, http.ConnState)) *express {
	e := &express{
		listener: l, handler: handler, cfg: cfg, routes: expressRoutes(patterns), track: track,
		passed: make(chan net.Conn), closed: make(chan struct{}), failed: make(chan error, 1),
		conns: make(map[*expressConn]struct{}),
	}
	go e.accept()
	go e.watch()
	return e
}

// Accept implements net.Listener: what is not for express.
func (e *express) Accept() (net.Conn, error) {
	select {
	case c := <-e.passed:
		return c, nil
	case err := <-e.failed:
		return nil, err
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (e *express) Addr() net.Addr { return e.listener.Addr() }

// Close implements net.Listener. Connections stay open.
func (e *express) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return e.listener.Close()
}

func (e *express) accept() {
	var pause time.Duration
	for {
		conn, err := e.listener.Accept()
		if err == nil {
			pause = 0
			c := &expressConn{e: e, conn: conn, remote: conn.RemoteAddr().String(), header: make(http.Header, 16)}
			c.body.c, c.answer.header = c, make(http.Header, 8)
			c.set(time.Now().Add(e.cfg.HeaderTimeout)) // as net/http does with the first
			e.track(conn, http.StateNew)
			e.mu.Lock()
			e.conns[c] = struct{}{}
			e.mu.Unlock()
			go c.serve()
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return // connections that are open may still be passed on
		}
		//nolint:staticcheck // what Temporary means for Accept is clear: too many open files, say
		if t, ok := errors.AsType[net.Error](err); !ok || !t.Temporary() {
			e.failed <- err
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-e.closed:
			timer.Stop()
			return
		}
	}
}

// watch closes connections that take too long, and tells who is asked for long by
// somebody who is gone: one look a second at all of them costs less than a timer or a
// goroutine for each request.
func (e *express) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.closed:
			return // shutdown sees to the rest
		}
		now := time.Now().UnixNano()
		e.mu.Lock()
		for c := range e.conns {
			if until := c.until.Load(); until != 0 && until < now {
				_ = c.conn.Close()
			}
			if asked := c.asked.Load(); asked != nil && now-asked.since > int64(time.Second) && gone(c.conn) {
				asked.cancel()
			}
		}
		e.mu.Unlock()
	}
}

// shutdown closes connections as they come to rest, and after ctx all.
func (e *express) shutdown(ctx context.Context) error {
	e.ends.Store(true)
	_ = e.Close() // net/http has done so, unless it had not begun yet
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		e.mu.Lock()
		left := len(e.conns)
		for c := range e.conns {
			if ctx.Err() != nil || !c.busy.Load() {
				_ = c.conn.Close()
			}
		}
		e.mu.Unlock()
		switch {
		case left == 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (e *express) forget(c *expressConn) {
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
	e.track(c.conn, http.StateClosed)
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	read []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.read)
	b.read = b.read[n:]
	return n, nil
}

// expressConn is one connection. Its memory serves one request after another.
type expressConn struct {
	e      *express
	conn   net.Conn
	remote string
	until  atomic.Int64 // what is waited for now must have come, ns since the Unix epoch; 0: for ever
	busy   atomic.Bool  // a request is under way
	asked  atomic.Pointer[expressAsked]

	in      []byte // what was read and not used
	buffer  []byte // in is part of it
	request http.Request
	header  http.Header
	values  []string // of header
	body    expressBody
	answer  expressAnswer
	out     []byte
	last    bool // no further request on this connection
}

func (c *expressConn) set(until time.Time) { c.until.Store(until.UnixNano()) }

func (c *expressConn) serve() {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
			panic(v) // the handler lets no other out
		}
		if c.conn != nil {
			_ = c.conn.Close()
			c.e.forget(c)
		}
	}()
	for !c.last {
		switch c.head() {
		case ours:
			if !c.respond() {
				return
			}
		case others:
			c.e.forget(c)
			select {
			case c.e.passed <- &begun{c.conn, c.in}:
			case <-c.e.closed:
				_ = c.conn.Close()
			}
			c.conn = nil
			return
		case over:
			return
		}
	}
}

// verdict is whose request it is that begins.
type verdict int

const (
	more   verdict = iota // that cannot be told yet
	ours                  // it is plain, and read up to its body
	others                // it is net/http's
	over                  // the connection has ended
)

// head reads the head of the next request.
func (c *expressConn) head() verdict {
	if c.buffer == nil {
		c.buffer = make([]byte, 4<<10)
	}
	for {
		if len(c.in) > 0 {
			if !c.busy.Load() {
				c.busy.Store(true)
				c.e.track(c.conn, http.StateActive)
			}
			if v := c.parse(); v != more {
				return v
			}
			if len(c.in) == copy(c.buffer, c.in) && len(c.in) == len(c.buffer) {
				c.buffer = append(c.buffer, make([]byte, len(c.buffer))...)
			}
			c.in = c.buffer[:len(c.in)]
		}
		n, err := c.conn.Read(c.buffer[len(c.in):])
		if len(c.in) == 0 && n > 0 {
			c.set(time.Now().Add(c.e.cfg.HeaderTimeout))
		}
		c.in = c.buffer[:len(c.in)+n]
		if n == 0 && err != nil {
			return over
		}
	}
}

// respond has the request answered; false where the connection is over.
func (c *expressConn) respond() bool {
	c.answer.reset()
	c.e.handler.ServeHTTP(&c.answer, &c.request)
	if asked := c.asked.Swap(nil); asked != nil {
		asked.cancel()
	}
	heard := c.body.discard()
	if !heard || c.answer.header["Connection"] != nil || c.e.ends.Load() {
		c.last = true
	}
	c.out = c.answer.append(c.out[:0], c.last)
	c.set(time.Now().Add(c.e.cfg.WriteTimeout))
	if _, err := c.conn.Write(c.out); err != nil {
		return false
	}
	if cap(c.out) > expressKept {
		c.out = nil
	}
	if !heard {
		// Were it closed at once, what the sender still sends would be answered
		// with a reset, which takes the answer away from it.
		if half, ok := c.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			time.Sleep(lastRead)
		}
	}
	c.answer.trim()
	c.set(time.Now().Add(c.e.cfg.IdleTimeout))
	if len(c.in) == 0 {
		c.busy.Store(false)
		c.e.track(c.conn, http.StateIdle)
	}
	return true
}
