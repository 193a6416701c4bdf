package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// shop has three visitors on 12 March: anna reads two pages, berta one, and a
// robot one.
func shop(t testing.TB, change func(*access.Settings, *Config)) *world {
	w := newWorld(t, change)
	at := time.Date(2026, 3, 12, 9, 0, 0, 0, time.UTC)
	robot := row("4", "robot", "/", at.Add(3*time.Minute))
	robot.Flags |= processed.FlagBot
	first := row("1", "anna", "/", at)
	first.Text[processed.ColSource], first.Text[processed.ColMedium] = "google", "organic"
	w.put(first, row("2", "anna", "/shoes", at.Add(time.Minute)), row("3", "berta", "/", at.Add(2*time.Minute)), robot)
	w.put(row("3", "berta", "/", at.Add(2*time.Minute))) // a copy
	return w
}

// The header of an answer says its money's currency, in forms that have no place
// for it, too.
func TestCurrencyOfAnAnswer(t *testing.T) {
	w := newWorld(t, func(s *access.Settings, _ *Config) {
		s.CurrencyRates = []access.CurrencyRate{{Currency: "USD", Rate: 8 * money.One / 10}}
	})
	sale := row("1", "anna", "/a", midday.Add(-time.Hour))
	sale.Text[processed.ColName], sale.Value, sale.Flags = "purchase", 2_000_000, processed.FlagHasValue
	w.put(sale)
	for range 2 { // from documents, then from records
		for currency, want := range map[string]string{"": "EUR 2", "EUR": "EUR 2", "USD": "USD 2.5"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/v1/reports/"+w.merchant.ID+"?metrics=revenue&from=today&currency="+currency, nil)
			w.must(err)
			req.Header.Set("Accept", "text/csv")
			req.Header.Set("Authorization", "Bearer "+w.token)
			resp, err := w.server.Client().Do(req)
			w.must(err)
			body, err := io.ReadAll(resp.Body)
			w.must(err)
			w.must(resp.Body.Close())
			if got := resp.Header.Get("Footfall-Currency") + " " + strings.TrimSpace(strings.TrimPrefix(string(body), "revenue\r\n")); got != want {
				t.Errorf("%s: expected %s, got %d %s", currency, want, resp.StatusCode, got)
			}
		}
		w.summarise()
	}
}

func TestReportJSON(t *testing.T) {
	w := shop(t, nil)
	a := w.report("metrics=users,sessions,views,bounceRate&dimensions=source,medium&from=today&to=today")
	if got, want := a.lines("source", "medium", "users", "sessions", "views", "bounceRate"), "(direct) (none) 1 1 1 1\ngoogle organic 1 1 2 0\n"; got != want {
		t.Errorf("expected:\n%sgot:\n%s", want, got)
	}
	if a.RowCount != 2 || a.Totals["users"] != 2.0 || a.Totals["bounceRate"] != 0.5 || a.Metadata.Pending != 0 || !a.Metadata.Watermark.Equal(midday) {
		t.Errorf("got %+v", a)
	}
	a = w.report("metrics=users,views&from=2026-03-01&to=2026-03-02")
	if len(a.Rows) != 1 || a.Rows[0]["users"] != 0.0 || a.Totals["views"] != 0.0 {
		t.Errorf("expected one row of zeros, got %+v", a)
	}
	a = w.report("metrics=users&dimensions=date&from=2026-03-01&to=2026-03-02")
	if len(a.Rows) != 0 || a.Totals["users"] != 0.0 {
		t.Errorf("expected no rows, got %+v", a)
	}
	a = w.report("metrics=views&dimensions=date&from=2026-03-11&to=2026-03-14&empty=true")
	if got, want := a.lines("date", "views"), "20260311 0\n20260312 3\n"; got != want {
		t.Errorf("a day to come has no row; expected:\n%sgot:\n%s", want, got)
	}
	a = w.report("metrics=views&dimensions=page&from=today&to=today&limit=1&offset=1")
	if got := a.lines("page", "views"); got != "/shoes 1\n" || a.RowCount != 2 || a.Totals["views"] != 3.0 {
		t.Errorf("got %+v", a)
	}
}

func TestReportCSVAndText(t *testing.T) {
	w := shop(t, nil)
	path := "/v1/reports/" + w.merchant.ID + "?metrics=users,views&dimensions=page&from=today&to=today"
	for accept, want := range map[string]string{
		"text/csv":                  "page,users,views\r\n/,2,2\r\n/shoes,1,1\r\n",
		"image/png, text/csv;q=0.5": "page,users,views\r\n/,2,2\r\n/shoes,1,1\r\n",
		"text/plain":                "page    users  views\n/           2      2\n/shoes      1      1\ntotal       2      3\n",
		"*/*":                       `{"merchant_id":`,
	} {
		status, body := w.get(path, w.token, accept)
		if status != http.StatusOK || !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %d %s", accept, status, body)
		}
	}
	if status, body := w.get(path, w.token, "image/png"); status != http.StatusBadRequest || !strings.Contains(body, `"field":"Accept"`) {
		t.Errorf("image/png: got %d %s", status, body)
	}
}

func TestRunReport(t *testing.T) {
	w := shop(t, nil)
	path := "/v1beta/properties/" + w.merchant.ID + ":runReport"
	status, body := w.do("POST", path, w.token, "", `{"dateRanges":[{"startDate":"today","endDate":"today"},{"startDate":"yesterday","endDate":"yesterday"}],
	  "dimensions":[{"name":"pagePath"}],"metrics":[{"name":"activeUsers"},{"name":"screenPageViews"}],"limit":"1","metricAggregations":["TOTAL","MAXIMUM","MINIMUM"]}`)
	want := `{"dimensionHeaders":[{"name":"pagePath"},{"name":"dateRange"}],` +
		`"metricHeaders":[{"name":"activeUsers","type":"TYPE_INTEGER"},{"name":"screenPageViews","type":"TYPE_INTEGER"}],` +
		`"rows":[{"dimensionValues":[{"value":"/"},{"value":"date_range_0"}],"metricValues":[{"value":"2"},{"value":"2"}]}],` +
		`"totals":[{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"date_range_0"}],"metricValues":[{"value":"2"},{"value":"3"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"date_range_1"}],"metricValues":[{"value":"0"},{"value":"0"}]}],` +
		`"maximums":[{"dimensionValues":[{"value":"RESERVED_MAX"},{"value":"date_range_0"}],"metricValues":[{"value":"2"},{"value":"2"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_MAX"},{"value":"date_range_1"}],"metricValues":[{"value":"0"},{"value":"0"}]}],` +
		`"minimums":[{"dimensionValues":[{"value":"RESERVED_MIN"},{"value":"date_range_0"}],"metricValues":[{"value":"1"},{"value":"1"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_MIN"},{"value":"date_range_1"}],"metricValues":[{"value":"0"},{"value":"0"}]}],` +
		`"rowCount":2,"metadata":{"currencyCode":"EUR","timeZone":"UTC"},"kind":"analyticsData#runReport"}` + "\n"
	if diff := cmp.Diff(want, body); status != http.StatusOK || diff != "" {
		t.Errorf("status %d: %s", status, diff)
	}
	for _, tc := range []struct {
		path, token, body string
		status            int
		want              string
	}{
		{path, w.token, `{"dateRanges":[]}`, 400, `"status":"INVALID_ARGUMENT"`},
		{path, "", `{}`, 401, `"status":"UNAUTHENTICATED"`},
		{"/v1beta/properties/mother:runReport", w.token, `{}`, 403, `"status":"PERMISSION_DENIED"`},
		{"/v1beta/properties/" + w.merchant.ID + ":runPivot", w.token, `{}`, 404, `"status":"NOT_FOUND"`},
		{"/v1beta/properties/mother:runReport", adminToken, `{}`, 404, `"status":"NOT_FOUND"`},
		{path, w.token, `{"x":"` + strings.Repeat("x", maxBody) + `"}`, 400, "at most"},
	} {
		status, body := w.do("POST", tc.path, tc.token, "", tc.body)
		if status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s %.40s: got %d %s", tc.path, tc.body, status, body)
		}
	}
}

func TestOnlyTheMerchantsTokenOpensItsReports(t *testing.T) {
	w := shop(t, nil)
	_, foreign := w.create(access.DefaultSettings())
	bodies := map[string]bool{}
	for _, path := range []string{"/v1/reports/%s?metrics=users", "/v1/ledger/%s", "/v1/rejected/%s"} {
		for _, tc := range []struct {
			token, id string
			status    int
		}{
			{w.token, w.merchant.ID, 200}, {adminToken, w.merchant.ID, 200}, {"", w.merchant.ID, 401}, {"nonsense", w.merchant.ID, 401},
			{foreign, w.merchant.ID, 403}, {foreign, "m-unknown", 403}, {adminToken, "m-unknown", 404},
		} {
			status, body := w.get(fmt.Sprintf(path, tc.id), tc.token, "")
			if status != tc.status {
				t.Errorf("%s for %s: expected %d, got %d %s", path, tc.id, tc.status, status, body)
			}
			if tc.status == 403 {
				bodies[body] = true
			}
		}
	}
	if len(bodies) != 1 {
		t.Errorf("a foreign and an unknown merchant are told apart: %v", bodies)
	}
	if status, _ := w.get("/v1/rejected", w.token, ""); status != 403 {
		t.Errorf("a merchant reads what belongs to none: %d", status)
	}
	if status, _ := w.get("/v1/rejected", adminToken, ""); status != 200 {
		t.Errorf("the operator cannot read what belongs to none: %d", status)
	}
}

func TestTooMuchIsRefusedWithAdvice(t *testing.T) {
	w := shop(t, func(_ *access.Settings, c *Config) { c.MaxGroups = 1 })
	status, body := w.get("/v1/reports/"+w.merchant.ID+"?metrics=users&dimensions=page&from=today&to=today", w.token, "")
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, "at most 1 rows") {
		t.Errorf("got %d %s", status, body)
	}
	w = shop(t, func(_ *access.Settings, c *Config) { c.MaxEvents = 3 })
	status, body = w.get("/v1/reports/"+w.merchant.ID+"?metrics=users&from=today&to=today", w.token, "")
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, "no more than 3 events") {
		t.Errorf("got %d %s", status, body)
	}
	w = shop(t, func(_ *access.Settings, c *Config) { c.Deadline = 1 })
	status, body = w.get("/v1/reports/"+w.merchant.ID+"?metrics=users&from=today&to=today", w.token, "")
	if status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", status, body)
	}
}

func TestLedger(t *testing.T) {
	w := shop(t, nil)
	stream := w.merchant.Streams[0].MeasurementID
	hour := event.HourOf(time.Date(2026, 3, 12, 10, 0, 0, 0, time.UTC))
	rejected := event.Event{ID: "bad", Stream: stream, TimeMicros: hour.Start().UnixMicro(), Name: "page_view", ClientID: "clara", IP: "192.0.2.0"}
	batch := store.JournalRow{Batch: event.BatchID{9}, ReceivedAt: w.now, Counts: []event.StreamHour{{Stream: stream, Hour: hour, Events: 1}}, Payload: []byte("x")}
	waiting := store.JournalRow{Batch: event.BatchID{10}, ReceivedAt: w.now.Add(-time.Minute), Counts: []event.StreamHour{{Stream: stream, Hour: hour, Events: 3}}, Payload: []byte("x")}
	ctx := context.Background()
	w.must(w.stores.Journal.Append(ctx, []store.JournalRow{batch, waiting}))
	w.must(w.stores.Processed.Put(ctx, store.Put{Batch: batch.Batch, Rejects: []store.Reject{
		{Merchant: w.merchant.ID, Stream: stream, Batch: batch.Batch, Index: 0, EventID: "bad", Hour: hour, ReceivedAt: w.now, Reason: "disabled_stream", Data: event.EncodeEvent(&rejected)},
		{Merchant: w.merchant.ID, Stream: stream, Batch: batch.Batch, Index: 1, EventID: "worse", Hour: hour, ReceivedAt: w.now, Refused: true, Reason: "invalid", Field: "data.name", Data: []byte(`{"x":1}`)},
	}}))
	w.must(w.stores.Journal.Mark(ctx, store.StageProcessed, []store.JournalRow{batch}))

	status, body := w.get("/v1/ledger/"+w.merchant.ID+"?from=2026-03-12&to=2026-03-12", w.token, "")
	var got map[string]any
	w.must(json.Unmarshal([]byte(body), &got))
	zero := map[string]any{}
	want := map[string]any{
		"merchant_id": w.merchant.ID, "revision": 1.0, "from": "2026-03-12T00:00:00Z", "to": "2026-03-13T00:00:00Z", "adds_up": true,
		"hours": []any{
			map[string]any{"hour": "2026-03-12T09:00:00Z", "accepted": 5.0, "counted": 4.0, "bots": 1.0, "internal": 0.0, "duplicate": 1.0, "rejected": zero, "pending": 0.0, "refused": zero, "adds_up": true},
			map[string]any{"hour": "2026-03-12T10:00:00Z", "accepted": 4.0, "counted": 0.0, "bots": 0.0, "internal": 0.0, "duplicate": 0.0, "rejected": map[string]any{"disabled_stream": 1.0}, "pending": 3.0, "refused": map[string]any{"invalid": 1.0}, "adds_up": true},
		},
		"totals": map[string]any{"accepted": 9.0, "counted": 4.0, "bots": 1.0, "internal": 0.0, "duplicate": 1.0, "rejected": map[string]any{"disabled_stream": 1.0}, "pending": 3.0, "refused": map[string]any{"invalid": 1.0}},
	}
	if diff := cmp.Diff(want, got); status != 200 || diff != "" {
		t.Errorf("status %d: %s", status, diff)
	}

	a := w.report("metrics=users&from=today&to=today")
	if a.Metadata.Pending != 3 || !a.Metadata.Watermark.Equal(w.now.Add(-time.Minute)) {
		t.Errorf("expected 3 pending events and their arrival as watermark, got %+v", a.Metadata)
	}

	status, body = w.get("/v1/rejected/"+w.merchant.ID+"?from=2026-03-12&to=2026-03-12&limit=1", w.token, "")
	var page rejectedAnswer
	w.must(json.Unmarshal([]byte(body), &page))
	if status != 200 || len(page.Rejected) != 1 || page.Next == "" || page.Rejected[0].Reason != "disabled_stream" || page.Rejected[0].Event.ClientID != "clara" || strings.Contains(body, "192.0.2") {
		t.Errorf("first page: %d %s", status, body)
	}
	status, body = w.get("/v1/rejected/"+w.merchant.ID+"?from=2026-03-12&to=2026-03-12&cursor="+page.Next, w.token, "")
	page = rejectedAnswer{}
	w.must(json.Unmarshal([]byte(body), &page))
	if status != 200 || len(page.Rejected) != 1 || page.Next != "" || page.Rejected[0].Text != `{"x":1}` || page.Rejected[0].Field != "data.name" {
		t.Errorf("second page: %d %s", status, body)
	}
	for query, field := range map[string]string{
		"from=2026-03-12T09:30:00Z&to=2026-03-12T10:00:00Z": "from", "from=2026-03-12T09:00:00Z&to=2026-03-12": "to",
		"from=2026-03-12T10:00:00Z&to=2026-03-12T10:00:00Z": "from", "day=today": "query", "from=2026-02-30": "from",
	} {
		if status, body := w.get("/v1/ledger/"+w.merchant.ID+"?"+query, w.token, ""); status != 400 || !strings.Contains(body, `"field":"`+field+`"`) {
			t.Errorf("%s: got %d %s", query, status, body)
		}
	}
}

// A parameter that cannot be read is not left out: without this filter the
// report would say more than was asked for.
func TestUnreadableQuery(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/v1/reports/%s?metrics=views&filter=page==/a;page==/b", "/v1/ledger/%s?from=%%zz", "/v1/rejected/%s?cursor=a;b"} {
		status, body := w.get(fmt.Sprintf(path, w.merchant.ID), w.token, "")
		if status != 400 || !strings.Contains(body, `"field":"query"`) {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
}

func TestCatalog(t *testing.T) {
	w := newWorld(t, nil)
	status, body := w.get("/v1/catalog", "", "")
	var got struct {
		Dimensions, Metrics []map[string]any
	}
	w.must(json.Unmarshal([]byte(body), &got))
	if status != 200 || len(got.Dimensions) < 30 || len(got.Metrics) < 25 || got.Metrics[0]["api_name"] != "activeUsers" || got.Metrics[0]["method"] != "sketch" {
		t.Errorf("got %d %.300s", status, body)
	}
}

func TestGateKeepsMerchantsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3, 2, 1, time.Second)
		ctx := context.Background()
		enter := func(m string) func() {
			leave, err := g.enter(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			return leave
		}
		first, second := enter("loud"), enter("loud")
		var wait sync.WaitGroup
		wait.Go(func() { // the third of one merchant waits …
			leave, err := g.enter(ctx, "loud")
			if err != nil {
				t.Error(err)
				return
			}
			leave()
		})
		synctest.Wait()
		if _, err := g.enter(ctx, "loud"); !fault.Is(err, fault.Overloaded) { // … and the fourth is sent away
			t.Errorf("expected Overloaded, got %v", err)
		}
		quiet := enter("quiet") // which does not concern another
		first()
		wait.Wait()
		third := enter("third")
		began := time.Now()
		if _, err := g.enter(ctx, "fourth"); !fault.Is(err, fault.Overloaded) || time.Since(began) != time.Second {
			t.Errorf("expected Overloaded after a second, got %v after %s", err, time.Since(began))
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := g.enter(canceled, "fourth"); err == nil {
			t.Error("a caller that is gone got a slot")
		}
		second()
		quiet()
		third()
		if len(g.slots) != 0 || len(g.queues) != 0 {
			t.Errorf("the gate remembers %d slots and %d merchants", len(g.slots), len(g.queues))
		}
	})
}

func TestMerchantsAreKeptForAMoment(t *testing.T) {
	now := midday
	asked := 0
	known := newMerchants(registry(func(id string) (access.Merchant, error) {
		asked++
		if id == "none" {
			return access.Merchant{}, fault.New(fault.NotFound, "cannot find it")
		}
		return access.Merchant{ID: id}, nil
	}), time.Second, func() time.Time { return now })
	ctx := context.Background()
	for range 3 {
		if m, err := known.Merchant(ctx, "m1"); err != nil || m.ID != "m1" {
			t.Fatalf("got %+v, %v", m, err)
		}
		if _, err := known.Merchant(ctx, "none"); !fault.Is(err, fault.NotFound) {
			t.Fatalf("got %v", err)
		}
	}
	if asked != 2 {
		t.Errorf("asked the registry %d times within a second", asked)
	}
	now = now.Add(time.Second)
	if _, err := known.Merchant(ctx, "m1"); err != nil || asked != 3 {
		t.Errorf("asked %d times after a second, %v", asked, err)
	}
	for i := range maxMerchants + 10 {
		if _, err := known.Merchant(ctx, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(known.known) > maxMerchants {
		t.Errorf("keeps %d merchants", len(known.known))
	}
}

type registry func(id string) (access.Merchant, error)

func (f registry) Merchant(_ context.Context, id string) (access.Merchant, error) { return f(id) }

func TestConfigReportsAllFaults(t *testing.T) {
	var c Config
	err := function.Load([]string{"FOOTFALL_REPORT_DEADLINE=0s", "FOOTFALL_REPORT_SETTINGS_AGE=1h", "FOOTFALL_REPORT_MAX_EVENTS=0"}, nil, &c)
	for _, want := range []string{"REPORT_DEADLINE", "REPORT_SETTINGS_AGE", "REPORT_MAX_EVENTS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %s in %v", want, err)
		}
	}
}
