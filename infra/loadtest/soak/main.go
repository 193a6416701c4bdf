// Command soak runs the real binary on embedded defaults under a steady load
// for long, reports beside it, looks every few seconds at what it takes and how
// fast it answers, and says of each figure by a stated rule whether it stays
// what it is. At the end every number is compared with what was sent. It writes
// a table and a plot.
//
// With -warm the same kind of traffic is sent first, at a higher rate: what it
// takes to be asked about hours of events then shows in minutes, and not after
// hours. It is compared with what was sent as well, but neither judged nor shown.
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
	"strings"
	"syscall"
	"time"

	"github.com/footfall/footfall/infra/loadtest/footprint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := Options{Out: os.Stderr}
	flag.StringVar(&o.Binary, "binary", "bin/footfall", "the Footfall binary")
	flag.DurationVar(&o.For, "for", time.Hour, "how long")
	flag.Float64Var(&o.Rate, "rate", 11_574, "events a second")
	flag.DurationVar(&o.Warm, "warm", 0, "how long to send at -warm-rate first, which fills the open hours and is not judged")
	flag.Float64Var(&o.WarmRate, "warm-rate", 60_000, "events a second of -warm, fewer where that is more than the server takes")
	flag.IntVar(&o.Merchants, "merchants", 2000, "how many merchants send, by Zipf's law")
	flag.Float64Var(&o.Reports, "reports", 20, "reports a second meanwhile")
	flag.DurationVar(&o.Every, "every", 15*time.Second, "how often to look")
	flag.Uint64Var(&o.Seed, "seed", 1, "what the traffic is made from")
	data := flag.String("data", "", "an empty folder for the data, which stays; default: one that is removed afterwards")
	folder := flag.String("out", "shared/docs", "the folder for soak.md and soak.svg")
	beside := flag.String("beside", "", "what else ran on the machine, to be told with the figures")
	kept := flag.String("samples", "", "a file for all that was seen, as JSON")
	again := flag.String("again", "", "run nothing, and write table and plot from such a file again")
	flag.Parse()
	if *again != "" {
		seen, err := readSeen(*again)
		if err != nil {
			return err
		}
		return seen.write(*folder)
	}
	if err := o.validate(); err != nil {
		return err
	}
	o.Data = *data
	if o.Data == "" {
		var err error
		if o.Data, err = os.MkdirTemp("", "footfall-soak-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.Data)
	}
	seen, err := Soak(ctx, o)
	if seen == nil {
		return err
	}
	seen.Machine, seen.Beside = footprint.Machine(), *beside
	if *kept != "" {
		err = errors.Join(err, seen.keep(*kept))
	}
	if err := errors.Join(err, seen.write(*folder)); err != nil {
		return err
	}
	if bad := seen.growing(); len(bad) > 0 {
		return fmt.Errorf("not flat or bounded: %s", strings.Join(bad, ", "))
	}
	return nil
}

func (o *Options) validate() error {
	switch {
	case o.For < 4*o.Every || o.Every <= 0:
		return fmt.Errorf("-for: expected at least four times -every (%v), got %v", o.Every, o.For)
	case o.Rate <= 0 || o.Reports < 0:
		return errors.New("expected -rate above 0 and -reports not below")
	case o.Warm < 0 || o.Warm > 0 && o.WarmRate <= 0:
		return errors.New("expected -warm not below 0 and -warm-rate above")
	case o.Merchants < 2 || o.Merchants > 1_000_000:
		return fmt.Errorf("-merchants: expected 2 to 1000000, got %d", o.Merchants)
	}
	return nil
}

func readSeen(path string) (*Seen, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(Seen)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return s, nil
}

func (s *Seen) keep(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// write writes table and plot.
func (s *Seen) write(folder string) error {
	if len(s.Samples) < 4 {
		return fmt.Errorf("expected at least four looks, got %d", len(s.Samples))
	}
	table, err := os.Create(filepath.Join(folder, "soak.md"))
	if err != nil {
		return err
	}
	picture, err := os.Create(filepath.Join(folder, "soak.svg"))
	if err != nil {
		return errors.Join(err, table.Close())
	}
	return errors.Join(s.table(table), s.plot(picture), table.Close(), picture.Close())
}
