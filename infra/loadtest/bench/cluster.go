package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/footfall/footfall/infra/cluster"
	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/hdfs"
)

// clusterPlan is small: MongoDB's stand-in is one Python process, and bounds
// what the cluster takes. What functions cost, it leaves measurable.
var clusterPlan = plan{
	name: "make bench-cluster", merchants: 5, history: 1000, batched: 20_000, single: 1_000, late: 100,
	loaded: 5, loadFor: 10 * time.Second, rate: 500, reports: 10,
}

// runCluster measures a cluster on this machine by the same rows: the CPU of
// functions and dispatcher, and beside it that of the servers.
func runCluster(ctx context.Context, t *table, p plan) error {
	checkout, err := services.Checkout()
	if err != nil {
		return err
	}
	cache, err := services.CacheDir()
	if err != nil {
		return err
	}
	software, err := services.Fetch(ctx, cache, os.Stderr, services.KindKafka, services.KindHDFS, services.KindRedis, services.KindMongoDB)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "footfall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binaries := filepath.Join(dir, "bin")
	if err := cluster.Build(ctx, checkout, binaries); err != nil {
		return err
	}
	started := time.Now()
	c, err := cluster.Start(ctx, cluster.Options{Software: software, Binaries: binaries, Data: dir, Environ: quickFiles, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { _ = c.Stop() }() // what was measured is measured
	t.note("cluster: start to ready, servers included", time.Since(started).Round(100*time.Millisecond).String())
	sys := &loadtest.Process{URL: c.URL(), AdminToken: c.AdminToken(), PIDs: c.PIDs, Pause: 200 * time.Millisecond}
	memory, err := sys.Memory()
	if err != nil {
		return err
	}
	t.note("cluster: resident memory, idle, of 12 functions and the dispatcher", mb(memory))

	b := &bench{t: t, plan: p, dir: dir, sys: sys, to: time.Now().UTC().Truncate(time.Hour)}
	b.from = b.to.Add(-27 * 24 * time.Hour)
	b.rest = b.closed
	for _, step := range []func(context.Context) error{
		b.history,
		func(ctx context.Context) error {
			return b.withServers(c, func() error { return b.pipelines(ctx) })
		},
		b.lateEvents, b.underLoad,
		func(ctx context.Context) error { return b.archivedInHDFS(ctx, c, started) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	t.Plan += "; MongoDB's stand-in is one Python process: it bounds events/s and freshness, and says nothing of MongoDB's own speed"
	return nil
}

// quickFiles lets the archive complete its files within the run, to be measured.
func quickFiles(name string) []string {
	if name != "archive" {
		return nil
	}
	return []string{function.Prefix + "ARCHIVE_FILE_IDLE=2s"}
}

// withServers measures what the servers spend on what do sends.
func (b *bench) withServers(c *cluster.Cluster, do func() error) error {
	events := b.sent()
	pids := c.ServerPIDs()
	before := map[string]time.Duration{}
	for name, pid := range pids {
		var err error
		if before[name], err = loadtest.CPUOf(pid); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	events = b.sent() - events
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		after, err := loadtest.CPUOf(pids[name])
		if err != nil {
			return err
		}
		b.t.note("CPU per event of these rows beside that, "+name, show(float64((after-before[name]).Nanoseconds())/float64(events)/1e3, "µs"))
	}
	return nil
}

// closed waits until every summary holds what was sent.
func (b *bench) closed(ctx context.Context) error {
	if err := b.sys.WaitDelivered(ctx); err != nil {
		return err
	}
	for _, g := range b.groups {
		if err := b.check(ctx, g); err != nil {
			return err
		}
	}
	if err := b.sys.Tick(ctx); err != nil {
		return err
	}
	pause := time.NewTicker(b.sys.Pause)
	defer pause.Stop()
	for _, g := range b.groups {
		for _, m := range g.merchants {
			for {
				open, err := b.sys.HoursFromDocuments(ctx, m, b.from, b.to)
				if err != nil {
					return err
				}
				if open == 0 {
					break
				}
				select {
				case <-ctx.Done():
					return fmt.Errorf("%d hours of merchant %s are not summarised: %w", open, m.MerchantID, ctx.Err())
				case <-pause.C:
				}
			}
		}
	}
	return nil
}

// archivedInHDFS measures the bytes that the archive spends on an event: the
// blocks of what stands in complete files.
func (b *bench) archivedInHDFS(ctx context.Context, c *cluster.Cluster, since time.Time) error {
	var cfg hdfs.Config
	if err := function.Load([]string{function.Prefix + "HDFS_NAMENODES=" + c.HDFS.Addr()}, nil, &cfg); err != nil {
		return err
	}
	a, err := hdfs.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.Close()
	var files []store.ArchiveFile
	complete := func(f store.ArchiveFile) bool { return f.Complete }
	for begin := time.Now(); !slices.ContainsFunc(files, complete) && time.Since(begin) < 30*time.Second; time.Sleep(b.sys.Pause) {
		if files, err = a.List(ctx, event.HourOf(since), event.HourOf(time.Now())+1); err != nil {
			return err
		}
	}
	var bytes, events int64
	for _, f := range files {
		if !f.Complete {
			continue
		}
		r, err := a.Open(ctx, f.Path)
		if err != nil {
			return err
		}
		for batches := event.NewReader(r); ; {
			batch, err := batches.Next()
			if err != nil {
				if err == io.EOF { //nolint:errorlint // the reader's own
					break
				}
				return err
			}
			events += int64(len(batch.Events))
		}
		r.Close()
		bytes += f.Bytes
	}
	const what = "archive bytes per event, of 660 B of JSON on average, in HDFS"
	if events == 0 {
		b.t.note(what, "no file is complete yet")
		return nil
	}
	b.t.measured(what, "B", archiveBudget, float64(bytes)/float64(events), "")
	return nil
}
