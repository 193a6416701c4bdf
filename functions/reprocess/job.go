package reprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

const (
	// maxSteps bounds how far one call takes a job.
	maxSteps = 32
	// askAtOnce is how many merchants of a request are looked for at once.
	askAtOnce = 8
	// maxKept is how many problems a job lists.
	maxKept = 100
	// maxText bounds what is kept of a wish that was refused, in letters.
	maxText = 2000
)

// strict decodes exactly one JSON object and refuses unknown members, by name.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("more than one JSON value")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.Field(strings.Trim(name, `"`), "a field that there is")
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fault.Field(wrong.Field, "another type than "+wrong.Value)
	}
	var instant *time.ParseError
	if errors.As(err, &instant) {
		return &fault.Error{Kind: fault.Invalid, Field: "from, to", Expected: "instants such as 2026-10-01T00:00:00Z", Err: err}
	}
	return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "a JSON object", Err: err}
}

// start begins a job, or returns the one of the same wish. Invalid names the
// field at fault, Conflict the job that is in the way.
func (s *Service) start(ctx context.Context, r revision.Request, wish string) (revision.Job, error) {
	now := s.Clock().UTC()
	if err := r.Validate(now); err != nil {
		return revision.Job{}, err
	}
	if err := s.known(ctx, r.Merchants); err != nil {
		return revision.Job{}, err
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.CreateJob(ctx, revision.Job{
		Request: r, RequestID: wish, CreatedAt: now, State: revision.Planned, Since: now, Cut: s.cut(&r, now),
	})
}

// cut is where a job's range ends: what arrives later is the ETL's as it is now.
func (s *Service) cut(r *revision.Request, now time.Time) time.Time {
	end := now.Add(s.cfg.CutMargin + time.Second - 1).Truncate(time.Second)
	if r.To.IsZero() {
		return end
	}
	late, _ := time.ParseDuration(r.Lateness) // Validate has read it; none is 0
	if to := r.To.Add(late); to.Before(end) {
		return to
	}
	return end
}

// known checks that merchants exist.
func (s *Service) known(ctx context.Context, ids []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askAtOnce)
	for _, id := range ids {
		group.Go(func() error {
			_, err := s.merchant(ctx, id)
			if fault.Is(err, fault.NotFound) {
				return fault.Field("merchants", fmt.Sprintf("ids of merchants; %.100q is none", id))
			}
			return err
		})
	}
	return group.Wait()
}

func (s *Service) merchant(ctx context.Context, id string) (access.Merchant, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Registry.Merchant(ctx, id)
}

// refuse records a wish that cannot become a job, and why.
func (s *Service) refuse(ctx context.Context, r revision.Request, wish string, why error) error {
	now := s.Clock().UTC()
	for _, text := range []*string{&r.Reason, &r.By, &r.Lateness} {
		if letters := []rune(*text); len(letters) > maxText {
			*text = string(letters[:maxText])
		}
	}
	if len(r.Merchants) > maxKept {
		r.Merchants = r.Merchants[:maxKept]
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	_, err := s.Revisions.CreateJob(ctx, revision.Job{
		Request: r, RequestID: wish, CreatedAt: now, State: revision.Refused, Since: now,
		Problems: []revision.Problem{{Detail: why.Error()}}, ProblemCount: 1,
	})
	if err != nil {
		return fmt.Errorf("cannot record that a reprocess was refused: %w", err)
	}
	s.Log.Warn("a reprocess was refused", "request", wish, "error", why)
	return nil
}

// update writes a job that was changed. False: somebody else was quicker.
func (s *Service) update(ctx context.Context, j *revision.Job) (bool, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	err := s.Revisions.UpdateJob(ctx, *j)
	if fault.Is(err, fault.Conflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	j.Version++
	return true, nil
}

// advance takes a job as far as it goes now.
func (s *Service) advance(ctx context.Context, rev store.Revision) error {
	for range maxSteps {
		j, err := s.job(ctx, rev)
		if err != nil {
			return err
		}
		changed, err := s.step(ctx, &j)
		if fault.Is(err, fault.Invalid) {
			s.Log.Error("a reprocess job cannot go on", "revision", rev, "error", err)
			problem(&j, revision.Problem{Detail: err.Error()})
			s.to(&j, revision.Failed)
			changed, err = true, nil
		}
		if err != nil {
			return fmt.Errorf("cannot take revision %d on from %s: %w", rev, j.State, err)
		}
		if !changed {
			return nil
		}
		if _, err := s.update(ctx, &j); err != nil {
			return err
		}
	}
	return nil
}

// step takes a job one step further where it can. It reports whether the job
// was changed.
func (s *Service) step(ctx context.Context, j *revision.Job) (changed bool, err error) {
	switch j.State {
	case revision.Planned:
		return s.begin(ctx, j)
	case revision.Replaying:
		return s.phase(ctx, j, s.planReplay, s.replayed)
	case revision.Building:
		return s.phase(ctx, j, s.planBuild, s.built)
	case revision.Comparing:
		return s.phase(ctx, j, s.planCompare, s.compared)
	case revision.Compared:
		return s.publishWithinBounds(ctx, j)
	default:
		return false, nil
	}
}

// to brings a job to a state. One of work begins a phase.
func (s *Service) to(j *revision.Job, state revision.State) {
	now := s.Clock().UTC()
	if p := phaseOf(j); p != nil && p.Ended.IsZero() {
		p.Ended = now
	}
	j.State, j.Since = state, now
	switch state {
	case revision.Replaying, revision.Building, revision.Comparing:
		j.Phases = append(j.Phases, revision.Phase{Name: state, Begun: now})
	}
	s.Log.Info("reprocess", "revision", j.Revision, "state", state)
}

// phaseOf is the phase of the state that a job is in, nil where it has none.
func phaseOf(j *revision.Job) *revision.Phase {
	if n := len(j.Phases); n > 0 && j.Phases[n-1].Name == j.State {
		return &j.Phases[n-1]
	}
	return nil
}

func problem(j *revision.Job, ps ...revision.Problem) {
	j.ProblemCount += int64(len(ps))
	j.Problems = append(j.Problems, ps[:min(len(ps), maxKept-min(len(j.Problems), maxKept))]...)
}

// begin ends the wait for the archive. A batch belongs to the job by the instant
// in its id, which its instance's clock said: it may come a little later.
func (s *Service) begin(ctx context.Context, j *revision.Job) (bool, error) {
	now := s.Clock()
	if !now.After(j.Cut.Add(s.cfg.CutMargin)) {
		return false, nil
	}
	asking, cancel := s.call(ctx)
	rows, err := s.Journal.Unfinished(asking, store.StageArchived, time.Time{}, j.Cut, 1)
	cancel()
	if err != nil {
		return false, fmt.Errorf("cannot tell whether the archive is whole: %w", err)
	}
	if len(rows) > 0 {
		if now.Before(j.Cut.Add(s.cfg.ArchiveWait)) {
			return false, nil
		}
		problem(j, revision.Problem{Detail: fmt.Sprintf(
			"batch %s of %s, and maybe others, did not come into the archive within %s and is not replayed", rows[0].Batch, rows[0].ReceivedAt.UTC().Format(time.RFC3339), s.cfg.ArchiveWait)})
	}
	s.to(j, revision.Replaying)
	return true, nil
}

// phase plans a phase's shards, tells them to the workers, and ends it when all
// are done. plan returns how many shards there are once no more are to come; end
// changes the job, or reports false where something is still missing.
func (s *Service) phase(ctx context.Context, j *revision.Job, plan func(context.Context, *revision.Job) (int, error), end func(context.Context, *revision.Job) (bool, error)) (bool, error) {
	p := phaseOf(j)
	if p == nil {
		return false, fault.New(fault.Invalid, "state %s has no phase", j.State)
	}
	if !p.Planned {
		n, err := plan(ctx, j)
		if err != nil {
			return false, err
		}
		p.Shards, p.Planned = n, true
		return true, nil
	}
	asking, cancel := s.call(ctx)
	progress, err := s.Revisions.Progress(asking, j.Revision, j.State)
	cancel()
	if err != nil {
		return false, err
	}
	if progress.Done < progress.Shards {
		return false, s.tell(ctx, j, p, progress)
	}
	return end(ctx, j)
}

// tell publishes the events of a few more shards, or those of shards that are
// not done for long. It writes the job first: what is lost in between is told
// again later.
func (s *Service) tell(ctx context.Context, j *revision.Job, p *revision.Phase, progress revision.Progress) error {
	now := s.Clock().UTC()
	from, to := p.Next, min(progress.Shards, progress.Done+s.cfg.Ahead)
	if to <= from {
		if now.Sub(p.Told) < s.cfg.Republish {
			return nil
		}
		from, to = 0, p.Next
	}
	p.Next, p.Told = max(to, p.Next), now
	if mine, err := s.update(ctx, j); err != nil || !mine {
		return err
	}
	asking, cancel := s.call(ctx)
	shards, err := s.Revisions.Unfinished(asking, j.Revision, j.State, from, s.cfg.Ahead)
	cancel()
	if err != nil {
		return err
	}
	var events []cloudevents.Event
	for i := range shards {
		if shards[i].Index >= to {
			break
		}
		e, err := s.shardEvent(shardData{j.Revision, j.State, shards[i].Index})
		if err != nil {
			return err
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil
	}
	publishing, cancel := s.call(ctx)
	defer cancel()
	if err := s.Publisher.Publish(publishing, broker.Control, events...); err != nil {
		return fmt.Errorf("cannot publish %d shards: %w", len(events), err)
	}
	return nil
}

// shardsPage is how many shards are read at once.
const shardsPage = 500

// eachShard calls fn with every shard of a phase, in order.
func (s *Service) eachShard(ctx context.Context, rev store.Revision, phase revision.State, fn func(*revision.Shard) error) error {
	for from := 0; ; {
		asking, cancel := s.call(ctx)
		page, err := s.Revisions.Shards(asking, rev, phase, from, shardsPage)
		cancel()
		if err != nil {
			return err
		}
		for i := range page {
			if err := fn(&page[i]); err != nil {
				return err
			}
			from = page[i].Index + 1
		}
		if len(page) < shardsPage {
			return nil
		}
	}
}

// problems takes over what shards of a phase met.
func (s *Service) problems(ctx context.Context, j *revision.Job) error {
	return s.eachShard(ctx, j.Revision, j.State, func(sh *revision.Shard) error {
		problem(j, sh.Problems...)
		return nil
	})
}

func (s *Service) putShards(ctx context.Context, shards []revision.Shard) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.PutShards(ctx, shards)
}

func (s *Service) putPart(ctx context.Context, rev store.Revision, name string, data []byte) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.PutPart(ctx, rev, name, data)
}

func (s *Service) parts(ctx context.Context, rev store.Revision, prefix, after string, limit int) ([]store.Part, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Revisions.Parts(ctx, rev, prefix, after, limit)
}
