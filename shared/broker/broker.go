// Package broker is the port through which functions put CloudEvents on a
// Broker, and the CloudEvents Kafka protocol binding (binary mode) in which
// they stand in the Broker's topic.
package broker

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// Names of the Brokers, as in eventing/.
const (
	Batches = "batches" // accepted batches, from ingest to archive and etl
	Control = "control" // ticks, shards, jobs
)

// Publisher puts events on a Broker. When Publish returns nil every event is
// durable there (acks=all). Events with a "partitionkey" extension keep their
// order among those of the same key. An error says nothing about which events
// arrived: publish again, consumers are idempotent by event id.
type Publisher interface {
	Publish(ctx context.Context, broker string, events ...cloudevents.Event) error
}
