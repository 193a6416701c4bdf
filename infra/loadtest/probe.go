package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Probe measures how fresh reports are: it sends a merchant of its own a single
// event at fixed instants, whatever becomes of those before, and asks for the
// merchant's report while one of them is not in it.
type Probe struct {
	Fresh Latencies // from an event's acceptance to the first report that holds it

	p        *Process
	merchant Merchant
	stop     context.CancelFunc
	all      sync.WaitGroup
	failed   atomic.Pointer[error]
}

// maxUnseen bounds the events that are accepted and not seen in a report yet.
const maxUnseen = 6000

// StartProbe begins to send an event each time that every has passed, and to look
// so often as look says.
func (p *Process) StartProbe(ctx context.Context, every, look time.Duration) (*Probe, error) {
	m, err := p.CreateMerchant(ctx, fmt.Sprintf("probe %d", time.Now().UnixNano()))
	if err != nil {
		return nil, err
	}
	pacing, stop := context.WithCancel(ctx)
	b := &Probe{p: p, merchant: m, stop: stop}
	accepted := make(chan time.Time, maxUnseen) // in order
	b.all.Go(func() {
		defer close(accepted)
		b.fail(b.send(ctx, pacing, every, accepted))
	})
	b.all.Go(func() { b.fail(b.look(ctx, look, accepted)) })
	return b, nil
}

// Stop ends the sending and waits until reports hold all that was accepted.
func (b *Probe) Stop() error {
	b.stop()
	b.all.Wait()
	return b.Failed()
}

// Failed is the first error so far.
func (b *Probe) Failed() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *Probe) fail(err error) {
	if err != nil {
		err = fmt.Errorf("the probe of freshness: %w", err)
		b.failed.CompareAndSwap(nil, &err)
	}
}

func (b *Probe) send(ctx, pacing context.Context, every time.Duration, accepted chan<- time.Time) error {
	mix := NewMix(MixOptions{Seed: uint64(time.Now().UnixNano()), Streams: StreamsOf([]Merchant{b.merchant})}, NewTruths())
	sender := NewSender(b.p.URL, 1)
	defer sender.Close()
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		select {
		case <-pacing.Done():
			return ctx.Err()
		case <-beat.C:
		}
		r := mix.Request(nil, time.Now(), 0)
		if err := sender.Post(ctx, &r); err != nil {
			return err
		}
		select {
		case accepted <- time.Now():
		default:
			return fmt.Errorf("%d events were accepted and none is in a report yet", maxUnseen)
		}
	}
}

func (b *Probe) look(ctx context.Context, every time.Duration, accepted <-chan time.Time) error {
	began, seen, n := time.Now().UTC(), 0.0, 0.0
	pause := time.NewTicker(every)
	defer pause.Stop()
	for at := range accepted {
		for n++; seen < n; {
			row, err := b.p.Totals(ctx, b.merchant, "eventCount", began, time.Now().UTC())
			if err != nil && !errors.Is(err, ErrRefused) { // who waits for an answer is not fresh meanwhile
				return err
			}
			if err == nil {
				seen = row[0]
			}
			if seen >= n {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
		}
		b.Fresh.Note(time.Since(at))
	}
	return nil
}
