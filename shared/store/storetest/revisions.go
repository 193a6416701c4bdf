package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// job is one over some merchants, or all.
func job(requestID string, merchants ...string) revision.Job {
	return revision.Job{
		Request: revision.Request{
			From: noon.Add(-time.Hour), To: noon, Lateness: "1h", Merchants: merchants, Reason: "bots, \"seen\" as <people>",
			Mode: revision.ModePublish, Bounds: revision.Bounds{Events: 0.01}, By: "operator",
		},
		RequestID: requestID, CreatedAt: noon, State: revision.Planned, Since: noon, Cut: noon.Add(time.Hour),
		Problems: []revision.Problem{{Shard: "replaying/1", Path: "/a", Detail: "cut short"}}, ProblemCount: 1,
	}
}

func shard(rev store.Revision, phase revision.State, index int) revision.Shard {
	return revision.Shard{Revision: rev, Phase: phase, Index: index, Files: []string{name(index)}, Bytes: int64(index) + 1}
}

func finished(s revision.Shard, ms int) revision.Shard {
	s.Done, s.Attempts = at(ms), 2
	s.Counts = revision.Counts{Batches: 1, Events: 10, Documents: 2, Rejects: 3, Merchants: 5, Unchanged: 4}
	s.Problems = []revision.Problem{{Shard: "s", Detail: "d"}}
	return s
}

func indexes(shards []revision.Shard) (all []int) {
	for i := range shards {
		all = append(all, shards[i].Index)
	}
	return all
}

// Revisions is the suite of store.Revisions.
func Revisions(t *testing.T, open Opener[store.Revisions]) {
	type R = store.Revisions
	sub(t, open, "create and read", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		_, err := r.Job(ctx, 2)
		wantKind(t, err, fault.NotFound)
		a, err := r.CreateJob(ctx, job("", "a", "b"))
		ok(t, err)
		want := job("", "a", "b")
		want.Revision, want.Version = a.Revision, 1
		same(t, "created job", a, want)
		if a.Revision <= store.LiveRevision {
			t.Fatalf("revision is %d, expected one above %d", a.Revision, store.LiveRevision)
		}
		b, err := r.CreateJob(ctx, job("", "c"))
		ok(t, err)
		c, err := r.CreateJob(ctx, job("", "d"))
		ok(t, err)
		if b.Revision <= a.Revision || c.Revision <= b.Revision {
			t.Fatalf("revisions are %d, %d, %d, expected each above the last", a.Revision, b.Revision, c.Revision)
		}
		got, err := r.Job(ctx, b.Revision)
		ok(t, err)
		same(t, "job", got, b)
		for _, l := range []struct {
			below store.Revision
			limit int
			want  []revision.Job
		}{
			{0, 10, []revision.Job{c, b, a}}, {0, 2, []revision.Job{c, b}}, {0, 0, nil},
			{c.Revision, 10, []revision.Job{b, a}}, {b.Revision, 1, []revision.Job{a}}, {a.Revision, 10, nil}, {1, 10, nil},
		} {
			got, err := r.Jobs(ctx, l.below, l.limit)
			ok(t, err)
			same(t, fmt.Sprintf("at most %d jobs below %d", l.limit, l.below), got, l.want)
		}
	})
	sub(t, open, "two over the same merchants", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		first, err := r.CreateJob(ctx, job("", "a", "b"))
		ok(t, err)
		for _, j := range []revision.Job{job("", "b", "c"), job("")} {
			_, err = r.CreateJob(ctx, j)
			wantKind(t, err, fault.Conflict)
			if !strings.Contains(err.Error(), fmt.Sprintf("job %d", first.Revision)) {
				t.Fatalf("error %q does not name job %d", err, first.Revision)
			}
		}
		refused := job("wish/no", "b")
		refused.State = revision.Refused
		_, err = r.CreateJob(ctx, refused) // it is over nobody's data
		ok(t, err)
		closing, err := r.CreateJob(ctx, job("", "c"))
		ok(t, err)
		for _, state := range []revision.State{revision.Compared, revision.Failed, revision.RolledBack, revision.Discarded, revision.Published} {
			closing.State = state
			ok(t, r.UpdateJob(ctx, closing))
			closing.Version++
			next, err := r.CreateJob(ctx, job("", "c"))
			if state.Open() {
				wantKind(t, err, fault.Conflict)
				continue
			}
			ok(t, err)
			next.State = revision.Discarded
			ok(t, r.UpdateJob(ctx, next))
		}
		_, err = r.CreateJob(ctx, job("")) // of all, and the first is open
		wantKind(t, err, fault.Conflict)
		first.State = revision.Published
		ok(t, r.UpdateJob(ctx, first))
		all, err := r.CreateJob(ctx, job(""))
		ok(t, err)
		_, err = r.CreateJob(ctx, job("", "z"))
		wantKind(t, err, fault.Conflict)
		all.State = revision.Discarded
		ok(t, r.UpdateJob(ctx, all))
		last, err := r.CreateJob(ctx, job("", "z"))
		ok(t, err)
		if last.Revision <= all.Revision {
			t.Fatalf("revision %d follows %d", last.Revision, all.Revision)
		}
	})
	sub(t, open, "a wish that comes twice is one job", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		a, err := r.CreateJob(ctx, job("wish/1", "a"))
		ok(t, err)
		again, err := r.CreateJob(ctx, job("wish/1", "a", "b"))
		ok(t, err)
		same(t, "job of the same wish", again, a)
		a.State = revision.Discarded
		ok(t, r.UpdateJob(ctx, a))
		a.Version++
		again, err = r.CreateJob(ctx, job("wish/1", "a"))
		ok(t, err)
		same(t, "job of the same wish", again, a)
		b, err := r.CreateJob(ctx, job("wish/2", "a"))
		ok(t, err)
		if b.Revision <= a.Revision {
			t.Fatalf("revision %d follows %d", b.Revision, a.Revision)
		}
		_, err = r.CreateJob(ctx, job("wish/3", "a"))
		wantKind(t, err, fault.Conflict)
		b.State = revision.Discarded
		ok(t, r.UpdateJob(ctx, b))
		// A conflict has left no wish behind.
		c, err := r.CreateJob(ctx, job("wish/3", "a"))
		ok(t, err)
		same(t, "request id", c.RequestID, "wish/3")
	})
	sub(t, open, "many create at once", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		const n = 12
		var own [n]store.Revision
		var won atomic.Int64
		var wish [n]store.Revision
		parallel(t, n, func(i int) error {
			j, err := r.CreateJob(ctx, job("", name(i)))
			if err != nil {
				return err
			}
			own[i] = j.Revision
			switch _, err = r.CreateJob(ctx, job("", "shared")); {
			case err == nil:
				won.Add(1)
			case !fault.Is(err, fault.Conflict):
				return err
			}
			j, err = r.CreateJob(ctx, job("one wish", "wished"))
			wish[i] = j.Revision
			return err
		})
		same(t, "winners of one merchant", won.Load(), int64(1))
		for _, rev := range wish {
			same(t, "job of one wish", rev, wish[0])
		}
		slices.Sort(own[:])
		if len(slices.Compact(own[:])) != n || slices.Contains(own[:], wish[0]) {
			t.Fatalf("revisions %v and %d are not all different", own, wish[0])
		}
		jobs, err := r.Jobs(ctx, 0, 100)
		ok(t, err)
		same(t, "jobs", len(jobs), n+2)
	})
	sub(t, open, "update by version", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		none := job("")
		none.Revision, none.Version = 7, 1
		wantKind(t, r.UpdateJob(ctx, none), fault.NotFound)
		j, err := r.CreateJob(ctx, job("w"))
		ok(t, err)
		old := j
		j.State, j.Since, j.Problems, j.ProblemCount = revision.Replaying, at(5), nil, 0
		j.Phases = []revision.Phase{{Name: revision.Replaying, Shards: 3, Begun: at(5), Planned: true}}
		ok(t, r.UpdateJob(ctx, j))
		wantKind(t, r.UpdateJob(ctx, j), fault.Conflict)
		wantKind(t, r.UpdateJob(ctx, old), fault.Conflict)
		j.Version++
		got, err := r.Job(ctx, j.Revision)
		ok(t, err)
		same(t, "job", got, j)
		var won atomic.Int64
		parallel(t, 12, func(i int) error {
			j := j
			j.By = name(i % 3)
			err := r.UpdateJob(ctx, j)
			if err == nil {
				won.Add(1)
			} else if !fault.Is(err, fault.Conflict) {
				return err
			}
			return nil
		})
		same(t, "winners", won.Load(), int64(1))
	})
	sub(t, open, "publications", func(t *testing.T, r R, reopen func() R) {
		ctx := deadline(t)
		all, err := r.Publications(ctx)
		ok(t, err)
		same(t, "publications", all, revision.Publications{})
		var jobs []revision.Job
		for i := range 4 {
			j, err := r.CreateJob(ctx, job("", name(i)))
			ok(t, err)
			jobs = append(jobs, j)
		}
		flip := func(i int, f revision.Flip, state revision.State) {
			t.Helper()
			jobs[i].Flips, jobs[i].State = append(jobs[i].Flips, f), state
			ok(t, r.UpdateJob(ctx, jobs[i]))
			jobs[i].Version++
		}
		on := revision.Flip{At: at(1), On: true, By: "o", Reason: "right"}
		off := revision.Flip{At: at(3), By: "o", Reason: "wrong"}
		flip(2, on, revision.Published)
		flip(0, on, revision.Published)
		flip(2, off, revision.RolledBack)
		all, err = r.Publications(ctx)
		ok(t, err)
		want := revision.Publications{{Revision: jobs[0].Revision, Flips: []revision.Flip{on}}, {Revision: jobs[2].Revision, Flips: []revision.Flip{on, off}}}
		same(t, "publications", all, want)
		ok(t, r.DropJob(ctx, jobs[2].Revision))
		all, err = mustReopen(t, reopen).Publications(ctx)
		ok(t, err)
		same(t, "publications", all, want)
	})
	sub(t, open, "shards", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		const rev = 5
		_, err := r.Shard(ctx, rev, revision.Replaying, 0)
		wantKind(t, err, fault.NotFound)
		p, err := r.Progress(ctx, rev, revision.Replaying)
		ok(t, err)
		same(t, "progress of nothing", p, store.Progress{})
		ok(t, r.PutShards(ctx, nil))
		put := []revision.Shard{shard(rev, revision.Replaying, 3), shard(rev, revision.Replaying, 0), shard(rev, revision.Replaying, 300), shard(rev, revision.Replaying, 70_000)}
		ok(t, r.PutShards(ctx, put))
		// Other jobs and phases are apart.
		ok(t, r.PutShards(ctx, []revision.Shard{shard(rev+1, revision.Replaying, 4), shard(rev, revision.Building, 5), shard(rev, revision.Replaying+"2", 6)}))
		wantKind(t, r.PutShards(ctx, []revision.Shard{shard(rev, revision.Replaying, -1)}), fault.Invalid)
		list := func(unfinished bool, from, limit int, want ...int) {
			t.Helper()
			fn := r.Shards
			if unfinished {
				fn = r.Unfinished
			}
			got, err := fn(ctx, rev, revision.Replaying, from, limit)
			ok(t, err)
			same(t, fmt.Sprintf("at most %d shards from %d on", limit, from), indexes(got), want)
		}
		list(false, 0, 10, 0, 3, 300, 70_000)
		list(false, 1, 2, 3, 300)
		list(false, 70_001, 10)
		list(false, 0, 0)
		list(true, 0, 10, 0, 3, 300, 70_000)
		same(t, "progress", progress(t, r, rev), store.Progress{Shards: 4, Bytes: 1 + 4 + 301 + 70_001})

		wantKind(t, r.FinishShard(ctx, put[0]), fault.Invalid)
		wantKind(t, r.FinishShard(ctx, finished(shard(rev, revision.Replaying, 1), 0)), fault.NotFound)
		done := finished(put[0], 7)
		ok(t, r.FinishShard(ctx, done))
		// Again: what was there first stays, of plan and end.
		other := finished(put[0], 8)
		other.Counts.Events = 1
		ok(t, r.FinishShard(ctx, other))
		ok(t, r.PutShards(ctx, append([]revision.Shard{shard(rev, revision.Replaying, 2), shard(rev, revision.Replaying, 2)}, put...)))
		got, err := r.Shard(ctx, rev, revision.Replaying, 3)
		ok(t, err)
		same(t, "shard", got, done)
		list(false, 0, 10, 0, 2, 3, 300, 70_000)
		list(true, 0, 10, 0, 2, 300, 70_000)
		list(true, 2, 2, 2, 300)
		same(t, "progress", progress(t, r, rev), store.Progress{Shards: 5, Done: 1, Bytes: 1 + 3 + 4 + 301 + 70_001, DoneBytes: 4, Counts: done.Counts})
		_, err = r.Shard(ctx, rev, revision.Building, 3)
		wantKind(t, err, fault.NotFound)

		// A shard that has no work is put as done.
		ok(t, r.PutShards(ctx, []revision.Shard{finished(shard(rev, revision.Replaying, 9), 1)}))
		list(true, 0, 10, 0, 2, 300, 70_000)
		twice := done.Counts
		twice.Add(done.Counts)
		same(t, "progress", progress(t, r, rev), store.Progress{Shards: 6, Done: 2, Bytes: 1 + 3 + 4 + 10 + 301 + 70_001, DoneBytes: 14, Counts: twice})
	})
	sub(t, open, "shards are put and finished once by many", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		const rev, n = 3, 20
		var shards []revision.Shard
		for i := range n {
			shards = append(shards, shard(rev, revision.Replaying, i))
		}
		parallel(t, 8, func(i int) error {
			if err := r.PutShards(ctx, shards[(i%2)*n/2:]); err != nil {
				return err
			}
			for k := range n / 2 {
				// Each worker counts differently: only one of them may count.
				s := finished(shards[n/2+k], i)
				s.Counts = revision.Counts{Events: int64(i + 1), Documents: 1}
				if err := r.FinishShard(ctx, s); err != nil {
					return err
				}
			}
			return nil
		})
		all, err := r.Shards(ctx, rev, revision.Replaying, 0, 100)
		ok(t, err)
		want := store.Progress{Shards: n, Done: n / 2}
		for i := range all {
			want.Bytes += all[i].Bytes
			if !all[i].Done.IsZero() {
				want.DoneBytes += all[i].Bytes
				want.Counts.Add(all[i].Counts)
			}
		}
		same(t, "documents", want.Counts.Documents, int64(n/2))
		same(t, "progress", progress(t, r, rev), want)
		left, err := r.Unfinished(ctx, rev, revision.Replaying, 0, 100)
		ok(t, err)
		same(t, "unfinished", len(left), n/2)
	})
	sub(t, open, "parts", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		for i, n := range []string{"b/2", "a", "b/1", "b", "b0", "b/10", "c%41", "~"} {
			ok(t, r.PutPart(ctx, 4, n, []byte{byte(i)}))
			ok(t, r.PutPart(ctx, 5, n, nil))
		}
		ok(t, r.PutPart(ctx, 4, "b/1", []byte("new")))
		for _, l := range []struct {
			prefix, after string
			limit         int
			want          string
		}{
			{"", "", 100, "a b b/1 b/10 b/2 b0 c%41 ~"},
			{"b/", "", 100, "b/1 b/10 b/2"},
			{"b/", "b/1", 1, "b/10"},
			{"b/", "b/2", 100, ""},
			{"b/", "a", 100, "b/1 b/10 b/2"},
			{"b/", "c", 100, ""},
			{"c%", "", 100, "c%41"},
			{"", "b0", 100, "c%41 ~"},
			{"x", "", 100, ""},
			{"", "", 0, ""},
		} {
			parts, err := r.Parts(ctx, 4, l.prefix, l.after, l.limit)
			ok(t, err)
			var names []string
			for _, p := range parts {
				names = append(names, p.Name)
			}
			same(t, fmt.Sprintf("parts %q after %q", l.prefix, l.after), strings.Join(names, " "), l.want)
		}
		parts, err := r.Parts(ctx, 4, "b/1", "", 1)
		ok(t, err)
		same(t, "part", parts, []store.Part{{Name: "b/1", Data: []byte("new")}})
		for _, n := range []string{"", "a b", "ä", "a\x00", "a\xff", strings.Repeat("n", store.MaxPartName+1)} {
			wantKind(t, r.PutPart(ctx, 4, n, nil), fault.Invalid)
		}
		big := make([]byte, store.MaxPart+1)
		wantKind(t, r.PutPart(ctx, 4, "big", big), fault.TooLarge)
		ok(t, r.PutPart(ctx, 4, strings.Repeat("n", store.MaxPartName), big[1:]))
		parts, err = r.Parts(ctx, 4, "n", "", 1)
		ok(t, err)
		same(t, "bytes", len(parts[0].Data), store.MaxPart)
	})
	sub(t, open, "drop", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		j, err := r.CreateJob(ctx, job(""))
		ok(t, err)
		for _, rev := range []store.Revision{j.Revision, j.Revision + 1} {
			ok(t, r.PutShards(ctx, []revision.Shard{shard(rev, revision.Replaying, 0), shard(rev, revision.Building, 1)}))
			ok(t, r.FinishShard(ctx, finished(shard(rev, revision.Replaying, 0), 0)))
			ok(t, r.PutPart(ctx, rev, "p", []byte("x")))
		}
		ok(t, r.DropJob(ctx, j.Revision))
		ok(t, r.DropJob(ctx, j.Revision))
		got, err := r.Job(ctx, j.Revision)
		ok(t, err)
		same(t, "job", got, j)
		for _, l := range []struct {
			rev  store.Revision
			want int
		}{{j.Revision, 0}, {j.Revision + 1, 1}} {
			shards, err := r.Shards(ctx, l.rev, revision.Replaying, 0, 10)
			ok(t, err)
			unfinished, err := r.Unfinished(ctx, l.rev, revision.Building, 0, 10)
			ok(t, err)
			parts, err := r.Parts(ctx, l.rev, "", "", 10)
			ok(t, err)
			same(t, "shards, unfinished ones, progress and parts", []int{len(shards), len(unfinished), progress(t, r, l.rev).Done, len(parts)}, []int{l.want, l.want, l.want, l.want})
		}
		wantKind(t, r.FinishShard(ctx, finished(shard(j.Revision, revision.Building, 1), 0)), fault.NotFound)
	})
	sub(t, open, "survives a crash", func(t *testing.T, r R, reopen func() R) {
		ctx := deadline(t)
		j, err := r.CreateJob(ctx, job("w", "a"))
		ok(t, err)
		j.State = revision.Replaying
		ok(t, r.UpdateJob(ctx, j))
		j.Version++
		ok(t, r.PutShards(ctx, []revision.Shard{shard(j.Revision, revision.Replaying, 0), shard(j.Revision, revision.Replaying, 1)}))
		ok(t, r.PutPart(ctx, j.Revision, "p", []byte("x")))
		ok(t, r.FinishShard(ctx, finished(shard(j.Revision, revision.Replaying, 1), 0)))
		r = mustReopen(t, reopen)
		got, err := r.CreateJob(ctx, job("w", "a"))
		ok(t, err)
		same(t, "job", got, j)
		same(t, "progress", progress(t, r, j.Revision), store.Progress{
			Shards: 2, Done: 1, Bytes: 3, DoneBytes: 2, Counts: finished(shard(0, "", 0), 0).Counts,
		})
		left, err := r.Unfinished(ctx, j.Revision, revision.Replaying, 0, 10)
		ok(t, err)
		same(t, "unfinished", indexes(left), []int{0})
		parts, err := r.Parts(ctx, j.Revision, "", "", 10)
		ok(t, err)
		same(t, "parts", parts, []store.Part{{Name: "p", Data: []byte("x")}})
		// Its number is not given again.
		next, err := r.CreateJob(ctx, job("", "b"))
		ok(t, err)
		if next.Revision <= j.Revision {
			t.Fatalf("revision %d follows %d", next.Revision, j.Revision)
		}
	})
	sub(t, open, "a drop survives a crash", func(t *testing.T, r R, reopen func() R) {
		ctx := deadline(t)
		ok(t, r.PutShards(ctx, []revision.Shard{shard(2, revision.Replaying, 0)}))
		ok(t, r.PutPart(ctx, 2, "p", []byte("x")))
		ok(t, r.DropJob(ctx, 2))
		r = mustReopen(t, reopen)
		parts, err := r.Parts(ctx, 2, "", "", 10)
		ok(t, err)
		same(t, "parts", parts, []store.Part{})
		same(t, "progress", progress(t, r, 2), store.Progress{})
	})
	sub(t, open, "no time left", func(t *testing.T, r R, _ func() R) {
		for _, err := range []error{
			second(r.CreateJob(ended(), job(""))), second(r.Publications(ended())),
			r.PutShards(ended(), []revision.Shard{shard(2, revision.Replaying, 0)}), r.PutPart(ended(), 2, "p", nil),
		} {
			wantKind(t, err, fault.Transient)
		}
	})
}

func progress(t TB, r store.Revisions, rev access.Revision) store.Progress {
	t.Helper()
	p, err := r.Progress(deadline(t), rev, revision.Replaying)
	ok(t, err)
	return p
}
