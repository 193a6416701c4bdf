package store

import (
	"context"
	"io"
	"time"

	"github.com/footfall/footfall/shared/event"
)

// Block is one batch as an Avro block: what event.BlockOf cut out of its
// container, sync marker included, appended to a file as it is.
type Block struct {
	Batch      event.BatchID
	ReceivedAt time.Time
	Data       []byte
}

// ArchiveFile is one Avro object container file.
type ArchiveFile struct {
	Path     string     // within the archive, "2026/11/23/18/…avro"
	Hour     event.Hour // of arrival
	Bytes    int64
	Complete bool
}

// ClosePolicy says when a file that is being written is completed.
type ClosePolicy struct {
	Bytes int64         // at this size
	Age   time.Duration // this long after its first block
	Idle  time.Duration // this long after its last block
}

// FolderSpan is the time that a folder of the archive is for, by the numbers in
// its path: a year, month, day or hour of arrival, [start, end) in UTC.
func FolderSpan(path []int) (start, end time.Time) {
	y := path[0]
	switch len(path) {
	case 1:
		return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(y+1, 1, 1, 0, 0, 0, 0, time.UTC)
	case 2:
		start = time.Date(y, time.Month(path[1]), 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	case 3:
		start = time.Date(y, time.Month(path[1]), path[2], 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 1)
	default:
		start = time.Date(y, time.Month(path[1]), path[2], path[3], 0, 0, 0, time.UTC)
		return start, start.Add(time.Hour)
	}
}

// Archive keeps every batch for ever, in files that any Avro reader opens.
type Archive interface {
	// Append adds blocks to files under their hour of arrival. When it
	// returns nil the blocks survive a crash, in a file that is being written
	// or complete. A block may be appended twice; readers drop it by batch id.
	Append(ctx context.Context, blocks []Block) error
	// Complete closes the files that are due and renames them to their final
	// name in one step. It returns the batches that now stand in complete
	// files. With a zero policy it closes all that this process writes.
	// Files that a dead process left open are recovered: cut after their last
	// whole block, completed, and their batches returned too, by the first
	// Complete of any process that can know that their writer is dead (in HDFS
	// a minute after it died; until then Complete passes over them).
	Complete(ctx context.Context, now time.Time, policy ClosePolicy) ([]event.BatchID, error)
	// List returns the files of arrival hours in [from, to), by path.
	List(ctx context.Context, from, to event.Hour) ([]ArchiveFile, error)
	// Open reads a complete file from its start. NotFound where it is not.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	// Close completes nothing and loses nothing: files being written are
	// recovered by a later Complete.
	Close() error
}
