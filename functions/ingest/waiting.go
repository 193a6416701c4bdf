package ingest

import (
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/store"
)

const (
	// publishAge is how long a batch that the journal has may wait for others
	// to be published with, while requests come together: a publish costs
	// Broker and consumers much the same for one batch as for ten.
	publishAge = 50 * time.Millisecond
	// openAge is how long a batch is open for more flushes, where the journal takes
	// it in parts.
	openAge = 100 * time.Millisecond
	// publishBatches and publishBytes are what need not wait for more.
	publishBatches = 32
	publishBytes   = 512 << 10
	// holdBatches and holdBytes bound what waits for a Broker that is busy or
	// failing. What is beyond stays in the journal for the tick.
	holdBatches = 1024
	holdBytes   = 32 << 20
	// retryPublish is how soon after one that could not be made the next
	// publish is tried.
	retryPublish = 20 * time.Millisecond
	// hedge is how long a flush that goes to the journal alone waits for it
	// before it asks the Broker as well.
	hedge = 50 * time.Millisecond
)

// waiting are batches that are durable in the journal and not published yet.
// The loop of the collector alone uses it. What is lost of it with the process
// is published again from the journal.
type waiting struct {
	rows  []store.JournalRow
	msgs  []cloudevents.Event
	bytes int
	since time.Time // when the first of them came
}

// room reports whether what a flush holds may wait, too.
func (q *waiting) room(f *flush, now time.Time) bool {
	if len(q.msgs) == 0 {
		return bytesOf(f.rows) < publishBytes
	}
	return now.Sub(q.since) < publishAge && len(q.msgs)+len(f.msgs) <= publishBatches && q.bytes+bytesOf(f.rows) < publishBytes
}

func (q *waiting) add(rows []store.JournalRow, msgs []cloudevents.Event, now time.Time) {
	if len(msgs) == 0 || len(q.msgs)+len(msgs) > holdBatches || q.bytes+bytesOf(rows) > holdBytes {
		return
	}
	if len(q.msgs) == 0 {
		q.since = now
	}
	q.rows, q.msgs, q.bytes = append(q.rows, rows...), append(q.msgs, msgs...), q.bytes+bytesOf(rows)
}

func (q *waiting) addOne(row store.JournalRow, msg cloudevents.Event, now time.Time) {
	q.add([]store.JournalRow{row}, []cloudevents.Event{msg}, now)
}

// take empties it. What it returns is the caller's: a publish that hangs holds
// it beyond the next flush.
func (q *waiting) take() (rows []store.JournalRow, msgs []cloudevents.Event) {
	rows, msgs = q.rows, q.msgs
	*q = waiting{}
	return rows, msgs
}

// due is how long from now the first of them has to be published at the
// latest; false where there is none.
func (q *waiting) due(now time.Time) (time.Duration, bool) {
	return max(0, q.since.Add(publishAge).Sub(now)), len(q.msgs) > 0
}

func bytesOf(rows []store.JournalRow) int {
	n := 0
	for i := range rows {
		n += len(rows[i].Payload)
	}
	return n
}
