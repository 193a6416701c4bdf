package reprocess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// planBuild cuts the merchants in scope into shards. Each says where the next
// one's begin, so that two that plan at the same time make one chain.
func (s *Service) planBuild(ctx context.Context, j *revision.Job) (int, error) {
	return s.chain(ctx, j, func(cursor string) ([]string, string, error) {
		if len(j.Merchants) > 0 {
			from := 0
			if cursor != "" {
				var err error
				if from, err = strconv.Atoi(cursor); err != nil {
					return nil, "", fmt.Errorf("cannot go on behind %q: %w", cursor, err)
				}
			}
			to := min(from+s.cfg.ShardMerchants, len(j.Merchants))
			return j.Merchants[min(from, to):to], strconv.Itoa(to), nil
		}
		asking, cancel := s.call(ctx)
		defer cancel()
		page, next, err := s.Registry.Changes(asking, cursor, s.cfg.ShardMerchants)
		ids := make([]string, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		return ids, next, err
	})
}

// chain makes shards of the pages that page returns until one is empty.
func (s *Service) chain(ctx context.Context, j *revision.Job, page func(cursor string) (ids []string, next string, err error)) (int, error) {
	n, cursor := 0, ""
	if err := s.eachShard(ctx, j.Revision, j.State, func(sh *revision.Shard) error {
		n, cursor = sh.Index+1, sh.Cursor
		return nil
	}); err != nil {
		return 0, err
	}
	for {
		ids, next, err := page(cursor)
		if err != nil || len(ids) == 0 {
			return n, err
		}
		if err := s.putShards(ctx, []revision.Shard{{Revision: j.Revision, Phase: j.State, Index: n, Merchants: ids, Cursor: next}}); err != nil {
			return 0, err
		}
		there, err := s.oneShard(ctx, shardData{j.Revision, j.State, n})
		if err != nil {
			return 0, err
		}
		n, cursor = n+1, there.Cursor
	}
}

const viewPart = "view/"

// buildShard gives a view to each of its merchants of which the revision says
// something else than what is shown.
func (s *Service) buildShard(ctx context.Context, j *revision.Job, sh *revision.Shard) error {
	for _, id := range sh.Merchants {
		if err := s.build(ctx, j, id, sh); err != nil {
			return fmt.Errorf("merchant %q: %w", id, err)
		}
	}
	return nil
}

func (s *Service) build(ctx context.Context, j *revision.Job, id string, sh *revision.Shard) error {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, built := candidate(&m, j.Revision); !built {
		book, err := s.book(ctx)
		if err != nil {
			return err
		}
		base := m.View(book).Layers
		d, err := s.differs(ctx, j, &m, base)
		if err != nil {
			return err
		}
		switch {
		case !d.any:
			return nil
		case !d.changes:
			sh.Counts.Merchants++
			sh.Counts.Unchanged++
			return s.dropRevision(ctx, id, j.Revision)
		}
		if len(j.Merchants) > 0 {
			found, err := s.moves(ctx, j, &m, base)
			if err != nil {
				return err
			}
			for _, detail := range found {
				sh.Problems = append(sh.Problems, revision.Problem{Shard: "build " + strconv.Itoa(sh.Index), Detail: detail})
			}
		}
	}
	sh.Counts.Merchants++
	// First where it will be looked for, then the view.
	if err := s.putPart(ctx, j.Revision, viewPart+id, []byte{}); err != nil {
		return err
	}
	return s.addView(ctx, j, id)
}

// addView gives a merchant a view of what is shown with the job's layer on top.
func (s *Service) addView(ctx context.Context, j *revision.Job, id string) error {
	book, err := s.book(ctx)
	if err != nil {
		return err
	}
	adding, cancel := s.call(ctx)
	defer cancel()
	_, err = s.keeper.Add(adding, id, s.Clock().UTC(), func(m *access.Merchant) (access.Layers, bool) {
		if _, built := candidate(m, j.Revision); built {
			return nil, false
		}
		return over(m.View(book).Layers, j), true
	})
	return err
}

// over are layers with a job's on top.
func over(base access.Layers, j *revision.Job) access.Layers {
	return append(base[:len(base):len(base)], j.Layer())
}

// candidate is a merchant's view with a revision on top: one that is ready, else
// the newest.
func candidate(m *access.Merchant, rev store.Revision) (v access.View, ok bool) {
	for _, o := range m.AllViews() {
		if o.State == access.ViewGone || o.Layers.Top() != rev {
			continue
		}
		if !ok || o.State == access.ViewReady || v.State != access.ViewReady {
			v, ok = o, true
		}
	}
	return v, ok
}

const readyPart = "ready"

// built ends the phase when all views are ready. It looks for each of them once,
// from where it stopped the last time.
func (s *Service) built(ctx context.Context, j *revision.Job) (bool, error) {
	after, err := s.mark(ctx, j, readyPart)
	if err != nil {
		return false, err
	}
	begun := after
	for {
		page, err := s.parts(ctx, j.Revision, viewPart, after, shardsPage)
		if err != nil {
			return false, err
		}
		for _, p := range page {
			ready, err := s.isReady(ctx, j, p.Name[len(viewPart):])
			if err != nil || !ready {
				if after != begun {
					err = errors.Join(err, s.putPart(ctx, j.Revision, readyPart, []byte(after)))
				}
				return false, err
			}
			after = p.Name
		}
		if len(page) < shardsPage {
			break
		}
	}
	if err := s.problems(ctx, j); err != nil {
		return false, err
	}
	s.to(j, revision.Comparing)
	return true, nil
}

// isReady reports whether a merchant's view of the job is ready; one that has
// none any more gets one.
func (s *Service) isReady(ctx context.Context, j *revision.Job, id string) (bool, error) {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	v, ok := candidate(&m, j.Revision)
	if !ok {
		return false, s.addView(ctx, j, id)
	}
	return v.State == access.ViewReady, nil
}

// mark is the text of a part, "" where there is none.
func (s *Service) mark(ctx context.Context, j *revision.Job, name string) (string, error) {
	parts, err := s.parts(ctx, j.Revision, name, "", 1)
	if err != nil || len(parts) == 0 || parts[0].Name != name {
		return "", err
	}
	return string(parts[0].Data), nil
}

// difference is what a job changes of a merchant.
type difference struct {
	any     bool // there are events of its range, before or after
	changes bool // and they are not the same
}

const (
	// window is how many hours are compared at once.
	window = event.Hour(24)
	// firstHour and endOfHours hold all hours that events may have.
	firstHour, endOfHours = event.Hour(0), event.Hour(1 << 30)
)

// differs compares, of the batches of a job's range, what layers say of them and
// what the revision says: row by row, and reject by reject.
func (s *Service) differs(ctx context.Context, j *revision.Job, m *access.Merchant, base access.Layers) (d difference, err error) {
	first, last, ok, err := s.extent(ctx, m.ID, append(base.Revisions(), j.Revision)...)
	if err != nil {
		return d, err
	}
	if ok {
		for from := first; from <= last; from += window {
			one, err := s.differsIn(ctx, j, m.ID, base, from, min(from+window, last+1))
			d.any, d.changes = d.any || one.any, d.changes || one.changes
			if err != nil || d.changes {
				return d, err
			}
		}
	}
	before, err := s.rejects(ctx, m.ID, base)
	if err != nil {
		return d, err
	}
	after, err := s.rejects(ctx, m.ID, over(base, j))
	if err != nil {
		return d, err
	}
	if !equalCounts(before, after) {
		return difference{any: true, changes: true}, nil
	}
	return d, nil
}

func (s *Service) extent(ctx context.Context, merchant string, revs ...store.Revision) (first, last event.Hour, ok bool, err error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Processed.Extent(ctx, merchant, revs...)
}

func (s *Service) rejects(ctx context.Context, merchant string, layers access.Layers) ([]store.RejectCount, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Processed.RejectCounts(ctx, merchant, layers, firstHour, endOfHours)
}

func equalCounts(a, b []store.RejectCount) bool {
	set := map[store.RejectCount]bool{}
	for _, r := range a {
		set[r] = true
	}
	for _, r := range b {
		if !set[r] {
			return false
		}
	}
	return len(a) == len(b)
}

// differsIn compares hours [from, to): of each the documents of both sides, in
// the form that equal rows have in common.
func (s *Service) differsIn(ctx context.Context, j *revision.Job, merchant string, base access.Layers, from, to event.Hour) (d difference, err error) {
	sides := [2]map[event.Hour]*processed.Union{{}, {}}
	rows := 0
	take := func(side int, rev store.Revision, owner func(millis int64) store.Revision) error {
		ours := func(b event.BatchID) bool {
			at := b.Millis()
			return at >= j.From.UnixMilli() && at < j.Cut.UnixMilli() && owner(at) == rev
		}
		scanning, cancel := s.call(ctx)
		defer cancel()
		return s.Processed.Scan(scanning, merchant, rev, from, to, func(doc store.Doc) error {
			if !doc.Key.IsMerged() && !ours(doc.Key.Batch) {
				return nil
			}
			u := sides[side][doc.Key.Hour]
			if u == nil {
				u = processed.NewUnion(processed.Everything())
				sides[side][doc.Key.Hour] = u
			}
			if rows += doc.Events; rows > 2*s.cfg.MaxRows {
				return errTooManyRows
			}
			return u.Add(doc.Data, ours)
		})
	}
	for _, rev := range base.Revisions() {
		if err = take(0, rev, base.Owner); err != nil {
			break
		}
	}
	if err == nil {
		err = take(1, j.Revision, func(int64) store.Revision { return j.Revision })
	}
	if errors.Is(err, errTooManyRows) {
		return difference{any: true, changes: true}, nil // its views will tell
	}
	if err != nil {
		return d, err
	}
	for h := from; h < to; h++ {
		before, err := encoded(sides[0][h])
		if err != nil {
			return d, fmt.Errorf("hour %s: %w", h, err)
		}
		after, err := encoded(sides[1][h])
		if err != nil {
			return d, fmt.Errorf("hour %s of revision %d: %w", h, j.Revision, err)
		}
		d.any = d.any || before != nil || after != nil
		if d.changes = !bytes.Equal(before, after); d.changes {
			return d, nil
		}
	}
	return d, nil
}

var errTooManyRows = errors.New("too many events to be compared row by row")

// encoded is a document of a union's rows, nil where it has none. Equal rows
// have equal bytes.
func encoded(u *processed.Union) ([]byte, error) {
	if u == nil {
		return nil, nil
	}
	f, err := u.Frame()
	if err != nil || f.Len == 0 {
		return nil, err
	}
	return processed.Encode(f), nil
}

// dropRevision removes what a revision says of a merchant.
func (s *Service) dropRevision(ctx context.Context, merchant string, rev store.Revision) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Processed.Drop(ctx, merchant, rev, firstHour, endOfHours)
}

func errTooMany(n int) error {
	return fault.New(fault.Invalid, "the range has more than %d shards: enlarge FOOTFALL_REPROCESS_SHARD_BYTES", n)
}
