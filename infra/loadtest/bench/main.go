// Command bench measures the real binary against the budgets and prints one
// table. It starts Footfall on this machine, sends it the traffic of sites over
// HTTP, reads the process's own CPU time, so that the load generator beside it
// does not count, and compares in the end what reports and ledgers say with what
// was sent. With "run" it is itself that Footfall, with no ticks but those that
// it is sent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
)

// plan says how much of everything is measured.
type plan struct {
	name            string
	merchants       int // of the rows of the pipeline
	spread          int // merchants of the row with many
	history         int // events over four weeks
	batched, single int // events of the rows of the pipeline
	late            int // events after their hours were closed
	adhoc           int // events of the merchant about whom ad hoc questions are asked
	loaded          int // merchants while reports are asked for under load
	loadFor         time.Duration
	rate            float64 // events/s meanwhile
	reports         float64 // reports/s meanwhile
	mixed           float64 // reports/s of all kinds, after that
	closed          int     // merchants whose hour is closed
}

var (
	full = plan{
		name: "make bench", merchants: 20, spread: 1000, history: 30_000, batched: 1_000_000, single: 100_000, late: 2_000, adhoc: 1_000_000,
		loaded: 1000, loadFor: 30 * time.Second, rate: 11_574, reports: 1400, mixed: 100, closed: 20_000,
	}
	small = plan{
		name: "make bench-quick", merchants: 20, spread: 1000, history: 30_000, batched: 200_000, single: 20_000, late: 1_000, adhoc: 100_000,
		loaded: 200, loadFor: 5 * time.Second, rate: 11_574, reports: 1400, mixed: 100, closed: 1000,
	}
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		if err := withoutTicks(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	binary := flag.String("binary", "bin/footfall", "the Footfall binary")
	quick := flag.Bool("quick", false, "smaller runs, a minute in all")
	onCluster := flag.Bool("cluster", false, "measure a cluster on this machine instead: real servers, each function as two processes")
	only := flag.String("only", "", "measure only the rows of the pipeline whose names contain this, such as \"one event\"")
	profiles := flag.String("profile", "", "a file for the CPU profile of the last of the pipeline's rows")
	many := flag.Int("merchants", 0, "measure only what goes by the number of merchants, with so many; 1000000 takes some ten minutes")
	file := flag.String("json", "", "a file for the table as programs read it, besides")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute+time.Duration(*many)*3*time.Millisecond)
	defer cancel()
	p := full
	measure := func(t *table) error {
		return run(ctx, t, bench{binary: *binary, plan: p, only: *only, profileFile: *profiles})
	}
	switch {
	case *many > 0:
		p.name = "what goes by the number of merchants"
		measure = func(t *table) error { return manyMerchants(ctx, t, *many) }
	case *onCluster:
		p = clusterPlan
		measure = func(t *table) error { return runCluster(ctx, t, p) }
	case *quick:
		p = small
	}
	t := newTable(p.name)
	err := measure(t)
	t.print(os.Stdout) // what was measured until then, too
	if err == nil && *file != "" {
		err = t.save(*file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures one process on embedded defaults.
func run(ctx context.Context, t *table, b bench) error {
	dir, err := os.MkdirTemp("", "footfall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.t, b.dir, b.to = t, dir, time.Now().UTC().Truncate(time.Hour)
	b.from = b.to.Add(-27 * 24 * time.Hour)
	defer func() {
		if b.sys != nil {
			_ = b.sys.Kill()
		}
	}()
	if err := b.start(ctx, "empty", profiled); err != nil {
		return err
	}
	steps := []func(context.Context) error{b.history, b.pipelines}
	if b.only == "" {
		steps = append(steps, b.archived, b.lateEvents, b.underLoad, b.adHoc, b.restart, b.reprocess, b.oneCore)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := b.sys.Stop(); err != nil {
		return fmt.Errorf("footfall did not stop cleanly: %w", err)
	}
	if b.only != "" {
		return nil
	}
	return errors.Join(manyMerchants(ctx, t, b.plan.closed), coldStarts(ctx, t))
}

// bench is a run.
type bench struct {
	t           *table
	plan        plan
	dir, binary string
	only        string // of the pipeline's rows those whose names contain it, and nothing else
	profileFile string // of the last of these rows
	sys         *loadtest.Process
	from, to    time.Time // the span of history
	seed        uint64
	all         *group   // those with four weeks to report on
	batched     *group   // those with many events in two hours
	groups      []*group // these and those that rows have to themselves
	// rest waits until all that was sent is delivered and worked off; nil: until
	// next to no CPU is used, which of many processes is never so.
	rest func(ctx context.Context) error
}

// start starts the binary on what stands in its folder.
func (b *bench) start(ctx context.Context, with string, environ ...string) error {
	began := time.Now()
	sys, err := loadtest.Start(ctx, b.binary, b.dir, environ...)
	if err != nil {
		return err
	}
	took := time.Since(began)
	b.sys = sys
	b.t.measured("local runner: start to ready, "+with, "ms", budget{First: 1000, Goal: 300}, float64(took.Microseconds())/1e3, "")
	memory, err := sys.Memory()
	if err != nil {
		return err
	}
	b.t.measured("local runner: resident memory, idle, "+with, "MB", budget{First: 250, Goal: 120}, float64(memory)/1e6, "")
	return nil
}

// restart is the same with all that stands there by now.
func (b *bench) restart(ctx context.Context) error {
	memory, err := b.sys.Memory()
	if err != nil {
		return err
	}
	b.t.note(fmt.Sprintf("local runner: resident memory after all this, %d events", b.sent()), mb(memory))
	if err := b.sys.Stop(); err != nil {
		return fmt.Errorf("footfall did not stop cleanly: %w", err)
	}
	return b.start(ctx, fmt.Sprintf("with %d events", b.sent()), "FOOTFALL_REPROCESS_CUT_MARGIN=1s")
}

// group are merchants that a row has to itself: closing an hour counts all that
// stands in it, and the events of one row are none of the next one's cost.
type group struct {
	merchants []loadtest.Merchant
	truth     *loadtest.Truths
	again     bool // requests were sent more than once
	// punctual are merchants none of whose events is late: late ones have hours
	// counted again, which lateEvents measures.
	punctual bool
}

func (b *bench) group(ctx context.Context, name string, n int) (*group, error) {
	list, err := b.sys.CreateMerchants(ctx, "bench "+name, n)
	if err != nil {
		return nil, err
	}
	g := &group{merchants: list, truth: loadtest.NewTruths()}
	b.groups = append(b.groups, g)
	return g, nil
}

// sent is how many events were accepted.
func (b *bench) sent() (n int64) {
	for _, g := range b.groups {
		n += g.truth.Accepted()
	}
	return n
}

// mix is new traffic for a group.
func (b *bench) mix(g *group) loadtest.MixOptions {
	b.seed++
	o := loadtest.DefaultMix(b.seed, loadtest.StreamsOf(g.merchants))
	if g.punctual {
		o.Late = 0
	}
	return o
}

// post sends n events of a group's visits from from to to, perRequest at once
// (1: alone), as fast as they are taken.
func (b *bench) post(ctx context.Context, g *group, n, perRequest, connections int, from, to time.Time) error {
	requests := n / perRequest
	step := to.Sub(from) / time.Duration(requests)
	sender := loadtest.NewSender(b.sys.URL, connections)
	defer sender.Close()
	if perRequest == 1 {
		perRequest = 0
	}
	err := sender.PostMix(ctx, loadtest.NewMix(b.mix(g), g.truth), perRequest,
		func(i int) time.Time { return from.Add(time.Duration(i) * step) }, func(i int) bool { return i < requests })
	g.again = g.again || sender.Outcome().SentAgain()
	return err
}

// scattered sends n events of visits here and there from from to b.to: each
// hundred is of visits of its own, for no visit lasts from one to the next.
func (b *bench) scattered(ctx context.Context, g *group, n int, from time.Time) error {
	for i := range n / 100 {
		at := from.Add(b.to.Sub(from) * time.Duration(i) / time.Duration(n/100))
		if err := b.post(ctx, g, 100, 10, 1, at, at.Add(10*time.Minute)); err != nil {
			return err
		}
	}
	return nil
}

// settled has all that was sent delivered, processed and summarised.
func (b *bench) settled(ctx context.Context) error {
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return err
	}
	return b.summarised(ctx)
}

// check compares what is told of a group with what was sent, for up to a hundred
// of its merchants.
func (b *bench) check(ctx context.Context, g *group) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	a, err := b.sys.Audit(ctx, g.merchants, g.truth, 100, 1, g.again, os.Stderr)
	if err == nil && a.Differences > 0 {
		err = fmt.Errorf("%d lost, %d doubled, %d differences between what was sent and what is told", a.Lost, a.Doubled, a.Differences)
	}
	return err
}

// summarised fires the ticks when all is at rest, and waits until it is again.
func (b *bench) summarised(ctx context.Context) error {
	if b.rest != nil {
		return b.rest(ctx)
	}
	if err := b.sys.Quiet(ctx); err != nil {
		return err
	}
	if err := b.sys.Tick(ctx); err != nil {
		return err
	}
	return b.sys.Quiet(ctx)
}

func mb(bytes int64) string { return show(float64(bytes)/1e6, "MB") }
