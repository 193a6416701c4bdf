package event

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// The CloudEvents types that travel over the Brokers, and the extensions that
// the Triggers filter by. eventing/README.md is the catalogue.
const (
	TypeEvent              = "footfall.event.v1"                 // a tracking event, from outside
	TypeBatchAccepted      = "footfall.batch.accepted.v1"        // a batch, data is an Avro container
	TypePing               = "dev.knative.sources.ping"          // what every PingSource sends; extension "tick" says which
	TypeSummaryShard       = "footfall.summary.shard.v1"         // one shard of a summary run
	TypeReprocessRequested = "footfall.reprocess.requested.v1"   // a wish for a reprocess job, from an operator
	TypeReprocessShard     = "footfall.reprocess.shard.v1"       // one shard of a reprocess job
	ExtensionTick          = "tick"                              // summary | journal | archive
	ContentTypeBatch       = "application/vnd.apache.avro+batch" // of a batch's data
)

// Limits of a batch. The Broker's topic takes messages of 1 MiB; the budget
// below leaves room for headers and for other clients' framing.
const (
	MaxBatchBytes  = 700 << 10 // container, compressed
	MaxBatchEvents = 5000
	MaxBatchRaw    = 4 << 20 // block before compression
)

// BatchID names a batch: a UUIDv7, so that ids sort by time of creation.
type BatchID [16]byte

// NewBatchID makes the id of a batch opened now.
func NewBatchID() (BatchID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return BatchID{}, fmt.Errorf("cannot make a batch id: %w", err)
	}
	return BatchID(id), nil
}

// NewBatchIDAt makes the id of a batch opened at an instant.
func NewBatchIDAt(t time.Time) (BatchID, error) {
	id, err := NewBatchID()
	if err != nil {
		return id, err
	}
	first := FirstBatchID(t.UnixMilli())
	copy(id[:6], first[:])
	return id, nil
}

// Millis is the instant in the id, ms since the Unix epoch: that of its arrival,
// by which a batch belongs to a revision or not.
func (id BatchID) Millis() int64 {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return ms
}

// FirstBatchID is before the ids of all batches that arrived at an instant (ms
// since the Unix epoch) or later, and after those of all that came before.
func FirstBatchID(millis int64) (id BatchID) {
	ms := min(max(millis, 0), 1<<48-1)
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// String is the id as 32 hex digits.
func (id BatchID) String() string { return hex.EncodeToString(id[:]) }

// ParseBatchID reads what String wrote.
func ParseBatchID(s string) (BatchID, error) {
	var id BatchID
	if len(s) != 32 {
		return id, fmt.Errorf("cannot parse batch id %q: expected 32 hex digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("cannot parse batch id %q: %w", s, err)
	}
	return id, nil
}

// Batch is the unit of transport: events accepted together by one ingest
// instance. An event is named for ever by its batch and its place in Events.
type Batch struct {
	ID         BatchID
	ReceivedAt time.Time // when the batch was opened: the hour of arrival
	Instance   string    // which ingest instance
	Events     []Event
	Refused    []Refused // what the door turned away, for the merchant to see; never accepted
}

// Refused is an event that ingest answered with an error.
type Refused struct {
	Stream string // as claimed; may be empty
	ID     string
	Field  string
	Reason string // a fault reason, such as "invalid"
	Detail string // what was expected
	Data   []byte // the event as it came, at most 4 KiB, addresses removed; of ReasonQuota: see OverQuota
}

// ReasonQuota is why events over a tenant's quota are refused.
const ReasonQuota = "quota_exceeded"

// OverQuota stands for n events of a stream that were refused because its
// merchant had used up what it may send. The events themselves are not kept: a
// flood must not fill the stores. The count stands as decimal digits in Data.
func OverQuota(stream, detail string, n int64) Refused {
	return Refused{Stream: stream, Field: "quota", Reason: ReasonQuota, Detail: detail, Data: strconv.AppendInt(nil, n, 10)}
}

// Events is how many refused events r stands for.
func (r *Refused) Events() int64 {
	if r.Reason == ReasonQuota {
		if n, err := strconv.ParseInt(string(r.Data), 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

// StreamHour counts a batch's events of one stream in one UTC hour.
type StreamHour struct {
	Stream string
	Hour   Hour
	Events int64
}

// Counts is what the batch holds, by stream and hour in order of appearance:
// what its journal row says of it.
func (b *Batch) Counts() []StreamHour {
	type key struct {
		stream string
		hour   Hour
	}
	var list []StreamHour
	places := map[key]int{}
	for i := range b.Events {
		k := key{b.Events[i].Stream, b.Events[i].Hour()}
		at, ok := places[k]
		if !ok {
			at = len(list)
			places[k] = at
			list = append(list, StreamHour{Stream: k.stream, Hour: k.hour})
		}
		list[at].Events++
	}
	return list
}

// SumCounts puts counts in the order of streams and hours, and those of the same
// one together, in their own memory. What comes to nothing goes.
func SumCounts(counts []StreamHour) []StreamHour {
	slices.SortFunc(counts, func(a, b StreamHour) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Hour, b.Hour))
	})
	sum := counts[:0]
	for _, n := range counts {
		if k := len(sum) - 1; k >= 0 && sum[k].Stream == n.Stream && sum[k].Hour == n.Hour {
			sum[k].Events += n.Events
			continue
		}
		sum = append(sum, n)
	}
	return slices.DeleteFunc(sum, func(n StreamHour) bool { return n.Events == 0 })
}
