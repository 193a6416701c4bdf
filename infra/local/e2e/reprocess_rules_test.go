package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// quick has jobs wait for nothing longer than a test needs.
var quick = []string{
	"FOOTFALL_ARCHIVE_FILE_AGE=100ms", "FOOTFALL_ARCHIVE_FILE_IDLE=100ms", "FOOTFALL_REPROCESS_CUT_MARGIN=1s", "FOOTFALL_REPROCESS_PUBLISH_DELAY=1s",
	"FOOTFALL_REPROCESS_REPUBLISH=2s",
}

func sinceAnHour(more string) []byte {
	return fmt.Appendf(nil, `{"from":%q,"reason":"a test"%s}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), more)
}

// postJob starts a job.
func postJob(t *testing.T, p *loadtest.Process, body []byte) (j revision.Job) {
	t.Helper()
	if err := p.Do(t.Context(), http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", body, http.StatusAccepted, &j); err != nil {
		t.Fatal(err)
	}
	return j
}

// awaitState ticks until a job is in a state.
func awaitState(t *testing.T, p *loadtest.Process, rev access.Revision, want revision.State) revision.Status {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if err := p.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := jobState(t.Context(), p, rev)
		if err != nil {
			t.Fatal(err)
		}
		if s.State == want {
			return s
		}
		if time.Now().After(deadline) || s.State == revision.Failed {
			t.Fatalf("job %d is %+v and never %s", rev, s, want)
		}
	}
}

func awaitRevision(t *testing.T, p *loadtest.Process, m loadtest.Merchant, want access.Revision) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, said, err := monthOf(t.Context(), p, m, monthQuestions[0])
		if err != nil {
			t.Fatal(err)
		}
		if said.Revision == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("reports show revision %d and never %d", said.Revision, want)
		}
	}
}

func changeJob(t *testing.T, p *loadtest.Process, rev access.Revision, action, body string, want int) string {
	t.Helper()
	var answer json.RawMessage
	if err := p.Do(t.Context(), http.MethodPost, fmt.Sprintf("/v1/reprocess/%d/%s", rev, action), p.AdminToken, "application/json", []byte(body), want, &answer); err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func fourMerchants(t *testing.T, p *loadtest.Process) (merchants []loadtest.Merchant) {
	t.Helper()
	for i := range 4 {
		m, err := p.CreateMerchant(t.Context(), fmt.Sprint(t.Name(), " ", i))
		if err != nil {
			t.Fatal(err)
		}
		merchants = append(merchants, m)
	}
	return merchants
}

// What is wrong with a request is said by field, and whoever is not the
// operator is not let in.
func TestReprocessRequests(t *testing.T) {
	p := inProcess(t, broker.Faults{}, quick...)
	m := merchant(t, p)
	for name, c := range map[string]struct {
		body, says string
	}{
		"no JSON":        {"{", "data"},
		"no from":        {`{"reason":"x"}`, "from"},
		"no reason":      {`{"from":"2026-01-01T00:00:00Z"}`, "reason"},
		"unknown member": {`{"from":"2026-01-01T00:00:00Z","reason":"x","sharts":1}`, "sharts"},
		"to before from": {`{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z","reason":"x"}`, "to"},
		"other mode":     {`{"from":"2026-01-01T00:00:00Z","reason":"x","mode":"now"}`, "mode"},
		"no merchant":    {`{"from":"2026-01-01T00:00:00Z","reason":"x","merchants":["nobody"]}`, "merchants"},
		"bad lateness":   {`{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","lateness":"soon","reason":"x"}`, "lateness"},
	} {
		t.Run(name, func(t *testing.T) {
			var answer json.RawMessage
			err := p.Do(t.Context(), http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", []byte(c.body), http.StatusUnprocessableEntity, &answer)
			if err != nil {
				err = p.Do(t.Context(), http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", []byte(c.body), http.StatusBadRequest, &answer)
			}
			if err != nil || !strings.Contains(string(answer), `"`+c.says+`"`) && !strings.Contains(string(answer), c.says) {
				t.Errorf("%v: %s", err, answer)
			}
		})
	}
	for path, method := range map[string]string{"/v1/reprocess": http.MethodPost, "/v1/reprocess/2": http.MethodGet, "/v1/reprocess/2/publish": http.MethodPost, "/v1/reprocess/rejects": http.MethodPost} {
		for token, status := range map[string]int{"": http.StatusUnauthorized, m.ReportToken: http.StatusForbidden} {
			if err := p.Do(t.Context(), method, path, token, "application/json", sinceAnHour(""), status, nil); err != nil {
				t.Error(err)
			}
		}
	}
	if err := p.Do(t.Context(), http.MethodGet, "/v1/reprocess/7", p.AdminToken, "", nil, http.StatusNotFound, nil); err != nil {
		t.Error(err)
	}

	// Two jobs over the same merchants are never mixed; the same wish is one job.
	first := postJob(t, p, sinceAnHour(`,"merchants":["`+m.MerchantID+`"]`))
	var answer json.RawMessage
	if err := p.Do(t.Context(), http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", sinceAnHour(""), http.StatusConflict, &answer); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), fmt.Sprint(first.Revision)) {
		t.Errorf("the conflict does not name job %d: %s", first.Revision, answer)
	}

	// By event: what cannot become a job stands in the history, once.
	for range 2 {
		for id, data := range map[string]string{"bad": `{"reason":"x"}`, "second": string(sinceAnHour(""))} {
			wish := fmt.Sprintf(`{"specversion":"1.0","type":"footfall.reprocess.requested.v1","source":"/operator","id":%q,"datacontenttype":"application/json","data":%s}`, id, data)
			if err := p.Do(t.Context(), http.MethodPost, "/brokers/control", "", "application/cloudevents+json", []byte(wish), http.StatusAccepted, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	settled(t, p)
	var list struct {
		Jobs []revision.Job `json:"jobs"`
	}
	if err := p.Do(t.Context(), http.MethodGet, "/v1/reprocess", p.AdminToken, "", nil, http.StatusOK, &list); err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{}
	for _, j := range list.Jobs {
		if j.State == revision.Refused && len(j.Problems) == 1 {
			refused[j.Problems[0].Detail] = true
		}
	}
	if len(list.Jobs) != 3 || len(refused) != 2 {
		t.Errorf("expected the job and two wishes that were refused, each for a reason, got %+v", list.Jobs)
	}
	awaitState(t, p, first.Revision, revision.Compared)
	changeJob(t, p, first.Revision, "rollback", "", http.StatusConflict)
	changeJob(t, p, first.Revision, "discard", `{"by":"anna","reason":"only tried"}`, http.StatusOK)
	changeJob(t, p, first.Revision, "publish", "", http.StatusConflict)
}

// A job that changes nothing says so, gives nobody a view, and may be published
// all the same. One by event, within its bounds, publishes itself.
func TestReprocessThatChangesNothing(t *testing.T) {
	p := inProcess(t, broker.Faults{Seed: 3, Duplicate: 0.2, Reorder: true}, quick...)
	merchants := fourMerchants(t, p)
	h := newHistory(merchants)
	postAll(t, p, h.all(20, len(merchants)))
	settled(t, p)
	before := allMonths(t, p, merchants, "")
	wish := fmt.Sprintf(`{"specversion":"1.0","type":"footfall.reprocess.requested.v1","source":"/operator","id":"1","datacontenttype":"application/json","data":%s}`, sinceAnHour(`,"mode":"publish"`))
	if err := p.Do(t.Context(), http.MethodPost, "/brokers/control", "", "application/cloudevents+json", []byte(wish), http.StatusAccepted, nil); err != nil {
		t.Fatal(err)
	}
	settled(t, p)
	awaitState(t, p, 2, revision.Published)
	if text := comparison(t, p, 2); !strings.Contains(text, "Nothing changes") {
		t.Error(text)
	}
	sameAnswers(t, "after a job that changes nothing", before, allMonths(t, p, merchants, ""))
}

// comparison is that of a job, as a person reads it.
func comparison(t *testing.T, p *loadtest.Process, rev access.Revision) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/reprocess/%d/compare", p.URL, rev), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.AdminToken)
	req.Header.Set("Accept", "text/plain")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// With all processed data and summaries gone, a reprocess of everything gives
// the reports of before, to the byte: a restore drill.
func TestRebuildFromTheArchive(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, quick...)
	merchants := fourMerchants(t, p)
	h := newHistory(merchants)
	bodies := h.all(40, len(merchants))
	for _, part := range [][][]byte{bodies[:15], bodies[15:]} {
		postAll(t, p, part)
		settled(t, p)
	}
	before := allMonths(t, p, merchants, "")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	lose(t, dir, merchants)

	p = start(t, dir, quick...)
	if gone := allMonths(t, p, merchants[:1], ""); gone["0 "+monthQuestions[0]] == before["0 "+monthQuestions[0]] {
		t.Fatal("nothing was lost")
	}
	// From nothing to something is more than any bound: somebody has to look.
	j := postJob(t, p, sinceAnHour(`,"mode":"publish","bounds":{"events":1000000}`))
	s := awaitState(t, p, j.Revision, revision.Compared)
	if s.ProblemCount > 0 {
		t.Fatalf("it has problems: %+v", s.Problems)
	}
	changeJob(t, p, j.Revision, "publish", `{"by":"anna","reason":"restored"}`, http.StatusOK)
	for _, m := range merchants {
		awaitRevision(t, p, m, j.Revision)
	}
	sameAnswers(t, "rebuilt from the archive", before, allMonths(t, p, merchants, ""))
}

// lose removes all that was made of merchants' batches.
func lose(t *testing.T, dir string, merchants []loadtest.Merchant) {
	t.Helper()
	s, err := embedded.Open(dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, m := range append([]loadtest.Merchant{{}}, merchants...) {
		err := s.Processed.Drop(ctx, m.MerchantID, store.LiveRevision, 0, event.Hour(1<<30))
		for generation := range uint32(3) {
			if err == nil {
				err = s.Summaries.Drop(ctx, m.MerchantID, generation)
			}
			if err == nil {
				err = s.Visitors.Drop(ctx, m.MerchantID, generation)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// An archive file that is damaged is told and does not stop the job, and nobody
// publishes it unawares.
func TestReprocessADamagedArchive(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, quick...)
	merchants := fourMerchants(t, p)
	h := newHistory(merchants)
	for range 3 {
		postAll(t, p, h.all(5, len(merchants)))
		settled(t, p)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	var damaged string
	if err := filepath.WalkDir(filepath.Join(dir, "archive"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && damaged == "" && strings.HasSuffix(path, ".avro") {
			damaged = path
		}
		return err
	}); err != nil || damaged == "" {
		t.Fatalf("found no file of the archive: %v", err)
	}
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	copy(data[len(data)/2:], "this is no block")
	if err := os.WriteFile(damaged, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, dir, append(quick, "FOOTFALL_REPROCESS_READ_TRIES=1")...)
	j := postJob(t, p, sinceAnHour(`,"mode":"publish","bounds":{"events":1000000}`))
	s := awaitState(t, p, j.Revision, revision.Compared)
	if s.ProblemCount == 0 || !strings.Contains(damaged, s.Problems[0].Path) {
		t.Errorf("expected a problem with %s, got %+v", damaged, s.Problems)
	}
	if says := changeJob(t, p, j.Revision, "publish", "", http.StatusConflict); !strings.Contains(says, "accept_problems") {
		t.Errorf("the refusal does not say what to do: %s", says)
	}
	changeJob(t, p, j.Revision, "publish", `{"accept_problems":true}`, http.StatusOK)
}

// Events that a disabled stream lost are counted when it is enabled again and
// they are tried again, page by page; and a batch that nobody took is published
// at once when the operator wants it.
func TestTriedAgain(t *testing.T) {
	p := inProcess(t, broker.Faults{}, append(quick, "FOOTFALL_JOURNAL_REPUBLISH_AFTER=1h")...)
	m := merchant(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lost, err := p.LoseEvents(ctx, m, noon, 3)
	if err != nil {
		t.Fatal(err)
	}
	total := lost.Totals.Counted + lost.Totals.Rejected["disabled_stream"]
	var counted int64
	for cursor := ""; ; {
		body := fmt.Appendf(nil, `{"merchant":%q,"from":%q,"to":%q,"limit":7,"cursor":%q}`, m.MerchantID, day.Format(time.RFC3339), day.AddDate(0, 0, 2).Format(time.RFC3339), cursor)
		var did struct {
			Looked, Counted, Rejected int64
			Next                      string
		}
		if err := p.Do(ctx, http.MethodPost, "/v1/reprocess/rejects", p.AdminToken, "application/json", body, http.StatusOK, &did); err != nil {
			t.Fatal(err)
		}
		// The function knows within a second that the stream is enabled.
		if did.Rejected > 0 {
			continue
		}
		counted += did.Counted
		if cursor = did.Next; cursor == "" {
			break
		}
	}
	if counted != lost.Totals.Rejected["disabled_stream"] {
		t.Errorf("%d events were lost, and %d came back", lost.Totals.Rejected["disabled_stream"], counted)
	}
	settled(t, p)
	waitCounted(t, p, m, views(total))

	// A dead letter that only the journal has.
	if err := p.PublishBatch(ctx, "batches-dead", m, noon.Add(time.Hour), "dead", 5); err != nil {
		t.Fatal(err)
	}
	body := fmt.Appendf(nil, `{"from":%q,"to":%q}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	// It is in the journal when it was delivered.
	for did := (struct{ Published, Gone int }{}); did.Published == 0; {
		if err := p.Do(ctx, http.MethodPost, "/v1/reprocess/dead-letters", p.AdminToken, "application/json", body, http.StatusOK, &did); err != nil {
			t.Fatal(err)
		}
	}
	waitCounted(t, p, m, views(total+5))
}
