package mongo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// What the journal has counted is its rows: a row counts once however often it
// was appended and marked. But a busy stream has many thousands of rows an hour,
// and rows are swept after some days. So rows that are processed are folded, many
// at a time, into sums by stream and hour. A fold is a list of steps, each of
// which may be repeated by anybody, any number of times:
//
//  1. A document names the fold and the rows that it would like.
//  2. Those of these rows that no other fold has get the fold's name. A row has
//     one fold, so no two folds hold the same row.
//  3. The fold is marked as claimed: from now on nobody adds a row to it.
//  4. What its rows hold is added to each sum that does not name the fold, and
//     the sum names it from then on, in the same write. This is the one step
//     that adds, and it adds once.
//  5. The rows get the bit "folded", and lose their counts.
//  6. The fold's document is removed.
//
// Who finds a fold's document left alone does the rest of the steps. Should two
// be at it, step 4 is idempotent for both, for a sum remembers the last 256
// folds that it took; step 5 begins when all sums have it, so whoever finds only
// a part of the rows left finds the fold named in every sum.
//
// A reader takes sums, rows that are not folded, and sums again. A row whose
// fold a sum names is in that sum already; all others count by themselves. When
// the sums are the same before and after, no fold came between.

const (
	foldRows     = 5000
	foldPatience = 2 * time.Minute // a fold that is older was left alone
	foldMemory   = 256             // folds that a sum remembers
	foldChunk    = 1000            // sums in one write
)

type foldDoc struct {
	ID      bson.Binary   `bson:"_id"`
	At      int64         `bson:"at"` // µs since the Unix epoch
	Claimed bool          `bson:"claimed,omitempty"`
	Rows    []bson.Binary `bson:"rows"`
}

type sumDoc struct {
	Stream string        `bson:"s"`
	Hour   int32         `bson:"h"`
	Events int64         `bson:"n"`
	Folds  []bson.Binary `bson:"folds"`
}

type streamHour struct {
	stream string
	hour   int32
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// foldProcessed folds what was received longer ago than an age, and finishes
// folds that were left alone.
func (j *journal) foldProcessed(ctx context.Context, age time.Duration) error {
	if err := j.finishFolds(ctx); err != nil {
		return err
	}
	_, err := j.foldBefore(ctx, foldStages, j.now().Add(-age))
	return err
}

const houseCounter = "house"

// turn reports whether it is this process's turn to keep house: each period one
// of all takes it. Two at once would do no harm, but the work twice.
func (j *journal) turn(ctx context.Context, every time.Duration) (ours bool, err error) {
	err = j.call(ctx, "take a turn at keeping house", func(ctx context.Context) error {
		c := j.db.Collection(countersName)
		now := j.now()
		due := bson.D{{Key: "_id", Value: houseCounter}, {Key: "n", Value: bson.D{{Key: "$lt", Value: now.Add(-every).UnixMicro()}}}}
		res, err := c.UpdateOne(ctx, due, set(bson.D{{Key: "n", Value: now.UnixMicro()}}))
		if err != nil || res.MatchedCount > 0 {
			ours = err == nil
			return err
		}
		there, err := insertNew(ctx, c, []counterDoc{{ID: houseCounter, N: now.UnixMicro()}})
		ours = err == nil && len(there) == 0
		return err
	})
	return ours, err
}

// keep does what is to be done in each period.
func (j *journal) keep(ctx context.Context, every, foldAfter time.Duration) error {
	ours, err := j.turn(ctx, every)
	if err != nil || !ours {
		return err
	}
	return errors.Join(j.foldProcessed(ctx, foldAfter), j.dropOrphans(ctx))
}

// finishFolds takes up the folds of processes that died.
func (j *journal) finishFolds(ctx context.Context) error {
	var left []foldDoc
	if err := j.call(ctx, "find folds that were left alone", func(ctx context.Context) error {
		left = nil
		old := j.now().Add(-foldPatience).UnixMicro()
		cursor, err := j.folds.Find(ctx, bson.D{{Key: "at", Value: bson.D{{Key: "$lt", Value: old}}}}, options.Find().SetSort(ascending("at")).SetLimit(100))
		return each(ctx, cursor, err, func(f *foldDoc) error {
			left = append(left, *f)
			return nil
		})
	}); err != nil {
		return err
	}
	for i := range left {
		if err := j.finish(ctx, &left[i]); err != nil {
			return err
		}
	}
	return nil
}

// foldBefore folds all rows of given stages that were received before a time.
func (j *journal) foldBefore(ctx context.Context, stages []int32, before time.Time) (folded int, err error) {
	for {
		f := foldDoc{ID: newID()}
		if err := j.call(ctx, "list batches to be folded", func(ctx context.Context) error {
			f.Rows = nil
			filter := bson.D{
				{Key: "stages", Value: in(stages)}, {Key: "received", Value: bson.D{{Key: "$lt", Value: before.UnixMicro()}}},
				{Key: "fold", Value: bson.D{{Key: "$exists", Value: false}}},
			}
			cursor, err := j.batches.Find(ctx, filter,
				options.Find().SetSort(ascending("received", "_id")).SetLimit(foldRows).SetProjection(only("_id")))
			return each(ctx, cursor, err, func(r *rowDoc) error {
				f.Rows = append(f.Rows, r.ID)
				return nil
			})
		}); err != nil || len(f.Rows) == 0 {
			return folded, err
		}
		f.At = j.now().UnixMicro()
		if err := j.call(ctx, "begin a fold", func(ctx context.Context) error {
			_, err := insertNew(ctx, j.folds, []foldDoc{f})
			return err
		}); err != nil {
			return folded, err
		}
		if err := j.finish(ctx, &f); err != nil {
			return folded, err
		}
		if folded += len(f.Rows); len(f.Rows) < foldRows {
			return folded, nil
		}
	}
}

func newID() bson.Binary {
	id := uuid.New()
	return bson.Binary{Data: id[:]}
}

// finish does what is left of a fold.
func (j *journal) finish(ctx context.Context, f *foldDoc) error {
	return j.call(ctx, "fold counts into sums", func(ctx context.Context) error {
		byID := bson.D{{Key: "_id", Value: f.ID}}
		if !f.Claimed {
			var claims []driver.WriteModel
			for ids := range slices.Chunk(f.Rows, inChunk) {
				free := bson.D{{Key: "_id", Value: in(ids)}, {Key: "fold", Value: bson.D{{Key: "$exists", Value: false}}}}
				claims = append(claims, driver.NewUpdateManyModel().SetFilter(free).SetUpdate(set(bson.D{{Key: "fold", Value: f.ID}})))
			}
			if _, err := bulk(ctx, j.batches, claims); err != nil {
				return err
			}
			if _, err := j.folds.UpdateOne(ctx, byID, set(bson.D{{Key: "claimed", Value: true}})); err != nil {
				return err
			}
			f.Claimed = true
		}
		sums, err := j.sumsOf(ctx, f)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(sums, foldChunk) {
			if err := j.addSums(ctx, f.ID, part); err != nil {
				return err
			}
		}
		if err := j.closeRows(ctx, f); err != nil {
			return err
		}
		_, err = j.folds.DeleteOne(ctx, byID)
		return err
	})
}

// sumsOf adds up the rows that a fold has claimed and that are not folded yet.
func (j *journal) sumsOf(ctx context.Context, f *foldDoc) ([]sumDoc, error) {
	all := map[streamHour]int64{}
	for ids := range slices.Chunk(f.Rows, inChunk) {
		filter := bson.D{{Key: "_id", Value: in(ids)}, {Key: "fold", Value: f.ID}, {Key: "stages", Value: in(foldStages)}}
		cursor, err := j.batches.Find(ctx, filter, options.Find().SetProjection(only("counts")))
		if err := each(ctx, cursor, err, func(r *rowDoc) error {
			for _, c := range r.Counts {
				all[streamHour{c.Stream, c.Hour}] += c.Events
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	sums := make([]sumDoc, 0, len(all))
	for k, n := range all {
		sums = append(sums, sumDoc{Stream: k.stream, Hour: k.hour, Events: n})
	}
	// In one order for all who write, and along the index.
	slices.SortFunc(sums, func(a, b sumDoc) int { return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Hour, b.Hour)) })
	return sums, nil
}

// addSums adds to sums that do not name the fold. An upsert that finds its sum
// with the fold in it fails on the unique index, as does one that another fold's
// first write of that sum has overtaken: the first of these is done, the second
// is tried again.
func (j *journal) addSums(ctx context.Context, fold bson.Binary, sums []sumDoc) error {
	models := make([]driver.WriteModel, len(sums))
	for i, s := range sums {
		models[i] = driver.NewUpdateOneModel().SetUpsert(true).
			SetFilter(bson.D{{Key: "s", Value: s.Stream}, {Key: "h", Value: s.Hour}, {Key: "folds", Value: bson.D{{Key: "$ne", Value: fold}}}}).
			SetUpdate(bson.D{
				{Key: "$inc", Value: bson.D{{Key: "n", Value: s.Events}}},
				{Key: "$push", Value: bson.D{{Key: "folds", Value: bson.D{{Key: "$each", Value: bson.A{fold}}, {Key: "$slice", Value: -foldMemory}}}}},
			})
	}
	_, err := bulk(ctx, j.counts, models)
	there, err := duplicates(err)
	if err != nil || len(there) == 0 {
		return err
	}
	or := make(bson.A, len(there))
	for i, at := range there {
		or[i] = bson.D{{Key: "s", Value: sums[at].Stream}, {Key: "h", Value: sums[at].Hour}}
	}
	named, err := j.counts.CountDocuments(ctx, bson.D{{Key: "$or", Value: or}, {Key: "folds", Value: fold}})
	if err == nil && named < int64(len(there)) {
		err = again("another fold has made a sum first")
	}
	return err
}

// closeRows takes a fold's rows out of what Counts adds up. Rows that were
// folded before their counts were known keep lacking them: counts that come
// later open them again.
func (j *journal) closeRows(ctx context.Context, f *foldDoc) error {
	folded := bson.E{Key: "$bit", Value: bson.D{{Key: "stages", Value: bson.D{{Key: "or", Value: int32(bitFolded)}}}}}
	empty := bson.E{Key: "$set", Value: bson.D{{Key: "counts", Value: bson.A{}}}}
	var models []driver.WriteModel
	for ids := range slices.Chunk(f.Rows, inChunk) {
		of := func(exists bool) bson.D {
			return bson.D{{Key: "_id", Value: in(ids)}, {Key: "fold", Value: f.ID}, {Key: "counts", Value: bson.D{{Key: "$exists", Value: exists}}}}
		}
		models = append(models,
			driver.NewUpdateManyModel().SetFilter(of(true)).SetUpdate(bson.D{folded, empty}),
			driver.NewUpdateManyModel().SetFilter(of(false)).SetUpdate(bson.D{folded}))
	}
	_, err := bulk(ctx, j.batches, models)
	return err
}

// countTries is how often Counts looks again when folds come between.
const countTries = 8

// Counts implements store.Journal. Sums are found by stream; rows that are not
// folded are asked of all shards, for a batch holds many streams.
func (j *journal) Counts(ctx context.Context, streams []string, from, to event.Hour) (counts []store.LedgerCount, err error) {
	if len(streams) == 0 || from >= to {
		return nil, nil
	}
	names := texts(slices.Compact(slices.Sorted(slices.Values(streams))))
	err = j.call(ctx, "count the batches of the journal", func(ctx context.Context) error {
		sums, err := j.sums(ctx, names, from, to)
		for try := 0; err == nil && try < countTries; try++ {
			var rows []openCount
			var after map[streamHour]sumDoc
			if rows, err = j.open(ctx, names, from, to); err != nil {
				return err
			}
			if after, err = j.sums(ctx, names, from, to); err != nil {
				return err
			}
			if equalSums(sums, after) {
				counts = addUp(sums, rows)
				return nil
			}
			sums = after
		}
		if err == nil {
			err = again("sums keep changing")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

func (j *journal) sums(ctx context.Context, names []string, from, to event.Hour) (map[streamHour]sumDoc, error) {
	sums := map[streamHour]sumDoc{}
	cursor, err := j.counts.Find(ctx, bson.D{{Key: "s", Value: in(names)}, {Key: "h", Value: within(int32(from), int32(to))}})
	return sums, each(ctx, cursor, err, func(s *sumDoc) error {
		sums[streamHour{s.Stream, s.Hour}] = *s
		return nil
	})
}

func equalSums(a, b map[streamHour]sumDoc) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if s, ok := b[k]; !ok || s.Events != a[k].Events {
			return false
		}
	}
	return true
}

// openCount is what rows that are not folded hold of one stream's hour.
type openCount struct {
	ID struct {
		Stream  string       `bson:"s"`
		Hour    int32        `bson:"h"`
		Fold    *bson.Binary `bson:"fold"`
		Pending bool         `bson:"pending"`
	} `bson:"_id"`
	Events int64 `bson:"n"`
}

func (j *journal) open(ctx context.Context, names []string, from, to event.Hour) (rows []openCount, err error) {
	one := bson.D{{Key: "s", Value: in(names)}, {Key: "h", Value: within(int32(from), int32(to))}}
	cursor, err := j.batches.Aggregate(ctx, driver.Pipeline{
		{{Key: "$match", Value: bson.D{
			{Key: "stages", Value: bson.D{{Key: "$lt", Value: bitFolded}}},
			{Key: "counts", Value: bson.D{{Key: "$elemMatch", Value: one}}},
		}}},
		{{Key: "$project", Value: only("stages", "fold", "counts")}},
		{{Key: "$unwind", Value: "$counts"}},
		{{Key: "$match", Value: bson.D{{Key: "counts.s", Value: one[0].Value}, {Key: "counts.h", Value: one[1].Value}}}},
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{
				{Key: "s", Value: "$counts.s"}, {Key: "h", Value: "$counts.h"}, {Key: "fold", Value: "$fold"},
				{Key: "pending", Value: bson.D{{Key: "$lt", Value: bson.A{"$stages", int32(store.StageProcessed)}}}},
			}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: "$counts.n"}}},
		}}},
	})
	return rows, each(ctx, cursor, err, func(c *openCount) error {
		rows = append(rows, *c)
		return nil
	})
}

func addUp(sums map[streamHour]sumDoc, rows []openCount) []store.LedgerCount {
	all := map[streamHour]store.LedgerCount{}
	for k, s := range sums {
		all[k] = store.LedgerCount{Accepted: s.Events}
	}
	for _, r := range rows {
		k := streamHour{r.ID.Stream, r.ID.Hour}
		if r.ID.Fold != nil && slices.ContainsFunc(sums[k].Folds, func(f bson.Binary) bool { return bytes.Equal(f.Data, r.ID.Fold.Data) }) {
			continue // in the sum
		}
		c := all[k]
		c.Accepted += r.Events
		if r.ID.Pending {
			c.Pending += r.Events
		}
		all[k] = c
	}
	counts := make([]store.LedgerCount, 0, len(all))
	for k, c := range all {
		if c.Accepted != 0 || c.Pending != 0 {
			c.Stream, c.Hour = untext(k.stream), event.Hour(k.hour)
			counts = append(counts, c)
		}
	}
	slices.SortFunc(counts, func(a, b store.LedgerCount) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Hour, b.Hour))
	})
	return counts
}

// sweepChunk rows are removed in one write.
const sweepChunk = inChunk

// Sweep implements store.Journal. Rows go when their counts are in the sums;
// those that another process is folding go with the next sweep.
func (j *journal) Sweep(ctx context.Context, before time.Time) (swept int, err error) {
	if _, err := j.foldBefore(ctx, []int32{int32(store.AllStages)}, before); err != nil {
		return 0, err
	}
	for {
		n := 0
		if err := j.call(ctx, "sweep the journal", func(ctx context.Context) error {
			var ids []bson.Binary
			filter := bson.D{{Key: "stages", Value: sweptStages}, {Key: "received", Value: bson.D{{Key: "$lt", Value: before.UnixMicro()}}}}
			cursor, err := j.batches.Find(ctx, filter, options.Find().SetLimit(sweepChunk).SetProjection(only("_id")))
			if err := each(ctx, cursor, err, func(r *rowDoc) error {
				ids = append(ids, r.ID)
				return nil
			}); err != nil || len(ids) == 0 {
				return err
			}
			res, err := j.batches.DeleteMany(ctx, bson.D{{Key: "_id", Value: in(ids)}, {Key: "stages", Value: sweptStages}})
			if err != nil {
				return err
			}
			swept += int(res.DeletedCount)
			n = len(ids)
			return nil
		}); err != nil {
			return swept, err
		}
		if n < sweepChunk {
			return swept, nil
		}
	}
}

const (
	orphanAge   = time.Hour // longer than any Append takes
	orphanChunk = inChunk
)

// dropOrphans removes payloads that an interrupted Append or Mark has left:
// those without a row, and those of rows that are archived and processed. What
// waits for the archive stays, however old.
func (j *journal) dropOrphans(ctx context.Context) error {
	var after int64 = -1 << 63
	for {
		var last int64
		var ids []bson.Binary
		if err := j.call(ctx, "look for payloads that nobody needs", func(ctx context.Context) error {
			ids = nil
			old := j.now().Add(-orphanAge).UnixMicro()
			cursor, err := j.payloads.Find(ctx, bson.D{{Key: "at", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lt", Value: old}}}},
				options.Find().SetSort(ascending("at")).SetLimit(orphanChunk).SetProjection(only("_id", "at")))
			if err := each(ctx, cursor, err, func(p *payloadDoc) error {
				ids, last = append(ids, p.ID), p.At
				return nil
			}); err != nil || len(ids) == 0 {
				return err
			}
			needed := map[event.BatchID]bool{}
			cursor, err = j.batches.Find(ctx, bson.D{{Key: "_id", Value: in(ids)}}, options.Find().SetProjection(only("_id", "stages")))
			if err := each(ctx, cursor, err, func(r *rowDoc) error {
				if store.Stage(r.Stages)&bitsGone != bitsGone {
					needed[batchOf(r.ID)] = true
				}
				return nil
			}); err != nil {
				return err
			}
			orphans := slices.DeleteFunc(slices.Clone(ids), func(id bson.Binary) bool { return needed[batchOf(id)] })
			if len(orphans) == 0 {
				return nil
			}
			_, err = j.payloads.DeleteMany(ctx, bson.D{{Key: "_id", Value: in(orphans)}})
			return err
		}); err != nil {
			return err
		}
		if len(ids) < orphanChunk {
			return nil
		}
		after = last
	}
}
