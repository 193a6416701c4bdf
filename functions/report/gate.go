package report

import (
	"context"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// gate bounds how many reports run at once, over all and for each merchant, so
// that one merchant's flood of questions waits for itself and not for others.
type gate struct {
	slots  chan struct{} // one for each report that runs
	each   int           // of one merchant: that run
	queue  int           // of one merchant: that wait
	wait   time.Duration // how long one waits before it is told to come later
	mu     sync.Mutex
	queues map[string]*merchantGate
}

type merchantGate struct {
	slots chan struct{}
	users int // running and waiting
}

func newGate(all, each, queue int, wait time.Duration) *gate {
	return &gate{slots: make(chan struct{}, all), each: each, queue: queue, wait: wait, queues: map[string]*merchantGate{}}
}

// enter waits for a slot and returns what gives it back. Overloaded where the
// merchant's queue is full or no slot came free in time.
func (g *gate) enter(ctx context.Context, merchant string) (leave func(), err error) {
	g.mu.Lock()
	m := g.queues[merchant]
	if m == nil {
		m = &merchantGate{slots: make(chan struct{}, g.each)}
		g.queues[merchant] = m
	}
	if m.users >= g.each+g.queue {
		g.mu.Unlock()
		return nil, g.full(merchant)
	}
	m.users++
	g.mu.Unlock()
	forget := func() {
		g.mu.Lock()
		if m.users--; m.users == 0 {
			delete(g.queues, merchant)
		}
		g.mu.Unlock()
	}
	// A merchant's own slot comes first: it never holds more of the common
	// ones than it may, not even while it waits.
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	for _, slots := range []chan struct{}{m.slots, g.slots} {
		select {
		case slots <- struct{}{}:
			continue
		default:
		}
		select {
		case slots <- struct{}{}:
			continue
		case <-timer.C:
			err = g.full(merchant)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if slots == g.slots {
			<-m.slots
		}
		forget()
		return nil, err
	}
	return func() {
		<-g.slots
		<-m.slots
		forget()
	}, nil
}

func (g *gate) full(merchant string) error {
	return &fault.Error{Kind: fault.Overloaded, RetryAfter: g.wait,
		Err: fault.New(fault.Overloaded, "cannot run another report of merchant %q now: too many run already", merchant)}
}
