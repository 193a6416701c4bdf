package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// withoutTicks is a Footfall whose hours are closed only when it is told to.
func withoutTicks() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := local.New(ctx, os.Environ(), local.Options{NoCron: true})
	if err != nil {
		return err
	}
	return r.Serve(ctx)
}

// manyMerchants measures what may go by how many merchants there are: making
// them, knowing them, closing an hour in which all were active, and a tick
// after which one of them is.
func manyMerchants(ctx context.Context, t *table, n int) error {
	dir, err := os.MkdirTemp("", "footfall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sys, err := loadtest.Start(ctx, self, dir, "FOOTFALL_LOG_LEVEL=warn")
	if err != nil {
		return err
	}
	defer func() { _ = sys.Kill() }() // what was measured is measured
	m := &many{bench: bench{sys: sys, to: time.Now().UTC().Truncate(time.Hour)}, t: t, n: n}
	m.from = m.to.Add(-time.Hour)
	if err := m.provision(ctx); err != nil {
		return err
	}
	if err := sys.Stop(); err != nil {
		return err
	}
	if m.sys, err = loadtest.Start(ctx, self, dir, "FOOTFALL_LOG_LEVEL=warn"); err != nil {
		return err
	}
	defer func() { _ = m.sys.Kill() }()
	for _, step := range []func(context.Context) error{m.know, m.idleTick, m.closeHour, m.oneActive, m.answers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := m.sys.Stop(); err != nil {
		return err
	}
	return m.stored(ctx, dir)
}

type many struct {
	bench
	t      *table
	n      int
	list   []loadtest.Merchant
	events int
}

// took measures time and CPU of do, from rest to rest.
func (m *many) took(ctx context.Context, do func() error) (wall, cpu time.Duration, err error) {
	if err := m.quiet(ctx); err != nil {
		return 0, 0, err
	}
	before, err := m.sys.CPU()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	wall = time.Since(began)
	if err := m.quiet(ctx); err != nil {
		return 0, 0, err
	}
	after, err := m.sys.CPU()
	return wall, after - before, err
}

func (m *many) provision(ctx context.Context) error {
	wall, cpu, err := m.took(ctx, func() (err error) {
		m.list, err = m.sys.CreateMerchants(ctx, "bench", m.n)
		return err
	})
	if err != nil {
		return err
	}
	m.t.note(fmt.Sprintf("make %d merchants, 1000 in a request", m.n),
		fmt.Sprintf("%v, %.0f/s, %.0f µs of CPU each", wall.Round(100*time.Millisecond), float64(m.n)/wall.Seconds(), float64(cpu.Microseconds())/float64(m.n)))
	return nil
}

// know waits until a process that has just started knows all merchants.
func (m *many) know(ctx context.Context) error {
	began := time.Now()
	before, err := m.sys.CPU()
	if err == nil {
		err = m.quiet(ctx)
	}
	if err != nil {
		return err
	}
	cpu, err := m.sys.CPU()
	if err != nil {
		return err
	}
	memory, err := m.sys.Memory()
	m.t.note(fmt.Sprintf("a start with %d merchants until all are known; it serves from the start on", m.n),
		fmt.Sprintf("%v, %v of CPU, then %s resident", time.Since(began).Round(100*time.Millisecond), (cpu-before).Round(10*time.Millisecond), mb(memory)))
	return err
}

func (m *many) tick(ctx context.Context) error {
	if err := m.sys.Tick(ctx); err != nil {
		return err
	}
	return m.sys.WaitDelivered(ctx)
}

func (m *many) idleTick(ctx context.Context) error {
	if _, _, err := m.took(ctx, func() error { return m.tick(ctx) }); err != nil { // the first one looks for lost records
		return err
	}
	wall, cpu, err := m.took(ctx, func() error { return m.tick(ctx) })
	m.t.note(fmt.Sprintf("a tick with none of %d merchants active", m.n), fmt.Sprintf("%v, %v of CPU", wall.Round(time.Millisecond), cpu))
	return err
}

// closeHour sends events of the last hour, of each merchant some, and closes it.
func (m *many) closeHour(ctx context.Context) error {
	truth := loadtest.NewTruths()
	o := loadtest.DefaultMix(uint64(m.from.Unix()), loadtest.StreamsOf(m.list))
	o.Each, o.Late = true, 0
	mix := loadtest.NewMix(o, truth)
	const perRequest = 100
	// Each visit has four events on average; the hour passes at that pace.
	requests := m.n * 5 / perRequest
	at := func(i int) time.Time {
		return m.from.Add(min(time.Duration(i)*time.Hour/time.Duration(requests), time.Hour-1))
	}
	wall, cpu, err := m.took(ctx, func() error {
		err := loadtest.NewSender(m.sys.URL, 8).PostMix(ctx, mix, perRequest, at, func(i int) bool { return i < requests || mix.Visits() < m.n })
		if err != nil {
			return err
		}
		return m.sys.WaitDelivered(ctx)
	})
	if err != nil {
		return err
	}
	m.events = int(truth.Accepted())
	m.t.note(fmt.Sprintf("take in an hour's %d events of all %d merchants, until processed", m.events, m.n),
		fmt.Sprintf("%v, %.1f µs of CPU per event", wall.Round(100*time.Millisecond), float64(cpu.Microseconds())/float64(m.events)))
	began := time.Now()
	before, err := m.sys.CPU()
	if err != nil {
		return err
	}
	// A shard's budget may end before its work: a tick that costs next to nothing
	// has found no more.
	for last := before; ; {
		if err := m.tick(ctx); err != nil {
			return err
		}
		if err := m.quiet(ctx); err != nil {
			return err
		}
		now, err := m.sys.CPU()
		if err != nil {
			return err
		}
		if now-last < 100*time.Millisecond {
			break
		}
		last, wall = now, time.Since(began)
	}
	after, err := m.sys.CPU()
	if err != nil {
		return err
	}
	m.t.measured(fmt.Sprintf("close an hour in which all of 1 million merchants were active: extrapolated from %d", m.n), "min", budget{First: 10, Goal: 2},
		wall.Minutes()*1e6/float64(m.n), fmt.Sprintf("here %v, %.0f µs of CPU each", wall.Round(100*time.Millisecond), float64((after-before).Microseconds())/float64(m.n)))
	memory, err := m.sys.Memory()
	if err != nil {
		return err
	}
	m.t.note("resident memory after that", mb(memory))
	a, err := m.sys.Audit(ctx, m.list, truth, 300, 1, false, os.Stderr)
	if err == nil && a.Differences > 0 {
		err = fmt.Errorf("%d differences between what was sent and what is told", a.Differences)
	}
	return err
}

// oneActive closes an hour of one merchant, of whom an event has come.
func (m *many) oneActive(ctx context.Context) error {
	truth := loadtest.NewTruths()
	mix := loadtest.NewMix(loadtest.MixOptions{Seed: 5, Streams: loadtest.StreamsOf(m.list[m.n/2 : m.n/2+2])}, truth)
	one := mix.Request(nil, m.from.Add(-time.Hour), 1)
	if err := loadtest.NewSender(m.sys.URL, 1).Post(ctx, &one); err != nil {
		return err
	}
	if err := m.sys.WaitDelivered(ctx); err != nil {
		return err
	}
	wall, cpu, err := m.took(ctx, func() error { return m.tick(ctx) })
	m.t.note(fmt.Sprintf("a tick with one of %d merchants active", m.n), fmt.Sprintf("%v, %v of CPU", wall.Round(time.Millisecond), cpu))
	if err != nil {
		return err
	}
	// Where all are active in an hour that is open, a tick finds them and leaves them.
	o := loadtest.DefaultMix(6, loadtest.StreamsOf(m.list))
	o.Each, o.Late = true, 0
	mix = loadtest.NewMix(o, truth)
	now := time.Now()
	err = loadtest.NewSender(m.sys.URL, 8).PostMix(ctx, mix, 100, func(int) time.Time { return now }, func(int) bool { return mix.Visits() < m.n })
	if err == nil {
		err = m.sys.WaitDelivered(ctx)
	}
	if err != nil || event.HourOf(now) != event.HourOf(time.Now()) { // it is not open any more
		return err
	}
	wall, cpu, err = m.took(ctx, func() error { return m.tick(ctx) })
	m.t.note(fmt.Sprintf("a tick while all of %d merchants are active in an open hour", m.n), fmt.Sprintf("%v, %v of CPU", wall.Round(time.Millisecond), cpu))
	return err
}

// answers measures one client's reports of many merchants, one after another.
func (m *many) answers(ctx context.Context) error {
	const asked = 500
	_, cpu, err := m.took(ctx, func() error {
		for i := range asked {
			if _, err := m.sys.Totals(ctx, m.list[i*(m.n/asked)], "activeUsers,sessions,eventCount", m.from, m.to); err != nil {
				return err
			}
		}
		return nil
	})
	m.t.note(fmt.Sprintf("CPU of a report of today, of %d of %d merchants", asked, m.n), fmt.Sprintf("%.0f µs", float64(cpu.Microseconds())/asked))
	return err
}

// stored measures what stands in the folder of a Footfall that has ended.
func (m *many) stored(ctx context.Context, dir string) error {
	stores, err := embedded.Open(dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer stores.Close()
	sizes, err := stores.Sizes(ctx)
	if err != nil {
		return err
	}
	of := map[string]embedded.TableSize{}
	for _, s := range sizes {
		of[s.Name] = s
	}
	registry := of["merchants"].Disk + of["changes of merchants"].Disk + of["streams"].Disk
	m.t.note("registry, bytes per merchant on disk", fmt.Sprintf("%.0f", float64(registry)/float64(m.n)))
	hours, bytes := 0, 0
	for i := 0; i < m.n; i += max(1, m.n/20_000) {
		key := store.SummaryKey{Merchant: m.list[i].MerchantID, Generation: 1, Grain: store.GrainHour, Start: m.from.Unix()}
		got, err := stores.Summaries.Get(ctx, []store.SummaryKey{key})
		if err != nil {
			return err
		}
		if got[0] != nil {
			hours++
			bytes += len(got[0])
		}
	}
	m.t.measured(fmt.Sprintf("summary bytes per active merchant-hour: the hour's record, mean of %d, Zipf mix", hours), "B", budget{First: 256, Goal: 64}, float64(bytes)/float64(max(hours, 1)), "")
	summaries := of["summaries"]
	m.t.note("the same: all records of the hour, of its day and kept answers, as stored",
		fmt.Sprintf("%.0f, on disk %.0f", float64(summaries.Values)/float64(m.n), float64(summaries.Disk)/float64(m.n)))
	m.t.note("processed bytes per event on disk, quiet merchants' mix", fmt.Sprintf("%.0f", float64(of["documents"].Disk)/float64(m.events+m.n)))
	return nil
}
