package ingest

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// DeadLetter takes a batch that a consumer could not take while its retries
// lasted, and sees that the journal has it: one that was accepted while the
// journal was away is in no other place that anybody reads again. From there a
// tick publishes it, as it does every batch that is not processed.
//
// Its only errors are transient. The Trigger's own dead letter sink is the
// topic that it reads, so a permanent one would send the event round at once
// and for ever.
func (in *Ingest) DeadLetter(ctx context.Context, e cloudevents.Event) error {
	b, err := event.DecodeBatch(e.Data())
	if err != nil {
		in.ports.Log.Error("a dead letter is no batch and is left in its topic", "id", e.ID(), "error", err)
		return nil
	}
	stages, err := in.ports.Journal.Stages(ctx, b.ID)
	if err != nil {
		return fault.New(fault.Transient, "cannot journal the dead letter %q: %w", b.ID, err)
	}
	const gone = store.StageArchived | store.StageProcessed
	if stages&gone == gone {
		return nil
	}
	key, _ := e.Extensions()[broker.ExtensionPartitionKey].(string)
	row := store.JournalRow{Batch: b.ID, ReceivedAt: b.ReceivedAt, PartitionKey: key, Payload: e.Data(), Counts: b.Counts()}
	if err := in.ports.Journal.Append(ctx, []store.JournalRow{row}); err != nil {
		return fault.New(fault.Transient, "cannot journal the dead letter %q: %w", b.ID, err)
	}
	in.ports.Log.Warn("a batch was not taken by its consumers; the journal publishes it again", "batch", b.ID)
	return nil
}
