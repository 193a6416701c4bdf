package report

import (
	"context"
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// view is what a whole answer is given from: the view that is shown now, or the
// one that was shown as of a revision. Of a merchant whom a job left as it was
// the latter is the one that was shown before.
func (s *Service) view(ctx context.Context, m *access.Merchant, a asking) (access.View, error) {
	list, err := s.published.Publications(ctx)
	if err != nil {
		return access.View{}, err
	}
	now := s.clock()
	if a.revision == "" {
		return m.View(list.At(now)), nil
	}
	n, err := strconv.ParseUint(a.revision, 10, 32)
	if err != nil || n == 0 {
		return access.View{}, fault.Field("revision", "the number of a revision: 1 is what was counted first, each reprocess makes one more")
	}
	rev := store.Revision(n)
	since, ever := publishedSince(list, rev, now)
	if !ever && a.who.Role != access.RoleAdmin {
		return access.View{}, unknownRevision(rev, "there is none, or it was not published yet")
	}
	v, exact, known := asOf(m, rev, list.At(since))
	if exact {
		return v, nil
	}
	job, err := s.ports.Revisions.Job(ctx, rev)
	switch {
	case rev == store.LiveRevision:
		return v, removedRevision(rev)
	case fault.Is(err, fault.NotFound):
		return v, unknownRevision(rev, "there is none")
	case err != nil:
		return v, err
	case job.State == revision.Discarded:
		return v, unknownRevision(rev, "it was discarded")
	case ofTop(m, rev) || job.State == revision.Planned || job.State == revision.Replaying || job.State == revision.Building:
		return v, fault.New(fault.Conflict, "cannot answer as of revision %d yet: it is still being counted", rev)
	case !known:
		return v, removedRevision(rev)
	}
	return v, nil
}

// publishedSince tells when a revision was first published, by an instant. One
// that never was is taken as of that instant.
func publishedSince(list revision.Publications, rev store.Revision, now time.Time) (since time.Time, ever bool) {
	for i := range list {
		if list[i].Revision != rev {
			continue
		}
		for _, f := range list[i].Flips {
			if f.On && !f.At.After(now) {
				return f.At, true
			}
		}
	}
	return now, rev == store.LiveRevision
}

// asOf is the newest ready view of a revision, or of the highest one below it
// that is published by the book; exact tells which. known is false where there
// is neither.
func asOf(m *access.Merchant, rev store.Revision, book access.Published) (v access.View, exact, known bool) {
	below := *m
	below.Views = nil
	for _, o := range m.AllViews() {
		switch top := o.Layers.Top(); {
		case o.State != access.ViewReady:
		case top == rev && (!exact || o.Generation > v.Generation):
			v, exact = o, true
		case top < rev:
			below.Views = append(below.Views, o)
		}
	}
	if exact || len(below.Views) == 0 {
		return v, exact, exact
	}
	v = below.View(book)
	return v, false, v.Layers.Published(book)
}

// ofTop reports whether the merchant has a view of a revision.
func ofTop(m *access.Merchant, rev store.Revision) bool {
	for _, v := range m.AllViews() {
		if v.State != access.ViewGone && v.Layers.Top() == rev {
			return true
		}
	}
	return false
}

func unknownRevision(rev store.Revision, why string) error {
	return fault.New(fault.NotFound, "cannot answer as of revision %d: %s", rev, why)
}

func removedRevision(rev store.Revision) error {
	return unknownRevision(rev, "what it showed was removed when its time was over")
}
