package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
)

// Knative's settings of its dispatcher: max.poll.records, and
// auto.commit.interval.ms.
const (
	defaultInFlight = 50
	defaultCommit   = 5 * time.Second
	defaultDrain    = 5 * time.Second
)

// DispatcherConfig is what a dispatcher works with. Zero values mean the
// defaults.
type DispatcherConfig struct {
	Wiring   *eventing.Wiring
	Kafka    *kafka.Client
	Services Services
	HTTP     http.RoundTripper // for destinations that are URLs; default http.DefaultTransport

	MaxInFlight    int           // deliveries at a time of an unordered Trigger; default 50
	CommitInterval time.Duration // default 5 s
	DrainTimeout   time.Duration // for deliveries under way at the end; default 5 s
	MaxWait        time.Duration // of a long poll of Kafka; default 5 s
	SessionTimeout time.Duration // of the consumer groups; default 10 s
	Faults         Faults

	Meter metric.Meter // default: none
	Log   *slog.Logger // default: none
}

// Dispatcher delivers the events of every Broker to the Triggers' subscribers.
type Dispatcher struct {
	cfg          DispatcherConfig
	consumers    []*consumer // in order of the wiring's Triggers
	registration metric.Registration

	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	changes chan struct{} // closed and renewed when something was finished, while somebody waits
	waiting int
}

// NewDispatcher resolves every destination of the wiring, and reports all that
// it cannot.
func NewDispatcher(cfg DispatcherConfig) (*Dispatcher, error) {
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = defaultInFlight
	}
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = defaultCommit
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = defaultDrain
	}
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultTransport
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{cfg: cfg, changes: make(chan struct{})}
	errs := []error{cfg.Faults.validate()}
	if cfg.MaxInFlight < 0 || cfg.CommitInterval < 0 || cfg.DrainTimeout < 0 {
		errs = append(errs, fault.Field("max_in_flight, commit_interval, drain_timeout", "positive values"))
	}
	faults := newFaults(cfg.Faults)
	for i := range cfg.Wiring.Triggers {
		c, err := d.consumer(&cfg.Wiring.Triggers[i], faults)
		if err != nil {
			errs = append(errs, fmt.Errorf("trigger %q: %w", cfg.Wiring.Triggers[i].Name, err))
			continue
		}
		d.consumers = append(d.consumers, c)
	}
	errs = append(errs, d.instruments(cfg.Meter))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cannot make the dispatcher: %w", err)
	}
	return d, nil
}

func (d *Dispatcher) consumer(t *eventing.Trigger, f *faults) (*consumer, error) {
	b, ok := d.cfg.Wiring.Broker(t.Broker)
	if !ok {
		return nil, fault.Field("broker", fmt.Sprintf("the name of a Broker, not %q", t.Broker))
	}
	log := d.cfg.Log.With("trigger", t.Name, "broker", t.Broker)
	s := &stats{log: log}
	cr := &courier{
		reply:    &topicTarget{name: "broker " + b.Name, topic: b.Topic.Name, client: d.cfg.Kafka},
		delivery: t.Delivery, faults: f, stats: s,
	}
	if cr.delivery.Timeout <= 0 {
		cr.delivery.Timeout = eventing.DefaultTimeout
	}
	var err, err2 error
	cr.subscriber, err = d.target(&t.Subscriber)
	if t.Delivery.DeadLetter != nil {
		cr.deadLetter, err2 = d.target(t.Delivery.DeadLetter)
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return &consumer{
		trigger: t, topic: b.Topic.Name, filter: t.Filter, courier: cr, stats: s, faults: f, log: log,
		maxInFlight: d.cfg.MaxInFlight, commitInterval: d.cfg.CommitInterval, drain: d.cfg.DrainTimeout,
		wake: make(chan struct{}, 1), changed: d.notify,
	}, nil
}

func (d *Dispatcher) target(to *eventing.Destination) (target, error) {
	switch to.Kind {
	case eventing.TargetURL:
		return newHTTPTarget(to.URL, d.cfg.Wiring.Namespace, d.cfg.HTTP)
	case eventing.TargetService:
		if d.cfg.Services == nil {
			return nil, fault.New(fault.NotFound, "cannot resolve service %q: no services are known", to.Name)
		}
		base, transport, err := d.cfg.Services.Resolve(to.Name)
		if err != nil {
			return nil, err
		}
		url, err := join(base, to.Path)
		if err != nil {
			return nil, err
		}
		return newHTTPTarget(url, d.cfg.Wiring.Namespace, transport)
	case eventing.TargetKafkaSink:
		s, ok := d.cfg.Wiring.Sink(to.Name)
		if !ok {
			return nil, fault.Field("ref", fmt.Sprintf("the name of a KafkaSink, not %q", to.Name))
		}
		return &topicTarget{name: "kafkasink " + s.Name, topic: s.Topic.Name, structured: s.Structured, client: d.cfg.Kafka}, nil
	case eventing.TargetBroker:
		b, ok := d.cfg.Wiring.Broker(to.Name)
		if !ok {
			return nil, fault.Field("ref", fmt.Sprintf("the name of a Broker, not %q", to.Name))
		}
		return &topicTarget{name: "broker " + b.Name, topic: b.Topic.Name, client: d.cfg.Kafka}, nil
	default:
		return nil, fault.Field("ref", "a Service, KafkaSink or Broker, or a URL")
	}
}

// Prepare makes the topics that are missing (with one replica each: more is a
// matter of whoever runs that Kafka) and gives every Trigger that has none yet
// its first offsets, the topics' ends. What is published after it returned is
// delivered, whether or not Start has been called by then.
func (d *Dispatcher) Prepare(ctx context.Context) error {
	all := d.cfg.Wiring.Topics()
	topics := make([]kafka.Topic, len(all))
	for i, t := range all {
		topics[i] = kafka.Topic{Name: t.Name, Partitions: t.Partitions, ReplicationFactor: 1, Config: topicConfig(t.Config)}
	}
	if err := d.cfg.Kafka.EnsureTopics(ctx, topics...); err != nil {
		return fmt.Errorf("cannot prepare the brokers: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, c := range d.consumers {
		g.Go(func() error { return d.cfg.Kafka.InitOffsets(ctx, c.trigger.ConsumerGroup, c.topic) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("cannot prepare the brokers: %w", err)
	}
	return nil
}

// Start prepares, and delivers from then on until Close. ctx is for the
// preparation only.
func (d *Dispatcher) Start(ctx context.Context) error {
	if err := d.Prepare(ctx); err != nil {
		return err
	}
	run, stop := context.WithCancel(context.Background())
	d.stop = stop
	for _, c := range d.consumers {
		d.running.Go(func() {
			err := d.cfg.Kafka.Consume(run, kafka.GroupConfig{
				Group: c.trigger.ConsumerGroup, Topic: c.topic, MaxWait: d.cfg.MaxWait, SessionTimeout: d.cfg.SessionTimeout, Log: c.log,
			}, c)
			if err != nil {
				c.log.Error("the trigger does not run", "err", err)
			}
		})
	}
	return nil
}

// Close ends deliveries (those under way may finish within the drain time),
// commits, and leaves the groups.
func (d *Dispatcher) Close() error {
	if d.stop != nil {
		d.stop()
		d.running.Wait()
	}
	if d.registration != nil {
		return d.registration.Unregister()
	}
	return nil
}

// notify tells whoever waits for quiet that something was finished.
func (d *Dispatcher) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting > 0 {
		close(d.changes)
		d.changes = make(chan struct{})
	}
}

// WaitIdle returns when everything that stands in the Brokers' topics has been
// settled by every Trigger, events that were published meanwhile included.
func (d *Dispatcher) WaitIdle(ctx context.Context) error {
	d.mu.Lock()
	d.waiting++
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.waiting--
		d.mu.Unlock()
	}()
	for {
		d.mu.Lock()
		changes := d.changes
		d.mu.Unlock()
		idle, err := d.idle(ctx)
		if err != nil {
			return err
		}
		if idle {
			return nil
		}
		t := time.NewTimer(250 * time.Millisecond) // in case records are settled by another process
		select {
		case <-changes:
			t.Stop()
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fault.New(fault.Transient, "cannot wait for the brokers to be idle: %w", ctx.Err())
		}
	}
}

// idle reads positions before and ends after: a position at an end that was
// read later means that nothing was under way in between that could publish.
func (d *Dispatcher) idle(ctx context.Context) (bool, error) {
	before := make([]map[int]int64, len(d.consumers))
	for i, c := range d.consumers {
		before[i] = make(map[int]int64)
		c.position(before[i])
	}
	ends := make(map[string]map[int]int64)
	for i, c := range d.consumers {
		e, ok := ends[c.topic]
		if !ok {
			var err error
			if e, err = d.cfg.Kafka.Ends(ctx, c.topic); err != nil {
				return false, err
			}
			ends[c.topic] = e
		}
		for p, end := range e {
			if before[i][p] < end {
				return false, nil
			}
		}
	}
	return true, nil
}

// Settled calls fn with the offset up to which every Trigger of a topic has
// committed, for each partition that all of them read in this process.
func (d *Dispatcher) Settled(fn func(topic string, partition int, offset int64)) {
	type lowest struct {
		offset int64
		of     int // Triggers
	}
	all, triggers := map[string]map[int]lowest{}, map[string]int{}
	for _, c := range d.consumers {
		triggers[c.topic]++
		partitions := all[c.topic]
		if partitions == nil {
			partitions = map[int]lowest{}
			all[c.topic] = partitions
		}
		c.committed(func(id int, offset int64) {
			low, seen := partitions[id]
			if !seen || offset < low.offset {
				low.offset = offset
			}
			low.of++
			partitions[id] = low
		})
	}
	for topic, partitions := range all {
		for id, low := range partitions {
			if low.of == triggers[topic] {
				fn(topic, id, low.offset)
			}
		}
	}
}

// BrokerStatus is a Broker as an operator sees it.
type BrokerStatus struct {
	Name     string          `json:"name"`
	Topic    string          `json:"topic"`
	Triggers []TriggerStatus `json:"triggers"`
}

// TriggerStatus is a Trigger as an operator sees it.
type TriggerStatus struct {
	Name       string `json:"name"`
	Group      string `json:"consumer_group"`
	Subscriber string `json:"subscriber"`
	DeadLetter string `json:"dead_letter_sink,omitempty"`
	Ordered    bool   `json:"ordered"`
	Partitions int    `json:"partitions"` // that this process reads; 0 while it joins the group
	Lag        int64  `json:"lag"`        // records that are not settled, as last heard
	InFlight   int64  `json:"in_flight"`  // deliveries under way
	Counts
	LastFailure *Failure `json:"last_failure,omitempty"`
}

// Status lists all Brokers with their Triggers.
func (d *Dispatcher) Status() []BrokerStatus {
	list := make([]BrokerStatus, 0, len(d.cfg.Wiring.Brokers))
	for _, b := range d.cfg.Wiring.Brokers {
		s := BrokerStatus{Name: b.Name, Topic: b.Topic.Name, Triggers: []TriggerStatus{}}
		for _, c := range d.consumers {
			if c.trigger.Broker == b.Name {
				s.Triggers = append(s.Triggers, c.status())
			}
		}
		list = append(list, s)
	}
	return list
}

func (c *consumer) status() TriggerStatus {
	s := TriggerStatus{
		Name: c.trigger.Name, Group: c.trigger.ConsumerGroup, Subscriber: c.courier.subscriber.String(),
		Ordered: c.trigger.Order == eventing.Ordered, InFlight: c.stats.inFlight.Load(), Counts: c.stats.counts(), LastFailure: c.stats.lastFailure(),
	}
	if c.courier.deadLetter != nil {
		s.DeadLetter = c.courier.deadLetter.String()
	}
	s.Lag, s.Partitions = c.lag()
	return s
}
