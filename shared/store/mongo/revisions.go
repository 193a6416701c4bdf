package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// revisions keeps jobs and shards as JSON beside what they are looked for by.
// A job is created in a transaction that takes the next number: all others see
// its job, or it is tried again. All else is one write of one document.
type revisions struct {
	*numbers
	jobs, shards, parts *driver.Collection
}

func newRevisions(c *conn) *revisions {
	return &revisions{
		numbers: newNumbers(c, jobsCounter, int64(store.LiveRevision)),
		jobs:    c.db.Collection(jobsName), shards: c.db.Collection(jobShardsName), parts: c.db.Collection(jobPartsName),
	}
}

const jobsCounter = "jobs"

type jobDoc struct {
	ID        int64       `bson:"_id"` // revision
	Version   int64       `bson:"version"`
	Request   string      `bson:"request,omitempty"` // id of the wish
	Call      bson.Binary `bson:"call"`              // that created it
	Open      bool        `bson:"open"`              // it keeps others from its merchants
	Published bool        `bson:"published"`         // it has flips
	Flips     string      `bson:"flips"`             // JSON
	JSON      string      `bson:"job"`
}

func jobDocOf(j *revision.Job) (jobDoc, error) {
	doc, err := json.Marshal(j)
	d := jobDoc{
		ID: int64(j.Revision), Version: int64(j.Version), Request: text(j.RequestID),
		Open: j.State.Open(), Published: len(j.Flips) > 0, JSON: string(doc),
	}
	if err == nil && d.Published {
		doc, err = json.Marshal(j.Flips)
		d.Flips = string(doc)
	}
	return d, err
}

func (d *jobDoc) job() (j revision.Job, err error) {
	if err := json.Unmarshal([]byte(d.JSON), &j); err != nil {
		return j, fmt.Errorf("cannot read job %d: %w", d.ID, err)
	}
	return j, nil
}

// CreateJob implements store.Revisions.
func (r *revisions) CreateJob(ctx context.Context, j revision.Job) (created revision.Job, err error) {
	own, err := event.NewBatchID()
	if err != nil {
		return created, err
	}
	call := idOf(own)
	err = r.change(ctx, "create a reprocess job", func(ctx context.Context, number int64, tried bool) error {
		if number > math.MaxUint32 {
			return fault.New(fault.Conflict, "there are no more revision numbers")
		}
		created = j
		created.Revision, created.Version = store.Revision(number), 1
		if j.RequestID != "" {
			var d jobDoc
			err := r.jobs.FindOne(ctx, bson.D{{Key: "request", Value: text(j.RequestID)}}).Decode(&d)
			if err == nil {
				// The transaction ends well, so that a majority has the job.
				created, err = d.job()
				return err
			}
			if !errors.Is(err, driver.ErrNoDocuments) {
				return err
			}
		}
		there := false
		cursor, err := r.jobs.Find(ctx, bson.D{{Key: "open", Value: true}})
		if err := each(ctx, cursor, err, func(d *jobDoc) error {
			o, err := d.job()
			switch {
			case err != nil:
				return err
			case tried && slices.Equal(d.Call.Data, call.Data):
				created, there = o, true
			case j.State.Open() && o.Overlaps(&j):
				return o.InTheWay()
			}
			return nil
		}); err != nil || there {
			return err
		}
		d, err := jobDocOf(&created)
		if err != nil {
			return err
		}
		d.Call = call
		_, err = r.jobs.InsertOne(ctx, d)
		return err
	})
	if err != nil {
		return revision.Job{}, err
	}
	return created, nil
}

// Job implements store.Revisions.
func (r *revisions) Job(ctx context.Context, rev store.Revision) (j revision.Job, err error) {
	err = r.call(ctx, fmt.Sprintf("read job %d", rev), func(ctx context.Context) error {
		d, err := r.find(ctx, rev)
		if err == nil {
			j, err = d.job()
		}
		return err
	})
	return j, err
}

func (r *revisions) find(ctx context.Context, rev store.Revision) (d jobDoc, err error) {
	err = r.jobs.FindOne(ctx, bson.D{{Key: "_id", Value: int64(rev)}}).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		err = fault.New(fault.NotFound, "there is no such job")
	}
	return d, err
}

// Jobs implements store.Revisions.
func (r *revisions) Jobs(ctx context.Context, below store.Revision, limit int) (jobs []revision.Job, err error) {
	if limit <= 0 {
		return nil, nil
	}
	if below == 0 {
		below = math.MaxUint32
	}
	err = r.call(ctx, "list jobs", func(ctx context.Context) error {
		jobs = nil
		cursor, err := r.jobs.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: int64(below)}}}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(int64(limit)))
		return each(ctx, cursor, err, func(d *jobDoc) error {
			j, err := d.job()
			jobs = append(jobs, j)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

// UpdateJob implements store.Revisions.
func (r *revisions) UpdateJob(ctx context.Context, j revision.Job) error {
	expected := int64(j.Version)
	j.Version++
	d, err := jobDocOf(&j)
	if err != nil {
		return err
	}
	tried := false
	return r.call(ctx, fmt.Sprintf("update job %d", j.Revision), func(ctx context.Context) error {
		res, err := r.jobs.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "version", Value: expected}}, set(bson.D{
			{Key: "version", Value: d.Version}, {Key: "open", Value: d.Open}, {Key: "published", Value: d.Published},
			{Key: "flips", Value: d.Flips}, {Key: "job", Value: d.JSON},
		}))
		if err != nil || res.MatchedCount > 0 {
			tried = true
			return err
		}
		found, err := r.find(ctx, j.Revision)
		if err != nil {
			return err
		}
		if tried && found.Version == d.Version && found.JSON == d.JSON {
			return nil // an earlier try was whole
		}
		return fault.New(fault.Conflict, "it has changed: expected version %d, found %d", expected, found.Version)
	})
}

// Publications implements store.Revisions.
func (r *revisions) Publications(ctx context.Context) (all revision.Publications, err error) {
	err = r.call(ctx, "list what is published", func(ctx context.Context) error {
		all = nil
		cursor, err := r.jobs.Find(ctx, bson.D{{Key: "published", Value: true}},
			options.Find().SetSort(ascending("_id")).SetProjection(only("_id", "flips")))
		return each(ctx, cursor, err, func(d *jobDoc) error {
			p := revision.Publication{Revision: store.Revision(d.ID)}
			err := json.Unmarshal([]byte(d.Flips), &p.Flips)
			all = append(all, p)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// shardDoc is one shard, with what its phase's progress sums: the index holds
// all of it.
type shardDoc struct {
	Revision  int64  `bson:"r"`
	Phase     string `bson:"p"`
	Index     int32  `bson:"i"`
	Done      bool   `bson:"done"`
	Bytes     int64  `bson:"bytes"`
	Batches   int64  `bson:"batches"`
	Events    int64  `bson:"events"`
	Documents int64  `bson:"documents"`
	Rejects   int64  `bson:"rejects"`
	Merchants int64  `bson:"merchants"`
	Unchanged int64  `bson:"unchanged"`
	JSON      string `bson:"shard"`
}

// progressSums are the fields that a phase's progress sums.
var progressSums = []string{"bytes", "batches", "events", "documents", "rejects", "merchants", "unchanged"}

func shardDocOf(s *revision.Shard) (shardDoc, error) {
	doc, err := json.Marshal(s)
	d := shardDoc{Revision: int64(s.Revision), Phase: text(string(s.Phase)), Index: int32(s.Index), Done: !s.Done.IsZero(), Bytes: s.Bytes, JSON: string(doc)}
	if d.Done {
		c := s.Counts
		d.Batches, d.Events, d.Documents, d.Rejects, d.Merchants, d.Unchanged = c.Batches, c.Events, c.Documents, c.Rejects, c.Merchants, c.Unchanged
	}
	return d, err
}

func phaseOf(rev store.Revision, phase revision.State) bson.D {
	return bson.D{{Key: "r", Value: int64(rev)}, {Key: "p", Value: text(string(phase))}}
}

func shardOf(rev store.Revision, phase revision.State, index int) bson.D {
	return append(phaseOf(rev, phase), bson.E{Key: "i", Value: int64(index)})
}

// PutShards implements store.Revisions.
func (r *revisions) PutShards(ctx context.Context, shards []revision.Shard) error {
	docs := make([]shardDoc, len(shards))
	for i := range shards {
		if shards[i].Index < 0 || shards[i].Index > math.MaxInt32 {
			return fault.Field("index", "a place in the phase, from 0")
		}
		var err error
		if docs[i], err = shardDocOf(&shards[i]); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(docs, inChunk) {
		if err := r.call(ctx, "record shards", func(ctx context.Context) error {
			_, err := insertNew(ctx, r.shards, chunk)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// Shard implements store.Revisions.
func (r *revisions) Shard(ctx context.Context, rev store.Revision, phase revision.State, index int) (s revision.Shard, err error) {
	err = r.call(ctx, fmt.Sprintf("read shard %d of %s of job %d", index, phase, rev), func(ctx context.Context) error {
		var d shardDoc
		err := r.shards.FindOne(ctx, shardOf(rev, phase, index)).Decode(&d)
		if errors.Is(err, driver.ErrNoDocuments) {
			return fault.New(fault.NotFound, "there is no such shard")
		}
		if err == nil {
			err = json.Unmarshal([]byte(d.JSON), &s)
		}
		return err
	})
	return s, err
}

// FinishShard implements store.Revisions.
func (r *revisions) FinishShard(ctx context.Context, s revision.Shard) error {
	if s.Done.IsZero() {
		return fault.Field("done", "when it was finished")
	}
	d, err := shardDocOf(&s)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("finish shard %d of %s of job %d", s.Index, s.Phase, s.Revision)
	return r.call(ctx, what, func(ctx context.Context) error {
		own := shardOf(s.Revision, s.Phase, s.Index)
		res, err := r.shards.ReplaceOne(ctx, append(own[:3:3], bson.E{Key: "done", Value: false}), d)
		if err != nil || res.MatchedCount > 0 {
			return err
		}
		// It is done already, or was never put.
		err = r.shards.FindOne(ctx, own, options.FindOne().SetProjection(only("done"))).Err()
		if errors.Is(err, driver.ErrNoDocuments) {
			return fault.New(fault.NotFound, "there is no such shard")
		}
		return err
	})
}

// Shards implements store.Revisions.
func (r *revisions) Shards(ctx context.Context, rev store.Revision, phase revision.State, from, limit int) ([]revision.Shard, error) {
	return r.list(ctx, rev, phase, phaseOf(rev, phase), from, limit)
}

// Unfinished implements store.Revisions.
func (r *revisions) Unfinished(ctx context.Context, rev store.Revision, phase revision.State, from, limit int) ([]revision.Shard, error) {
	return r.list(ctx, rev, phase, append(phaseOf(rev, phase), bson.E{Key: "done", Value: false}), from, limit)
}

func (r *revisions) list(ctx context.Context, rev store.Revision, phase revision.State, filter bson.D, from, limit int) (shards []revision.Shard, err error) {
	if limit <= 0 {
		return nil, nil
	}
	filter = append(filter, bson.E{Key: "i", Value: bson.D{{Key: "$gte", Value: int64(from)}}})
	err = r.call(ctx, fmt.Sprintf("list shards of %s of job %d", phase, rev), func(ctx context.Context) error {
		shards = nil
		cursor, err := r.shards.Find(ctx, filter, options.Find().SetSort(ascending("i")).SetLimit(int64(limit)))
		return each(ctx, cursor, err, func(d *shardDoc) error {
			var s revision.Shard
			err := json.Unmarshal([]byte(d.JSON), &s)
			shards = append(shards, s)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return shards, nil
}

// Progress implements store.Revisions: it sums over the index alone.
func (r *revisions) Progress(ctx context.Context, rev store.Revision, phase revision.State) (p store.Progress, err error) {
	type group struct {
		Done   bool     `bson:"_id"`
		Shards int      `bson:"n"`
		Sums   shardDoc `bson:",inline"`
	}
	one := func(v any) bson.D { return bson.D{{Key: "$sum", Value: v}} }
	by := bson.D{{Key: "_id", Value: "$done"}, {Key: "n", Value: one(int64(1))}}
	for _, f := range progressSums {
		by = append(by, bson.E{Key: f, Value: one("$" + f)})
	}
	err = r.call(ctx, fmt.Sprintf("read the progress of %s of job %d", phase, rev), func(ctx context.Context) error {
		p = store.Progress{}
		cursor, err := r.shards.Aggregate(ctx, driver.Pipeline{
			{{Key: "$match", Value: phaseOf(rev, phase)}},
			{{Key: "$group", Value: by}},
		}, options.Aggregate().SetHint(progressIndex))
		return each(ctx, cursor, err, func(g *group) error {
			d := &g.Sums
			p.Shards += g.Shards
			p.Bytes += d.Bytes
			if g.Done {
				p.Done += g.Shards
				p.DoneBytes += d.Bytes
			}
			p.Counts.Add(revision.Counts{
				Batches: d.Batches, Events: d.Events, Documents: d.Documents, Rejects: d.Rejects, Merchants: d.Merchants, Unchanged: d.Unchanged,
			})
			return nil
		})
	})
	return p, err
}

type partDoc struct {
	Revision int64  `bson:"r"`
	Name     string `bson:"n"`
	Data     []byte `bson:"data"`
}

// PutPart implements store.Revisions.
func (r *revisions) PutPart(ctx context.Context, rev store.Revision, name string, data []byte) error {
	if err := store.CheckPart(name, data); err != nil {
		return err
	}
	d := partDoc{int64(rev), name, data}
	return r.call(ctx, fmt.Sprintf("record part %q of job %d", name, rev), func(ctx context.Context) error {
		_, err := r.parts.ReplaceOne(ctx, bson.D{{Key: "r", Value: d.Revision}, {Key: "n", Value: name}}, d, options.Replace().SetUpsert(true))
		return err
	})
}

// Parts implements store.Revisions. Names are ASCII, which MongoDB sorts by
// bytes.
func (r *revisions) Parts(ctx context.Context, rev store.Revision, prefix, after string, limit int) (parts []store.Part, err error) {
	if limit <= 0 {
		return nil, nil
	}
	names := within(prefix, prefix+"\x7f")
	if after >= prefix && after != "" {
		names[0] = bson.E{Key: "$gt", Value: after}
	}
	err = r.call(ctx, fmt.Sprintf("list parts of job %d", rev), func(ctx context.Context) error {
		parts = nil
		cursor, err := r.parts.Find(ctx, bson.D{{Key: "r", Value: int64(rev)}, {Key: "n", Value: names}},
			options.Find().SetSort(ascending("n")).SetLimit(int64(limit)))
		return each(ctx, cursor, err, func(d *partDoc) error {
			parts = append(parts, store.Part{Name: d.Name, Data: d.Data})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// DropJob implements store.Revisions.
func (r *revisions) DropJob(ctx context.Context, rev store.Revision) error {
	return r.call(ctx, fmt.Sprintf("drop job %d", rev), func(ctx context.Context) error {
		own := bson.D{{Key: "r", Value: int64(rev)}}
		_, err := r.shards.DeleteMany(ctx, own)
		if err == nil {
			_, err = r.parts.DeleteMany(ctx, own)
		}
		return err
	})
}

var _ store.Revisions = (*revisions)(nil)
