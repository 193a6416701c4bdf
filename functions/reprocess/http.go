package reprocess

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/compare"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

const (
	requestTimeout = 30 * time.Second
	compareTimeout = 5 * time.Minute // of every row of one merchant
	maxBody        = 512 << 10
	maxKey         = 255     // bytes of an Idempotency-Key
	maxRows        = 500_000 // of one merchant's comparison
	defaultJobs    = 20
)

func (s *Service) routes(mux *http.ServeMux) {
	mux.Handle("POST /v1/reprocess", s.handle(requestTimeout, s.postJob))
	mux.Handle("GET /v1/reprocess", s.handle(requestTimeout, s.getJobs))
	mux.Handle("GET /v1/reprocess/{revision}", s.handle(requestTimeout, s.getJob))
	mux.Handle("GET /v1/reprocess/{revision}/compare", s.handle(compareTimeout, s.getComparison))
	mux.Handle("POST /v1/reprocess/{revision}/publish", s.handle(requestTimeout, s.change(s.publish)))
	mux.Handle("POST /v1/reprocess/{revision}/rollback", s.handle(requestTimeout, s.change(s.rollBack)))
	mux.Handle("POST /v1/reprocess/{revision}/discard", s.handle(requestTimeout, s.change(s.discard)))
	mux.Handle("POST /v1/reprocess/rejects", s.handle(requestTimeout, s.postRejects))
	mux.Handle("POST /v1/reprocess/dead-letters", s.handle(requestTimeout, s.postDeadLetters))
}

// handle lets the operator in, and nobody else.
func (s *Service) handle(timeout time.Duration, h func(context.Context, http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("Cache-Control", "no-store")
		_, err := s.Authorize.Authorize(ctx, r, access.Operate, "")
		if err == nil {
			err = h(ctx, w, r)
		}
		if err != nil {
			function.WriteError(w, err)
		}
	})
}

// body reads a request's JSON object; an empty body leaves into as it is where
// that is allowed.
func body(r *http.Request, into any, optional bool) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return &fault.Error{Kind: fault.TooLarge, Field: "body", Expected: fmt.Sprintf("at most %d bytes", maxBody), Err: err}
	}
	if optional && len(data) == 0 {
		return nil
	}
	return strict(data, into)
}

// postJob starts a job. The same Idempotency-Key answers the same job.
func (s *Service) postJob(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	var in revision.Request
	if err := body(r, &in, false); err != nil {
		return err
	}
	wish := r.Header.Get("Idempotency-Key")
	if len(wish) > maxKey {
		return fault.Field("Idempotency-Key", fmt.Sprintf("at most %d bytes", maxKey))
	}
	if wish != "" {
		wish = "key " + wish
	}
	j, err := s.start(ctx, in, wish)
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/reprocess/%d", j.Revision))
	function.WriteJSON(w, http.StatusAccepted, j)
	return nil
}

// jobsAnswer is a page of the history of jobs.
type jobsAnswer struct {
	Jobs []revision.Job  `json:"jobs"`
	Next access.Revision `json:"next,omitempty"` // as below of the next page; absent at the end
}

// getJobs lists jobs, the newest first: who asked when, why, and what became of
// it.
func (s *Service) getJobs(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	limit, below := defaultJobs, store.Revision(0)
	for name, values := range r.URL.Query() {
		n, err := strconv.ParseUint(values[0], 10, 32)
		switch {
		case name != "limit" && name != "below":
			return fault.Field(fmt.Sprintf("%.50q", name), "no such parameter; there are limit and below")
		case name == "limit" && (err != nil || n < 1 || n > jobsPage):
			return fault.Field("limit", fmt.Sprintf("1 to %d", jobsPage))
		case err != nil:
			return fault.Field("below", "a revision, as next of an earlier answer")
		case name == "limit":
			limit = int(n)
		default:
			below = store.Revision(n)
		}
	}
	jobs, err := s.jobs(ctx, below, limit)
	if err != nil {
		return err
	}
	a := jobsAnswer{Jobs: jobs}
	if a.Jobs == nil {
		a.Jobs = []revision.Job{}
	}
	if len(jobs) == limit {
		a.Next = jobs[limit-1].Revision
	}
	function.WriteJSON(w, http.StatusOK, a)
	return nil
}

// asked is the job that a path names.
func (s *Service) asked(ctx context.Context, r *http.Request) (revision.Job, error) {
	n, err := strconv.ParseUint(r.PathValue("revision"), 10, 32)
	if err != nil || store.Revision(n) <= store.LiveRevision {
		return revision.Job{}, fault.Field("revision", "the number of a reprocess job, from 2 on")
	}
	return s.job(ctx, store.Revision(n))
}

func (s *Service) getJob(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	j, err := s.asked(ctx, r)
	if err != nil {
		return err
	}
	status, err := s.status(ctx, &j)
	if err != nil {
		return err
	}
	function.WriteJSON(w, http.StatusOK, status)
	return nil
}

func (s *Service) status(ctx context.Context, j *revision.Job) (*revision.Status, error) {
	status := &revision.Status{Job: *j, Progress: []revision.PhaseStatus{}, Exceeds: j.Held}
	for i := range j.Phases {
		asking, cancel := s.call(ctx)
		p, err := s.Revisions.Progress(asking, j.Revision, j.Phases[i].Name)
		cancel()
		if err != nil {
			return nil, err
		}
		status.Progress = append(status.Progress, j.Phases[i].Status(p, s.Clock()))
	}
	return status, nil
}

// change answers a wish to bring a job to another state.
func (s *Service) change(do func(context.Context, *revision.Job, revision.Change) error) func(context.Context, http.ResponseWriter, *http.Request) error {
	return func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		var c revision.Change
		if err := body(r, &c, true); err != nil {
			return err
		}
		if len([]rune(c.Reason)) > maxText || len([]rune(c.By)) > maxText {
			return fault.Field("reason, by", fmt.Sprintf("at most %d letters", maxText))
		}
		for range maxSteps {
			j, err := s.asked(ctx, r)
			if err != nil {
				return err
			}
			if err := do(ctx, &j, c); err != nil {
				return err
			}
			done, err := s.update(ctx, &j)
			if err != nil {
				return err
			}
			if done {
				function.WriteJSON(w, http.StatusOK, j)
				return nil
			}
		}
		return fault.New(fault.Conflict, "the job changes all the time; try again")
	}
}

func (s *Service) publish(ctx context.Context, j *revision.Job, c revision.Change) error {
	if err := s.mayPublish(ctx, j, c.AcceptProblems); err != nil {
		return err
	}
	s.flip(j, true, c)
	return nil
}

func (s *Service) rollBack(ctx context.Context, j *revision.Job, c revision.Change) error {
	if err := s.mayRollBack(ctx, j); err != nil {
		return err
	}
	s.flip(j, false, c)
	return nil
}

func (s *Service) discard(_ context.Context, j *revision.Job, _ revision.Change) error {
	if err := s.mayDiscard(j); err != nil {
		return err
	}
	s.to(j, revision.Discarded)
	return nil
}

// getComparison answers what a job changes: of all merchants with the largest
// changes, or of one with every number. By Accept as JSON, CSV, HTML, or a table.
func (s *Service) getComparison(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	j, err := s.asked(ctx, r)
	if err != nil {
		return err
	}
	merchant := r.URL.Query().Get("merchant")
	p := &compare.Report{Job: &j}
	if merchant == "" {
		p.Result, err = s.comparison(ctx, j.Revision)
	} else {
		p.Result, p.Rows, err = s.comparisonOf(ctx, &j, merchant)
	}
	if err != nil {
		return err
	}
	return write(w, r.Header.Get("Accept"), p)
}

func (s *Service) comparisonOf(ctx context.Context, j *revision.Job, merchant string) (*compare.Result, []compare.Row, error) {
	if j.State != revision.Compared && j.State != revision.Published && j.State != revision.RolledBack {
		return nil, nil, fault.New(fault.Conflict, "cannot compare revision %d: it is %s", j.Revision, j.State)
	}
	if !j.Covers(merchant) {
		return nil, nil, fault.Field("merchant", "a merchant in the job's scope")
	}
	rows := &rowsOf{most: maxRows}
	c, err := s.compareMerchant(ctx, j, merchant, rows)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		if _, err := s.merchant(ctx, merchant); err != nil {
			return nil, nil, err
		}
		return &compare.Result{Unchanged: 1}, []compare.Row{}, nil
	}
	if rows.rows == nil {
		rows.rows = []compare.Row{}
	}
	return c.Result(), rows.rows, nil
}

// formats are how a comparison is written, by media type.
var formats = map[string]func(*compare.Report, io.Writer) error{
	"application/json": (*compare.Report).WriteJSON,
	"text/html":        (*compare.Report).WriteHTML,
	"text/plain":       (*compare.Report).WriteText,
	"text/csv":         writeCSV,
}

func writeCSV(p *compare.Report, w io.Writer) error {
	rows := p.Rows
	if rows == nil {
		rows = p.Result.Top(compare.MaxLargest)
	}
	c, err := compare.NewCSV(w)
	if err != nil {
		return err
	}
	for i := range rows {
		if err := c.Row(&rows[i]); err != nil {
			return err
		}
	}
	return c.Flush()
}

// write writes a comparison as the first media type of Accept that there is.
func write(w http.ResponseWriter, accept string, p *compare.Report) error {
	kind := "application/json"
	for part := range strings.SplitSeq(accept, ",") {
		media, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		if formats[media] != nil {
			kind = media
			break
		}
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	return formats[kind](p, w)
}

// retryRequest is the body of POST /v1/reprocess/rejects: a page of what was
// rejected is tried again.
type retryRequest struct {
	Merchant string    `json:"merchant"` // "": events of streams that were nobody's
	From     time.Time `json:"from"`     // of the events' hours
	To       time.Time `json:"to"`
	Reasons  []string  `json:"reasons"` // absent: all
	Cursor   string    `json:"cursor"`
	Limit    int       `json:"limit"`
}

// deadLetterRequest is the body of POST /v1/reprocess/dead-letters.
type deadLetterRequest struct {
	From  time.Time `json:"from"` // of arrival
	To    time.Time `json:"to"`
	Limit int       `json:"limit"`
}

func (s *Service) postRejects(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	var in retryRequest
	if err := body(r, &in, false); err != nil {
		return err
	}
	if err := validRange(in.From, in.To); err != nil {
		return err
	}
	if in.Limit < 0 || in.Limit > maxRetry {
		return fault.Field("limit", fmt.Sprintf("1 to %d", maxRetry))
	}
	slices.Sort(in.Reasons)
	answer, err := s.retryRejects(ctx, &in)
	if err != nil {
		return err
	}
	function.WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Service) postDeadLetters(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	var in deadLetterRequest
	if err := body(r, &in, false); err != nil {
		return err
	}
	if err := validRange(in.From, in.To); err != nil {
		return err
	}
	if in.Limit < 0 || in.Limit > maxDeadLetters {
		return fault.Field("limit", fmt.Sprintf("1 to %d", maxDeadLetters))
	}
	answer, err := s.retryDeadLetters(ctx, &in)
	if err != nil {
		return err
	}
	function.WriteJSON(w, http.StatusOK, answer)
	return nil
}

func validRange(from, to time.Time) error {
	if from.IsZero() {
		return fault.Field("from", "an instant such as 2026-10-01T00:00:00Z")
	}
	if !from.Before(to) {
		return fault.Field("to", "an instant after from")
	}
	return nil
}
