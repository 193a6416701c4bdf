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

// Archive keeps every batch, until its hour is dropped, in files that any Avro
// reader opens.
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
	// List returns the files of arrival hours in [from, to), by path, without
	// those that another one of the list replaces: each batch of a replaced
	// file stands in the list once, at whatever moment of a Replace it is made.
	List(ctx context.Context, from, to event.Hour) ([]ArchiveFile, error)
	// Open reads a complete file from its start. NotFound where it is not, also
	// from the first read: who found it in a list then lists its hour again, for
	// it has been replaced a while ago, or its hour has been dropped.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	ArchiveCare
	// Close completes nothing and loses nothing: files being written are
	// recovered by a later Complete.
	Close() error
}

// ArchiveCare changes what stands in the archive, for those who look after it.
// Calls of several processes for one hour at the same time do no harm: one
// works, the others get a Conflict.
type ArchiveCare interface {
	// Hours returns arrival hours in [from, to) that have a folder, in order,
	// at most limit.
	Hours(ctx context.Context, from, to event.Hour, limit int) ([]event.Hour, error)
	// Replace writes one file in the place of others and switches to it in one
	// step: List gives either them or it. They can be opened until Sweep. A
	// call that fails, or is killed, has switched or has changed nothing.
	// Conflict where List does not give each source as a complete file now.
	// A source that cannot be read to its end is a *DamagedFileError: nothing
	// that could still be rescued from it is thrown away.
	Replace(ctx context.Context, r Replacement) (Replaced, error)
	// Sweep removes files of an hour that were replaced before a time, which
	// must be so long ago that nobody still reads from a list of that time. It
	// says how many it has removed, and how many replaced ones are left.
	Sweep(ctx context.Context, hour event.Hour, before time.Time) (removed, left int, err error)
	// Drop removes all of an hour but the files that are being written. A
	// reader may meet a part of it meanwhile.
	Drop(ctx context.Context, hour event.Hour) (Dropped, error)
}
