package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// processed keeps documents, a mark for each dirty one, and a key for each
// hour that has marks: lists of dirty hours cost what they return, however
// many batches an hour has.
//
// The hour's key is there as long as there are marks. Writers of marks share
// the merchant's stripe; who takes marks off has it alone.
type processed struct {
	e         *engine
	merchants stripes
	batches   stripes // rejects of a batch are counted by one at a time
	known     knownHours
	versions  versions
}

// chunk bounds the documents of one write of MarkDirty.
const chunk = 10_000

// manyMarks is the number of marks from which one range delete is cheaper
// than that many deletes.
const manyMarks = 64

// merchantHash is the part of all merchants that a shard is made of.
func merchantHash(merchant string) uint16 { return uint16(xxh3.HashString(merchant) >> 48) }

func hourPrefix(table byte, merchant string, rev store.Revision, h event.Hour) []byte {
	b := make([]byte, 0, 64+len(merchant))
	b = appendName(append(b, table), merchant)
	return appendHour(appendUint32(b, uint32(rev)), h)
}

func docKey(table byte, k store.DocKey) []byte {
	return append(hourPrefix(table, k.Merchant, k.Revision, k.Hour), k.Batch[:]...)
}

func dirtyPrefix(merchant string, rev store.Revision) []byte {
	b := make([]byte, 0, 64+len(merchant))
	b = appendUint16(appendUint32(append(b, tableDirty), uint32(rev)), merchantHash(merchant))
	return appendName(b, merchant)
}

func dirtyKey(merchant string, rev store.Revision, h event.Hour) []byte {
	return appendHour(dirtyPrefix(merchant, rev), h)
}

// setMark marks a document dirty, and its hour where it is not known to be.
// The caller has the merchant's stripe until b is applied, and then lets fresh
// be known.
func (p *processed) setMark(b *pebble.Batch, k store.DocKey, fresh []xxh3.Uint128) ([]xxh3.Uint128, error) {
	if err := b.Set(docKey(tableMark, k), nil, nil); err != nil {
		return fresh, err
	}
	hour := dirtyKey(k.Merchant, k.Revision, k.Hour)
	hash := xxh3.Hash128(hour)
	if p.known.has(hash) {
		return fresh, nil
	}
	return append(fresh, hash), b.Set(hour, nil, nil)
}

func setDoc(b *pebble.Batch, d store.Doc) error {
	key := docKey(tableDoc, d.Key)
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
	for i := range put.Docs {
		if put.Docs[i].Key.Batch != put.Batch {
			return fault.Field("docs.key.batch", "the batch of the put, "+put.Batch.String())
		}
	}
	for i := range put.Rejects {
		if put.Rejects[i].Batch != put.Batch {
			return fault.Field("rejects.batch", "the batch of the put, "+put.Batch.String())
		}
	}
	if len(put.Docs) == 0 && len(put.Rejects) == 0 {
		return nil
	}
	return p.e.write(ctx, "put the processed data of batch "+put.Batch.String(), func() error { return p.put(&put) })
}

func (p *processed) put(put *store.Put) error {
	size := 0
	var merchants stripeSet
	for i := range put.Docs {
		merchants.addName(put.Docs[i].Key.Merchant)
		size += len(put.Docs[i].Data) + 192 + 3*len(put.Docs[i].Key.Merchant)
	}
	b := p.e.db.NewBatchWithSize(size)
	unlock := func() {}
	var err error
	if len(put.Rejects) > 0 {
		var batch stripeSet
		batch.add(put.Batch[:])
		unlock = p.batches.lock(batch)
		err = p.putRejects(b, put.Rejects)
	}
	unshare := p.merchants.share(merchants)
	var fresh []xxh3.Uint128
	for i := range put.Docs {
		if err == nil {
			err = setDoc(b, put.Docs[i])
		}
		if err == nil {
			fresh, err = p.setMark(b, put.Docs[i].Key, fresh)
		}
	}
	if err != nil {
		unshare()
		unlock()
		return errors.Join(err, b.Close())
	}
	return p.e.commit(b, func() {
		p.known.add(fresh)
		for i := range put.Docs {
			p.versions.changed(put.Docs[i].Key.Merchant, put.Docs[i].Key.Revision)
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
	lower := hourPrefix(tableDoc, merchant, rev, from)
	it, err := p.e.span(ctx, lower, hourPrefix(tableDoc, merchant, rev, to))
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
func (p *processed) Dirty(ctx context.Context, rev store.Revision, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	if shard.Count < 1 || shard.Index < 0 || shard.Index >= shard.Count {
		return nil, fault.Field("shard", "an index from 0 to below count")
	}
	err = p.e.read(ctx, "list dirty hours", func() error {
		hours, err = p.dirty(ctx, rev, shard, endBy, after, limit)
		return err
	})
	return hours, err
}

func (p *processed) dirty(ctx context.Context, rev store.Revision, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	table := appendUint32([]byte{tableDirty}, uint32(rev))
	// A shard is a range of hashes, so it reads no other shard's keys.
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
	if after.Merchant == "" {
		ok = it.First()
	} else {
		ok = it.SeekGE(successor(dirtyKey(after.Merchant, rev, after.Hour)))
	}
	for ok && len(hours) < limit {
		if err := ctx.Err(); err != nil {
			return nil, finish(it, err)
		}
		key := it.Key()
		d := decoder{b: key[len(table)+2:]}
		name, hour := d.bytes(), d.hour()
		if d.err != nil {
			return nil, finish(it, d.err)
		}
		if hour.End().After(endBy) {
			// Its later hours are not due either: on to the next merchant.
			ok = it.SeekGE(successor(key[:len(key)-4]))
			continue
		}
		hours = append(hours, store.DirtyHour{Merchant: string(name), Hour: hour})
		ok = it.NextPrefix()
	}
	return hours, finish(it, nil)
}

// DirtyOf implements store.Processed.
func (p *processed) DirtyOf(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) (hours []event.Hour, err error) {
	if from >= to {
		return nil, nil
	}
	err = p.e.read(ctx, "list a merchant's dirty hours", func() error {
		lower := dirtyKey(merchant, rev, from)
		it, err := p.e.span(ctx, lower, dirtyKey(merchant, rev, to))
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.NextPrefix() {
			d := decoder{b: it.Key()[len(lower)-4:]}
			hours = append(hours, d.hour())
		}
		return finish(it, nil)
	})
	return hours, err
}

// Marks implements store.Processed.
func (p *processed) Marks(ctx context.Context, merchant string, rev store.Revision, hour event.Hour) (marks []store.DocKey, err error) {
	err = p.e.read(ctx, "list the dirty documents of an hour", func() error {
		marks, err = p.marks(ctx, store.DocKey{Merchant: merchant, Revision: rev, Hour: hour})
		return err
	})
	return marks, err
}

func (p *processed) marks(ctx context.Context, of store.DocKey) (marks []store.DocKey, err error) {
	prefix := hourPrefix(tableMark, of.Merchant, of.Revision, of.Hour)
	it, err := p.e.span(ctx, prefix, successor(prefix))
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		d := decoder{b: it.Key()[len(prefix):]}
		of.Batch = d.batch()
		marks = append(marks, of)
	}
	return marks, finish(it, nil)
}

// Clean implements store.Processed.
func (p *processed) Clean(ctx context.Context, marks []store.DocKey) error {
	if len(marks) == 0 {
		return nil
	}
	groups := make(map[store.DocKey]map[event.BatchID]struct{})
	for _, k := range marks {
		id := k.Batch
		k.Batch = event.BatchID{}
		if groups[k] == nil {
			groups[k] = make(map[event.BatchID]struct{})
		}
		groups[k][id] = struct{}{}
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

func (p *processed) cleanHour(hour store.DocKey, ids map[event.BatchID]struct{}) error {
	var merchant stripeSet
	merchant.addName(hour.Merchant)
	unlock := p.merchants.lock(merchant)
	marks, err := p.marks(context.Background(), hour)
	if err != nil || len(marks) == 0 {
		unlock()
		return err
	}
	stay := slices.ContainsFunc(marks, func(k store.DocKey) bool { _, clean := ids[k.Batch]; return !clean })
	b := p.e.db.NewBatch()
	if !stay {
		key := dirtyKey(hour.Merchant, hour.Revision, hour.Hour)
		p.known.remove(xxh3.Hash128(key))
		err = b.Delete(key, nil)
	}
	if !stay && len(marks) >= manyMarks {
		prefix := hourPrefix(tableMark, hour.Merchant, hour.Revision, hour.Hour)
		err = errors.Join(err, b.DeleteRange(prefix, successor(prefix), nil))
	} else {
		for _, k := range marks {
			if _, clean := ids[k.Batch]; clean {
				err = errors.Join(err, b.Delete(docKey(tableMark, k), nil))
			}
		}
	}
	if err != nil {
		unlock()
		return errors.Join(err, b.Close())
	}
	return p.e.commitLater(b, func() { p.versions.changed(hour.Merchant, hour.Revision); unlock() })
}

// MarkDirty implements store.Processed.
func (p *processed) MarkDirty(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) error {
	return p.e.write(ctx, "mark a merchant's hours dirty", func() error {
		var set stripeSet
		set.addName(merchant)
		var keys []store.DocKey
		flush := func() error {
			unshare := p.merchants.share(set)
			b := p.e.db.NewBatch()
			var fresh []xxh3.Uint128
			for _, k := range keys {
				var err error
				if fresh, err = p.setMark(b, k, fresh); err != nil {
					unshare()
					return errors.Join(err, b.Close())
				}
			}
			keys = keys[:0]
			return p.e.commitLater(b, func() { p.known.add(fresh); p.versions.changed(merchant, rev); unshare() })
		}
		err := p.eachDoc(ctx, merchant, rev, from, to, func(k store.DocKey, _ *pebble.Iterator) error {
			if keys = append(keys, k); len(keys) == chunk {
				return flush()
			}
			return nil
		})
		if err == nil {
			err = flush()
		}
		return errors.Join(err, p.e.settle())
	})
}

// Extent implements store.Processed.
func (p *processed) Extent(ctx context.Context, merchant string, rev store.Revision) (first, last event.Hour, ok bool, err error) {
	err = p.e.read(ctx, "find the extent of a merchant's data", func() error {
		prefix := appendUint32(appendName([]byte{tableDoc}, merchant), uint32(rev))
		it, err := p.e.span(ctx, prefix, successor(prefix))
		if err != nil {
			return err
		}
		if it.First() {
			d := decoder{b: it.Key()[len(prefix):]}
			first = d.hour()
			if ok = it.Last(); ok {
				d = decoder{b: it.Key()[len(prefix):]}
				last = d.hour()
			}
		}
		return finish(it, nil)
	})
	return first, last, ok && err == nil, err
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
		return p.e.commit(b, func() { p.versions.changed(merged.Key.Merchant, merged.Key.Revision); unlock() })
	})
}

func (p *processed) replace(b *pebble.Batch, old []store.DocKey, merged store.Doc) error {
	dirty := false
	for _, k := range old {
		mark := docKey(tableMark, k)
		marked, err := p.e.exists(mark)
		if err == nil && marked {
			dirty = true
			err = b.Delete(mark, nil)
		}
		if err = errors.Join(err, b.Delete(docKey(tableDoc, k), nil)); err != nil {
			return err
		}
	}
	if dirty {
		// Where old marks were, the hour's key is.
		if err := b.Set(docKey(tableMark, merged.Key), nil, nil); err != nil {
			return err
		}
	}
	return setDoc(b, merged)
}
