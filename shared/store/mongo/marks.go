package mongo

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// markDoc is a mark: a document of the collection of marks, or the part of a
// marked document that says so, whose queue is LiveQueue.
type markDoc struct {
	Hash     int32       `bson:"k"` // of the merchant
	Merchant string      `bson:"m"`
	Queue    int64       `bson:"q"`
	Hour     int32       `bson:"h"`
	Batch    bson.Binary `bson:"b"`
}

func markDocOf(m *store.Mark) markDoc {
	return markDoc{Hash: hashOf(m.Merchant), Merchant: text(m.Merchant), Queue: int64(m.Queue), Hour: int32(m.Hour), Batch: idOf(m.Batch)}
}

// place is where marks stand.
type place struct{ apart bool }

var (
	inDocs  = place{}            // fields of documents, all of LiveQueue
	inMarks = place{apart: true} // the collection of marks, of any queue
)

// order is that of the place's index, but for the field that it is partial by.
func (at place) order() []string {
	if at.apart {
		return []string{"k", "m", "q", "h", "b"}
	}
	return []string{"k", "m", "h", "b"}
}

// marked finds marks in the order of their index.
func (p *processed) marked(ctx context.Context, at place, filter bson.D, limit int64, fields ...string) (found []markDoc, err error) {
	c := p.marks
	if !at.apart {
		c = p.docs
		filter = append(bson.D{{Key: "dirty", Value: true}}, filter...)
	}
	o := options.Find().SetSort(ascending(at.order()...)).SetProjection(only(fields...))
	if limit > 0 {
		o.SetLimit(limit).SetBatchSize(int32(limit) + 1) // all in one answer: no cursor is left
	}
	cursor, err := c.Find(ctx, filter, o)
	return found, each(ctx, cursor, err, func(d *markDoc) error {
		found = append(found, *d)
		return nil
	})
}

// ofRange finds what stands in a merchant's hours.
func ofRange(merchant string, from, to event.Hour) bson.D {
	return bson.D{{Key: "k", Value: hashOf(merchant)}, {Key: "m", Value: text(merchant)}, {Key: "h", Value: within(int32(from), int32(to))}}
}

// ofQueues finds marks of a merchant's hours in some queues.
func ofQueues(merchant string, queues []store.Queue, from, to event.Hour) bson.D {
	q := bson.E{Key: "q", Value: int64(0)}
	if len(queues) == 1 {
		q.Value = int64(queues[0])
	} else {
		numbers := make([]int64, len(queues))
		for i := range queues {
			numbers[i] = int64(queues[i])
		}
		q.Value = in(numbers)
	}
	return append(ofQueue(merchant, 0)[:2:2], q, bson.E{Key: "h", Value: within(int32(from), int32(to))})
}

func ofQueue(merchant string, q store.Queue) bson.D {
	return bson.D{{Key: "k", Value: hashOf(merchant)}, {Key: "m", Value: text(merchant)}, {Key: "q", Value: int64(q)}}
}

// marksPage is how many marks are read at once to see of which hours they are.
// A page that ends within a busy hour is followed by one that begins after it.
const marksPage = 1000

// Dirty implements store.Processed. Cost: a page of the index of marks for each
// 1,000 dirty hours or each hour with many marks, and one step of it for each
// merchant or queue of which no dirty hour is due. Marks in LiveQueue that are
// no fields of documents are listed with the other queues.
func (p *processed) Dirty(ctx context.Context, others bool, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	if shard.Count < 1 || shard.Index < 0 || shard.Index >= shard.Count {
		return nil, fault.Field("shard", "an index from 0 to below count")
	}
	if limit <= 0 {
		return nil, nil
	}
	where := place{apart: others}
	due := event.HourOf(endBy) // its end is after endBy, that of the one before is not
	low, high := int32(shard.Index*hashes/shard.Count), int32((shard.Index+1)*hashes/shard.Count)
	err = p.call(ctx, "list dirty hours", func(ctx context.Context) error {
		hours = nil
		at, begun := after, after != store.DirtyHour{}
		for {
			ranges := []bson.D{{{Key: "k", Value: within(low, high)}, {Key: "h", Value: bson.D{{Key: "$lt", Value: int32(due)}}}}}
			if begun {
				ranges = where.afterHour(at, max(low, hashOf(at.Merchant)), high, due)
			}
			more := false
			for _, r := range ranges {
				page := min(marksPage, int64(limit-len(hours))*4)
				found, err := p.marked(ctx, where, r, page, where.order()[1:len(where.order())-1]...)
				if err != nil {
					return err
				}
				for _, d := range found {
					h := store.DirtyHour{Merchant: untext(d.Merchant), Queue: store.Queue(d.Queue), Hour: event.Hour(d.Hour)}
					if begun && h == at {
						continue
					}
					at, begun = h, true
					if hours = append(hours, h); len(hours) == limit {
						return nil
					}
				}
				if more = int64(len(found)) == page; more {
					break
				}
			}
			if !more {
				return nil
			}
		}
	})
	return hours, err
}

// afterHour are the ranges of the index that follow a dirty hour: the queue's
// later hours, the merchant's later queues, the later merchants of its hash, the
// later hashes.
func (at place) afterHour(last store.DirtyHour, low, high int32, due event.Hour) (ranges []bson.D) {
	until := bson.E{Key: "h", Value: bson.D{{Key: "$lt", Value: int32(due)}}}
	of := ofQueue(last.Merchant, last.Queue)
	if of[0].Value == low { // else the shard begins after the merchant
		same := of[:2:2]
		later := bson.E{Key: "h", Value: bson.D{{Key: "$gt", Value: int32(last.Hour)}, {Key: "$lt", Value: int32(due)}}}
		if at.apart {
			ranges = append(ranges,
				append(of[:3:3], later),
				append(same, bson.E{Key: "q", Value: bson.D{{Key: "$gt", Value: int64(last.Queue)}}}, until))
		} else {
			ranges = append(ranges, append(same, later))
		}
		ranges = append(ranges, bson.D{of[0], {Key: "m", Value: bson.D{{Key: "$gt", Value: of[1].Value}}}, until})
		low++
	}
	return append(ranges, bson.D{{Key: "k", Value: within(low, high)}, until})
}

// DirtyOf implements store.Processed: documents and marks are asked side by side.
func (p *processed) DirtyOf(ctx context.Context, merchant string, queues []store.Queue, from, to event.Hour) (hours []event.Hour, err error) {
	if from >= to || len(queues) == 0 {
		return nil, nil
	}
	queues = slices.Compact(slices.Sorted(slices.Values(queues)))
	err = p.call(ctx, "list a merchant's dirty hours", func(ctx context.Context) error {
		var put, marked []event.Hour
		both, ctx := errgroup.WithContext(ctx)
		if queues[0] == store.LiveQueue {
			both.Go(func() (err error) {
				put, err = p.hoursIn(ctx, inDocs, ofQueue(merchant, 0)[:2], from, to)
				return err
			})
		}
		both.Go(func() (err error) {
			marked, err = p.hoursOf(ctx, merchant, queues, from, to)
			return err
		})
		if err := both.Wait(); err != nil {
			return err
		}
		hours = put
		if len(marked) > 0 {
			hours = append(hours, marked...)
			slices.Sort(hours)
			hours = slices.Compact(hours)
		}
		return nil
	})
	return hours, err
}

// hoursIn lists the hours that have marks in one place.
func (p *processed) hoursIn(ctx context.Context, at place, of bson.D, from, to event.Hour) (hours []event.Hour, err error) {
	for next := from; next < to; {
		filter := append(slices.Clip(of), bson.E{Key: "h", Value: within(int32(next), int32(to))})
		found, err := p.marked(ctx, at, filter, marksPage, "h")
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if h := event.Hour(d.Hour); len(hours) == 0 || hours[len(hours)-1] != h {
				hours = append(hours, h)
			}
		}
		if len(found) < marksPage {
			break
		}
		next = hours[len(hours)-1] + 1
	}
	return hours, nil
}

// hoursOf lists the hours that have marks of some queues in the collection of
// marks: by one query, or by queue where there are many marks.
func (p *processed) hoursOf(ctx context.Context, merchant string, queues []store.Queue, from, to event.Hour) (hours []event.Hour, err error) {
	found, err := p.marked(ctx, inMarks, ofQueues(merchant, queues, from, to), marksPage, "h")
	if err != nil {
		return nil, err
	}
	if len(found) < marksPage {
		for _, d := range found {
			hours = append(hours, event.Hour(d.Hour))
		}
		return hours, nil
	}
	for _, q := range queues {
		of, err := p.hoursIn(ctx, inMarks, ofQueue(merchant, q), from, to)
		if err != nil {
			return nil, err
		}
		hours = append(hours, of...)
	}
	return hours, nil
}

// Marks implements store.Processed: documents and marks are asked side by side.
func (p *processed) Marks(ctx context.Context, merchant string, queues []store.Queue, from, to event.Hour) (marks []store.Mark, err error) {
	if from >= to || len(queues) == 0 {
		return nil, nil
	}
	err = p.call(ctx, "list the marks of a merchant's hours", func(ctx context.Context) error {
		var put, marked []markDoc
		both, ctx := errgroup.WithContext(ctx)
		if slices.Contains(queues, store.LiveQueue) {
			both.Go(func() (err error) {
				put, err = p.marked(ctx, inDocs, ofRange(merchant, from, to), 0, "h", "b")
				return err
			})
		}
		both.Go(func() (err error) {
			marked, err = p.marked(ctx, inMarks, ofQueues(merchant, queues, from, to), 0, "q", "h", "b")
			return err
		})
		if err := both.Wait(); err != nil {
			return err
		}
		marks = make([]store.Mark, 0, len(put)+len(marked))
		for _, d := range append(put, marked...) {
			marks = append(marks, store.Mark{Merchant: merchant, Queue: store.Queue(d.Queue), Hour: event.Hour(d.Hour), Batch: batchOf(d.Batch)})
		}
		if len(marked) > 0 { // else they are in order
			slices.SortFunc(marks, func(a, b store.Mark) int {
				return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Queue, b.Queue), bytes.Compare(a.Batch[:], b.Batch[:]))
			})
			marks = slices.Compact(marks)
		}
		return nil
	})
	return marks, err
}

// Mark implements store.Processed.
func (p *processed) Mark(ctx context.Context, marks []store.Mark) error {
	docs, touched := make([]markDoc, len(marks)), make([]string, len(marks))
	for i := range marks {
		docs[i], touched[i] = markDocOf(&marks[i]), marks[i].Merchant
	}
	return p.call(ctx, "mark hours dirty", func(ctx context.Context) error {
		if _, err := insertNew(ctx, p.marks, docs); err != nil {
			return err
		}
		return p.changed(ctx, touched)
	})
}

// MarkDirty implements store.Processed. In LiveQueue documents of the ETL are
// marked by their field; for all else their keys are read, and marks written
// for a page of them at a time.
func (p *processed) MarkDirty(ctx context.Context, merchant string, q store.Queue, revs []store.Revision, from, to event.Hour) error {
	if from >= to || len(revs) == 0 {
		return nil
	}
	return p.call(ctx, "mark a merchant's hours dirty", func(ctx context.Context) error {
		for _, rev := range revs {
			if err := p.markRevision(ctx, merchant, q, rev, from, to); err != nil {
				return err
			}
		}
		return p.changed(ctx, []string{merchant})
	})
}

func (p *processed) markRevision(ctx context.Context, merchant string, q store.Queue, rev store.Revision, from, to event.Hour) error {
	if q == store.LiveQueue && rev == store.LiveRevision {
		_, err := p.docs.UpdateMany(ctx, ofHours(merchant, rev, from, to), markDirty)
		return err
	}
	// A merged document sorts after those that it takes the place of: what is
	// merged while they are listed is met as the one or the other.
	o := options.Find().SetSort(ascending("h", "b")).SetProjection(only("h", "b")).SetBatchSize(marksPage)
	cursor, err := p.docs.Find(ctx, ofHours(merchant, rev, from, to), o)
	page := make([]markDoc, 0, marksPage)
	flush := func() error {
		_, err := insertNew(ctx, p.marks, page)
		page = page[:0]
		return err
	}
	err = each(ctx, cursor, err, func(d *markDoc) error {
		d.Hash, d.Merchant, d.Queue = hashOf(merchant), text(merchant), int64(q)
		if page = append(page, *d); len(page) < marksPage {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// Clean implements store.Processed. All hours take one write, or few, of the
// documents and of the marks side by side.
func (p *processed) Clean(ctx context.Context, marks []store.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	unmark := bson.D{{Key: "$unset", Value: bson.D{{Key: "dirty", Value: ""}}}}
	hours := map[store.Mark][]event.BatchID{} // by the rest of their marks
	for _, m := range marks {
		id := m.Batch
		m.Batch = event.BatchID{}
		hours[m] = append(hours[m], id)
	}
	var fields, apart []driver.WriteModel
	var touched []string
	for m, ids := range hours {
		touched = append(touched, m.Merchant)
		for part := range slices.Chunk(ids, inChunk) {
			if m.Queue == store.LiveQueue {
				of := store.DocKey{Merchant: m.Merchant, Revision: store.LiveRevision, Hour: m.Hour}
				fields = append(fields, driver.NewUpdateManyModel().SetFilter(ofBatches(of, part)).SetUpdate(unmark))
			}
			filter := append(ofQueue(m.Merchant, m.Queue), bson.E{Key: "h", Value: int32(m.Hour)}, bson.E{Key: "b", Value: in(idsOf(part))})
			apart = append(apart, driver.NewDeleteManyModel().SetFilter(filter))
		}
	}
	return p.call(ctx, "take dirty marks off", func(ctx context.Context) error {
		both, bctx := errgroup.WithContext(ctx)
		both.Go(func() error { _, err := bulk(bctx, p.docs, fields); return err })
		both.Go(func() error { _, err := bulk(bctx, p.marks, apart); return err })
		if err := both.Wait(); err != nil {
			return err
		}
		return p.changed(ctx, touched)
	})
}

// DropQueue implements store.Processed.
func (p *processed) DropQueue(ctx context.Context, merchant string, q store.Queue) error {
	if q == store.LiveQueue {
		return fault.Field("queue", "another than that of the ETL")
	}
	const what = "drop a queue of a merchant"
	if err := p.dropHours(ctx, what, p.marks, ofQueue(merchant, q), math.MinInt32, math.MaxInt32); err != nil {
		return err
	}
	return p.call(ctx, what, func(ctx context.Context) error { return p.changed(ctx, []string{merchant}) })
}
