package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// revisions keeps jobs and shards as JSON, and beside them what is asked often:
// the flips of published jobs, and a phase's progress. As in the registry
// writes are rare: one lock orders them, and is let go before the disk turns.
type revisions struct {
	e  *engine
	mu sync.Mutex
}

func revisionKey(table byte, rev store.Revision) []byte {
	return appendUint32([]byte{table}, uint32(rev))
}

func phaseKey(table byte, rev store.Revision, phase revision.State) []byte {
	return appendName(revisionKey(table, rev), string(phase))
}

func shardKey(table byte, rev store.Revision, phase revision.State, index int) []byte {
	return appendUint32(phaseKey(table, rev, phase), uint32(index))
}

func partKey(rev store.Revision, name string) []byte {
	return append(revisionKey(tablePart, rev), name...)
}

// load reads JSON at a key into v.
func (r *revisions) load(key []byte, v any) (found bool, err error) {
	return r.e.get(key, func(b []byte) error { return json.Unmarshal(b, v) })
}

// change runs fn on a batch under the lock and commits the batch. Where fn
// leaves it empty, what fn has found is made durable instead: a crash must not
// take away what a caller was told.
func (r *revisions) change(ctx context.Context, what string, fn func(b *pebble.Batch) error) error {
	return r.e.write(ctx, what, func() error {
		b := r.e.db.NewBatch()
		r.mu.Lock()
		if err := fn(b); err != nil {
			r.mu.Unlock()
			return errors.Join(err, b.Close())
		}
		if b.Empty() {
			r.mu.Unlock()
			return errors.Join(b.Close(), r.e.settle())
		}
		return r.e.commit(b, r.mu.Unlock)
	})
}

func set(b *pebble.Batch, key []byte, v any) error {
	doc, err := json.Marshal(v)
	return errors.Join(err, b.Set(key, doc, nil))
}

// CreateJob implements store.Revisions. Jobs are never removed: the highest
// revision that has one is the last that was given.
func (r *revisions) CreateJob(ctx context.Context, j revision.Job) (revision.Job, error) {
	created := new(revision.Job)
	err := r.change(ctx, "create a reprocess job", func(b *pebble.Batch) error {
		var rev store.Revision
		wish := nameKey(tableWish, j.RequestID)
		if j.RequestID != "" {
			found, err := r.load(wish, &rev)
			if err == nil && found {
				_, err = r.load(revisionKey(tableJob, rev), created)
			}
			if err != nil || found {
				return err
			}
		}
		last := store.LiveRevision
		err := r.jobs(ctx, 0, func(o *revision.Job) (more bool, err error) {
			last = max(last, o.Revision)
			if j.State.Open() && o.State.Open() && o.Overlaps(&j) {
				return false, o.InTheWay()
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		if last == math.MaxUint32 {
			return fault.New(fault.Conflict, "there are no more revision numbers")
		}
		*created = j
		created.Revision, created.Version = last+1, 1
		if j.RequestID != "" {
			err = set(b, wish, created.Revision)
		}
		return errors.Join(err, putJob(b, created))
	})
	if err != nil {
		return revision.Job{}, err
	}
	return *created, nil
}

func putJob(b *pebble.Batch, j *revision.Job) error {
	key := revisionKey(tableFlips, j.Revision)
	if len(j.Flips) == 0 {
		return errors.Join(set(b, revisionKey(tableJob, j.Revision), j), b.Delete(key, nil))
	}
	return errors.Join(set(b, revisionKey(tableJob, j.Revision), j), set(b, key, j.Flips))
}

// jobs calls fn with jobs below a revision (0 = all), the newest first, as long
// as it wants more.
func (r *revisions) jobs(ctx context.Context, below store.Revision, fn func(*revision.Job) (more bool, err error)) error {
	upper := []byte{tableJob + 1}
	if below > 0 {
		upper = revisionKey(tableJob, below)
	}
	it, err := r.e.span(ctx, []byte{tableJob}, upper)
	if err != nil {
		return err
	}
	more := true
	for ok := it.Last(); ok && more && err == nil; ok = it.Prev() {
		var j revision.Job
		if err = errors.Join(json.Unmarshal(it.Value(), &j), ctx.Err()); err == nil {
			more, err = fn(&j)
		}
	}
	return finish(it, err)
}

// Job implements store.Revisions.
func (r *revisions) Job(ctx context.Context, rev store.Revision) (j revision.Job, err error) {
	err = r.e.read(ctx, fmt.Sprintf("read job %d", rev), func() error {
		found, err := r.load(revisionKey(tableJob, rev), &j)
		if err == nil && !found {
			err = fault.New(fault.NotFound, "there is no such job")
		}
		return err
	})
	return j, err
}

// Jobs implements store.Revisions.
func (r *revisions) Jobs(ctx context.Context, below store.Revision, limit int) (jobs []revision.Job, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = r.e.read(ctx, "list jobs", func() error {
		return r.jobs(ctx, below, func(j *revision.Job) (bool, error) {
			jobs = append(jobs, *j)
			return len(jobs) < limit, nil
		})
	})
	return jobs, err
}

// UpdateJob implements store.Revisions.
func (r *revisions) UpdateJob(ctx context.Context, j revision.Job) error {
	return r.change(ctx, fmt.Sprintf("update job %d", j.Revision), func(b *pebble.Batch) error {
		var old revision.Job
		found, err := r.load(revisionKey(tableJob, j.Revision), &old)
		switch {
		case err != nil:
			return err
		case !found:
			return fault.New(fault.NotFound, "there is no such job")
		case old.Version != j.Version:
			return fault.New(fault.Conflict, "it has changed: expected version %d, found %d", j.Version, old.Version)
		}
		j.Version++
		return putJob(b, &j)
	})
}

// Publications implements store.Revisions.
func (r *revisions) Publications(ctx context.Context) (all revision.Publications, err error) {
	err = r.e.read(ctx, "list what is published", func() error {
		it, err := r.e.span(ctx, []byte{tableFlips}, []byte{tableFlips + 1})
		if err != nil {
			return err
		}
		for ok := it.First(); ok && err == nil; ok = it.Next() {
			d := decoder{b: it.Key()[1:]}
			p := revision.Publication{Revision: store.Revision(d.uint32())}
			err = errors.Join(d.err, json.Unmarshal(it.Value(), &p.Flips))
			all = append(all, p)
		}
		return finish(it, err)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// PutShards implements store.Revisions.
func (r *revisions) PutShards(ctx context.Context, shards []revision.Shard) error {
	for i := range shards {
		if shards[i].Index < 0 || shards[i].Index > math.MaxInt32 {
			return fault.Field("index", "a place in the phase, from 0")
		}
	}
	return r.change(ctx, "record shards", func(b *pebble.Batch) error {
		progress := map[string]*store.Progress{}
		seen := make(map[string]bool, len(shards))
		for i := range shards {
			s := &shards[i]
			key := shardKey(tableShard, s.Revision, s.Phase, s.Index)
			there, err := r.e.exists(key)
			if err != nil {
				return err
			}
			if there || seen[string(key)] {
				continue
			}
			seen[string(key)] = true
			p, err := r.progressOf(progress, s)
			if err != nil {
				return err
			}
			count(p, s, 1)
			err = set(b, key, s)
			if s.Done.IsZero() {
				err = errors.Join(err, b.Set(shardKey(tableUndone, s.Revision, s.Phase, s.Index), nil, nil))
			}
			if err != nil {
				return err
			}
		}
		return putProgress(b, progress)
	})
}

// progressOf is the progress of a shard's phase, as it is before this write.
func (r *revisions) progressOf(of map[string]*store.Progress, s *revision.Shard) (*store.Progress, error) {
	key := phaseKey(tableProgress, s.Revision, s.Phase)
	p := of[string(key)]
	if p == nil {
		p = new(store.Progress)
		if _, err := r.load(key, p); err != nil {
			return nil, err
		}
		of[string(key)] = p
	}
	return p, nil
}

func putProgress(b *pebble.Batch, of map[string]*store.Progress) (err error) {
	for key, p := range of {
		err = errors.Join(err, set(b, []byte(key), p))
	}
	return err
}

// count adds a shard that is now there.
func count(p *store.Progress, s *revision.Shard, shards int) {
	p.Shards += shards
	p.Bytes += s.Bytes
	if !s.Done.IsZero() {
		p.Done++
		p.DoneBytes += s.Bytes
		p.Counts.Add(s.Counts)
	}
}

// Shard implements store.Revisions.
func (r *revisions) Shard(ctx context.Context, rev store.Revision, phase revision.State, index int) (s revision.Shard, err error) {
	err = r.e.read(ctx, fmt.Sprintf("read shard %d of %s of job %d", index, phase, rev), func() error {
		found, err := r.load(shardKey(tableShard, rev, phase, index), &s)
		if err == nil && (!found || index < 0) {
			err = fault.New(fault.NotFound, "there is no such shard")
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
	what := fmt.Sprintf("finish shard %d of %s of job %d", s.Index, s.Phase, s.Revision)
	return r.change(ctx, what, func(b *pebble.Batch) error {
		key := shardKey(tableShard, s.Revision, s.Phase, s.Index)
		var old revision.Shard
		found, err := r.load(key, &old)
		if err == nil && !found {
			err = fault.New(fault.NotFound, "there is no such shard")
		}
		if err != nil || !old.Done.IsZero() {
			return err
		}
		progress := map[string]*store.Progress{}
		p, err := r.progressOf(progress, &s)
		if err != nil {
			return err
		}
		p.Bytes -= old.Bytes
		count(p, &s, 0)
		return errors.Join(set(b, key, &s), putProgress(b, progress),
			b.Delete(shardKey(tableUndone, s.Revision, s.Phase, s.Index), nil))
	})
}

// Shards implements store.Revisions.
func (r *revisions) Shards(ctx context.Context, rev store.Revision, phase revision.State, from, limit int) ([]revision.Shard, error) {
	return r.shards(ctx, tableShard, rev, phase, from, limit)
}

// Unfinished implements store.Revisions.
func (r *revisions) Unfinished(ctx context.Context, rev store.Revision, phase revision.State, from, limit int) ([]revision.Shard, error) {
	return r.shards(ctx, tableUndone, rev, phase, from, limit)
}

// shards lists the shards that have a key in a table.
func (r *revisions) shards(ctx context.Context, table byte, rev store.Revision, phase revision.State, from, limit int) (shards []revision.Shard, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = r.e.read(ctx, fmt.Sprintf("list shards of %s of job %d", phase, rev), func() error {
		it, err := r.e.span(ctx, shardKey(table, rev, phase, max(from, 0)), successor(phaseKey(table, rev, phase)))
		if err != nil {
			return err
		}
		for ok := it.First(); ok && len(shards) < limit && err == nil; ok = it.Next() {
			var s revision.Shard
			found := true
			if table == tableShard {
				err = json.Unmarshal(it.Value(), &s)
			} else {
				key := append([]byte{tableShard}, it.Key()[1:]...)
				// It may have been finished since, or dropped.
				if found, err = r.load(key, &s); err == nil {
					found = found && s.Done.IsZero()
				}
			}
			if found {
				shards = append(shards, s)
			}
			err = errors.Join(err, ctx.Err())
		}
		return finish(it, err)
	})
	if err != nil {
		return nil, err
	}
	return shards, nil
}

// Progress implements store.Revisions.
func (r *revisions) Progress(ctx context.Context, rev store.Revision, phase revision.State) (p store.Progress, err error) {
	err = r.e.read(ctx, fmt.Sprintf("read the progress of %s of job %d", phase, rev), func() error {
		_, err := r.load(phaseKey(tableProgress, rev, phase), &p)
		return err
	})
	return p, err
}

// PutPart implements store.Revisions.
func (r *revisions) PutPart(ctx context.Context, rev store.Revision, name string, data []byte) error {
	if err := store.CheckPart(name, data); err != nil {
		return err
	}
	data = bytes.Clone(data) // the write may outlive the call
	return r.change(ctx, fmt.Sprintf("record part %q of job %d", name, rev), func(b *pebble.Batch) error {
		return b.Set(partKey(rev, name), data, nil)
	})
}

// Parts implements store.Revisions.
func (r *revisions) Parts(ctx context.Context, rev store.Revision, prefix, after string, limit int) (parts []store.Part, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = r.e.read(ctx, fmt.Sprintf("list parts of job %d", rev), func() error {
		all := len(revisionKey(tablePart, rev))
		lower, upper := partKey(rev, prefix), successor(partKey(rev, prefix))
		if start := append(partKey(rev, after), 0); after != "" && bytes.Compare(start, lower) > 0 {
			lower = start
		}
		if bytes.Compare(lower, upper) >= 0 {
			return nil
		}
		it, err := r.e.span(ctx, lower, upper)
		if err != nil {
			return err
		}
		for ok := it.First(); ok && len(parts) < limit && err == nil; ok = it.Next() {
			parts = append(parts, store.Part{Name: string(it.Key()[all:]), Data: bytes.Clone(it.Value())})
			err = ctx.Err()
		}
		return finish(it, err)
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// DropJob implements store.Revisions.
func (r *revisions) DropJob(ctx context.Context, rev store.Revision) error {
	return r.change(ctx, fmt.Sprintf("drop job %d", rev), func(b *pebble.Batch) (err error) {
		for _, table := range []byte{tableShard, tableUndone, tableProgress, tablePart} {
			prefix := revisionKey(table, rev)
			err = errors.Join(err, b.DeleteRange(prefix, successor(prefix), nil))
		}
		return err
	})
}

var _ store.Revisions = (*revisions)(nil)
