package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
)

// probe sends an event of a merchant of its own every second, whatever becomes
// of those before, and notes how long after its acceptance a report counts it.
type probe struct {
	latencies loadtest.Latencies
	stop      context.CancelFunc
	all       sync.WaitGroup
	err       atomic.Pointer[error]
}

// maxUnseen bounds the probes that are accepted and not seen in a report yet.
const maxUnseen = 600

func startProbe(ctx context.Context, sys *loadtest.Process) (*probe, error) {
	m, err := sys.CreateMerchant(ctx, "soak probe")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	p := &probe{stop: stop}
	accepted := make(chan time.Time, maxUnseen) // in order
	p.all.Go(func() {
		defer close(accepted)
		p.fail(ctx, send(ctx, sys, m, accepted))
	})
	p.all.Go(func() { p.fail(ctx, p.look(ctx, sys, m, accepted)) })
	return p, nil
}

func send(ctx context.Context, sys *loadtest.Process, m loadtest.Merchant, accepted chan<- time.Time) error {
	sender := loadtest.NewSender(sys.URL, 1)
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
		}
		body := fmt.Appendf(nil, `{"specversion":"1.0","type":"footfall.event.v1","source":"/soak","id":"probe-%d","measurementid":%q,"datacontenttype":"application/json",`+
			`"data":{"name":"page_view","client_id":"probe","page":{"location":"https://shop.example/"}}}`, n, m.Streams[0].MeasurementID)
		if err := sender.Post(ctx, loadtest.ContentTypeSingle, body); err != nil {
			return err
		}
		select {
		case accepted <- time.Now():
		default:
			return fmt.Errorf("%d events were accepted and none is in a report yet", maxUnseen)
		}
	}
}

// look asks for the merchant's report while a probe is not in it.
func (p *probe) look(ctx context.Context, sys *loadtest.Process, m loadtest.Merchant, accepted <-chan time.Time) error {
	began, seen := time.Now().UTC(), 0.0
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	n := 0.0
	for at := range accepted {
		for n++; seen < n; {
			asking, cancel := context.WithTimeout(ctx, time.Minute)
			row, err := sys.Totals(asking, m, "eventCount", began, time.Now().UTC())
			cancel()
			if err != nil {
				return err
			}
			if seen = row[0]; seen >= n {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
		}
		p.latencies.Note(time.Since(at))
	}
	return nil
}

func (p *probe) fail(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("the probe of freshness: %w", err)
		p.err.CompareAndSwap(nil, &err)
	}
}

func (p *probe) failed() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

// end stops it.
func (p *probe) end() error {
	p.stop()
	p.all.Wait()
	return p.failed()
}
