package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// Stores are the stores of one database.
type Stores struct {
	Journal   store.Journal
	Processed store.Processed
	Visitors  store.Visitors
	Registry  store.Registry
	Revisions store.Revisions
	Erasures  store.Erasures

	*conn
	journal   *journal
	log       *slog.Logger
	foldEvery time.Duration
	foldAfter time.Duration
	prepared  atomic.Bool
}

// Open makes the stores. It speaks to no server (but for mongodb+srv, whose
// servers it looks up): the first call connects, and every call after a
// failure tries to connect again.
func Open(cfg Config, log *slog.Logger) (*Stores, error) { return open(cfg, log) }

func open(cfg Config, log *slog.Logger, more ...*options.ClientOptions) (*Stores, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := cfg.connect(more...)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of MongoDB: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &conn{client: client, db: client.Database(cfg.Database), timeout: cfg.Timeout, patience: cfg.Patience, now: time.Now}
	c.health = function.NewHealth(c.ping)
	j := newJournal(c)
	return &Stores{
		Journal: j, Processed: newProcessed(c), Visitors: newVisitors(c), Registry: newRegistry(c), Revisions: newRevisions(c), Erasures: newErasures(c),
		conn: c, journal: j, log: log, foldEvery: cfg.FoldEvery, foldAfter: cfg.FoldAfter,
	}, nil
}

// The collections.
const (
	batchesName   = "batches"   // the journal's rows
	payloadsName  = "payloads"  // the batches' containers
	countsName    = "counts"    // sums of what folded rows hold, by stream and hour
	foldsName     = "folds"     // rows that are being folded into sums
	documentsName = "documents" // processed documents, with the marks that Put gives them
	marksName     = "marks"     // all other marks
	rejectsName   = "rejects"
	versionsName  = "versions"
	visitorsName  = "visitors"
	merchantsName = "merchants"
	streamsName   = "streams"
	secretsName   = "secrets"
	countersName  = "counters"
	jobsName      = "jobs"
	jobShardsName = "job_shards"
	jobPartsName  = "job_parts"
	erasuresName  = "erasures"
)

// index is one index of a collection. Those that find ids are there anyway.
type index struct {
	collection string
	name       string
	keys       bson.D
	unique     bool
	partial    bson.D
}

// markIndex begins with the field that it is partial by: else the server would
// look into each document to see what the index says already.
const markIndex = "marks"

// progressIndex holds all that a phase's progress sums.
const progressIndex = "progress"

var indexes = []index{
	// Watermark, Unfinished, fold and Sweep.
	{collection: batchesName, name: "stages", keys: ascending("stages", "received", "_id")},
	// Counts of rows that are not in sums yet.
	{collection: batchesName, name: "counts", keys: ascending("counts.s", "counts.h"), partial: bson.D{{Key: "stages", Value: bson.D{{Key: "$lt", Value: bitFolded}}}}},
	// Payloads that nobody asks for any more.
	{collection: payloadsName, name: "at", keys: ascending("at")},
	{collection: countsName, name: "sum", keys: ascending("s", "h"), unique: true},
	// Folds that another has left undone.
	{collection: foldsName, name: "at", keys: ascending("at")},
	// Put, Scan, Replace, MarkDirty, Extent.
	{collection: documentsName, name: "document", keys: ascending("k", "m", "r", "h", "b"), unique: true},
	// Dirty, DirtyOf, Marks.
	{collection: documentsName, name: markIndex, keys: ascending("dirty", "k", "m", "h", "b"), partial: bson.D{{Key: "dirty", Value: true}}},
	{collection: marksName, name: "mark", keys: ascending("k", "m", "q", "h", "b"), unique: true},
	{collection: rejectsName, name: "reject", keys: ascending("k", "m", "r", "h", "b", "i"), unique: true},
	// The batch tells whose the reject is.
	{collection: rejectsName, name: "counts", keys: ascending("k", "m", "r", "h", "refused", "reason", "events", "b")},
	{collection: merchantsName, name: "changes", keys: ascending("seq")},
	{collection: jobsName, name: "request", keys: ascending("request"), unique: true, partial: bson.D{{Key: "request", Value: bson.D{{Key: "$gt", Value: ""}}}}},
	// CreateJob: the jobs that may be in the way of another.
	{collection: jobsName, name: "open", keys: ascending("open"), partial: bson.D{{Key: "open", Value: true}}},
	{collection: jobsName, name: "published", keys: ascending("published", "_id"), partial: bson.D{{Key: "published", Value: true}}},
	{collection: jobShardsName, name: "shard", keys: ascending("r", "p", "i"), unique: true},
	// Progress, Unfinished.
	{collection: jobShardsName, name: progressIndex, keys: ascending(append([]string{"r", "p", "done", "i"}, progressSums...)...)},
	{collection: jobPartsName, name: "part", keys: ascending("r", "n"), unique: true},
	{collection: erasuresName, name: "merchant", keys: ascending("m", "_id")},
	{collection: erasuresName, name: "open", keys: ascending("open", "_id"), partial: bson.D{{Key: "open", Value: true}}},
}

// Run prepares the indexes, trying until it can, and then keeps house: it
// folds counts into sums, finishes what others have left undone and removes
// payloads that nobody will ask for. It may run in any number of processes.
// It returns nil when ctx ends.
func (s *Stores) Run(ctx context.Context) error {
	failing := false
	for pause := firstPause; !s.prepared.Load(); pause = min(2*pause, s.patience) {
		if err := s.prepare(ctx); err != nil {
			if !failing && ctx.Err() == nil {
				s.log.Warn("cannot prepare MongoDB; trying again", "error", err)
				failing = true
			}
			if !sleep(ctx, pause) {
				return nil
			}
		}
	}
	for failing = false; sleep(ctx, jitter(s.foldEvery)); {
		err := s.journal.keep(ctx, s.foldEvery, s.foldAfter)
		if failing != (err != nil) && ctx.Err() == nil {
			if failing = err != nil; failing {
				s.log.Warn("cannot keep the journal in order; trying again", "error", err)
			}
		}
	}
	return nil
}

// prepare makes the collections' indexes where they are not there. Made again
// they are left as they are.
func (s *Stores) prepare(ctx context.Context) error {
	of := map[string][]driver.IndexModel{}
	for _, x := range indexes {
		o := options.Index().SetName(x.name)
		if x.unique {
			o.SetUnique(true)
		}
		if x.partial != nil {
			o.SetPartialFilterExpression(x.partial)
		}
		of[x.collection] = append(of[x.collection], driver.IndexModel{Keys: x.keys, Options: o})
	}
	for name, models := range of {
		if err := s.call(ctx, fmt.Sprintf("make the indexes of %q", name), func(ctx context.Context) error {
			_, err := s.db.Collection(name).Indexes().CreateMany(ctx, models)
			return err
		}); err != nil {
			return err
		}
	}
	s.prepared.Store(true)
	return nil
}

func (c *conn) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.client.Ping(ctx, readpref.Primary())
}

// Ready reports whether a primary has answered lately (function.Health), and
// the indexes are there.
func (s *Stores) Ready(ctx context.Context) error { return s.fit(s.health.Ready(ctx)) }

// Ping reports whether a primary answers now, and the indexes are there: for
// who knows that it did not lately.
func (s *Stores) Ping(ctx context.Context) error { return s.fit(s.ping(ctx)) }

func (s *Stores) fit(unreached error) error {
	if unreached != nil {
		return fault.New(fault.Transient, "cannot reach the primary of MongoDB: %w", unreached)
	}
	if !s.prepared.Load() {
		return fault.New(fault.Transient, "the indexes in MongoDB are not prepared yet")
	}
	return nil
}

// Close ends all connections. Calls that are under way fail.
func (s *Stores) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil && !errors.Is(err, driver.ErrClientDisconnected) {
		return fmt.Errorf("cannot close the client of MongoDB: %w", err)
	}
	return nil
}
