package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// processed keeps documents, marks by queue, and a key for each hour of a queue
// that has marks: lists of dirty hours cost what they return, however many
// batches an hour has. Rejects stand by revision, with their sums.
//
// The hour's key is there as long as there are marks. Writers of marks share
// the merchant's stripe; who takes marks off has it alone.
type processed struct {
	e         *engine
	merchants stripes
	batches   stripes // rejects of a batch are counted by one at a time
	known     knownHours
	versions  versions // of what there is to read
	claims    versions
}

// chunk bounds the documents of one write of MarkDirty.
const chunk = 10_000

// manyMarks is the number of marks from which one range delete is cheaper
// than that many deletes.
const manyMarks = 64

// placeOf spreads merchants over the shards. Ids that Footfall made are uniform
// in the letters after their first: they keep their order, so that a shard
// closes hours in the order in which documents and merchants lie. Others go by
// their hash.
func placeOf(merchant string) uint16 {
	if len(merchant) < 5 || merchant[0] != 'm' {
		return hashPlace(merchant)
	}
	var place uint32
	for i := 1; i < 5; i++ {
		switch c := merchant[i]; {
		case c >= '2' && c <= '7':
			place = place<<5 | uint32(c-'2')
		case c >= 'a' && c <= 'z':
			place = place<<5 | uint32(c-'a'+6)
		default:
			return hashPlace(merchant)
		}
	}
	return uint16(place >> 4)
}

// hashPlace was every merchant's place in version 2.
func hashPlace(merchant string) uint16 { return uint16(xxh3.HashString(merchant) >> 48) }

// hourPrefix begins the keys of a merchant's hour: of a revision, or of a queue.
func hourPrefix(table byte, merchant string, of uint32, h event.Hour) []byte {
	b := make([]byte, 0, 64+len(merchant))
	b = appendName(append(b, table), merchant)
	return appendHour(appendUint32(b, of), h)
}

func docKey(k store.DocKey) []byte {
	return append(hourPrefix(tableDoc, k.Merchant, uint32(k.Revision), k.Hour), k.Batch[:]...)
}

func markKey(m store.Mark) []byte {
	return append(hourPrefix(tableMark, m.Merchant, uint32(m.Queue), m.Hour), m.Batch[:]...)
}

// liveMark is the mark that Put gives a document.
func liveMark(k store.DocKey) store.Mark {
	return store.Mark{Merchant: k.Merchant, Queue: store.LiveQueue, Hour: k.Hour, Batch: k.Batch}
}

// dirtyTable begins the keys of the dirty hours of LiveQueue, or of all others.
func dirtyTable(b []byte, others bool) []byte { return append(b, tableDirty, byte(b2i(others))) }

func dirtyPrefix(merchant string, q store.Queue) []byte {
	b := make([]byte, 0, 64+len(merchant))
	b = appendUint16(dirtyTable(b, q != store.LiveQueue), placeOf(merchant))
	return appendUint32(appendName(b, merchant), uint32(q))
}

func dirtyKey(merchant string, q store.Queue, h event.Hour) []byte {
	return appendHour(dirtyPrefix(merchant, q), h)
}

// setMark sets a mark, and the key of its hour where it is not known to be
// there. The caller has the merchant's stripe until b is applied, and then lets
// fresh be known.
func (p *processed) setMark(b *pebble.Batch, m store.Mark, fresh []xxh3.Uint128) ([]xxh3.Uint128, error) {
	if err := b.Set(markKey(m), nil, nil); err != nil {
		return fresh, err
	}
	hour := dirtyKey(m.Merchant, m.Queue, m.Hour)
	hash := xxh3.Hash128(hour)
	if p.known.has(hash) {
		return fresh, nil
	}
	return append(fresh, hash), b.Set(hour, nil, nil)
}

func setDoc(b *pebble.Batch, d store.Doc) error {
	key := docKey(d.Key)
	op := b.SetDeferred(len(key), uvarintLen(uint64(d.Events))+len(d.Data))
	copy(op.Key, key)
	copy(op.Value[binary.PutUvarint(op.Value, uint64(d.Events)):], d.Data)
	return op.Finish()
}

func uvarintLen(v uint64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], v)
}

// Put implements store.Processed.
func (p *processed) Put(ctx context.Context, put store.Put) error {
	return p.write(ctx, "put the processed data of batch "+put.Batch.String(), &writing{
		rev: store.LiveRevision, docs: put.Docs, rejects: put.Rejects, batch: &put.Batch, mark: true,
	})
}

// PutRevision implements store.Processed.
func (p *processed) PutRevision(ctx context.Context, rev store.Revision, docs []store.Doc, rejects []store.Reject) error {
	if rev <= store.LiveRevision {
		return fault.Field("revision", "one above that of the ETL")
	}
	return p.write(ctx, fmt.Sprintf("put processed data of revision %d", rev), &writing{rev: rev, docs: docs, rejects: rejects})
}

// Resolve implements store.Processed.
func (p *processed) Resolve(ctx context.Context, put store.Put, rejects []store.Reject) error {
	return p.write(ctx, "put what rejects became as batch "+put.Batch.String(), &writing{
		rev: store.LiveRevision, docs: put.Docs, rejects: put.Rejects, batch: &put.Batch, mark: true, gone: rejects,
	})
}

// writing is what one write does to a revision's documents and rejects.
type writing struct {
	rev     store.Revision
	batch   *event.BatchID // of all documents and rejects; nil: any
	docs    []store.Doc
	mark    bool // the documents, in LiveQueue
	rejects []store.Reject
	gone    []store.Reject // to be removed, of any revision
}

func (w *writing) validate() error {
	for i := range w.docs {
		k := &w.docs[i].Key
		if w.batch != nil && k.Batch != *w.batch {
			return fault.Field("docs.key.batch", "the batch of the put, "+w.batch.String())
		}
		if k.Revision != w.rev {
			return fault.Field("docs.key.revision", fmt.Sprintf("the revision that is written, %d", w.rev))
		}
	}
	for i := range w.rejects {
		r := &w.rejects[i]
		if w.batch != nil && r.Batch != *w.batch {
			return fault.Field("rejects.batch", "the batch of the put, "+w.batch.String())
		}
		if r.Revision != w.rev && r.Revision != 0 {
			return fault.Field("rejects.revision", fmt.Sprintf("the revision that is written, %d", w.rev))
		}
	}
	for i := range w.gone {
		if w.gone[i].Batch == *w.batch {
			return fault.Field("rejects.batch", "another than that of the put")
		}
	}
	return nil
}

func (p *processed) write(ctx context.Context, what string, w *writing) error {
	if err := w.validate(); err != nil {
		return err
	}
	if len(w.docs) == 0 && len(w.rejects) == 0 && len(w.gone) == 0 {
		return nil
	}
	return p.e.write(ctx, what, func() error { return p.apply(w) })
}

func (p *processed) apply(w *writing) error {
	size := 0
	var merchants, batches stripeSet
	for i := range w.docs {
		merchants.addName(w.docs[i].Key.Merchant)
		size += len(w.docs[i].Data) + 192 + 3*len(w.docs[i].Key.Merchant)
	}
	for _, list := range [2][]store.Reject{w.rejects, w.gone} {
		for i := range list {
			merchants.addName(list[i].Merchant)
			batches.add(list[i].Batch[:])
		}
	}
	b := p.e.db.NewBatchWithSize(size)
	unlock := p.batches.lock(batches)
	unshare := p.merchants.share(merchants)
	err := p.writeRejects(b, w)
	var fresh []xxh3.Uint128
	for i := range w.docs {
		if err == nil {
			err = setDoc(b, w.docs[i])
		}
		if err == nil && w.mark {
			fresh, err = p.setMark(b, liveMark(w.docs[i].Key), fresh)
		}
	}
	if err != nil {
		unshare()
		unlock()
		return errors.Join(err, b.Close())
	}
	return p.e.commit(b, func() {
		p.known.add(fresh)
		for i := range w.docs {
			p.versions.changed(w.docs[i].Key.Merchant)
		}
		for _, list := range [2][]store.Reject{w.rejects, w.gone} {
			for i := range list {
				if i == 0 || list[i].Merchant != list[i-1].Merchant {
					p.versions.changed(list[i].Merchant)
				}
			}
		}
		unshare()
		unlock()
	})
}

// Scan implements store.Processed.
func (p *processed) Scan(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour, fn func(store.Doc) error) error {
	var fromCaller error
	err := p.e.read(ctx, "scan processed data", func() error {
		return p.eachDoc(ctx, merchant, rev, from, to, func(k store.DocKey, it *pebble.Iterator) error {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			d := decoder{b: v}
			doc := store.Doc{Key: k, Events: int(d.uvarint()), Data: d.b}
			if d.err != nil {
				return d.err
			}
			fromCaller = fn(doc)
			return fromCaller
		})
	})
	if fromCaller != nil {
		return fromCaller
	}
	return err
}

// eachDoc calls fn with the keys of documents and an iterator that stands on
// them, for who wants their bytes.
func (p *processed) eachDoc(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour,
	fn func(store.DocKey, *pebble.Iterator) error,
) error {
	if from >= to {
		return nil
	}
	lower := hourPrefix(tableDoc, merchant, uint32(rev), from)
	it, err := p.e.span(ctx, lower, hourPrefix(tableDoc, merchant, uint32(rev), to))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		d := decoder{b: it.Key()[len(lower)-4:]}
		k := store.DocKey{Merchant: merchant, Revision: rev, Hour: d.hour(), Batch: d.batch()}
		if err = d.err; err == nil {
			err = fn(k, it)
		}
	}
	return finish(it, err)
}

// Dirty implements store.Processed.
func (p *processed) Dirty(ctx context.Context, others bool, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	if shard.Count < 1 || shard.Index < 0 || shard.Index >= shard.Count {
		return nil, fault.Field("shard", "an index from 0 to below count")
	}
	err = p.e.read(ctx, "list dirty hours", func() error {
		hours, err = p.dirty(ctx, others, shard, endBy, after, limit)
		return err
	})
	return hours, err
}

func (p *processed) dirty(ctx context.Context, others bool, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	table := dirtyTable(nil, others)
	// A shard is a range of places, so it reads no other shard's keys.
	edge := func(i int) []byte {
		h := uint64(i) << 16 / uint64(shard.Count)
		if h == 1<<16 {
			return successor(table)
		}
		return appendUint16(slices.Clone(table), uint16(h))
	}
	lower, upper := edge(shard.Index), edge(shard.Index+1)
	it, err := p.e.span(ctx, lower, upper)
	if err != nil {
		return nil, err
	}
	ok := false
	if after == (store.DirtyHour{}) {
		ok = it.First()
	} else {
		ok = it.SeekGE(successor(dirtyKey(after.Merchant, after.Queue, after.Hour)))
	}
	for ok && len(hours) < limit {
		if err := ctx.Err(); err != nil {
			return nil, finish(it, err)
		}
		key := it.Key()
		d := decoder{b: key[len(table)+2:]}
		name, queue, hour := d.bytes(), store.Queue(d.uint32()), d.hour()
		if d.err != nil {
			return nil, finish(it, d.err)
		}
		if hour.End().After(endBy) {
			// Its later hours are not due either: on to the next queue or merchant.
			ok = it.SeekGE(successor(key[:len(key)-4]))
			continue
		}
		hours = append(hours, store.DirtyHour{Merchant: string(name), Queue: queue, Hour: hour})
		ok = it.NextPrefix()
	}
	return hours, finish(it, nil)
}

// DirtyOf implements store.Processed.
func (p *processed) DirtyOf(ctx context.Context, merchant string, queues []store.Queue, from, to event.Hour) (hours []event.Hour, err error) {
	if from >= to {
		return nil, nil
	}
	err = p.e.read(ctx, "list a merchant's dirty hours", func() error {
		of := 0 // queues that have any
		for _, q := range queues {
			n := len(hours)
			if hours, err = p.dirtyOf(ctx, merchant, q, from, to, hours); err != nil {
				return err
			}
			if len(hours) > n {
				of++
			}
		}
		if of > 1 {
			slices.Sort(hours)
			hours = slices.Compact(hours)
		}
		return nil
	})
	return hours, err
}

func (p *processed) dirtyOf(ctx context.Context, merchant string, q store.Queue, from, to event.Hour, hours []event.Hour) ([]event.Hour, error) {
	lower := dirtyKey(merchant, q, from)
	it, err := p.e.span(ctx, lower, dirtyKey(merchant, q, to))
	if err != nil {
		return hours, err
	}
	for ok := it.First(); ok; ok = it.NextPrefix() {
		d := decoder{b: it.Key()[len(lower)-4:]}
		hours = append(hours, d.hour())
	}
	return hours, finish(it, nil)
}

// Marks implements store.Processed.
func (p *processed) Marks(ctx context.Context, merchant string, queues []store.Queue, from, to event.Hour) (marks []store.Mark, err error) {
	err = p.e.read(ctx, "list the marks of a merchant's hours", func() error {
		of := 0 // queues that have any
		for _, q := range queues {
			n := len(marks)
			if marks, err = p.marks(ctx, merchant, q, from, to, marks); err != nil {
				return err
			}
			if len(marks) > n {
				of++
			}
		}
		if of > 1 {
			slices.SortFunc(marks, func(a, b store.Mark) int {
				return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Queue, b.Queue), bytes.Compare(a.Batch[:], b.Batch[:]))
			})
			marks = slices.Compact(marks)
		}
		return nil
	})
	return marks, err
}

func (p *processed) marks(ctx context.Context, merchant string, q store.Queue, from, to event.Hour, marks []store.Mark) ([]store.Mark, error) {
	if from >= to {
		return marks, nil
	}
	lower := hourPrefix(tableMark, merchant, uint32(q), from)
	it, err := p.e.span(ctx, lower, hourPrefix(tableMark, merchant, uint32(q), to))
	if err != nil {
		return marks, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		d := decoder{b: it.Key()[len(lower)-4:]}
		marks = append(marks, store.Mark{Merchant: merchant, Queue: q, Hour: d.hour(), Batch: d.batch()})
	}
	return marks, finish(it, nil)
}

// Clean implements store.Processed.
func (p *processed) Clean(ctx context.Context, marks []store.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	groups := make(map[store.Mark]map[event.BatchID]struct{})
	for _, m := range marks {
		id := m.Batch
		m.Batch = event.BatchID{}
		if groups[m] == nil {
			groups[m] = make(map[event.BatchID]struct{})
		}
		groups[m][id] = struct{}{}
	}
	return p.e.write(ctx, "take dirty marks off", func() error {
		for hour, ids := range groups {
			if err := p.cleanHour(hour, ids); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *processed) cleanHour(hour store.Mark, ids map[event.BatchID]struct{}) error {
	var merchant stripeSet
	merchant.addName(hour.Merchant)
	unlock := p.merchants.lock(merchant)
	prefix := hourPrefix(tableMark, hour.Merchant, uint32(hour.Queue), hour.Hour)
	marks, err := p.batchesOf(prefix)
	if err != nil || len(marks) == 0 {
		unlock()
		return err
	}
	stay := slices.ContainsFunc(marks, func(id event.BatchID) bool { _, clean := ids[id]; return !clean })
	b := p.e.db.NewBatch()
	if !stay {
		key := dirtyKey(hour.Merchant, hour.Queue, hour.Hour)
		p.known.remove(xxh3.Hash128(key))
		err = b.Delete(key, nil)
	}
	if !stay && len(marks) >= manyMarks {
		err = errors.Join(err, b.DeleteRange(prefix, successor(prefix), nil))
	} else {
		for _, id := range marks {
			if _, clean := ids[id]; clean {
				err = errors.Join(err, b.Delete(append(prefix[:len(prefix):len(prefix)], id[:]...), nil))
			}
		}
	}
	if err != nil {
		unlock()
		return errors.Join(err, b.Close())
	}
	return p.e.commitLater(b, func() { p.versions.changed(hour.Merchant); unlock() })
}

func compareBatches(a, b event.BatchID) int { return bytes.Compare(a[:], b[:]) }

// batchesOf lists in order the batches of an hour's marks, whose keys begin with
// prefix.
func (p *processed) batchesOf(prefix []byte) (ids []event.BatchID, err error) {
	it, err := p.e.span(context.Background(), prefix, successor(prefix))
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		d := decoder{b: it.Key()[len(prefix):]}
		ids = append(ids, d.batch())
	}
	return ids, finish(it, nil)
}

// Mark implements store.Processed.
func (p *processed) Mark(ctx context.Context, marks []store.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	return p.e.write(ctx, "mark hours dirty", func() error {
		for part := range slices.Chunk(marks, chunk) {
			if err := p.mark(part); err != nil {
				return err
			}
		}
		return p.e.settle()
	})
}

// mark sets marks without waiting for the disk.
func (p *processed) mark(marks []store.Mark) error {
	var merchants stripeSet
	for i := range marks {
		merchants.addName(marks[i].Merchant)
	}
	unshare := p.merchants.share(merchants)
	b := p.e.db.NewBatch()
	var fresh []xxh3.Uint128
	for _, m := range marks {
		var err error
		if fresh, err = p.setMark(b, m, fresh); err != nil {
			unshare()
			return errors.Join(err, b.Close())
		}
	}
	return p.e.commitLater(b, func() {
		p.known.add(fresh)
		for i := range marks {
			if i == 0 || marks[i].Merchant != marks[i-1].Merchant {
				p.versions.changed(marks[i].Merchant)
			}
		}
		unshare()
	})
}

// MarkDirty implements store.Processed.
func (p *processed) MarkDirty(ctx context.Context, merchant string, q store.Queue, revs []store.Revision, from, to event.Hour) error {
	return p.e.write(ctx, "mark a merchant's hours dirty", func() error {
		var marks []store.Mark
		for _, rev := range revs {
			err := p.eachDoc(ctx, merchant, rev, from, to, func(k store.DocKey, _ *pebble.Iterator) error {
				marks = append(marks, store.Mark{Merchant: merchant, Queue: q, Hour: k.Hour, Batch: k.Batch})
				if len(marks) < chunk {
					return nil
				}
				err := p.mark(marks)
				marks = marks[:0]
				return err
			})
			if err != nil {
				return err
			}
		}
		return errors.Join(p.mark(marks), p.e.settle())
	})
}

// DropQueue implements store.Processed.
func (p *processed) DropQueue(ctx context.Context, merchant string, q store.Queue) error {
	if q == store.LiveQueue {
		return fault.Field("queue", "another than that of the ETL")
	}
	return p.e.write(ctx, "drop a queue of a merchant", func() error {
		var set stripeSet
		set.addName(merchant)
		unlock := p.merchants.lock(set)
		hours, err := p.dirtyOf(context.Background(), merchant, q, math.MinInt32, math.MaxInt32, nil)
		if err != nil {
			unlock()
			return err
		}
		for _, h := range hours {
			p.known.remove(xxh3.Hash128(dirtyKey(merchant, q, h)))
		}
		marks, dirty := appendUint32(appendName([]byte{tableMark}, merchant), uint32(q)), dirtyPrefix(merchant, q)
		b := p.e.db.NewBatch()
		if err := errors.Join(b.DeleteRange(marks, successor(marks), nil), b.DeleteRange(dirty, successor(dirty), nil)); err != nil {
			unlock()
			return errors.Join(err, b.Close())
		}
		return p.e.commit(b, func() { p.versions.changed(merchant); unlock() })
	})
}

// Extent implements store.Processed.
func (p *processed) Extent(ctx context.Context, merchant string, revs ...store.Revision) (first, last event.Hour, ok bool, err error) {
	err = p.e.read(ctx, "find the extent of a merchant's data", func() error {
		for _, rev := range revs {
			from, to, some, err := p.extent(ctx, merchant, rev)
			if err != nil {
				return err
			}
			if some && !ok {
				first, last, ok = from, to, true
			} else if some {
				first, last = min(first, from), max(last, to)
			}
		}
		return nil
	})
	return first, last, ok && err == nil, err
}

func (p *processed) extent(ctx context.Context, merchant string, rev store.Revision) (first, last event.Hour, ok bool, err error) {
	prefix := appendUint32(appendName([]byte{tableDoc}, merchant), uint32(rev))
	it, err := p.e.span(ctx, prefix, successor(prefix))
	if err != nil {
		return 0, 0, false, err
	}
	if it.First() {
		d := decoder{b: it.Key()[len(prefix):]}
		first = d.hour()
		if ok = it.Last(); ok {
			d = decoder{b: it.Key()[len(prefix):]}
			last = d.hour()
		}
	}
	return first, last, ok, finish(it, nil)
}

// Drop implements store.Processed.
func (p *processed) Drop(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) error {
	if from >= to {
		return nil
	}
	return p.e.write(ctx, "drop processed data of a revision", func() error {
		var set stripeSet
		set.addName(merchant)
		unlock := p.merchants.lock(set)
		b := p.e.db.NewBatch()
		var err error
		for _, table := range []byte{tableDoc, tableReject, tableRejectSum} {
			lower, upper := hourPrefix(table, merchant, uint32(rev), from), hourPrefix(table, merchant, uint32(rev), to)
			err = errors.Join(err, b.DeleteRange(lower, upper, nil))
		}
		if err != nil {
			unlock()
			return errors.Join(err, b.Close())
		}
		return p.e.commit(b, func() { p.versions.changed(merchant); unlock() })
	})
}

// Replace implements store.Processed.
func (p *processed) Replace(ctx context.Context, old []store.DocKey, merged store.Doc) error {
	if !merged.Key.IsMerged() {
		return fault.Field("merged.key.batch", "an id made by MergedBatchID")
	}
	for _, k := range old {
		k.Batch = merged.Key.Batch
		if k != merged.Key {
			return fault.Field("old", "documents of the merged one's merchant, hour and revision")
		}
	}
	return p.e.write(ctx, "replace processed documents by a merged one", func() error {
		var merchant stripeSet
		merchant.addName(merged.Key.Merchant)
		unlock := p.merchants.lock(merchant)
		b := p.e.db.NewBatchWithSize(len(merged.Data) + 512)
		if err := p.replace(b, old, merged); err != nil {
			unlock()
			return errors.Join(err, b.Close())
		}
		// A crash that takes it away has the old ones back, and whatever is
		// durable after it was written after it.
		return p.e.commitLater(b, func() { p.versions.changed(merged.Key.Merchant); unlock() })
	})
}

func (p *processed) replace(b *pebble.Batch, old []store.DocKey, merged store.Doc) error {
	prefix := hourPrefix(tableMark, merged.Key.Merchant, uint32(store.LiveQueue), merged.Key.Hour)
	marked, err := p.batchesOf(prefix)
	if err != nil {
		return err
	}
	dirty := false
	for _, k := range old {
		if _, found := slices.BinarySearchFunc(marked, k.Batch, compareBatches); found {
			dirty = true
			err = b.Delete(markKey(liveMark(k)), nil)
		}
		if err = errors.Join(err, b.Delete(docKey(k), nil)); err != nil {
			return err
		}
	}
	if dirty {
		// Where old marks were, the hour's key is.
		if err := b.Set(markKey(liveMark(merged.Key)), nil, nil); err != nil {
			return err
		}
	}
	return setDoc(b, merged)
}
