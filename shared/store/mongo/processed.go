package mongo

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// processed keeps a document per merchant, hour, revision and batch. Its dirty
// mark is a field of it, and dirty hours are what the index of marked documents
// holds: a document is never without its mark, and no list of hours can
// disagree with the marks.
//
// A Put writes rejects and documents side by side, each in one unordered write,
// and the versions of the merchants after them. Interrupted anywhere it was not
// acknowledged and the batch is delivered again, which writes what is missing
// and the rest once more. What may be met in between:
//
//   - A reader finds some of a batch's documents and not others. Each stands for
//     itself (another merchant, or another hour), is dirty, and so is counted from
//     itself. The journal calls the batch pending until Put and Mark have
//     returned, as it does between a whole Put and its Mark.
//   - The ledger finds rejects of a batch without its documents, or the other way
//     round. It settles what is counted and still pending alike.
//   - A version is still the one of before. Who compares versions goes on with
//     what it had, in which the batch is not counted: it is pending. The version
//     changes after the documents and never before, so that what was read under a
//     new version holds them.
type processed struct {
	*conn
	docs     *driver.Collection
	rejects  *driver.Collection
	versions *driver.Collection
}

func newProcessed(c *conn) *processed {
	return &processed{conn: c, docs: c.db.Collection(documentsName), rejects: c.db.Collection(rejectsName), versions: c.db.Collection(versionsName)}
}

type docDoc struct {
	Hash     int32       `bson:"k"` // of the merchant
	Merchant string      `bson:"m"`
	Revision int64       `bson:"r"`
	Hour     int32       `bson:"h"`
	Batch    bson.Binary `bson:"b"`
	Dirty    bool        `bson:"dirty,omitempty"`
	Events   int         `bson:"n"`
	Data     []byte      `bson:"data"`
}

// maxData is the longest document that is taken: below MongoDB's 16 MiB with
// all that stands around it.
const maxData = 15 << 20

// inChunk bounds the keys that one query or update names: few enough that a
// server which compares each document with the list does not take long.
const inChunk = 500

func docOf(d *store.Doc) docDoc {
	return docDoc{
		Hash: hashOf(d.Key.Merchant), Merchant: text(d.Key.Merchant), Revision: int64(d.Key.Revision), Hour: int32(d.Key.Hour),
		Batch: idOf(d.Key.Batch), Dirty: true, Events: d.Events, Data: d.Data,
	}
}

// ofMerchant finds what belongs to a merchant, by the shard key.
func ofMerchant(merchant string, rev store.Revision) bson.D {
	return bson.D{{Key: "k", Value: hashOf(merchant)}, {Key: "m", Value: text(merchant)}, {Key: "r", Value: int64(rev)}}
}

func ofHours(merchant string, rev store.Revision, from, to event.Hour) bson.D {
	return append(ofMerchant(merchant, rev), bson.E{Key: "h", Value: within(int32(from), int32(to))})
}

func ofDoc(k store.DocKey) bson.D {
	return append(ofMerchant(k.Merchant, k.Revision), bson.E{Key: "h", Value: int32(k.Hour)}, bson.E{Key: "b", Value: idOf(k.Batch)})
}

var markDirty = set(bson.D{{Key: "dirty", Value: true}})

// tooLarge refuses a document that MongoDB would refuse, too.
func tooLarge(d *store.Doc) error {
	if len(d.Data) > maxData {
		return fault.New(fault.TooLarge, "cannot store the document of batch %s: it has %d bytes, at most %d are taken", d.Key.Batch, len(d.Data), maxData)
	}
	return nil
}

// Put implements store.Processed. Nearly always all is new and inserted; what
// is there already is written over.
func (p *processed) Put(ctx context.Context, put store.Put) error {
	docs := make([]docDoc, len(put.Docs))
	touched := make([]string, len(put.Docs))
	for i := range put.Docs {
		d := &put.Docs[i]
		if d.Key.Batch != put.Batch {
			return fault.Field("docs.key.batch", "the batch of the put, "+put.Batch.String())
		}
		if err := tooLarge(d); err != nil {
			return err
		}
		docs[i] = docOf(d)
		touched[i] = versionKey(d.Key.Merchant, d.Key.Revision)
	}
	rejects := make([]rejectDoc, len(put.Rejects))
	for i := range put.Rejects {
		if put.Rejects[i].Batch != put.Batch {
			return fault.Field("rejects.batch", "the batch of the put, "+put.Batch.String())
		}
		rejects[i] = rejectDocOf(&put.Rejects[i])
	}
	if len(docs) == 0 && len(rejects) == 0 {
		return nil
	}
	return p.call(ctx, "put the processed data of batch "+put.Batch.String(), func(ctx context.Context) error {
		both, bctx := errgroup.WithContext(ctx)
		both.Go(func() error { return insertOrReplace(bctx, p.docs, docs, (*docDoc).key) })
		if len(rejects) > 0 {
			both.Go(func() error { return insertOrReplace(bctx, p.rejects, rejects, (*rejectDoc).key) })
		}
		return errorOr(both.Wait(), func() error { return p.changed(ctx, touched) })
	})
}

func (d *docDoc) key() bson.D {
	return bson.D{{Key: "k", Value: d.Hash}, {Key: "m", Value: d.Merchant}, {Key: "r", Value: d.Revision}, {Key: "h", Value: d.Hour}, {Key: "b", Value: d.Batch}}
}

// insertOrReplace inserts documents, and writes those over that are there.
func insertOrReplace[T any](ctx context.Context, c *driver.Collection, docs []T, key func(*T) bson.D) error {
	there, err := insertNew(ctx, c, docs)
	if err != nil {
		return err
	}
	models := make([]driver.WriteModel, len(there))
	for i, at := range there {
		models[i] = driver.NewReplaceOneModel().SetUpsert(true).SetFilter(key(&docs[at])).SetReplacement(docs[at])
	}
	_, err = bulk(ctx, c, models)
	return err
}

func errorOr(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

type versionDoc struct {
	ID      string `bson:"_id"`
	Version int64  `bson:"v"`
}

// versionKey names a merchant's revision.
func versionKey(merchant string, rev store.Revision) string {
	return text(merchant) + "/" + strconv.FormatUint(uint64(rev), 10)
}

// changed gives versions a number that nobody has met: a random one, so that
// none comes again when the collection is dropped and begins anew. One update
// takes all versions that are there, which are nearly always all.
func (p *processed) changed(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	v := int64(rand.Uint64())
	res, err := p.versions.UpdateMany(ctx, bson.D{{Key: "_id", Value: in(keys)}}, set(bson.D{{Key: "v", Value: v}}))
	if err != nil || res.MatchedCount == int64(len(keys)) {
		return err
	}
	docs := make([]versionDoc, len(keys))
	for i, k := range keys {
		docs[i] = versionDoc{k, v}
	}
	// Those that come to be there meanwhile have changed as well, but before.
	there, err := insertNew(ctx, p.versions, docs)
	if err != nil || int64(len(there)) == res.MatchedCount {
		return err
	}
	_, err = p.versions.UpdateMany(ctx, bson.D{{Key: "_id", Value: in(keys)}}, set(bson.D{{Key: "v", Value: v + 1}}))
	return err
}

// Version implements store.Processed.
func (p *processed) Version(ctx context.Context, merchant string, rev store.Revision) (v store.Version, err error) {
	err = p.call(ctx, "read the version of a merchant's data", func(ctx context.Context) error {
		var d versionDoc
		err := p.versions.FindOne(ctx, bson.D{{Key: "_id", Value: versionKey(merchant, rev)}}).Decode(&d)
		if errors.Is(err, driver.ErrNoDocuments) {
			d, err = versionDoc{}, nil
		}
		v = store.Version{N: max(uint64(d.Version), 1)} // never the zero version
		return err
	})
	return v, err
}

// Scan implements store.Processed.
func (p *processed) Scan(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour, fn func(store.Doc) error) error {
	if from >= to {
		return nil
	}
	// What was passed on is not passed on again when the query is asked again.
	next, after := from, event.BatchID{}
	begun := false
	return p.call(ctx, "scan processed data", func(ctx context.Context) error {
		filter := ofHours(merchant, rev, next, to)
		if begun {
			filter = append(filter, bson.E{Key: "$or", Value: bson.A{
				bson.D{{Key: "h", Value: bson.D{{Key: "$gt", Value: int32(next)}}}},
				bson.D{{Key: "h", Value: int32(next)}, {Key: "b", Value: bson.D{{Key: "$gt", Value: idOf(after)}}}},
			}})
		}
		cursor, err := p.docs.Find(ctx, filter, options.Find().SetSort(ascending("h", "b")).SetProjection(only("h", "b", "n", "data")))
		return each(ctx, cursor, err, func(d *docDoc) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			next, after, begun = event.Hour(d.Hour), batchOf(d.Batch), true
			key := store.DocKey{Merchant: merchant, Revision: rev, Hour: next, Batch: after}
			if err := fn(store.Doc{Key: key, Events: d.Events, Data: d.Data}); err != nil {
				return callerError{err}
			}
			return nil
		})
	})
}

// marked finds marked documents in the order of the index of marks.
func (p *processed) marked(ctx context.Context, filter bson.D, limit int64, fields ...string) (found []docDoc, err error) {
	filter = append(bson.D{{Key: "dirty", Value: true}}, filter...)
	o := options.Find().SetSort(ascending("k", "m", "h", "b")).SetProjection(only(fields...))
	if limit > 0 {
		o.SetLimit(limit).SetBatchSize(int32(limit) + 1) // all in one answer: no cursor is left
	}
	cursor, err := p.docs.Find(ctx, filter, o)
	return found, each(ctx, cursor, err, func(d *docDoc) error {
		found = append(found, *d)
		return nil
	})
}

// marksPage is how many marks are read at once to see of which hours they are.
// A page that ends within a busy hour is followed by one that begins after it.
const marksPage = 1000

// Dirty implements store.Processed. Cost: a page of the index of marks for each
// 1,000 dirty hours or each hour with many marks, and one step of it for each
// merchant of which no dirty hour is due.
func (p *processed) Dirty(ctx context.Context, rev store.Revision, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) (hours []store.DirtyHour, err error) {
	if shard.Count < 1 || shard.Index < 0 || shard.Index >= shard.Count {
		return nil, fault.Field("shard", "an index from 0 to below count")
	}
	if limit <= 0 {
		return nil, nil
	}
	due := event.HourOf(endBy) // its end is after endBy, that of the one before is not
	low, high := int32(shard.Index*hashes/shard.Count), int32((shard.Index+1)*hashes/shard.Count)
	err = p.call(ctx, "list dirty hours", func(ctx context.Context) error {
		hours = nil
		at, begun := after, after.Merchant != ""
		for {
			var ranges []bson.D
			if !begun {
				ranges = []bson.D{{{Key: "k", Value: within(low, high)}, {Key: "h", Value: bson.D{{Key: "$lt", Value: int32(due)}}}}}
			} else {
				ranges = afterHour(at, max(low, hashOf(at.Merchant)), high, due)
			}
			more := false
			for _, r := range ranges {
				r = append(bson.D{{Key: "r", Value: int64(rev)}}, r...)
				page := min(marksPage, int64(limit-len(hours))*4)
				found, err := p.marked(ctx, r, page, "k", "m", "h")
				if err != nil {
					return err
				}
				for _, d := range found {
					h := store.DirtyHour{Merchant: untext(d.Merchant), Hour: event.Hour(d.Hour)}
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

// afterHour are the three ranges of the index that follow a dirty hour: the
// merchant's later hours, the later merchants of its hash, the later hashes.
func afterHour(at store.DirtyHour, low, high int32, due event.Hour) []bson.D {
	until := bson.E{Key: "h", Value: bson.D{{Key: "$lt", Value: int32(due)}}}
	k, m := hashOf(at.Merchant), text(at.Merchant)
	ranges := []bson.D{}
	if k == low { // else the shard begins after the merchant
		ranges = append(ranges,
			bson.D{{Key: "k", Value: k}, {Key: "m", Value: m}, {Key: "h", Value: bson.D{{Key: "$gt", Value: int32(at.Hour)}, {Key: "$lt", Value: int32(due)}}}},
			bson.D{{Key: "k", Value: k}, {Key: "m", Value: bson.D{{Key: "$gt", Value: m}}}, until})
		low++
	}
	return append(ranges, bson.D{{Key: "k", Value: within(low, high)}, until})
}

// DirtyOf implements store.Processed.
func (p *processed) DirtyOf(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) (hours []event.Hour, err error) {
	err = p.call(ctx, "list a merchant's dirty hours", func(ctx context.Context) error {
		hours = nil
		for next := from; next < to; {
			found, err := p.marked(ctx, ofHours(merchant, rev, next, to), marksPage, "h")
			if err != nil {
				return err
			}
			for _, d := range found {
				if h := event.Hour(d.Hour); len(hours) == 0 || hours[len(hours)-1] != h {
					hours = append(hours, h)
				}
			}
			if len(found) < marksPage {
				return nil
			}
			next = hours[len(hours)-1] + 1
		}
		return nil
	})
	return hours, err
}

// Marks implements store.Processed.
func (p *processed) Marks(ctx context.Context, merchant string, rev store.Revision, hour event.Hour) (marks []store.DocKey, err error) {
	err = p.call(ctx, "list the dirty documents of an hour", func(ctx context.Context) error {
		found, err := p.marked(ctx, append(ofMerchant(merchant, rev), bson.E{Key: "h", Value: int32(hour)}), 0, "b")
		marks = make([]store.DocKey, len(found))
		for i, d := range found {
			marks[i] = store.DocKey{Merchant: merchant, Revision: rev, Hour: hour, Batch: batchOf(d.Batch)}
		}
		return err
	})
	return marks, err
}

// byHour groups documents; the batch of a group's key is zero.
func byHour(keys []store.DocKey) map[store.DocKey][]event.BatchID {
	groups := map[store.DocKey][]event.BatchID{}
	for _, k := range keys {
		id := k.Batch
		k.Batch = event.BatchID{}
		groups[k] = append(groups[k], id)
	}
	return groups
}

// ofBatches finds documents of an hour.
func ofBatches(hour store.DocKey, ids []event.BatchID) bson.D {
	return append(ofMerchant(hour.Merchant, hour.Revision), bson.E{Key: "h", Value: int32(hour.Hour)}, bson.E{Key: "b", Value: in(idsOf(ids))})
}

// Clean implements store.Processed. All hours take one write, or few.
func (p *processed) Clean(ctx context.Context, marks []store.DocKey) error {
	if len(marks) == 0 {
		return nil
	}
	unmark := bson.D{{Key: "$unset", Value: bson.D{{Key: "dirty", Value: ""}}}}
	var models []driver.WriteModel
	var touched []string
	for hour, ids := range byHour(marks) {
		touched = append(touched, versionKey(hour.Merchant, hour.Revision))
		for part := range slices.Chunk(ids, inChunk) {
			models = append(models, driver.NewUpdateManyModel().SetFilter(ofBatches(hour, part)).SetUpdate(unmark))
		}
	}
	return p.call(ctx, "take dirty marks off", func(ctx context.Context) error {
		_, err := bulk(ctx, p.docs, models)
		return errorOr(err, func() error { return p.changed(ctx, touched) })
	})
}

// MarkDirty implements store.Processed.
func (p *processed) MarkDirty(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) error {
	if from >= to {
		return nil
	}
	return p.call(ctx, "mark a merchant's hours dirty", func(ctx context.Context) error {
		_, err := p.docs.UpdateMany(ctx, ofHours(merchant, rev, from, to), markDirty)
		return errorOr(err, func() error { return p.changed(ctx, []string{versionKey(merchant, rev)}) })
	})
}

// Extent implements store.Processed.
func (p *processed) Extent(ctx context.Context, merchant string, rev store.Revision) (first, last event.Hour, ok bool, err error) {
	err = p.call(ctx, "find the extent of a merchant's data", func(ctx context.Context) error {
		var ends [2]docDoc
		group, ctx := errgroup.WithContext(ctx)
		for i, order := range []int{1, -1} {
			group.Go(func() error {
				// The whole order of the index, so that either end is one step of it.
				sort := bson.D{{Key: "k", Value: order}, {Key: "m", Value: order}, {Key: "r", Value: order}, {Key: "h", Value: order}}
				return p.docs.FindOne(ctx, ofMerchant(merchant, rev), options.FindOne().SetSort(sort).SetProjection(only("h"))).Decode(&ends[i])
			})
		}
		err := group.Wait()
		if errors.Is(err, driver.ErrNoDocuments) {
			ok = false
			return nil
		}
		first, last, ok = event.Hour(ends[0].Hour), event.Hour(ends[1].Hour), err == nil
		return err
	})
	return first, last, ok && err == nil, err
}

// Replace implements store.Processed: the merged document is written first,
// then old ones without a mark go. Are there any left, their marks go over to
// the merged document before they go. An old one that is marked between any two
// of these steps keeps its mark or has left it to the merged document, for who
// marks an hour meets both.
func (p *processed) Replace(ctx context.Context, old []store.DocKey, merged store.Doc) error {
	if !merged.Key.IsMerged() {
		return fault.Field("merged.key.batch", "an id made by MergedBatchID")
	}
	ids := make([]event.BatchID, len(old))
	for i, k := range old {
		ids[i] = k.Batch
		k.Batch = merged.Key.Batch
		if k != merged.Key || ids[i] == merged.Key.Batch {
			return fault.Field("old", "other documents of the merged one's merchant, hour and revision")
		}
	}
	if err := tooLarge(&merged); err != nil {
		return err
	}
	slices.SortFunc(ids, func(a, b event.BatchID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	hour := merged.Key
	return p.call(ctx, "replace processed documents by a merged one", func(ctx context.Context) error {
		content := set(bson.D{{Key: "n", Value: merged.Events}, {Key: "data", Value: merged.Data}})
		if _, err := p.docs.UpdateOne(ctx, ofDoc(merged.Key), content, options.UpdateOne().SetUpsert(true)); err != nil {
			return err
		}
		for part := range slices.Chunk(ids, inChunk) {
			if err := p.removeReplaced(ctx, hour, part, merged.Key); err != nil {
				return err
			}
		}
		return p.changed(ctx, []string{versionKey(hour.Merchant, hour.Revision)})
	})
}

func (p *processed) removeReplaced(ctx context.Context, hour store.DocKey, ids []event.BatchID, merged store.DocKey) error {
	clean := append(ofBatches(hour, ids), bson.E{Key: "dirty", Value: bson.D{{Key: "$ne", Value: true}}})
	res, err := p.docs.DeleteMany(ctx, clean)
	if err != nil || res.DeletedCount == int64(len(ids)) {
		return err
	}
	left, err := p.marked(ctx, ofBatches(hour, ids), 0, "b")
	if err != nil || len(left) == 0 {
		return err
	}
	if _, err := p.docs.UpdateOne(ctx, ofDoc(merged), markDirty); err != nil {
		return err
	}
	rest := make([]event.BatchID, len(left))
	for i := range left {
		rest[i] = batchOf(left[i].Batch)
	}
	_, err = p.docs.DeleteMany(ctx, ofBatches(hour, rest))
	return err
}
