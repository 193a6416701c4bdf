package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/loadtest/footprint"
	"github.com/footfall/footfall/shared/store/embedded"
)

// Step is what is measured at one number of stored events.
type Step struct {
	Events    int
	Merchants int
	Loaded    Loaded
	// On the loaded data, after a restart.
	Ready      time.Duration // start to ready
	Resident   int64         // memory at rest after that
	Reports    map[string]Quantiles
	IdleTick   loadtest.Cost
	ActiveTick loadtest.Cost // with one merchant active in a closed hour
	NewEvent   time.Duration // CPU of an event that comes, until it is archived and processed
	After      int64         // memory after all that
}

// Loaded is how a folder was filled, and what stands in it then.
type Loaded struct {
	Events  int64 // accepted, duplicates included
	Took    time.Duration
	CPU     time.Duration // until all hours were closed
	Days    int
	Disk    footprint.Taken
	Tables  []embedded.TableSize
	Compare loadtest.Audited
}

// Quantiles of latencies.
type Quantiles struct{ P50, P99 time.Duration }

// days is over how many days before today the events are spread.
const days = 27

// perRequest is how many events a request holds, and mostBetween the time between
// two of them at most: were it more, visits of rare agents would pause for so long
// that they are several sessions, of which the truth does not know.
const (
	perRequest  = 100
	mostBetween = 2 * time.Second
)

// load fills a folder through the pipeline, as fast as that takes it, in the
// order of the events' times, which begin at midnight of each day; ticks close
// hours meanwhile.
func (s *Step) load(ctx context.Context, binary, dir string) error {
	// Nobody's hours are held back: all are to be closed in the end.
	sys, err := loadtest.Start(ctx, binary, dir, "FOOTFALL_LOG_LEVEL=warn", "FOOTFALL_SUMMARY_SHARE=0")
	if err != nil {
		return err
	}
	defer func() { _ = sys.Kill() }() // what was loaded is compared
	list, err := s.merchants(ctx, sys)
	if err != nil {
		return err
	}
	truth := loadtest.NewTruths()
	to := time.Now().UTC().Truncate(24 * time.Hour)
	from := to.AddDate(0, 0, -days)
	began := time.Now()
	told := began
	sent := 0
	for day := range days {
		o := loadtest.DefaultMix(uint64(s.Events+day), loadtest.StreamsOf(list))
		o.Late, o.Malformed = 0, 0
		start, requests := from.AddDate(0, 0, day), s.Events*(day+1)/days/perRequest-sent
		every := min(24*time.Hour/time.Duration(max(1, requests)), mostBetween)
		at := func(i int) time.Time { return start.Add(time.Duration(i) * every) }
		err := loadtest.NewSender(sys.URL, 8).PostMix(ctx, loadtest.NewMix(o, truth), perRequest, at, func(i int) bool {
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				fmt.Fprintf(os.Stderr, "%d of %d events after %v\n", (sent+i)*perRequest, s.Events, time.Since(began).Round(time.Second))
			}
			return i < requests
		})
		if err != nil {
			return err
		}
		sent += requests
	}
	if err := sys.WaitDelivered(ctx); err != nil {
		return err
	}
	s.Loaded.Took = time.Since(began)
	if err := closeAll(ctx, sys); err != nil {
		return err
	}
	if s.Loaded.CPU, err = sys.CPU(); err != nil {
		return err
	}
	s.Loaded.Events, s.Loaded.Days = truth.Accepted(), days
	if s.Loaded.Compare, err = sys.Audit(ctx, list, truth, 300, 1, false, os.Stderr); err != nil {
		return err
	}
	if s.Loaded.Compare.Differences > 0 {
		return fmt.Errorf("%d differences between what was sent and what is told", s.Loaded.Compare.Differences)
	}
	if err := sys.Stop(); err != nil {
		return err
	}
	if s.Loaded.Tables, err = footprint.Tables(ctx, dir); err != nil {
		return err
	}
	if sys, err = loadtest.Start(ctx, binary, dir, "FOOTFALL_LOG_LEVEL=warn"); err != nil {
		return err
	}
	if s.Loaded.Disk, err = footprint.Of(ctx, sys); err != nil {
		return err
	}
	return sys.Stop()
}

func (s *Step) merchants(ctx context.Context, sys *loadtest.Process) ([]loadtest.Merchant, error) {
	return sys.CreateMerchants(ctx, "growth", s.Merchants)
}

// closeAll ticks until a tick finds nothing to do.
func closeAll(ctx context.Context, sys *loadtest.Process) error {
	for {
		cost, err := tick(ctx, sys)
		if err != nil || cost.CPU < 200*time.Millisecond {
			return err
		}
	}
}

func tick(ctx context.Context, sys *loadtest.Process) (loadtest.Cost, error) {
	return sys.Took(ctx, func() error { return sys.TickThrough(ctx) })
}

// measure starts a process on a loaded folder, as often as it takes.
func (s *Step) measure(ctx context.Context, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	began := time.Now()
	sys, err := loadtest.Start(ctx, self, dir, "FOOTFALL_LOG_LEVEL=warn", "GOGC=50") // GOGC as the runner's
	if err != nil {
		return err
	}
	defer func() { _ = sys.Kill() }() // what was measured is measured
	s.Ready = time.Since(began)
	if err := sys.Quiet(ctx); err != nil {
		return err
	}
	if s.Resident, err = sys.Memory(); err != nil {
		return err
	}
	list, err := s.merchants(ctx, sys)
	if err != nil {
		return err
	}
	if err := closeAll(ctx, sys); err != nil { // an hour may have ended since it was loaded
		return err
	}
	if err := s.reports(ctx, sys, list); err != nil {
		return err
	}
	if s.IdleTick, err = tick(ctx, sys); err != nil {
		return err
	}
	if err := s.oneActive(ctx, sys, list); err != nil {
		return err
	}
	if err := s.newEvents(ctx, sys, list); err != nil {
		return err
	}
	if s.After, err = sys.Memory(); err != nil {
		return err
	}
	return sys.Stop()
}

// oneActive closes an hour of a middling merchant, of whom an event has come.
func (s *Step) oneActive(ctx context.Context, sys *loadtest.Process, list []loadtest.Merchant) error {
	hour := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
	middle := loadtest.StreamsOf(list[s.Merchants/2 : s.Merchants/2+2])
	mix := loadtest.NewMix(loadtest.MixOptions{Seed: uint64(hour.Unix()), Streams: middle}, loadtest.NewTruths())
	err := loadtest.NewSender(sys.URL, 1).PostMix(ctx, mix, 1, func(int) time.Time { return hour }, func(i int) bool { return i < 1 })
	if err == nil {
		err = sys.WaitDelivered(ctx)
	}
	if err == nil {
		s.ActiveTick, err = tick(ctx, sys)
	}
	return err
}

// newEvents sends events of now and counts what they cost until they are
// archived and processed; they stand in an open hour.
func (s *Step) newEvents(ctx context.Context, sys *loadtest.Process, list []loadtest.Merchant) error {
	const requests = 100_000 / perRequest
	o := loadtest.DefaultMix(uint64(time.Now().UnixNano()), loadtest.StreamsOf(list))
	o.Late, o.Malformed = 0, 0
	mix := loadtest.NewMix(o, loadtest.NewTruths())
	cost, err := sys.Took(ctx, func() error {
		err := loadtest.NewSender(sys.URL, 8).PostMix(ctx, mix, perRequest, func(int) time.Time { return time.Now() }, func(i int) bool { return i < requests })
		if err != nil {
			return err
		}
		return sys.WaitDelivered(ctx)
	})
	s.NewEvent = cost.Each(requests * perRequest)
	return err
}

// questions are asked of merchants as readers come: most often of the busy ones.
var questions = []struct {
	Name string
	ask  func(yesterday string) url.Values
}{
	{"28 days by day", func(string) url.Values {
		return url.Values{"metrics": {"activeUsers,newUsers,sessions,engagedSessions,screenPageViews,eventCount,purchaseRevenue"}, "dimensions": {"date"}, "from": {"27daysAgo"}, "to": {"today"}}
	}},
	{"top pages of 28 days", func(string) url.Values {
		return url.Values{"metrics": {"screenPageViews,activeUsers"}, "dimensions": {"pagePath"}, "limit": {"10"}, "from": {"27daysAgo"}, "to": {"today"}}
	}},
	{"ad hoc, of one day", func(day string) url.Values {
		return url.Values{"metrics": {"activeUsers,sessions,eventCount"}, "dimensions": {"browser,pagePath"}, "filter": {"eventName==page_view"}, "from": {day}, "to": {day}, "limit": {"50"}}
	}},
}

// asked is how many merchants each question is asked of, one after another.
const asked = 200

func (s *Step) reports(ctx context.Context, sys *loadtest.Process, list []loadtest.Merchant) error {
	s.Reports = map[string]Quantiles{}
	for _, q := range questions {
		who := rand.NewZipf(rand.New(rand.NewPCG(1, uint64(len(q.Name)))), 1.1, 1, uint64(len(list)-1))
		var all []time.Duration
		for i := range asked {
			day := time.Now().UTC().AddDate(0, 0, -1-i%(days-1)).Format(time.DateOnly)
			path := "/v1/reports/" + list[who.Uint64()].MerchantID + "?" + q.ask(day).Encode()
			began := time.Now()
			if err := sys.Do(ctx, http.MethodGet, path, sys.AdminToken, "", nil, http.StatusOK, nil); err != nil {
				return err
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		s.Reports[q.Name] = Quantiles{P50: all[len(all)/2], P99: all[len(all)*99/100]}
	}
	return nil
}
