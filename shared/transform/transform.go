package transform

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// Config is what a transformation takes from the environment.
type Config struct {
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

// Transform makes processed data of batches. It may be used by many goroutines.
type Transform struct {
	owners   *owners
	enricher *enrich.Enricher
	geo      *enrich.Geo
}

// New makes a transformation; it opens the place file where there is one.
func New(cfg Config, registry store.Registry, clock function.Clock, log *slog.Logger) (*Transform, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
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
	return &Transform{owners: newOwners(registry, cfg.Streams, cfg.Refresh, clock, log), enricher: enricher, geo: geo}, nil
}

// Function is what a runner must run beside those that use the transformation:
// it follows the registry and closes the place file.
func (t *Transform) Function() function.Function {
	return function.Function{
		Name:  "transform",
		Run:   t.owners.run,
		Close: func(context.Context) error { return t.geo.Close() },
	}
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
