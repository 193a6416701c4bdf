package ingest

import (
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// gate bounds what all requests under way hold in memory.
type gate struct {
	maxBytes, maxRequests int64
	bytes, requests       atomic.Int64
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

func (g *gate) leave(bytes int64) {
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
