package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
)

// Knative's PingSource tries a send this often, with a pause that doubles, and
// then gives the event up.
const (
	pingRetries = 5
	pingBackoff = 50 * time.Millisecond
	pingTimeout = 10 * time.Second
)

// CronConfig is what the PingSources work with. Zero values mean the defaults.
type CronConfig struct {
	Wiring *eventing.Wiring
	Kafka  *kafka.Client     // for sinks that are Brokers
	HTTP   http.RoundTripper // for sinks that are URLs; default http.DefaultTransport
	Now    func() time.Time  // the clock that events are stamped with; default time.Now
	Log    *slog.Logger      // default: none
}

// Cron sends the PingSources' events, as Knative does except for its jitter of
// up to half a second.
type Cron struct {
	cfg     CronConfig
	sources []pinger
}

type pinger struct {
	source *eventing.PingSource
	target target
}

// NewCron resolves every source's sink, and reports all that it cannot.
func NewCron(cfg CronConfig) (*Cron, error) {
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cron{cfg: cfg}
	// The dispatcher knows how destinations resolve; only Services need more.
	d := &Dispatcher{cfg: DispatcherConfig{Wiring: cfg.Wiring, Kafka: cfg.Kafka, HTTP: cfg.HTTP}}
	var errs []error
	for i := range cfg.Wiring.Sources {
		s := &cfg.Wiring.Sources[i]
		t, err := d.target(&s.Sink)
		if err != nil {
			errs = append(errs, fmt.Errorf("pingsource %q: %w", s.Name, err))
			continue
		}
		c.sources = append(c.sources, pinger{source: s, target: t})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cannot make the cron: %w", err)
	}
	return c, nil
}

// Run sends each source's event at its times until ctx is done. A time that
// passes while a send still hangs, or while nothing runs, is lost.
func (c *Cron) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range c.sources {
		p := &c.sources[i]
		wg.Go(func() {
			for {
				now := time.Now()
				next := p.source.Schedule.Next(now)
				if next.IsZero() { // such as the 30th of February
					c.cfg.Log.Warn("the schedule never comes", "pingsource", p.source.Name, "schedule", p.source.Spec)
					return
				}
				if !wait(ctx, nil, next.Sub(now)) {
					return
				}
				if err := c.send(ctx, p, c.cfg.Now()); err != nil && ctx.Err() == nil {
					c.cfg.Log.Error("tick is lost", "pingsource", p.source.Name, "err", err)
				}
			}
		})
	}
	wg.Wait()
}

// Fire sends one source's event at once, for tests and operators. It returns
// when the sink has it. A name that is no source's is fault.NotFound.
func (c *Cron) Fire(ctx context.Context, name string) error {
	for i := range c.sources {
		if p := &c.sources[i]; p.source.Name == name {
			return c.send(ctx, p, c.cfg.Now())
		}
	}
	return fault.New(fault.NotFound, "cannot fire pingsource %q: there is none of that name", name)
}

// Names are the sources' names, in order.
func (c *Cron) Names() []string {
	names := make([]string, len(c.sources))
	for i := range c.sources {
		names[i] = c.sources[i].source.Name
	}
	return names
}

// Next is when a source's schedule comes next after t; zero where it never does.
func (c *Cron) Next(name string, t time.Time) (time.Time, error) {
	for i := range c.sources {
		if s := c.sources[i].source; s.Name == name {
			return s.Schedule.Next(t), nil
		}
	}
	return time.Time{}, fault.New(fault.NotFound, "cannot look up pingsource %q: there is none of that name", name)
}

func (c *Cron) send(ctx context.Context, p *pinger, at time.Time) error {
	e, err := p.source.Event(uuid.NewString(), at)
	if err != nil {
		return fault.New(fault.Invalid, "cannot make the event of pingsource %q: %w", p.source.Name, err)
	}
	for n := 0; ; n++ {
		tctx, cancel := context.WithTimeout(ctx, pingTimeout)
		a, err := p.target.send(tctx, &e)
		cancel()
		if err == nil && a.status < 300 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it answered %d", a.status)
			if !retryable(a.status) {
				n = pingRetries
			}
		}
		if n >= pingRetries || !wait(ctx, nil, pingBackoff<<n) {
			return fault.New(fault.Transient, "cannot send the event of pingsource %q to %s: %w", p.source.Name, p.target, err)
		}
	}
}
