package embedded

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// chunk bounds the documents of one write of MarkDirty.
const chunk = 10_000

// manyMarks is the number of marks from which one range delete is cheaper
// than that many deletes.
const manyMarks = 64

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
