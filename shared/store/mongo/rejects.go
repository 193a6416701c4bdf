package mongo

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// rejectDoc is one reject. They are counted by their index: what is written
// again counts no second time.
type rejectDoc struct {
	Hash     int32       `bson:"k"` // of the merchant
	Merchant string      `bson:"m"`
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

func rejectDocOf(r *store.Reject) rejectDoc {
	return rejectDoc{
		Hash: hashOf(r.Merchant), Merchant: text(r.Merchant), Hour: int32(r.Hour), Batch: idOf(r.Batch), Index: int64(r.Index), Refused: r.Refused, Events: r.Events,
		Reason: text(r.Reason), Stream: text(r.Stream), EventID: text(r.EventID), Received: r.ReceivedAt.UnixMicro(),
		Field: text(r.Field), Detail: text(r.Detail), Data: r.Data,
	}
}

func (d *rejectDoc) key() bson.D {
	return bson.D{{Key: "k", Value: d.Hash}, {Key: "m", Value: d.Merchant}, {Key: "h", Value: d.Hour}, {Key: "b", Value: d.Batch}, {Key: "i", Value: d.Index}}
}

func (d *rejectDoc) reject(merchant string) store.Reject {
	return store.Reject{
		Merchant: merchant, Stream: untext(d.Stream), Batch: batchOf(d.Batch), Index: int(d.Index), EventID: untext(d.EventID),
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

// Rejects implements store.Processed.
func (p *processed) Rejects(ctx context.Context, merchant string, from, to event.Hour, cursor string, limit int) (rejects []store.Reject, next string, err error) {
	if from >= to || limit <= 0 {
		return nil, "", nil
	}
	own := bson.D{{Key: "k", Value: hashOf(merchant)}, {Key: "m", Value: text(merchant)}}
	// Each range is a range of the index; what follows a reject takes three.
	hours := func(from event.Hour) bson.D {
		return append(own[:2:2], bson.E{Key: "h", Value: within(int32(from), int32(to))})
	}
	ranges := []bson.D{hours(from)}
	if cursor != "" {
		at, err := parseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		if at.Hour >= to {
			return nil, "", nil
		}
		if at.Hour >= from {
			same := append(own[:2:2], bson.E{Key: "h", Value: int32(at.Hour)})
			greater := func(v any) bson.D { return bson.D{{Key: "$gt", Value: v}} }
			ranges = []bson.D{
				append(same[:3:3], bson.E{Key: "b", Value: idOf(at.Batch)}, bson.E{Key: "i", Value: greater(int64(at.Index))}),
				append(same[:3:3], bson.E{Key: "b", Value: greater(idOf(at.Batch))}),
				hours(at.Hour + 1),
			}
		}
	}
	err = p.call(ctx, "list rejected events", func(ctx context.Context) error {
		rejects = nil
		for _, r := range ranges {
			// One more than asked for tells whether there are more.
			left := limit + 1 - len(rejects)
			if left <= 0 {
				break
			}
			found, err := p.rejects.Find(ctx, r, options.Find().SetSort(ascending("h", "b", "i")).SetLimit(int64(left)))
			if err := each(ctx, found, err, func(d *rejectDoc) error {
				rejects = append(rejects, d.reject(merchant))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(rejects) > limit {
		rejects = rejects[:limit]
		next = cursorOf(&rejects[limit-1])
	}
	return rejects, next, nil
}

// RejectCounts implements store.Processed: the index has all that is counted.
func (p *processed) RejectCounts(ctx context.Context, merchant string, from, to event.Hour) (counts []store.RejectCount, err error) {
	if from >= to {
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
	err = p.call(ctx, "count rejected events", func(ctx context.Context) error {
		counts = nil
		cursor, err := p.rejects.Aggregate(ctx, driver.Pipeline{
			{{Key: "$match", Value: bson.D{
				{Key: "k", Value: hashOf(merchant)}, {Key: "m", Value: text(merchant)}, {Key: "h", Value: within(int32(from), int32(to))},
			}}},
			{{Key: "$group", Value: bson.D{
				{Key: "_id", Value: bson.D{{Key: "h", Value: "$h"}, {Key: "refused", Value: "$refused"}, {Key: "reason", Value: "$reason"}}},
				{Key: "n", Value: bson.D{{Key: "$sum", Value: bson.D{{Key: "$max", Value: bson.A{"$events", int64(1)}}}}}},
			}}},
		}, options.Aggregate().SetHint("counts"))
		return each(ctx, cursor, err, func(g *group) error {
			counts = append(counts, store.RejectCount{Hour: event.Hour(g.ID.Hour), Refused: g.ID.Refused, Reason: untext(g.ID.Reason), Events: g.Events})
			return nil
		})
	})
	sortCounts(counts)
	return counts, err
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
