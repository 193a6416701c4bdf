package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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

// bodyKey is where a large merged document stands: who looks for others steps over
// its key, and not over its bytes.
func bodyKey(k store.DocKey) []byte {
	return append(hourPrefix(tableBody, k.Merchant, uint32(k.Revision), k.Hour), k.Batch[:]...)
}

// bodyFrom is from how many bytes on a merged document is large.
const bodyFrom = 1 << 10

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
	key, inline := docKey(d.Key), d.Data
	if d.Key.IsMerged() && len(d.Data) >= bodyFrom {
		if err := b.Set(bodyKey(d.Key), d.Data, nil); err != nil {
			return err
		}
		inline = nil
	}
	op := b.SetDeferred(len(key), uvarintLen(uint64(d.Events))+len(inline))
	copy(op.Key, key)
	copy(op.Value[binary.PutUvarint(op.Value, uint64(d.Events)):], inline)
	return op.Finish()
}

func deleteDoc(b *pebble.Batch, k store.DocKey) error {
	err := b.Delete(docKey(k), nil)
	if k.IsMerged() {
		err = errors.Join(err, b.Delete(bodyKey(k), nil))
	}
	return err
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
	return p.Pick(ctx, merchant, rev, from, to, func(store.DocKey, int) bool { return true }, fn)
}

// Pick implements store.Processed. One that is not wanted costs what it takes to step
// over it: of a large one that is little.
func (p *processed) Pick(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour,
	want func(store.DocKey, int) bool, fn func(store.Doc) error,
) error {
	var fromCaller error
	err := p.e.read(ctx, "scan processed data", func() (err error) {
		var large bodies
		defer func() { err = large.close(err) }()
		return p.eachDoc(ctx, merchant, rev, from, to, func(k store.DocKey, it *pebble.Iterator) error {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			d := decoder{b: v}
			doc := store.Doc{Key: k, Events: int(d.uvarint()), Data: d.b}
			if d.err != nil || !want(k, doc.Events) {
				return d.err
			}
			if len(doc.Data) == 0 {
				if doc.Data, err = large.of(ctx, it); err != nil {
					return err
				}
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

// bodies reads large documents, as they are where others read their keys.
type bodies struct {
	it  *pebble.Iterator
	key []byte
}

// of is the document whose key an iterator stands on. It is valid until the next one
// is read.
func (b *bodies) of(ctx context.Context, doc *pebble.Iterator) (data []byte, err error) {
	if b.it == nil {
		bounds := &pebble.IterOptions{LowerBound: []byte{tableBody}, UpperBound: []byte{tableBody + 1}}
		if b.it, err = doc.CloneWithContext(ctx, pebble.CloneOptions{IterOptions: bounds}); err != nil {
			return nil, err
		}
	}
	b.key = append(append(b.key[:0], tableBody), doc.Key()[1:]...)
	if !b.it.SeekGE(b.key) || !bytes.Equal(b.it.Key(), b.key) {
		return nil, b.it.Error() // it is empty, if it is no error
	}
	return b.it.ValueAndErr()
}

func (b *bodies) close(err error) error {
	if b.it == nil {
		return err
	}
	return finish(b.it, err)
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
		for _, table := range []byte{tableDoc, tableBody, tableReject, tableRejectSum} {
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
		if err = errors.Join(err, deleteDoc(b, k)); err != nil {
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
