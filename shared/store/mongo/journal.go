package mongo

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// journal keeps a row per batch and its payload apart from it, so that lists
// and counts of rows read no payload. No two documents are written in one
// step, so the order of writes is what keeps them right:
//
//   - Append writes the payload and then the row. Interrupted between the two
//     it was not acknowledged, and the payload is an orphan that dropOrphans
//     removes. A row that could be seen without the payload that its sender
//     relies on would hold the watermark for ever.
//   - Mark writes the row and then removes the payload. Interrupted, the payload
//     is an orphan likewise.
//   - An Append that a mark has overtaken looks, after it has written the
//     payload, whether the row is archived and processed, and then removes it;
//     Mark looks in the same order. Whoever is later removes it.
//
// A row's counts are written once, in the same write as the row or where it has
// none, so that nothing that comes twice counts twice. Counts adds rows up;
// how they become sums is told in folds.go.
type journal struct {
	*conn
	batches  *driver.Collection
	latest   *driver.Collection // batches, read so that no fail-over is missed
	payloads *driver.Collection
	counts   *driver.Collection
	folds    *driver.Collection
}

func newJournal(c *conn) *journal {
	return &journal{
		conn: c, batches: c.db.Collection(batchesName), payloads: c.db.Collection(payloadsName),
		latest: c.db.Collection(batchesName, options.Collection().SetReadConcern(readconcern.Linearizable())),
		counts: c.db.Collection(countsName), folds: c.db.Collection(foldsName),
	}
}

// bitFolded is set beside the stages of a row whose counts are in the sums:
// one index by stages and arrival then tells what is pending, unfinished, to be
// folded and to be swept.
const bitFolded = 8

const bitsGone = store.StageArchived | store.StageProcessed

type countDoc struct {
	Stream string `bson:"s"`
	Hour   int32  `bson:"h"`
	Events int64  `bson:"n"`
}

type rowDoc struct {
	ID       bson.Binary `bson:"_id"`
	Received int64       `bson:"received"` // µs since the Unix epoch
	Stages   int32       `bson:"stages"`
	// Published is µs since the Unix epoch; absent: not known.
	Published int64      `bson:"published,omitempty"`
	Key       string     `bson:"key,omitempty"`    // absent: not known
	Counts    []countDoc `bson:"counts,omitempty"` // absent: not known; empty: in the sums
}

type payloadDoc struct {
	ID   bson.Binary `bson:"_id"`
	At   int64       `bson:"at"` // when it was written, µs since the Unix epoch
	Data []byte      `bson:"data"`
}

func rowOf(in *store.JournalRow, stages store.Stage) rowDoc {
	r := rowDoc{ID: idOf(in.Batch), Received: in.ReceivedAt.UnixMicro(), Stages: int32(stages & store.AllStages), Key: text(in.PartitionKey)}
	r.Counts = countsOf(in.Counts)
	r.Published = publishedAt(in)
	return r
}

func publishedAt(in *store.JournalRow) int64 {
	if in.PublishedAt.IsZero() {
		return 0
	}
	return in.PublishedAt.UnixMicro()
}

func countsOf(in []event.StreamHour) []countDoc {
	out := make([]countDoc, len(in))
	for i, c := range in {
		out[i] = countDoc{text(c.Stream), int32(c.Hour), c.Events}
	}
	return out
}

func (r *rowDoc) row() store.JournalRow {
	out := store.JournalRow{
		Batch: batchOf(r.ID), ReceivedAt: time.UnixMicro(r.Received).UTC(), PartitionKey: untext(r.Key),
		Stages: store.Stage(r.Stages) & store.AllStages,
	}
	if len(r.Counts) > 0 {
		out.Counts = make([]event.StreamHour, len(r.Counts))
	}
	if r.Published != 0 {
		out.PublishedAt = time.UnixMicro(r.Published).UTC()
	}
	for i, c := range r.Counts {
		out.Counts[i] = event.StreamHour{Stream: untext(c.Stream), Hour: event.Hour(c.Hour), Events: c.Events}
	}
	return out
}

// first are the rows without those whose batch came before in them.
func first(rows []store.JournalRow) []store.JournalRow {
	if len(rows) < 2 {
		return rows
	}
	seen := make(map[event.BatchID]struct{}, len(rows))
	out := make([]store.JournalRow, 0, len(rows))
	for i := range rows {
		if _, again := seen[rows[i].Batch]; !again {
			seen[rows[i].Batch] = struct{}{}
			out = append(out, rows[i])
		}
	}
	return out
}

// Append implements store.Journal.
func (j *journal) Append(ctx context.Context, rows []store.JournalRow) error {
	if len(rows) == 0 {
		return nil
	}
	rows = first(rows)
	return j.call(ctx, "append to the journal", func(ctx context.Context) error {
		now := j.now().UnixMicro()
		var payloads []payloadDoc
		docs := make([]rowDoc, len(rows))
		for i := range rows {
			if len(rows[i].Payload) > 0 && rows[i].Stages&bitsGone != bitsGone {
				payloads = append(payloads, payloadDoc{idOf(rows[i].Batch), now, rows[i].Payload})
			}
			docs[i] = rowOf(&rows[i], rows[i].Stages)
		}
		if _, err := insertNew(ctx, j.payloads, payloads); err != nil {
			return err
		}
		there, err := insertNew(ctx, j.batches, docs)
		if err != nil || len(there) == 0 {
			return err
		}
		known := make([]store.JournalRow, len(there))
		for i, at := range there {
			known[i] = rows[at]
		}
		if _, err := bulk(ctx, j.batches, adopt(nil, known)); err != nil {
			return err
		}
		return j.dropGone(ctx, known)
	})
}

// adopt gives rows what they do not know. A row that was folded without counts
// is then to be folded again.
func adopt(models []driver.WriteModel, rows []store.JournalRow) []driver.WriteModel {
	lacks := func(r *store.JournalRow, field string, change bson.D) {
		filter := bson.D{{Key: "_id", Value: idOf(r.Batch)}, {Key: field, Value: bson.D{{Key: "$exists", Value: false}}}}
		models = append(models, driver.NewUpdateOneModel().SetFilter(filter).SetUpdate(change))
	}
	for i := range rows {
		r := &rows[i]
		if r.PartitionKey != "" {
			lacks(r, "key", set(bson.D{{Key: "key", Value: text(r.PartitionKey)}}))
		}
		if len(r.Counts) > 0 {
			lacks(r, "counts", bson.D{
				{Key: "$set", Value: bson.D{{Key: "counts", Value: countsOf(r.Counts)}}},
				{Key: "$unset", Value: bson.D{{Key: "fold", Value: ""}}},
				{Key: "$bit", Value: bson.D{{Key: "stages", Value: bson.D{{Key: "and", Value: int32(store.AllStages)}}}}},
			})
		}
	}
	return models
}

// dropGone removes the payloads of those rows that are archived and processed.
func (j *journal) dropGone(ctx context.Context, rows []store.JournalRow) error {
	for part := range slices.Chunk(rows, inChunk) {
		ids := make([]bson.Binary, len(part))
		for i := range part {
			ids[i] = idOf(part[i].Batch)
		}
		var gone []bson.Binary
		cursor, err := j.batches.Find(ctx, bson.D{{Key: "_id", Value: in(ids)}, {Key: "stages", Value: in(goneStages)}}, options.Find().SetProjection(only("_id")))
		if err := each(ctx, cursor, err, func(r *rowDoc) error {
			gone = append(gone, r.ID)
			return nil
		}); err != nil {
			return err
		}
		if len(gone) == 0 {
			continue
		}
		if _, err := j.payloads.DeleteMany(ctx, bson.D{{Key: "_id", Value: in(gone)}}); err != nil {
			return err
		}
	}
	return nil
}

// valuesOf lists the values of a row's stages of which a condition is true.
func valuesOf(is func(stages store.Stage, folded bool) bool) (values []int32) {
	for s := range store.AllStages + 1 {
		for _, folded := range []bool{false, true} {
			if !is(s, folded) {
				continue
			}
			if v := int32(s); folded {
				values = append(values, v|bitFolded)
			} else {
				values = append(values, v)
			}
		}
	}
	slices.Sort(values)
	return values
}

var (
	pendingStages = valuesOf(func(s store.Stage, folded bool) bool { return s&store.StageProcessed == 0 && !folded })
	goneStages    = valuesOf(func(s store.Stage, _ bool) bool { return s&bitsGone == bitsGone })
	foldStages    = valuesOf(func(s store.Stage, folded bool) bool { return s&store.StageProcessed != 0 && !folded })
)

const sweptStages = int32(store.AllStages) | bitFolded

// Mark implements store.Journal. Nearly always the rows are known and complete:
// then all of them take one update.
func (j *journal) Mark(ctx context.Context, stage store.Stage, rows []store.JournalRow) error {
	if stage == 0 || stage&^store.AllStages != 0 {
		return fault.Field("stage", "published, archived, processed or a set of them")
	}
	if len(rows) == 0 {
		return nil
	}
	// By what they bring: key, counts.
	var groups [4][]store.JournalRow
	for _, r := range first(rows) {
		g := 0
		if r.PartitionKey != "" {
			g |= 1
		}
		if len(r.Counts) > 0 {
			g |= 2
		}
		groups[g] = append(groups[g], r)
	}
	return j.call(ctx, "mark batches in the journal", func(ctx context.Context) error {
		for g, rows := range groups {
			for part := range slices.Chunk(rows, inChunk) {
				if err := j.mark(ctx, stage, part, g&1 != 0, g&2 != 0); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (j *journal) mark(ctx context.Context, stage store.Stage, rows []store.JournalRow, key, counts bool) error {
	ids := make([]bson.Binary, len(rows))
	for i := range rows {
		ids[i] = idOf(rows[i].Batch)
	}
	update := addStage(stage)
	if stage&store.StagePublished != 0 {
		var last int64
		for i := range rows {
			last = max(last, publishedAt(&rows[i]))
		}
		if last > 0 {
			update = append(update, bson.E{Key: "$max", Value: bson.D{{Key: "published", Value: last}}})
		}
	}
	complete := bson.D{{Key: "_id", Value: in(ids)}}
	if len(ids) == 1 {
		complete[0].Value = ids[0]
	}
	if key {
		complete = append(complete, bson.E{Key: "key", Value: bson.D{{Key: "$exists", Value: true}}})
	}
	if counts {
		complete = append(complete, bson.E{Key: "counts", Value: bson.D{{Key: "$exists", Value: true}}})
	}
	if len(ids) == 1 {
		var after rowDoc
		err := j.batches.FindOneAndUpdate(ctx, complete, update,
			options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(only("stages"))).Decode(&after)
		if err == nil {
			if stage&bitsGone == 0 || store.Stage(after.Stages)&bitsGone != bitsGone {
				return nil
			}
			_, err = j.payloads.DeleteOne(ctx, bson.D{{Key: "_id", Value: ids[0]}})
			return err
		}
		if !errors.Is(err, driver.ErrNoDocuments) {
			return err
		}
	} else {
		res, err := j.batches.UpdateMany(ctx, complete, update)
		if err != nil {
			return err
		}
		if res.MatchedCount == int64(len(ids)) {
			return j.markedGone(ctx, stage, rows)
		}
	}
	// Some are not known, or lack what we bring.
	docs := make([]rowDoc, len(rows))
	for i := range rows {
		docs[i] = rowOf(&rows[i], rows[i].Stages|stage)
	}
	there, err := insertNew(ctx, j.batches, docs)
	if err != nil {
		return err
	}
	var models []driver.WriteModel
	known := make([]store.JournalRow, len(there))
	for i, at := range there {
		known[i] = rows[at]
		models = append(models, driver.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: ids[at]}}).SetUpdate(update))
	}
	if _, err := bulk(ctx, j.batches, models); err != nil {
		return err
	}
	if _, err := bulk(ctx, j.batches, adopt(nil, known)); err != nil {
		return err
	}
	return j.markedGone(ctx, stage, rows)
}

func (j *journal) markedGone(ctx context.Context, stage store.Stage, rows []store.JournalRow) error {
	if stage&bitsGone == 0 {
		return nil
	}
	return j.dropGone(ctx, rows)
}

func addStage(stage store.Stage) bson.D {
	return bson.D{{Key: "$bit", Value: bson.D{{Key: "stages", Value: bson.D{{Key: "or", Value: int32(stage)}}}}}}
}

// Stages implements store.Journal.
func (j *journal) Stages(ctx context.Context, id event.BatchID) (stages store.Stage, err error) {
	err = j.call(ctx, "look up batch "+id.String(), func(ctx context.Context) error {
		var r rowDoc
		err := j.batches.FindOne(ctx, bson.D{{Key: "_id", Value: idOf(id)}}, options.FindOne().SetProjection(only("stages"))).Decode(&r)
		if errors.Is(err, driver.ErrNoDocuments) {
			return nil
		}
		stages = store.Stage(r.Stages) & store.AllStages
		return err
	})
	return stages, err
}

// Payload implements store.Journal.
func (j *journal) Payload(ctx context.Context, id event.BatchID) (payload []byte, err error) {
	err = j.call(ctx, "read the payload of batch "+id.String(), func(ctx context.Context) error {
		var p payloadDoc
		err := j.payloads.FindOne(ctx, bson.D{{Key: "_id", Value: idOf(id)}}, options.FindOne().SetProjection(only("data"))).Decode(&p)
		if errors.Is(err, driver.ErrNoDocuments) {
			return fault.New(fault.NotFound, "the journal holds no payload of it")
		}
		payload = p.Data
		return err
	})
	return payload, err
}

// Unfinished implements store.Journal. Shards are asked all at once: the
// oldest rows of all are on any of them.
func (j *journal) Unfinished(ctx context.Context, lacks store.Stage, from, before time.Time, limit int) (rows []store.JournalRow, err error) {
	if limit <= 0 || lacks&store.AllStages == 0 {
		return nil, nil
	}
	lacks &= store.AllStages
	values := valuesOf(func(s store.Stage, _ bool) bool { return s&lacks != lacks })
	err = j.call(ctx, "list unfinished batches", func(ctx context.Context) error {
		rows = nil
		received := bson.D{{Key: "$lt", Value: before.UnixMicro()}}
		if !from.IsZero() {
			received = append(received, bson.E{Key: "$gte", Value: from.UnixMicro()})
		}
		filter := bson.D{{Key: "stages", Value: in(values)}, {Key: "received", Value: received}}
		cursor, err := j.batches.Find(ctx, filter, options.Find().SetSort(ascending("received", "_id")).SetLimit(int64(limit)))
		return each(ctx, cursor, err, func(r *rowDoc) error {
			rows = append(rows, r.row())
			return nil
		})
	})
	return rows, err
}

// Watermark implements store.Journal. It is read linearisably: a primary that
// has lost its majority and does not know yet might not hold the oldest pending
// row, and would answer that all is counted.
func (j *journal) Watermark(ctx context.Context, now time.Time) (t time.Time, err error) {
	err = j.call(ctx, "read the watermark", func(ctx context.Context) error {
		var r rowDoc
		err := j.latest.FindOne(ctx, bson.D{{Key: "stages", Value: in(pendingStages)}},
			options.FindOne().SetSort(ascending("received")).SetProjection(only("received"))).Decode(&r)
		if errors.Is(err, driver.ErrNoDocuments) {
			t = now
			return nil
		}
		t = time.UnixMicro(r.Received).UTC()
		return err
	})
	return t, err
}
