package e2e

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// The month of these tests' history.
var (
	monthBegin = day.AddDate(0, 0, -29)
	monthEnd   = day
)

// history makes the events of a month, some of them twice and none in order,
// for three merchants whom the planted bug concerns and one whom it does not.
type history struct {
	rng     *rand.Rand
	streams []string
	n       int
	sent    []string
}

func newHistory(merchants []loadtest.Merchant) *history {
	h := &history{rng: rand.New(rand.NewPCG(5, 5))}
	for _, m := range merchants {
		h.streams = append(h.streams, m.Streams[0].MeasurementID)
	}
	return h
}

// body is a request of n events of one of the first merchants, or of any.
func (h *history) body(n, merchants int) []byte {
	var events []string
	for range n {
		if len(h.sent) > 0 && h.rng.IntN(30) == 0 {
			events = append(events, h.sent[h.rng.IntN(len(h.sent))])
			continue
		}
		e := h.event(h.rng.IntN(merchants))
		if len(h.sent) < 500 {
			h.sent = append(h.sent, e)
		} else {
			h.sent[h.rng.IntN(len(h.sent))] = e
		}
		events = append(events, e)
	}
	return []byte("[" + strings.Join(events, ",") + "]")
}

func (h *history) event(merchant int) string {
	h.n++
	at := monthBegin.Add(time.Duration(h.rng.Int64N(int64(monthEnd.AddDate(0, 0, 1).Sub(monthBegin)))))
	data := map[string]any{
		"client_id": fmt.Sprint("c", h.rng.IntN(60)), "session_id": fmt.Sprint("s", h.rng.IntN(300)), "engagement_ms": h.rng.IntN(15000),
		"page": map[string]any{"location": fmt.Sprintf("https://shop.example/a/%d/%d?utm_source=mail", h.rng.IntN(4), h.rng.IntN(5))},
	}
	names := []string{"page_view", "page_view", "page_view", "scroll", "purchase", "sign_up"}
	if merchant == len(h.streams)-1 {
		names = []string{"scroll", "click"} // the bug leaves these alone
	}
	data["name"] = names[h.rng.IntN(len(names))]
	if data["name"] == "purchase" {
		data["value"], data["currency"], data["params"] = 10+h.rng.IntN(90), "USD", map[string]any{"transaction_id": fmt.Sprint("t", h.n)}
	}
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0", "type": "footfall.event.v1", "source": "/shop", "id": fmt.Sprint("e", h.n), "measurementid": h.streams[merchant],
		"time": at.Format(time.RFC3339Nano), "data": data,
	})
	if err != nil {
		panic(err)
	}
	return string(event)
}

var monthQuestions = append([]string{
	"metrics=eventCount,purchaseRevenue,keyEvents&dimensions=date",
	"metrics=eventCount&dimensions=dateHour,eventName&limit=10000",
	"metrics=screenPageViews,sessions,activeUsers&dimensions=pagePath,browser",
	"metrics=newUsers,firstTimePurchasers,firstTimePurchasersPerNewUser&dimensions=date,eventName",
}, questions...)

// moment is what a report says of the moment of asking.
type moment struct {
	Revision  access.Revision `json:"revision"`
	Watermark time.Time       `json:"watermark"`
	Pending   int64           `json:"pending"`
}

// monthOf is the report of a question over the month, as it came but for what
// it says of the moment of asking.
func monthOf(ctx context.Context, p *loadtest.Process, m loadtest.Merchant, question string) (body string, said moment, err error) {
	path := fmt.Sprintf("/v1/reports/%s?from=%s&to=%s&%s", m.MerchantID, monthBegin.AddDate(0, 0, -1).Format(time.DateOnly), monthEnd.AddDate(0, 0, 1).Format(time.DateOnly), question)
	var answer map[string]json.RawMessage
	if err := p.Do(ctx, http.MethodGet, path, m.ReportToken, "", nil, http.StatusOK, &answer); err != nil {
		return "", said, err
	}
	if err := json.Unmarshal(answer["metadata"], &said); err != nil {
		return "", said, err
	}
	delete(answer, "metadata")
	all, err := json.Marshal(answer)
	return string(all), said, err
}

func allMonths(t *testing.T, p *loadtest.Process, merchants []loadtest.Merchant, extra string) map[string]string {
	t.Helper()
	out := map[string]string{}
	since := time.Now()
	for i, m := range merchants {
		for _, q := range monthQuestions {
			for {
				body, said, err := monthOf(t.Context(), p, m, q+extra)
				if err != nil {
					t.Fatal(err)
				}
				if said.Pending == 0 && !said.Watermark.Before(since) {
					out[fmt.Sprint(i, " ", q)] = body
					break
				}
				if time.Since(since) > time.Minute {
					t.Fatalf("reports do not come to hold what was sent: %+v", said)
				}
			}
		}
		var ledger map[string]json.RawMessage
		if extra != "" {
			continue
		}
		path := fmt.Sprintf("/v1/ledger/%s?from=%s&to=%s", m.MerchantID, monthBegin.AddDate(0, 0, -1).Format(time.RFC3339), monthEnd.AddDate(0, 0, 2).Format(time.RFC3339))
		if err := p.Do(t.Context(), http.MethodGet, path, m.ReportToken, "", nil, http.StatusOK, &ledger); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			// Requests that the kill left without an answer came twice.
			for _, part := range []string{"hours", "totals"} {
				delete(ledger, part)
			}
		}
		delete(ledger, "revision")
		text, err := json.Marshal(ledger)
		if err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprint(i, " ledger")] = string(text)
	}
	return out
}

func sameAnswers(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for _, q := range slices.Sorted(maps.Keys(want)) {
		if want[q] != got[q] {
			t.Errorf("%s: question %s:\nwant %.1000s\ngot  %.1000s", what, q, want[q], got[q])
		}
	}
}

// settled waits until all that was sent is counted, and closed.
func settled(t *testing.T, p *loadtest.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		err := p.WaitDelivered(ctx)
		if err == nil {
			err = p.Tick(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.WaitDelivered(ctx); err != nil {
		t.Fatal(err)
	}
}

func jobState(ctx context.Context, p *loadtest.Process, rev access.Revision) (revision.Status, error) {
	var s revision.Status
	err := p.Do(ctx, http.MethodGet, fmt.Sprint("/v1/reprocess/", rev), p.AdminToken, "", nil, http.StatusOK, &s)
	return s, err
}

func (h *history) all(n, merchants int) [][]byte {
	var bodies [][]byte
	for range n {
		bodies = append(bodies, h.body(50, merchants))
	}
	return bodies
}

func postAll(t *testing.T, p *loadtest.Process, bodies [][]byte) {
	t.Helper()
	queue := make(chan loadtest.Request, len(bodies))
	for _, b := range bodies {
		queue <- loadtest.Request{Body: b, Valid: loadtest.AnyValid}
	}
	close(queue)
	if err := loadtest.NewSender(p.URL, 4).PostAll(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
}

// plantedBinary builds Footfall with the planted bug of package transform.
func plantedBinary(t *testing.T) string {
	t.Helper()
	old := filepath.Join(t.TempDir(), "footfall-planted")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "plantedbug", "-o", old, "../cmd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the binary with the planted bug: %v: %s", err, out)
	}
	return old
}

// A bug of the ETL is found after a month. The mended binary computes the month
// anew while events come in, somebody looks at reports all the time, and the
// process is killed in every phase; what would change is what is different
// between the two binaries; once published, reports are those of a system that
// never had the bug, to the byte, and taken back, those of before.
func TestReprocessAMonth(t *testing.T) {
	planted := plantedBinary(t)
	mended := binary
	small := []string{
		"FOOTFALL_ARCHIVE_FILE_AGE=100ms", "FOOTFALL_ARCHIVE_FILE_IDLE=100ms", "FOOTFALL_REPROCESS_SHARD_BYTES=1", "FOOTFALL_REPROCESS_SHARD_MERCHANTS=1",
		"FOOTFALL_REPROCESS_CUT_MARGIN=1s", "FOOTFALL_REPROCESS_PUBLISH_DELAY=1500ms", "FOOTFALL_REPROCESS_REPUBLISH=3s",
	}
	run := func(program, dir string, environ ...string) *loadtest.Process {
		t.Helper()
		binary = program
		defer func() { binary = mended }()
		return start(t, dir, append(environ, small...)...)
	}
	// Both systems know the same merchants, with the same names and tokens.
	dir, clean := t.TempDir(), filepath.Join(t.TempDir(), "clean")
	p := run(planted, dir)
	var merchants []loadtest.Merchant
	for i := range 4 {
		m, err := p.CreateMerchant(t.Context(), fmt.Sprint("month ", i))
		if err != nil {
			t.Fatal(err)
		}
		merchants = append(merchants, m)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(clean, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}

	h := newHistory(merchants)
	month := h.all(80, len(merchants))
	p = run(planted, dir)
	for part := range slices.Chunk(month, 10) { // each in files of its own
		postAll(t, p, part)
		settled(t, p)
	}
	before := allMonths(t, p, merchants, "")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}

	p = run(mended, dir)
	addr := strings.TrimPrefix(p.URL, "http://")
	sameAnswers(t, "a mended ETL changes no history by itself", before, allMonths(t, p, merchants, ""))
	current := atomic.Pointer[loadtest.Process]{}
	current.Store(p)

	// Live load, of all merchants but the first, whose answers must not change
	// but by a flip.
	ctx, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	var live [][]byte
	background.Go(func() {
		others := &history{rng: rand.New(rand.NewPCG(6, 6)), streams: h.streams[1:], n: 1 << 20}
		sender := loadtest.NewSender("http://"+addr, 1)
		for ctx.Err() == nil {
			body := others.body(20, len(others.streams))
			// To its end: what was sent is sent to the other system, too.
			if err := sender.Post(t.Context(), &loadtest.Request{Body: body, Valid: loadtest.AnyValid}); err != nil {
				t.Error(err)
				return
			}
			live = append(live, body)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	var flips []access.Revision // that the reader saw, each once in a row
	var last atomic.Uint32      // of these
	background.Go(func() {
		seen := map[access.Revision]string{}
		for looks := 0; ctx.Err() == nil; looks++ {
			body, said, err := monthOf(ctx, current.Load(), merchants[0], monthQuestions[1])
			if err != nil {
				continue // it is down, for all that is said here
			}
			rev := said.Revision
			if n := len(flips); n == 0 || flips[n-1] != rev {
				flips = append(flips, rev)
				last.Store(uint32(rev))
			}
			if was, ok := seen[rev]; ok && was != body {
				t.Errorf("look %d: revision %d says two things:\n%.3000s\n%.3000s", looks, rev, was, body)
				return
			}
			seen[rev] = body
		}
	})

	body := fmt.Appendf(nil, `{"from":%q,"reason":"purchases count an hour early","by":"test"}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	var job revision.Job
	if err := p.Do(t.Context(), http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", body, http.StatusAccepted, &job); err != nil {
		t.Fatal(err)
	}
	killed := map[revision.State]bool{}
	deadline := time.Now().Add(4 * time.Minute)
	for state := revision.State(""); state != revision.Compared; {
		if time.Now().After(deadline) {
			t.Fatalf("the job still is %q", state)
		}
		_ = p.Tick(t.Context())
		s, err := jobState(t.Context(), p, job.Revision)
		if err != nil {
			t.Fatal(err)
		}
		state = s.State
		if state == revision.Failed || s.ProblemCount > 0 {
			t.Fatalf("the job has problems: %+v", s)
		}
		if (state == revision.Replaying || state == revision.Building || state == revision.Comparing) && !killed[state] {
			killed[state] = true
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			p = run(mended, dir, "FOOTFALL_ADDR="+addr)
			current.Store(p)
		}
	}
	t.Logf("killed while %v", slices.Sorted(maps.Keys(killed)))
	if _, said, err := monthOf(t.Context(), p, merchants[0], monthQuestions[0]); err != nil || said.Revision != access.LiveRevision {
		t.Fatalf("reports show revision %d before it is published, %v", said.Revision, err)
	}
	flip := func(action string, want access.Revision) {
		t.Helper()
		path := fmt.Sprintf("/v1/reprocess/%d/%s", job.Revision, action)
		if err := p.Do(t.Context(), http.MethodPost, path, p.AdminToken, "application/json", []byte(`{"by":"test","reason":"it is right"}`), http.StatusOK, nil); err != nil {
			t.Fatal(err)
		}
		for access.Revision(last.Load()) != want {
			if time.Now().After(deadline) {
				t.Fatalf("reports never show revision %d", want)
			}
			_ = p.Tick(t.Context())
		}
	}
	flip("publish", job.Revision)
	flip("rollback", access.LiveRevision)
	flip("publish", job.Revision)
	stop()
	background.Wait()
	if want := []access.Revision{1, job.Revision, 1, job.Revision}; !slices.Equal(flips, want) {
		t.Errorf("a reader saw revisions %v one after the other, expected %v", flips, want)
	}

	settled(t, p)
	after := allMonths(t, p, merchants, "")
	asWas := allMonths(t, p, merchants, "&revision=1")
	c := run(mended, clean)
	postAll(t, c, month)
	postAll(t, c, live)
	settled(t, c)
	sameAnswers(t, "published, against a system that never had the bug", allMonths(t, c, merchants, ""), after)
	for q, body := range before {
		if strings.HasPrefix(q, "0 ") && !strings.HasSuffix(q, "ledger") && asWas[q] != body {
			t.Errorf("as of revision 1: question %s:\nwant %.1000s\ngot  %.1000s", q, body, asWas[q])
		}
	}
	checkComparison(t, p, job.Revision, merchants[0], before["0 "+monthQuestions[1]], after["0 "+monthQuestions[1]])

	// When its grace is over, what it took the place of goes, and no number with it.
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	small = append(small, "FOOTFALL_REPROCESS_GRACE=1s")
	p = run(mended, dir)
	for swept := false; !swept; {
		_ = p.Tick(t.Context())
		s, err := jobState(t.Context(), p, job.Revision)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it is never swept: %+v, %v", s.Job, err)
		}
		swept = !s.Swept.IsZero()
	}
	sameAnswers(t, "swept", after, allMonths(t, p, merchants, ""))
	if _, _, err := monthOf(t.Context(), p, merchants[0], monthQuestions[0]+"&revision=1"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("as of revision 1 after it was swept: %v", err)
	}
	if err := p.Do(t.Context(), http.MethodPost, fmt.Sprintf("/v1/reprocess/%d/rollback", job.Revision), p.AdminToken, "", nil, http.StatusConflict, nil); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := liveRows(t, dir, merchants[0]); n > 0 {
		t.Errorf("%d rows of before are kept", n)
	}
}

// liveRows counts the rows of a merchant's live documents.
func liveRows(t *testing.T, dir string, m loadtest.Merchant) (n int) {
	t.Helper()
	s, err := embedded.Open(dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Processed.Scan(context.Background(), m.MerchantID, store.LiveRevision, 0, 1<<30, func(d store.Doc) error {
		n += d.Events
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// checkComparison holds a merchant's comparison against two reports by hour and
// event name.
func checkComparison(t *testing.T, p *loadtest.Process, rev access.Revision, m loadtest.Merchant, before, after string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/reprocess/%d/compare?merchant=%s", p.URL, rev, m.MerchantID), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.AdminToken)
	req.Header.Set("Accept", "text/csv")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET compare: unexpected status %d", resp.StatusCode)
	}
	want := map[string][2]string{} // by hour and event name: before and after
	for side, report := range []string{before, after} {
		var r struct {
			Rows []struct {
				Hour   string      `json:"dateHour"`
				Name   string      `json:"eventName"`
				Events json.Number `json:"eventCount"`
			} `json:"rows"`
		}
		if err := json.Unmarshal([]byte(report), &r); err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Rows {
			hour, err := time.Parse("2006010215", row.Hour)
			if err != nil {
				t.Fatal(err)
			}
			key := hour.Format(time.RFC3339) + " " + row.Name
			pair, ok := want[key]
			if !ok {
				pair = [2]string{"0", "0"}
			}
			pair[side] = row.Events.String()
			want[key] = pair
		}
	}
	maps.DeleteFunc(want, func(_ string, pair [2]string) bool { return pair[0] == pair[1] })
	lines, err := csv.NewReader(resp.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][2]string{}
	for _, l := range lines[1:] {
		if l[2] == "eventName" && l[4] == "eventCount" {
			got[l[1]+" "+l[3]] = [2]string{l[5], l[6]}
		}
	}
	if len(want) == 0 || !maps.Equal(want, got) {
		t.Errorf("the comparison has %d numbers of events by name, the reports differ in %d:\n%.500v\n%.500v", len(got), len(want), got, want)
	}
}
