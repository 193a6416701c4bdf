package connect

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

const (
	// leastMessageBytes is a batch with its attributes.
	leastMessageBytes = event.MaxBatchBytes + 16<<10
	// batchHead is what Kafka counts of a record batch besides its records.
	batchHead = 256
	// leastControlBytes is more than any tick or shard has.
	leastControlBytes = 64 << 10
)

// Config says how each Broker is reached: by its URL where one is set, else
// through its topic. Variables have the prefix FOOTFALL_.
type Config struct {
	Brokers  []string `env:"KAFKA_BROKERS"` // host:port
	Security kafka.Security
	Timeout  time.Duration `env:"KAFKA_TIMEOUT" envDefault:"10s"` // of a call that has no deadline of its own
	// MaxMessageBytes is the largest record batch that is sent. A topic's
	// max.message.bytes must be 256 above it.
	MaxMessageBytes int `env:"KAFKA_MAX_MESSAGE_BYTES" envDefault:"1048320"`

	TopicBatches string `env:"TOPIC_BATCHES" envDefault:"footfall.batches.v1"`
	TopicControl string `env:"TOPIC_CONTROL" envDefault:"footfall.control.v1"`
	// Fewer partitions than these are told as a fault of the topic.
	PartitionsBatches int `env:"TOPIC_BATCHES_PARTITIONS" envDefault:"1"`
	PartitionsControl int `env:"TOPIC_CONTROL_PARTITIONS" envDefault:"1"`

	URLBatches string `env:"BROKER_BATCHES_URL"`
	URLControl string `env:"BROKER_CONTROL_URL"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: expected %s", function.Prefix, name, fmt.Sprintf(format, args...)))
	}
	if len(c.Brokers) == 0 && c.URLBatches == "" && c.URLControl == "" {
		fail("KAFKA_BROKERS", "host:port of at least one Kafka node, or URLs of Brokers in %[1]sBROKER_BATCHES_URL and %[1]sBROKER_CONTROL_URL", function.Prefix)
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			fail("KAFKA_BROKERS", "host:port, got %q", b)
		}
	}
	for name, raw := range map[string]string{"BROKER_BATCHES_URL": c.URLBatches, "BROKER_CONTROL_URL": c.URLControl} {
		if u, err := url.Parse(raw); raw != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			fail(name, "an absolute http or https URL, got %q", raw)
		}
	}
	if c.TopicBatches == "" {
		fail("TOPIC_BATCHES", "a topic's name")
	}
	if c.TopicControl == "" {
		fail("TOPIC_CONTROL", "a topic's name")
	}
	if c.PartitionsBatches < 1 {
		fail("TOPIC_BATCHES_PARTITIONS", "at least 1, got %d", c.PartitionsBatches)
	}
	if c.PartitionsControl < 1 {
		fail("TOPIC_CONTROL_PARTITIONS", "at least 1, got %d", c.PartitionsControl)
	}
	if c.MaxMessageBytes < leastMessageBytes || c.MaxMessageBytes > 100<<20 {
		fail("KAFKA_MAX_MESSAGE_BYTES", "%d (a batch with its attributes) to 104857600, got %d", leastMessageBytes, c.MaxMessageBytes)
	}
	if c.Timeout <= 0 {
		fail("KAFKA_TIMEOUT", "a duration above zero, got %s", c.Timeout)
	}
	errs = append(errs, c.Security.Validate())
	return errors.Join(errs...)
}

// url is where a Broker takes events by POST; "" where it has a topic.
func (c *Config) url(name string) string {
	switch name {
	case broker.Batches:
		return c.URLBatches
	case broker.Control:
		return c.URLControl
	default:
		return ""
	}
}

// need is the topic of a Broker with the least that it must be.
type need struct {
	topic      string
	partitions int
	bytes      int // max.message.bytes
}

func (c *Config) need(name string) (need, error) {
	switch name {
	case broker.Batches:
		return need{c.TopicBatches, c.PartitionsBatches, c.MaxMessageBytes + batchHead}, nil
	case broker.Control:
		return need{c.TopicControl, c.PartitionsControl, leastControlBytes}, nil
	default:
		return need{}, fault.New(fault.Invalid, "cannot connect to broker %q: no such broker", name)
	}
}
