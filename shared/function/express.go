package function

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// express serves the plainest of POST requests to a few paths itself: HTTP/1.1,
// a length given, nothing asked of the connection. What net/http does besides
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
	paths    map[string]*url.URL
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

// newExpress makes a listener that answers requests to paths by handler, whose
// requests have the path as their Pattern.
func newExpress(l net.Listener, handler http.Handler, cfg *Config, paths []string, track func(net.Conn, http.ConnState)) *express {
	e := &express{
		listener: l, handler: handler, cfg: cfg, paths: make(map[string]*url.URL, len(paths)), track: track,
		passed: make(chan net.Conn), closed: make(chan struct{}), failed: make(chan error, 1),
		conns: make(map[*expressConn]struct{}),
	}
	for _, p := range paths {
		e.paths[p] = &url.URL{Path: p}
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

// watch closes connections that take too long: one look a second at all of
// them costs less than a timer for each request.
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

var (
	postTo  = []byte("POST ")
	headEnd = []byte("\r\n\r\n")
)

// parse looks at what was read and, where the request is plain, takes its head
// off and makes request of it.
func (c *expressConn) parse() verdict {
	if n := min(len(c.in), len(postTo)); !bytes.Equal(c.in[:n], postTo[:n]) {
		return others
	}
	end := bytes.Index(c.in, headEnd)
	if end < 0 {
		// Lines may end without a \r: then headEnd never comes.
		whole := bytes.Count(c.in, []byte("\r\n")) == bytes.Count(c.in, []byte("\n"))
		if !whole || len(c.in) >= min(expressHead, c.e.cfg.MaxHeaderBytes) {
			return others
		}
		return more
	}
	head := string(c.in[:end+2]) // the request's texts are parts of it
	target, rest, _ := strings.Cut(head[len(postTo):], "\r\n")
	path, plain := strings.CutSuffix(target, " HTTP/1.1")
	at := c.e.paths[path]
	if !plain || at == nil {
		return others
	}
	host, length, ok := c.fields(rest)
	if !ok {
		return others
	}
	c.in = c.in[end+len(headEnd):]
	c.body.left = length
	c.body.by = time.Now().Add(c.e.cfg.ReadTimeout)
	c.until.Store(0) // the handler's time is its own
	c.request = http.Request{
		Method: http.MethodPost, URL: at, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: c.header, Body: &c.body, ContentLength: length,
		Host: host, RemoteAddr: c.remote, RequestURI: path, Pattern: path,
	}
	return ours
}

// fields reads the lines of a head into header; not ok where anything is not
// plain.
func (c *expressConn) fields(lines string) (host string, length int64, ok bool) {
	clear(c.header)
	clear(c.values)
	c.values = c.values[:0]
	length = -1
	for lines != "" {
		line, rest, _ := strings.Cut(lines, "\r\n")
		lines = rest
		name, value, colon := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !colon || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return "", 0, false
		}
		switch name = canonicalName(name); name {
		case "Host":
			if host != "" || value == "" || !httpguts.ValidHostHeader(value) {
				return "", 0, false
			}
			host = value
			continue // as net/http does
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || length >= 0 || value[0] == '+' {
				return "", 0, false
			}
			length = int64(n)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return "", 0, false
			}
		case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings":
			return "", 0, false
		}
		if before := c.header[name]; before != nil {
			c.header[name] = append(before[:len(before):len(before)], value)
			continue
		}
		c.values = append(c.values, value)
		n := len(c.values)
		c.header[name] = c.values[n-1 : n : n]
	}
	return host, length, host != "" && length >= 0
}

// knownNames are the usual headers of requests, as senders write them.
var knownNames = func() map[string]string {
	names := map[string]string{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Length",
		"Content-Type", "Cookie", "Host", "Origin", "Pragma", "Priority", "Purpose", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Model",
		"Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Purpose", "Traceparent", "User-Agent", "X-Forwarded-For",
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id", "Ce-Id", "Ce-Source", "Ce-Specversion", "Ce-Time", "Ce-Type", "Ce-Measurementid",
	} {
		names[name], names[strings.ToLower(name)] = name, name
	}
	return names
}()

func canonicalName(name string) string {
	if known, ok := knownNames[name]; ok {
		return known
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// expressBody is the body of the request under way.
type expressBody struct {
	c    *expressConn
	left int64
	by   time.Time // it must have come
}

// Read implements io.Reader.
func (b *expressBody) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if c := b.c; len(c.in) > 0 {
		n = copy(p, c.in)
		c.in = c.in[n:]
	} else if len(p) > 0 {
		c.set(b.by)
		n, err = c.conn.Read(p)
		c.until.Store(0)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	if b.left -= int64(n); b.left == 0 {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *expressBody) Close() error { return nil }

// discard reads what the handler has left; false where that is too much, or
// does not come.
func (b *expressBody) discard() bool {
	switch {
	case b.left == 0:
		return true
	case b.left > expressRest:
		return false
	}
	scratch := make([]byte, 4<<10)
	for b.left > 0 {
		if _, err := b.Read(scratch); err != nil && b.left > 0 {
			return false
		}
	}
	return true
}

// expressAnswer gathers an answer, so that it goes out in one write.
type expressAnswer struct {
	header http.Header
	status int
	body   []byte
	names  []string
}

// Header implements http.ResponseWriter.
func (a *expressAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *expressAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *expressAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if !hasBody(a.status) {
		return 0, http.ErrBodyNotAllowed
	}
	a.body = append(a.body, p...)
	return len(p), nil
}

func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func (a *expressAnswer) reset() {
	clear(a.header)
	a.status, a.body = 0, a.body[:0]
}

// trim gives back a body that has grown large.
func (a *expressAnswer) trim() {
	if cap(a.body) > expressKept {
		a.body = nil
	}
}

// append appends the answer as it goes over the connection.
func (a *expressAnswer) append(b []byte, last bool) []byte {
	a.WriteHeader(http.StatusOK)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, *httpDate()...)
	a.names = a.names[:0]
	for name := range a.header {
		a.names = append(a.names, name)
	}
	slices.Sort(a.names)
	for _, name := range a.names {
		switch name {
		case "Content-Length", "Connection", "Date", "Transfer-Encoding":
			continue // ours to say
		}
		for _, value := range a.header[name] {
			b = append(append(append(b, "\r\n"...), name...), ": "...)
			b = append(b, oneLine(value)...)
		}
	}
	if len(a.body) > 0 && a.header["Content-Type"] == nil {
		b = append(append(b, "\r\nContent-Type: "...), http.DetectContentType(a.body)...)
	}
	if hasBody(a.status) {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(a.body)), 10)
	}
	if last {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(append(b, headEnd...), a.body...)
}

var lineBreaks = strings.NewReplacer("\n", " ", "\r", " ")

// oneLine is a header's value without what would begin another line.
func oneLine(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return lineBreaks.Replace(value)
	}
	return value
}

var dates atomic.Pointer[date]

type date struct {
	second int64
	text   string
}

// httpDate is the time as a header, made once a second.
func httpDate() *string {
	now := time.Now()
	d := dates.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		dates.Store(d)
	}
	return &d.text
}
