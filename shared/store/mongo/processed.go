package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// processed keeps a document per merchant, hour, revision and batch. Its mark in
// LiveQueue is a field of it, and dirty hours are what the index of marked
// documents holds: a document is never without its mark, and no list of hours
// can disagree with the marks. All other marks, those of other queues and those
// that Put has not made, stand in a collection of their own (see marks.go).
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
	marks    *driver.Collection
	rejects  *driver.Collection
	versions *driver.Collection
}

func newProcessed(c *conn) *processed {
	return &processed{
		conn: c, docs: c.db.Collection(documentsName), marks: c.db.Collection(marksName),
		rejects: c.db.Collection(rejectsName), versions: c.db.Collection(versionsName),
	}
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
		Batch: idOf(d.Key.Batch), Dirty: d.Key.Revision == store.LiveRevision, Events: d.Events, Data: d.Data,
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

// ofBatches finds documents of an hour.
func ofBatches(hour store.DocKey, ids []event.BatchID) bson.D {
	return append(ofMerchant(hour.Merchant, hour.Revision), bson.E{Key: "h", Value: int32(hour.Hour)}, bson.E{Key: "b", Value: in(idsOf(ids))})
}

var markDirty = set(bson.D{{Key: "dirty", Value: true}})

// tooLarge refuses a document that MongoDB would refuse, too.
func tooLarge(d *store.Doc) error {
	if len(d.Data) > maxData {
		return fault.New(fault.TooLarge, "cannot store the document of batch %s: it has %d bytes, at most %d are taken", d.Key.Batch, len(d.Data), maxData)
	}
	return nil
}

// writing is what one write does to documents and rejects.
type writing struct {
	docs    []docDoc
	rejects []rejectDoc
	gone    []rejectDoc // to be removed when all else is written
	touched []string    // merchants
}

// writingOf checks and translates what is to be written of a revision; batch is
// that of all documents and rejects, nil for any.
func writingOf(rev store.Revision, batch *event.BatchID, docs []store.Doc, rejects []store.Reject) (*writing, error) {
	w := &writing{docs: make([]docDoc, len(docs)), rejects: make([]rejectDoc, len(rejects)), touched: make([]string, len(docs))}
	for i := range docs {
		d := &docs[i]
		if batch != nil && d.Key.Batch != *batch {
			return nil, fault.Field("docs.key.batch", "the batch of the put, "+batch.String())
		}
		if d.Key.Revision != rev {
			return nil, fault.Field("docs.key.revision", fmt.Sprintf("the revision that is written, %d", rev))
		}
		if err := tooLarge(d); err != nil {
			return nil, err
		}
		w.docs[i], w.touched[i] = docOf(d), d.Key.Merchant
	}
	for i := range rejects {
		r := &rejects[i]
		if batch != nil && r.Batch != *batch {
			return nil, fault.Field("rejects.batch", "the batch of the put, "+batch.String())
		}
		if r.Revision != rev && r.Revision != 0 {
			return nil, fault.Field("rejects.revision", fmt.Sprintf("the revision that is written, %d", rev))
		}
		w.rejects[i] = rejectDocOf(r, rev)
	}
	w.touch(rejects)
	return w, nil
}

// touch adds the merchants of rejects. Those of no merchant have no version:
// all instances would write the same one.
func (w *writing) touch(rejects []store.Reject) {
	for i := range rejects {
		if rejects[i].Merchant != "" {
			w.touched = append(w.touched, rejects[i].Merchant)
		}
	}
}

// write does it. Nearly always all is new and inserted; what is there already
// is written over.
func (p *processed) write(ctx context.Context, what string, w *writing) error {
	if len(w.docs) == 0 && len(w.rejects) == 0 && len(w.gone) == 0 {
		return nil
	}
	return p.call(ctx, what, func(ctx context.Context) error {
		both, bctx := errgroup.WithContext(ctx)
		both.Go(func() error { return insertOrReplace(bctx, p.docs, w.docs, (*docDoc).key) })
		if len(w.rejects) > 0 {
			both.Go(func() error { return insertOrReplace(bctx, p.rejects, w.rejects, (*rejectDoc).key) })
		}
		if err := both.Wait(); err != nil {
			return err
		}
		if err := p.removeRejects(ctx, w.gone); err != nil {
			return err
		}
		return p.changed(ctx, w.touched)
	})
}

// Put implements store.Processed.
func (p *processed) Put(ctx context.Context, put store.Put) error {
	w, err := writingOf(store.LiveRevision, &put.Batch, put.Docs, put.Rejects)
	if err != nil {
		return err
	}
	return p.write(ctx, "put the processed data of batch "+put.Batch.String(), w)
}

// PutRevision implements store.Processed.
func (p *processed) PutRevision(ctx context.Context, rev store.Revision, docs []store.Doc, rejects []store.Reject) error {
	if rev <= store.LiveRevision {
		return fault.Field("revision", "one above that of the ETL")
	}
	w, err := writingOf(rev, nil, docs, rejects)
	if err != nil {
		return err
	}
	return p.write(ctx, fmt.Sprintf("put processed data of revision %d", rev), w)
}

// Resolve implements store.Processed: the rejects go when all else is written.
// Interrupted between the two, their events are counted and listed as rejected
// until it is done again.
func (p *processed) Resolve(ctx context.Context, put store.Put, rejects []store.Reject) error {
	w, err := writingOf(store.LiveRevision, &put.Batch, put.Docs, put.Rejects)
	if err != nil {
		return err
	}
	w.gone = make([]rejectDoc, len(rejects))
	for i := range rejects {
		if rejects[i].Batch == put.Batch {
			return fault.Field("rejects.batch", "another than that of the put")
		}
		w.gone[i] = rejectDocOf(&rejects[i], max(rejects[i].Revision, store.LiveRevision))
	}
	w.touch(rejects)
	return p.write(ctx, "put what rejects became as batch "+put.Batch.String(), w)
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

type versionDoc struct {
	ID      string `bson:"_id"` // merchant
	Version int64  `bson:"v,omitempty"`
	Claim   int64  `bson:"c,omitempty"`
}

// changed gives the versions of merchants a number that nobody has met: a random one, so that
// none comes again when the collection is dropped and begins anew. One update
// takes all versions that are there, which are nearly always all.
func (p *processed) changed(ctx context.Context, merchants []string) error {
	if len(merchants) == 0 {
		return nil
	}
	keys := texts(merchants)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	v := int64(rand.Uint64())
	res, err := p.versions.UpdateMany(ctx, bson.D{{Key: "_id", Value: in(keys)}}, set(bson.D{{Key: "v", Value: v}}))
	if err != nil || res.MatchedCount == int64(len(keys)) {
		return err
	}
	docs := make([]versionDoc, len(keys))
	for i, k := range keys {
		docs[i] = versionDoc{ID: k, Version: v}
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
func (p *processed) Version(ctx context.Context, merchant string) (v store.Version, err error) {
	d, err := p.versionOf(ctx, "read the version of a merchant's data", merchant)
	return store.Version{N: max(uint64(d.Version), 1)}, err // never the zero version
}

func (p *processed) versionOf(ctx context.Context, what, merchant string) (d versionDoc, err error) {
	err = p.call(ctx, what, func(ctx context.Context) error {
		d = versionDoc{}
		err := p.versions.FindOne(ctx, bson.D{{Key: "_id", Value: text(merchant)}}).Decode(&d)
		if errors.Is(err, driver.ErrNoDocuments) {
			err = nil
		}
		return err
	})
	return d, err
}

// Claim implements store.Processed. Asked again after an answer that was lost it
// meets its own claim, which is as good as another's.
func (p *processed) Claim(ctx context.Context, merchant string, last uint64) (ok bool, err error) {
	err = p.call(ctx, "claim a merchant's hours", func(ctx context.Context) error {
		before, next := any(int64(last)), int64(rand.Uint64()|1)
		if last == 0 {
			before = nil // none is there
		}
		res, err := p.versions.UpdateOne(ctx, bson.D{{Key: "_id", Value: text(merchant)}, {Key: "c", Value: before}}, set(bson.D{{Key: "c", Value: next}}))
		ok = err == nil && res.MatchedCount == 1
		if err != nil || ok || last != 0 {
			return err
		}
		// There is nothing of the merchant, or others have claimed.
		there, err := insertNew(ctx, p.versions, []versionDoc{{ID: text(merchant), Claim: next}})
		ok = err == nil && len(there) == 0
		return err
	})
	return ok, err
}

// Claimed implements store.Processed.
func (p *processed) Claimed(ctx context.Context, merchant string) (n uint64, err error) {
	d, err := p.versionOf(ctx, "see who claims a merchant's hours", merchant)
	return uint64(d.Claim), err
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

// Pick implements store.Processed. Cost: a query for keys and numbers, and then one
// for as many documents of an hour as fit pickAtOnce.
func (p *processed) Pick(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour,
	want func(store.DocKey, int) bool, fn func(store.Doc) error,
) error {
	if from >= to {
		return nil
	}
	asked := map[store.DocKey]bool{}
	var wanted []store.DocKey // and did not come yet
	return p.call(ctx, "pick processed data", func(ctx context.Context) error {
		for range maxTries {
			cursor, err := p.docs.Find(ctx, ofHours(merchant, rev, from, to), options.Find().SetSort(ascending("h", "b")).SetProjection(only("h", "b", "n")))
			if err := each(ctx, cursor, err, func(d *docDoc) error {
				key := store.DocKey{Merchant: merchant, Revision: rev, Hour: event.Hour(d.Hour), Batch: batchOf(d.Batch)}
				if !asked[key] {
					if asked[key] = true; want(key, d.Events) {
						wanted = append(wanted, key)
					}
				}
				return ctx.Err()
			}); err != nil {
				return err
			}
			gone := false
			for len(wanted) > 0 {
				n, hour := 1, wanted[0].Hour
				for n < min(len(wanted), pickAtOnce) && wanted[n].Hour == hour {
					n++
				}
				came, err := p.pick(ctx, wanted[:n], fn)
				if err != nil {
					wanted = slices.DeleteFunc(wanted, func(k store.DocKey) bool { return k.Hour == hour && came[k.Batch] })
					return err
				}
				gone = gone || len(came) < n
				wanted = wanted[n:]
			}
			if !gone {
				return nil
			}
			// What was listed has been replaced since: look at what stands there now.
		}
		return fault.New(fault.Transient, "cannot pick processed data of merchant %q: they are replaced as fast as they are read", merchant)
	})
}

// pickAtOnce is how many documents are named in one query.
const pickAtOnce = 500

// pick calls fn with documents of one hour, and says which of them were there.
func (p *processed) pick(ctx context.Context, keys []store.DocKey, fn func(store.Doc) error) (came map[event.BatchID]bool, err error) {
	ids := make([]event.BatchID, len(keys))
	for i, k := range keys {
		ids[i] = k.Batch
	}
	came = make(map[event.BatchID]bool, len(keys))
	cursor, err := p.docs.Find(ctx, ofBatches(keys[0], ids), options.Find().SetSort(ascending("b")).SetProjection(only("b", "n", "data")))
	return came, each(ctx, cursor, err, func(d *docDoc) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := keys[0]
		key.Batch = batchOf(d.Batch)
		came[key.Batch] = true
		if err := fn(store.Doc{Key: key, Events: d.Events, Data: d.Data}); err != nil {
			return callerError{err}
		}
		return nil
	})
}

// Extent implements store.Processed. Cost: two look-ups for each revision, side
// by side.
func (p *processed) Extent(ctx context.Context, merchant string, revs ...store.Revision) (first, last event.Hour, ok bool, err error) {
	err = p.call(ctx, "find the extent of a merchant's data", func(ctx context.Context) error {
		ends := make([]docDoc, 2*len(revs))
		none := make([]bool, len(ends))
		group, ctx := errgroup.WithContext(ctx)
		for i := range ends {
			order := 1 - 2*(i%2)
			group.Go(func() error {
				// The whole order of the index, so that either end is one step of it.
				sort := bson.D{{Key: "k", Value: order}, {Key: "m", Value: order}, {Key: "r", Value: order}, {Key: "h", Value: order}}
				err := p.docs.FindOne(ctx, ofMerchant(merchant, revs[i/2]), options.FindOne().SetSort(sort).SetProjection(only("h"))).Decode(&ends[i])
				if none[i] = errors.Is(err, driver.ErrNoDocuments); none[i] {
					return nil
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		first, last, ok = 0, 0, false
		for i := 0; i < len(ends); i += 2 {
			if none[i] || none[i+1] {
				continue
			}
			from, to := event.Hour(ends[i].Hour), event.Hour(ends[i+1].Hour)
			if !ok {
				first, last, ok = from, to, true
			}
			first, last = min(first, from), max(last, to)
		}
		return nil
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
		return p.changed(ctx, []string{hour.Merchant})
	})
}

func (p *processed) removeReplaced(ctx context.Context, hour store.DocKey, ids []event.BatchID, merged store.DocKey) error {
	clean := append(ofBatches(hour, ids), bson.E{Key: "dirty", Value: bson.D{{Key: "$ne", Value: true}}})
	res, err := p.docs.DeleteMany(ctx, clean)
	if err != nil || res.DeletedCount == int64(len(ids)) {
		return err
	}
	left, err := p.marked(ctx, inDocs, ofBatches(hour, ids), 0, "b")
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

// dropPage is about how many documents one delete takes away.
const dropPage = 1000

// Drop implements store.Processed. Marks that are fields of documents become
// documents of their own first.
func (p *processed) Drop(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour) error {
	if from >= to {
		return nil
	}
	const what = "drop processed data of a revision"
	if rev == store.LiveRevision {
		err := p.call(ctx, what, func(ctx context.Context) error {
			marks, err := p.marked(ctx, inDocs, ofRange(merchant, from, to), 0, "k", "m", "h", "b")
			if err == nil {
				_, err = insertNew(ctx, p.marks, marks)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, c := range []*driver.Collection{p.docs, p.rejects} {
		if err := p.dropHours(ctx, what, c, ofMerchant(merchant, rev), from, to); err != nil {
			return err
		}
	}
	return p.call(ctx, what, func(ctx context.Context) error { return p.changed(ctx, []string{merchant}) })
}

// dropHours deletes what an index has under the fields of a filter and then the
// hours [from, to), in portions that take no deadline's length.
func (p *processed) dropHours(ctx context.Context, what string, c *driver.Collection, of bson.D, from, to event.Hour) error {
	var order []string
	for _, e := range of {
		order = append(order, e.Key)
	}
	one := options.FindOne().SetSort(ascending(append(order, "h")...)).SetSkip(dropPage).SetProjection(only("h"))
	for from < to {
		err := p.call(ctx, what, func(ctx context.Context) error {
			upper := to
			var next struct {
				Hour int32 `bson:"h"`
			}
			switch err := c.FindOne(ctx, append(slices.Clip(of), bson.E{Key: "h", Value: within(int32(from), int32(to))}), one).Decode(&next); {
			case err == nil:
				upper = max(event.Hour(next.Hour), from+1)
			case !errors.Is(err, driver.ErrNoDocuments):
				return err
			}
			_, err := c.DeleteMany(ctx, append(slices.Clip(of), bson.E{Key: "h", Value: within(int32(from), int32(upper))}))
			if err == nil {
				from = upper
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
