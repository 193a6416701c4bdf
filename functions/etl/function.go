package etl

import (
	"context"
	"runtime"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/transform"
)

// Config is the function's configuration from the environment.
type Config struct {
	// Concurrency is how many batches are worked on at once; 0: one for each
	// CPU and one that waits for the store.
	Concurrency int `env:"ETL_CONCURRENCY" envDefault:"0"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	if c.Concurrency < 0 || c.Concurrency > 1024 {
		return fault.Field("FOOTFALL_ETL_CONCURRENCY", "0 to 1024")
	}
	return nil
}

// Service handles accepted batches.
type Service struct {
	transform *transform.Transform
	processed store.Processed
	journal   store.Journal
	slots     chan *event.Decoder // one for each batch that may be worked on
}

// New makes the service. Who runs it runs the transformation, too.
func New(cfg Config, t *transform.Transform, processed store.Processed, journal store.Journal) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = runtime.GOMAXPROCS(0) + 1
	}
	s := &Service{transform: t, processed: processed, journal: journal, slots: make(chan *event.Decoder, cfg.Concurrency)}
	for range cfg.Concurrency {
		s.slots <- new(event.Decoder)
	}
	return s, nil
}

// Function is the service as its runner serves it.
func (s *Service) Function() function.Function {
	return function.Function{Name: "etl", Events: map[string]function.EventHandler{"/batches": s.Handle}}
}

// Handle takes a footfall.batch.accepted.v1. nil means that its documents are
// written and its journal row says so. A batch that cannot be read is Invalid;
// any store that is away is Transient, so that no event is taken for one of an
// unknown stream because nobody could be asked.
func (s *Service) Handle(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeBatchAccepted {
		return fault.Field("type", event.TypeBatchAccepted)
	}
	var decode *event.Decoder
	select {
	case decode = <-s.slots:
	case <-ctx.Done():
		return &fault.Error{Kind: fault.Overloaded, Err: ctx.Err()}
	}
	done := false
	defer func() {
		if !done { // a write that was given up may go on, and hold what was decoded
			decode = new(event.Decoder)
		}
		s.slots <- decode
	}()
	if err := s.handle(ctx, e, decode); err != nil {
		return err
	}
	decode.Reset()
	done = true
	return nil
}

func (s *Service) handle(ctx context.Context, e cloudevents.Event, decode *event.Decoder) error {
	if s.done(ctx, e.ID()) {
		return nil
	}
	block, err := event.BlockOf(e.Data())
	if err != nil {
		return fault.New(fault.Invalid, "cannot decode batch %q: %w", e.ID(), err)
	}
	b, err := decode.Batch(block)
	if err != nil {
		return fault.New(fault.Invalid, "cannot decode batch %q: %w", e.ID(), err)
	}
	if b.ID.String() != e.ID() {
		return &fault.Error{Kind: fault.Invalid, Field: "id", Expected: "the id of the batch in data, " + b.ID.String()}
	}
	put, err := s.transform.Batch(ctx, b)
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
