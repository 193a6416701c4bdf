package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// DriveOptions shape an open loop of writers and readers.
type DriveOptions struct {
	Mix     MixOptions
	Rate    float64 // events a second
	Batch   int     // events of a batch
	Singles float64 // share of the events that come alone, one in a request
	Reports float64 // questions a second, beside
	Ask     string  // the one question to ask; "" asks all of them in turn
	// AdHocEvenly asks questions that no summary holds of all merchants alike, and
	// not by how much they send: what one takes grows with the merchant's events of
	// the day, so that asked by Zipf's law they grow as long as the day does.
	AdHocEvenly bool
	Writers     int // connections of writers; default 32
	Readers     int // connections of readers; default 16
	// Backlog is how many requests may wait for a connection before the loop
	// waits, too; default 4096. Those that come late for it count from the
	// instant at which they were due.
	Backlog int
	// Shift is by how much earlier events happen than they are sent, so that they
	// lie in hours that are closed.
	Shift time.Duration
	// Skip leaves out the instants that pass while the loop waits, for loads that
	// are to be the same whatever becomes of them.
	Skip bool
	// Batches is told the ids of the batches that each answer names.
	Batches func(ids []string)
}

// Drive is a load under way: requests are due at fixed instants, whatever
// becomes of those before them.
type Drive struct {
	Writes Latencies

	o         DriveOptions
	p         *Process
	merchants []Merchant
	sender    *Sender
	client    *http.Client // of readers
	truth     *Truths
	stop      context.CancelFunc
	ended     chan struct{}

	reads      map[string]*Latencies
	due        atomic.Int64 // ns since the epoch of the next write
	failed     atomic.Pointer[error]
	unanswered atomic.Int64
}

// Latencies are from the instant at which something was due to its end.
type Latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram // µs, from 1 µs to maxLatency, to three digits
}

const maxLatency = 10 * time.Minute

// Note adds one.
func (l *Latencies) Note(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		l.h = hdrhistogram.New(1, maxLatency.Microseconds(), 3)
	}
	_ = l.h.RecordValue(min(max(d, time.Microsecond), maxLatency).Microseconds()) // within its range
}

// Quantile of what is noted so far.
func (l *Latencies) Quantile(percent float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		return 0
	}
	return time.Duration(l.h.ValueAtQuantile(percent)) * time.Microsecond
}

// String shows number and quantiles.
func (l *Latencies) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		return "none"
	}
	at := func(q float64) time.Duration {
		return (time.Duration(l.h.ValueAtQuantile(q)) * time.Microsecond).Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d, p50 %v, p90 %v, p99 %v, p99.9 %v, max %v", l.h.TotalCount(), at(50), at(90), at(99), at(99.9), at(100))
}

// StartDrive begins to send and to ask.
func (p *Process) StartDrive(ctx context.Context, merchants []Merchant, o DriveOptions, truth *Truths) *Drive {
	if o.Writers <= 0 {
		o.Writers = 32
	}
	if o.Readers <= 0 {
		o.Readers = 16
	}
	if o.Batch <= 0 {
		o.Batch = 100
	}
	if o.Backlog <= 0 {
		o.Backlog = 4096
	}
	pacing, stop := context.WithCancel(ctx)
	d := &Drive{
		o: o, p: p, merchants: merchants, truth: truth, stop: stop, ended: make(chan struct{}), reads: map[string]*Latencies{},
		sender: NewSender(p.URL, o.Writers),
		client: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: o.Readers}},
	}
	d.sender.Batches = o.Batches
	for _, q := range questions {
		d.reads[q.name] = &Latencies{}
	}
	requests, asks := make(chan Request, o.Backlog), make(chan ask, o.Backlog)
	var all sync.WaitGroup
	all.Go(func() { d.write(pacing, requests) })
	for range o.Writers {
		all.Go(func() {
			for r := range requests {
				err := d.sender.Post(ctx, &r)
				if err == nil {
					d.Writes.Note(time.Since(r.Due))
				}
				d.fail(err)
			}
		})
	}
	all.Go(func() { d.ask(pacing, asks) })
	for range o.Readers {
		all.Go(func() {
			for a := range asks {
				d.fail(d.answer(ctx, &a))
			}
		})
	}
	go func() {
		all.Wait()
		d.sender.Close()
		d.client.CloseIdleConnections()
		close(d.ended)
	}()
	return d
}

// Stop ends the loop and waits for all that was begun.
func (d *Drive) Stop() error {
	d.stop()
	<-d.ended
	return d.Failed()
}

// Failed is the first error that no good sender or reader would meet.
func (d *Drive) Failed() error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *Drive) fail(err error) {
	if err != nil {
		d.failed.CompareAndSwap(nil, &err)
	}
}

// Outcome is what became of the writes so far.
func (d *Drive) Outcome() Outcome { return d.sender.Outcome() }

// Accepted is how many events receipts say.
func (d *Drive) Accepted() int64 { return d.Outcome().Events }

// SentAgain is true where a request was sent more than once.
func (d *Drive) SentAgain() bool { return d.Outcome().SentAgain() }

// Behind is how far the loop itself is behind its clock.
func (d *Drive) Behind() time.Duration {
	due := d.due.Load()
	if due == 0 { // it has not begun
		return 0
	}
	return max(0, time.Since(time.Unix(0, due)))
}

// Reads are the latencies of reports by the name of their question.
func (d *Drive) Reads() map[string]*Latencies { return d.reads }

// Unanswered is how many reports were refused for a time.
func (d *Drive) Unanswered() int64 { return d.unanswered.Load() }

// Print says what was seen.
func (d *Drive) Print(out io.Writer) {
	o := d.Outcome()
	fmt.Fprintf(out, "writes: %s; %d sent again; %d reports refused for a time\n", &d.Writes, o.Refused+o.Broken, d.unanswered.Load())
	for _, name := range slices.Sorted(maps.Keys(d.reads)) {
		fmt.Fprintf(out, "report %s: %s\n", name, d.reads[name])
	}
}

// pace calls do for each instant that is due, n a second, until ctx ends; do
// is told the instant, and may block. next is where the instant is noted.
func (d *Drive) pace(ctx context.Context, n float64, next *atomic.Int64, do func(due time.Time)) {
	if n <= 0 {
		return
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for i := 0; ctx.Err() == nil; i++ {
		due := start.Add(time.Duration(float64(i) / n * float64(time.Second)))
		if late := time.Since(due); d.o.Skip && late > 0 {
			start, due = start.Add(late), due.Add(late)
		}
		next.Store(due.UnixNano())
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		do(due)
	}
}

func (d *Drive) write(ctx context.Context, to chan<- Request) {
	defer close(to)
	mix := NewMix(d.o.Mix, d.truth)
	chance := rand.New(rand.NewPCG(d.o.Mix.Seed, 0x73696e67))
	// Of each request's events on average so many are in a batch.
	single := d.o.Singles * float64(d.o.Batch) / (1 - d.o.Singles + d.o.Singles*float64(d.o.Batch)) // share of requests
	perRequest := single + (1-single)*float64(d.o.Batch)
	d.pace(ctx, d.o.Rate/perRequest, &d.due, func(due time.Time) {
		n := d.o.Batch
		if chance.Float64() < single {
			n = 0
		}
		r := mix.Request(nil, due.Add(-d.o.Shift), n)
		r.Due = due
		to <- r
	})
}

// QuestionMonth is the question that budgets speak of: 28 days by day, all core
// metrics.
const QuestionMonth = "28 days by day"

// QuestionAdHoc is the one that no summary holds.
const QuestionAdHoc = "ad hoc"

// questions are the dashboard's and ad hoc ones, by how often they are asked.
var questions = []struct {
	name   string
	weight int
	ask    url.Values
}{
	{QuestionMonth, 40, url.Values{"metrics": {"activeUsers,newUsers,sessions,engagedSessions,screenPageViews,eventCount,purchaseRevenue"}, "dimensions": {"date"}}},
	{"pages", 15, url.Values{"metrics": {"screenPageViews,activeUsers"}, "dimensions": {"pagePath"}, "limit": {"10"}}},
	{"sources", 15, url.Values{"metrics": {"sessions,activeUsers,purchaseRevenue"}, "dimensions": {"sessionSource,sessionMedium"}, "limit": {"10"}}},
	{"devices", 10, url.Values{"metrics": {"activeUsers,sessions"}, "dimensions": {"deviceCategory"}}},
	{"events", 10, url.Values{"metrics": {"eventCount"}, "dimensions": {"eventName"}, "limit": {"10"}}},
	{QuestionAdHoc, 10, url.Values{"metrics": {"activeUsers,sessions,eventCount"}, "dimensions": {"browser,pagePath"}, "filter": {"eventName==page_view"}, "from": {"2daysAgo"}, "to": {"today"}, "limit": {"50"}}},
}

type ask struct {
	due      time.Time
	merchant int
	question int
}

func (d *Drive) ask(ctx context.Context, to chan<- ask) {
	defer close(to)
	rng := rand.New(rand.NewPCG(d.o.Mix.Seed, 0x61736b))
	who := rand.NewZipf(rng, max(d.o.Mix.Skew, 1.01), 1, uint64(len(d.merchants)-1))
	sum, one := 0, -1
	for i, q := range questions {
		sum += q.weight
		if q.name == d.o.Ask {
			one = i
		}
	}
	if one < 0 && d.o.Ask != "" {
		d.fail(fmt.Errorf("expected a question that there is, got %q", d.o.Ask))
		return
	}
	var due atomic.Int64
	d.pace(ctx, d.o.Reports, &due, func(due time.Time) {
		a := ask{due: due, merchant: int(who.Uint64()), question: max(one, 0)}
		if one < 0 {
			for x := rng.IntN(sum) - questions[0].weight; x >= 0; x -= questions[a.question].weight {
				a.question++
			}
		}
		if d.o.AdHocEvenly && questions[a.question].name == QuestionAdHoc {
			a.merchant = rng.IntN(len(d.merchants))
		}
		to <- a
	})
}

func (d *Drive) answer(ctx context.Context, a *ask) error {
	q := maps.Clone(questions[a.question].ask)
	if q["from"] == nil {
		q["from"], q["to"] = []string{"27daysAgo"}, []string{"today"}
	}
	path := "/v1/reports/" + d.merchants[a.merchant].MerchantID + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.p.URL+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.p.AdminToken)
	resp, err := d.client.Do(req)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusOK:
		d.reads[questions[a.question].name].Note(time.Since(a.due))
		return nil
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusTooManyRequests:
		d.unanswered.Add(1)
		return nil
	}
	return fmt.Errorf("GET %s: status %d: %.300s", path, resp.StatusCode, body)
}
