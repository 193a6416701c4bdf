package mongo

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driverevent "go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// scissors end a call after some commands of it, as if its process were killed
// between two writes.
type scissors struct {
	left   atomic.Int64
	cancel context.CancelFunc
}

func (s *scissors) options() *options.ClientOptions {
	return options.Client().SetMonitor(&driverevent.CommandMonitor{Succeeded: func(_ context.Context, e *driverevent.CommandSucceededEvent) {
		if s.left.Add(-1) == 0 && s.cancel != nil {
			s.cancel()
		}
	}})
}

// interrupted runs a call that dies after 1, 2, 3… commands, each time on a
// database of its own, until one lives to its end. between and after look at
// what it left from another process, which in the end does the call again.
func interrupted(t *testing.T, uri string, prepare func(*testing.T, *Stores), call func(context.Context, *Stores) error,
	between func(*testing.T, *Stores), redo func(context.Context, *Stores) error, after func(*testing.T, *Stores),
) {
	for n := int64(1); ; n++ {
		whole := false
		t.Run(fmt.Sprintf("after %d commands", n), func(t *testing.T) {
			cfg := testConfig(uri)
			other := mustPrepare(t, cfg)
			prepare(t, other)
			cut := &scissors{}
			dying := mustOpen(t, cfg, cut.options())
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := dying.client.Ping(ctx, nil); err != nil {
				t.Fatal(err)
			}
			cut.cancel = cancel
			cut.left.Store(n)
			err := call(ctx, dying)
			whole = err == nil
			if !whole && ctx.Err() == nil {
				t.Fatal(err)
			}
			between(t, other)
			must(t, redo(context.Background(), other))
			after(t, other)
		})
		if whole || t.Failed() {
			return
		}
		if n == 100 {
			t.Fatal("the call does not end")
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %v, expected %v", what, got, want)
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func id(n byte) event.BatchID { return event.BatchID{15: n} }

// batch is the n-th batch: n events of G-A and one of G-B.
func batch(n byte) store.JournalRow {
	return store.JournalRow{
		Batch: id(n), ReceivedAt: noon.Add(time.Duration(n) * time.Second), PartitionKey: "key", Payload: []byte{n},
		Counts: []event.StreamHour{{Stream: "G-A", Hour: 7, Events: int64(n)}, {Stream: "G-B", Hour: 8, Events: 1}},
	}
}

func batches(from, to byte) (rows []store.JournalRow) {
	for n := from; n <= to; n++ {
		rows = append(rows, batch(n))
	}
	return rows
}

func bare(rows []store.JournalRow) []store.JournalRow {
	out := slices.Clone(rows)
	for i := range out {
		out[i] = store.JournalRow{Batch: out[i].Batch, ReceivedAt: out[i].ReceivedAt}
	}
	return out
}

func counts(t testing.TB, s *Stores) []store.LedgerCount {
	t.Helper()
	got, err := s.Journal.Counts(context.Background(), []string{"G-A", "G-B"}, 0, 100)
	must(t, err)
	return got
}

func ledger(a, pendingA, b, pendingB int64) []store.LedgerCount {
	return []store.LedgerCount{
		{Stream: "G-A", Hour: 7, Accepted: a, Pending: pendingA}, {Stream: "G-B", Hour: 8, Accepted: b, Pending: pendingB},
	}
}

// later is the same stores at a time when everything left alone is old.
func later(s *Stores) *Stores {
	s.now = func() time.Time { return time.Now().Add(2 * orphanAge) }
	return s
}

func payloads(t testing.TB, s *Stores) int64 {
	t.Helper()
	n, err := s.journal.payloads.CountDocuments(context.Background(), map[string]any{})
	must(t, err)
	return n
}

func TestInterruptedAppend(t *testing.T) {
	ctx := context.Background()
	rows := batches(1, 3)
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		// A mark was faster with the second one.
		must(t, s.Journal.Mark(ctx, store.StagePublished, bare(rows[1:2])))
	}, func(ctx context.Context, s *Stores) error { return s.Journal.Append(ctx, rows) },
		func(t *testing.T, s *Stores) {
			// Whoever is listed as unfinished can be published again.
			unfinished, err := s.Journal.Unfinished(ctx, store.StagePublished, time.Time{}, noon.Add(time.Hour), 10)
			must(t, err)
			for _, r := range unfinished {
				if _, err := s.Journal.Payload(ctx, r.Batch); err != nil {
					t.Errorf("batch %s is listed and has no payload: %v", r.Batch, err)
				}
			}
		}, func(ctx context.Context, s *Stores) error { return s.Journal.Append(ctx, rows) },
		func(t *testing.T, s *Stores) { same(t, "counts", counts(t, s), ledger(6, 6, 3, 3)) })
}

func TestPayloadsThatAnAppendLeft(t *testing.T) {
	ctx := context.Background()
	interrupted(t, server(t), func(*testing.T, *Stores) {}, func(ctx context.Context, s *Stores) error { return s.Journal.Append(ctx, batches(1, 2)) },
		func(t *testing.T, s *Stores) {
			must(t, s.journal.dropOrphans(ctx))
			before := payloads(t, s)
			must(t, later(s).journal.dropOrphans(ctx))
			rows, err := s.Journal.Unfinished(ctx, store.AllStages, time.Time{}, noon.Add(time.Hour), 10)
			must(t, err)
			same(t, "payloads", payloads(t, s), int64(len(rows)))
			if before < int64(len(rows)) {
				t.Errorf("a young payload went")
			}
		}, func(ctx context.Context, s *Stores) error { return s.Journal.Append(ctx, batches(1, 2)) },
		func(t *testing.T, s *Stores) { same(t, "payloads", payloads(t, s), int64(2)) })
}

func TestInterruptedMark(t *testing.T) {
	ctx := context.Background()
	rows := batches(1, 4)
	mark := func(ctx context.Context, s *Stores) error { return s.Journal.Mark(ctx, store.StageProcessed, rows) }
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		must(t, s.Journal.Append(ctx, rows[:2]))
		must(t, s.Journal.Mark(ctx, store.StageArchived, bare(rows[1:3])))
	}, mark, func(t *testing.T, s *Stores) {
		for _, c := range counts(t, s) {
			if c.Accepted > 10 || c.Pending > c.Accepted {
				t.Errorf("counts %v", c)
			}
		}
	}, mark, func(t *testing.T, s *Stores) {
		same(t, "counts", counts(t, s), ledger(10, 0, 4, 0))
		_, err := s.Journal.Payload(ctx, id(2))
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("the payload of an archived and processed batch: %v", err)
		}
		must(t, s.Journal.Append(ctx, rows)) // all of them come once more
		same(t, "counts", counts(t, s), ledger(10, 0, 4, 0))
		must(t, later(s).journal.dropOrphans(ctx))
		same(t, "payloads", payloads(t, s), int64(2)) // of 1 and 4, which wait for the archive
	})
}

// A fold that dies anywhere changes no sum, and another finishes it.
func TestInterruptedFold(t *testing.T) {
	ctx := context.Background()
	uri := server(t)
	rows := batches(1, 6)
	want := ledger(21, 6, 6, 1)
	prepare := func(t *testing.T, s *Stores) {
		must(t, s.Journal.Append(ctx, rows))
		must(t, s.Journal.Mark(ctx, store.AllStages, rows[:2]))
		must(t, s.journal.foldProcessed(ctx, 0)) // there are sums already
		must(t, s.Journal.Mark(ctx, store.StageProcessed, rows[:5]))
		must(t, s.Journal.Mark(ctx, store.AllStages, rows[:4]))
		must(t, s.Journal.Mark(ctx, store.StageProcessed, []store.JournalRow{{Batch: id(9), ReceivedAt: noon}})) // its counts come later
	}
	unchanged := func(t *testing.T, s *Stores) { same(t, "counts", counts(t, s), want) }
	settled := func(t *testing.T, s *Stores) {
		unchanged(t, s)
		must(t, later(s).journal.foldProcessed(ctx, 0))
		unchanged(t, s)
		n, err := s.journal.folds.CountDocuments(ctx, map[string]any{})
		must(t, err)
		same(t, "folds left", n, int64(0))
		_, err = s.Journal.Sweep(ctx, noon.Add(time.Hour))
		must(t, err)
		unchanged(t, s)
		left, err := s.journal.batches.CountDocuments(ctx, map[string]any{})
		must(t, err)
		same(t, "rows that are not finished", left, int64(3))
		late := batch(9)
		must(t, s.Journal.Append(ctx, []store.JournalRow{late}))
		same(t, "counts", counts(t, s), ledger(30, 6, 7, 1))
		must(t, s.journal.foldProcessed(ctx, 0))
		must(t, s.Journal.Append(ctx, []store.JournalRow{late}))
		same(t, "counts", counts(t, s), ledger(30, 6, 7, 1))
	}
	for name, call := range map[string]func(context.Context, *Stores) error{
		"fold": func(ctx context.Context, s *Stores) error { return s.journal.foldProcessed(ctx, 0) },
		"sweep": func(ctx context.Context, s *Stores) error {
			_, err := s.Journal.Sweep(ctx, noon.Add(time.Hour))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { interrupted(t, uri, prepare, call, unchanged, call, settled) })
	}
}

// Many instances fold, append and mark at the same time, and readers always
// see each batch once.
func TestCountsWhileFolding(t *testing.T) {
	const writers, each = 4, 30
	cfg := testConfig(server(t))
	first := mustPrepare(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var appended, finished atomic.Int64
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	fail := func(err error) {
		if err != nil {
			t.Error(err)
			cancel()
		}
	}
	for w := range writers {
		s := mustOpen(t, cfg)
		writing.Go(func() {
			for i := range each {
				r := batch(byte(w*each + i))
				r.Counts = []event.StreamHour{{Stream: "G-A", Hour: 7, Events: 1}}
				if i%3 == 0 { // the mark comes first
					fail(s.Journal.Mark(ctx, store.StagePublished, bare([]store.JournalRow{r})))
				}
				fail(s.Journal.Append(ctx, []store.JournalRow{r}))
				appended.Add(1)
				fail(s.Journal.Mark(ctx, store.AllStages, []store.JournalRow{r}))
				fail(s.Journal.Append(ctx, []store.JournalRow{r}))
				finished.Add(1)
			}
		})
	}
	for range 2 {
		s := mustOpen(t, cfg)
		s.now = func() time.Time { return time.Now().Add(2 * foldPatience) } // takes up the folds of others that are at work
		reading.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-done:
					return
				default:
				}
				fail(s.journal.foldProcessed(ctx, 0))
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-done:
					return
				default:
				}
				low, lowDone := appended.Load(), finished.Load()
				var c store.LedgerCount
				got, err := first.Journal.Counts(ctx, []string{"G-A"}, 0, 10)
				if fail(err); len(got) > 0 {
					c = got[0]
				}
				// A writer is at most one batch ahead of what it has said.
				if c.Accepted < low || c.Accepted > appended.Load()+writers || c.Accepted-c.Pending < lowDone {
					t.Errorf("counts %+v, while at least %d were appended and %d finished", c, low, lowDone)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	want := []store.LedgerCount{{Stream: "G-A", Hour: 7, Accepted: writers * each}}
	same(t, "counts", counts(t, first), want)
	must(t, first.journal.foldProcessed(ctx, 0))
	must(t, later(first).journal.foldProcessed(ctx, 0))
	n, err := first.Journal.Sweep(ctx, noon.Add(time.Hour))
	must(t, err)
	same(t, "swept", n, writers*each)
	same(t, "counts", counts(t, first), want)
}

func document(m string, h event.Hour, b event.BatchID) store.Doc {
	return store.Doc{Key: store.DocKey{Merchant: m, Hour: h, Revision: store.LiveRevision, Batch: b}, Events: 1, Data: []byte(m)}
}

func scanned(t testing.TB, s *Stores, m string) (keys []store.DocKey) {
	t.Helper()
	must(t, s.Processed.Scan(context.Background(), m, store.LiveRevision, 0, 100, func(d store.Doc) error {
		keys = append(keys, d.Key)
		return nil
	}))
	return keys
}

// liveMarks are what Put marks documents with.
func liveMarks(keys []store.DocKey) (marks []store.Mark) {
	for _, k := range keys {
		marks = append(marks, store.Mark{Merchant: k.Merchant, Queue: store.LiveQueue, Hour: k.Hour, Batch: k.Batch})
	}
	return marks
}

func marks(t testing.TB, s *Stores, m string) (keys []store.DocKey) {
	t.Helper()
	ctx := context.Background()
	queues := []store.Queue{store.LiveQueue}
	hours, err := s.Processed.DirtyOf(ctx, m, queues, 0, 100)
	must(t, err)
	for _, h := range hours {
		of, err := s.Processed.Marks(ctx, m, queues, h, h+1)
		must(t, err)
		if len(of) == 0 {
			t.Errorf("hour %d is dirty and has no marks", h)
		}
		for _, k := range of {
			keys = append(keys, store.DocKey{Merchant: m, Hour: h, Revision: store.LiveRevision, Batch: k.Batch})
		}
	}
	return keys
}

func TestInterruptedPut(t *testing.T) {
	ctx := context.Background()
	put := store.Put{Batch: id(1)}
	for h := range event.Hour(3) {
		put.Docs = append(put.Docs, document("m", h, id(1)))
	}
	put.Docs = append(put.Docs, document("n", 1, id(1)))
	put.Rejects = []store.Reject{{Merchant: "m", Stream: "G-\xff%", Batch: id(1), Index: 7, Hour: 1, ReceivedAt: noon, Reason: "invalid"}}
	var before store.Version
	call := func(ctx context.Context, s *Stores) error { return s.Processed.Put(ctx, put) }
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		var err error
		before, err = s.Processed.Version(ctx, "m")
		must(t, err)
	}, call, func(t *testing.T, s *Stores) {
		for _, m := range []string{"m", "n"} {
			// The server may still be at a write of which nobody hears the end.
			docs, marked := scanned(t, s, m), marks(t, s, m)
			for again := scanned(t, s, m); !reflect.DeepEqual(docs, again); again = scanned(t, s, m) {
				docs, marked = again, marks(t, s, m)
			}
			same(t, "marks are those of all documents", marked, docs)
		}
	}, call, func(t *testing.T, s *Stores) {
		same(t, "documents", len(scanned(t, s, "m")), 3)
		same(t, "marks", marks(t, s, "m"), scanned(t, s, "m"))
		now, err := s.Processed.Version(ctx, "m")
		must(t, err)
		if now == before {
			t.Error("the version is that of before")
		}
		got, err := s.Processed.RejectCounts(ctx, "m", nil, 0, 9)
		must(t, err)
		same(t, "rejects", got, []store.RejectCount{{Hour: 1, Reason: "invalid", Events: 1}})
		list, _, err := s.Processed.Rejects(ctx, "m", nil, 0, 9, "", 9)
		must(t, err)
		same(t, "stream of a reject", list[0].Stream, "G-\xff%")
	})
}

func TestInterruptedReplace(t *testing.T) {
	ctx := context.Background()
	merged := document("m", 1, store.MergedBatchID(1))
	for name, dirty := range map[string][]byte{"clean": nil, "dirty": {1, 2, 3}, "some dirty": {2}} {
		t.Run(name, func(t *testing.T) {
			var old []store.DocKey
			for n := byte(1); n <= 3; n++ {
				old = append(old, document("m", 1, id(n)).Key)
			}
			call := func(ctx context.Context, s *Stores) error { return s.Processed.Replace(ctx, old, merged) }
			interrupted(t, server(t), func(t *testing.T, s *Stores) {
				for n := byte(1); n <= 3; n++ {
					must(t, s.Processed.Put(ctx, store.Put{Batch: id(n), Docs: []store.Doc{document("m", 1, id(n))}}))
					if !slices.Contains(dirty, n) {
						must(t, s.Processed.Clean(ctx, liveMarks(old[n-1:n])))
					}
				}
			}, call, func(t *testing.T, s *Stores) {
				keys := scanned(t, s, "m")
				if len(keys) < 3 && !slices.Contains(keys, merged.Key) {
					t.Errorf("documents %v", keys)
				}
				same(t, "the hour is dirty", len(marks(t, s, "m")) > 0, len(dirty) > 0)
			}, call, func(t *testing.T, s *Stores) {
				same(t, "documents", scanned(t, s, "m"), []store.DocKey{merged.Key})
				same(t, "the hour is dirty", len(marks(t, s, "m")) > 0, len(dirty) > 0)
			})
		})
	}
}

func TestInterruptedSee(t *testing.T) {
	ctx := context.Background()
	users, millis := []uint64{1, 2, 3}, []int64{10, 10, 10}
	call := func(ctx context.Context, s *Stores) error {
		_, err := s.Visitors.See(ctx, "m", 1, users, millis, []int64{never, 20, 5})
		return err
	}
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		_, err := s.Visitors.See(ctx, "m", 1, []uint64{2, 3}, []int64{20, 5}, nil)
		must(t, err)
	}, call, func(*testing.T, *Stores) {}, call, func(t *testing.T, s *Stores) {
		got, err := s.Visitors.FirstSeen(ctx, "m", 1, users)
		must(t, err)
		same(t, "first seen", got, []int64{10, 10, 5})
	})
}

func TestInterruptedRegistry(t *testing.T) {
	ctx := context.Background()
	m := access.Merchant{ID: "m", Version: 1, CreatedAt: noon, Streams: []access.Stream{{MeasurementID: "G-1"}, {MeasurementID: "G-2"}}}
	next := m
	next.Streams = []access.Stream{{MeasurementID: "G-2"}, {MeasurementID: "G-3"}}
	agree := func(t *testing.T, s *Stores) {
		for _, id := range []string{"G-1", "G-2", "G-3"} {
			owner, err := s.Registry.MerchantByStream(ctx, id)
			found, merr := s.Registry.Merchant(ctx, "m")
			has := merr == nil && slices.Contains(streamsOf(&found), id)
			if has != (err == nil) || err == nil && owner.ID != "m" {
				t.Errorf("stream %s: %v, %v; its merchant has it: %t", id, owner.ID, err, has)
			}
		}
	}
	once := func(err error) error {
		if fault.Is(err, fault.Conflict) {
			return nil // the first try was whole
		}
		return err
	}
	t.Run("create", func(t *testing.T) {
		call := func(ctx context.Context, s *Stores) error { return s.Registry.CreateMerchant(ctx, m) }
		interrupted(t, server(t), func(*testing.T, *Stores) {}, call, agree, func(ctx context.Context, s *Stores) error { return once(call(ctx, s)) }, agree)
	})
	t.Run("update", func(t *testing.T) {
		call := func(ctx context.Context, s *Stores) error { return s.Registry.UpdateMerchant(ctx, next) }
		interrupted(t, server(t), func(t *testing.T, s *Stores) { must(t, s.Registry.CreateMerchant(ctx, m)) }, call, agree,
			func(ctx context.Context, s *Stores) error { return once(call(ctx, s)) }, func(t *testing.T, s *Stores) {
				agree(t, s)
				// What was given up is free.
				must(t, s.Registry.CreateMerchant(ctx, access.Merchant{ID: "n", Streams: []access.Stream{{MeasurementID: "G-1"}}}))
			})
	})
}

func TestInterruptedJobs(t *testing.T) {
	ctx := context.Background()
	wish := revision.Job{RequestID: "w", State: revision.Planned}
	shards := make([]revision.Shard, 3)
	for i := range shards {
		shards[i] = revision.Shard{Revision: 2, Phase: revision.Replaying, Index: i, Bytes: 1}
	}
	nothing := func(*testing.T, *Stores) {}
	t.Run("create", func(t *testing.T) {
		call := func(ctx context.Context, s *Stores) error { _, err := s.Revisions.CreateJob(ctx, wish); return err }
		interrupted(t, server(t), nothing, call, nothing, call, func(t *testing.T, s *Stores) {
			jobs, err := s.Revisions.Jobs(ctx, 0, 10)
			must(t, err)
			same(t, "jobs", len(jobs), 1)
		})
	})
	t.Run("put shards", func(t *testing.T) {
		call := func(ctx context.Context, s *Stores) error { return s.Revisions.PutShards(ctx, shards) }
		interrupted(t, server(t), nothing, call, nothing, call, func(t *testing.T, s *Stores) {
			p, err := s.Revisions.Progress(ctx, 2, revision.Replaying)
			must(t, err)
			same(t, "progress", p, store.Progress{Shards: 3, Bytes: 3})
		})
	})
	t.Run("finish", func(t *testing.T) {
		done := shards[1]
		done.Done, done.Counts.Events = noon, 5
		call := func(ctx context.Context, s *Stores) error { return s.Revisions.FinishShard(ctx, done) }
		prepare := func(t *testing.T, s *Stores) { must(t, s.Revisions.PutShards(ctx, shards)) }
		interrupted(t, server(t), prepare, call, nothing, call, func(t *testing.T, s *Stores) {
			p, err := s.Revisions.Progress(ctx, 2, revision.Replaying)
			must(t, err)
			same(t, "progress", p, store.Progress{Shards: 3, Done: 1, Bytes: 3, DoneBytes: 1, Counts: done.Counts})
		})
	})
	t.Run("drop", func(t *testing.T) {
		call := func(ctx context.Context, s *Stores) error { return s.Revisions.DropJob(ctx, 2) }
		prepare := func(t *testing.T, s *Stores) {
			must(t, s.Revisions.PutShards(ctx, shards))
			must(t, s.Revisions.PutPart(ctx, 2, "p", nil))
		}
		interrupted(t, server(t), prepare, call, nothing, call, func(t *testing.T, s *Stores) {
			left, err := s.Revisions.Shards(ctx, 2, revision.Replaying, 0, 10)
			must(t, err)
			parts, err := s.Revisions.Parts(ctx, 2, "", "", 10)
			must(t, err)
			same(t, "shards and parts", len(left)+len(parts), 0)
		})
	})
}

// Of many processes one keeps house in each period, and what Run does is seen.
func TestOneKeepsHouse(t *testing.T) {
	cfg := testConfig(server(t))
	cfg.FoldEvery, cfg.FoldAfter = 20*time.Millisecond, 0
	s := mustPrepare(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	turns := 0
	for range 3 {
		ours, err := mustOpen(t, cfg).journal.turn(ctx, time.Hour)
		must(t, err)
		if ours {
			turns++
		}
	}
	same(t, "turns", turns, 1)
	must(t, s.Journal.Mark(ctx, store.StageProcessed, batches(1, 3)))
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	eventually(t, "fold", func(ctx context.Context) error {
		n, err := s.journal.batches.CountDocuments(ctx, map[string]any{"stages": map[string]any{"$gte": bitFolded}})
		if err == nil && n < 3 {
			err = fmt.Errorf("%d rows are folded", n)
		}
		return err
	})
	same(t, "counts", counts(t, s), ledger(6, 0, 3, 0))
	cancel()
	must(t, <-ran)
}
