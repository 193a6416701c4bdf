package mongo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// rejectDoc is one reject. They are counted by their index: what is written
// again counts no second time.
type rejectDoc struct {
	Hash     int32       `bson:"k"` // of the merchant
	Merchant string      `bson:"m"`
	Revision int64       `bson:"r"`
	Hour     int32       `bson:"h"`
	Batch    bson.Binary `bson:"b"`
	Index    int64       `bson:"i"`
	Refused  bool        `bson:"refused"`
	Events   int64       `bson:"events"` // that it stands for; 0: one
	Reason   string      `bson:"reason"`
	Stream   string      `bson:"stream"`
	EventID  string      `bson:"event_id"`
	Received int64       `bson:"received"` // µs since the Unix epoch
	Field    string      `bson:"field"`
	Detail   string      `bson:"detail"`
	Data     []byte      `bson:"data"`
}

func rejectDocOf(r *store.Reject, rev store.Revision) rejectDoc {
	return rejectDoc{
		Hash: hashOf(r.Merchant), Merchant: text(r.Merchant), Revision: int64(rev), Hour: int32(r.Hour), Batch: idOf(r.Batch), Index: int64(r.Index),
		Refused: r.Refused, Events: r.Events,
		Reason: text(r.Reason), Stream: text(r.Stream), EventID: text(r.EventID), Received: r.ReceivedAt.UnixMicro(),
		Field: text(r.Field), Detail: text(r.Detail), Data: r.Data,
	}
}

func (d *rejectDoc) key() bson.D {
	return bson.D{{Key: "k", Value: d.Hash}, {Key: "m", Value: d.Merchant}, {Key: "r", Value: d.Revision}, {Key: "h", Value: d.Hour}, {Key: "b", Value: d.Batch}, {Key: "i", Value: d.Index}}
}

func (d *rejectDoc) reject(merchant string) store.Reject {
	return store.Reject{
		Merchant: merchant, Revision: store.Revision(d.Revision), Stream: untext(d.Stream), Batch: batchOf(d.Batch), Index: int(d.Index), EventID: untext(d.EventID),
		Hour: event.Hour(d.Hour), ReceivedAt: time.UnixMicro(d.Received).UTC(), Refused: d.Refused, Events: d.Events, Reason: untext(d.Reason),
		Field: untext(d.Field), Detail: untext(d.Detail), Data: d.Data,
	}
}

// cursorOf names a reject of a merchant: hour, batch and index in hex.
func cursorOf(r *store.Reject) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(r.Hour)^1<<31)
	b = append(b, r.Batch[:]...)
	return hex.EncodeToString(binary.BigEndian.AppendUint32(b, uint32(r.Index)))
}

func parseCursor(cursor string) (r store.Reject, err error) {
	b, err := hex.DecodeString(cursor)
	if err != nil || len(b) != 24 {
		return r, fault.Field("cursor", "what the last call returned as next")
	}
	r.Hour = event.Hour(binary.BigEndian.Uint32(b) ^ 1<<31)
	r.Batch = event.BatchID(b[4:20])
	r.Index = int(binary.BigEndian.Uint32(b[20:]))
	return r, nil
}

// removeRejects removes those that are there.
func (p *processed) removeRejects(ctx context.Context, gone []rejectDoc) error {
	models := make([]driver.WriteModel, len(gone))
	for i := range gone {
		models[i] = driver.NewDeleteOneModel().SetFilter(gone[i].key())
	}
	_, err := bulk(ctx, p.rejects, models)
	return err
}

// owned adds to a filter that a revision owns the batches; ok is false where it
// owns none.
func owned(filter bson.D, layers access.Layers, rev store.Revision) (_ bson.D, ok bool) {
	if len(layers) == 0 {
		return filter, true
	}
	var spans bson.A
	for _, s := range layers.Spans(rev) {
		ids := bson.D{}
		if s.From > 0 {
			ids = append(ids, bson.E{Key: "$gte", Value: idOf(event.FirstBatchID(s.From))})
		}
		if last := event.FirstBatchID(s.To); last.Millis() == s.To {
			ids = append(ids, bson.E{Key: "$lt", Value: idOf(last)})
		}
		if len(ids) == 0 {
			return filter, true
		}
		spans = append(spans, bson.D{{Key: "b", Value: ids}})
	}
	return append(slices.Clip(filter), bson.E{Key: "$or", Value: spans}), len(spans) > 0
}

// Rejects implements store.Processed. The revisions are asked side by side.
func (p *processed) Rejects(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour, cursor string, limit int) (rejects []store.Reject, next string, err error) {
	if from >= to || limit <= 0 {
		return nil, "", nil
	}
	var at *store.Reject // after which to begin
	if cursor != "" {
		r, err := parseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		if r.Hour >= to {
			return nil, "", nil
		}
		if r.Hour >= from {
			at = &r
		}
	}
	err = p.call(ctx, "list rejected events", func(ctx context.Context) error {
		revs := layers.Revisions()
		found := make([][]store.Reject, len(revs))
		group, ctx := errgroup.WithContext(ctx)
		for i, rev := range revs {
			group.Go(func() (err error) {
				// One more than asked for tells whether there are more.
				found[i], err = p.rejectsOf(ctx, merchant, rev, layers, from, to, at, limit+1)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		rejects = slices.Concat(found...)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(layers) > 0 {
		slices.SortFunc(rejects, func(a, b store.Reject) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Index, b.Index))
		})
	}
	if len(rejects) > limit {
		rejects = rejects[:limit]
		next = cursorOf(&rejects[limit-1])
	}
	return rejects, next, nil
}

// rejectsOf lists a revision's rejects of the batches that it owns, after one.
func (p *processed) rejectsOf(ctx context.Context, merchant string, rev store.Revision, layers access.Layers, from, to event.Hour, at *store.Reject, limit int) (rejects []store.Reject, err error) {
	own := ofMerchant(merchant, rev)
	// Each range is a range of the index; what follows a reject takes three.
	ranges := []bson.D{ofHours(merchant, rev, from, to)}
	if at != nil {
		same := append(own[:3:3], bson.E{Key: "h", Value: int32(at.Hour)})
		greater := func(v any) bson.D { return bson.D{{Key: "$gt", Value: v}} }
		ranges = []bson.D{
			append(same[:4:4], bson.E{Key: "b", Value: idOf(at.Batch)}, bson.E{Key: "i", Value: greater(int64(at.Index))}),
			append(same[:4:4], bson.E{Key: "b", Value: greater(idOf(at.Batch))}),
			ofHours(merchant, rev, at.Hour+1, to),
		}
	}
	for _, r := range ranges {
		r, ok := owned(r, layers, rev)
		left := limit - len(rejects)
		if !ok || left <= 0 {
			break
		}
		found, err := p.rejects.Find(ctx, r, options.Find().SetSort(ascending("h", "b", "i")).SetLimit(int64(left)))
		if err := each(ctx, found, err, func(d *rejectDoc) error {
			rejects = append(rejects, d.reject(merchant))
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return rejects, nil
}

// RejectCounts implements store.Processed: the index has all that is counted.
// The revisions are asked side by side.
func (p *processed) RejectCounts(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour) (counts []store.RejectCount, err error) {
	if from >= to {
		return nil, nil
	}
	err = p.call(ctx, "count rejected events", func(ctx context.Context) error {
		revs := layers.Revisions()
		found := make([][]store.RejectCount, len(revs))
		group, ctx := errgroup.WithContext(ctx)
		for i, rev := range revs {
			group.Go(func() (err error) {
				found[i], err = p.rejectCountsOf(ctx, merchant, rev, layers, from, to)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		counts = slices.Concat(found...)
		return nil
	})
	sortCounts(counts)
	return addedUp(counts), err
}

func (p *processed) rejectCountsOf(ctx context.Context, merchant string, rev store.Revision, layers access.Layers, from, to event.Hour) (counts []store.RejectCount, err error) {
	filter, ok := owned(ofHours(merchant, rev, from, to), layers, rev)
	if !ok {
		return nil, nil
	}
	type group struct {
		ID struct {
			Hour    int32  `bson:"h"`
			Refused bool   `bson:"refused"`
			Reason  string `bson:"reason"`
		} `bson:"_id"`
		Events int64 `bson:"n"`
	}
	cursor, err := p.rejects.Aggregate(ctx, driver.Pipeline{
		{{Key: "$match", Value: filter}},
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{{Key: "h", Value: "$h"}, {Key: "refused", Value: "$refused"}, {Key: "reason", Value: "$reason"}}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: bson.D{{Key: "$max", Value: bson.A{"$events", int64(1)}}}}}},
		}}},
	}, options.Aggregate().SetHint("counts"))
	return counts, each(ctx, cursor, err, func(g *group) error {
		counts = append(counts, store.RejectCount{Hour: event.Hour(g.ID.Hour), Refused: g.ID.Refused, Reason: untext(g.ID.Reason), Events: g.Events})
		return nil
	})
}

// addedUp makes one of counts of the same hour and reason, which follow one
// another.
func addedUp(counts []store.RejectCount) []store.RejectCount {
	kept := counts[:0]
	for _, c := range counts {
		if n := len(kept) - 1; n >= 0 && kept[n].Hour == c.Hour && kept[n].Refused == c.Refused && kept[n].Reason == c.Reason {
			kept[n].Events += c.Events
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

func sortCounts(counts []store.RejectCount) {
	slices.SortFunc(counts, func(a, b store.RejectCount) int {
		order := cmp.Compare(a.Hour, b.Hour)
		if order == 0 && a.Refused != b.Refused {
			if a.Refused {
				return 1
			}
			return -1
		}
		return cmp.Or(order, cmp.Compare(a.Reason, b.Reason))
	})
}
