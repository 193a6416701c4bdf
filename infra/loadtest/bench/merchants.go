package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/local"
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
	_, err = loadtest.MeasureMany(ctx, self, dir, n, func(step string, m *loadtest.Many) { tellMany(t, step, m) })
	return err
}

// tellMany adds the rows of a step.
func tellMany(t *table, step string, m *loadtest.Many) {
	n := m.Merchants
	cost := func(c loadtest.Cost) string {
		return fmt.Sprintf("%v, %v of CPU", c.Wall.Round(time.Millisecond), c.CPU.Round(time.Millisecond))
	}
	switch step {
	case "provision":
		t.note(fmt.Sprintf("make %d merchants, 1000 in a request", n),
			fmt.Sprintf("%v, %.0f/s, %v of CPU each", m.Provision.Wall.Round(100*time.Millisecond), float64(n)/m.Provision.Wall.Seconds(), m.Provision.Each(n).Round(time.Microsecond)))
	case "start":
		t.note(fmt.Sprintf("a start with %d merchants until all are known; it serves from the start on", n), fmt.Sprintf("%s, then %s resident", cost(m.Start), mb(m.Start.Memory)))
	case "idle tick":
		t.note(fmt.Sprintf("a tick with none of %d merchants active", n), cost(m.IdleTick))
	case "take in":
		t.note(fmt.Sprintf("take in an hour's %d events of all %d merchants, until processed", m.Events, n),
			fmt.Sprintf("%v, %v of CPU per event, at most %s resident", m.TakeIn.Wall.Round(100*time.Millisecond), m.TakeIn.Each(m.Events).Round(100*time.Nanosecond), mb(m.TakeIn.Memory)))
	case "close":
		what, minutes := "close an hour in which all of 1 million merchants were active", m.Close.Wall.Minutes()
		if n != 1_000_000 {
			cores := runtime.NumCPU()
			what += fmt.Sprintf(": by the CPU time of %d, on %d cores", n, cores)
			minutes = m.Close.CPU.Minutes() * 1e6 / float64(n) / float64(cores)
		}
		t.measured(what, "min", budget{First: 10, Goal: 2}, minutes,
			fmt.Sprintf("here %v, %v of CPU each, at most %s resident", m.Close.Wall.Round(100*time.Millisecond), m.Close.Each(n).Round(time.Microsecond), mb(m.Close.Memory)))
		t.note("resident memory after that", mb(m.Resident))
	case "one active":
		t.note(fmt.Sprintf("a tick with one of %d merchants active", n), cost(m.OneTick))
	case "all active":
		if m.OpenTick.Wall > 0 {
			t.note(fmt.Sprintf("a tick while all of %d merchants are active in an open hour", n), cost(m.OpenTick))
		}
	case "report":
		t.note(fmt.Sprintf("CPU of a report of today, of some of %d merchants", n), m.Report.Round(time.Microsecond).String())
	case "stored":
		t.note("registry, bytes per merchant on disk", fmt.Sprintf("%.0f", m.RegistryDisk))
		t.measured("summary bytes per active merchant-hour: the hour's record, Zipf mix", "B", budget{First: 256, Goal: 64}, m.RecordBytes, "")
		t.note("the same: all records of the hour, of its day and kept answers, as stored", fmt.Sprintf("%.0f, on disk %.0f", m.SummaryBytes, m.SummaryDisk))
		t.note("processed bytes per event on disk, quiet merchants' mix", fmt.Sprintf("%.0f", m.ProcessedBytes))
	}
}
