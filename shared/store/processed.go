package store

import (
	"context"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
)

// Revision is a version of the processed data of a range.
type Revision = access.Revision

// LiveRevision is what the ETL writes.
const LiveRevision = access.LiveRevision

// DocKey names a processed document: the events of one merchant in one UTC
// hour that came in one batch, or a merged document (see Replace).
type DocKey struct {
	Merchant string
	Hour     event.Hour
	Revision Revision
	Batch    event.BatchID // of a merged document: made by MergedBatchID
}

// MergedBatchID names the n-th merged document of an hour: it sorts after
// every batch and every earlier merge, so that a scan that runs while
// documents are merged meets each event at least once.
func MergedBatchID(n uint64) event.BatchID {
	var id event.BatchID
	for i := range 8 {
		id[i] = 0xff
		id[8+i] = byte(n >> (56 - 8*i))
	}
	return id
}

// IsMerged reports whether a document was made by Replace.
func (k DocKey) IsMerged() bool {
	for i := range 8 {
		if k.Batch[i] != 0xff {
			return false
		}
	}
	return true
}

// Doc is a processed document: events packed by column (package processed).
type Doc struct {
	Key    DocKey
	Events int    // rows in Data
	Data   []byte // processed.Encode; read only, valid until the callback returns
}

// Reject is an event that was not counted, kept with its bytes.
type Reject struct {
	Merchant   string // empty where the stream belongs to none
	Stream     string
	Batch      event.BatchID
	Index      int // place in the batch's Events; refused ones follow after them
	EventID    string
	Hour       event.Hour // of the event's time; of arrival for refused ones
	ReceivedAt time.Time
	Refused    bool   // answered with an error at the door: never accepted
	Events     int64  // how many it stands for; 0: one. More than one only where a quota was exceeded
	Reason     string // "unknown_stream", "invalid", …
	Field      string
	Detail     string
	Data       []byte // the event as Avro record (accepted) or as it came (refused)
}

// Put is all that one batch becomes, written at once.
type Put struct {
	Batch   event.BatchID
	Docs    []Doc
	Rejects []Reject
}

// DirtyHour is a merchant's UTC hour with documents that no summary holds yet.
type DirtyHour struct {
	Merchant string
	Hour     event.Hour
}

// Shard is one of Count parts of all merchants.
type Shard struct {
	Index, Count int
}

// Version names a state of a merchant's documents and marks. Versions are
// compared for being equal; the zero Version is none.
type Version struct {
	N  uint64 // differs after each change
	At int64  // where in the store's own order of writes, for stores that need to know
}

// Processed holds the events after ETL. Order of scans: hour, then batch.
type Processed interface {
	// Put writes a batch's documents and rejects in one step, and marks each
	// document dirty in the same step. Written again it changes nothing but
	// may mark dirty again.
	Put(ctx context.Context, p Put) error
	// Scan calls fn with each document of a merchant's hours in [from, to).
	Scan(ctx context.Context, merchant string, rev Revision, from, to event.Hour, fn func(Doc) error) error
	// Dirty lists dirty hours of a shard whose end is not after the given
	// time, at most limit, after the given one (zero = from the start): a
	// merchant's hours together and in order, merchants in an order of the
	// store's own.
	Dirty(ctx context.Context, rev Revision, shard Shard, endBy time.Time, after DirtyHour, limit int) ([]DirtyHour, error)
	// DirtyOf lists a merchant's dirty hours in [from, to), in order.
	DirtyOf(ctx context.Context, merchant string, rev Revision, from, to event.Hour) ([]event.Hour, error)
	// Marks lists the documents of an hour that are marked dirty.
	Marks(ctx context.Context, merchant string, rev Revision, hour event.Hour) ([]DocKey, error)
	// Clean takes the dirty marks off documents that a summary now holds. A
	// crash may bring marks back: the summary is worked out again.
	Clean(ctx context.Context, marks []DocKey) error
	// MarkDirty marks every document of a merchant's hours in [from, to).
	MarkDirty(ctx context.Context, merchant string, rev Revision, from, to event.Hour) error
	// Extent is the first and last hour that hold documents of a merchant;
	// ok is false where there are none.
	Extent(ctx context.Context, merchant string, rev Revision) (first, last event.Hour, ok bool, err error)
	// Version is the state of a merchant's documents and marks. It is a new one
	// when Put, Clean, MarkDirty or Replace that touched them has returned, at
	// the latest; where it is the same as before, reads between the two saw
	// the same. It may be a new one although nothing changed. It is cheap: one
	// look-up, whatever the merchant's size.
	Version(ctx context.Context, merchant string, rev Revision) (Version, error)
	// Replace puts one merged document (by MergedBatchID) in place of old
	// ones of the same hour. Readers meanwhile may meet both, never neither.
	// The merged document is dirty where one of the old ones is.
	Replace(ctx context.Context, old []DocKey, merged Doc) error
	// Rejects lists a merchant's rejects (merchant "" = of no merchant) with
	// hours in [from, to), ordered by hour, batch, index, after a cursor
	// ("" = start); next is "" at the end.
	Rejects(ctx context.Context, merchant string, from, to event.Hour, cursor string, limit int) (rejects []Reject, next string, err error)
	// RejectCounts counts accepted events that were rejected, by hour and
	// reason, and apart those refused at the door.
	RejectCounts(ctx context.Context, merchant string, from, to event.Hour) ([]RejectCount, error)
}

// RejectCount counts rejects of one hour and reason.
type RejectCount struct {
	Hour    event.Hour
	Reason  string
	Refused bool
	Events  int64
}

// Visitors remembers when each user of a merchant was first seen. Users are
// 64-bit hashes; generations keep histories apart that a reprocess or a change
// of settings makes different. As with summaries, a write may be lost in a
// crash as long as marks that Clean took off after it come back, too.
type Visitors interface {
	// FirstSeen returns, in the order of users, the first instant that each
	// was seen (ms since the Unix epoch), and math.MaxInt64 for unknown ones.
	FirstSeen(ctx context.Context, merchant string, generation uint32, users []uint64) ([]int64, error)
	// See lowers first-seen instants to the given ones where these are
	// earlier, and returns what stood there before, as FirstSeen does.
	See(ctx context.Context, merchant string, generation uint32, users []uint64, millis []int64) ([]int64, error)
}
