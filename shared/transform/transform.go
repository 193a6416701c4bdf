package transform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/watched"
)

// Config is what a transformation takes from the environment.
type Config struct {
	// GeoFile is a MaxMind DB file of places; empty: only a trusted ingress
	// says where an event is from.
	GeoFile string `env:"GEO_FILE"`
	// GeoRefresh is how often the file is looked at. One that was replaced is
	// used after it has looked the same twice.
	GeoRefresh time.Duration `env:"GEO_REFRESH" envDefault:"15s"`
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
	if c.Refresh < 10*time.Millisecond {
		faults = append(faults, fault.Field("FOOTFALL_ETL_REFRESH", "at least 10ms"))
	}
	if c.GeoFile != "" && c.GeoRefresh < 10*time.Millisecond {
		faults = append(faults, fault.Field("FOOTFALL_GEO_REFRESH", "at least 10ms"))
	}
	if c.Streams < 1 {
		faults = append(faults, fault.Field("FOOTFALL_ETL_STREAMS", "at least 1"))
	}
	if c.Agents < 1 {
		faults = append(faults, fault.Field("FOOTFALL_ETL_AGENTS", "at least 1"))
	}
	return errors.Join(faults...)
}

// Transform makes processed data of batches. It may be used by many goroutines.
type Transform struct {
	owners   *owners
	enricher *enrich.Enricher
	places   *watched.File[*enrich.Geo] // nil where there is no file
	refresh  time.Duration
}

// New makes a transformation; it opens the place file where there is one, and
// takes a new one when it changes.
func New(cfg Config, registry store.Registry, clock function.Clock, log *slog.Logger, meter metric.Meter) (*Transform, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	enricher, err := enrich.New(enrich.Options{Agents: cfg.Agents})
	if err != nil {
		return nil, err
	}
	t := &Transform{owners: newOwners(registry, cfg.Streams, cfg.Refresh, clock, log), enricher: enricher, refresh: cfg.GeoRefresh}
	if cfg.GeoFile != "" {
		if t.places, err = watched.Open(cfg.GeoFile, opener(cfg.Agents), log, meter); err != nil {
			return nil, fmt.Errorf("FOOTFALL_GEO_FILE: %w", err)
		}
		enricher.UsePlaces(t.places.Get())
	}
	return t, nil
}

// opener opens a place file. One that takes the place of another is read for
// faults first: there is time, and the other is still used.
func opener(limit int) func(path string) (*enrich.Geo, error) {
	var opened atomic.Bool
	return func(path string) (*enrich.Geo, error) {
		geo, err := enrich.OpenGeo(path, limit)
		if err == nil && opened.Swap(true) {
			err = geo.Verify()
		}
		return geo, err
	}
}

// Function is what a runner must run beside those that use the transformation:
// it follows the registry and the place file.
func (t *Transform) Function() function.Function {
	return function.Function{Name: "transform", Run: t.run}
}

func (t *Transform) run(ctx context.Context) error {
	if t.places == nil {
		return t.owners.run(ctx)
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { t.places.Run(ctx, t.refresh, t.enricher.UsePlaces) })
	return t.owners.run(ctx)
}

// Batch is what is written of a batch by the ETL: a document for each merchant
// and hour, and what is not counted. Transient where nobody could be asked
// whose a stream is: no event is taken for one of an unknown stream because
// the registry was away.
func (t *Transform) Batch(ctx context.Context, b *event.Batch) (store.Put, error) {
	read := reading(b)
	owner, err := t.ownersOf(ctx, read)
	if err != nil {
		return store.Put{}, err
	}
	r := t.enricher.Batch(read, owner)
	put := store.Put{Batch: b.ID, Rejects: rejectsOf(r.Rejects)}
	for _, d := range r.Docs {
		put.Docs = append(put.Docs, store.Doc{
			Key:    store.DocKey{Merchant: d.Merchant, Hour: d.Hour, Revision: store.LiveRevision, Batch: b.ID},
			Events: d.Events, Data: d.Data,
		})
	}
	return put, nil
}

// Rows is Batch for who packs rows of several batches, each another, into one
// document: at is asked for a builder for each batch's rows of a merchant and
// an hour, in order of merchant, hour and batch. What it builds keeps parts of
// the batches' memory alive. A nil builder leaves rows out.
func (t *Transform) Rows(ctx context.Context, batches []*event.Batch, at func(string, event.Hour, event.BatchID) *processed.Builder) ([]store.Reject, error) {
	read := make([]*event.Batch, len(batches))
	for i, b := range batches {
		read[i] = reading(b)
	}
	owner, err := t.ownersOf(ctx, read...)
	if err != nil {
		return nil, err
	}
	return rejectsOf(t.enricher.Rows(read, owner, at)), nil
}

func (t *Transform) ownersOf(ctx context.Context, batches ...*event.Batch) (func(stream string) (enrich.Owner, bool), error) {
	known, err := t.owners.of(ctx, batches)
	if err != nil {
		return nil, err
	}
	return func(stream string) (enrich.Owner, bool) {
		owner := known[stream]
		return owner, owner.Merchant != ""
	}, nil
}

func rejectsOf(rejects []enrich.Reject) []store.Reject {
	if len(rejects) == 0 {
		return nil
	}
	list := make([]store.Reject, 0, len(rejects))
	for _, x := range rejects {
		list = append(list, store.Reject{
			Merchant: x.Merchant, Stream: x.Stream, Batch: x.Batch, Index: x.Index, EventID: x.EventID, Hour: x.Hour,
			ReceivedAt: x.ReceivedAt, Refused: x.Refused, Events: x.Events, Reason: x.Reason, Field: x.Field, Detail: x.Detail, Data: x.Data,
		})
	}
	return list
}
