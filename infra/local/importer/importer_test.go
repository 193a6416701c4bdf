package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/protocol/cloudevents"
)

// collector answers POST /events as ingest does and counts events by id.
type collector struct {
	t      *testing.T
	mu     sync.Mutex
	events map[string]int
	asked  int
	// before may answer a request itself; n is the number of the request.
	before func(n int, w http.ResponseWriter) bool
}

func newCollector(t *testing.T) (*collector, string) {
	c := &collector{t: t, events: map[string]int{}}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	return c, srv.URL
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.before != nil && c.before(c.asked, w) {
		return
	}
	if r.URL.Path != "/events" || r.Header.Get("Authorization") != "Bearer ffs_x" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
		c.t.Errorf("%s %v", r.URL, r.Header)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the importer was told to stop
	}
	var p cloudevents.Parser
	result, err := p.Parse(r.Header, body, time.Now())
	if err != nil || len(result.Refused) > 0 || result.Total > maxEvents {
		c.t.Errorf("%v, %d events, refused %+v", err, result.Total, result.Refused)
		return
	}
	answer := receipt{}
	for i, e := range result.Events {
		if e.Stream != "G-TEST" || e.ClaimedUserAgent == "" || !result.Claims[i].IsValid() || !strings.HasPrefix(e.PageLocation, "https://shop.example/") {
			c.t.Errorf("event %+v", e)
		}
		if strings.Contains(e.PageLocation, "/bad") {
			answer.Rejected = append(answer.Rejected, struct {
				Index  int    `json:"index"`
				ID     string `json:"id"`
				Field  string `json:"field"`
				Reason string `json:"reason"`
			}{i, e.ID, "data.page.location", "invalid"})
			continue
		}
		answer.Accepted++
		c.events[strings.Clone(e.ID)]++
	}
	status := http.StatusAccepted
	if answer.Accepted == 0 {
		status = http.StatusBadRequest
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		c.t.Error(err)
	}
}

// page is a line of a log.
func page(second int, path string) string {
	at := time.Date(2015, 5, 17, 10, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
	return fmt.Sprintf("192.0.2.%d - - [%s] \"GET %s HTTP/1.1\" 200 1234 \"https://example.org/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0\"\n",
		second%200+1, at.Format("02/Jan/2006:15:04:05 -0700"), path)
}

func pages(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(page(i, fmt.Sprintf("/p/%d", i%7)))
	}
	return b.String()
}

type harness struct {
	t      *testing.T
	c      config
	out    bytes.Buffer
	err    bytes.Buffer
	waited []time.Duration
}

func newHarness(t *testing.T, url, log string) *harness {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, c: config{
		url: url, stream: "G-TEST", secret: "ffs_x", base: "https://shop.example", state: t.TempDir(), log: path, tries: time.Hour,
	}}
}

func (h *harness) run(ctx context.Context, stdin io.Reader) error {
	h.t.Helper()
	h.out.Reset()
	h.err.Reset()
	var mu sync.Mutex
	return h.c.run(ctx, stdin, &h.out, &h.err, func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		h.waited = append(h.waited, d)
		return ctx.Err()
	})
}

// wants checks lines of the printed counts.
func (h *harness) wants(rows ...string) {
	h.t.Helper()
	text := strings.Join(strings.Fields(h.out.String()), " ")
	for _, row := range rows {
		if !strings.Contains(text+" ", row+" ") {
			h.t.Errorf("no %q in:\n%s", row, &h.out)
		}
	}
}

func (c *collector) total(t *testing.T, distinct, sent int) {
	t.Helper()
	n := 0
	for _, k := range c.events {
		n += k
	}
	if len(c.events) != distinct || n != sent {
		t.Errorf("%d distinct events in %d, want %d in %d", len(c.events), n, distinct, sent)
	}
}

func TestImportCountsEveryLine(t *testing.T) {
	c, url := newCollector(t)
	log := pages(1203) + page(5000, "/style.css") + "garbage\n" + page(5001, "/bad") +
		page(6000, "/same") + page(6000, "/same") + // two requests, though their lines are one
		"192.0.2.1 - - " + strings.Repeat("x", maxLine) + "\n" + strings.TrimSuffix(page(7000, "/last"), "\n")
	h := newHarness(t, url, log)
	if err := h.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	h.wants("1210 lines", "1207 pages", "1207 sent", "1206 accepted", "1 rejected: invalid data.page.location", "1 skipped: too_long")
	c.total(t, 1206, 1206)
	// Read again, it is sent again and counts nothing more.
	if err := h.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	c.total(t, 1206, 2412)
}

func TestImportReadsCompressedLogs(t *testing.T) {
	log := pages(700)
	var gz, zst bytes.Buffer
	for _, half := range []string{log[:10_000], log[10_000:]} { // two members, as cat of two files makes
		w := gzip.NewWriter(&gz)
		_, _ = w.Write([]byte(half))
		_ = w.Close()
	}
	w, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(log))
	_ = w.Close()
	for name, text := range map[string]string{"plain": log, "gzip": gz.String(), "zstd": zst.String(), "empty": ""} {
		c, url := newCollector(t)
		h := newHarness(t, url, text)
		if err := h.run(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := 700
		if name == "empty" {
			want = 0
		}
		c.total(t, want, want)
		h.c.log = "-"
		if err := h.run(t.Context(), strings.NewReader(text)); err != nil {
			t.Errorf("%s from standard input: %v", name, err)
		}
		c.total(t, want, 2*want)
	}
}

func TestImportWaitsForABusyServer(t *testing.T) {
	c, url := newCollector(t)
	c.before = func(n int, w http.ResponseWriter) bool {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		case 2:
			w.WriteHeader(429)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		}
		return n <= 3
	}
	h := newHarness(t, url, pages(100))
	if err := h.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	c.total(t, 100, 100)
	if len(h.waited) != 3 || h.waited[0] != 7*time.Second || h.waited[1] > 2*firstWait || h.waited[2] < firstWait {
		t.Errorf("waited %v", h.waited)
	}
}

// Interrupted at any request, an import goes on after the lines that were
// answered, and in the end every event arrived.
func TestImportGoesOnWhereItWasInterrupted(t *testing.T) {
	const all = 500*8 + 17
	for stop := 1; stop <= 9; stop += 2 {
		c, url := newCollector(t)
		h := newHarness(t, url, pages(all/2)+pages(all-all/2)) // the second half's first lines are those of the first
		c.before = func(n int, w http.ResponseWriter) bool {
			if n >= stop {
				w.WriteHeader(401)
			}
			return n >= stop
		}
		err := h.run(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "the same command goes on") {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
		c.before, c.asked = nil, 0
		if err := h.run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		// With that many answers the first batch's is among them.
		if stop > 2*maxUnderWay && (c.asked > all/maxEvents || !strings.Contains(h.err.String(), "Going on after line")) {
			t.Errorf("stopped at %d: sent %d batches again: %s", stop, c.asked, &h.err)
		}
		if len(c.events) != all {
			t.Errorf("stopped at %d: %d events of %d", stop, len(c.events), all)
		}
		h.wants(fmt.Sprintf("%d lines", all), fmt.Sprintf("%d accepted", all))
		if left, err := os.ReadDir(h.c.state); err != nil || len(left) != 0 {
			t.Errorf("a finished import leaves nothing behind: %v, %v", left, err)
		}
	}
}

func TestImportStartsAgainWhenTheLogChanged(t *testing.T) {
	c, url := newCollector(t)
	h := newHarness(t, url, pages(3000))
	c.before = func(n int, w http.ResponseWriter) bool {
		if n == 6 {
			w.WriteHeader(403)
		}
		return n == 6
	}
	if err := h.run(t.Context(), nil); err == nil {
		t.Fatal("no error")
	}
	for name, log := range map[string]string{"other": page(9999, "/new") + pages(2999), "shorter": pages(3)} {
		if err := os.WriteFile(h.c.log, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		clear(c.events)
		if err := h.run(t.Context(), nil); err != nil || len(c.events) != strings.Count(log, "\n") {
			t.Errorf("%s: %d events, %v", name, len(c.events), err)
		}
	}
}

func TestImportFailsWhereTheRequestIsWrong(t *testing.T) {
	c, url := newCollector(t)
	c.before = func(_ int, w http.ResponseWriter) bool {
		w.WriteHeader(422)
		_, _ = io.WriteString(w, `{"accepted":0,"rejected":[{"index":-1,"field":"body","reason":"invalid"}]}`)
		return true
	}
	if err := newHarness(t, url, pages(10)).run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "422") {
		t.Error(err)
	}
}

func TestImportStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, url := newCollector(t)
	c.before = func(n int, w http.ResponseWriter) bool {
		if n == 3 {
			cancel()
		}
		return false
	}
	h := newHarness(t, url, pages(20_000))
	if err := h.run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := h.run(t.Context(), nil); err != nil || len(c.events) != 20_000 {
		t.Errorf("%d events, %v", len(c.events), err)
	}
}

func TestImportSendsWhatABrokenLogHolds(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, _ = w.Write([]byte(pages(2000)))
	_ = w.Close()
	c, url := newCollector(t)
	h := newHarness(t, url, gz.String()[:gz.Len()/2])
	if err := h.run(t.Context(), nil); !errors.Is(err, io.ErrUnexpectedEOF) || len(c.events) == 0 {
		t.Errorf("%d events, %v", len(c.events), err)
	}
}

func TestParse(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("ffs_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse([]string{"--stream", "G-X", "-secret-file", secret, "-base", "https://a.example/", "x.log"}, io.Discard)
	if err != nil || c.secret != "ffs_file" || c.base != "https://a.example" || c.url != "http://127.0.0.1:8080" || c.log != "x.log" {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = parse([]string{"-url", "localhost:80", "-base", "shop"}, io.Discard)
	for _, want := range []string{"-stream", "-secret", "-base", "-url", "expected one file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-1": 0, "soon": 0, "999999999": time.Hour, "Mon, 23 Nov 2026 18:00:09 GMT": 9 * time.Second,
		"Mon, 23 Nov 2026 17:00:09 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A real log, where it is at hand: every page is an event that ingest takes.
func TestImportOfARealLog(t *testing.T) {
	log, err := os.ReadFile("../../../../shared/data/access.log.gz")
	if err != nil {
		t.Skip("the real log is not here")
	}
	c, url := newCollector(t)
	h := newHarness(t, url, string(log))
	if err := h.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	h.wants("10000 lines", "2876 pages", "2876 sent", "2876 accepted")
	c.total(t, 2876, 2876)
}

func TestOccurrencesForgetTheOldest(t *testing.T) {
	o := occurrences{half: 2}
	key := func(n uint64) [2]uint64 { return [2]uint64{n} }
	for i, step := range []struct {
		key  uint64
		want int
	}{{1, 0}, {1, 1}, {2, 0}, {3, 0}, {1, 2}, {2, 1}, {4, 0}, {5, 0}, {6, 0}, {1, 0}} {
		if got := o.next(key(step.key)); got != step.want {
			t.Errorf("step %d, line %d: occurrence %d, want %d", i, step.key, got, step.want)
		}
		if len(o.young)+len(o.aged) > 2*o.half {
			t.Errorf("step %d: %d lines remembered", i, len(o.young)+len(o.aged))
		}
	}
}

// BenchmarkRead is what a line costs besides the network.
func BenchmarkRead(b *testing.B) {
	log := pages(10_000)
	b.SetBytes(int64(len(log) / 10_000))
	b.ReportAllocs()
	for i := 0; i < b.N; i += 10_000 {
		e := engine{
			lines: newLines(strings.NewReader(log)), convert: newConverter("G-TEST", "https://shop.example"),
			send: func(_ context.Context, events [][]byte) (receipt, error) {
				return receipt{Accepted: int64(len(batchOf(events)))}, nil
			},
			save: func(state) error { return nil }, progress: func() {},
		}
		if _, err := e.run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestImportStopsWhenItsPlaceCannotBeKept(t *testing.T) {
	full := errors.New("disk full")
	e := engine{
		lines: newLines(strings.NewReader(pages(20_000))), convert: newConverter("G-TEST", "https://shop.example"),
		send: func(context.Context, [][]byte) (receipt, error) { return receipt{}, nil },
		save: func(state) error { return full }, progress: func() {},
	}
	if counts, err := e.run(t.Context()); !errors.Is(err, full) || counts.Lines == 20_000 {
		t.Errorf("%d lines, %v", counts.Lines, err)
	}
}
