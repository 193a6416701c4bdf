// Command bench measures the real binary against the budgets and prints one
// table. It starts Footfall on this machine, sends seeded traffic over HTTP,
// and reads the process's own CPU time, so the load generator beside it does
// not count. With "run" it is itself that Footfall, with no ticks but those that
// it is sent.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/shared/revision"
)

type plan struct {
	merchants       int
	history         int // requests of 100 events over four weeks
	batched, single int // events
	late            int // events after their hours were closed
	freshness       time.Duration
	rate            int // events/s while freshness and reports are measured
	reports         int // reports/s
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		if err := withoutTicks(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	binary := flag.String("binary", "bin/footfall", "the Footfall binary")
	quick := flag.Bool("quick", false, "smaller runs, half a minute in all")
	onCluster := flag.Bool("cluster", false, "measure a cluster on this machine instead: real servers, each function as two processes")
	many := flag.Int("merchants", 0, "measure only what goes by the number of merchants, with so many; 1000000 takes some ten minutes")
	flag.Parse()
	p := plan{merchants: 20, history: 300, batched: 1_000_000, single: 100_000, late: 2_000, freshness: 20 * time.Second, rate: 11_574, reports: 200}
	if *quick {
		p = plan{merchants: 20, history: 300, batched: 200_000, single: 40_000, late: 1_000, freshness: 5 * time.Second, rate: 5_000, reports: 100}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute+time.Duration(*many)*3*time.Millisecond)
	defer cancel()
	measure := func() error { return run(ctx, *binary, p) }
	if *many > 0 {
		measure = func() error {
			t := &table{}
			defer t.print()
			return manyMerchants(ctx, t, *many)
		}
	}
	if *onCluster {
		measure = func() error { return runCluster(ctx) }
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, p plan) error {
	dir, err := os.MkdirTemp("", "footfall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := &table{}
	started := time.Now()
	sys, err := loadtest.Start(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer func() { _ = sys.Kill() }()
	t.add("local runner: start to ready, empty", "1 s", "0.3 s", time.Since(started).Round(time.Millisecond).String())
	memory, err := sys.Memory()
	if err != nil {
		return err
	}
	t.add("local runner: resident memory, idle, empty", "", "", mb(memory))

	b, err := newBench(ctx, sys, p.merchants)
	if err != nil {
		return err
	}
	if err := b.history(ctx, p.history); err != nil {
		return err
	}
	batched, err := b.pipeline(ctx, t, p.batched, 100)
	if err != nil {
		return err
	}
	if _, err := b.pipeline(ctx, t, p.single, 1); err != nil {
		return err
	}
	if err := b.archived(t); err != nil {
		return err
	}
	if err := b.late(ctx, t, batched, p.late); err != nil {
		return err
	}
	if err := b.underLoad(ctx, t, p); err != nil {
		return err
	}
	if memory, err = sys.Memory(); err != nil {
		return err
	}
	t.add(fmt.Sprintf("resident memory after %d events", b.sent), "250 MB", "120 MB", mb(memory))
	if err := sys.Stop(); err != nil {
		return fmt.Errorf("footfall did not stop cleanly: %w", err)
	}
	started = time.Now()
	if sys, err = loadtest.Start(ctx, binary, dir, "FOOTFALL_REPROCESS_CUT_MARGIN=1s"); err != nil {
		return err
	}
	t.add("local runner: start to ready, with that data", "1 s", "0.3 s", time.Since(started).Round(time.Millisecond).String())
	if memory, err = sys.Memory(); err != nil {
		return err
	}
	t.add("local runner: resident memory after that start", "250 MB", "120 MB", mb(memory))
	b.sys = sys
	if err := b.reprocess(ctx, t); err != nil {
		return err
	}
	t.print()
	return nil
}

// bench is a run.
type bench struct {
	sys      *loadtest.Process
	all      *group    // those with four weeks to report on
	groups   []*group  // these and those that rows have to themselves
	from, to time.Time // the span of event times
	seed     uint64
	sent     int
	// rest waits until all that was sent is delivered and worked off; nil: until
	// next to no CPU is used, which of many processes is never so.
	rest func(ctx context.Context) error
}

func newBench(ctx context.Context, sys *loadtest.Process, merchants int) (b *bench, err error) {
	b = &bench{sys: sys, to: time.Now().UTC().Truncate(time.Hour), seed: 1}
	b.from = b.to.Add(-27 * 24 * time.Hour)
	b.all, err = b.group(ctx, "all", merchants)
	return b, err
}

// group are merchants that a row has to itself: closing an hour counts all that
// stands in it, and the events of one row are none of the next one's cost.
type group struct {
	merchants []loadtest.Merchant
	streams   []string
	truth     []loadtest.Truth
}

func (b *bench) group(ctx context.Context, name string, n int) (*group, error) {
	g := &group{truth: make([]loadtest.Truth, n)}
	for i := range n {
		m, err := b.sys.CreateMerchant(ctx, fmt.Sprintf("bench %s %d", name, i))
		if err != nil {
			return nil, err
		}
		g.merchants = append(g.merchants, m)
		g.streams = append(g.streams, m.Streams[0].MeasurementID)
	}
	b.groups = append(b.groups, g)
	return g, nil
}

// sent is how many events they have been sent, duplicates included.
func (g *group) sent() (n int64) {
	for _, t := range g.truth {
		n += t.Sent
	}
	return n
}

// traffic of closed hours, so that a tick summarises all of it.
func (b *bench) traffic(g *group, from time.Time) *loadtest.Traffic {
	b.seed++
	return loadtest.NewTraffic(loadtest.TrafficOptions{
		Seed: b.seed, Streams: g.streams, From: from, Span: b.to.Sub(from), Duplicates: 0.03,
	})
}

// pipeline sends events and measures the CPU time of everything until they are
// archived, processed and summarised, for merchants that have nothing else.
func (b *bench) pipeline(ctx context.Context, t *table, events, perRequest int) (*group, error) {
	g, err := b.group(ctx, fmt.Sprintf("batches of %d", perRequest), len(b.all.merchants))
	if err != nil {
		return nil, err
	}
	before, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	contentType, connections := loadtest.ContentTypeBatch, 8
	if perRequest == 1 {
		contentType, connections = loadtest.ContentTypeSingle, 64
	}
	bodies := make(chan []byte, 64)
	source := b.traffic(g, b.to.Add(-2*time.Hour))
	go func() {
		defer close(bodies)
		for i := 0; i*perRequest < events; i++ {
			var body []byte
			if perRequest == 1 {
				body = source.AppendEvent(nil, g.truth)
			} else {
				body = source.AppendBatch(make([]byte, 0, 80<<10), perRequest, g.truth)
			}
			select {
			case bodies <- body:
			case <-ctx.Done():
				return
			}
		}
	}()
	started := time.Now()
	if err := loadtest.NewSender(b.sys.URL, connections).PostAll(ctx, contentType, bodies); err != nil {
		return nil, err
	}
	accepted := time.Since(started)
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return nil, err
	}
	counted := time.Since(started)
	if err := b.summarised(ctx); err != nil {
		return nil, err
	}
	after, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	b.sent += events
	perEvent := (after - before) / time.Duration(events)
	what := fmt.Sprintf("batches of %d", perRequest)
	first, goal := "20 µs", "8 µs"
	if perRequest == 1 {
		what, first, goal = "one event per request", "60 µs", "42 µs"
	}
	t.add("whole pipeline, CPU per event, "+what, first, goal, fmt.Sprintf("%.1f µs", float64(perEvent)/1e3))
	rate := float64(events) / counted.Seconds()
	first, goal = "30,000", "100,000"
	if perRequest == 1 {
		first, goal = "", ""
	}
	t.add("events/s sustained, nothing pending at the end, "+what, first, goal, fmt.Sprintf("%.0f (accepted at %.0f)", rate, float64(events)/accepted.Seconds()))
	if err := b.counted(ctx, g); err != nil {
		return nil, err
	}
	return g, b.sys.CheckReports(ctx, g.merchants, g.truth, b.from, b.to)
}

// late sends events of the last two days to merchants whose hours are closed,
// and measures what it takes to have them in every summary.
func (b *bench) late(ctx context.Context, t *table, g *group, events int) error {
	before, err := b.sys.CPU()
	if err != nil {
		return err
	}
	source, sender := b.traffic(g, b.to.Add(-48*time.Hour)), loadtest.NewSender(b.sys.URL, 1)
	for range events / 100 {
		if err := sender.Post(ctx, loadtest.ContentTypeBatch, source.AppendBatch(nil, 100, g.truth)); err != nil {
			return err
		}
	}
	b.sent += events
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return err
	}
	if err := b.summarised(ctx); err != nil {
		return err
	}
	after, err := b.sys.CPU()
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("CPU of %d late events over 48 hours of %d merchants, %d events of theirs before", events, len(g.merchants), g.sent()-int64(events)),
		"", "", (after - before).Round(10*time.Millisecond).String())
	if err := b.counted(ctx, g); err != nil {
		return err
	}
	return b.sys.CheckReports(ctx, g.merchants, g.truth, b.from, b.to)
}

// reprocess replays all that was sent, and finds that nothing changes.
func (b *bench) reprocess(ctx context.Context, t *table) error {
	body := fmt.Appendf(nil, `{"from":%q,"reason":"bench"}`, time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339))
	var job revision.Job
	if err := b.sys.Do(ctx, http.MethodPost, "/v1/reprocess", b.sys.AdminToken, "application/json", body, http.StatusAccepted, &job); err != nil {
		return err
	}
	started := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := b.sys.Tick(ctx); err != nil {
			return err
		}
		var s revision.Status
		if err := b.sys.Do(ctx, http.MethodGet, fmt.Sprintf("/v1/reprocess/%d", job.Revision), b.sys.AdminToken, "", nil, http.StatusOK, &s); err != nil {
			return err
		}
		switch s.State {
		case revision.Failed:
			return fmt.Errorf("the reprocess failed: %+v", s.Problems)
		case revision.Compared:
			if s.ProblemCount > 0 || s.Progress[0].Counts.Events < int64(b.sent) {
				return fmt.Errorf("expected %d events replayed without problems, got %+v", b.sent, s)
			}
			t.add("reprocess, events/s replayed (the whole job, comparison included)", "150,000", "500,000",
				fmt.Sprintf("%.0f (%.0f)", s.Progress[0].EventsPerSecond, float64(b.sent)/time.Since(started).Seconds()))
			return nil
		}
	}
}

// summarised fires the ticks when all is at rest, and waits until it is again.
func (b *bench) summarised(ctx context.Context) error {
	if b.rest != nil {
		return b.rest(ctx)
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	if err := b.sys.Tick(ctx); err != nil {
		return err
	}
	return b.quiet(ctx)
}

// history gives every merchant four weeks to report on.
func (b *bench) history(ctx context.Context, requests int) error {
	source := b.traffic(b.all, b.from)
	sender := loadtest.NewSender(b.sys.URL, 1)
	for range requests {
		if err := sender.Post(ctx, loadtest.ContentTypeBatch, source.AppendBatch(nil, 100, b.all.truth)); err != nil {
			return err
		}
		b.sent += 100
	}
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return err
	}
	return b.summarised(ctx)
}

func (b *bench) counted(ctx context.Context, g *group) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return b.sys.WaitCounted(ctx, g.merchants, g.truth, b.from.Truncate(time.Hour), b.to.Add(time.Hour))
}

// quiet waits until the process has used next to no CPU for half a second.
func (b *bench) quiet(ctx context.Context) error {
	pause := time.NewTicker(500 * time.Millisecond)
	defer pause.Stop()
	last, err := b.sys.CPU()
	for err == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		var now time.Duration
		if now, err = b.sys.CPU(); now-last <= 20*time.Millisecond {
			return err
		}
		last = now
	}
	return err
}

// archived measures the bytes that the archive spends on an event.
func (b *bench) archived(t *table) error {
	var bytes int64
	err := filepath.WalkDir(filepath.Join(b.sys.Data, "archive"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	t.add("archive bytes per event (of about 700 B JSON)", "60", "40", fmt.Sprintf("%.0f", float64(bytes)/float64(b.sent)))
	return nil
}

// underLoad measures freshness and reports while events come in at a rate.
func (b *bench) underLoad(ctx context.Context, t *table, p plan) error {
	probe, err := b.sys.CreateMerchant(ctx, "bench probe")
	if err != nil {
		return err
	}
	loadCtx, stopLoad := context.WithTimeout(ctx, p.freshness)
	defer stopLoad()
	loaded := make(chan error, 1)
	go func() { loaded <- b.steady(loadCtx, p.rate) }()
	reports := make(chan []time.Duration, 1)
	go func() { reports <- b.report(loadCtx, p.reports) }()

	var fresh []time.Duration
	sender := loadtest.NewSender(b.sys.URL, 1)
	traffic := loadtest.NewTraffic(loadtest.TrafficOptions{Seed: 99, Streams: []string{probe.Streams[0].MeasurementID}})
	truth := make([]loadtest.Truth, 1)
	for loadCtx.Err() == nil {
		if err := sender.Post(ctx, loadtest.ContentTypeSingle, traffic.AppendEvent(nil, truth)); err != nil {
			return err
		}
		accepted := time.Now()
		for seen := false; !seen; {
			day := time.Now().UTC()
			row, err := b.sys.Totals(ctx, probe, "eventCount", day.AddDate(0, 0, -1), day)
			if err != nil {
				return err
			}
			seen = row[0] >= float64(truth[0].Events)
		}
		fresh = append(fresh, time.Since(accepted))
	}
	latencies := <-reports
	if err := <-loaded; err != nil {
		return err
	}
	t.add(fmt.Sprintf("accepted → visible in a report, p50 / p99, at %d events/s", p.rate), "5 s", "2 s", quantiles(fresh))
	t.add(fmt.Sprintf("report of 28 days by day, p50 / p99, at %d/s while %d events/s come in", p.reports, p.rate), "10 ms at 1,400/s", "2 ms", quantiles(latencies))
	return b.counted(ctx, b.all)
}

// steady sends batches of 100 at a rate until ctx ends.
func (b *bench) steady(ctx context.Context, rate int) error {
	source := b.traffic(b.all, b.to.Add(-2*time.Hour))
	sender := loadtest.NewSender(b.sys.URL, 8)
	bodies := make(chan []byte, 256)
	done := make(chan error, 1)
	go func() { done <- sender.PostAll(context.WithoutCancel(ctx), loadtest.ContentTypeBatch, bodies) }()
	pace := time.NewTicker(time.Second * 100 / time.Duration(rate))
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			close(bodies)
			return <-done
		case <-pace.C:
			body := source.AppendBatch(make([]byte, 0, 80<<10), 100, b.all.truth)
			b.sent += 100
			bodies <- body
		}
	}
}

// report asks for 28 days by day at a rate, open loop: a latency counts from
// the moment at which the request was due.
func (b *bench) report(ctx context.Context, rate int) []time.Duration {
	q := url.Values{
		"metrics":    {"activeUsers,newUsers,sessions,engagedSessions,screenPageViews,eventCount,purchaseRevenue"},
		"dimensions": {"date"}, "from": {b.from.Format(time.DateOnly)}, "to": {b.to.Format(time.DateOnly)},
	}
	pace := time.NewTicker(time.Second / time.Duration(rate))
	defer pace.Stop()
	type due struct {
		at time.Time
		m  loadtest.Merchant
	}
	queue, out := make(chan due, 10_000), make(chan time.Duration, 10_000)
	var all []time.Duration
	const clients = 8
	ended := make(chan struct{}, clients)
	for range clients {
		go func() {
			defer func() { ended <- struct{}{} }()
			for d := range queue {
				err := b.sys.Do(context.WithoutCancel(ctx), http.MethodGet, "/v1/reports/"+d.m.MerchantID+"?"+q.Encode(), d.m.ReportToken, "", nil, http.StatusOK, nil)
				if err == nil {
					out <- time.Since(d.at)
				}
			}
		}()
	}
	collected := make(chan struct{})
	go func() {
		for d := range out {
			all = append(all, d)
		}
		close(collected)
	}()
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
		case at := <-pace.C:
			queue <- due{at, b.all.merchants[i%len(b.all.merchants)]}
		}
	}
	close(queue)
	for range clients {
		<-ended
	}
	close(out)
	<-collected
	return all
}

func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))].Round(100 * time.Microsecond) }
	return fmt.Sprintf("%v / %v", at(0.5), at(0.99))
}

func mb(bytes int64) string { return fmt.Sprintf("%d MB", bytes>>20) }

// table is what is printed at the end.
type table struct{ rows [][4]string }

func (t *table) add(what, first, goal, here string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, here)
	t.rows = append(t.rows, [4]string{what, first, goal, here})
}

func (t *table) print() {
	fmt.Println("| what | first target | goal | here |\n|---|---|---|---|")
	for _, r := range t.rows {
		fmt.Printf("| %s | %s | %s | %s |\n", r[0], r[1], r[2], r[3])
	}
}
