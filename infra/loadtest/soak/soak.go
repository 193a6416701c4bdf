package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/loadtest/footprint"
	"github.com/footfall/footfall/shared/store/embedded"
)

// Options shape a soak.
type Options struct {
	Binary    string
	Data      string
	For       time.Duration
	Every     time.Duration
	Rate      float64
	Reports   float64
	Merchants int
	Seed      uint64
	Out       io.Writer // of what goes on
}

// Seen is all that a soak has seen.
type Seen struct {
	Began     time.Time
	Machine   string
	Beside    string
	Rate      float64
	Reports   float64
	Merchants int
	Samples   []Sample
	Writes    string // latencies over the whole run
	Freshness string
	Read      map[string]string // by question
	SentAgain int64             // requests
	Refused   int64             // reports, for a time
	Audited   loadtest.Audited
	Tables    []embedded.TableSize // as they stand at the end
	Failed    string               // why it ended before its time
}

// Sample is one look. Its latencies are those since the look before.
type Sample struct {
	At     float64 // s since the start
	Events int64   // accepted so far
	Behind time.Duration
	footprint.Taken
	Fresh  Quantiles
	Write  Quantiles
	Report map[string]Quantiles
}

// Quantiles are of the latencies of a window, in seconds; 0 where N is.
type Quantiles struct {
	N        int64
	P50, P99 float64
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{N: h.TotalCount(), P50: float64(h.ValueAtQuantile(50)) / 1e6, P99: float64(h.ValueAtQuantile(99)) / 1e6}
}

// Soak runs the load to its end, or until something fails, or ctx ends, and
// returns what it has seen until then.
func Soak(ctx context.Context, o Options) (*Seen, error) {
	sys, err := loadtest.Start(ctx, o.Binary, o.Data, "FOOTFALL_LOG_LEVEL=warn")
	if err != nil {
		return nil, err
	}
	defer func() { _ = sys.Kill() }()
	merchants, err := sys.CreateMerchants(ctx, "soak", o.Merchants)
	if err != nil {
		return nil, err
	}
	seen := &Seen{Began: time.Now().UTC(), Rate: o.Rate, Reports: o.Reports, Merchants: o.Merchants, Read: map[string]string{}}
	probe, err := sys.StartProbe(context.WithoutCancel(ctx), time.Second, 10*time.Millisecond)
	if err != nil {
		return nil, err
	}
	truth := loadtest.NewTruths()
	drive := sys.StartDrive(context.WithoutCancel(ctx), merchants, loadtest.DriveOptions{
		Mix: loadtest.DefaultMix(o.Seed, loadtest.StreamsOf(merchants)), Rate: o.Rate, Batch: 100, Singles: 0.01, Reports: o.Reports, AdHocEvenly: true,
	}, truth)
	if err = errors.Join(o.watch(ctx, sys, drive, probe, seen), probe.Stop(), drive.Stop()); err != nil {
		seen.Failed = err.Error()
	}
	seen.Writes, seen.Freshness = drive.Writes.String(), probe.Fresh.String()
	for name, l := range drive.Reads() {
		seen.Read[name] = l.String()
	}
	sent := drive.Outcome()
	seen.SentAgain, seen.Refused = sent.Refused+sent.Broken, drive.Unanswered()
	if err != nil {
		return seen, err
	}
	checking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Minute)
	defer cancel()
	if err := o.compare(checking, sys, merchants, truth, drive, seen); err != nil {
		return seen, err
	}
	fmt.Fprintf(o.Out, "compared %d values of %d hours of %d merchants: %d differences\n",
		seen.Audited.Values, seen.Audited.MerchantHours, seen.Audited.Merchants, seen.Audited.Differences)
	if err := sys.Stop(); err != nil {
		return seen, fmt.Errorf("footfall did not stop cleanly: %w", err)
	}
	if seen.Tables, err = footprint.Tables(checking, o.Data); err != nil {
		return seen, err
	}
	if seen.Audited.Differences > 0 {
		err = fmt.Errorf("%d differences between what was sent and what is told", seen.Audited.Differences)
	}
	return seen, err
}

// compare holds every number against what was sent. Who has just been busy may
// refuse a question for a time.
func (o *Options) compare(ctx context.Context, sys *loadtest.Process, merchants []loadtest.Merchant, truth *loadtest.Truths, drive *loadtest.Drive, seen *Seen) (err error) {
	if err := sys.WaitDelivered(ctx); err != nil {
		return err
	}
	pause := time.NewTicker(5 * time.Second)
	defer pause.Stop()
	for {
		if seen.Audited, err = sys.Audit(ctx, merchants, truth, 0, o.Seed, drive.SentAgain(), o.Out); err == nil {
			return nil
		}
		err = fmt.Errorf("cannot compare what is told with what was sent: %w", err)
		fmt.Fprintln(o.Out, err)
		select {
		case <-ctx.Done():
			return err
		case <-sys.Ended(): // it can tell nothing any more
			return err
		case <-pause.C:
		}
	}
}

// watch looks again and again until the time is over.
func (o *Options) watch(ctx context.Context, sys *loadtest.Process, drive *loadtest.Drive, probe *loadtest.Probe, seen *Seen) error {
	began := time.Now()
	writes, fresh, reads := loadtest.NewWindow(&drive.Writes), loadtest.NewWindow(&probe.Fresh), map[string]*loadtest.Window{}
	for name, l := range drive.Reads() {
		reads[name] = loadtest.NewWindow(l)
	}
	beat := time.NewTicker(o.Every)
	defer beat.Stop()
	end := time.NewTimer(o.For)
	defer end.Stop()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-end.C:
			last = true
		case <-beat.C:
		case <-sys.Ended():
			said, _ := os.ReadFile(filepath.Join(o.Data, "footfall.log"))
			return fmt.Errorf("footfall has ended:\n%s", said[max(0, len(said)-4000):])
		}
		if err := errors.Join(drive.Failed(), probe.Failed()); err != nil {
			return err
		}
		if last && len(seen.Samples) >= 4 { // a window cut short says little
			return nil
		}
		s := Sample{At: time.Since(began).Seconds(), Events: drive.Accepted(), Behind: drive.Behind(), Report: map[string]Quantiles{}}
		var err error
		if s.Taken, err = footprint.Of(context.WithoutCancel(ctx), sys); err != nil {
			return err
		}
		s.Write, s.Fresh = quantiles(writes.Next()), quantiles(fresh.Next())
		for name, w := range reads {
			s.Report[name] = quantiles(w.Next())
		}
		seen.Samples = append(seen.Samples, s)
		fmt.Fprintf(o.Out, "%v: %d events, %v behind, %v of CPU, %d MB resident, %d MB on disk, fresh after p50 %v p99 %v, writes p99 %v\n",
			time.Since(began).Round(time.Second), s.Events, s.Behind.Round(time.Millisecond), s.CPU.Round(time.Second), s.Resident>>20,
			(s.Archive+s.Kafka+s.Store)>>20, seconds(s.Fresh.P50), seconds(s.Fresh.P99), seconds(s.Write.P99))
	}
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond)
}
