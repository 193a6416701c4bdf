package store

import (
	"context"
	"time"

	"github.com/footfall/footfall/shared/event"
)

// Stage is a set of things that have happened to a batch.
type Stage uint8

const (
	StagePublished Stage = 1 << iota // it is in the Broker's topic
	StageArchived                    // it is in a complete file of the archive
	StageProcessed                   // its processed documents are written

	AllStages = StagePublished | StageArchived | StageProcessed
)

// JournalRow is the record of one batch.
type JournalRow struct {
	Batch        event.BatchID
	ReceivedAt   time.Time
	PublishedAt  time.Time // when the Broker last took it; zero where that is not known
	PartitionKey string
	Counts       []event.StreamHour // what the batch holds, for the ledger; may be absent in lists, once processed
	Stages       Stage
	Payload      []byte // the Avro container; absent in lists, and once archived and processed
}

// LedgerCount is what the journal knows of one stream's hour.
type LedgerCount struct {
	Stream   string
	Hour     event.Hour
	Accepted int64 // events of all batches
	Pending  int64 // of these, in batches not yet processed
}

// Journal records every batch before its senders get their answer, and closes
// the gaps that a Broker leaves.
type Journal interface {
	// Append records batches durably in one write. A batch that is already
	// there is left as it is: appending twice changes nothing. Where a mark
	// was faster and has recorded it, Append adds what the mark did not know:
	// the payload (unless it is archived and processed), counts, key.
	Append(ctx context.Context, rows []JournalRow) error
	// Mark adds a stage to batches. A batch that is not there (the journal
	// was away when it was accepted) is recorded from the given row, without
	// a payload; counts and key that a row lacks are taken from any later call
	// that brings them. When a row is both archived and processed its payload
	// is dropped. Where the stage is StagePublished, the latest PublishedAt that
	// was ever given stays; rows of one call may all get the latest of theirs.
	// The mark of a known batch may be lost in a crash: stages repeat
	// idempotently.
	Mark(ctx context.Context, stage Stage, rows []JournalRow) error
	// Stages is what has happened to a batch; none where it is not known.
	Stages(ctx context.Context, id event.BatchID) (Stage, error)
	// Payload returns a batch's container. NotFound where it is gone.
	Payload(ctx context.Context, id event.BatchID) ([]byte, error)
	// Unfinished lists rows that lack any of the given stages and were
	// received in [from, before), oldest first, without payloads. A zero from is
	// the beginning.
	Unfinished(ctx context.Context, lacks Stage, from, before time.Time, limit int) ([]JournalRow, error)
	// Watermark is the arrival of the oldest batch that is not processed, or
	// now where there is none: every event accepted before it is counted.
	Watermark(ctx context.Context, now time.Time) (time.Time, error)
	// Counts sums, for streams and hours in [from, to), what was accepted and
	// what is pending, independent of processed data. Ordered by stream, hour.
	Counts(ctx context.Context, streams []string, from, to event.Hour) ([]LedgerCount, error)
	// Sweep removes rows of finished batches received before a time; the
	// sums that Counts returns stay. It returns how many rows went.
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// Gatherer is a Journal that takes a batch in parts: as its events come, each
// part durable by itself, so that their senders need not wait until there are
// enough for a batch that is worth its price. Only one process writes to it, and
// a batch's parts come one after the other.
type Gatherer interface {
	Journal
	// Gather adds a part durably to a batch: its counts to those of the row,
	// which begins with the first part, and its payload, as event.Packer makes
	// parts, behind the others. An Append of the batch takes their place: then the
	// row has that call's counts and payload, and its stages. Until then Payload
	// tells nothing of a batch that may get more: two readers would have read two
	// batches. Where the process has ended it joins the parts, which an Append
	// that was lost in a crash leaves as they were.
	//
	// Whoever got an error does not know whether the part is there until he has
	// appended the batch without it: what comes after that is a fault.Conflict.
	Gather(ctx context.Context, part JournalRow) error
}
