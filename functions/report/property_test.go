package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/catalog"
)

// google posts a body to a method of the Data API.
func (w *world) google(method, body string) (int, string) {
	w.t.Helper()
	return w.do("POST", "/v1beta/properties/"+w.merchant.ID+":"+method, w.token, "", body)
}

func TestBatchRunReports(t *testing.T) {
	w := newWorld(t, nil)
	w.put(row("1", "anna", "/a", midday.Add(-time.Hour)), row("2", "ben", "/b", midday.Add(-time.Hour)))
	report := func(dimension string) string {
		return `{"dateRanges":[{"startDate":"today","endDate":"today"}],"dimensions":[{"name":"` + dimension + `"}],"metrics":[{"name":"eventCount"}]}`
	}
	status, body := w.google("batchRunReports", `{"requests":[`+report("pagePath")+`,`+report("date")+`]}`)
	var got struct {
		Kind    string
		Reports []json.RawMessage
	}
	w.must(json.Unmarshal([]byte(body), &got))
	if status != 200 || got.Kind != "analyticsData#batchRunReports" || len(got.Reports) != 2 {
		t.Fatalf("got %d %s", status, body)
	}
	for i, dimension := range []string{"pagePath", "date"} {
		if _, alone := w.google("runReport", report(dimension)); strings.TrimSpace(alone) != string(got.Reports[i]) {
			t.Errorf("in a batch:\n%s\nalone:\n%s", got.Reports[i], alone)
		}
	}
	for body, want := range map[string]string{
		`{"requests":[]}`: "requests: expected 1 to 5",
		`{"requests":[` + report("pagePath") + `,` + report("pagepath") + `]}`:       "requests[1].dimensions[0].name: expected the name of a dimension, such as pagePath",
		`{"requests":[` + report("userGender") + `]}`:                                "requests[0].dimensions[0].name: expected a dimension that Footfall has",
		`{"requests":[{"metric":1}]}`:                                                "requests[0]: ",
		`{"requests":[` + strings.Repeat(report("date")+",", 5) + report("x") + `]}`: "requests: expected 1 to 5",
	} {
		if status, got := w.google("batchRunReports", body); status != 400 || !strings.Contains(got, want) {
			t.Errorf("%s: got %d %s", body, status, got)
		}
	}
	if status, body := w.google("runFunnelReport", `{}`); status != 404 || !strings.Contains(body, "expected runReport") {
		t.Errorf("got %d %s", status, body)
	}
}

// A dimension that a request makes up groups together what it makes equal, of
// documents and of records: a user in both is one. Filters and orders know it.
func TestDimensionExpressions(t *testing.T) {
	w := newWorld(t, nil)
	w.put(row("1", "anna", "/a", midday.Add(-2*time.Hour)), row("2", "anna", "/A", midday.Add(-time.Hour)), row("3", "ben", "/b", midday.Add(-time.Hour)))
	const days = `"dateRanges":[{"startDate":"today","endDate":"today"}],"metrics":[{"name":"activeUsers"},{"name":"screenPageViews"}],`
	const lower = `{"name":"lower","dimensionExpression":{"lowerCase":{"dimensionName":"pagePath"}}}`
	line := func(cells ...string) string {
		text, n := `{"dimensionValues":[`, len(cells)-2
		for i, c := range cells {
			if i == n {
				text = strings.TrimSuffix(text, ",") + `],"metricValues":[`
			}
			text += `{"value":"` + c + `"},`
		}
		return strings.TrimSuffix(text, ",") + `]}`
	}
	for body, want := range map[string]string{
		`{` + days + `"dimensions":[` + lower + `]}`:                                                                                                         line("/a", "1", "2") + `,` + line("/b", "1", "1"),
		`{` + days + `"dimensions":[` + lower + `],"orderBys":[{"dimension":{"dimensionName":"lower"},"desc":true}]}`:                                        line("/b", "1", "1") + `,` + line("/a", "1", "2"),
		`{` + days + `"dimensions":[` + lower + `],"dimensionFilter":{"filter":{"fieldName":"lower","stringFilter":{"value":"/a","caseSensitive":true}}}}`:   line("/a", "1", "2"),
		`{` + days + `"dimensions":[{"name":"both","dimensionExpression":{"concatenate":{"dimensionNames":["hour","pagePath"],"delimiter":" "}}}]}`:          line("10 /a", "1", "1") + `,` + line("11 /A", "1", "1") + `,` + line("11 /b", "1", "1"),
		`{` + days + `"dimensions":[` + lower + `,{"name":"on","dimensionExpression":{"concatenate":{"dimensionNames":["lower","date"],"delimiter":"@"}}}]}`: line("/a", "/a@20260312", "1", "2"),
		`{` + days + `"dimensions":[{"name":"day","dimensionExpression":{"upperCase":{"dimensionName":"dayOfWeekName"}}}]}`:                                  line("THURSDAY", "2", "3"),
		`{` + days + `"dimensions":[{"name":"none","dimensionExpression":{"upperCase":{"dimensionName":"country"}}}]}`:                                       line("(NOT SET)", "2", "3"),
	} {
		for range 2 { // from documents, then from records
			if status, got := w.google("runReport", body); status != 200 || !strings.Contains(got, want) {
				t.Errorf("%s: expected %s, got %d %s", body, want, status, got)
			}
			w.summarise()
		}
	}
	pivots := `{` + days + `"dimensions":[` + lower + `],"pivots":[{"fieldNames":["lower"],"limit":5}]}`
	if status, got := w.google("runPivotReport", pivots); status != 200 || !strings.Contains(got, line("/a", "1", "2")) {
		t.Errorf("got %d %s", status, got)
	}
}

// Pivots are answered alike from documents and from records, alone and in a batch.
func TestPivotReports(t *testing.T) {
	w := newWorld(t, nil)
	w.put(row("1", "anna", "/a", midday.Add(-2*time.Hour)), row("2", "anna", "/b", midday.Add(-time.Hour)), row("3", "ben", "/b", midday.Add(-time.Hour)))
	body := `{"dateRanges":[{"startDate":"today","endDate":"today"}],"dimensions":[{"name":"pagePath"},{"name":"hour"}],"metrics":[{"name":"activeUsers"}],
	  "pivots":[{"fieldNames":["pagePath"],"limit":5,"metricAggregations":["TOTAL"]},{"fieldNames":["hour"],"limit":24}]}`
	want := `"rows":[{"dimensionValues":[{"value":"/b"},{"value":"11"}],"metricValues":[{"value":"2"}]},{"dimensionValues":[{"value":"/a"},{"value":"10"}],"metricValues":[{"value":"1"}]}],` +
		`"aggregates":[{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"10"}],"metricValues":[{"value":"1"}]},{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"11"}],"metricValues":[{"value":"2"}]}]`
	for range 2 {
		status, alone := w.google("runPivotReport", body)
		if status != 200 || !strings.Contains(alone, want) {
			t.Errorf("expected %s, got %d %s", want, status, alone)
		}
		status, batch := w.google("batchRunPivotReports", `{"requests":[`+body+`,`+body+`]}`)
		if alone = strings.TrimSpace(alone); status != 200 || strings.ReplaceAll(batch, "\n", "") != `{"pivotReports":[`+alone+`,`+alone+`],"kind":"analyticsData#batchRunPivotReports"}` {
			t.Errorf("got %d %s", status, batch)
		}
		w.summarise()
	}
	if status, got := w.google("batchRunPivotReports", `{"requests":[`+strings.Replace(body, `"limit":5`, `"limit":0`, 1)+`]}`); status != 400 || !strings.Contains(got, "requests[0].pivots[0].limit") {
		t.Errorf("got %d %s", status, got)
	}
}

// The last minutes are counted to the second, in spans that may overlap.
func TestRealtimeReport(t *testing.T) {
	w := newWorld(t, nil)
	w.now = midday.Add(30 * time.Second)
	ago := func(minutes, seconds int) time.Time {
		return midday.Add(-time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second)
	}
	w.put(row("1", "anna", "/a", ago(0, 10)), row("2", "ben", "/a", ago(1, 59)), row("3", "anna", "/b", ago(5, 0)), row("4", "clara", "/b", ago(29, 0)), row("5", "dora", "/b", ago(30, 59)))
	w.put(row("1", "anna", "/a", ago(0, 10))) // came again
	for body, want := range map[string]string{
		`{"metrics":[{"name":"activeUsers"},{"name":"eventCount"}]}`: `"rows":[{"metricValues":[{"value":"3"},{"value":"4"}]}],"rowCount":1,"kind":"analyticsData#runRealtimeReport"}`,
		`{"dimensions":[{"name":"minutesAgo"}],"metrics":[{"name":"eventCount"}],"orderBys":[{"dimension":{"dimensionName":"minutesAgo","orderType":"NUMERIC"},"desc":true}],"limit":2,"metricAggregations":["TOTAL"],"returnPropertyQuota":true}`: `"rows":[{"dimensionValues":[{"value":"29"}],"metricValues":[{"value":"1"}]},{"dimensionValues":[{"value":"05"}],"metricValues":[{"value":"1"}]}],` +
			`"totals":[{"dimensionValues":[{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"4"}]}],"rowCount":4,"propertyQuota":{},"kind":"analyticsData#runRealtimeReport"}`,
		`{"metrics":[{"name":"activeUsers"}],"minuteRanges":[{"startMinutesAgo":4},{"name":"before","startMinutesAgo":"29","endMinutesAgo":1}]}`: `"dimensionHeaders":[{"name":"dateRange"}],"metricHeaders":[{"name":"activeUsers","type":"TYPE_INTEGER"}],` +
			`"rows":[{"dimensionValues":[{"value":"before"}],"metricValues":[{"value":"3"}]},{"dimensionValues":[{"value":"date_range_0"}],"metricValues":[{"value":"2"}]}]`,
		`{"dimensions":[{"name":"eventName"}],"metrics":[{"name":"screenPageViews"}],"dimensionFilter":{"filter":{"fieldName":"minutesAgo","numericFilter":{"operation":"LESS_THAN","value":{"int64Value":"5"}}}}}`: `"rows":[{"dimensionValues":[{"value":"page_view"}],"metricValues":[{"value":"2"}]}]`,
	} {
		for range 2 { // before and after hours are closed
			if status, got := w.google("runRealtimeReport", body); status != 200 || !strings.Contains(got, want) {
				t.Errorf("%s: expected %s, got %d %s", body, want, status, got)
			}
			w.summarise()
		}
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t, nil)
	type entry struct{ APIName, UIName, Description, Category, Type string }
	var got struct {
		Name                string
		Dimensions, Metrics []entry
	}
	path := "/v1beta/properties/" + w.merchant.ID + "/metadata"
	status, body := w.get(path, w.token, "")
	w.must(json.Unmarshal([]byte(body), &got))
	c := catalog.New()
	if status != 200 || got.Name != "properties/"+w.merchant.ID+"/metadata" || len(got.Dimensions) != len(c.Dimensions()) || len(got.Metrics) != len(c.Metrics()) {
		t.Fatalf("got %d %.200s", status, body)
	}
	if m := got.Metrics[0]; m.APIName != "activeUsers" || m.UIName != "Active users" || m.Type != "TYPE_INTEGER" || m.Description == "" || m.Category == "" {
		t.Errorf("got %+v", m)
	}
	if status, body := w.get(path, "", ""); status != 401 || !strings.Contains(body, "UNAUTHENTICATED") {
		t.Errorf("without a token: got %d %s", status, body)
	}
}

func TestCheckCompatibility(t *testing.T) {
	w := newWorld(t, nil)
	var got struct {
		DimensionCompatibilities []struct {
			DimensionMetadata struct{ APIName string }
			Compatibility     string
		}
		MetricCompatibilities []struct{ Compatibility string }
	}
	status, body := w.google("checkCompatibility", `{"dimensions":[{"name":"itemName"}],"metrics":[{"name":"activeUsers"}],"compatibilityFilter":"COMPATIBLE"}`)
	w.must(json.Unmarshal([]byte(body), &got))
	c := catalog.New()
	if status != 200 || len(got.DimensionCompatibilities) != len(c.Dimensions()) || len(got.MetricCompatibilities) == 0 || got.DimensionCompatibilities[0].Compatibility != "COMPATIBLE" {
		t.Errorf("got %d %.300s", status, body)
	}
	if status, body := w.google("checkCompatibility", `{"dimensions":[{"name":"cohort"}]}`); status != 400 || !strings.Contains(body, "dimensions[0].name") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := w.google("checkCompatibility", `{"compatibilityFilter":"SOME"}`); status != 400 || !strings.Contains(body, "compatibilityFilter") {
		t.Errorf("got %d %s", status, body)
	}
}

// A metric that a request makes up is worked out alike from records and from
// documents; one that is invisible serves the order and the filter.
func TestExpressions(t *testing.T) {
	w := newWorld(t, nil)
	w.put(row("1", "anna", "/a", midday.Add(-2*time.Hour)), row("2", "anna", "/a", midday.Add(-2*time.Hour+time.Minute)), row("3", "ben", "/b", midday.Add(-time.Hour)))
	body := `{"dateRanges":[{"startDate":"today","endDate":"today"}],"dimensions":[{"name":"pagePath"}],
	  "metrics":[{"name":"viewsPer100","expression":"screenPageViews/totalUsers*100"},{"name":"sessions"},{"name":"spare","expression":"eventCount-1","invisible":true}],
	  "metricFilter":{"filter":{"fieldName":"spare","numericFilter":{"operation":"GREATER_THAN_OR_EQUAL","value":{"int64Value":"0"}}}},
	  "orderBys":[{"metric":{"metricName":"spare"}}],"metricAggregations":["TOTAL"]}`
	want := `"metricHeaders":[{"name":"viewsPer100","type":"TYPE_FLOAT"},{"name":"sessions","type":"TYPE_INTEGER"}],` +
		`"rows":[{"dimensionValues":[{"value":"/b"}],"metricValues":[{"value":"100"},{"value":"1"}]},{"dimensionValues":[{"value":"/a"}],"metricValues":[{"value":"200"},{"value":"1"}]}],` +
		`"totals":[{"dimensionValues":[{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"150"},{"value":"2"}]}]`
	for range 2 { // from documents, then from records
		if status, got := w.google("runReport", body); status != 200 || !strings.Contains(got, want) {
			t.Errorf("got %d %s", status, got)
		}
		w.summarise()
	}
}
