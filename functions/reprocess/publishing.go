package reprocess

import (
	"context"
	"fmt"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// publishWithinBounds publishes a job that is to publish itself, or says why it
// waits for somebody.
func (s *Service) publishWithinBounds(ctx context.Context, j *revision.Job) (bool, error) {
	if j.Mode != revision.ModePublish || len(j.Held) > 0 {
		return false, nil
	}
	if j.ProblemCount > 0 {
		j.Held = append(j.Held, fmt.Sprintf("it has %d problems", j.ProblemCount))
	}
	result, err := s.comparison(ctx, j.Revision)
	if err != nil {
		return false, err
	}
	j.Held = append(j.Held, result.Exceeds(j.Bounds)...)
	if len(j.Held) > 0 {
		return true, nil
	}
	if err := s.mayPublish(ctx, j, true); err != nil {
		if !fault.Is(err, fault.Conflict) {
			return false, err
		}
		j.Held = append(j.Held, err.Error())
		return true, nil
	}
	s.flip(j, true, revision.Change{By: j.By, Reason: "within its bounds"})
	return true, nil
}

// flip publishes a job or takes it back, from an instant on that all instances
// will have heard of.
func (s *Service) flip(j *revision.Job, on bool, c revision.Change) {
	j.Flips = append(j.Flips, revision.Flip{At: s.Clock().UTC().Add(s.cfg.PublishDelay), On: on, By: c.By, Reason: c.Reason})
	if on {
		s.to(j, revision.Published)
	} else {
		s.to(j, revision.RolledBack)
	}
}

// over calls fn with the other jobs that are over the same merchants, newest
// first, until it returns an error.
func (s *Service) others(ctx context.Context, j *revision.Job, fn func(*revision.Job) error) error {
	for below := store.Revision(0); ; {
		jobs, err := s.jobs(ctx, below, jobsPage)
		if err != nil {
			return err
		}
		for i := range jobs {
			if o := &jobs[i]; o.Revision != j.Revision && o.State != revision.Refused && o.Overlaps(j) {
				if err := fn(o); err != nil {
					return err
				}
			}
		}
		if len(jobs) < jobsPage {
			return nil
		}
		below = jobs[len(jobs)-1].Revision
	}
}

// mayPublish returns Conflict where a job cannot be published as it is.
func (s *Service) mayPublish(ctx context.Context, j *revision.Job, acceptProblems bool) error {
	if j.State != revision.Compared && j.State != revision.RolledBack {
		return fault.New(fault.Conflict, "cannot publish job %d: it is %s, not compared or rolled back", j.Revision, j.State)
	}
	if j.ProblemCount > 0 && !acceptProblems {
		return fault.New(fault.Conflict, "cannot publish job %d: it has %d problems, the first: %s; accept_problems publishes it all the same",
			j.Revision, j.ProblemCount, j.Problems[0].Detail)
	}
	return s.others(ctx, j, func(o *revision.Job) error {
		// What it lies over must be shown, too: a job that was rolled back since.
		if o.Revision < j.Revision && o.State == revision.RolledBack {
			return fault.New(fault.Conflict, "cannot publish job %d: job %d, over which it lies, is rolled back", j.Revision, o.Revision)
		}
		return nil
	})
}

// graceIsOver reports whether what a published job took the place of may be
// removed: from then on it stays published, for the sweep takes a while, and
// meanwhile some merchants have what was before and some have not.
func (s *Service) graceIsOver(j *revision.Job) bool {
	return j.State == revision.Published && len(j.Flips) > 0 && s.Clock().Sub(j.Flips[len(j.Flips)-1].At) >= s.cfg.Grace
}

// mayRollBack returns Conflict where a job cannot be taken back.
func (s *Service) mayRollBack(ctx context.Context, j *revision.Job) error {
	if j.State != revision.Published {
		return fault.New(fault.Conflict, "cannot roll back job %d: it is %s, not published", j.Revision, j.State)
	}
	if !j.Sweeping.IsZero() {
		return fault.New(fault.Conflict, "cannot roll back job %d: what was before it is removed since %s", j.Revision, j.Sweeping.UTC().Format(time.RFC3339))
	}
	if s.graceIsOver(j) {
		return fault.New(fault.Conflict, "cannot roll back job %d: what was before it is being removed, %s after it was published", j.Revision, s.cfg.Grace)
	}
	return s.others(ctx, j, func(o *revision.Job) error {
		if o.Revision > j.Revision && (o.State == revision.Published || o.State.Open()) {
			return fault.New(fault.Conflict, "cannot roll back job %d: job %d (%s) lies over it: roll that back or discard it first", j.Revision, o.Revision, o.State)
		}
		return nil
	})
}

// mayDiscard returns Conflict where a job cannot be discarded.
func (s *Service) mayDiscard(j *revision.Job) error {
	if !j.State.Open() {
		return fault.New(fault.Conflict, "cannot discard job %d: it is %s", j.Revision, j.State)
	}
	return nil
}
