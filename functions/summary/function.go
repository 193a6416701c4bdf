package summary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/semaphore"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/parallel"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
	"github.com/footfall/footfall/shared/view"
)

// Config of the summary function.
type Config struct {
	// Shards is into how many parts a tick cuts the merchants. Each part with
	// something to do is one event, worked off by one instance.
	Shards int `env:"SUMMARY_SHARDS" envDefault:"8"`
	// Workers is how many merchants of a shard are worked on at once.
	Workers int `env:"SUMMARY_WORKERS" envDefault:"2"`
	// Budget is how long a shard takes new merchants to work on. It must end
	// before the delivery's timeout; what is left is an event of its own.
	Budget time.Duration `env:"SUMMARY_BUDGET" envDefault:"2m"`
	// Hold is how long ticks leave a shard alone whose instance has died. While
	// it lives it says so again and again; 0 has each tick hand out all shards.
	Hold time.Duration `env:"SUMMARY_HOLD" envDefault:"20s"`
	// Page is how many dirty hours are listed at once.
	Page int `env:"SUMMARY_PAGE" envDefault:"1000"`
	// Span is how many hours of a merchant are counted at once, at most. Of a
	// merchant with more events than RunEvents in them fewer are, and
	// hours of several merchants are counted at once as long as they have no more in
	// sum: what many busy ones take together would fill the memory, and leave no
	// processor to who takes events in beside it.
	Span      int `env:"SUMMARY_SPAN" envDefault:"48"`
	RunEvents int `env:"SUMMARY_RUN_EVENTS" envDefault:"500000"`
	// Share: a merchant whose hours take longer than some seconds to count has
	// one part in so many of the time for it; 0 holds nobody back.
	Share int `env:"SUMMARY_SHARE" envDefault:"20"`
	// LateEvery is how long hours that were closed before wait for more late
	// events, at most, unless another hour of the merchant is closed; 0 has each
	// tick close all.
	LateEvery time.Duration `env:"SUMMARY_LATE_EVERY" envDefault:"1h"`
	// MergeEvents is how many events a merged document may hold; 0 merges
	// nothing.
	MergeEvents int `env:"SUMMARY_MERGE_EVENTS" envDefault:"50000"`
	// MergeFresh is of how many batches the documents of an hour under way are
	// merged.
	MergeFresh int `env:"SUMMARY_MERGE_FRESH" envDefault:"64"`
	// CacheBytes bounds the memory of decoded documents.
	CacheBytes int64 `env:"SUMMARY_CACHE_BYTES" envDefault:"16777216"`
	// RebuildBudget is how much of a tick's time goes into looking for records
	// that were lost, where some were; RebuildHours is after how many hours
	// marked it leaves the rest to the next tick, and RebuildWorkers how many
	// merchants are looked at at once.
	RebuildBudget  time.Duration `env:"SUMMARY_REBUILD_BUDGET" envDefault:"20s"`
	RebuildHours   int           `env:"SUMMARY_REBUILD_HOURS" envDefault:"1000000"`
	RebuildWorkers int           `env:"SUMMARY_REBUILD_WORKERS" envDefault:"8"`
	// ViewGrace is how long a view is kept in whose place, after a change of
	// settings, a newer one is shown.
	ViewGrace time.Duration `env:"SUMMARY_VIEW_GRACE" envDefault:"24h"`
	// Timeout of one call of a store.
	Timeout time.Duration `env:"SUMMARY_TIMEOUT" envDefault:"30s"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	for _, n := range []struct {
		name       string
		v, lo, top int64
	}{
		{"SHARDS", int64(c.Shards), 1, 4096},
		{"WORKERS", int64(c.Workers), 1, 256},
		{"PAGE", int64(c.Page), 1, 100_000},
		{"SPAN", int64(c.Span), 1, 1000},
		{"RUN_EVENTS", int64(c.RunEvents), 1, 1 << 40},
		{"SHARE", int64(c.Share), 0, 1000},
		{"MERGE_EVENTS", int64(c.MergeEvents), 0, 10_000_000},
		{"MERGE_FRESH", int64(c.MergeFresh), 2, 1_000_000},
		{"CACHE_BYTES", c.CacheBytes, 0, 1 << 40},
		{"BUDGET", int64(c.Budget), int64(time.Second), int64(shardDeadline)},
		{"HOLD", int64(c.Hold), 0, int64(10 * time.Minute)},
		{"LATE_EVERY", int64(c.LateEvery), 0, int64(24 * time.Hour)},
		{"REBUILD_BUDGET", int64(c.RebuildBudget), int64(time.Millisecond), int64(40 * time.Second)}, // of a tick's 50 s
		{"REBUILD_HOURS", int64(c.RebuildHours), 1, 1 << 40},
		{"VIEW_GRACE", int64(c.ViewGrace), 0, int64(1000 * 24 * time.Hour)},
		{"REBUILD_WORKERS", int64(c.RebuildWorkers), 1, 256},
		{"TIMEOUT", int64(c.Timeout), int64(100 * time.Millisecond), int64(10 * time.Minute)},
	} {
		if n.v < n.lo || n.v > n.top {
			errs = append(errs, fmt.Errorf("%sSUMMARY_%s: expected %d to %d, got %d", function.Prefix, n.name, n.lo, n.top, n.v))
		}
	}
	return errors.Join(errs...)
}

// DefaultConfig is the configuration of an empty environment.
func DefaultConfig() Config {
	var c Config
	if err := function.Load(nil, nil, &c); err != nil {
		panic(err) // the defaults stand in this file
	}
	return c
}

// shardDeadline is within the five minutes of the Trigger summary-shards.
const shardDeadline = 280 * time.Second

// Ports are what the function works with.
type Ports struct {
	Journal   store.Journal
	Processed store.Processed
	Visitors  store.Visitors
	Summaries store.Summaries
	Registry  store.Registry
	Revisions view.Publications
	Publisher broker.Publisher
	Clock     function.Clock
	Log       *slog.Logger
}

// Service closes hours.
type Service struct {
	Ports
	cfg    Config
	loader *history.Loader
	ticks  function.EventHandler

	columns processed.Columns // that records need

	published *view.Published
	sweeper   *view.Sweeper

	mu      sync.Mutex
	running map[store.Shard]bool

	room         *semaphore.Weighted // for the events of hours that are counted at once (Config.RunEvents)
	elastic      *parallel.Elastic   // leaves the processors to who takes events in and answers
	closed       atomic.Int64        // runs of hours, of all shards
	rebuildFails atomic.Bool
	pace         pace
}

// New makes the service.
func New(cfg Config, p Ports) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if p.Clock == nil {
		p.Clock = function.SystemClock()
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		Ports: p, cfg: cfg, running: map[store.Shard]bool{}, room: semaphore.NewWeighted(int64(cfg.RunEvents)),
		elastic:   parallel.NewElastic(cfg.Shards * cfg.Workers),
		columns:   summary.Needs(summary.RecordKeys()),
		loader:    history.New(p.Processed, p.Visitors, history.Options{CacheBytes: cfg.CacheBytes, Timeout: cfg.Timeout}),
		published: view.NewPublished(p.Revisions, publishedAge, p.Clock),
		sweeper:   view.NewSweeper(p.Registry, p.Processed, p.Visitors, p.Summaries, p.Clock),
	}
	s.ticks = function.Coalesce(func(ctx context.Context, _ cloudevents.Event) error { return s.plan(ctx, false) })
	return s, nil
}

// publishedAge is how old may be what is known to be published.
const publishedAge = time.Second

// Function is the service as its runner sees it.
func (s *Service) Function() function.Function {
	return function.Function{
		Name:   "summary",
		Events: map[string]function.EventHandler{"/ticks": s.Tick, "/shards": s.Shard},
		// A shard begins new work during the budget and finishes what it began.
		Deadlines: map[string]time.Duration{"/ticks": 50 * time.Second, "/shards": shardDeadline},
	}
}
