package eventing

import (
	"math"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/robfig/cron/v3"

	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/event"
)

// Wiring is what the YAML says, checked and with Knative's defaults filled in:
// all that a dispatcher and a cron need. Every reference resolves, every name
// is unique within its kind, and every list is in order of name.
type Wiring struct {
	Namespace string // the one namespace of all objects
	Brokers   []Broker
	Sinks     []KafkaSink
	Triggers  []Trigger
	Sources   []PingSource
}

// Topic is a Kafka topic behind a Broker or a KafkaSink.
type Topic struct {
	Name              string
	Partitions        int               // at least 1
	ReplicationFactor int               // at least 1; a single Kafka node takes 1 whatever stands here
	Config            map[string]string // topic settings such as retention.ms; nil where none
}

// Broker is a Knative Broker of class Kafka.
type Broker struct {
	Name             string
	Topic            Topic
	BootstrapServers []string // Kafka inside the cluster, host:port
}

// KafkaSink turns each event that is sent to it into a record of its topic.
type KafkaSink struct {
	Name             string
	Topic            Topic
	BootstrapServers []string
	Structured       bool // content mode; binary where false, the default
}

// Order says how many deliveries of a Trigger run at the same time.
type Order uint8

const (
	Unordered Order = iota // many at once; Knative's default
	Ordered                // one at a time per partition
)

// Trigger is one consumer of one Broker: its own consumer group that reads the
// whole topic, and sends what the filter lets through to the subscriber.
type Trigger struct {
	Name          string
	Broker        string
	ConsumerGroup string // the name that Knative gives it: a renamed Trigger starts at the topic's end
	Filter        filter.Matcher
	Subscriber    Destination
	Order         Order
	Delivery      Delivery
}

// Backoff is the law by which the pause before a retry grows.
type Backoff uint8

const (
	Exponential Backoff = iota // Delay × 2^n; Knative's default
	Linear                     // Delay × n
)

// Knative's defaults for a delivery that leaves them out. Without retry an
// event gets one attempt.
const (
	DefaultBackoffDelay = 200 * time.Millisecond
	DefaultTimeout      = 600 * time.Second
)

// Delivery is how a Trigger delivers: its own delivery, or that of its Broker
// where it has none at all. The two are never mixed, as Knative's Kafka Broker
// does not mix them either.
type Delivery struct {
	Retry        int // retries after the first attempt
	Backoff      Backoff
	BackoffDelay time.Duration
	Timeout      time.Duration // of each attempt
	DeadLetter   *Destination  // nil: an event whose retries are used up is lost
}

// Pause is the time to wait before the n-th retry, n from 1. It has neither
// jitter nor cap, as in Knative's Kafka Broker.
func (d Delivery) Pause(n int) time.Duration {
	factor := math.Exp2(float64(n))
	if d.Backoff == Linear {
		factor = float64(n)
	}
	// A pause beyond what a Duration holds is as good as for ever.
	if pause := float64(d.BackoffDelay) * factor; pause < math.MaxInt64 {
		return time.Duration(pause)
	}
	return math.MaxInt64
}

// TargetKind says what a Destination names.
type TargetKind uint8

const (
	TargetURL       TargetKind = iota // an absolute URL
	TargetService                     // a Knative Service, which is a function
	TargetKafkaSink                   // a KafkaSink of this wiring
	TargetBroker                      // a Broker of this wiring
)

// Destination is where an event is sent.
type Destination struct {
	Kind TargetKind
	Name string // of the Service, KafkaSink or Broker; empty for a URL
	Path string // path, and query, on the Service: "/" where none is given
	URL  string // for TargetURL
}

// PingSource sends an event by the clock. A time that passes while nothing runs
// is lost: there is no catching up.
type PingSource struct {
	Name        string
	Schedule    cron.Schedule // knows its own time zone
	Spec        string        // the schedule as written
	ContentType string
	Data        []byte // nil where none
	Extensions  map[string]string
	Sink        Destination // a Broker or a URL
	Source      string      // of its events: /apis/v1/namespaces/…/pingsources/…
}

// Event is what the source sends at a time. The id is the caller's: a new one
// each time, the same one when it sends again.
func (s PingSource) Event(id string, at time.Time) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetID(id)
	e.SetTime(at)
	e.SetType(event.TypePing)
	e.SetSource(s.Source)
	for name, value := range s.Extensions {
		e.SetExtension(name, value)
	}
	if s.Data != nil {
		if err := e.SetData(s.ContentType, s.Data); err != nil {
			return e, err
		}
	}
	return e, e.Validate()
}

// Services names the functions that the Triggers reach, each once, in order.
func (w *Wiring) Services() []string {
	var names []string
	for _, t := range w.Triggers {
		for _, d := range []*Destination{&t.Subscriber, t.Delivery.DeadLetter} {
			if d != nil && d.Kind == TargetService {
				names = append(names, d.Name)
			}
		}
	}
	return unique(names)
}

// Topics are the topics of all Brokers and KafkaSinks, each once, in order.
func (w *Wiring) Topics() []Topic {
	byName := make(map[string]Topic, len(w.Brokers)+len(w.Sinks))
	names := make([]string, 0, len(w.Brokers)+len(w.Sinks))
	for _, s := range w.Sinks {
		byName[s.Topic.Name] = s.Topic
		names = append(names, s.Topic.Name)
	}
	// A Broker says more of its topic than a sink on the same one.
	for _, b := range w.Brokers {
		byName[b.Topic.Name] = b.Topic
		names = append(names, b.Topic.Name)
	}
	names = unique(names)
	topics := make([]Topic, len(names))
	for i, name := range names {
		topics[i] = byName[name]
	}
	return topics
}

// Broker finds a Broker by name.
func (w *Wiring) Broker(name string) (Broker, bool) {
	for _, b := range w.Brokers {
		if b.Name == name {
			return b, true
		}
	}
	return Broker{}, false
}

// Sink finds a KafkaSink by name.
func (w *Wiring) Sink(name string) (KafkaSink, bool) {
	for _, s := range w.Sinks {
		if s.Name == name {
			return s, true
		}
	}
	return KafkaSink{}, false
}
