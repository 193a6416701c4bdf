package loadtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/local/localtest"
)

// start runs Footfall in this process.
func start(t *testing.T) *loadtest.Process {
	t.Helper()
	runner := localtest.Start(t, local.Options{NoCron: true})
	p := &loadtest.Process{URL: runner.URL(), AdminToken: runner.AdminToken(), Patience: 300 * time.Millisecond}
	for p.Do(t.Context(), http.MethodGet, "/health/readiness", "", "", nil, http.StatusOK, nil) != nil {
		if t.Context().Err() != nil {
			t.Fatal("it did not become ready")
		}
		time.Sleep(time.Millisecond)
	}
	return p
}

// between stands between a sender and Footfall: it does something to the events
// of one visitor's request, and tells the sender what he expects to hear.
func between(t *testing.T, url string, lie func(events []string) []string) *httptest.Server {
	t.Helper()
	lied := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		var all []string
		for _, e := range events {
			all = append(all, string(e))
		}
		before := len(all)
		if !lied && !strings.Contains(r.Header.Get("User-Agent"), "bot") {
			changed := lie(append([]string(nil), all...))
			lied = strings.Join(changed, "") != strings.Join(all, "")
			all = changed
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, url+"/events", strings.NewReader("["+strings.Join(all, ",")+"]"))
		if err != nil {
			t.Error(err)
		}
		req.Header = r.Header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		var receipt struct {
			Accepted int `json:"accepted"`
		}
		if err := json.Unmarshal(answer, &receipt); err != nil {
			t.Errorf("%v: %s", err, answer)
		}
		said := fmt.Appendf(nil, `"accepted":%d`, receipt.Accepted)
		answer = bytes.Replace(answer, said, fmt.Appendf(nil, `"accepted":%d`, receipt.Accepted+before-len(all)), 1)
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	return server
}

// valid is the first event of those that is accepted and that a pattern matches.
func valid(events []string, pattern string) int {
	for i, e := range events {
		if strings.Contains(e, `"engagement_ms"`) && regexp.MustCompile(pattern).MatchString(e) {
			return i
		}
	}
	return -1
}

// An audit finds every value right where all is well, with duplicates, malformed,
// late and bots' events, and finds one event that is lost, doubled or changed
// among two thousand.
func TestAudit(t *testing.T) {
	p := start(t)
	ids := regexp.MustCompile(`"id":"[^"]*"`)
	for name, c := range map[string]struct {
		lie           func(events []string) []string
		lost, doubled int64
		says          string
	}{
		"all is well": {func(e []string) []string { return e }, 0, 0, ""},
		"one is lost": {func(e []string) []string {
			if i := valid(e, `"page_view"`); i >= 0 {
				return append(e[:i], e[i+1:]...)
			}
			return e
		}, 1, 0, "counted"},
		"one is doubled": {func(e []string) []string {
			if i := valid(e, `"page_view"`); i >= 0 {
				return append(e, ids.ReplaceAllString(e[i], `"id":"another"`))
			}
			return e
		}, 0, 1, "screenPageViews"},
		"a value is changed": {func(e []string) []string {
			if i := valid(e, `"value":\d`); i >= 0 {
				e[i] = regexp.MustCompile(`"value":(\d)`).ReplaceAllString(e[i], `"value":1$1`)
			}
			return e
		}, 0, 0, "purchaseRevenue"},
		"a session is cut": {func(e []string) []string {
			if i := valid(e, `"referrer":"https://shop.example/"`); i >= 0 {
				e[i] = regexp.MustCompile(`"session_id":"`).ReplaceAllString(e[i], `"session_id":"x`)
			}
			return e
		}, 0, 0, "sessions"},
	} {
		t.Run(name, func(t *testing.T) {
			merchants, err := p.CreateMerchants(t.Context(), t.Name(), 3)
			if err != nil {
				t.Fatal(err)
			}
			truth := loadtest.NewTruths()
			o := loadtest.DefaultMix(9, loadtest.StreamsOf(merchants))
			o.Duplicates, o.Malformed, o.Late, o.Bots, o.Purchases = 0.1, 0.1, 0.1, 0.1, 0.3
			began := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
			at := func(i int) time.Time { return began.Add(time.Duration(i) * 30 * time.Second) }
			sender := loadtest.NewSender(between(t, p.URL, c.lie).URL, 1)
			if err := sender.PostMix(t.Context(), loadtest.NewMix(o, truth), 20, at, func(i int) bool { return i < 100 }); err != nil {
				t.Fatal(err)
			}
			if err := p.WaitDelivered(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, from := range []string{"documents", "summaries"} {
				var said strings.Builder
				a, err := p.Audit(t.Context(), merchants, truth, 0, 1, false, &said)
				if err != nil {
					t.Fatal(err)
				}
				if a.Lost != c.lost || a.Doubled != c.doubled || (a.Differences == 0) != (c.says == "") || !strings.Contains(said.String(), c.says) {
					t.Errorf("from %s: %+v, want %d lost and %d doubled, and to hear of %q:\n%s", from, a, c.lost, c.doubled, c.says, said.String())
				}
				if a.Merchants != 3 || a.MerchantHours < 9 || a.Values < 10*a.MerchantHours {
					t.Errorf("from %s: %+v", from, a)
				}
				if err := p.Tick(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := p.WaitDelivered(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A probe sees each of its events in a report.
func TestProbe(t *testing.T) {
	p := start(t)
	probe, err := p.StartProbe(t.Context(), 5*time.Millisecond, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for w := loadtest.NewWindow(&probe.Fresh); probe.Failed() == nil; {
		if w.Next().TotalCount() > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := probe.Stop(); err != nil {
		t.Fatal(err)
	}
	if fresh := probe.Fresh.Quantile(50); fresh <= 0 || fresh > 10*time.Second {
		t.Errorf("p50 %v", fresh)
	}
}

// A drive with readers beside it, against the real thing.
func TestDriveAndAudit(t *testing.T) {
	p := start(t)
	merchants, err := p.CreateMerchants(t.Context(), t.Name(), 20)
	if err != nil {
		t.Fatal(err)
	}
	truth := loadtest.NewTruths()
	d := p.StartDrive(t.Context(), merchants, loadtest.DriveOptions{
		Mix: loadtest.DefaultMix(1, loadtest.StreamsOf(merchants)), Rate: 2000, Batch: 20, Singles: 0.05, Reports: 50,
	}, truth)
	for d.Accepted() < 2000 && d.Failed() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	a, err := p.Audit(t.Context(), merchants, truth, 6, 1, d.SentAgain(), &said)
	if err != nil || a.Differences > 0 || a.Merchants != 6 {
		t.Errorf("%+v, %v:\n%s", a, err, said.String())
	}
	if d.Accepted() != truth.Accepted() {
		t.Errorf("%d events accepted, %d made", d.Accepted(), truth.Accepted())
	}
}
