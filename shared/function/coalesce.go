package function

import (
	"context"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

// Coalesce makes a handler of events that all say the same, "do what there is
// to do", such as ticks: one run at a time, and what arrives meanwhile shares
// the next run. After a Broker's outage the ticks of an hour come at once, and
// each of them would find the same work and do it again beside the others.
func Coalesce(h EventHandler) EventHandler {
	c := &coalescer{handle: h}
	return c.Handle
}

// coalescer runs its handler for all who wait.
type coalescer struct {
	handle EventHandler

	mu      sync.Mutex
	running *shared // nil while nobody runs
	next    *shared // who arrived since running began; nil where nobody has
}

// shared is one run of the handler.
type shared struct {
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

// Handle implements EventHandler. An event is handled by a run that began
// after it came, or not at all.
func (c *coalescer) Handle(ctx context.Context, e cloudevents.Event) error {
	c.mu.Lock()
	if c.running == nil {
		run := &shared{done: make(chan struct{})}
		c.running = run
		c.mu.Unlock()
		return c.run(ctx, e, run)
	}
	before, mine := c.running, c.next
	leads := mine == nil
	if leads {
		mine = &shared{done: make(chan struct{})}
		c.next = mine
	}
	c.mu.Unlock()
	if !leads {
		return wait(ctx, mine, e)
	}
	select {
	case <-before.done: // it has made ours the running one
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		mine.err = gaveUp(e, err) // also for those who wait for it: they come again
		c.release(mine)
		return mine.err
	}
	return c.run(ctx, e, mine)
}

func (c *coalescer) run(ctx context.Context, e cloudevents.Event, run *shared) error {
	// Also where the handler panics, the next must get its turn.
	run.err = fault.New(fault.Transient, "cannot handle event %q: the handler panicked", e.ID())
	defer c.release(run)
	run.err = c.handle(ctx, e)
	return run.err
}

// release ends a run, or gives it up before it began.
func (c *coalescer) release(run *shared) {
	c.mu.Lock()
	if c.running == run {
		c.running, c.next = c.next, nil
	} else {
		c.next = nil
	}
	c.mu.Unlock()
	close(run.done)
}

func wait(ctx context.Context, run *shared, e cloudevents.Event) error {
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return gaveUp(e, ctx.Err())
	}
}

func gaveUp(e cloudevents.Event, err error) error {
	return fault.New(fault.Overloaded, "cannot handle event %q: another run takes too long: %w", e.ID(), err)
}
