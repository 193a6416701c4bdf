package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// stageFinished is the index of rows that lack nothing, by arrival: what a
// sweep looks at.
const stageFinished store.Stage = 0

var stages = [...]store.Stage{store.StagePublished, store.StageArchived, store.StageProcessed}

// journal keeps a row per batch, the payload apart from it, an index of rows
// per missing stage, and running sums. All of a call is one write.
type journal struct {
	e     *engine
	locks stripes // by batch: a row is read, changed and written by one at a time
	floor floor
	folds folds
	young *young
	open  sync.Map // event.BatchID of those that this process gathers
}

// row is the stored form of a store.JournalRow.
type row struct {
	stages   store.Stage
	payload  int   // bytes of the payload that is stored; 0 = none
	received int64 // µs since the Unix epoch
	key      string
	counts   []event.StreamHour

	published int64 // µs since the Unix epoch; 0 = not known, as in rows of before it was kept
	parts     int   // that stand in place of the payload
}

func rowKey(id event.BatchID) []byte     { return append([]byte{tableRow}, id[:]...) }
func payloadKey(id event.BatchID) []byte { return append([]byte{tablePayload}, id[:]...) }

// payloadPartKey is that of the n-th part of a payload, which no payload has as its own.
func payloadPartKey(id event.BatchID, n int) []byte { return appendUint32(payloadKey(id), uint32(n)) }

func stageKey(missing store.Stage, p position) []byte {
	return append([]byte{tableStage, byte(missing)}, p[:]...)
}

func sumsKey(b []byte, stream string, h event.Hour) []byte {
	return appendHour(appendName(append(b, tableSums), stream), h)
}

func (r *row) append(b []byte) []byte {
	b = append(b, byte(r.stages))
	b = binary.AppendUvarint(b, uint64(r.payload))
	b = binary.AppendVarint(b, r.received)
	b = appendName(b, r.key)
	b = binary.AppendUvarint(b, uint64(len(r.counts)))
	for _, c := range r.counts {
		b = appendName(b, c.Stream)
		b = binary.AppendVarint(b, int64(c.Hour))
		b = binary.AppendVarint(b, c.Events)
	}
	if r.published != 0 || r.parts != 0 {
		b = binary.AppendVarint(b, r.published)
	}
	if r.parts != 0 {
		b = binary.AppendUvarint(b, uint64(r.parts))
	}
	return b
}

func decodeRow(b []byte) (*row, error) {
	d := decoder{b: b}
	r := &row{stages: store.Stage(d.byte()), payload: int(d.uvarint()), received: d.varint(), key: d.name()}
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		return nil, errKey
	}
	r.counts = make([]event.StreamHour, n)
	for i := range r.counts {
		r.counts[i] = event.StreamHour{Stream: d.name(), Hour: event.Hour(d.varint()), Events: d.varint()}
	}
	if d.err == nil && len(d.b) > 0 {
		r.published = d.varint()
	}
	if d.err == nil && len(d.b) > 0 {
		r.parts = int(d.uvarint())
	}
	return r, d.err
}

// row reads a row, or nil where there is none.
func (j *journal) row(id event.BatchID) (r *row, err error) {
	if data, known := j.young.find(id); known {
		if data == nil {
			return nil, nil
		}
		return decodeRow(data)
	}
	_, err = j.e.get(rowKey(id), func(v []byte) error {
		r, err = decodeRow(v)
		return err
	})
	return r, err
}

// change is one write to the journal as it is put together.
type change struct {
	*pebble.Batch
	scratch []byte
	rows    []youngRow
	low     position // the lowest new row that is not processed
	sums    stripeSet
	fold    [][]byte // sums that were added to often
	folds   *folds
}

func (j *journal) change(size int) *change {
	return &change{Batch: j.e.db.NewBatchWithSize(size), low: endOfTime, folds: &j.folds}
}

// put writes a row, and keeps index and sums in step with what it was before
// (nil where there was none).
func (c *change) put(id event.BatchID, old, r *row) error {
	c.scratch = r.append(c.scratch[:0])
	if err := c.Set(rowKey(id), c.scratch, nil); err != nil {
		return err
	}
	c.rows = append(c.rows, youngRow{id, bytes.Clone(c.scratch)})
	p := positionOf(r.received, id)
	for _, s := range stages {
		lacks, lacked := r.stages&s == 0, old != nil && old.stages&s == 0
		var err error
		switch {
		case lacks && !lacked:
			err = c.Set(stageKey(s, p), nil, nil)
		case lacked && !lacks:
			err = c.Delete(stageKey(s, p), nil)
		}
		if err != nil {
			return err
		}
	}
	if r.stages == store.AllStages && (old == nil || old.stages != store.AllStages) {
		if err := c.Set(stageKey(stageFinished, p), nil, nil); err != nil {
			return err
		}
	}
	pending := r.stages&store.StageProcessed == 0
	if pending && p.before(c.low) {
		c.low = p
	}
	wasPending := old != nil && old.stages&store.StageProcessed == 0
	switch {
	case old == nil || len(old.counts) == 0: // counted now for the first time
		return c.sum(r.counts, 1, b2i(pending))
	case r.parts != old.parts: // then it may hold something else
		changed := plus(r.counts, old.counts, -1)
		return errors.Join(c.sum(changed, 1, b2i(pending)), c.sum(old.counts, 0, b2i(pending)-b2i(wasPending)))
	}
	return c.sum(r.counts, 0, b2i(pending)-b2i(wasPending))
}

func (c *change) sum(counts []event.StreamHour, accepted, pending int64) error {
	if accepted == 0 && pending == 0 {
		return nil
	}
	for _, n := range counts {
		key := sumsKey(c.scratch[:0], n.Stream, n.Hour)
		val := appendSums(key, accepted*n.Events, pending*n.Events)[len(key):]
		if err := c.Merge(key, val, nil); err != nil {
			return err
		}
		if h := c.sums.add(key); c.folds.touch(h) {
			c.fold = append(c.fold, bytes.Clone(key))
		}
	}
	return nil
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// apply enters the change's new rows with the floor until they are visible.
func (j *journal) apply(c *change, unlock func(), commit func(*pebble.Batch, func()) error) error {
	var entered *position
	if c.low != endOfTime {
		entered = j.floor.enter(c.low)
	}
	unshare := j.folds.locks.share(c.sums)
	j.young.put(c.rows)
	err := commit(c.Batch, func() {
		unshare()
		if entered != nil {
			j.floor.leave(entered)
		}
		unlock()
	})
	if err != nil {
		j.young.doubt(c.rows)
	}
	for _, key := range c.fold {
		if err == nil {
			err = j.fold(key)
		}
	}
	return err
}

func newRow(in *store.JournalRow) *row {
	return &row{stages: in.Stages & store.AllStages, received: in.ReceivedAt.UnixMicro(), key: in.PartitionKey, counts: in.Counts, published: publishedAt(in)}
}

func publishedAt(in *store.JournalRow) int64 {
	if in.PublishedAt.IsZero() {
		return 0
	}
	return in.PublishedAt.UnixMicro()
}

func lockRows(rows []store.JournalRow) stripeSet {
	var set stripeSet
	for i := range rows {
		set.add(rows[i].Batch[:])
	}
	return set
}

// first yields the index of the first row of each batch: a write does not see
// its own changes, so a batch may stand in it once.
func first(rows []store.JournalRow) iter.Seq[int] {
	return func(yield func(int) bool) {
		if len(rows) == 1 {
			yield(0)
			return
		}
		seen := make(map[event.BatchID]struct{}, len(rows))
		for i := range rows {
			if _, again := seen[rows[i].Batch]; again {
				continue
			}
			seen[rows[i].Batch] = struct{}{}
			if !yield(i) {
				return
			}
		}
	}
}

// adopt takes over what an earlier mark of the batch did not know.
func (r *row) adopt(in *store.JournalRow) (adopted bool) {
	if len(r.counts) == 0 && len(in.Counts) > 0 {
		r.counts, adopted = in.Counts, true
	}
	if r.key == "" && in.PartitionKey != "" {
		r.key, adopted = in.PartitionKey, true
	}
	return adopted
}

// Append implements store.Journal.
func (j *journal) Append(ctx context.Context, rows []store.JournalRow) error {
	if len(rows) == 0 {
		return nil
	}
	return j.e.write(ctx, "append to the journal", func() error { return j.append(rows) })
}

func (j *journal) append(rows []store.JournalRow) error {
	size, commit := 0, j.e.commitLater
	for i := range rows {
		size += len(rows[i].Payload) + 256 + 64*len(rows[i].Counts)
	}
	unlock := j.locks.lock(lockRows(rows))
	c := j.change(size)
	for i := range first(rows) {
		gathered, err := j.appendRow(c, &rows[i])
		if err != nil {
			unlock()
			return errors.Join(err, c.Close())
		}
		if !gathered {
			commit = j.e.commit
		}
	}
	if c.Empty() {
		unlock()
		return errors.Join(c.Close(), j.e.settle())
	}
	if err := j.apply(c, unlock, commit); err != nil {
		return err
	}
	for i := range rows {
		j.open.Delete(rows[i].Batch)
	}
	return nil
}

// appendRow tells whether the row was there in parts, which are durable.
func (j *journal) appendRow(c *change, in *store.JournalRow) (gathered bool, err error) {
	old, err := j.row(in.Batch)
	if err != nil {
		return false, err
	}
	r, changed := newRow(in), true
	if old != nil && old.parts > 0 && len(in.Payload) > 0 {
		gathered = true
		r.stages, r.published, r.received = old.stages, old.published, old.received
		if err := c.dropParts(in.Batch, old.parts); err != nil {
			return false, err
		}
	} else if old != nil {
		// A mark was faster than this append, or this append comes twice.
		*r = *old
		changed = r.adopt(in)
	}
	const gone = store.StageArchived | store.StageProcessed
	keep := r.payload == 0 && len(in.Payload) > 0 && r.stages&gone != gone
	if !changed && !keep {
		return false, nil
	}
	if keep {
		r.payload = len(in.Payload)
		if err := c.Set(payloadKey(in.Batch), in.Payload, nil); err != nil {
			return false, err
		}
	}
	return gathered, c.put(in.Batch, old, r)
}

// Mark implements store.Journal.
func (j *journal) Mark(ctx context.Context, stage store.Stage, rows []store.JournalRow) error {
	if stage == 0 || stage&^store.AllStages != 0 {
		return fault.Field("stage", "published, archived, processed or a set of them")
	}
	if len(rows) == 0 {
		return nil
	}
	return j.e.write(ctx, "mark batches in the journal", func() error { return j.mark(stage, rows) })
}

func (j *journal) mark(stage store.Stage, rows []store.JournalRow) error {
	unlock := j.locks.lock(lockRows(rows))
	c := j.change(256 * len(rows))
	commit := j.e.commitLater
	for i := range first(rows) {
		isNew, err := j.markRow(c, stage, &rows[i])
		if err != nil {
			unlock()
			return errors.Join(err, c.Close())
		}
		if isNew {
			// No other mark will tell of this batch again: its sums would be lost.
			commit = j.e.commit
		}
	}
	if c.Empty() {
		unlock()
		return c.Close()
	}
	return j.apply(c, unlock, commit)
}

func (j *journal) markRow(c *change, stage store.Stage, in *store.JournalRow) (isNew bool, err error) {
	old, err := j.row(in.Batch)
	if err != nil {
		return false, err
	}
	if old == nil {
		r := newRow(in)
		r.stages |= stage
		return true, c.put(in.Batch, nil, r)
	}
	r := *old
	r.stages |= stage
	isNew = r.adopt(in)
	if stage&store.StagePublished != 0 {
		r.published = max(r.published, publishedAt(in))
	}
	if !isNew && r.stages == old.stages && r.published == old.published {
		return false, nil
	}
	const gone = store.StageArchived | store.StageProcessed
	if r.stages&gone == gone && r.payload > 0 {
		if err := c.DeleteSized(payloadKey(in.Batch), uint32(r.payload), nil); err != nil {
			return false, err
		}
		r.payload = 0
	}
	if r.stages&gone == gone && r.parts > 0 {
		if err := c.dropParts(in.Batch, r.parts); err != nil {
			return false, err
		}
		r.parts = 0
	}
	return isNew, c.put(in.Batch, old, &r)
}

// sweepChunk rows go in one write.
const sweepChunk = 1000

// Sweep implements store.Journal.
func (j *journal) Sweep(ctx context.Context, before time.Time) (swept int, err error) {
	prefix := []byte{tableStage, byte(stageFinished)}
	upper := appendInt64(bytes.Clone(prefix), before.UnixMicro())
	for {
		n := 0
		// Lost in a crash it is done again by the next sweep.
		err := j.e.write(ctx, "sweep the journal", func() error {
			it, err := j.e.span(ctx, prefix, upper)
			if err != nil {
				return err
			}
			b := j.e.db.NewBatch()
			var gone []youngRow
			for ok := it.First(); ok && n < sweepChunk && err == nil; ok = it.Next() {
				p := position(it.Key()[2:])
				id := event.BatchID(p[8:])
				gone = append(gone, youngRow{id: id})
				err = errors.Join(b.Delete(rowKey(id), nil), b.Delete(it.Key(), nil))
				n++
			}
			if err = finish(it, err); err != nil || n == 0 {
				return errors.Join(err, b.Close())
			}
			return j.e.commitLater(b, func() { j.young.doubt(gone) })
		})
		if err != nil {
			return swept, err
		}
		swept += n
		if n < sweepChunk {
			return swept, nil
		}
	}
}
