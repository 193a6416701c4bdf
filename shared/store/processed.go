package store

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/zeebo/xxh3"

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

// A merged document's number has its place in the upper bits and a hash of what
// it was made of in the lower: two instances that merge different sets at the
// same time make two documents, of which readers take each batch once, and none
// takes the place of the other. Place 0 is left to documents that were never
// merged from others.
const placeBits = 24

// MaxPlace is above all places.
const MaxPlace = 1 << placeBits

// MergedInto names the document that others of its hour are merged into. place
// is above that of any merged one that is there.
func MergedInto(place uint64, of []DocKey) event.BatchID {
	hash := xxh3.New()
	for i := range of {
		_, _ = hash.Write(of[i].Batch[:])
	}
	return MergedBatchID(place<<(64-placeBits) | hash.Sum64()>>placeBits)
}

// Place is that of a merged document, 0 of any other.
func (k DocKey) Place() uint64 {
	if !k.IsMerged() {
		return 0
	}
	return binary.BigEndian.Uint64(k.Batch[8:]) >> (64 - placeBits)
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
	Merchant   string   // empty where the stream belongs to none
	Revision   Revision // that has found it; 0 is written as LiveRevision
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

// Queue names a list of hours that are still to be counted, of each merchant:
// LiveQueue, to which Put adds, and one for each other view, named by its
// generation. Queues know nothing of one another.
type Queue uint32

// LiveQueue is what all batches are marked in when they are put.
const LiveQueue Queue = 0

// Mark says that an hour has something of a batch, or of a merged document,
// that a queue's summaries do not hold yet. It needs no document.
type Mark struct {
	Merchant string
	Queue    Queue
	Hour     event.Hour
	Batch    event.BatchID
}

// DirtyHour is a merchant's UTC hour with marks in a queue.
type DirtyHour struct {
	Merchant string
	Queue    Queue
	Hour     event.Hour
}

// Shard is one of Count parts of all merchants.
type Shard struct {
	Index, Count int
}

// Version names a state of a merchant's documents, marks and rejects. Versions
// are compared for being equal; the zero Version is none.
type Version struct {
	N  uint64 // differs after each change
	At int64  // where in the store's own order of writes, for stores that need to know
}

// Processed holds the events after ETL. Order of scans: hour, then batch.
// Revisions lie beside one another: whoever reads takes of each batch what its
// layers say (access.Layers.Owner).
type Processed interface {
	// Put writes a batch's documents and rejects of LiveRevision in one step,
	// and marks each document in LiveQueue in the same step. Written again it
	// changes nothing but may mark again.
	Put(ctx context.Context, p Put) error
	// PutRevision writes documents and rejects of a revision above
	// LiveRevision, of any batches. They are not marked. Written again it
	// changes nothing.
	PutRevision(ctx context.Context, rev Revision, docs []Doc, rejects []Reject) error
	// Resolve writes what rejects became when they were tried again: put, whose
	// batch is another than theirs, is written and marked as Put does it, and
	// the rejects given are removed, in one step where the store can, else after
	// put is written. Done again it changes nothing but may mark again; a
	// reject that is not there is no error.
	Resolve(ctx context.Context, put Put, rejects []Reject) error
	// Scan calls fn with each document of a merchant's hours in [from, to).
	Scan(ctx context.Context, merchant string, rev Revision, from, to event.Hour, fn func(Doc) error) error

	// Pick is Scan for who has most documents already: want is asked for each by
	// its key and number of events, in order, and fn is called with those that it
	// wants, before or after want is asked for later ones. A document that is
	// replaced meanwhile may be asked for and not come; then want is asked for
	// what stands in its place.
	Pick(ctx context.Context, merchant string, rev Revision, from, to event.Hour, want func(key DocKey, events int) bool, fn func(Doc) error) error

	// Dirty lists dirty hours of a shard whose end is not after the given
	// time, at most limit, after the given one (zero = from the start): the
	// hours of a merchant's queue together and in order, a merchant's queues
	// together, merchants in an order of the store's own. They are those of
	// LiveQueue, or those of all others; with the others a store may list hours
	// of LiveQueue that were not marked by Put.
	Dirty(ctx context.Context, others bool, shard Shard, endBy time.Time, after DirtyHour, limit int) ([]DirtyHour, error)
	// DirtyOf lists a merchant's hours in [from, to) that are dirty in any of
	// the queues, in order, each once.
	DirtyOf(ctx context.Context, merchant string, queues []Queue, from, to event.Hour) ([]event.Hour, error)
	// Marks lists the marks in queues of a merchant's hours in [from, to), by
	// hour, queue and batch.
	Marks(ctx context.Context, merchant string, queues []Queue, from, to event.Hour) ([]Mark, error)
	// Mark adds marks.
	Mark(ctx context.Context, marks []Mark) error
	// MarkDirty marks in a queue every document of some revisions of a
	// merchant's hours in [from, to).
	MarkDirty(ctx context.Context, merchant string, queue Queue, revs []Revision, from, to event.Hour) error
	// Clean takes marks off that a summary now holds. A crash may bring marks
	// back: the summary is worked out again.
	Clean(ctx context.Context, marks []Mark) error
	// DropQueue takes all marks off a merchant's queue, which is not LiveQueue.
	DropQueue(ctx context.Context, merchant string, queue Queue) error

	// Extent is the first and last hour that hold documents of a merchant in
	// any of the revisions; ok is false where there are none.
	Extent(ctx context.Context, merchant string, revs ...Revision) (first, last event.Hour, ok bool, err error)
	// Version is the state of a merchant's documents, marks and rejects, of all
	// revisions and queues. It is a new one when any change of them has
	// returned, at the latest; where it is the same as before, reads between
	// the two saw the same. It may be a new one although nothing changed. It is
	// cheap: one look-up, whatever the merchant's size.
	Version(ctx context.Context, merchant string) (Version, error)
	// Claimed is the merchant's last claim; 0 is one, too. It may differ although
	// nobody has claimed.
	Claimed(ctx context.Context, merchant string) (uint64, error)
	// Claim is asked by whoever has written what a merchant's hours were counted
	// to, before it takes their marks off. Where the last claim is still the one
	// that Claimed had said before the hours were looked at, it becomes another
	// one: of those who overlap one has claimed. ok is false for all others. It
	// tells neither what was written nor who did it.
	Claim(ctx context.Context, merchant string, last uint64) (ok bool, err error)
	// Replace puts one merged document (by MergedBatchID) in place of old
	// ones of the same hour and revision. Readers meanwhile may meet both,
	// never neither. An old one's mark in LiveQueue may become the merged one's;
	// marks in other queues stay as they are.
	Replace(ctx context.Context, old []DocKey, merged Doc) error
	// Drop removes a revision's documents and rejects of a merchant's hours in
	// [from, to). Marks stay.
	Drop(ctx context.Context, merchant string, rev Revision, from, to event.Hour) error

	// Rejects lists a merchant's rejects (merchant "" = of no merchant) with
	// hours in [from, to), ordered by hour, batch, index, after a cursor
	// ("" = start); next is "" at the end. Of each batch they are those of the
	// revision that owns it.
	Rejects(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour, cursor string, limit int) (rejects []Reject, next string, err error)
	// RejectCounts counts accepted events that were rejected, by hour and
	// reason, and apart those refused at the door; of each batch as the
	// revision says that owns it.
	RejectCounts(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour) ([]RejectCount, error)
}

// RejectCount counts rejects of one hour and reason.
type RejectCount struct {
	Hour    event.Hour
	Reason  string
	Refused bool
	Events  int64
}

// Visitors remembers when each user of a merchant was first seen. Users are
// 64-bit hashes, and so is what is kept of them beside their first sight
// (summary.Buyer); generations keep histories apart that a reprocess or a change
// of settings makes different. As with summaries, a write may be lost in a
// crash as long as marks that Clean took off after it come back, too.
type Visitors interface {
	// FirstSeen returns, in the order of users, the first instant that each
	// was seen (ms since the Unix epoch), and math.MaxInt64 for unknown ones.
	FirstSeen(ctx context.Context, merchant string, generation uint32, users []uint64) ([]int64, error)
	// See lowers first-seen instants to the given ones where these are earlier, of
	// users of whom what stands there is what is said to be known, as FirstSeen told it
	// (nil: none is known). It returns, in the order of users, what stood there: where
	// that is something else another has lowered it meanwhile, or since. So
	// whoever lowers an instant can see to it before that what was counted by it is
	// counted again, wherever he dies. Who has closed hours so claims the merchant
	// afterwards (Processed.Claim): readers take it that nothing was lowered as long as
	// the claim is the same.
	See(ctx context.Context, merchant string, generation uint32, users []uint64, millis, known []int64) ([]int64, error)
	// Forget forgets users of a merchant's generation; one that is not known is
	// no error. When it has returned they are forgotten for good.
	Forget(ctx context.Context, merchant string, generation uint32, users []uint64) error
	// Drop forgets all users of a merchant's generation.
	Drop(ctx context.Context, merchant string, generation uint32) error
}
