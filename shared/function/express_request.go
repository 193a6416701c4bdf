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
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	postTo = http.MethodPost + " "
	getOf  = http.MethodGet + " "
)

var headEnd = []byte("\r\n\r\n")

// expressRoute is a pattern whose plain requests express serves.
type expressRoute struct {
	pattern  string
	at       *url.URL // of all its requests; nil where these differ
	wildcard string   // the name of the path's last part; "": it has none
}

func expressRoutes(patterns []string) map[string]*expressRoute {
	routes := make(map[string]*expressRoute, len(patterns))
	for _, p := range patterns {
		of, get := strings.CutPrefix(p, getOf)
		if !get {
			routes[postTo+p] = &expressRoute{pattern: p, at: &url.URL{Path: p}}
			continue
		}
		at := strings.LastIndexByte(of, '/') + 1
		routes[getOf+of[:at]] = &expressRoute{pattern: p, wildcard: strings.Trim(of[at:], "{}")}
	}
	return routes
}

// expressAsked is a GET under way.
type expressAsked struct {
	since  int64 // ns since the Unix epoch
	cancel context.CancelFunc
}

// parse looks at what was read and, where the request is plain, takes its head
// off and makes request of it.
func (c *expressConn) parse() verdict {
	method := postTo
	if !begins(c.in, method) {
		if method = getOf; !begins(c.in, method) {
			return others
		}
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
	target, rest, _ := strings.Cut(head[len(method):], "\r\n")
	target, plain := strings.CutSuffix(target, " HTTP/1.1")
	if !plain {
		return others
	}
	route, at, name := c.e.routeOf(method, head[:len(method)+len(target)])
	if route == nil {
		return others
	}
	host, length, ok := c.fields(rest)
	if !ok || (length >= 0) != (method == postTo) {
		return others
	}
	c.in = c.in[end+len(headEnd):]
	c.body.left = max(0, length)
	c.body.by = time.Now().Add(c.e.cfg.ReadTimeout)
	c.until.Store(0) // the handler's time is its own
	c.request = http.Request{
		Method: method[:len(method)-1], URL: at, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: c.header, Body: &c.body, ContentLength: c.body.left,
		Host: host, RemoteAddr: c.remote, RequestURI: target, Pattern: route.pattern,
	}
	if method == getOf {
		ctx, cancel := context.WithCancel(context.Background())
		c.request = *c.request.WithContext(ctx)
		c.request.SetPathValue(route.wildcard, name)
		c.asked.Store(&expressAsked{time.Now().UnixNano(), cancel})
	}
	return ours
}

// begins reports whether what was read is the beginning of such a request, as far as can be told.
func begins(in []byte, method string) bool {
	n := min(len(in), len(method))
	return string(in[:n]) == method[:n]
}

// routeOf finds the route of a request line without its protocol, and what is its own of
// the URL; nil where there is none, or the URL is not plain.
func (e *express) routeOf(method, line string) (r *expressRoute, at *url.URL, name string) {
	if method == postTo {
		if r = e.routes[line]; r == nil {
			return nil, nil, ""
		}
		return r, r.at, ""
	}
	path, query, asks := strings.Cut(line, "?")
	slash := strings.LastIndexByte(path, '/') + 1
	r, name = e.routes[path[:slash]], path[slash:]
	if r == nil || name == "" || asks && query == "" || strings.ContainsFunc(name, notPlainName) || strings.ContainsFunc(query, notPlainQuery) {
		return nil, nil, ""
	}
	return r, &url.URL{Path: path[len(method):], RawQuery: query}, name
}

func notPlainName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

func notPlainQuery(r rune) bool { return r <= ' ' || r > '~' || r == '#' }

// gone reports whether the other side of a connection is known to read no more.
func gone(conn net.Conn) bool {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	is := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		is = n == 0 && err == nil || errors.Is(err, syscall.ECONNRESET)
	})
	return is || err != nil
}

// fields reads the lines of a head into header; not ok where anything is not
// plain. length is -1 where none is given.
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
	return host, length, host != ""
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
