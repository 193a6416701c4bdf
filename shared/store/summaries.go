package store

import "context"

// Grain is the length of a summary's window.
type Grain byte

const (
	GrainHour Grain = 'h' // an hour of the merchant's clock
	GrainDay  Grain = 'd' // a day of the merchant's calendar
	GrainNote Grain = 'n' // the summary function's own notes, of no merchant
)

// SummaryKey names a summary. Each way to count a merchant's history (an
// access.View) has a generation of its own.
type SummaryKey struct {
	Merchant   string
	Generation uint32
	Grain      Grain
	Start      int64 // first instant of the window, seconds since the Unix epoch
}

// SummaryEntry is a summary with its encoded record.
type SummaryEntry struct {
	Key  SummaryKey
	Data []byte
}

// Summaries holds the summaries, as a cache does: it may be emptied at any
// time, whole or in part, and is rebuilt from processed data. What a write has
// written may be lost, in a crash or for want of memory; then its record is
// missing, or all of the merchant's records of its time are. What must not come
// back is an older record: nobody would notice.
type Summaries interface {
	// Get returns the records in the order of keys, nil where there is none.
	Get(ctx context.Context, keys []SummaryKey) ([][]byte, error)
	// Put writes records; later ones win. A day is written with its hours:
	// where an hour is written alone, a day that was equal to it may be lost.
	Put(ctx context.Context, entries []SummaryEntry) error
	// Delete removes records; a missing one is no error.
	Delete(ctx context.Context, keys []SummaryKey) error
	// Drop removes all records of a merchant's generation, and no others.
	Drop(ctx context.Context, merchant string, generation uint32) error
}
