package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/infra/loadtest"
)

// underLoad measures freshness and reports while events come in at a rate: first
// with the question that the budgets speak of, then with all of them.
func (b *bench) underLoad(ctx context.Context) error {
	p := &b.plan
	d, err := b.drive(ctx, p.reports, loadtest.QuestionMonth)
	if err != nil {
		return err
	}
	rates := func(reports float64) string {
		return fmt.Sprintf("at %s/s while %s events/s come in", show(reports, ""), show(p.rate, ""))
	}
	fresh, first, month := d.fresh, d.first[loadtest.QuestionMonth], d.reads[loadtest.QuestionMonth]
	b.t.measured(fmt.Sprintf("event accepted → visible in a report, p99, at %s events/s with %s reports/s beside", show(p.rate, ""), show(p.reports, "")), "s", budget{First: 5, Goal: 2}, fresh.Quantile(99).Seconds(), "p50 "+millis(fresh.Quantile(50)))
	b.t.measured("report of 28 days by day, all core metrics, p99, "+rates(p.reports), "ms", budget{First: 10, Goal: 2}, milliseconds(quantile(month, 99)), "p50 "+millis(quantile(month, 50)))
	b.t.note(fmt.Sprintf("the same in the %v before, in which most merchants are asked about for the first time, p50 / p99", settling), millis(quantile(first, 50))+" / "+millis(quantile(first, 99)))
	b.t.note("writes of batches meanwhile, p50 / p99", millis(d.writes.Quantile(50))+" / "+millis(d.writes.Quantile(99)))
	if p.mixed > 0 {
		if d, err = b.drive(ctx, p.mixed, ""); err != nil {
			return err
		}
		fresh = d.fresh
		for _, name := range slices.Sorted(maps.Keys(d.reads)) {
			l := d.reads[name]
			b.t.note(fmt.Sprintf("report %q, p50 / p99, all kinds %s", name, rates(p.mixed)), millis(quantile(l, 50))+" / "+millis(quantile(l, 99)))
		}
		b.t.note("event accepted → visible in a report meanwhile, p50 / p99", millis(fresh.Quantile(50))+" / "+millis(fresh.Quantile(99)))
	}
	return b.check(ctx, b.all)
}

// driven is what was seen of a load.
type driven struct {
	fresh, writes *loadtest.Latencies
	// first are latencies of reports by question while the load settled, reads those after it.
	first, reads map[string]*hdrhistogram.Histogram
}

// settling is how long a load goes on before its reports are judged: at first each
// merchant is asked about for the first time.
const settling = 2 * time.Second

func quantile(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}

// drive is an open loop of writers and readers, with a probe beside it.
func (b *bench) drive(ctx context.Context, reports float64, ask string) (*driven, error) {
	probe, err := b.sys.StartProbe(ctx, 100*time.Millisecond, 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	drive := b.sys.StartDrive(ctx, b.all.merchants, loadtest.DriveOptions{Mix: b.mix(b.all), Rate: b.plan.rate, Batch: 100, Singles: 0.01, Reports: reports, Ask: ask}, b.all.truth)
	d := &driven{fresh: &probe.Fresh, writes: &drive.Writes, first: map[string]*hdrhistogram.Histogram{}, reads: map[string]*hdrhistogram.Histogram{}}
	windows := map[string]*loadtest.Window{}
	for name, l := range drive.Reads() {
		windows[name] = loadtest.NewWindow(l)
	}
	pause(ctx, settling)
	for name, w := range windows {
		d.first[name] = w.Next()
	}
	before := drive.Accepted()
	began, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	pause(ctx, b.plan.loadFor)
	cpu, err := b.sys.CPU()
	if err != nil {
		return nil, err
	}
	accepted, behind := float64(drive.Accepted()-before), drive.Behind()
	if err := drive.Stop(); err != nil {
		return nil, err
	}
	for name, w := range windows {
		d.reads[name] = w.Next()
	}
	b.all.again = b.all.again || drive.SentAgain()
	if err := probe.Stop(); err != nil {
		return nil, err
	}
	b.t.note(fmt.Sprintf("of one core, all in all, while %s events/s come in and %s reports/s are asked for", show(b.plan.rate, ""), show(reports, "")),
		fmt.Sprintf("%s; %s events/s accepted meanwhile, the load %s behind", show(100*(cpu-began).Seconds()/b.plan.loadFor.Seconds(), "%"),
			show(accepted/b.plan.loadFor.Seconds(), ""), millis(behind)))
	return d, nil
}

// pause lets the load go on for a while.
func pause(ctx context.Context, length time.Duration) {
	end := time.NewTimer(length)
	defer end.Stop()
	select {
	case <-end.C:
	case <-ctx.Done():
	}
}

// adHoc asks what no summary holds about many events of one merchant: two
// dimensions, a filter on a third, exact users and sessions. No two questions are
// the same, so that no answer was kept; what the first one resolved may be.
func (b *bench) adHoc(ctx context.Context) error {
	g, err := b.group(ctx, "ad hoc", 1)
	if err != nil {
		return err
	}
	if err := b.post(ctx, g, b.plan.adhoc, 100, 8, b.to.Add(-24*time.Hour), b.to); err != nil {
		return err
	}
	if err := b.settled(ctx); err != nil {
		return err
	}
	if err := b.check(ctx, g); err != nil {
		return err
	}
	filters := []string{"browser!=Edge", "browser!=Opera", "browser!=Samsung Internet", "browser!=Brave", "browser!=Vivaldi", "browser!=Lynx", "browser!=Konqueror"}
	var took []time.Duration
	before, err := b.sys.CPU()
	if err != nil {
		return err
	}
	for _, filter := range filters {
		q := url.Values{
			"metrics": {"activeUsers,sessions,screenPageViews"}, "dimensions": {"pagePath,deviceCategory"}, "filter": {filter},
			"from": {b.to.AddDate(0, 0, -4).Format(time.DateOnly)}, "to": {b.to.Format(time.DateOnly)},
		}
		var answer struct {
			Metadata struct {
				From struct {
					Events int64 `json:"events"`
					Hours  int64 `json:"hours_from_documents"`
				} `json:"generated_from"`
			} `json:"metadata"`
		}
		began := time.Now()
		if err := b.sys.Do(ctx, http.MethodGet, "/v1/reports/"+g.merchants[0].MerchantID+"?"+q.Encode(), g.merchants[0].ReportToken, "", nil, http.StatusOK, &answer); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if answer.Metadata.From.Hours == 0 {
			return errNotFromDocuments
		}
	}
	after, err := b.sys.CPU()
	if err != nil {
		return err
	}
	b.t.note("the first of these ad hoc reports, which reads the documents", millis(took[0]))
	slices.Sort(took)
	b.t.measured(fmt.Sprintf("ad hoc report over %d events: two dimensions, a filter that no summary holds, exact users and sessions", g.truth.Accepted()), "ms",
		b.ofMillion(budget{First: 150, Goal: 30}), milliseconds(took[len(took)/2]), fmt.Sprintf("CPU %.0f ms each", (after-before).Seconds()*1e3/float64(len(took))))
	return nil
}

// ofMillion is a budget for a million events, where so many are measured.
func (b *bench) ofMillion(all budget) budget {
	if b.plan.adhoc < 1_000_000 {
		return budget{}
	}
	return all
}

// oneCore starts the binary with one core and asks it as fast as it answers.
func (b *bench) oneCore(ctx context.Context) error {
	if err := b.sys.Stop(); err != nil {
		return fmt.Errorf("footfall did not stop cleanly: %w", err)
	}
	var err error
	if b.sys, err = loadtest.Start(ctx, b.binary, b.dir, "GOMAXPROCS=1"); err != nil {
		return err
	}
	q := url.Values{
		"metrics":    {"activeUsers,newUsers,sessions,engagedSessions,screenPageViews,eventCount,purchaseRevenue"},
		"dimensions": {"date"}, "from": {"27daysAgo"}, "to": {"today"},
	}
	merchants := b.all.merchants[:min(100, len(b.all.merchants))]
	var asked atomic.Int64
	ask := func(ctx context.Context) error {
		m := merchants[asked.Add(1)%int64(len(merchants))]
		return b.sys.Do(ctx, http.MethodGet, "/v1/reports/"+m.MerchantID+"?"+q.Encode(), m.ReportToken, "", nil, http.StatusOK, nil)
	}
	for range merchants { // each is found and read once
		if err := ask(ctx); err != nil {
			return err
		}
	}
	if err := b.sys.Quiet(ctx); err != nil {
		return err
	}
	before, err := b.sys.CPU()
	if err != nil {
		return err
	}
	asked.Store(0)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range 16 {
		group.Go(func() error {
			for time.Since(began) < min(b.plan.loadFor, 10*time.Second) {
				if err := ask(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := b.sys.CPU()
	if err != nil {
		return err
	}
	n := float64(asked.Load())
	b.t.measured(fmt.Sprintf("report queries/s on one core: 28 days by day of %d merchants, queries per second of CPU", len(merchants)), "", budget{First: 3500, Goal: 15_000, More: true},
		n/(after-before).Seconds(), fmt.Sprintf("%.0f µs each; %s/s by the clock with GOMAXPROCS=1", (after-before).Seconds()*1e6/n, show(n/took.Seconds(), "")))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
func millis(d time.Duration) string        { return show(milliseconds(d), "ms") }
