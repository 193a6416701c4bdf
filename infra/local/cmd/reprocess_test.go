package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/compare"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// served is the API of reprocess.md on real stores, with jobs that only a test
// moves on.
type served struct {
	t      *testing.T
	jobs   store.Revisions
	away   atomic.Int32 // so many calls are answered by 503
	server *httptest.Server
	data   string
}

func serve(t *testing.T) *served {
	s := &served{t: t, data: t.TempDir()}
	stores, err := embedded.Open(filepath.Join(s.data, "db"), embedded.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	s.jobs = stores.Revisions
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/reprocess", s.start)
	mux.HandleFunc("GET /v1/reprocess", s.list)
	mux.HandleFunc("GET /v1/reprocess/{id}", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, http.StatusOK, nil) })
	mux.HandleFunc("GET /v1/reprocess/{id}/compare", s.compare)
	mux.HandleFunc("POST /v1/reprocess/{id}/{action}", s.change)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			function.WriteError(w, fault.New(fault.Unauthenticated, "no valid token"))
		case s.away.Add(-1) >= 0:
			function.WriteError(w, fault.New(fault.Transient, "away"))
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		s.server.Close()
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, content := range map[string]string{"address": s.server.Listener.Addr().String() + "\n", "admin-token": "secret\n"} {
		if err := os.WriteFile(filepath.Join(s.data, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *served) start(w http.ResponseWriter, r *http.Request) {
	var req revision.Request
	err := json.NewDecoder(r.Body).Decode(&req)
	if err == nil {
		err = req.Validate(time.Now())
	}
	var j revision.Job
	if err == nil {
		j, err = s.jobs.CreateJob(r.Context(), revision.Job{Request: req, RequestID: r.Header.Get("Idempotency-Key"), State: revision.Planned, Cut: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)})
	}
	if err != nil {
		function.WriteError(w, err)
		return
	}
	function.WriteJSON(w, http.StatusAccepted, j)
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

func (s *served) list(w http.ResponseWriter, r *http.Request) {
	limit := min(number(r.FormValue("limit")), 2) // so that lists have pages
	all, err := s.jobs.Jobs(r.Context(), access.Revision(number(r.FormValue("below"))), limit)
	if err != nil {
		function.WriteError(w, err)
		return
	}
	page := jobs{Jobs: all}
	if len(all) == limit {
		page.Next = all[limit-1].Revision
	}
	function.WriteJSON(w, http.StatusOK, page)
}

func (s *served) answer(w http.ResponseWriter, r *http.Request, code int, change func(*revision.Job) error) {
	ctx := r.Context()
	j, err := s.jobs.Job(ctx, access.Revision(number(r.PathValue("id"))))
	if err == nil && change != nil {
		if err = change(&j); err == nil {
			err = s.jobs.UpdateJob(ctx, j)
		}
	}
	st := revision.Status{Job: j}
	for i := range j.Phases {
		p, perr := s.jobs.Progress(ctx, j.Revision, j.Phases[i].Name)
		err = errors.Join(err, perr)
		st.Progress = append(st.Progress, j.Phases[i].Status(p, j.Phases[i].Begun.Add(10*time.Second)))
	}
	if err != nil {
		function.WriteError(w, err)
		return
	}
	function.WriteJSON(w, code, st)
}

func (s *served) change(w http.ResponseWriter, r *http.Request) {
	var c revision.Change
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		function.WriteError(w, err)
		return
	}
	to := map[string]revision.State{"publish": revision.Published, "rollback": revision.RolledBack, "discard": revision.Discarded}[r.PathValue("action")]
	s.answer(w, r, http.StatusOK, func(j *revision.Job) error {
		if len(j.Problems) > 0 && !c.AcceptProblems && to == revision.Published {
			return fault.New(fault.Conflict, "the job has problems")
		}
		if j.State = to; to != revision.Discarded {
			j.Flips = append(j.Flips, revision.Flip{At: time.Date(2026, 11, 4, 0, 0, 5, 0, time.UTC), On: to == revision.Published, By: c.By, Reason: c.Reason})
		}
		return nil
	})
}

func (s *served) compare(w http.ResponseWriter, r *http.Request) {
	j, err := s.jobs.Job(r.Context(), access.Revision(number(r.PathValue("id"))))
	if err != nil {
		function.WriteError(w, err)
		return
	}
	c := compare.New("m1", time.UTC, nil)
	if r.FormValue("merchant") != "" {
		c = compare.New(r.FormValue("merchant"), time.UTC, nil)
	}
	if err := c.Rejects(nil, []compare.Reject{{Hour: 480_000, Reason: "invalid", Events: 3}}); err != nil {
		s.t.Error(err)
	}
	report := compare.Report{Job: &j, Result: c.Result()}
	write := map[string]func() error{
		"text/plain": func() error { return report.WriteText(w) }, "application/json": func() error { return report.WriteJSON(w) },
		"text/html": func() error { return report.WriteHTML(w) }, "text/csv": func() error { _, err := fmt.Fprint(w, "csv"); return err },
	}[r.Header.Get("Accept")]
	if err := write(); err != nil {
		s.t.Error(err)
	}
}

// run runs a command line, by which Footfall is found in the data folder.
func (s *served) run(args ...string) (stdout string, err error) {
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = reprocess(ctx, args, []string{"FOOTFALL_DATA=" + s.data}, &out, &errs)
	return out.String(), err
}

func (s *served) must(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("%q: %v", args, err)
	}
	return out
}

func (s *served) fails(want string, args ...string) {
	s.t.Helper()
	out, err := s.run(args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		s.t.Fatalf("%q: error is %v, expected one with %q; it printed %q", args, err, want, out)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("it lacks %q:\n%s", p, text)
		}
	}
}

// update changes a job as function reprocess would.
func (s *served) update(rev access.Revision, change func(*revision.Job)) {
	s.t.Helper()
	j, err := s.jobs.Job(context.Background(), rev)
	if err == nil {
		change(&j)
		err = s.jobs.UpdateJob(context.Background(), j)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestReprocessCommands(t *testing.T) {
	s := serve(t)
	contains(t, s.must("list"), "There is no reprocess job.")
	s.fails("there is no reprocess job", "status")
	out := s.must("start", "-from", "2026-10-01", "-to", "2026-11-01T06", "-lateness", "48h", "-merchants", "m2,m1", "-reason", "bots\x1b", "-by", "anna", "-key", "k")
	contains(t, out, "Revision 2 is planned: what arrived from 2026-10-01T00:00:00Z to before 2026-11-03T00:00:00Z, of 2 merchants")
	if again := s.must("start", "-from", "2026-10-01", "-reason", "bots", "-key", "k"); !strings.HasPrefix(again, "Revision 2 ") {
		t.Errorf("the same wish is another job: %s", again)
	}
	s.fails("job 2 (planned) is over the same merchants", "start", "-from", "2026-10-01", "-reason", "more")
	s.fails("reason: expected", "start", "-from", "2026-10-01")
	s.fails("from: expected", "start", "-reason", "r")
	s.fails(`-from: cannot read time "October"`, "start", "-from", "October", "-reason", "r")
	for _, m := range []string{"a", "b", "c"} {
		s.must("start", "-from", "2026-10-01", "-reason", "r", "-merchants", m, "-mode", "publish", "-max-change", "0.01")
	}
	j, err := s.jobs.Job(t.Context(), 5)
	if err != nil || j.Mode != revision.ModePublish || j.Bounds.Events != 0.01 || j.RequestID == "" {
		t.Errorf("job %+v: %v", j, err)
	}
	out = s.must("list")
	if got := regexp.MustCompile(`(?m)^\d+`).FindAllString(out, -1); strings.Join(got, " ") != "5 4 3 2" {
		t.Errorf("listed are %s:\n%s", got, out)
	}
	contains(t, out, "2026-11-03T00:00:00Z  2 merchants  anna", "bots?")
	if out := s.must("list", "-limit", "1"); strings.Count(out, "\n") != 2 {
		t.Errorf("one is asked for:\n%s", out)
	}

	s.update(2, func(j *revision.Job) {
		j.State, j.ProblemCount = revision.Compared, 3
		j.Problems = []revision.Problem{{Shard: "replaying/1", Path: "/archive/x.avro", Detail: "cut short"}}
	})
	contains(t, s.must("status", "2"), "Revision 2 is compared since", "asked for at", "by anna: bots?", "problem: replaying/1 /archive/x.avro cut short\nproblem: and 2 more\n")
	contains(t, s.must("compare", "2"), "Revision 2 (compared)", "1 of 1 merchant change", "TOTALS")
	contains(t, s.must("compare", "-format", "html", "2"), "<!doctype html>")
	contains(t, s.must("compare", "2", "-merchant", "m7", "-format", "json"), `"merchant_id":"m7"`)
	contains(t, s.must("compare", "-format", "csv", "2"), "csv")
	s.fails("-format: expected", "compare", "-format", "xml", "2")

	s.fails("the job has problems", "publish", "2")
	contains(t, s.must("publish", "-accept-problems", "-by", "ben", "-reason", "looked at", "2"), "Revision 2 is published", "published from 2026-11-04T00:00:05Z on, by ben: looked at")
	contains(t, s.must("rollback", "2"), "Revision 2 is rolled_back", "rolled back from 2026-11-04T00:00:05Z on", "no reason given")
	contains(t, s.must("discard", "3"), "Revision 3 is discarded")
	contains(t, s.must("status"), "Revision 5 is planned")
	s.fails("there is no such job", "status", "9")
	s.fails("expected the revision", "publish")
	for _, bad := range [][]string{{"publish", "1"}, {"publish", "x"}, {"status", "2", "3"}, {"list", "2"}} {
		s.fails("unexpected", bad...)
	}
	s.fails("expected start, list", "frobnicate")
	s.fails("expected start, list")
}

// Who follows sees rate and time left, is not disturbed by a server that is
// away, and ends with the job.
func TestReprocessFollow(t *testing.T) {
	s := serve(t)
	s.must("start", "-from", "2026-10-01", "-reason", "r")
	replaying := func(index int) revision.Shard {
		return revision.Shard{Revision: 2, Phase: revision.Replaying, Index: index, Bytes: 100}
	}
	if err := s.jobs.PutShards(t.Context(), []revision.Shard{replaying(0), replaying(1), replaying(2), replaying(3)}); err != nil {
		t.Fatal(err)
	}
	done := replaying(0)
	done.Done, done.Counts = time.Now(), revision.Counts{Events: 5000}
	if err := s.jobs.FinishShard(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	begun := time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC)
	seen := &steps{on: map[string]func(){
		"it waits until": func() { s.away.Store(2) },
		"Footfall is away": func() {
			s.update(2, func(j *revision.Job) {
				j.State, j.Phases = revision.Replaying, []revision.Phase{{Name: revision.Replaying, Begun: begun, Planned: true}}
			})
		},
		"replaying": func() {
			s.update(2, func(j *revision.Job) {
				j.State = revision.Compared
				j.Phases[0].Ended = begun.Add(40 * time.Second)
			})
		},
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := reprocess(ctx, []string{"status", "-follow", "-every", "1ms"}, []string{"FOOTFALL_DATA=" + s.data}, seen, seen); err != nil {
		t.Fatalf("%v\n%s", err, seen.text.String())
	}
	contains(t, seen.text.String(),
		"planned    it waits until the archive holds what arrived before 2026-11-03T00:00:00Z\n",
		"Footfall is away; asking again\n",
		"replaying  1 of 4 shards, 25.0 %, 5000 events, 500 events/s, 30s left\n",
		"Revision 2 is compared", "125 events/s, took 40s")

	s.update(2, func(j *revision.Job) { j.State = revision.Failed })
	s.fails("revision 2 has failed", "status", "-follow", "2")
}

// steps runs what belongs to a text when it is printed first.
type steps struct {
	text bytes.Buffer
	on   map[string]func()
}

func (s *steps) Write(p []byte) (int, error) {
	for part, do := range s.on {
		if bytes.Contains(p, []byte(part)) {
			delete(s.on, part)
			do()
		}
	}
	return s.text.Write(p)
}

// The data folder's token goes to the Footfall of the data folder only.
func TestOperatorsToken(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	run := func(environ []string, args ...string) error {
		var out bytes.Buffer
		return reprocess(ctx, args, append([]string{"FOOTFALL_DATA=" + s.data}, environ...), &out, &out)
	}
	if err := run(nil, "list", "-target", s.server.URL); err == nil || !strings.Contains(err.Error(), "expected the operator's token") {
		t.Errorf("without a token: %v", err)
	}
	if err := run([]string{"FOOTFALL_ADMIN_TOKEN=secret"}, "list", "-target", s.server.URL+"/"); err != nil {
		t.Errorf("with a token of the environment: %v", err)
	}
	if err := run(nil, "list", "-target", s.server.URL, "-admin-token-file", filepath.Join(s.data, "admin-token")); err != nil {
		t.Errorf("with a token of a file: %v", err)
	}
	if err := run([]string{"FOOTFALL_ADMIN_TOKEN=wrong"}, "list"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong token: %v", err)
	}
	for _, bad := range []string{"footfall.example", "ftp://x", "http://"} {
		if err := run(nil, "list", "-target", bad); err == nil || !strings.Contains(err.Error(), "-target: expected") {
			t.Errorf("target %q: %v", bad, err)
		}
	}
	if err := reprocess(ctx, []string{"list"}, []string{"FOOTFALL_DATA=" + t.TempDir()}, new(bytes.Buffer), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "cannot find a running Footfall") {
		t.Errorf("on an empty folder: %v", err)
	}
}
