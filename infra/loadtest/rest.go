package loadtest

import (
	"context"
	"time"
)

// Cost is what something took, from rest to rest.
type Cost struct {
	Wall, CPU time.Duration
	// Memory is the most that was resident meanwhile, in bytes; 0 where it was not
	// looked at.
	Memory int64
}

// Each is the CPU time of one of n.
func (c Cost) Each(n int) time.Duration { return c.CPU / time.Duration(max(n, 1)) }

// Quiet waits until the process has used next to no CPU for half a second, twice
// in a row: on a busy machine it may have been kept from it once.
func (p *Process) Quiet(ctx context.Context) error {
	pause := time.NewTicker(500 * time.Millisecond)
	defer pause.Stop()
	last, err := p.CPU()
	for quiet := 0; err == nil && quiet < 2; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		var now time.Duration
		if now, err = p.CPU(); now-last <= 20*time.Millisecond {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return err
}

// Took measures what do costs the process, from rest to rest. Its wall time ends
// with do, its CPU time and memory with the rest after it.
func (p *Process) Took(ctx context.Context, do func() error) (c Cost, err error) {
	if err := p.Quiet(ctx); err != nil {
		return c, err
	}
	before, err := p.CPU()
	if err != nil {
		return c, err
	}
	stop := p.watchMemory(&c.Memory)
	defer stop()
	began := time.Now()
	if err := do(); err != nil {
		return c, err
	}
	c.Wall = time.Since(began)
	if err := p.Quiet(ctx); err != nil {
		return c, err
	}
	after, err := p.CPU()
	c.CPU = after - before
	return c, err
}

// watchMemory notes the most that is resident until stop is called.
func (p *Process) watchMemory(most *int64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		look := time.NewTicker(200 * time.Millisecond)
		defer look.Stop()
		for {
			if now, err := p.Memory(); err == nil { // what has ended has none
				*most = max(*most, now)
			}
			select {
			case <-look.C:
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// TickThrough fires the ticks and waits until all that came of them is done.
func (p *Process) TickThrough(ctx context.Context) error {
	if err := p.Tick(ctx); err != nil {
		return err
	}
	return p.WaitDelivered(ctx)
}
