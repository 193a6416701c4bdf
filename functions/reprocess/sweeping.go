package reprocess

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// sweepPart is how far the sweep of a job came.
const sweepPart = "sweep"

// sweep removes what nobody can ask for any more: after a while all that a
// discarded job made, and after the grace period what a published one took the
// place of. It walks over the merchants, as far as the tick's time goes.
func (s *Service) sweep(ctx context.Context, rev store.Revision) error {
	j, err := s.job(ctx, rev)
	if err != nil || !j.Swept.IsZero() {
		return err
	}
	now := s.Clock()
	var merchant func(context.Context, *revision.Job, string) error
	switch {
	case j.State == revision.Discarded && now.Sub(j.Since) >= s.cfg.Settle:
		merchant = s.sweepDiscarded
	case s.graceIsOver(&j):
		lower, err := s.coveredBy(ctx, &j)
		if err != nil {
			return err
		}
		merchant = func(ctx context.Context, j *revision.Job, id string) error {
			return s.sweepPublished(ctx, j, lower, id)
		}
	default:
		return nil
	}
	if j.Sweeping.IsZero() {
		// First of all: nobody rolls back to what is being removed.
		j.Sweeping = now.UTC()
		if mine, err := s.update(ctx, &j); err != nil || !mine {
			return err
		}
	}
	if err := s.walk(ctx, &j, merchant); err != nil {
		return fmt.Errorf("cannot sweep revision %d: %w", rev, err)
	}
	if j.State == revision.Discarded {
		dropping, cancel := s.call(ctx)
		err := s.Revisions.DropJob(dropping, rev)
		cancel()
		if err != nil {
			return err
		}
	}
	j.Swept = now.UTC()
	_, err = s.update(ctx, &j)
	return err
}

// walk calls fn for each merchant in a job's scope, from where it stopped the
// last time.
func (s *Service) walk(ctx context.Context, j *revision.Job, fn func(context.Context, *revision.Job, string) error) error {
	if len(j.Merchants) > 0 {
		for _, id := range j.Merchants {
			if err := fn(ctx, j, id); err != nil {
				return err
			}
		}
		return nil
	}
	cursor, err := s.mark(ctx, j, sweepPart)
	if err != nil {
		return err
	}
	for {
		asking, cancel := s.call(ctx)
		page, next, err := s.Registry.Changes(asking, cursor, s.cfg.ShardMerchants)
		cancel()
		if err != nil {
			return err
		}
		for i := range page {
			if err := fn(ctx, j, page[i].ID); err != nil {
				return err
			}
		}
		if len(page) == 0 || next == cursor {
			return nil
		}
		cursor = next
		if err := s.putPart(ctx, j.Revision, sweepPart, []byte(cursor)); err != nil {
			return err
		}
	}
}

// sweepDiscarded removes a merchant's views that hold the revision, and its
// documents.
func (s *Service) sweepDiscarded(ctx context.Context, j *revision.Job, id string) error {
	if err := s.sweepViews(ctx, id, func(_ *access.Merchant, v *access.View) bool {
		return slices.Contains(v.Layers.Revisions(), j.Revision)
	}); err != nil {
		return err
	}
	return s.dropRevision(ctx, id, j.Revision)
}

// sweepPublished removes the views that a published revision took the place of,
// and the documents of earlier ones of which nothing counts any more.
func (s *Service) sweepPublished(ctx context.Context, j *revision.Job, lower []store.Revision, id string) error {
	book, err := s.book(ctx)
	if err != nil {
		return err
	}
	if err := s.sweepViews(ctx, id, func(m *access.Merchant, v *access.View) bool {
		return m.View(book).Layers.Top() >= j.Revision && v.Layers.Top() < j.Revision
	}); err != nil {
		return err
	}
	for _, rev := range lower {
		if err := s.dropRevision(ctx, id, rev); err != nil {
			return err
		}
	}
	return s.thin(ctx, j, id)
}

// thin removes the rows of a merchant's documents that none of its views counts
// any more. Where one has not the job's layer it removes nothing: the merchant
// was left as it was.
func (s *Service) thin(ctx context.Context, j *revision.Job, id string) error {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var revs []store.Revision
	views := m.AllViews()
	for i := range views {
		of := views[i].Layers.Revisions()
		if !slices.Contains(of, j.Revision) {
			return nil
		}
		revs = append(revs, of...)
	}
	slices.Sort(revs)
	for _, rev := range slices.Compact(revs) {
		keep := func(b event.BatchID) bool {
			return slices.ContainsFunc(views, func(v access.View) bool { return v.Layers.Owner(b.Millis()) == rev })
		}
		first, last, ok, err := s.extent(ctx, id, rev)
		if err != nil {
			return err
		}
		for h := first; ok && h <= last; h++ {
			if err := s.thinHour(ctx, id, rev, h, keep); err != nil {
				return fmt.Errorf("cannot remove what revision %d superseded of merchant %q, hour %s: %w", j.Revision, id, h, err)
			}
		}
	}
	return nil
}

// Bounds of what is written again at once.
const (
	thinEvents = 50_000
	thinBytes  = 8 << 20
)

var errFull = errors.New("enough for once")

// thinHour puts documents of the rows that are kept in place of those that have
// others, too: an empty one at the least, for only what was read may go.
func (s *Service) thinHour(ctx context.Context, id string, rev store.Revision, h event.Hour, keep func(event.BatchID) bool) error {
	for full := true; full; {
		var old []store.DocKey
		var place uint64
		union, size := processed.NewUnion(processed.Everything()), 0
		scanning, cancel := s.call(ctx)
		err := s.Processed.Scan(scanning, id, rev, h, h+1, func(doc store.Doc) error {
			place = max(place, doc.Key.Place())
			some, err := hasOthers(&doc, keep)
			if err != nil || !some {
				return err
			}
			if len(old) > 0 && (union.Len()+doc.Events > thinEvents || size+len(doc.Data) > thinBytes) {
				return errFull
			}
			old, size = append(old, doc.Key), size+len(doc.Data)
			return union.Add(doc.Data, keep)
		})
		cancel()
		if full = errors.Is(err, errFull); err != nil && !full {
			return err
		}
		if len(old) == 0 {
			return nil
		}
		f, err := union.Frame()
		if err != nil {
			return err
		}
		merged := store.Doc{Key: old[0], Events: f.Len, Data: processed.Encode(f)}
		merged.Key.Batch = store.MergedInto(place+1, old)
		replacing, cancel := s.call(ctx)
		err = s.Processed.Replace(replacing, old, merged)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// hasOthers reports whether a document has rows of batches that are not kept.
func hasOthers(doc *store.Doc, keep func(event.BatchID) bool) (bool, error) {
	if doc.Events == 0 {
		return false, nil
	}
	if !doc.Key.IsMerged() {
		return !keep(doc.Key.Batch), nil
	}
	f, err := processed.Decode(doc.Data, processed.Columns{Identity: true})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(f.Batches, func(b event.BatchID) bool { return !keep(b) }), nil
}

func (s *Service) sweepViews(ctx context.Context, id string, pick func(*access.Merchant, *access.View) bool) error {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, v := range m.AllViews() {
		if v.State == access.ViewGone || pick(&m, &v) {
			return s.sweeper.Sweep(ctx, id, pick)
		}
	}
	return nil
}

// coveredBy are the earlier revisions of which a published one leaves nothing:
// all their batches are its own, of all their merchants.
func (s *Service) coveredBy(ctx context.Context, j *revision.Job) (revs []store.Revision, err error) {
	err = s.others(ctx, j, func(o *revision.Job) error {
		all := len(j.Merchants) == 0
		for _, id := range o.Merchants {
			all = all || len(o.Merchants) > 0 && j.Covers(id)
		}
		for _, id := range o.Merchants {
			all = all && j.Covers(id)
		}
		if all && o.Revision < j.Revision && o.State == revision.Published && !o.From.Before(j.From) && !o.Cut.After(j.Cut) {
			revs = append(revs, o.Revision)
		}
		return nil
	})
	return revs, err
}
