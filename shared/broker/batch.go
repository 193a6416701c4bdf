package broker

import (
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/event"
)

// AcceptedBatch is a batch, as an Avro container, as the CloudEvent that travels
// over the Broker.
func AcceptedBatch(source string, id event.BatchID, receivedAt time.Time, partitionKey string, container []byte) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetID(id.String())
	e.SetType(event.TypeBatchAccepted)
	e.SetSource(source)
	e.SetTime(receivedAt)
	e.SetExtension(ExtensionPartitionKey, partitionKey)
	if err := e.SetData(event.ContentTypeBatch, container); err != nil {
		return e, fmt.Errorf("cannot make the event of batch %q: %w", id, err)
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("cannot make the event of batch %q: %w", id, err)
	}
	return e, nil
}
