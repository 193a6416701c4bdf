// Command growth measures what Footfall takes and how fast it answers as its
// data grows: for each number of stored events, and of merchants, it fills a data
// folder, starts a process on it and measures. It writes tables and plots. With "run" it is
// itself that Footfall, with no ticks but those that it is sent.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/loadtest/footprint"
	"github.com/footfall/footfall/infra/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := run
	if len(os.Args) > 1 && os.Args[1] == "run" {
		do = withoutTicks
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

// withoutTicks is a Footfall whose hours are closed only when it is told to.
func withoutTicks(ctx context.Context) error {
	r, err := local.New(ctx, os.Environ(), local.Options{NoCron: true})
	if err != nil {
		return err
	}
	return r.Serve(ctx)
}

func run(ctx context.Context) error {
	binary := flag.String("binary", "bin/footfall", "the Footfall binary that the data is loaded with")
	events := flag.String("events", "1000000,10000000,100000000", "numbers of stored events, a step each; empty: none")
	merchants := flag.Int("merchants", 2000, "how many merchants have them, by Zipf's law")
	many := flag.String("many", "1000,100000,1000000", "numbers of merchants, a step each; empty: none")
	data := flag.String("data", "", "a folder for the steps' data, which stays; what an earlier run has loaded and measured there is used again. Default: one that is removed afterwards")
	folder := flag.String("out", "shared/docs", "the folder for growth.md and growth.svg")
	beside := flag.String("beside", "", "what else ran on the machine, to be told with the figures")
	flag.Parse()
	sizes, err := numbers(*events)
	if err != nil {
		return fmt.Errorf("-events: %w", err)
	}
	counts, err := numbers(*many)
	if err != nil {
		return fmt.Errorf("-many: %w", err)
	}
	if *merchants < 2 || *merchants > 1_000_000 {
		return fmt.Errorf("-merchants: expected 2 to 1000000, got %d", *merchants)
	}
	if *data == "" {
		if *data, err = os.MkdirTemp("", "footfall-growth-"); err != nil {
			return err
		}
		defer os.RemoveAll(*data)
	}
	g := grown{Machine: footprint.Machine(), Beside: *beside, Merchants: *merchants}
	for _, n := range sizes {
		s, err := step(ctx, *binary, filepath.Join(*data, fmt.Sprintf("%d-events", n)), n, *merchants)
		if err != nil {
			return fmt.Errorf("at %d events: %w", n, err)
		}
		g.Steps = append(g.Steps, *s)
		if err := g.write(*folder); err != nil { // what is measured is not lost with the next step
			return err
		}
	}
	for _, n := range counts {
		m, err := manyStep(ctx, filepath.Join(*data, fmt.Sprintf("%d-merchants", n)), n)
		if err != nil {
			return err
		}
		g.Many = append(g.Many, *m)
		if err := g.write(*folder); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads a list of numbers above 0 and sorts it.
func numbers(list string) (all []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil || n < 1000 {
			return nil, fmt.Errorf("expected numbers from 1000 on with commas between them, got %q", part)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// step is what an earlier run has measured in a folder, or else measures.
func step(ctx context.Context, binary, dir string, events, merchants int) (*Step, error) {
	s := &Step{Events: events, Merchants: merchants}
	found, err := readJSON(filepath.Join(dir, "measured.json"), s)
	if err != nil || found {
		return s, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if found, err = readJSON(filepath.Join(dir, "loaded.json"), &s.Loaded); err != nil {
		return nil, err
	}
	if !found {
		if err := s.load(ctx, binary, dir); err != nil {
			return nil, err
		}
		if err := writeJSON(filepath.Join(dir, "loaded.json"), &s.Loaded); err != nil {
			return nil, err
		}
	}
	if err := s.measure(ctx, dir); err != nil {
		return nil, err
	}
	return s, writeJSON(filepath.Join(dir, "measured.json"), s)
}

// manyStep is what an earlier run has measured in a folder, or else measures.
func manyStep(ctx context.Context, dir string, n int) (*loadtest.Many, error) {
	m, path := &loadtest.Many{}, filepath.Join(dir, "measured.json")
	if found, err := readJSON(path, m); err != nil || found {
		return m, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	store := filepath.Join(dir, "data")
	if err := os.RemoveAll(store); err != nil { // what was not measured to its end is begun again
		return nil, err
	}
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, err
	}
	m, err = loadtest.MeasureMany(ctx, self, store, n, func(step string, _ *loadtest.Many) {
		fmt.Fprintf(os.Stderr, "%d merchants: %s\n", n, step)
	})
	if err != nil {
		return nil, err
	}
	return m, writeJSON(path, m)
}

func readJSON(path string, into any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return true, nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
