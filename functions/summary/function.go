package summary

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
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
	// Span is how many hours of a merchant are counted at once, at most. A
	// merchant with more events than RunEvents in them is taken hour by hour.
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

	closed       atomic.Int64 // runs of hours, of all shards
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
		Ports: p, cfg: cfg, running: map[store.Shard]bool{},
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

// shardData is the data of a footfall.summary.shard.v1 event.
type shardData struct {
	Shard     int       `json:"shard"`     // from 0
	Count     int       `json:"count"`     // of shards
	Watermark time.Time `json:"watermark"` // hours that end by it may be closed
	Late      bool      `json:"late"`      // late events wait no longer
}

func (d *shardData) shard() store.Shard { return store.Shard{Index: d.Shard, Count: d.Count} }

// tickData is the data of a ping.
type tickData struct {
	Late bool `json:"late"` // close what waits for more late events, too
}

// Tick plans a run: one event for each shard that has something to close. Ticks
// that come together share a run, for each would plan the same. One whose data says
// "late": true has late events wait no longer (Config.LateEvery).
func (s *Service) Tick(ctx context.Context, e cloudevents.Event) error {
	if tick, _ := e.Extensions()[event.ExtensionTick].(string); e.Type() != event.TypePing || tick != "summary" {
		return fault.Field(event.ExtensionTick, "a ping with summary")
	}
	var d tickData
	if len(e.Data()) > 0 {
		if err := json.Unmarshal(e.Data(), &d); err != nil {
			return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "an object with late, true or false", Err: err}
		}
	}
	if d.Late {
		return s.plan(ctx, true)
	}
	return s.ticks(ctx, e)
}

func (s *Service) plan(ctx context.Context, late bool) error {
	s.tellRebuild(s.rebuild(ctx))
	watermark, err := s.watermark(ctx)
	if err != nil {
		return err
	}
	held := s.held(ctx)
	var events []cloudevents.Event
	for i := range s.cfg.Shards {
		if held[i] {
			continue // whoever is at it sees to the rest
		}
		d := shardData{i, s.cfg.Shards, watermark, late}
		left, err := s.left(ctx, &d)
		if err != nil {
			return err
		}
		if !left {
			continue
		}
		out, err := s.shardEvent(&d, "")
		if err != nil {
			return err
		}
		events = append(events, out)
	}
	return s.publish(ctx, events)
}

// left reports whether a shard has anything to close now.
func (s *Service) left(ctx context.Context, d *shardData) (bool, error) {
	if dirty, err := s.dirty(ctx, true, d.shard(), d.Watermark, store.DirtyHour{}, 1); err != nil || len(dirty) > 0 {
		return err == nil, err
	}
	late := s.lateness(ctx, d)
	left, open := false, 0
	var looking error
	err := s.pages(ctx, false, d.shard(), d.Watermark.Add(ahead), func(whole []store.DirtyHour, _ bool) bool {
		for _, hours := range byMerchant(whole) {
			last := hours[len(hours)-1]
			ended, _ := slices.BinarySearchFunc(hours, d.Watermark, func(h store.DirtyHour, at time.Time) int { return cmp.Compare(h.Hour, event.HourOf(at)) })
			left = left || ended > 0 && late.asks(hours[:ended])
			if ended < len(hours) && !left && looking == nil {
				// Of so many who are at work one has documents to merge.
				if open++; open > mostLooks {
					left = true
				} else {
					left, looking = s.many(ctx, last.Merchant, last.Hour)
				}
			}
		}
		return !left && looking == nil
	})
	return left, errors.Join(looking, err)
}

// mostLooks is how many merchants of a shard are looked at before it is handed out to
// see whether documents of theirs are to be merged.
const mostLooks = 16

// ahead is how far beyond the watermark hours may be under way.
const ahead = 2 * time.Hour

// publish hands shards out.
func (s *Service) publish(ctx context.Context, events []cloudevents.Event) error {
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.Publisher.Publish(ctx, broker.Control, events...); err != nil {
		return fmt.Errorf("cannot publish %d shards: %w", len(events), err)
	}
	return nil
}

// tellRebuild says once that lost records cannot be looked for. It stops no
// tick: what is dirty is closed all the same, and the next tick looks again.
func (s *Service) tellRebuild(err error) {
	if failing := err != nil; s.rebuildFails.Swap(failing) != failing {
		if failing {
			s.Log.Warn("cannot look for lost records; the next tick tries again", "error", err)
		} else {
			s.Log.Info("lost records can be looked for again")
		}
	}
}

func (s *Service) watermark(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	t, err := s.Journal.Watermark(ctx, s.Clock())
	if err != nil {
		return t, fmt.Errorf("cannot read the watermark: %w", err)
	}
	return t, nil
}

func (s *Service) dirty(ctx context.Context, others bool, shard store.Shard, watermark time.Time, after store.DirtyHour, limit int) ([]store.DirtyHour, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	hours, err := s.Processed.Dirty(ctx, others, shard, watermark, after, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot list the dirty hours of shard %d of %d: %w", shard.Index, shard.Count, err)
	}
	return hours, nil
}

// shardEvent asks for a shard's hours to be closed; part tells several such
// events of one watermark apart.
func (s *Service) shardEvent(d *shardData, part string) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetType(event.TypeSummaryShard)
	e.SetSource("footfall/summary")
	e.SetID(fmt.Sprintf("summary-%d-%d-%d%s", d.Watermark.UnixMilli(), d.Shard, d.Count, part))
	e.SetTime(s.Clock())
	e.SetExtension("partitionkey", fmt.Sprintf("summary-%d", d.Shard))
	data := *d
	data.Watermark = d.Watermark.UTC()
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return e, fmt.Errorf("cannot make the event of shard %d: %w", d.Shard, err)
	}
	return e, nil
}

// Shard closes the dirty hours of a shard's merchants that end by the
// watermark. What its budget does not last for goes on at once, as an event that
// any instance may take: a million merchants' hour waits for no tick. Should that
// be lost, the next tick finds the hours dirty still.
func (s *Service) Shard(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeSummaryShard {
		return fault.Field("type", event.TypeSummaryShard)
	}
	var d shardData
	if err := json.Unmarshal(e.Data(), &d); err != nil {
		return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "shard, count and watermark", Err: err}
	}
	if d.Count < 1 || d.Shard < 0 || d.Shard >= d.Count || d.Watermark.IsZero() {
		return fault.Field("data", "0 <= shard < count, and a watermark")
	}
	if more, err := s.work(ctx, &d); err != nil || !more {
		return err
	}
	rest, err := s.shardEvent(&d, fmt.Sprintf("-%d", s.Clock().UnixNano()))
	if err != nil {
		return err
	}
	return s.publish(ctx, []cloudevents.Event{rest})
}

// work closes what the budget lasts for, and reports whether more is to be
// done. Where no run was closed there is not: another try would end alike.
func (s *Service) work(ctx context.Context, d *shardData) (more bool, err error) {
	shard := d.shard()
	if !s.start(shard) {
		return false, nil // this instance is at it
	}
	defer s.finish(shard)
	letGo := s.hold(ctx, shard)
	defer func() { letGo(!more) }()
	before := s.closed.Load()
	if more, err = s.closeShard(ctx, d); err != nil || !more || s.closed.Load() == before {
		return false, err
	}
	return s.left(ctx, d)
}

func (s *Service) start(shard store.Shard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[shard] {
		return false
	}
	s.running[shard] = true
	return true
}

func (s *Service) finish(shard store.Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, shard)
}

// maxPasses is how often a run looks for dirty hours. Closing an hour may
// reopen another, in which a user was counted as new and is no longer; that one
// reopens none, so the third pass is for what arrives meanwhile.
const maxPasses = 3

// othersTurn is how long the views that are not shown are worked on before it
// is seen what came to the others meanwhile.
const othersTurn = 15 * time.Second

// closeShard passes over the dirty hours until none is left: over those of the
// views that are shown first, and in what is left of the time over all others.
// more is true where its budget ended first.
func (s *Service) closeShard(ctx context.Context, d *shardData) (more bool, err error) {
	shard := d.shard()
	// Within the budget new work is begun; what was begun is finished.
	budget, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	late := s.lateness(ctx, d)
	for {
		err := s.passes(ctx, budget, shard, late, false)
		if !spent(budget) {
			s.turnsDone(ctx, shard, late)
			err = errors.Join(err, s.mergePass(ctx, budget, shard, late))
		}
		turn, end := context.WithTimeout(budget, othersTurn)
		err = errors.Join(err, s.passes(ctx, turn, shard, late, true))
		others := spent(turn)
		end()
		if err == nil {
			err = ctx.Err() // given up: it is delivered again
		}
		if err != nil || !others || spent(budget) {
			return spent(budget), err
		}
	}
}

func (s *Service) passes(ctx, budget context.Context, shard store.Shard, late *lateness, others bool) error {
	for range maxPasses {
		if found, err := s.pass(ctx, budget, shard, late, others); err != nil || !found {
			return err
		}
	}
	return nil
}

// pass goes through the dirty hours, merchant by merchant; found is false where
// there are none to close now. A merchant that takes long holds one worker: the
// others go on with the pages that follow.
func (s *Service) pass(ctx, budget context.Context, shard store.Shard, late *lateness, others bool) (found bool, err error) {
	var errs faults
	var group errgroup.Group
	var some atomic.Bool
	group.SetLimit(s.cfg.Workers)
	err = s.pages(ctx, others, shard, late.watermark, func(whole []store.DirtyHour, cut bool) bool {
		for _, hours := range byMerchant(whole) {
			if !others && !late.asks(hours) {
				continue
			}
			group.Go(func() error {
				// One merchant's trouble is not another's.
				did, err := s.closeQueues(ctx, budget, hours, late)
				errs.add(err)
				if did {
					some.Store(true)
				}
				return nil
			})
		}
		if cut {
			_ = group.Wait() // two workers at one merchant would do each other's work again
		}
		return !spent(budget)
	})
	_ = group.Wait() // its errors are in errs
	errs.add(err)
	return some.Load(), errs.err()
}

// mergePass merges documents of the hours under way and of the last one, of each
// merchant at every other tick.
func (s *Service) mergePass(ctx, budget context.Context, shard store.Shard, late *lateness) error {
	if s.cfg.MergeEvents == 0 {
		return nil
	}
	var errs faults
	var group errgroup.Group
	group.SetLimit(s.cfg.Workers)
	since, minute := event.HourOf(late.watermark)-1, uint64(late.watermark.Unix()/60)
	err := s.pages(ctx, false, shard, late.watermark.Add(ahead), func(whole []store.DirtyHour, cut bool) bool {
		for _, dirty := range byMerchant(whole) {
			merchant, hours := dirty[0].Merchant, hoursOf(dirty)
			first, _ := slices.BinarySearch(hours, since)
			if hours = hours[first:]; len(hours) == 0 || (xxh3.HashString(merchant)+minute)%2 != 0 {
				continue
			}
			group.Go(func() error {
				if !spent(budget) {
					errs.add(s.mergeHours(ctx, merchant, hours))
				}
				return nil
			})
		}
		if cut {
			_ = group.Wait()
		}
		return !spent(budget)
	})
	_ = group.Wait() // its errors are in errs
	errs.add(err)
	return errs.err()
}

// pages calls fn with dirty hours, those of a merchant together, until it returns
// false. cut says that there are more of the last merchant: one that has more than a
// page.
func (s *Service) pages(ctx context.Context, others bool, shard store.Shard, watermark time.Time, fn func(whole []store.DirtyHour, cut bool) bool) error {
	for after := (store.DirtyHour{}); ; {
		page, err := s.dirty(ctx, others, shard, watermark, after, s.cfg.Page)
		if err != nil {
			return err
		}
		last := len(page) < s.cfg.Page
		whole := page
		if !last {
			whole = page[:lastMerchant(page)]
		}
		cut := len(whole) == 0 && !last
		if cut {
			whole = page
		}
		if !fn(whole, cut) || last {
			return nil
		}
		after = whole[len(whole)-1]
	}
}

// byMerchant cuts dirty hours where another merchant's begin.
func byMerchant(dirty []store.DirtyHour) (each [][]store.DirtyHour) {
	for start, i := 0, 0; i < len(dirty); start = i {
		for i < len(dirty) && dirty[i].Merchant == dirty[start].Merchant {
			i++
		}
		each = append(each, dirty[start:i])
	}
	return each
}

// closeQueues closes a merchant's dirty hours, one queue after the other: at once
// they would keep each other from it. did is false where there was nothing to do.
func (s *Service) closeQueues(ctx, budget context.Context, dirty []store.DirtyHour, late *lateness) (did bool, err error) {
	for i := 0; i < len(dirty) && !spent(budget); {
		from, queue := i, dirty[i].Queue
		for i < len(dirty) && dirty[i].Queue == queue {
			i++
		}
		if queue == store.LiveQueue {
			some, e := s.closeMerchant(ctx, budget, dirty[from:i], late)
			did, err = did || some, errors.Join(err, e)
		} else {
			did, err = true, errors.Join(err, s.closeView(ctx, budget, dirty[from:i], late.watermark))
		}
	}
	return did, err
}

// hoursOf are the hours of one merchant's queue.
func hoursOf(dirty []store.DirtyHour) []event.Hour {
	hours := make([]event.Hour, len(dirty))
	for i := range dirty {
		hours[i] = dirty[i].Hour
	}
	return hours
}

// lastMerchant is where the entries of the last merchant of a page begin.
func lastMerchant(page []store.DirtyHour) int {
	i := len(page) - 1
	for i > 0 && page[i-1].Merchant == page[i].Merchant {
		i--
	}
	return i
}

// faults collects the errors of merchants; the first is told, all are counted.
type faults struct {
	mu    sync.Mutex
	first error
	n     int
}

func (f *faults) add(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.first == nil {
		f.first = err
	}
}

func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n > 1 {
		return fmt.Errorf("%d merchants, the first: %w", f.n, f.first)
	}
	return f.first
}
