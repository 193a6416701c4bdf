package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/eventing"
	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/functions/etl"
	"github.com/footfall/footfall/functions/ingest"
	"github.com/footfall/footfall/functions/merchant"
	"github.com/footfall/footfall/functions/report"
	"github.com/footfall/footfall/functions/reprocess"
	"github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/transform"
)

// Options are what tests set; the zero value is a normal run.
type Options struct {
	Clock  function.Clock // default: the system's
	Log    io.Writer      // default: standard error
	NoCron bool           // fire no PingSource: the test does
	Faults broker.Faults  // of the dispatcher
	FS     vfs.FS         // under stores and archive; default: the operating system's
}

// Runner is a Footfall in this process.
type Runner struct {
	First FirstMerchant

	process   *function.Process
	functions []function.Function
	addr      net.Addr
	data      string
	admin     function.Secret
}

// Main runs Footfall until ctx is done and tells a newcomer about it on out.
func Main(ctx context.Context, environ []string, out io.Writer) error {
	if os.Getenv("GOGC") == "" {
		// Some per cent of CPU for a third of the memory: the machine is not
		// this process's alone.
		debug.SetGCPercent(gcPercent)
	}
	moreProcs()
	r, err := New(ctx, environ, Options{})
	if err != nil {
		return err
	}
	Greet(out, r.URL(), r.data, r.First)
	return r.Serve(ctx)
}

// New opens stores and Kafka, puts the functions on them, and listens. What
// Serve does not get to run must not be left open: on an error all is closed.
func New(ctx context.Context, environ []string, o Options) (_ *Runner, err error) {
	cfg, err := load(environ)
	if err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = function.SystemClock()
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	r := &Runner{data: cfg.runner.Data}
	if err := os.MkdirAll(r.data, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	if r.process, err = function.NewProcess(ctx, cfg.process, o.Log); err != nil {
		return nil, err
	}
	ground, err := openGround(ctx, cfg, r.process, o.FS)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ground.close())
		}
	}()
	if r.admin, err = KeptToken(cfg.runner.AdminToken, cfg.runner.Data); err != nil {
		return nil, err
	}
	cfg.report.AdminToken = r.admin
	if err := r.assemble(ctx, cfg, ground, o); err != nil {
		return nil, err
	}
	if r.addr, err = r.process.Listen(ctx); err != nil {
		return nil, err
	}
	return r, writeFile(filepath.Join(r.data, "address"), []byte(r.addr.String()+"\n"), 0o644)
}

// URL is where the runner answers.
func (r *Runner) URL() string { return "http://" + r.addr.String() }

// AdminToken is the operator's token.
func (r *Runner) AdminToken() string { return r.admin.Reveal() }

// Serve runs until ctx is done, and then stops in the order of the flow: what
// was accepted is durable before the stores close.
func (r *Runner) Serve(ctx context.Context) error { return r.process.Serve(ctx, r.functions...) }

// ground is what the functions stand on.
type ground struct {
	wiring *eventing.Wiring
	stores *embedded.Stores
	server *broker.Kafka // nil where a Kafka outside is used
	kafka  *kafka.Client
}

// openGround opens the stores and starts Kafka side by side: each reads its
// own part of the data folder.
func openGround(ctx context.Context, cfg *settings, p *function.Process, fs vfs.FS) (_ *ground, err error) {
	g := new(ground)
	if g.wiring, err = eventing.Parse(eventing.Files); err != nil {
		return nil, err
	}
	var opening errgroup.Group
	opening.Go(func() (err error) {
		g.stores, err = embedded.Open(cfg.runner.Data, embedded.Options{FS: fs, Logger: p.Log, CacheBytes: cfg.runner.StoreCacheBytes})
		return err
	})
	opening.Go(func() (err error) {
		brokers, security := cfg.runner.KafkaBrokers, cfg.runner.Security
		if len(brokers) == 0 {
			g.server, err = broker.StartKafka(broker.KafkaConfig{
				Dir: filepath.Join(cfg.runner.Data, "kafka"), Log: p.Log,
				RetentionBytes: cfg.runner.KafkaRetentionBytes,
			})
			if err != nil {
				return err
			}
			brokers, security = g.server.Brokers(), kafka.Security{}
		}
		g.kafka, err = kafka.New(kafka.Config{Brokers: brokers, Security: security})
		return err
	})
	if err := opening.Wait(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// close lets everything go, clients before servers.
func (g *ground) close() error {
	var errs []error
	if g.kafka != nil {
		errs = append(errs, g.kafka.Close())
	}
	if g.server != nil {
		g.server.Close()
	}
	if g.stores != nil {
		errs = append(errs, g.stores.Close())
	}
	return errors.Join(errs...)
}

// assemble makes the functions and the broker between them.
func (r *Runner) assemble(ctx context.Context, cfg *settings, g *ground, o Options) error {
	s, log, meters := g.stores, r.process.Log, r.process.Telemetry
	if err := measureStores(meters.Meter("store"), s); err != nil {
		return err
	}
	publisher := kafka.NewPublisher(g.kafka, topics(g.wiring))
	admin := access.NewAuthorizer(r.admin.Reveal(), s.Registry)

	collect, err := ingest.New(cfg.ingest, ingest.Ports{
		Journal: s.Journal, Gatherer: s.Journal, Publisher: publisher, Registry: s.Registry, Quotas: s.Quotas, Clock: o.Clock, Log: log, Meter: meters.Meter("ingest"),
	})
	if err != nil {
		return err
	}
	keep, err := archive.New(cfg.archive, s.Archive, s.Journal, o.Clock, log)
	if err != nil {
		return err
	}
	transformation, err := transform.New(cfg.transform, s.Registry, o.Clock, log, meters.Meter("etl"))
	if err != nil {
		return err
	}
	process, err := etl.New(cfg.etl, transformation, s.Processed, s.Journal)
	if err != nil {
		return err
	}
	summarise, err := summary.New(cfg.summary, summary.Ports{
		Journal: s.Journal, Processed: s.Processed, Visitors: s.Visitors, Summaries: s.Summaries, Registry: s.Registry,
		Revisions: s.Revisions, Publisher: publisher, Clock: o.Clock, Log: log,
	})
	if err != nil {
		return err
	}
	anew, err := reprocess.New(cfg.reprocess, reprocess.Ports{
		Archive: s.Archive, Journal: s.Journal, Processed: s.Processed, Visitors: s.Visitors, Summaries: s.Summaries, Registry: s.Registry,
		Revisions: s.Revisions, Erasures: s.Erasures, Publisher: publisher, Transform: transformation, Authorize: admin, Clock: o.Clock, Log: log,
	})
	if err != nil {
		return err
	}
	answer := report.New(cfg.report, report.Ports{
		Registry: s.Registry, Revisions: s.Revisions, Journal: s.Journal, Processed: s.Processed, Summaries: s.Summaries,
		History: history.New(s.Processed, s.Visitors, history.Options{CacheBytes: cfg.runner.FrameCacheBytes, MaxRows: int(cfg.report.MaxEvents)}),
		Log:     log,
	}, o.Clock)
	merchants := merchant.New(s.Registry, s.Processed, s.Revisions, s.Erasures, admin, o.Clock)

	// In this order they are closed: what takes events in, what delivers them,
	// what they are delivered to, and last what all of them stand on.
	subscribers := []function.Function{keep.Function(), process.Function(), summarise.Function(), anew.Function()}
	between, err := r.broker(ctx, cfg, g, o, append(subscribers, collect.Function()), publisher, admin)
	if err != nil {
		return err
	}
	r.functions = append([]function.Function{collect.Function(), between}, subscribers...)
	r.functions = append(r.functions, answer.Function(), merchants.Function(), transformation.Function(), memory(),
		function.Function{Name: "stores", Close: func(context.Context) error { return g.close() }})
	mux := http.NewServeMux()
	merchants.Function().Routes(mux)
	r.First, err = KeptFirst(ctx, r.data, mux, r.admin)
	return err
}

// broker makes the dispatcher that delivers to the subscribers, the cron and
// the ingress.
func (r *Runner) broker(ctx context.Context, cfg *settings, g *ground, o Options, subscribers []function.Function, publisher *kafka.Publisher, admin *access.Authorizer) (function.Function, error) {
	log := r.process.Log
	if err := agree(g.wiring, subscribers); err != nil {
		return function.Function{}, err
	}
	handlers := make(map[string]http.Handler, len(subscribers))
	for _, f := range subscribers {
		measured := f
		measured.Events = make(map[string]function.EventHandler, len(f.Events))
		for path, h := range f.Events {
			measured.Events[path] = r.process.Telemetry.Instrument(f.Name, h)
		}
		handlers[f.Name] = measured.Subscribers(function.EventOptions{Log: log})
	}
	dispatcher, err := broker.NewDispatcher(broker.DispatcherConfig{
		Wiring: g.wiring, Kafka: g.kafka, Services: broker.NewInProcess(g.wiring.Namespace, handlers, log),
		Faults: o.Faults, Meter: r.process.Telemetry.Meter("broker"), Log: log,
	})
	if err != nil {
		return function.Function{}, err
	}
	// Before the first request: what is published before a Trigger has its
	// first offsets is behind them, and comes half an hour later by the journal.
	preparing, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := dispatcher.Prepare(preparing); err != nil {
		return function.Function{}, err
	}
	b, err := newBrokerFunction(brokerParts{
		wiring: g.wiring, dispatcher: dispatcher, server: g.server, kafka: g.kafka, publisher: publisher, admin: admin, clock: o.Clock, cron: !o.NoCron, log: log,
	})
	if err != nil {
		return function.Function{}, err
	}
	return b.function(), nil
}

// agree checks that every Trigger's subscriber is there, and that it gives up
// before its Broker does: else the Broker delivers again what is under way.
func agree(w *eventing.Wiring, subscribers []function.Function) error {
	var errs []error
	for i := range w.Triggers {
		t := &w.Triggers[i]
		if t.Subscriber.Kind != eventing.TargetService {
			continue
		}
		at := slices.IndexFunc(subscribers, func(f function.Function) bool {
			return f.Name == t.Subscriber.Name && f.Events[t.Subscriber.Path] != nil
		})
		if at < 0 {
			errs = append(errs, fmt.Errorf("trigger %q: no function takes events at %s%s", t.Name, t.Subscriber.Name, t.Subscriber.Path))
			continue
		}
		if d := subscribers[at].Deadline(t.Subscriber.Path); d >= t.Delivery.Timeout {
			errs = append(errs, fmt.Errorf("trigger %q: expected a timeout longer than %s, after which function %q gives up, got %s",
				t.Name, d, t.Subscriber.Name, t.Delivery.Timeout))
		}
	}
	return errors.Join(errs...)
}

// topics maps the Brokers to their topics.
func topics(w *eventing.Wiring) map[string]string {
	m := make(map[string]string, len(w.Brokers))
	for _, b := range w.Brokers {
		m[b.Name] = b.Topic.Name
	}
	return m
}

// gcPercent is by how much the heap may grow between two collections.
const gcPercent = 50

// startTimeout is how long Kafka may take to be there.
const startTimeout = time.Minute
