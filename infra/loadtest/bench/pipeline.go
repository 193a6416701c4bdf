package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/loadtest/footprint"
	"github.com/footfall/footfall/shared/revision"
)

// history gives some merchants four weeks to report on.
func (b *bench) history(ctx context.Context) (err error) {
	if b.all, err = b.group(ctx, "all", b.plan.loaded); err != nil {
		return err
	}
	if err := b.scattered(ctx, b.all, b.plan.history, b.from); err != nil {
		return err
	}
	return b.settled(ctx)
}

// pipelines measures the whole way of events, in its three forms.
func (b *bench) pipelines(ctx context.Context) error {
	rows := []pipeline{
		{
			what: fmt.Sprintf("batches of 100, of %d merchants", b.plan.merchants), merchants: b.plan.merchants, events: b.plan.batched, perRequest: 100, connections: 8,
			cpu: budget{First: 20, Goal: 8}, rate: budget{First: 30_000, Goal: 100_000, More: true},
		},
		{
			what: fmt.Sprintf("one event per request, of %d merchants", b.plan.merchants), merchants: b.plan.merchants, events: b.plan.single, perRequest: 1, connections: 64,
			cpu: budget{First: 60, Goal: 42},
		},
	}
	if b.plan.spread > 0 {
		rows = append(rows, pipeline{
			what: fmt.Sprintf("batches of 100, of %d merchants, 2 %% of visits up to three days late", b.plan.spread), late: true,
			merchants: b.plan.spread, events: b.plan.batched / 2, perRequest: 100, connections: 8,
		})
	}
	for i, p := range rows {
		if !strings.Contains(p.what, b.only) {
			continue
		}
		g, err := b.pipeline(ctx, p)
		if err != nil {
			return err
		}
		if i == 0 {
			b.batched = g
		}
	}
	return nil
}

// pipeline is one row of the pipeline with its stages.
type pipeline struct {
	what                                       string
	late                                       bool // some of the events are
	merchants, events, perRequest, connections int
	cpu, rate                                  budget
}

// pipeline sends events and measures the CPU time of everything until they are
// archived, processed and summarised, for merchants that have nothing else.
func (b *bench) pipeline(ctx context.Context, p pipeline) (*group, error) {
	g, err := b.group(ctx, p.what, p.merchants)
	if err != nil {
		return nil, err
	}
	g.punctual = !p.late
	before, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	batches, err := b.batches(ctx)
	if err != nil {
		return nil, err
	}
	profile := b.profile(ctx)
	began := time.Now()
	if err := b.post(ctx, g, p.events, p.perRequest, p.connections, b.to.Add(-2*time.Hour), b.to); err != nil {
		return nil, err
	}
	accepted := time.Since(began)
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return nil, err
	}
	delivered := time.Since(began)
	if err := b.summarised(ctx); err != nil {
		return nil, err
	}
	after, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	stages, err := profile()
	if err != nil {
		return nil, err
	}
	written, err := b.batches(ctx)
	if err != nil {
		return nil, err
	}
	events := float64(g.truth.Accepted())
	each := float64((after - before).Nanoseconds()) / events / 1e3
	b.t.measured("whole pipeline, CPU per event, "+p.what, "µs", p.cpu, each, "")
	for _, s := range stages {
		b.t.note("&nbsp; of it "+s.name, show(each*s.share, "µs"))
	}
	if written > batches {
		b.t.note("&nbsp; events in a batch", show(events/(written-batches), ""))
	}
	b.t.measured("events/s sustained, nothing pending at the end, "+p.what, "", p.rate, events/delivered.Seconds(),
		"accepted at "+show(events/accepted.Seconds(), ""))
	return g, b.check(ctx, g)
}

// batches is how many the process has written; 0 of a system that is more than
// one process.
func (b *bench) batches(ctx context.Context) (float64, error) {
	if b.sys.PIDs != nil {
		return 0, nil
	}
	return b.sys.Metric(ctx, "footfall_ingest_batches_total")
}

// lateEvents sends events of the last two days to merchants whose hours are
// closed, and measures what it takes to have them in every summary.
func (b *bench) lateEvents(ctx context.Context) error {
	before, err := b.sys.CPU()
	if err != nil {
		return err
	}
	there := b.batched.truth.Accepted()
	if err := b.scattered(ctx, b.batched, b.plan.late, b.to.Add(-48*time.Hour)); err != nil {
		return err
	}
	if err := b.settled(ctx); err != nil {
		return err
	}
	after, err := b.sys.CPU()
	if err != nil {
		return err
	}
	b.t.note(fmt.Sprintf("CPU of a late event: %d over 48 hours of %d merchants who had %d in two of them", b.plan.late, len(b.batched.merchants), there),
		show(milliseconds(after-before)/float64(b.plan.late), "ms"))
	return b.check(ctx, b.batched)
}

// archived measures the bytes that the archive spends on an event.
func (b *bench) archived(context.Context) error {
	bytes, err := footprint.FolderBytes(filepath.Join(b.sys.Data, "archive"))
	b.t.measured("archive bytes per event, of 660 B of JSON on average", "B", archiveBudget, float64(bytes)/float64(b.sent()), "")
	return err
}

var archiveBudget = budget{First: 60, Goal: 40}

// reprocess replays all that was sent, and finds that nothing changes.
func (b *bench) reprocess(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"from":%q,"reason":"bench"}`, time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339))
	var job revision.Job
	if err := b.sys.Do(ctx, http.MethodPost, "/v1/reprocess", b.sys.AdminToken, "application/json", body, http.StatusAccepted, &job); err != nil {
		return err
	}
	began := time.Now()
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
			if s.ProblemCount > 0 || s.Progress[0].Counts.Events < b.sent() {
				return fmt.Errorf("expected %d events replayed without problems, got %+v", b.sent(), s)
			}
			b.t.measured("reprocess, events/s replayed", "", budget{First: 150_000, Goal: 500_000, More: true}, s.Progress[0].EventsPerSecond,
				"the whole job, comparison included: "+show(float64(b.sent())/time.Since(began).Seconds(), ""))
			return nil
		}
	}
}

var errNotFromDocuments = errors.New("expected the answer to come from processed data")
