package reprocess

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// Bounds of what an erasure does at once. Each place is looked at, recorded and
// changed within one tick or another: whoever dies in between leaves it to the
// next one, which does the same again.
const (
	eraseTime    = 20 * time.Second // of a tick: nothing is begun after it,
	eraseReserve = 25 * time.Second // nor this long before its end: a file of the archive takes some time
	eraseHours   = 48               // whose documents are looked at together
	eraseDocs    = 16               // of these that are changed together
	eraseRejects = 500
	erasuresPage = 100
)

// erase takes every open erasure on, as far as the tick's time goes.
func (s *Service) erase(ctx context.Context) error {
	var errs faults
	until := time.Now().Add(eraseTime)
	if end, bounded := ctx.Deadline(); bounded && end.Add(-eraseReserve).Before(until) {
		until = end.Add(-eraseReserve)
	}
	for after := ""; ; {
		asking, cancel := s.call(ctx)
		page, err := s.Erasures.OpenErasures(asking, after, erasuresPage)
		cancel()
		if err != nil {
			return fmt.Errorf("cannot list open erasures: %w", err)
		}
		for i := range page {
			if time.Now().After(until) {
				return errs.err()
			}
			if err := s.eraseOne(ctx, &page[i], until); err != nil {
				errs.add(fmt.Errorf("cannot go on with erasure %q of merchant %q: %w", page[i].ID, page[i].Merchant, err))
			}
		}
		if len(page) < erasuresPage {
			return errs.err()
		}
		after = page[len(page)-1].ID
	}
}

// eraseOne takes an erasure on step by step, each of which is stored.
func (s *Service) eraseOne(ctx context.Context, e *erasure.Erasure, until time.Time) error {
	for was := e.State; e.Open() && time.Now().Before(until); was = e.State {
		changed, err := s.eraseStep(ctx, e)
		if err != nil || !changed {
			return err
		}
		if e.State != was {
			e.Since = s.Clock().UTC()
			s.Log.Info("erasure goes on", "function", "reprocess", "erasure", e.ID, "merchant", e.Merchant, "from", was, "to", e.State)
		}
		updating, cancel := s.call(ctx)
		err = s.Erasures.UpdateErasure(updating, *e)
		cancel()
		if fault.Is(err, fault.Conflict) {
			return nil // another instance is at it
		}
		if err != nil {
			return err
		}
		e.Version++
	}
	return nil
}

// eraseStep does the next thing that there is to do, and reports whether the
// erasure is to be stored.
func (s *Service) eraseStep(ctx context.Context, e *erasure.Erasure) (changed bool, err error) {
	switch e.State {
	case erasure.Waiting:
		return s.awaitAccepted(ctx, e)
	case erasure.Keeping:
		return s.keepReplaced(ctx, e)
	}
	m, err := s.merchant(ctx, e.Merchant)
	if fault.Is(err, fault.NotFound) {
		s.endErasure(e, fmt.Sprintf("there is no merchant %q any more: nobody can tell which events of the archive were its", e.Merchant))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	p := &pass{Service: s, e: e, m: &m, spellings: e.Person.Spellings()}
	switch e.Work.Step {
	case erasure.Documents:
		return p.documents(ctx)
	case erasure.Rejects:
		return p.rejects(ctx)
	case erasure.Archive:
		return p.archive(ctx)
	case erasure.Forget:
		return p.forget(ctx)
	default:
		return p.remaining(ctx)
	}
}

// awaitAccepted begins the first pass when all that was accepted before the
// erasure was asked for is archived and processed: then no payload of it is in
// the journal any more.
func (s *Service) awaitAccepted(ctx context.Context, e *erasure.Erasure) (bool, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	rows, err := s.Journal.Unfinished(ctx, store.StageArchived|store.StageProcessed, time.Time{}, e.RequestedAt, 1)
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		s.beginPass(e, erasure.Erasing)
		return true, nil
	}
	return waitFor(e, fmt.Sprintf("batch %s of %s is not archived and processed yet", rows[0].Batch, rows[0].ReceivedAt.UTC().Format(time.RFC3339))), nil
}

func waitFor(e *erasure.Erasure, what string) (changed bool) {
	changed = e.WaitingFor != what
	e.WaitingFor = what
	return changed
}

func (s *Service) beginPass(e *erasure.Erasure, state erasure.State) {
	e.State, e.WaitingFor = state, ""
	e.Work = erasure.Work{Step: erasure.Documents, Hour: firstHour, Arrivals: e.Work.Arrivals, Pass: erasure.Pass{Began: s.Clock().UTC()}}
}

// endPass ends one that has looked at everything.
func (p *pass) endPass() {
	e, now := p.e, p.Clock().UTC()
	e.Work.Pass.Ended, e.WaitingFor = now, ""
	e.Proof.Passes = append(e.Proof.Passes, e.Work.Pass)
	if e.State == erasure.Checking && e.Work.Pass.Nothing() {
		p.endErasure(e)
		return
	}
	e.Proof.ErasedAt = now
	e.State = erasure.Keeping
	e.Work = erasure.Work{Arrivals: e.Work.Arrivals} // a later pass looks there, too
}

func (s *Service) endErasure(e *erasure.Erasure, problems ...string) {
	e.State, e.Person, e.Work, e.WaitingFor = erasure.Done, erasure.Person{}, erasure.Work{}, ""
	e.Proof.DoneAt = s.Clock().UTC()
	e.Problems = append(e.Problems, problems...)
}

// keepReplaced removes replaced files when nobody reads them any more, and
// begins the last pass when nothing can come back.
func (s *Service) keepReplaced(ctx context.Context, e *erasure.Erasure) (bool, error) {
	now := s.Clock()
	var replaced time.Time
	var hours []event.Hour
	for i := range e.Proof.Files {
		f := &e.Proof.Files[i]
		hours = append(hours, f.Hour)
		if f.At.After(replaced) {
			replaced = f.At
		}
	}
	if e.Proof.SweptAt.Before(replaced) {
		if due := replaced.Add(s.cfg.EraseKeep); now.Before(due) {
			return waitFor(e, "files of the archive that were replaced are kept until "+due.UTC().Format(time.RFC3339)), nil
		}
		slices.Sort(hours)
		for _, h := range slices.Compact(hours) {
			err := s.sweepArchive(ctx, h, replaced.Add(time.Nanosecond))
			if fault.Is(err, fault.Conflict) {
				return waitFor(e, busy(h)), nil
			}
			if err != nil {
				return false, err
			}
		}
		e.Proof.SweptAt = now.UTC()
		return true, nil
	}
	if due := e.RequestedAt.Add(s.cfg.EraseSettle); now.Before(due) {
		return waitFor(e, "messages of the Broker may bring a batch again until "+due.UTC().Format(time.RFC3339)), nil
	}
	left, err := s.uncounted(ctx, e.Merchant)
	if err != nil {
		return false, err
	}
	if left > 0 {
		return waitFor(e, fmt.Sprintf("%d hours of the merchant are still to be counted again", left)), nil
	}
	s.beginPass(e, erasure.Checking)
	return true, nil
}

// busy says that others look after the files of an hour, or one who died at it
// a moment ago.
func busy(h event.Hour) string {
	return fmt.Sprintf("another process looks after the archive's hour %s", h)
}

func (s *Service) sweepArchive(ctx context.Context, h event.Hour, before time.Time) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	_, _, err := s.Archive.Sweep(ctx, h, before)
	if fault.Is(err, fault.NotFound) {
		return nil // its retention is over
	}
	return err
}

// uncounted is how many ended hours a merchant's views are still to count anew.
func (s *Service) uncounted(ctx context.Context, id string) (int, error) {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var queues []store.Queue
	for _, v := range m.AllViews() {
		queues = append(queues, store.Queue(v.Generation))
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	hours, err := s.Processed.DirtyOf(ctx, id, queues, 1, event.HourOf(s.Clock()))
	return len(hours), err
}

// pass is one step of a pass.
type pass struct {
	*Service
	e         *erasure.Erasure
	m         *access.Merchant
	spellings []string // of the person's name
}

// next goes on to a step.
func (p *pass) next(step erasure.Step) {
	w := &p.e.Work
	w.Step, w.Found, w.Hour, w.Cursor, w.Revision = step, false, firstHour, "", 0
}

// revisions are all that a merchant may have documents of, ascending.
func (p *pass) revisions(ctx context.Context) ([]store.Revision, error) {
	revs := []store.Revision{store.LiveRevision}
	for below := store.Revision(0); ; {
		jobs, err := p.jobs(ctx, below, jobsPage)
		if err != nil {
			return nil, err
		}
		for i := range jobs {
			if j := &jobs[i]; j.State != revision.Refused && j.Covers(p.m.ID) && (j.State != revision.Discarded || j.Swept.IsZero()) {
				revs = append(revs, j.Revision)
			}
		}
		if len(jobs) < jobsPage {
			slices.Sort(revs)
			return revs, nil
		}
		below = jobs[len(jobs)-1].Revision
	}
}

// window is the next hours whose documents a step looks at, [from, to), of all
// revisions; none are left where they are equal.
func (p *pass) window(ctx context.Context) (revs []store.Revision, from, to event.Hour, err error) {
	if revs, err = p.revisions(ctx); err != nil {
		return nil, 0, 0, err
	}
	first, last, some, err := p.extent(ctx, p.m.ID, revs...)
	from = max(p.e.Work.Hour, first)
	if err != nil || !some || from > last {
		return nil, from, from, err
	}
	return revs, from, min(from+eraseHours, last+1), nil
}
