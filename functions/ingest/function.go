package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/otel/metric"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/protocol/cloudevents"
	"github.com/footfall/footfall/shared/store"
)

// Ports are what ingest needs of the world.
type Ports struct {
	Journal   store.Journal
	Gatherer  store.Gatherer // the Journal, where it takes batches in parts; nil: each flush has batches of its own
	Publisher broker.Publisher
	Registry  Registry
	Quotas    store.Quotas // nil: each instance holds tenants to their quotas alone
	Clock     function.Clock
	Log       *slog.Logger
	Meter     metric.Meter

	// JournalReady and BrokerReady ask whether a write would succeed now. They
	// may be nil: then only writes tell.
	JournalReady, BrokerReady func(ctx context.Context) error
}

// Ingest takes events in. Make it with New, run it as Function says, and
// Close it: it holds accepted events until they are durable.
type Ingest struct {
	cfg         Config
	ports       Ports
	streams     *Streams
	visitors    *visitors
	collector   *collector
	again       *republished
	ticks       function.EventHandler
	gate        gate
	quotas      *quotas
	dataCentres *dataCentres
	meters      *meters
	zstd        *zstd.Decoder
	requests    sync.Pool // of *request
}

// New makes an ingest that takes requests at once.
func New(cfg Config, ports Ports) (*Ingest, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Instance == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("cannot name this instance: set FOOTFALL_INSTANCE: %w", err)
		}
		cfg.Instance = host
	}
	if len(cfg.Instance) > cloudevents.MaxText {
		return nil, fmt.Errorf("FOOTFALL_INSTANCE: expected at most %d bytes", cloudevents.MaxText)
	}
	m, err := newMeters(ports.Meter)
	if err != nil {
		return nil, err
	}
	v, err := newVisitors()
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderMaxMemory(uint64(cfg.MaxBodyBytes)), zstd.WithDecoderMaxWindow(uint64(max(cfg.MaxBodyBytes, 8<<20))))
	if err != nil {
		return nil, fmt.Errorf("cannot make a zstd decoder: %w", err)
	}
	centres, err := openDataCentres(cfg.DataCentreFile, ports.Log, ports.Meter)
	if err != nil {
		return nil, err
	}
	in := &Ingest{
		dataCentres: centres,
		cfg:         cfg, ports: ports, meters: m, visitors: v, zstd: z,
		streams: NewStreams(cfg.QuotaEventsPerMinute),
		again:   newRepublished(),
		gate:    gate{maxBytes: int64(cfg.MaxBufferBytes), maxRequests: int64(cfg.MaxRequests)},
	}
	in.requests.New = func() any { return newRequest() }
	in.collector = newCollector(cfg, ports, m)
	in.ticks = function.Coalesce(in.closeGaps)
	in.quotas = newQuotas(ports, in.collector.keepLater)
	return in, nil
}

// Function is ingest as a process runs it.
func (in *Ingest) Function() function.Function {
	return function.Function{
		Name: "ingest",
		Routes: func(mux *http.ServeMux) {
			mux.HandleFunc("/events", in.serveEvents)
		},
		Express:   map[string]http.HandlerFunc{"/events": in.serveEvents},
		Events:    map[string]function.EventHandler{"/ticks": in.Tick, "/dead-letters": in.DeadLetter},
		Deadlines: map[string]time.Duration{"/ticks": 50 * time.Second},
		Ready:     in.Ready,
		Run:       in.Run,
		Close:     in.Close,
	}
}

// Ready is nil while an event could be accepted, which takes one of journal and
// Broker. A missing snapshot of streams is no reason to turn events away.
func (in *Ingest) Ready(ctx context.Context) error {
	if in.collector.closing() {
		return fault.New(fault.Transient, "cannot accept events: shutting down")
	}
	if err := in.collector.writer.takes(ctx); err != nil {
		return fault.New(fault.Transient, "cannot accept events: %w", err)
	}
	return nil
}

// Run keeps the snapshot of streams fresh until ctx is done. It begins with
// publishing what an instance that was killed has left unpublished.
func (in *Ingest) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { in.recover(ctx) })
	beside.Go(func() { in.quotas.run(ctx) })
	beside.Go(func() { in.dataCentres.run(ctx) })
	refresh := refresher{cfg: in.cfg, registry: in.ports.Registry, streams: in.streams, visitors: in.visitors, log: in.ports.Log}
	return refresh.run(ctx)
}

// Close makes durable what was taken and not yet written, and stops. Later
// requests get 503.
func (in *Ingest) Close(ctx context.Context) error {
	in.quotas.flush()
	return in.collector.close(ctx)
}

// Registry is what ingest needs of store.Registry.
type Registry interface {
	Changes(ctx context.Context, cursor string, limit int) (changed []merchant, next string, err error)
	Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error)
}

var _ Registry = store.Registry(nil)
