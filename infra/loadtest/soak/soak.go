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
	Warm      time.Duration // of the load at WarmRate that comes first, 0 for none
	WarmRate  float64
	Reports   float64
	Merchants int
	Seed      uint64
	Out       io.Writer // of what goes on
}

// Seen is all that a soak has seen.
type Seen struct {
	Began      time.Time
	Machine    string
	Beside     string
	Rate       float64
	Reports    float64
	Merchants  int
	Warm       Warmed
	Samples    []Sample // of the steady load, as all latencies are
	Writes     string   // latencies over the whole of it
	Freshness  string
	Read       map[string]string // by question
	SentAgain  int64             // requests
	Refused    int64             // reports, for a time
	Audited    loadtest.Audited
	Tables     []embedded.TableSize // as they stand at the end
	Failed     string               // why it ended before its time
	Uncompared string               // why not all of it was compared with what was sent
}

// Warmed is what came before the steady load, to fill the open hours sooner than
// that would. It is compared with what was sent, but not judged.
type Warmed struct {
	For       time.Duration // 0 where there was none; else until all was answered
	Rate      float64       // asked for
	Events    int64         // accepted
	SentAgain int64         // requests
	Refused   int64         // reports, for a time
}

// Sample is one look. Its latencies are those since the look before.
type Sample struct {
	At     float64 // s since the steady load began
	Events int64   // accepted since then
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
	truth := loadtest.NewTruths()
	load := loadtest.DriveOptions{
		Mix: loadtest.DefaultMix(o.Seed, loadtest.StreamsOf(merchants)), Rate: o.Rate, Batch: 100, Singles: 0.01, Reports: o.Reports, AdHocEvenly: true,
	}
	if o.Warm > 0 {
		if seen.Warm, err = o.warm(ctx, sys, merchants, load, truth); err != nil {
			return nil, fmt.Errorf("the warm-up: %w", err)
		}
	}
	steady, err := o.run(ctx, sys, merchants, load, truth, "", o.For)
	if steady == nil {
		return nil, err
	}
	if err != nil {
		seen.Failed = err.Error()
	}
	seen.Samples, seen.Writes, seen.Freshness = steady.samples, steady.drive.Writes.String(), steady.probe.Fresh.String()
	for name, l := range steady.drive.Reads() {
		seen.Read[name] = l.String()
	}
	sent := steady.drive.Outcome()
	seen.SentAgain, seen.Refused = sent.Refused+sent.Broken, steady.drive.Unanswered()
	if err != nil {
		return seen, err
	}
	checking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Minute)
	defer cancel()
	if err := o.compare(checking, sys, merchants, truth, seen); err != nil {
		seen.Uncompared = err.Error()
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

// warm sends what comes before the steady load, and waits until all of it is
// delivered: what a server slower than WarmRate still has to do then is no part of
// the steady load.
func (o *Options) warm(ctx context.Context, sys *loadtest.Process, merchants []loadtest.Merchant, load loadtest.DriveOptions, truth *loadtest.Truths) (w Warmed, err error) {
	load.Rate = o.WarmRate
	// All ids begin with the seed but those of visitors, who come again under the
	// steady load. Their visits end here: at this rate so many more are open that
	// the steady load would begin no new ones for minutes.
	load.Mix.Seed++
	// What the server is too slow for is left out, and little may wait: so events
	// are of now, and the end is in time.
	load.Skip, load.Backlog = true, 256
	began := time.Now()
	r, err := o.run(ctx, sys, merchants, load, truth, "warm-up, ", o.Warm)
	if err != nil {
		return w, err
	}
	sent := r.drive.Outcome()
	w = Warmed{For: r.sent.Sub(began), Rate: o.WarmRate, Events: sent.Events, SentAgain: sent.Refused + sent.Broken, Refused: r.drive.Unanswered()}
	fmt.Fprintf(o.Out, "warm-up: %d events in %v, %.0f/s, %d requests sent again, %d reports refused for a time\n",
		w.Events, w.For.Round(time.Millisecond), w.rate(), w.SentAgain, w.Refused)
	if err := sys.WaitDelivered(ctx); err != nil {
		return w, err
	}
	fmt.Fprintf(o.Out, "warm-up: all of them delivered %v later\n", time.Since(r.sent).Round(time.Millisecond))
	return w, nil
}

// rate is what the server took.
func (w *Warmed) rate() float64 { return float64(w.Events) / w.For.Seconds() }

// phase is a load that has ended, and what was seen of it.
type phase struct {
	drive   *loadtest.Drive
	probe   *loadtest.Probe
	samples []Sample
	sent    time.Time // when all that was sent and asked was answered
}

// run sends and asks until the time is over, and waits for all that was begun.
// Once it has begun it returns what was seen, whatever failed then.
func (o *Options) run(ctx context.Context, sys *loadtest.Process, merchants []loadtest.Merchant, load loadtest.DriveOptions, truth *loadtest.Truths, prefix string, length time.Duration) (*phase, error) {
	probe, err := sys.StartProbe(context.WithoutCancel(ctx), time.Second, 10*time.Millisecond)
	if err != nil {
		return nil, err
	}
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	r := &phase{probe: probe, drive: sys.StartDrive(sending, merchants, load, truth)}
	r.samples, err = o.watch(ctx, sys, r.drive, probe, prefix, length)
	go func() {
		select {
		case <-sys.Ended(): // who waits for an answer would send again for good
			giveUp()
		case <-sending.Done():
		}
	}()
	// The probe ends when its last event is seen: the load must not go on until then.
	err = errors.Join(err, r.drive.Stop())
	r.sent = time.Now()
	return r, errors.Join(err, probe.Stop())
}

// compare holds every number against what was sent. Who has just been busy may
// refuse a question for a time.
func (o *Options) compare(ctx context.Context, sys *loadtest.Process, merchants []loadtest.Merchant, truth *loadtest.Truths, seen *Seen) (err error) {
	if err := sys.WaitDelivered(ctx); err != nil {
		return err
	}
	again := seen.SentAgain+seen.Warm.SentAgain > 0
	pause := time.NewTicker(5 * time.Second)
	defer pause.Stop()
	for {
		if seen.Audited, err = sys.Audit(ctx, merchants, truth, 0, o.Seed, again, o.Out); err == nil {
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

// watch looks again and again until the time is over. What it says of each look
// begins with prefix.
func (o *Options) watch(ctx context.Context, sys *loadtest.Process, drive *loadtest.Drive, probe *loadtest.Probe, prefix string, length time.Duration) (samples []Sample, err error) {
	began := time.Now()
	writes, fresh, reads := loadtest.NewWindow(&drive.Writes), loadtest.NewWindow(&probe.Fresh), map[string]*loadtest.Window{}
	for name, l := range drive.Reads() {
		reads[name] = loadtest.NewWindow(l)
	}
	beat := time.NewTicker(o.Every)
	defer beat.Stop()
	end := time.NewTimer(length)
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
			return samples, fmt.Errorf("footfall has ended:\n%s", said[max(0, len(said)-4000):])
		}
		if err := errors.Join(drive.Failed(), probe.Failed()); err != nil {
			return samples, err
		}
		if last && len(samples) >= 4 { // a window cut short says little
			return samples, nil
		}
		s := Sample{At: time.Since(began).Seconds(), Events: drive.Accepted(), Behind: drive.Behind(), Report: map[string]Quantiles{}}
		if s.Taken, err = footprint.Of(context.WithoutCancel(ctx), sys); err != nil {
			return samples, err
		}
		s.Write, s.Fresh = quantiles(writes.Next()), quantiles(fresh.Next())
		for name, w := range reads {
			s.Report[name] = quantiles(w.Next())
		}
		samples = append(samples, s)
		fmt.Fprintf(o.Out, "%s%v: %d events, %v behind, %v of CPU, %d MB resident, %d MB on disk, fresh after p50 %v p99 %v, writes p99 %v\n",
			prefix, time.Since(began).Round(time.Second), s.Events, s.Behind.Round(time.Millisecond), s.CPU.Round(time.Second), s.Resident>>20,
			(s.Archive+s.Kafka+s.Store)>>20, seconds(s.Fresh.P50), seconds(s.Fresh.P99), seconds(s.Write.P99))
	}
	return samples, nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond)
}
