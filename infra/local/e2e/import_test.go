package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
)

// realLog lies beside the checkout, where it is present at all.
const realLog = "../../../../shared/data/access.log.gz"

// dayTruth is what a day of the log holds.
type dayTruth struct{ views, users, sessions int }

// recount works the log's days out anew, by its own few rules: GETs of pages
// that were answered 200 or 304; a visitor is an address with an agent on one
// day; half an hour of silence ends a session.
func recount(t *testing.T, path string) map[string]dayTruth {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`^(\S+) \S+ \S+ \[([^\]]+)\] "GET ([^" ?#]*)(\?\S*)?[^"]*" (?:200|304) .*"((?:[^"\\]|\\.)*)"$`)
	asset := regexp.MustCompile(`(?i)(\.[a-z][a-z0-9]{0,4}|\.torrent|\.markdown|\.webmanifest)$`)
	aPage := regexp.MustCompile(`(?i)\.(x?html?|shtml|phtml|php[35]?|aspx?|jspx?|jsf|do|cfm|cgi|pl|action)$`)
	feed := regexp.MustCompile(`(?i)/(feeds?|rss(2|20)?|rdf|atom(10)?)/?$`)
	feedQuery := regexp.MustCompile(`(?i)[?&](feed=|(?:[^u&][^&=]*|u(?:[^t&][^&=]*)?)=(feeds?|rss(2|20)?|rdf|atom(10)?)(&|$))`)
	visits := map[string][]time.Time{}
	days := map[string]dayTruth{}
	lines := bufio.NewScanner(unzipped)
	for lines.Scan() {
		m := page.FindStringSubmatch(lines.Text())
		if m == nil || asset.MatchString(m[3]) && !aPage.MatchString(m[3]) || feed.MatchString(m[3]) || feedQuery.MatchString(m[4]) || strings.Contains(m[3], "/.") {
			continue
		}
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[2])
		if err != nil {
			t.Fatal(err)
		}
		day := at.UTC().Format("20060102")
		d := days[day]
		d.views++
		days[day] = d
		key := day + " " + m[1] + " " + m[5]
		visits[key] = append(visits[key], at)
	}
	for key, times := range visits {
		slices.SortFunc(times, time.Time.Compare)
		d := days[key[:8]]
		d.users++
		for i, at := range times {
			if i == 0 || at.Sub(times[i-1]) >= 30*time.Minute {
				d.sessions++
			}
		}
		days[key[:8]] = d
	}
	return days
}

func TestImportOfARealLog(t *testing.T) {
	if _, err := os.Stat(realLog); errors.Is(err, os.ErrNotExist) {
		t.Skip("the real access log is not beside this checkout")
	}
	want := recount(t, realLog)
	p := start(t, t.TempDir())
	m := merchant(t, p)
	patch := func(filter bool) {
		t.Helper()
		body := fmt.Appendf(nil, `{"bot_filter":%v}`, filter)
		if err := p.Do(t.Context(), http.MethodPatch, "/v1/merchants/"+m.MerchantID, p.AdminToken, "application/json", body, http.StatusOK, nil); err != nil {
			t.Fatal(err)
		}
	}
	patch(false)
	total := 0
	for _, d := range want {
		total += d.views
	}
	runImport := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, "import", "-url", p.URL, "-stream", m.Streams[0].MeasurementID,
			"-secret", m.Streams[0].APISecret, "-base", "https://semicomplete.com", "-state", t.TempDir(), realLog)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !bytes.Contains(out, fmt.Append(nil, total)) {
			t.Fatalf("expected the importer to speak of %d pages:\n%s", total, out)
		}
	}
	from, to := time.Date(2015, 5, 17, 0, 0, 0, 0, time.UTC), time.Date(2015, 5, 21, 0, 0, 0, 0, time.UTC)
	check := func(accepted int64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		totals := loadtest.Counts{Accepted: uint32(accepted), Counted: uint32(total), Events: uint32(total), Views: uint32(total)}
		if err := p.WaitTotals(ctx, m, totals, from, to); err != nil {
			t.Fatal(err)
		}
		var report struct {
			Rows []struct {
				Date                   string
				Views, Users, Sessions int
			}
		}
		url := "/v1/reports/" + m.MerchantID + "?metrics=views,users,sessions&dimensions=date&from=2015-05-17&to=2015-05-20"
		if err := p.Do(ctx, http.MethodGet, url, m.ReportToken, "", nil, http.StatusOK, &report); err != nil {
			t.Fatal(err)
		}
		if len(report.Rows) != len(want) {
			t.Fatalf("expected %d days, got %+v", len(want), report.Rows)
		}
		for _, r := range report.Rows {
			if got := (dayTruth{r.Views, r.Users, r.Sessions}); got != want[r.Date] {
				t.Errorf("%s: expected %+v, got %+v", r.Date, want[r.Date], got)
			}
		}
	}
	runImport()
	check(int64(total))
	runImport() // the same lines again change nothing
	check(2 * int64(total))
	if err := p.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(2 * int64(total))

	// With the filter on, what is missing is what the ledger calls bots.
	patch(true)
	deadline := time.Now().Add(10 * time.Second) // settings are seen within about a second
	for {
		row, err := p.Totals(t.Context(), m, "views", from, to)
		if err != nil {
			t.Fatal(err)
		}
		var ledger struct{ Totals struct{ Bots int } }
		if err := p.Do(t.Context(), http.MethodGet, "/v1/ledger/"+m.MerchantID+"?from=2015-05-17T00:00:00Z&to=2015-05-21T00:00:00Z", m.ReportToken, "", nil, http.StatusOK, &ledger); err != nil {
			t.Fatal(err)
		}
		bots := ledger.Totals.Bots
		if bots > 0 && bots+int(row[0]) == total {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("expected views and bots to make %d, got %v and %d", total, row[0], bots)
		}
	}
}

// A real archive is open to any reader: here through the command line.
func TestArchiveCommand(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	visits := newTraffic(t, p, 9, 1)
	visits.send(t, 1, 50)
	visits.check(t)
	if err := p.Stop(); err != nil { // completes the file
		t.Fatal(err)
	}
	footfall := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "FOOTFALL_DATA="+dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("footfall %q: %v", args, err)
		}
		return out
	}
	list := string(footfall("archive", "ls"))
	fields := strings.Fields(list)
	if len(fields) != 4 || fields[2] != "complete" || filepath.Ext(fields[3]) != ".avro" {
		t.Fatalf("expected one complete file, got %q", list)
	}
	events := 0
	for line := range bytes.Lines(footfall("archive", "cat", fields[3])) {
		var batch struct {
			BatchID string `json:"batch_id"`
			Events  []struct{ Stream, Name string }
		}
		if err := json.Unmarshal(line, &batch); err != nil {
			t.Fatal(err)
		}
		for _, e := range batch.Events {
			if e.Stream != visits.merchants[0].Streams[0].MeasurementID || e.Name == "" {
				t.Fatalf("unexpected event %+v", e)
			}
		}
		events += len(batch.Events)
	}
	if int64(events) != visits.truth.Accepted() {
		t.Fatalf("expected the %d events that were accepted, got %d", visits.truth.Accepted(), events)
	}
}
