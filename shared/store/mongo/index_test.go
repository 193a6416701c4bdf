package mongo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driverevent "go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// shardKeys are the first fields of the collections' shard keys, as
// mongodb.md names them.
var shardKeys = map[string]string{
	batchesName: "_id", payloadsName: "_id", countsName: "s", foldsName: "_id", documentsName: "k", rejectsName: "k", marksName: "k",
	versionsName: "_id", visitorsName: "_id", merchantsName: "_id", streamsName: "_id", secretsName: "_id", countersName: "_id",
	jobsName: "_id", jobShardsName: "r", jobPartsName: "r", erasuresName: "_id",
}

// everywhere are the queries that ask all shards, by the field that they look
// by: the first of all rows, the rows of a stream that are not folded, what was
// left alone, the changes of the registry, and jobs and erasures, which are few.
var everywhere = []string{"batches stages", "payloads at", "folds at", "merchants seq", "jobs request", "jobs open", "jobs published", "erasures m", "erasures open"}

// query is a command of ours that looks for documents.
type query struct {
	collection string
	filter     bson.D
	command    bson.D // that explain takes
}

// queriesOf takes a command apart.
func queriesOf(raw bson.Raw) (found []query) {
	var cmd bson.D
	if bson.Unmarshal(raw, &cmd) != nil || len(cmd) == 0 {
		return nil
	}
	field := func(d bson.D, name string) any {
		for _, e := range d {
			if e.Key == name {
				return e.Value
			}
		}
		return nil
	}
	name, _ := cmd[0].Value.(string)
	add := func(filter any, keep ...string) {
		f, _ := filter.(bson.D)
		q := query{collection: name, filter: f, command: bson.D{cmd[0]}}
		for _, k := range keep {
			if v := field(cmd, k); v != nil {
				q.command = append(q.command, bson.E{Key: k, Value: v})
			}
		}
		found = append(found, q)
	}
	list := func(name, filter string) {
		all, _ := field(cmd, name).(bson.A)
		for _, one := range all {
			d, _ := one.(bson.D)
			f, _ := field(d, filter).(bson.D)
			found = append(found, query{collection: cmd[0].Value.(string), filter: f,
				command: bson.D{{Key: "find", Value: cmd[0].Value}, {Key: "filter", Value: f}}})
		}
	}
	switch cmd[0].Key {
	case "find":
		add(field(cmd, "filter"), "filter", "sort", "limit", "projection")
	case "findAndModify":
		q := field(cmd, "query").(bson.D)
		found = append(found, query{collection: name, filter: q, command: bson.D{{Key: "find", Value: name}, {Key: "filter", Value: q}}})
	case "aggregate":
		first, _ := field(cmd, "pipeline").(bson.A)[0].(bson.D)
		f, _ := first[0].Value.(bson.D)
		found = append(found, query{collection: name, filter: f, command: bson.D{{Key: "find", Value: name}, {Key: "filter", Value: f}}})
	case "update":
		list("updates", "q")
	case "delete":
		list("deletes", "q")
	}
	return found
}

// Every query of a run through all methods goes by an index and by the shard
// key.
func TestNoCollectionIsScanned(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]query{}
	watch := options.Client().SetMonitor(&driverevent.CommandMonitor{Started: func(_ context.Context, e *driverevent.CommandStartedEvent) {
		mu.Lock()
		defer mu.Unlock()
		for _, q := range queriesOf(e.Command) {
			seen[e.CommandName+" "+q.collection+" "+shapeOf(q.filter)] = q
		}
	}})
	s := mustPrepare(t, testConfig(server(t)), watch)
	work(t, s)
	mu.Lock()
	all := maps.Clone(seen)
	mu.Unlock()
	// The stand-in uses indexes in more cases than its explain tells.
	var build bson.M
	must(t, s.db.RunCommand(context.Background(), bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build))
	_, standIn := build["secantusVersion"]
	for name, q := range all {
		first := ""
		if len(q.filter) > 0 {
			first = q.filter[0].Key
		}
		if !slices.ContainsFunc(q.filter, func(e bson.E) bool { return e.Key == shardKeys[q.collection] }) && !slices.Contains(everywhere, q.collection+" "+first) {
			t.Errorf("%s: does not go by the shard key %q", name, shardKeys[q.collection])
		}
		if standIn {
			continue
		}
		var plan bson.M
		err := s.db.RunCommand(context.Background(), bson.D{{Key: "explain", Value: q.command}, {Key: "verbosity", Value: "queryPlanner"}}).Decode(&plan)
		if err != nil {
			t.Errorf("%s: cannot explain: %v", name, err)
			continue
		}
		if text := fmt.Sprint(plan["queryPlanner"]); strings.Contains(text, "COLLSCAN") {
			t.Errorf("%s scans the collection: %s", name, text)
		}
	}
	if len(all) < 30 {
		t.Errorf("%d queries were seen", len(all))
	}
	t.Logf("%d kinds of queries", len(all))
}

// shapeOf is a filter without its values.
func shapeOf(filter bson.D) string {
	var b strings.Builder
	for _, e := range filter {
		b.WriteString(e.Key)
		if d, ok := e.Value.(bson.D); ok {
			fmt.Fprintf(&b, "(%s)", shapeOf(d))
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// work calls every method in its usual ways.
func work(t *testing.T, s *Stores) {
	ctx := context.Background()
	rows := batches(1, 20)
	must(t, s.Journal.Mark(ctx, store.StagePublished, bare(rows[:2])))
	must(t, s.Journal.Append(ctx, rows))
	must(t, s.Journal.Mark(ctx, store.StagePublished, rows))
	must(t, s.Journal.Mark(ctx, store.StageProcessed, rows[:1]))
	must(t, s.Journal.Mark(ctx, store.AllStages, rows[2:10]))
	for _, f := range []func() error{
		func() error { _, err := s.Journal.Stages(ctx, id(1)); return err },
		func() error { _, err := s.Journal.Payload(ctx, id(1)); return err },
		func() error {
			_, err := s.Journal.Unfinished(ctx, store.StageArchived, time.Time{}, noon.Add(time.Hour), 10)
			return err
		},
		func() error { _, err := s.Journal.Watermark(ctx, noon); return err },
		func() error { return s.journal.foldProcessed(ctx, 0) },
		func() error { return later(s).journal.dropOrphans(ctx) },
		func() error { _, err := s.Journal.Sweep(ctx, noon.Add(time.Hour)); return err },
		func() error { return s.Journal.Append(ctx, rows) },
	} {
		must(t, f())
		counts(t, s)
	}
	for n := byte(1); n <= 5; n++ {
		put := store.Put{Batch: id(n), Rejects: []store.Reject{{Merchant: "m", Batch: id(n), Hour: 1, Reason: "invalid"}}}
		for h := range event.Hour(3) {
			put.Docs = append(put.Docs, document("m", h, id(n)), document("n", h, id(n)))
		}
		must(t, s.Processed.Put(ctx, put))
	}
	all := scanned(t, s, "m")
	must(t, s.Processed.Clean(ctx, liveMarks(all[:4])))
	must(t, s.Processed.MarkDirty(ctx, "m", store.LiveQueue, []store.Revision{store.LiveRevision}, 0, 1))
	must(t, s.Processed.Replace(ctx, all[:5], document("m", 0, store.MergedBatchID(1))))
	marks(t, s, "m")
	layers := access.Layers{{Revision: 2, From: 0, To: 1}, {Revision: 3, From: 5, To: 7}}
	others := []store.Queue{store.LiveQueue, 3, 4}
	must(t, s.Processed.PutRevision(ctx, 2, []store.Doc{revised(2, 1, id(1)), revised(2, 1, id(2))}, nil))
	must(t, s.Processed.Mark(ctx, []store.Mark{{Merchant: "m", Queue: 3, Hour: 1, Batch: id(1)}, {Merchant: "m", Queue: 4, Hour: 1, Batch: id(1)}}))
	for _, f := range []func() error{
		func() error { return s.Processed.MarkDirty(ctx, "m", 3, []store.Revision{store.LiveRevision, 2}, 0, 9) },
		func() error { _, err := s.Processed.DirtyOf(ctx, "m", others, 0, 9); return err },
		func() error { _, err := s.Processed.DirtyOf(ctx, "m", others[1:2], 0, 9); return err },
		func() error { _, err := s.Processed.Marks(ctx, "m", others, 0, 9); return err },
		func() error {
			_, err := s.Processed.Dirty(ctx, true, store.Shard{Count: 1}, noon, store.DirtyHour{}, 10)
			return err
		},
		func() error {
			_, err := s.Processed.Dirty(ctx, true, store.Shard{Count: 1}, noon, store.DirtyHour{Merchant: "m", Queue: 3, Hour: 1}, 10)
			return err
		},
		func() error { _, err := s.Processed.RejectCounts(ctx, "m", layers, 0, 9); return err },
		func() error {
			_, next, err := s.Processed.Rejects(ctx, "m", layers, 0, 9, "", 2)
			must(t, err)
			_, _, err = s.Processed.Rejects(ctx, "m", layers, 0, 9, next, 2)
			return err
		},
		func() error {
			return s.Processed.Resolve(ctx, store.Put{Batch: id(9), Docs: []store.Doc{document("m", 1, id(9))}}, []store.Reject{{Merchant: "m", Batch: id(1), Hour: 1}})
		},
		func() error { return s.Processed.Drop(ctx, "m", 2, 0, 9) },
		func() error { return s.Processed.Drop(ctx, "m", store.LiveRevision, 5, 9) },
		func() error { return s.Processed.DropQueue(ctx, "m", 3) },
		func() error { return s.Visitors.Drop(ctx, "m", 7) },
	} {
		must(t, f())
	}
	for _, f := range []func() error{
		func() error {
			_, err := s.Processed.Dirty(ctx, false, store.Shard{Count: 1}, noon, store.DirtyHour{}, 10)
			return err
		},
		func() error {
			_, err := s.Processed.Dirty(ctx, false, store.Shard{Count: 1}, noon, store.DirtyHour{Merchant: "m", Hour: 1}, 10)
			return err
		},
		func() error { _, _, _, err := s.Processed.Extent(ctx, "m", store.LiveRevision); return err },
		func() error { _, err := s.Processed.Version(ctx, "m"); return err },
		func() error { _, err := s.Processed.RejectCounts(ctx, "m", nil, 0, 9); return err },
		func() error {
			_, next, err := s.Processed.Rejects(ctx, "m", nil, 0, 9, "", 2)
			must(t, err)
			_, _, err = s.Processed.Rejects(ctx, "m", nil, 0, 9, next, 2)
			return err
		},
		func() error { _, err := s.Visitors.See(ctx, "m", 1, []uint64{1, 2}, []int64{5, 5}, nil); return err },
		func() error {
			_, err := s.Visitors.See(ctx, "m", 1, []uint64{1, 2}, []int64{4, 6}, []int64{5, 5})
			return err
		},
		func() error { _, err := s.Visitors.FirstSeen(ctx, "m", 1, []uint64{1, 2}); return err },
		func() error {
			return s.Registry.CreateMerchant(ctx, access.Merchant{ID: "m", Streams: []access.Stream{{MeasurementID: "G-1"}}})
		},
		func() error { return s.Registry.UpdateMerchant(ctx, access.Merchant{ID: "m"}) },
		func() error { _, err := s.Registry.Merchant(ctx, "m"); return err },
		func() error { _, _, err := s.Registry.Changes(ctx, "", 10); return err },
		func() error {
			_, err := s.Registry.Secret(ctx, "s", func() ([]byte, error) { return []byte("x"), nil })
			return err
		},
	} {
		must(t, f())
	}
	workOnJobs(t, s)
	_, err := s.Registry.MerchantByStream(ctx, "G-1")
	if err == nil {
		t.Error("the stream has gone")
	}
}

func workOnJobs(t *testing.T, s *Stores) {
	ctx := context.Background()
	r := s.Revisions
	j, err := r.CreateJob(ctx, revision.Job{RequestID: "w", State: revision.Planned})
	must(t, err)
	shard := revision.Shard{Revision: j.Revision, Phase: revision.Replaying}
	must(t, r.PutShards(ctx, []revision.Shard{shard}))
	shard.Done = noon
	for _, f := range []func() error{
		func() error { return r.UpdateJob(ctx, j) },
		func() error { _, err := r.Job(ctx, j.Revision); return err },
		func() error { _, err := r.Jobs(ctx, 0, 10); return err },
		func() error { _, err := r.Publications(ctx); return err },
		func() error { _, err := r.Shard(ctx, j.Revision, revision.Replaying, 0); return err },
		func() error { _, err := r.Unfinished(ctx, j.Revision, revision.Replaying, 0, 10); return err },
		func() error { return r.FinishShard(ctx, shard) },
		func() error { return r.FinishShard(ctx, shard) },
		func() error { _, err := r.Shards(ctx, j.Revision, revision.Replaying, 0, 10); return err },
		func() error { _, err := r.Progress(ctx, j.Revision, revision.Replaying); return err },
		func() error { return r.PutPart(ctx, j.Revision, "p/1", []byte("x")) },
		func() error { _, err := r.Parts(ctx, j.Revision, "p/", "", 10); return err },
		func() error { _, err := r.Parts(ctx, j.Revision, "p/", "p/1", 10); return err },
		func() error { return r.DropJob(ctx, j.Revision) },
	} {
		must(t, f())
	}
}
