// Command load sends the traffic of many sites to a running Footfall at a set
// rate, asks it for reports meanwhile, and compares afterwards what it answers
// with what was sent, to the unit.
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	target := flag.String("target", "http://127.0.0.1:8080", "the URL of the Footfall that takes the load")
	token := flag.String("admin-token", os.Getenv("FOOTFALL_ADMIN_TOKEN"), "the operator's token")
	merchants := flag.Int("merchants", 1000, "how many merchants send, by Zipf's law")
	rate := flag.Float64("rate", 11_574, "events a second")
	reports := flag.Float64("reports", 20, "reports a second meanwhile")
	batch := flag.Int("batch", 100, "events of a batch")
	singles := flag.Float64("singles", 0.01, "share of the events that are sent one by one")
	hot := flag.Float64("hot", 0, "share of all visits that one merchant has besides its own")
	skew := flag.Float64("skew", 1.1, "exponent of Zipf's law, above 1")
	for_ := flag.Duration("for", time.Minute, "how long")
	seed := flag.Uint64("seed", 1, "what the traffic is made from; sent again to the same Footfall it is all duplicates")
	name := flag.String("name", fmt.Sprintf("load %s", time.Now().UTC().Format("2006-01-02T15:04:05")), "of the merchants: those of an earlier run have its events, too")
	check := flag.Int("check", 1000, "how many merchants are compared afterwards, a third of them the busiest; 0: all")
	within := flag.Duration("within", 5*time.Minute, "how long the comparison may wait for what is pending")
	flag.Parse()
	switch {
	case *token == "":
		return errors.New("-admin-token: expected the operator's token, or FOOTFALL_ADMIN_TOKEN in the environment")
	case *merchants < 2 || *merchants > 1_000_000:
		return fmt.Errorf("-merchants: expected 2 to 1000000, got %d", *merchants)
	case *rate <= 0 || *batch < 1 || *batch > 1000 || *singles < 0 || *singles > 1 || *hot < 0 || *hot > 1 || *skew <= 1:
		return errors.New("expected -rate above 0, -batch from 1 to 1000, -singles and -hot from 0 to 1, -skew above 1")
	}
	p := &loadtest.Process{URL: *target, AdminToken: *token}
	began := time.Now()
	list, err := p.CreateMerchants(ctx, *name, *merchants)
	if err != nil {
		return err
	}
	fmt.Printf("%d merchants made or found in %v\n", len(list), time.Since(began).Round(10*time.Millisecond))
	mix := loadtest.DefaultMix(*seed, loadtest.StreamsOf(list))
	mix.Hot, mix.Skew = *hot, *skew
	truth := loadtest.NewTruths()
	began = time.Now()
	drive := p.StartDrive(context.WithoutCancel(ctx), list, loadtest.DriveOptions{
		Mix: mix, Rate: *rate, Batch: *batch, Singles: *singles, Reports: *reports,
	}, truth)
	fresh, err := p.StartProbe(ctx, 100*time.Millisecond, 20*time.Millisecond)
	if err != nil {
		return errors.Join(err, drive.Stop())
	}
	end := time.NewTimer(*for_)
	defer end.Stop()
	tell := time.NewTicker(10 * time.Second)
	defer tell.Stop()
	for going := true; going && drive.Failed() == nil; {
		select {
		case <-ctx.Done():
			going = false
		case <-end.C:
			going = false
		case <-tell.C:
			fmt.Printf("%v: %d events accepted, writes p99 %v so far, %v behind\n", time.Since(began).Round(time.Second),
				drive.Accepted(), drive.Writes.Quantile(99), drive.Behind().Round(time.Millisecond))
		}
	}
	if err := errors.Join(drive.Stop(), fresh.Stop()); err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("%d events accepted in %v, %.0f/s, of %d merchant-hours\n", drive.Accepted(), took.Round(time.Millisecond), float64(drive.Accepted())/took.Seconds(), truth.MerchantHours())
	drive.Print(os.Stdout)
	fmt.Printf("a quiet merchant's event, from its acceptance to a report that holds it: p50 %v, p99 %v, at most %v\n",
		fresh.Fresh.Quantile(50), fresh.Fresh.Quantile(99), fresh.Fresh.Quantile(100))
	return compare(ctx, p, list, truth, drive, *check, *seed, *within)
}

func compare(ctx context.Context, p *loadtest.Process, list []loadtest.Merchant, truth *loadtest.Truths, drive *loadtest.Drive, check int, seed uint64, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a, err := p.Audit(ctx, list, truth, check, seed, drive.SentAgain(), os.Stdout)
	if err != nil {
		return err
	}
	fmt.Printf("compared %d values of %d hours of %d merchants: %d differences\n", a.Values, a.MerchantHours, a.Merchants, a.Differences)
	if a.Differences > 0 {
		return fmt.Errorf("%d differences between what was sent and what is told", a.Differences)
	}
	return nil
}
