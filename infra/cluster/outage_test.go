package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/footfall/footfall/infra/cluster"
	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/hdfs"
)

// The load while something is away: enough that much is under way at any
// moment, and little enough for the one Python process in MongoDB's stead.
const (
	loadConnections = 16
	acceptedBetween = 15 // requests, before an outage and after it
	loadMerchants   = 3
	tickEvery       = 3 * time.Second // or a tenth of an outage
	watchEvery      = time.Second
)

// catchUpWithin is how long everything may take to be counted, and again to be
// summarised, after an outage: three times as long as it was.
func catchUpWithin() time.Duration { return max(3*time.Minute, 3**outageTime) }

// outage is something that is done to the cluster under load.
type outage struct {
	name string
	do   func(ctx context.Context, c *cluster.Cluster) error // takes it away, waits, brings it back
	// refuses says that events may be answered with 503 meanwhile.
	refuses bool
	// breaks says that connections may break off, for an instance is killed.
	breaks bool
	// ours says that it is about our dispatcher alone.
	ours bool
	// silent says that reports may go without an answer meanwhile.
	silent bool
}

// away takes a server away for the time of an outage: killed, as by a crash.
func away(servers ...func(c *cluster.Cluster) *services.Server) func(ctx context.Context, c *cluster.Cluster) error {
	return func(ctx context.Context, c *cluster.Cluster) error {
		for _, s := range servers {
			if err := s(c).Kill(); err != nil {
				return err
			}
		}
		if err := sleep(ctx, *outageTime); err != nil {
			return err
		}
		for _, s := range servers {
			if err := s(c).Start(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// stuck makes a server answer nothing for the time of an outage while its
// connections stay, as on a machine that swaps.
func stuck(server func(c *cluster.Cluster) *services.Server) func(ctx context.Context, c *cluster.Cluster) error {
	return func(ctx context.Context, c *cluster.Cluster) error {
		if err := server(c).Pause(); err != nil {
			return err
		}
		return errors.Join(sleep(ctx, *outageTime), server(c).Resume())
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func kafka(c *cluster.Cluster) *services.Server    { return c.Kafka.Server }
func mongodb(c *cluster.Cluster) *services.Server  { return c.MongoDB.Server }
func redis(c *cluster.Cluster) *services.Server    { return c.Redis.Server }
func namenode(c *cluster.Cluster) *services.Server { return c.HDFS.NameNode }
func datanode(c *cluster.Cluster) *services.Server { return c.HDFS.DataNode }

// killed kills every instance of every function, one after the other.
func killed(ctx context.Context, c *cluster.Cluster) error {
	for _, name := range cluster.Functions() {
		for _, u := range c.Functions[name] {
			if err := u.Kill(); err != nil {
				return err
			}
			if err := c.AwaitBack(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// dispatcherAway kills the dispatcher twice: at once started again, and away
// for a while.
func dispatcherAway(ctx context.Context, c *cluster.Cluster) error {
	if *knative != "" {
		// Whatever starts Knative's again decides how long it is away.
		for range 2 {
			if said, err := exec.CommandContext(ctx, "sh", "-c", *kill).CombinedOutput(); err != nil {
				return fmt.Errorf("-kill: %w\n%s", err, said)
			}
			if err := sleep(ctx, *outageTime); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.Dispatcher.Kill(); err != nil {
		return err
	}
	if err := c.AwaitBack(ctx, "dispatch"); err != nil {
		return err
	}
	if err := c.Dispatcher.Down(); err != nil {
		return err
	}
	if err := sleep(ctx, *outageTime); err != nil {
		return err
	}
	return c.Dispatcher.Start()
}

// dispatchersComeAndGo lets a second dispatcher join, be killed, join again and
// leave: each time partitions change hands with deliveries under way.
func dispatchersComeAndGo(ctx context.Context, c *cluster.Cluster) error {
	second, err := c.AddDispatcher(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, *outageTime/3), second.Kill(), sleep(ctx, *outageTime/3)); err != nil {
		return err
	}
	return second.Stop(ctx)
}

func redisEmptied(ctx context.Context, c *cluster.Cluster) error {
	client := goredis.NewClient(&goredis.Options{Addr: c.Redis.Addr()})
	defer client.Close()
	// Twice: the second time what was rebuilt goes, too.
	for range 2 {
		if err := client.FlushAll(ctx).Err(); err != nil {
			return err
		}
		if err := sleep(ctx, *outageTime/2); err != nil {
			return err
		}
	}
	return nil
}

// row is a line of the table.
type row struct {
	name    string
	took    time.Duration
	outcome loadtest.Outcome
	slowest time.Duration // of the answers
	events  int64         // accepted
	lost    int64
	doubled int64
	caught  time.Duration
	watched loadtest.Watched
}

// TestOutages takes one part after the other away from a cluster under load.
// Nothing that was accepted is lost or counted twice, and the ledger adds up.
func TestOutages(t *testing.T) {
	p := system(t)
	// A ledger of much that is pending costs the stand-in as much as a batch does.
	p.Pause = max(p.Pause, *outageTime/100)
	o := &outages{Process: p, batches: map[string]bool{}}
	began := time.Now()
	stopTicks := o.tick(t)
	defer stopTicks()
	for _, outage := range []outage{
		{name: "nothing", do: func(ctx context.Context, _ *cluster.Cluster) error { return sleep(ctx, 5*time.Second) }},
		// First, while there is little to rebuild: the one Python process in
		// MongoDB's stead would be slow to answer reports beside much.
		{name: "Redis emptied", do: redisEmptied},
		{name: "Redis down", do: away(redis)},
		{name: "each instance of each function killed", do: killed, breaks: true, silent: true},
		{name: "dispatcher killed", do: dispatcherAway},
		{name: "second dispatcher comes and goes", do: dispatchersComeAndGo, ours: true},
		{name: "Kafka down", do: away(kafka)},
		{name: "Kafka stuck", do: stuck(kafka)},
		{name: "MongoDB down", do: away(mongodb), silent: true},
		{name: "MongoDB stuck", do: stuck(mongodb), silent: true},
		{name: "DataNode down", do: away(datanode)},
		{name: "NameNode down", do: away(namenode)},
		{name: "MongoDB and Kafka down", do: away(mongodb, kafka), refuses: true, silent: true},
	} {
		t.Run(strings.ReplaceAll(outage.name, " ", "-"), func(t *testing.T) {
			if *knative != "" && (outage.ours || outage.name == "dispatcher killed" && *kill == "") {
				t.Skip("Knative's dispatcher is not ours to start; -kill says how to end it")
			}
			o.run(t, outage)
		})
	}
	t.Run("the-archive-holds-all", func(t *testing.T) { o.archive(t, began) })
	o.print()
}

// outages is the state over all of them.
type outages struct {
	*loadtest.Process
	rows    []row
	batches map[string]bool // that hold what was accepted
}

// tick fires the ticks as the PingSources do, only more often, until told to
// stop. While the dispatcher or Kafka is away, ticks are lost, as they are then.
// What a longer outage leaves is caught up over many ticks, each of which closes
// the hours anew: at three seconds' pace that alone would fill MongoDB's stand-in.
func (o *outages) tick(t *testing.T) func() {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		beat := time.NewTicker(max(tickEvery, *outageTime/10))
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				_ = o.Tick(ctx)
			}
		}
	}()
	return func() { cancel(); <-ended }
}

func (o *outages) run(t *testing.T, what outage) {
	ctx, cancel := context.WithTimeout(t.Context(), *outageTime+3*catchUpWithin())
	defer cancel()
	merchants, truth := o.merchants(t, ctx), loadtest.NewTruths()
	calm, calmTruth := o.calm(t, ctx)
	watch := o.StartWatch(ctx, calm, calmTruth, day, day, watchEvery)
	mix := loadtest.DefaultMix(uint64(time.Now().UnixNano()), loadtest.StreamsOf(merchants))
	mix.LateUpTo = 10 * time.Hour // on the same day
	var mu sync.Mutex
	load := o.StartDrive(ctx, merchants, loadtest.DriveOptions{
		Mix: mix, Shift: time.Since(noon),
		Rate: *loadRate * float64(*loadEvents), Batch: *loadEvents, Writers: loadConnections, Backlog: 1, Skip: true,
		Batches: func(ids []string) {
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				o.batches[id] = true
			}
		},
	}, truth)
	o.accepts(t, ctx, load, acceptedBetween)
	began := time.Now()
	if err := what.do(ctx, running); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	o.accepts(t, ctx, load, acceptedBetween)
	err := load.Stop()
	outcome := load.Outcome()
	if err != nil {
		t.Fatalf("%v (%+v)", err, outcome)
	}
	r := row{name: what.name, took: ended.Sub(began), outcome: outcome, slowest: load.Writes.Quantile(100), events: truth.Accepted()}
	found := o.settle(t, merchants, truth)
	r.lost, r.doubled, r.caught = found.Lost, found.Doubled, time.Since(ended)
	o.closed(t, ctx, merchants, truth)
	if r.watched, err = watch.Stop(); err != nil {
		t.Errorf("a report was wrong meanwhile: %v", err)
	}
	o.rows = append(o.rows, r)
	t.Logf("%s: %.0f s away, %d accepted, %d refused, %d broke off, slowest %v, lost %d, doubled %d, caught up after %.1f s; reports: %+v", r.name, r.took.Seconds(),
		outcome.Accepted, outcome.Refused, outcome.Broken, r.slowest, r.lost, r.doubled, r.caught.Seconds(), r.watched)
	if outcome.Refused > 0 && !what.refuses {
		t.Errorf("%d of %d requests were refused", outcome.Refused, outcome.Requests)
	}
	if what.refuses && outcome.Refused == 0 {
		t.Error("expected that requests are refused")
	}
	if outcome.Broken > 0 && !what.breaks {
		t.Errorf("%d of %d requests broke off", outcome.Broken, outcome.Requests)
	}
	if r.watched.Failed > 0 && !what.silent {
		t.Errorf("%d reports had no answer, the last: %v", r.watched.Failed, r.watched.Last)
	}
}

// merchants are new ones for a load.
func (o *outages) merchants(t *testing.T, ctx context.Context) (merchants []loadtest.Merchant) {
	t.Helper()
	for i := range loadMerchants {
		m, err := o.CreateMerchant(ctx, fmt.Sprintf("%s %d", t.Name(), i))
		if err != nil {
			t.Fatal(err)
		}
		merchants = append(merchants, m)
	}
	return merchants
}

// calm is a merchant of whom all is counted and summarised, to be asked about
// while something is away.
func (o *outages) calm(t *testing.T, ctx context.Context) (loadtest.Merchant, loadtest.Counts) {
	t.Helper()
	m, err := o.CreateMerchant(ctx, t.Name()+" calm")
	if err != nil {
		t.Fatal(err)
	}
	merchants, truth := []loadtest.Merchant{m}, loadtest.NewTruths()
	mix := loadtest.DefaultMix(3, loadtest.StreamsOf(merchants))
	mix.Late = 0
	at := func(i int) time.Time { return day.Add(time.Duration(i) * time.Hour) }
	if err := loadtest.NewSender(o.URL, 1).PostMix(ctx, loadtest.NewMix(mix, truth), 40, at, func(i int) bool { return i < 6 }); err != nil {
		t.Fatal(err)
	}
	o.settle(t, merchants, truth)
	o.closed(t, ctx, merchants, truth)
	return m, truth.All(0)
}

// accepts waits until a load has got n more requests accepted.
func (o *outages) accepts(t *testing.T, ctx context.Context, load *loadtest.Drive, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for first := load.Outcome().Accepted; load.Outcome().Accepted < first+n; {
		if sleep(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("expected that events are accepted: %+v", load.Outcome())
		}
	}
}

// settle waits until everything is counted and nothing pending, and compares.
func (o *outages) settle(t *testing.T, merchants []loadtest.Merchant, truth *loadtest.Truths) loadtest.Audited {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), catchUpWithin())
	defer cancel()
	var said strings.Builder
	found, err := o.Audit(ctx, merchants, truth, 0, 0, true, &said)
	if err != nil || found.Differences > 0 {
		t.Errorf("%d differences, %v:\n%s", found.Differences, err, said.String())
	}
	return found
}

// closed checks the reports when summaries hold everything.
func (o *outages) closed(t *testing.T, ctx context.Context, merchants []loadtest.Merchant, truth *loadtest.Truths) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin())
	defer cancel()
	for _, m := range merchants {
		for {
			open, err := o.HoursFromDocuments(ctx, m, day, day)
			if err == nil && open == 0 {
				break
			}
			if sleep(ctx, 200*time.Millisecond) != nil {
				t.Fatalf("summaries do not hold all of merchant %s: %d hours come from documents (%v)", m.MerchantID, open, err)
			}
		}
	}
	o.settle(t, merchants, truth)
}

// archive reads the archive back: every batch that holds something accepted
// stands there.
func (o *outages) archive(t *testing.T, began time.Time) {
	var cfg hdfs.Config
	if err := function.Load([]string{function.Prefix + "HDFS_NAMENODES=" + running.HDFS.Addr()}, nil, &cfg); err != nil {
		t.Fatal(err)
	}
	a, err := hdfs.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(t.Context(), catchUpWithin())
	defer cancel()
	read := map[string]bool{}
	waiting := time.Now()
	all := len(o.batches)
	for len(o.batches) > 0 {
		files, err := a.List(ctx, event.HourOf(began), event.HourOf(time.Now())+1)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !f.Complete || read[f.Path] {
				continue
			}
			r, err := a.Open(ctx, f.Path)
			if err != nil {
				continue // merged meanwhile: it is listed anew
			}
			batches := event.NewReader(r)
			for {
				b, err := batches.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", f.Path, err)
				}
				delete(o.batches, b.ID.String())
			}
			r.Close()
			read[f.Path] = true
		}
		if len(o.batches) > 0 && sleep(ctx, time.Second) != nil {
			t.Fatalf("%d of %d batches are not in the archive", len(o.batches), all)
		}
	}
	t.Logf("all %d batches stand in %d files of the archive, %.0f s after the last outage", all, len(read), time.Since(waiting).Seconds())
}

// print prints the table.
func (o *outages) print() {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "outage\tseconds\trequests\taccepted\trefused (503)\tbroke off\tslowest (ms)\tevents\tlost\tdoubled\tcaught up (s)\treports right\tno answer\tslowest (ms)\t")
	for _, r := range o.rows {
		fmt.Fprintf(w, "%s\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%d\t%d\t%d\t\n", r.name, r.took.Seconds(),
			r.outcome.Requests, r.outcome.Accepted, r.outcome.Refused, r.outcome.Broken, r.slowest.Milliseconds(),
			r.events, r.lost, r.doubled, r.caught.Seconds(), r.watched.Answers, r.watched.Failed, r.watched.Slowest.Milliseconds())
	}
	_ = w.Flush() // into memory
	fmt.Fprintln(os.Stderr, "\n"+table.String())

}
