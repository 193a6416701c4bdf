package reprocess

import (
	"context"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
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
	return nil
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
