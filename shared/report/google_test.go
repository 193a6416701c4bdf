package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

const googleExample = `{
  "dateRanges": [{"startDate": "2026-11-01", "endDate": "yesterday"}, {"startDate": "7daysAgo", "endDate": "today", "name": "week"}],
  "dimensions": [{"name": "country"}, {"name": "date"}],
  "metrics": [{"name": "activeUsers"}, {"name": "engagementRate"}],
  "dimensionFilter": {"andGroup": {"expressions": [
    {"filter": {"fieldName": "eventName", "stringFilter": {"value": "PAGE_VIEW"}}},
    {"notExpression": {"filter": {"fieldName": "country", "inListFilter": {"values": ["US", "GB"], "caseSensitive": true}}}},
    {"orGroup": {"expressions": [
      {"filter": {"fieldName": "hour", "numericFilter": {"operation": "GREATER_THAN", "value": {"int64Value": "9"}}}},
      {"filter": {"fieldName": "pagePath", "stringFilter": {"matchType": "FULL_REGEXP", "value": "/a.*", "caseSensitive": true}}}
    ]}}
  ]}},
  "metricFilter": {"filter": {"fieldName": "activeUsers", "betweenFilter": {"fromValue": {"int64Value": "1"}, "toValue": {"doubleValue": 9.5}}}},
  "orderBys": [{"metric": {"metricName": "activeUsers"}, "desc": true}, {"dimension": {"dimensionName": "date", "orderType": "NUMERIC"}}],
  "limit": "100", "offset": 5, "metricAggregations": ["TOTAL", "MAXIMUM"], "keepEmptyRows": true, "currencyCode": "EUR", "returnPropertyQuota": true
}`

func TestParseGoogle(t *testing.T) {
	q, err := ParseGoogle(catalog.New(), "m1", euros, []byte(googleExample), today)
	if err != nil {
		t.Fatal(err)
	}
	want := []DateRange{{Name: "date_range_0", From: today - 22, To: today - 1}, {Name: "week", From: today - 7, To: today}}
	if diff := cmp.Diff(want, q.DateRanges); diff != "" {
		t.Error(diff)
	}
	if q.Limit != 100 || q.Offset != 5 || !q.KeepEmpty || !q.Quota || len(q.Aggregations) != 2 {
		t.Errorf("options: %+v", q)
	}
	if diff := cmp.Diff([]OrderBy{{Dimension: -1, Metric: 0, Desc: true}, {Dimension: 1, Metric: -1, Order: Numeric}}, q.OrderBys); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		event, country, hour, page string
		want                       bool
	}{
		{"page_view", "DE", "10", "/b", true}, {"page_view", "US", "10", "/b", false}, {"page_view", "us", "10", "/b", true},
		{"page_view", "DE", "09", "/b", false}, {"page_view", "DE", "09", "/a1", true}, {"page_view", "DE", "09", "/A1", false},
		{"scroll", "DE", "10", "/a1", false},
	} {
		got := verdict(q.DimensionFilter, map[string]string{"eventName": tc.event, "country": tc.country, "hour": tc.hour, "pagePath": tc.page}, nil)
		if got != tc.want {
			t.Errorf("%+v: got %t", tc, got)
		}
	}
	for users, want := range map[float64]bool{0: false, 1: true, 9: true, 9.5: true, 10: false} {
		if got := verdict(q.MetricFilter, nil, map[string]float64{"activeUsers": users}); got != want {
			t.Errorf("%v users: got %t", users, got)
		}
	}
}

func TestParseGoogleFaults(t *testing.T) {
	const ranges = `"dateRanges":[{"startDate":"today","endDate":"today"}]`
	leaf := func(s string) string {
		return `{` + ranges + `,"metrics":[{"name":"sessions"}],"dimensionFilter":{"filter":` + s + `}}`
	}
	for body, want := range map[string]string{
		`{`: "Invalid JSON payload", `[]`: "Invalid JSON payload", `{"metrics":[{"name":"sessions"}]} x`: "body",
		`{"metric":[]}`:                                                                                        `Unknown name "metric"`,
		`{"metrics":[{"name":"sessions"}]}`:                                                                    "dateRanges: expected 1 to 4",
		`{` + ranges + `}`:                                                                                     "metrics: expected at least one",
		`{` + ranges + `,"metrics":[{"name":"views"}]}`:                                                        "metrics[0].name",
		`{` + ranges + `,"metrics":[{"name":"x","expression":"a/b"}]}`:                                         "metrics[0].expression",
		`{` + ranges + `,"metrics":[{"name":"x y","expression":"sessions"}]}`:                                  "metrics[0].name",
		`{` + ranges + `,"metrics":[{"name":"sessions","invisible":true}]}`:                                    "metrics: expected at least one",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"dimensions":[{"name":"cuontry"}]}`:                   "such as country",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"currencyCode":"USD"}`:                                "currencyCode: expected EUR",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"cohortSpec":{"cohorts":[]}}`:                         "cohortSpec",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"limit":"many"}`:                                      "64-bit integer",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"limit":"-1"}`:                                        "limit",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"orderBys":[{}]}`:                                     "orderBys[0]",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"metricAggregations":["SUM"]}`:                        "metricAggregations[0]",
		`{"dateRanges":[{"startDate":"2026-01-02","endDate":"2026-01-01"}],"metrics":[]}`:                      "dateRanges[0].startDate",
		`{"dateRanges":[{"startDate":"today","endDate":"today","name":"RESERVED_x"}],"metrics":[]}`:            "dateRanges[0].name",
		leaf(`{"fieldName":"country"}`):                                                                        "dimensionFilter.filter: expected one of stringFilter",
		leaf(`{"fieldName":"cuntry"}`):                                                                         "dimensionFilter.filter.fieldName",
		leaf(`{"fieldName":"country","stringFilter":{"matchType":"LIKE"}}`):                                    "matchType",
		leaf(`{"fieldName":"country","stringFilter":{"matchType":"FULL_REGEXP","value":"("}}`):                 "stringFilter.value",
		leaf(`{"fieldName":"country","inListFilter":{}}`):                                                      "inListFilter.values",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"dimensionFilter":{"andGroup":{"expressions":[{}]}}}`: "dimensionFilter.andGroup.expressions[0]",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"metricFilter":{"filter":{"fieldName":"newUsers","numericFilter":{"operation":"EQUAL","value":{}}}}}`: "metricFilter",
		`{` + ranges + `,"metrics":[{"name":"sessions"}],"dimensionFilter":` + strings.Repeat(`{"notExpression":`, 30) + `{}` + strings.Repeat(`}`, 31):        "at most 20 levels",
	} {
		_, err := ParseGoogle(catalog.New(), "m1", euros, []byte(body), today)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: expected %q, got %v", body, want, err)
		}
	}
}

func TestDimensionExpressionFaults(t *testing.T) {
	long := strings.Repeat(`"country",`, 100)
	for dimensions, want := range map[string]string{
		`{"name":"a b","dimensionExpression":{"lowerCase":{"dimensionName":"country"}}}`:                                                "dimensions[0].name: expected a name of letters",
		`{"name":"a","dimensionExpression":{}}`:                                                                                         "dimensions[0].dimensionExpression: expected exactly one",
		`{"name":"a","dimensionExpression":{"lowerCase":{"dimensionName":"cuontry"}}}`:                                                  "dimensions[0].dimensionExpression.lowerCase.dimensionName: expected the name of a dimension, such as country",
		`{"name":"a","dimensionExpression":{"upperCase":{"dimensionName":"a"}}}`:                                                        "dimensions[0].dimensionExpression.upperCase.dimensionName",
		`{"name":"a","dimensionExpression":{"upperCase":{"dimensionName":"city"},"lowerCase":{"dimensionName":"city"}}}`:                "expected exactly one",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":[]}}}`:                                                      "concatenate.dimensionNames: expected at least one",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":["city","userGender"]}}}`:                                   "concatenate.dimensionNames[1]: expected a dimension that Footfall has",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":[` + long + `"city"]}}}`:                                    "concatenate.dimensionNames: expected at most 100 values",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":["city"],"delimiter":"` + long[:4] + `"}}}`:                 "Invalid JSON",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":["city"],"delimiter":"` + strings.Repeat("-", 101) + `"}}}`: "concatenate.delimiter",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":["date","city"]}}}`:                                         "no time and what is none put together beside active7DayUsers",
		`{"name":"a","dimensionExpression":{"concatenate":{"dimensionNames":["date","hour"]}}}`:                                         "no parts of days beside active7DayUsers",
	} {
		body := `{"dateRanges":[{"startDate":"today","endDate":"today"}],"metrics":[{"name":"active7DayUsers"}],"dimensions":[` + dimensions + `]}`
		_, err := ParseGoogle(catalog.New(), "m1", euros, []byte(body), today)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: expected %q, got %v", dimensions, want, err)
		}
	}
}

// A merchant's own definitions stand behind the catalog's names.
func TestMetadataOfOwn(t *testing.T) {
	c := catalog.New()
	body, err := GoogleMetadata(c, "m1", []access.CustomDefinition{{Parameter: "plan", Kind: access.UserDimension, Name: "Plan", Description: "What is paid for"}, {Parameter: "score", Kind: access.EventMetric, Name: "Score"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"apiName":"customUser:plan","uiName":"Plan","description":"What is paid for","customDefinition":true,"category":"Custom"}]`,
		`{"apiName":"customEvent:score","uiName":"Score","description":"Sum of the numbers in the parameter score, to six decimals.","type":"TYPE_FLOAT","expression":"sum(score) / 1000000","customDefinition":true,"category":"Custom"}`,
		`{"apiName":"averageCustomEvent:score","uiName":"Score, average",`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("expected %s in %s", want, body[len(body)-1500:])
		}
	}
}

func FuzzParseGoogle(f *testing.F) {
	f.Add([]byte(`{"dateRanges":[{"startDate":"today","endDate":"today"}],"metrics":[{"name":"x","expression":"1e308*1e308*sessions"}],` +
		`"dimensions":[{"name":"a","dimensionExpression":{"lowerCase":{"dimensionName":"city"}}},{"name":"b","dimensionExpression":{"concatenate":{"dimensionNames":["a","date"],"delimiter":"|"}}}]}`))
	f.Add([]byte(googleExample))
	f.Add([]byte(`{"limit":null,"metrics":[{}]}`))
	c := catalog.New()
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := ParseGoogle(c, "m1", euros, body, today)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("expected a fault of the input, got %v", err)
			}
			return
		}
		answered(t, q, (*Result).AppendGoogle)
	})
}

// answered answers a question that was let in, of nothing but one row, and holds
// that the answer is JSON.
func answered(t *testing.T, q *Query, write func(*Result, []byte) []byte) {
	t.Helper()
	p, cal := NewPlan(q), calendar(t, "UTC")
	builders := make([]*Builder, len(q.DateRanges))
	for i, r := range q.DateRanges {
		builders[i] = NewBuilder(p, cal, r, summary.Settings{}, 100)
		builders[i].add(Span(cal, r), builders[i].times(Span(cal, r).From), &summary.Table{Values: slices.Repeat([][]string{{"x"}}, len(p.base))}, 0, &summary.Counters{summary.Sessions: 3, summary.Events: 7}, summary.UsersOf(1))
	}
	if b := write(Finish(q, builders, Meta{}), nil); !json.Valid(b) {
		t.Fatalf("expected JSON, got %s", b)
	}
}

func sample(t testing.TB, query string) *Result {
	t.Helper()
	q, err := ParseURL(catalog.New(), "m1", values(t, query), today)
	if err != nil {
		t.Fatal(err)
	}
	return &Result{
		Query: q,
		Rows: []Row{
			{Dimensions: []string{`a "b" ` + "\x01<é>"}, Metrics: []catalog.Value{{N: 3, D: 1}, {N: 59_970_000, D: 1_000_000}, {N: 1, D: 3}}},
			{Dimensions: []string{"=cmd"}, Metrics: []catalog.Value{{N: 0, D: 1}, {N: 0, D: 1}, {N: 1, D: 1}}},
		},
		RowCount: 7,
		Totals:   []Row{{Metrics: []catalog.Value{{N: 3, D: 1}, {N: 59_970_000, D: 1_000_000}, {N: 1, D: 2}}}},
		Meta:     Meta{TimeZone: "Europe/Berlin", Currency: "EUR", Watermark: time.Date(2026, 11, 23, 18, 0, 0, 5000, time.UTC), Revision: 3, Pending: 2, Waiting: 8, Duplicates: 5, Bots: 6, Rejected: 7, UsersError: summary.UsersError, Sources: Sources{1, 2, 3, 4}},
	}
}

func TestWriteJSON(t *testing.T) {
	var got map[string]any
	b := sample(t, "metrics=users,revenue,engagementRate&dimensions=page&from=today&to=today").AppendJSON(nil)
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	want := map[string]any{
		"merchant_id": "m1", "from": "2026-11-23", "to": "2026-11-23", "time_zone": "Europe/Berlin", "currency": "EUR",
		"dimensions": []any{"page"}, "metrics": []any{"users", "revenue", "engagementRate"},
		"rows": []any{
			map[string]any{"page": `a "b" ` + "\x01<é>", "users": 3.0, "revenue": 59.97, "engagementRate": 1.0 / 3},
			map[string]any{"page": "=cmd", "users": 0.0, "revenue": 0.0, "engagementRate": 1.0},
		},
		"row_count": 7.0, "totals": map[string]any{"users": 3.0, "revenue": 59.97, "engagementRate": 0.5},
		"metadata": map[string]any{
			"watermark": "2026-11-23T18:00:00.000005Z", "revision": 3.0, "pending": 2.0, "waiting_hours": 8.0, "duplicates": 5.0, "bots": 6.0, "rejected": 7.0,
			"methods":        map[string]any{"users": map[string]any{"method": "sketch", "error": 0.0081}, "revenue": map[string]any{"method": "exact"}, "engagementRate": map[string]any{"method": "exact"}},
			"generated_from": map[string]any{"day_records": 1.0, "hour_records": 2.0, "hours_from_documents": 3.0, "documents_events": 4.0},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteCSVAndText(t *testing.T) {
	r := sample(t, "metrics=users,revenue,engagementRate&dimensions=page&from=today&to=today")
	r.Rows[0].Dimensions[0] = `a "b",` + "\x1b[2J"
	var csv, text strings.Builder
	if err := errors.Join(r.WriteCSV(&csv), r.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	wantCSV := "page,users,revenue,engagementRate\r\n\"a \"\"b\"\",\x1b[2J\",3,59.97,0.3333333333333333\r\n'=cmd,0,0,1\r\n"
	if csv.String() != wantCSV {
		t.Errorf("expected %q, got %q", wantCSV, csv.String())
	}
	wantText := `
page        users  revenue  engagementRate
a "b",?[2J      3    59.97          33.3 %
=cmd            0     0.00         100.0 %
total           3    59.97          50.0 %

2 of 7 rows, 2026-11-23 to 2026-11-23 (Europe/Berlin). Complete up to 2026-11-23T18:00:00Z, 2 events pending. Revision 3.
`
	if got := "\n" + text.String(); got != wantText {
		t.Errorf("expected:%s\ngot:%s", wantText, got)
	}
}

func TestWriteGoogle(t *testing.T) {
	q, err := ParseGoogle(catalog.New(), "m1", euros, []byte(`{"dateRanges":[{"startDate":"today","endDate":"today"},{"startDate":"yesterday","endDate":"yesterday","name":"before"}],
	  "dimensions":[{"name":"country"},{"name":"dateRange"}],"metrics":[{"name":"activeUsers"},{"name":"totalRevenue"}],"metricAggregations":["TOTAL"]}`), today)
	if err != nil {
		t.Fatal(err)
	}
	r := &Result{
		Query: q, RowCount: 1,
		Rows:   []Row{{Range: 1, Dimensions: []string{"DE"}, Metrics: []catalog.Value{{N: 3, D: 1}, {N: 1_500_000, D: 1_000_000}}}},
		Totals: []Row{{Range: 0, Metrics: []catalog.Value{{N: 0, D: 1}, {N: 0, D: 1}}}, {Range: 1, Metrics: []catalog.Value{{N: 3, D: 1}, {N: 1_500_000, D: 1_000_000}}}},
		Meta:   Meta{TimeZone: "UTC", Currency: "EUR"},
	}
	want := `{"dimensionHeaders":[{"name":"country"},{"name":"dateRange"}],` +
		`"metricHeaders":[{"name":"activeUsers","type":"TYPE_INTEGER"},{"name":"totalRevenue","type":"TYPE_CURRENCY"}],` +
		`"rows":[{"dimensionValues":[{"value":"DE"},{"value":"before"}],"metricValues":[{"value":"3"},{"value":"1.5"}]}],` +
		`"totals":[{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"date_range_0"}],"metricValues":[{"value":"0"},{"value":"0"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"before"}],"metricValues":[{"value":"3"},{"value":"1.5"}]}],` +
		`"rowCount":1,"metadata":{"currencyCode":"EUR","timeZone":"UTC"},"kind":"analyticsData#runReport"}` + "\n"
	if diff := cmp.Diff(want, string(r.AppendGoogle(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestGoogleErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		want string
	}{
		{fault.Field("metrics", "one"), 400, `{"error":{"code":400,"message":"metrics: expected one","status":"INVALID_ARGUMENT"}}`},
		{errors.New("mongo at 10.0.0.1 is away"), 503, `{"error":{"code":503,"message":"The service is currently unavailable.","status":"UNAVAILABLE"}}`},
		{fault.New(fault.Forbidden, "no"), 403, `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`},
		{fault.New(fault.Overloaded, "busy"), 429, `{"error":{"code":429,"message":"busy","status":"RESOURCE_EXHAUSTED"}}`},
	} {
		code, body := GoogleError(tc.err)
		if code != tc.code || strings.TrimSpace(string(body)) != tc.want {
			t.Errorf("%v: got %d %s", tc.err, code, body)
		}
	}
}

func TestTagIsOfTheNumbers(t *testing.T) {
	const query = "metrics=users,revenue,engagementRate&dimensions=page&from=today&to=today"
	tag := sample(t, query).Tag("json")
	for name, change := range map[string]func(*Result){
		"watermark": func(r *Result) { r.Meta.Watermark = r.Meta.Watermark.Add(time.Hour) },
		"pending":   func(r *Result) { r.Meta.Pending = 0 },
		"sources":   func(r *Result) { r.Meta.Sources = Sources{} },
	} {
		r := sample(t, query)
		if change(r); r.Tag("json") != tag {
			t.Errorf("the tag changes with %s", name)
		}
	}
	for name, change := range map[string]func(*Result){
		"revision":  func(r *Result) { r.Meta.Revision++ },
		"rejected":  func(r *Result) { r.Meta.Rejected++ },
		"currency":  func(r *Result) { r.Meta.Currency = "USD" },
		"a number":  func(r *Result) { r.Rows[1].Metrics[0].N++ },
		"a value":   func(r *Result) { r.Rows[1].Dimensions[0] = "=cme" },
		"the total": func(r *Result) { r.Totals[0].Metrics[0].N++ },
		"the count": func(r *Result) { r.RowCount++ },
		"a method":  func(r *Result) { r.Meta.UsersError = 0 },
		"a row":     func(r *Result) { r.Rows = r.Rows[:1] },
		"the days":  func(r *Result) { r.Query.DateRanges[0].From-- },
	} {
		r := sample(t, query)
		if change(r); r.Tag("json") == tag {
			t.Errorf("the tag does not change with %s", name)
		}
	}
	if sample(t, query).Tag("csv") == tag {
		t.Error("two forms have one tag")
	}
}
