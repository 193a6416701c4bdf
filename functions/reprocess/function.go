package reprocess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/replay"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/transform"
	"github.com/footfall/footfall/shared/view"
)

// The deadlines of event paths, within the timeouts of their Triggers.
const (
	shardDeadline   = 9 * time.Minute
	tickDeadline    = 50 * time.Second
	requestDeadline = 25 * time.Second
)

// Ports are what the function works with.
type Ports struct {
	Archive   store.Archive
	Journal   store.Journal
	Processed store.Processed
	Visitors  store.Visitors
	Summaries store.Summaries
	Registry  store.Registry
	Revisions store.Revisions
	Erasures  store.Erasures
	Publisher broker.Publisher
	Transform *transform.Transform // whoever runs the function runs it, too
	Authorize *access.Authorizer
	Clock     function.Clock
	Log       *slog.Logger
}

// Service drives reprocess jobs.
type Service struct {
	Ports
	cfg     Config
	replay  *replay.Replay
	retry   *replay.Retry
	loader  *history.Loader
	keeper  *view.Keeper
	sweeper *view.Sweeper
	slots   chan struct{} // one for each shard that is worked on
	ticks   function.EventHandler
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
		Ports: p, cfg: cfg,
		replay:  replay.New(p.Archive, p.Processed, p.Transform, replay.Limits{Workers: cfg.Workers, ChunkBytes: cfg.ChunkBytes, Timeout: cfg.Timeout}),
		retry:   replay.NewRetry(p.Processed, p.Transform, cfg.Timeout),
		loader:  history.New(p.Processed, p.Visitors, history.Options{MaxRows: cfg.MaxRows, Timeout: cfg.Timeout}),
		keeper:  &view.Keeper{Registry: p.Registry, Marks: p.Processed},
		sweeper: view.NewSweeper(p.Registry, p.Processed, p.Visitors, p.Summaries, p.Clock),
		slots:   make(chan struct{}, cfg.AtOnce),
	}
	s.ticks = function.Coalesce(s.tick)
	return s, nil
}

// Function is the service as its runner sees it.
func (s *Service) Function() function.Function {
	return function.Function{
		Name:      "reprocess",
		Routes:    s.routes,
		Events:    map[string]function.EventHandler{"/requests": s.Request, "/shards": s.Shard, "/ticks": s.Tick},
		Deadlines: map[string]time.Duration{"/requests": requestDeadline, "/shards": shardDeadline, "/ticks": tickDeadline},
	}
}

// Request takes a footfall.reprocess.requested.v1. One that cannot become a job
// is told in the history, not to the Broker, which could only throw it away.
func (s *Service) Request(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeReprocessRequested {
		return fault.Field("type", event.TypeReprocessRequested)
	}
	id := "event " + e.Source() + " " + e.ID()
	var r revision.Request
	err := strict(e.Data(), &r)
	if err == nil {
		var j revision.Job
		if j, err = s.start(ctx, r, id); err == nil {
			s.advanceLater(ctx, j.Revision)
			return nil
		}
	}
	if k := fault.KindOf(err); k != fault.Invalid && k != fault.Conflict {
		return err
	}
	return s.refuse(ctx, r, id, err)
}

// Tick takes every job on that can go on, and sweeps; then every erasure.
func (s *Service) Tick(ctx context.Context, e cloudevents.Event) error {
	if tick, _ := e.Extensions()[event.ExtensionTick].(string); e.Type() != event.TypePing || tick != "reprocess" {
		return fault.Field(event.ExtensionTick, "a ping with reprocess")
	}
	return s.ticks(ctx, e)
}

// jobsPage is how many jobs are listed at once.
const jobsPage = 100

func (s *Service) tick(ctx context.Context, _ cloudevents.Event) error {
	var errs faults
	for below := store.Revision(0); ; {
		jobs, err := s.jobs(ctx, below, jobsPage)
		if err != nil {
			return err
		}
		for i := range jobs {
			// One job's trouble is not another's.
			errs.add(s.advance(ctx, jobs[i].Revision))
			errs.add(s.sweep(ctx, jobs[i].Revision))
		}
		if len(jobs) < jobsPage {
			break
		}
		below = jobs[len(jobs)-1].Revision
	}
	errs.add(s.erase(ctx))
	return errs.err()
}

// shardData is the data of a footfall.reprocess.shard.v1.
type shardData struct {
	Revision store.Revision `json:"revision"`
	Phase    revision.State `json:"phase"`
	Shard    int            `json:"shard"` // from 0
}

func (s *Service) shardEvent(d shardData) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetType(event.TypeReprocessShard)
	e.SetSource("footfall/reprocess")
	e.SetID(fmt.Sprintf("reprocess-%d-%s-%d", d.Revision, d.Phase, d.Shard))
	e.SetTime(s.Clock())
	e.SetExtension(broker.ExtensionPartitionKey, "reprocess-"+strconv.Itoa(d.Shard))
	if err := e.SetData(cloudevents.ApplicationJSON, d); err != nil {
		return e, fmt.Errorf("cannot make the event of shard %d: %w", d.Shard, err)
	}
	return e, nil
}

// Shard does one shard of a job, unless it is done or not asked for any more.
func (s *Service) Shard(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeReprocessShard {
		return fault.Field("type", event.TypeReprocessShard)
	}
	var d shardData
	if err := json.Unmarshal(e.Data(), &d); err != nil || d.Revision <= store.LiveRevision || d.Shard < 0 {
		return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "revision, phase and shard", Err: err}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return &fault.Error{Kind: fault.Overloaded, Err: ctx.Err()}
	}
	if err := s.shard(ctx, d); err != nil {
		return err
	}
	s.advanceLater(ctx, d.Revision)
	return nil
}

// advanceLater takes a job on after something of it was done. Where that fails
// the next tick does it.
func (s *Service) advanceLater(ctx context.Context, rev store.Revision) {
	if err := s.advance(ctx, rev); err != nil {
		s.Log.Warn("cannot take a reprocess job on; the next tick tries again", "revision", rev, "error", err)
	}
}

// shard does a shard of a job that still is in its phase.
func (s *Service) shard(ctx context.Context, d shardData) error {
	j, err := s.job(ctx, d.Revision)
	if fault.Is(err, fault.NotFound) || err == nil && j.State != d.Phase {
		return nil
	}
	if err != nil {
		return err
	}
	sh, err := s.oneShard(ctx, d)
	if fault.Is(err, fault.NotFound) || err == nil && !sh.Done.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	working, stop := s.whileIn(ctx, d)
	defer stop(nil)
	switch d.Phase {
	case revision.Replaying:
		err = s.replayShard(working, &j, &sh)
	case revision.Building:
		err = s.buildShard(working, &j, &sh)
	case revision.Comparing:
		err = s.compareShard(working, &j, &sh)
	default:
		return nil
	}
	if errors.Is(context.Cause(working), errNotAsked) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot do shard %d of %s of revision %d: %w", d.Shard, d.Phase, d.Revision, err)
	}
	sh.Done = s.Clock().UTC()
	ctx, cancel := s.call(ctx)
	defer cancel()
	err = s.Revisions.FinishShard(ctx, sh)
	if fault.Is(err, fault.NotFound) {
		return nil // the job was discarded and is forgotten
	}
	return err
}

var errNotAsked = fault.New(fault.Conflict, "the job is not in this phase any more")

// lookEvery is how often a worker looks whether its shard is still asked for.
const lookEvery = 5 * time.Second

// whileIn is a context that ends when a job leaves a shard's phase.
func (s *Service) whileIn(ctx context.Context, d shardData) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	go func() {
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
				if j, err := s.job(ctx, d.Revision); err == nil && j.State != d.Phase {
					stop(errNotAsked)
					return
				}
			}
		}
	}()
	return ctx, stop
}

// call bounds one call of a store.
func (s *Service) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

func (s *Service) job(ctx context.Context, rev store.Revision) (revision.Job, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.Job(ctx, rev)
}

func (s *Service) jobs(ctx context.Context, below store.Revision, limit int) ([]revision.Job, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.Jobs(ctx, below, limit)
}

func (s *Service) oneShard(ctx context.Context, d shardData) (revision.Shard, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.Shard(ctx, d.Revision, d.Phase, d.Shard)
}

// book is what is published now.
func (s *Service) book(ctx context.Context) (revision.Book, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	all, err := s.Revisions.Publications(ctx)
	if err != nil {
		return revision.Book{}, fmt.Errorf("cannot tell what is published: %w", err)
	}
	return all.At(s.Clock()), nil
}

// faults collects errors; the first is told, all are counted.
type faults struct {
	first error
	n     int
}

func (f *faults) add(err error) {
	if err == nil {
		return
	}
	f.n++
	if f.first == nil {
		f.first = err
	}
}

func (f *faults) err() error {
	if f.n > 1 {
		return fmt.Errorf("%d errors, the first: %w", f.n, f.first)
	}
	return f.first
}
