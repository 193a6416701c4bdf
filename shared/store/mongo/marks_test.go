package mongo

import (
	"context"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// revised is a document of a revision.
func revised(rev store.Revision, h event.Hour, b event.BatchID) store.Doc {
	d := document("m", h, b)
	d.Key.Revision = rev
	return d
}

// versionOf is the merchant's version.
func versionOf(t *testing.T, s *Stores) store.Version {
	t.Helper()
	v, err := s.Processed.Version(context.Background(), "m")
	must(t, err)
	return v
}

func marksIn(t *testing.T, s *Stores, queues ...store.Queue) []store.Mark {
	t.Helper()
	marks, err := s.Processed.Marks(context.Background(), "m", queues, 0, 100)
	must(t, err)
	return marks
}

func TestInterruptedRevision(t *testing.T) {
	ctx := context.Background()
	docs := []store.Doc{revised(2, 1, id(1)), revised(2, 2, id(1)), revised(2, 2, id(2))}
	rejects := []store.Reject{{Merchant: "m", Revision: 2, Batch: id(1), Hour: 1, ReceivedAt: noon, Reason: "invalid"}}
	layers := access.Layers{{Revision: 2, From: 0, To: 1}} // all ids of these tests are of 0 ms
	var before store.Version
	call := func(ctx context.Context, s *Stores) error { return s.Processed.PutRevision(ctx, 2, docs, rejects) }
	unseen := func(t *testing.T, s *Stores) {
		same(t, "documents of the ETL", scanned(t, s, "m"), []store.DocKey{document("m", 1, id(1)).Key})
		same(t, "marks", len(marks(t, s, "m")), 0)
		counts, err := s.Processed.RejectCounts(ctx, "m", nil, 0, 9)
		must(t, err)
		same(t, "counts of the ETL", len(counts), 0)
	}
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		must(t, s.Processed.Put(ctx, store.Put{Batch: id(1), Docs: []store.Doc{document("m", 1, id(1))}}))
		must(t, s.Processed.Clean(ctx, marksIn(t, s, store.LiveQueue)))
		before = versionOf(t, s)
	}, call, unseen, call, func(t *testing.T, s *Stores) {
		unseen(t, s)
		n := 0
		must(t, s.Processed.Scan(ctx, "m", 2, 0, 9, func(store.Doc) error { n++; return nil }))
		same(t, "documents of the revision", n, 3)
		counts, err := s.Processed.RejectCounts(ctx, "m", layers, 0, 9)
		must(t, err)
		same(t, "counts of the revision", counts, []store.RejectCount{{Hour: 1, Reason: "invalid", Events: 1}})
		if versionOf(t, s) == before {
			t.Error("the version is that of before")
		}
	})
}

func TestInterruptedResolve(t *testing.T) {
	ctx := context.Background()
	in := store.Put{Batch: id(1)}
	for i := range 3 {
		in.Rejects = append(in.Rejects, store.Reject{Merchant: "m", Revision: store.LiveRevision, Batch: id(1), Index: i, Hour: 1, ReceivedAt: noon, Reason: "invalid", Data: []byte{}})
	}
	again := store.Put{Batch: id(2), Docs: []store.Doc{document("m", 1, id(2)), document("m", 2, id(2))}}
	var before store.Version
	call := func(ctx context.Context, s *Stores) error { return s.Processed.Resolve(ctx, again, in.Rejects[:2]) }
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		must(t, s.Processed.Put(ctx, in))
		before = versionOf(t, s)
	}, call, func(t *testing.T, s *Stores) {
		// Rejects first: what they became is there before any of them goes.
		left, _, err := s.Processed.Rejects(ctx, "m", nil, 0, 9, "", 9)
		must(t, err)
		if docs := scanned(t, s, "m"); len(left) < 3 && len(docs) < 2 {
			t.Errorf("%d rejects are left, and documents %v", len(left), docs)
		}
	}, call, func(t *testing.T, s *Stores) {
		same(t, "documents", len(scanned(t, s, "m")), 2)
		same(t, "marks", marks(t, s, "m"), scanned(t, s, "m"))
		left, _, err := s.Processed.Rejects(ctx, "m", nil, 0, 9, "", 9)
		must(t, err)
		same(t, "rejects", len(left), 1)
		same(t, "the reject that was not given", left[0].Index, 2)
		if versionOf(t, s) == before {
			t.Error("the version is that of before")
		}
	})
}

func TestInterruptedMarks(t *testing.T) {
	ctx := context.Background()
	fill := func(t *testing.T, s *Stores) {
		for n := byte(1); n <= 3; n++ {
			must(t, s.Processed.Put(ctx, store.Put{Batch: id(n), Docs: []store.Doc{document("m", event.Hour(n), id(n))}}))
		}
		must(t, s.Processed.PutRevision(ctx, 2, []store.Doc{revised(2, 5, id(5))}, nil))
	}
	both := []store.Revision{store.LiveRevision, 2}
	nothing := func(*testing.T, *Stores) {}
	var before store.Version
	for name, q := range map[string]store.Queue{"of the ETL's queue": store.LiveQueue, "of another queue": 3} {
		t.Run("mark dirty documents "+name, func(t *testing.T) {
			call := func(ctx context.Context, s *Stores) error { return s.Processed.MarkDirty(ctx, "m", q, both, 0, 9) }
			interrupted(t, server(t), func(t *testing.T, s *Stores) {
				fill(t, s)
				before = versionOf(t, s)
			}, call, nothing, call, func(t *testing.T, s *Stores) {
				same(t, "marks", len(marksIn(t, s, q)), 4)
				if versionOf(t, s) == before {
					t.Error("the version is that of before")
				}
			})
		})
	}
	t.Run("mark", func(t *testing.T) {
		some := []store.Mark{{Merchant: "m", Queue: 3, Hour: 1, Batch: id(1)}, {Merchant: "m", Queue: 4, Hour: 1, Batch: id(1)}}
		call := func(ctx context.Context, s *Stores) error { return s.Processed.Mark(ctx, some) }
		interrupted(t, server(t), func(t *testing.T, s *Stores) { before = versionOf(t, s) }, call, nothing, call, func(t *testing.T, s *Stores) {
			same(t, "marks", marksIn(t, s, 3, 4), some)
			if versionOf(t, s) == before {
				t.Error("the version is that of before")
			}
		})
	})
	t.Run("clean", func(t *testing.T) {
		var all []store.Mark
		call := func(ctx context.Context, s *Stores) error { return s.Processed.Clean(ctx, all) }
		interrupted(t, server(t), func(t *testing.T, s *Stores) {
			fill(t, s)
			must(t, s.Processed.MarkDirty(ctx, "m", store.LiveQueue, both, 0, 9))
			must(t, s.Processed.MarkDirty(ctx, "m", 3, both, 0, 9))
			all = marksIn(t, s, store.LiveQueue, 3)
			same(t, "marks", len(all), 8)
			// One that stays.
			must(t, s.Processed.Mark(ctx, []store.Mark{{Merchant: "m", Queue: 3, Hour: 1, Batch: id(9)}}))
			before = versionOf(t, s)
		}, call, nothing, call, func(t *testing.T, s *Stores) {
			same(t, "marks", marksIn(t, s, store.LiveQueue, 3), []store.Mark{{Merchant: "m", Queue: 3, Hour: 1, Batch: id(9)}})
			same(t, "documents", len(scanned(t, s, "m")), 3)
			if versionOf(t, s) == before {
				t.Error("the version is that of before")
			}
		})
	})
}

func TestInterruptedDrop(t *testing.T) {
	ctx := context.Background()
	var marked []store.DocKey
	call := func(ctx context.Context, s *Stores) error {
		return s.Processed.Drop(ctx, "m", store.LiveRevision, 0, 9)
	}
	stay := func(t *testing.T, s *Stores) {
		same(t, "marks", marks(t, s, "m"), marked)
		n := 0
		must(t, s.Processed.Scan(ctx, "m", 2, 0, 9, func(store.Doc) error { n++; return nil }))
		same(t, "documents of another revision", n, 1)
	}
	interrupted(t, server(t), func(t *testing.T, s *Stores) {
		for n := byte(1); n <= 3; n++ {
			r := []store.Reject{{Merchant: "m", Batch: id(n), Hour: 1, ReceivedAt: noon, Reason: "invalid"}}
			must(t, s.Processed.Put(ctx, store.Put{Batch: id(n), Docs: []store.Doc{document("m", event.Hour(n), id(n))}, Rejects: r}))
		}
		must(t, s.Processed.PutRevision(ctx, 2, []store.Doc{revised(2, 5, id(5))}, nil))
		must(t, s.Processed.Clean(ctx, marksIn(t, s, store.LiveQueue)[:1]))
		marked = marks(t, s, "m")
		same(t, "marks", len(marked), 2)
	}, call, stay, call, func(t *testing.T, s *Stores) {
		stay(t, s)
		same(t, "documents", len(scanned(t, s, "m")), 0)
		counts, err := s.Processed.RejectCounts(ctx, "m", nil, 0, 9)
		must(t, err)
		same(t, "rejects", len(counts), 0)
	})
}
