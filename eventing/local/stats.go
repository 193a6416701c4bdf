package local

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Counts are a Trigger's counters since the start of the process.
type Counts struct {
	Delivered   int64 `json:"delivered"`
	Filtered    int64 `json:"filtered"`     // not for this Trigger
	Retries     int64 `json:"retries"`      // attempts after the first
	DeadLetters int64 `json:"dead_letters"` // went to the dead-letter sink
	Lost        int64 `json:"lost"`         // went nowhere: no dead-letter sink, or it failed too
	Invalid     int64 `json:"invalid"`      // records that are no CloudEvent
	Expired     int64 `json:"expired"`      // left the topic by its retention before they were delivered
}

// Failure is the last event that a subscriber did not take.
type Failure struct {
	Time   time.Time `json:"time"`
	Target string    `json:"target"`
	Type   string    `json:"event_type"`
	ID     string    `json:"event_id"`
	Status int       `json:"status,omitempty"` // none where no answer came
	Error  string    `json:"error,omitempty"`
}

type stats struct {
	log     *slog.Logger
	latency metric.Float64Histogram
	attrs   metric.MeasurementOption

	inFlight                                                          atomic.Int64
	nDelivered, nFiltered, nRetries, nDead, nLost, nInvalid, nExpired atomic.Int64
	mu                                                                sync.Mutex
	last                                                              *Failure
}

func (s *stats) begin()          { s.inFlight.Add(1) }
func (s *stats) end()            { s.inFlight.Add(-1) }
func (s *stats) filtered()       { s.nFiltered.Add(1) }
func (s *stats) retried()        { s.nRetries.Add(1) }
func (s *stats) invalid()        { s.nInvalid.Add(1) }
func (s *stats) expired(n int64) { s.nExpired.Add(n) }
func (s *stats) delivered(d time.Duration) {
	s.nDelivered.Add(1)
	s.latency.Record(context.Background(), d.Seconds(), s.attrs)
}

func (s *stats) deadLettered(e *cloudevents.Event, target string, a *answer, err error) {
	s.nDead.Add(1)
	f := s.failure(e, target, a, err)
	s.log.Warn("event went to the dead-letter sink", "target", f.Target, "type", f.Type, "id", f.ID, "status", f.Status, "err", f.Error)
}

func (s *stats) lost(e *cloudevents.Event, target string, a *answer, err error) {
	s.nLost.Add(1)
	f := s.failure(e, target, a, err)
	s.log.Error("event is lost: nobody took it", "target", f.Target, "type", f.Type, "id", f.ID, "status", f.Status, "err", f.Error)
}

func (s *stats) failure(e *cloudevents.Event, target string, a *answer, err error) Failure {
	f := Failure{Time: time.Now().UTC(), Target: target, Type: e.Type(), ID: e.ID()}
	if a != nil {
		f.Status = a.status
	}
	if err != nil {
		f.Error = err.Error()
	}
	s.mu.Lock()
	s.last = &f
	s.mu.Unlock()
	return f
}

func (s *stats) counts() Counts {
	return Counts{
		Delivered: s.nDelivered.Load(), Filtered: s.nFiltered.Load(), Retries: s.nRetries.Load(), DeadLetters: s.nDead.Load(),
		Lost: s.nLost.Load(), Invalid: s.nInvalid.Load(), Expired: s.nExpired.Load(),
	}
}

func (s *stats) lastFailure() *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// instruments registers the dispatcher's metrics.
func (d *Dispatcher) instruments(meter metric.Meter) error {
	if meter == nil {
		meter = noop.NewMeterProvider().Meter("")
	}
	latency, err := meter.Float64Histogram("footfall.broker.delivery.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the first attempt to success, retries included"))
	if err != nil {
		return err
	}
	lag, err := meter.Int64ObservableGauge("footfall.broker.lag", metric.WithUnit("{record}"),
		metric.WithDescription("Records of the topic that the Trigger has not settled"))
	if err != nil {
		return err
	}
	inFlight, err := meter.Int64ObservableGauge("footfall.broker.in_flight", metric.WithUnit("{event}"),
		metric.WithDescription("Deliveries under way, those that wait for a retry included"))
	if err != nil {
		return err
	}
	events, err := meter.Int64ObservableCounter("footfall.broker.events", metric.WithUnit("{event}"),
		metric.WithDescription("Records by what came of them"))
	if err != nil {
		return err
	}
	retries, err := meter.Int64ObservableCounter("footfall.broker.retries", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts after the first"))
	if err != nil {
		return err
	}
	for _, c := range d.consumers {
		c.stats.latency = latency
		c.stats.attrs = metric.WithAttributeSet(attribute.NewSet(attribute.String("trigger", c.trigger.Name)))
	}
	d.registration, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, c := range d.consumers {
			trigger := attribute.String("trigger", c.trigger.Name)
			n, _ := c.lag()
			o.ObserveInt64(lag, n, metric.WithAttributes(trigger))
			o.ObserveInt64(inFlight, c.stats.inFlight.Load(), metric.WithAttributes(trigger))
			k := c.stats.counts()
			o.ObserveInt64(retries, k.Retries, metric.WithAttributes(trigger))
			for outcome, n := range map[string]int64{
				"delivered": k.Delivered, "filtered": k.Filtered, "dead_letter": k.DeadLetters,
				"lost": k.Lost, "invalid": k.Invalid, "expired": k.Expired,
			} {
				o.ObserveInt64(events, n, metric.WithAttributes(trigger, attribute.String("outcome", outcome)))
			}
		}
		return nil
	}, lag, inFlight, events, retries)
	return err
}
