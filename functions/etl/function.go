package etl

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// Config is the function's configuration from the environment.
type Config struct {
	// Concurrency is how many batches are worked on at once; 0: one for each
	// CPU and one that waits for the store.
	Concurrency int `env:"ETL_CONCURRENCY" envDefault:"0"`
	// GeoFile is a MaxMind DB file of places; empty: only a trusted ingress
	// says where an event is from.
	GeoFile string `env:"GEO_FILE"`
	// Refresh is how often changes of merchants are asked for: so long a
	// stream that was disabled is still counted.
	Refresh time.Duration `env:"ETL_REFRESH" envDefault:"1s"`
	// Streams and Agents bound what is remembered.
	Streams int `env:"ETL_STREAMS" envDefault:"200000"`
	Agents  int `env:"ETL_AGENTS" envDefault:"16384"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if c.Concurrency < 0 || c.Concurrency > 1024 {
		faults = append(faults, fault.Field("FOOTFALL_ETL_CONCURRENCY", "0 to 1024"))
	}
	if c.Refresh < 10*time.Millisecond {
		faults = append(faults, fault.Field("FOOTFALL_ETL_REFRESH", "at least 10ms"))
	}
	if c.Streams < 1 {
		faults = append(faults, fault.Field("FOOTFALL_ETL_STREAMS", "at least 1"))
	}
	if c.Agents < 1 {
		faults = append(faults, fault.Field("FOOTFALL_ETL_AGENTS", "at least 1"))
	}
	return errors.Join(faults...)
}

// Service handles accepted batches.
type Service struct {
	processed store.Processed
	journal   store.Journal
	registry  store.Registry
	owners    *owners
	enricher  *enrich.Enricher
	geo       *enrich.Geo
	slots     chan struct{} // one for each batch that is being worked on
}

// New makes the service; it opens the place file where there is one.
func New(cfg Config, processed store.Processed, journal store.Journal, registry store.Registry, clock function.Clock, log *slog.Logger) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = runtime.GOMAXPROCS(0) + 1
	}
	var geo *enrich.Geo
	if cfg.GeoFile != "" {
		var err error
		if geo, err = enrich.OpenGeo(cfg.GeoFile, cfg.Agents); err != nil {
			return nil, err
		}
	}
	enricher, err := enrich.New(enrich.Options{Geo: geo, Agents: cfg.Agents})
	if err != nil {
		return nil, err
	}
	return &Service{
		processed: processed, journal: journal, registry: registry,
		owners: newOwners(registry, cfg.Streams, cfg.Refresh, clock, log), enricher: enricher, geo: geo,
		slots: make(chan struct{}, cfg.Concurrency),
	}, nil
}

// Function is the service as its runner serves it.
func (s *Service) Function() function.Function {
	return function.Function{
		Name:   "etl",
		Events: map[string]function.EventHandler{"/batches": s.Handle},
		Ready: func(ctx context.Context) error {
			_, _, err := s.registry.Changes(ctx, "", 1)
			return err
		},
		Run:   s.owners.run,
		Close: func(context.Context) error { return s.geo.Close() },
	}
}

// Handle takes a footfall.batch.accepted.v1. nil means that its documents are
// written and its journal row says so. A batch that cannot be read is Invalid;
// any store that is away is Transient, so that no event is taken for one of an
// unknown stream because nobody could be asked.
func (s *Service) Handle(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeBatchAccepted {
		return fault.Field("type", event.TypeBatchAccepted)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return &fault.Error{Kind: fault.Overloaded, Err: ctx.Err()}
	}
	if s.done(ctx, e.ID()) {
		return nil
	}
	b, err := event.DecodeBatch(e.Data())
	if err != nil {
		return fault.New(fault.Invalid, "cannot decode batch %q: %w", e.ID(), err)
	}
	if b.ID.String() != e.ID() {
		return &fault.Error{Kind: fault.Invalid, Field: "id", Expected: "the id of the batch in data, " + b.ID.String()}
	}
	put, err := s.transform(ctx, b)
	if err != nil {
		return err
	}
	if err := s.processed.Put(ctx, put); err != nil {
		return err
	}
	key, _ := e.Extensions()[broker.ExtensionPartitionKey].(string)
	return s.journal.Mark(ctx, store.StageProcessed, []store.JournalRow{{
		Batch: b.ID, ReceivedAt: b.ReceivedAt, PartitionKey: key, Counts: b.Counts(), Stages: store.StageProcessed,
	}})
}

// done reports whether the journal knows that a batch was processed. What a
// batch became stands from then on: were it judged again, a stream that was
// disabled or made meanwhile would leave its events counted and rejected both,
// and hours that are long closed would be worked out again for nothing.
func (s *Service) done(ctx context.Context, id string) bool {
	batch, err := event.ParseBatchID(id)
	if err != nil {
		return false
	}
	stages, err := s.journal.Stages(ctx, batch)
	return err == nil && stages&store.StageProcessed != 0
}

// transform makes of a batch what is written of it.
func (s *Service) transform(ctx context.Context, b *event.Batch) (store.Put, error) {
	known, err := s.owners.of(ctx, b)
	if err != nil {
		return store.Put{}, err
	}
	r := s.enricher.Batch(b, func(stream string) (enrich.Owner, bool) {
		owner := known[stream]
		return owner, owner.Merchant != ""
	})
	return putOf(b, r, store.LiveRevision), nil
}

// putOf is a result as the store takes it, under a revision.
func putOf(b *event.Batch, r enrich.Result, rev store.Revision) store.Put {
	put := store.Put{Batch: b.ID}
	for _, d := range r.Docs {
		put.Docs = append(put.Docs, store.Doc{
			Key:    store.DocKey{Merchant: d.Merchant, Hour: d.Hour, Revision: rev, Batch: b.ID},
			Events: d.Events, Data: d.Data,
		})
	}
	for _, x := range r.Rejects {
		put.Rejects = append(put.Rejects, store.Reject{
			Merchant: x.Merchant, Stream: x.Stream, Batch: b.ID, Index: x.Index, EventID: x.EventID, Hour: x.Hour,
			ReceivedAt: b.ReceivedAt, Refused: x.Refused, Events: x.Events, Reason: x.Reason, Field: x.Field, Detail: x.Detail, Data: x.Data,
		})
	}
	return put
}
