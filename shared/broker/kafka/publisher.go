package kafka

import (
	"context"
	"maps"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
)

// Publisher puts events into the Brokers' own topics. It holds nothing of its
// own; closing it is closing the Client.
type Publisher struct {
	client *Client
	topics map[string]string
}

var _ broker.Publisher = (*Publisher)(nil)

// NewPublisher makes a publisher; topics maps each Broker's name to its topic.
func NewPublisher(c *Client, topics map[string]string) *Publisher {
	return &Publisher{client: c, topics: maps.Clone(topics)}
}

// Publish implements broker.Publisher. A Broker that it does not know and an
// event that is no CloudEvent are fault.Invalid.
func (p *Publisher) Publish(ctx context.Context, name string, events ...cloudevents.Event) error {
	topic, ok := p.topics[name]
	if !ok {
		return fault.New(fault.Invalid, "cannot publish to broker %q: no such broker", name)
	}
	messages := make([]broker.Message, len(events))
	for i := range events {
		var err error
		if messages[i], err = broker.Encode(&events[i]); err != nil {
			return fault.New(fault.Invalid, "cannot publish event %d to broker %q: %w", i, name, err)
		}
	}
	return p.client.Produce(ctx, topic, messages...)
}
