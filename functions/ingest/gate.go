package ingest

import (
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// gate bounds what all requests under way hold in memory. While less than half
// of it is taken, one stream may have it all; from then on none may have more
// than a quarter, so that one tenant's flood leaves room for the others.
type gate struct {
	maxBytes, maxRequests int64
	bytes, requests       atomic.Int64
	shares                [gateShares]struct{ bytes, requests atomic.Int64 }
}

// gateShares is into how many shares streams are sorted, by a hash that nobody
// outside can know: a stream seldom shares with one that floods.
const gateShares = 1024

// share is what a request holds of its stream's share.
type share struct {
	at    uint64
	bytes int64
	held  bool
}

// claim charges what a request holds to its stream.
func (g *gate) claim(stream uint64, bytes int64) (share, error) {
	s := share{at: stream % gateShares, bytes: bytes, held: true}
	of := &g.shares[s.at]
	b, r := of.bytes.Add(bytes), of.requests.Add(1)
	if g.bytes.Load() > g.maxBytes/2 && b > g.maxBytes/4 || g.requests.Load() > g.maxRequests/2 && r > g.maxRequests/4 {
		g.unclaim(s)
		return share{}, overloaded("this stream")
	}
	return s, nil
}

func (g *gate) unclaim(s share) {
	if s.held {
		g.shares[s.at].bytes.Add(-s.bytes)
		g.shares[s.at].requests.Add(-1)
	}
}

// retryAfter is what a sender is told who met a full buffer: some flushes fit
// into it.
const retryAfter = time.Second

// enter lets a request in; leave must follow where it is nil.
func (g *gate) enter() error {
	if g.requests.Add(1) > g.maxRequests {
		g.requests.Add(-1)
		return overloaded("requests")
	}
	return nil
}

func (g *gate) leave(bytes int64, s share) {
	g.unclaim(s)
	g.bytes.Add(-bytes)
	g.requests.Add(-1)
}

// hold reserves memory, given back by leave.
func (g *gate) hold(bytes int64) error {
	if g.bytes.Add(bytes) > g.maxBytes {
		g.bytes.Add(-bytes)
		return overloaded("bytes")
	}
	return nil
}

func overloaded(what string) error {
	return &fault.Error{Kind: fault.Overloaded, RetryAfter: retryAfter,
		Err: fault.New(fault.Overloaded, "cannot accept events: the buffer is full of %s", what)}
}
