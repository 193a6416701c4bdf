package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

const pivotExample = `{
  "dateRanges": [{"startDate": "2026-11-21", "endDate": "2026-11-22"}],
  "dimensions": [{"name": "pagePath"}, {"name": "date"}, {"name": "country"}], "metrics": [{"name": "screenPageViews"}, {"name": "activeUsers"}],
  "pivots": [
    {"fieldNames": ["date"], "limit": "10", "metricAggregations": ["TOTAL"]},
    {"fieldNames": ["pagePath"], "limit": 2, "metricAggregations": ["TOTAL", "MINIMUM", "COUNT"],
     "orderBys": [{"pivot": {"metricName": "activeUsers", "pivotSelections": [{"dimensionName": "date", "dimensionValue": "20261122"}]}, "desc": true}]}
  ],
  "returnPropertyQuota": true
}`

// pivoted answers a question from records of two days.
func pivoted(t *testing.T, body string) *Result {
	t.Helper()
	q, err := ParsePivot(catalog.New(), "m1", euros, []byte(body), today)
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]*summary.Record{
		"20261121": recordOf(map[string][]uint64{"/": {1, 2, 2}, "/b": {1}, "": {3}}),
		"20261122": recordOf(map[string][]uint64{"/": {2}, "/a": {4, 5}}),
	}
	p, cal := NewPlan(q), calendar(t, "UTC")
	var builders []*Builder
	for _, r := range q.DateRanges {
		b := NewBuilder(p, cal, r, summary.Settings{}, 100)
		b.EndAt(1 << 60)
		for _, w := range p.Windows(cal, r, -1<<60, 1<<60) {
			if record := records[cal.TimeValue(summary.DimDate, w.From)]; record != nil {
				if err := b.AddRecord(w, record); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		builders = append(builders, b)
	}
	return Finish(q, builders, Meta{TimeZone: "UTC", Currency: "EUR"})
}

func TestPivot(t *testing.T) {
	want := `{"pivotHeaders":[` +
		`{"pivotDimensionHeaders":[{"dimensionValues":[{"value":"20261121"}]},{"dimensionValues":[{"value":"20261122"}]}],"rowCount":2},` +
		`{"pivotDimensionHeaders":[{"dimensionValues":[{"value":"/a"}]},{"dimensionValues":[{"value":"/"}]}],"rowCount":4}],` +
		`"dimensionHeaders":[{"name":"date"},{"name":"pagePath"}],` +
		`"metricHeaders":[{"name":"screenPageViews","type":"TYPE_INTEGER"},{"name":"activeUsers","type":"TYPE_INTEGER"}],` +
		`"rows":[` +
		`{"dimensionValues":[{"value":"20261121"},{"value":"/"}],"metricValues":[{"value":"3"},{"value":"2"}]},` +
		`{"dimensionValues":[{"value":"20261122"},{"value":"/a"}],"metricValues":[{"value":"2"},{"value":"2"}]},` +
		`{"dimensionValues":[{"value":"20261122"},{"value":"/"}],"metricValues":[{"value":"1"},{"value":"1"}]}],` +
		`"aggregates":[` +
		`{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"/a"}],"metricValues":[{"value":"2"},{"value":"2"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"/"}],"metricValues":[{"value":"4"},{"value":"2"}]},` +
		`{"dimensionValues":[{"value":"20261121"},{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"5"},{"value":"3"}]},` +
		`{"dimensionValues":[{"value":"20261122"},{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"3"},{"value":"3"}]},` +
		`{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"8"},{"value":"5"}]},` +
		`{"dimensionValues":[{"value":"20261121"},{"value":"RESERVED_MIN"}],"metricValues":[{"value":"1"},{"value":"1"}]},` +
		`{"dimensionValues":[{"value":"20261122"},{"value":"RESERVED_MIN"}],"metricValues":[{"value":"1"},{"value":"1"}]}],` +
		`"metadata":{"currencyCode":"EUR","timeZone":"UTC"},"propertyQuota":{},"kind":"analyticsData#runPivotReport"}` + "\n"
	if got := string(pivoted(t, pivotExample).AppendPivot(nil)); got != want {
		t.Errorf("expected\n%s\ngot\n%s", want, got)
	}
	// Of nothing there are no tuples, and totals of 0.
	none := strings.ReplaceAll(pivotExample, "2026-11-2", "2026-10-2")
	want = `{"pivotHeaders":[{},{}],"dimensionHeaders":[{"name":"date"},{"name":"pagePath"}],"metricHeaders":[{"name":"screenPageViews","type":"TYPE_INTEGER"},{"name":"activeUsers","type":"TYPE_INTEGER"}],` +
		`"aggregates":[{"dimensionValues":[{"value":"RESERVED_TOTAL"},{"value":"RESERVED_TOTAL"}],"metricValues":[{"value":"0"},{"value":"0"}]}],` +
		`"metadata":{"currencyCode":"EUR","timeZone":"UTC"},"propertyQuota":{},"kind":"analyticsData#runPivotReport"}` + "\n"
	if got := string(pivoted(t, none).AppendPivot(nil)); got != want {
		t.Errorf("expected\n%s\ngot\n%s", want, got)
	}
}

// What looks back is, for a tuple, of its own last day.
func TestPivotLooksBack(t *testing.T) {
	r := pivoted(t, `{"dateRanges":[{"startDate":"2026-11-21","endDate":"2026-11-22"}],"dimensions":[{"name":"pagePath"},{"name":"date"}],"metrics":[{"name":"active7DayUsers"},{"name":"active1DayUsers"}],
	  "pivots":[{"fieldNames":["date"],"limit":10,"metricAggregations":["TOTAL"]},{"fieldNames":["pagePath"],"limit":10,"metricAggregations":["TOTAL"]}]}`)
	var got []string
	for _, row := range r.Aggregates {
		got = append(got, fmt.Sprint(row.Dimensions, row.Metrics))
	}
	want := "[[RESERVED_TOTAL (not set)] [1 0] [RESERVED_TOTAL /] [2 1] [RESERVED_TOTAL /a] [2 2] [RESERVED_TOTAL /b] [1 0] " +
		"[20261121 RESERVED_TOTAL] [3 3] [20261122 RESERVED_TOTAL] [5 3] [RESERVED_TOTAL RESERVED_TOTAL] [5 3]]"
	sorted := fmt.Sprint(got)
	if len(got) != 7 || !strings.Contains(sorted, "[20261122 RESERVED_TOTAL] [5 3]") || !strings.Contains(sorted, "[RESERVED_TOTAL RESERVED_TOTAL] [5 3]") || !strings.Contains(sorted, "[RESERVED_TOTAL /] [2 1]") {
		t.Errorf("expected %s (in some order), got %s", want, sorted)
	}
}

func TestParsePivotFaults(t *testing.T) {
	body := func(pivots string) string {
		return `{"dateRanges":[{"startDate":"today","endDate":"today"}],"dimensions":[{"name":"country"},{"name":"city"}],"metrics":[{"name":"sessions"}],"pivots":[` + pivots + `]}`
	}
	const country = `{"fieldNames":["country"],"limit":10}`
	for pivots, want := range map[string]string{
		"":                                    "pivots: expected 1 to 10",
		`{"fieldNames":["country"]}`:          "pivots[0].limit: expected 1 to 250000",
		`{"fieldNames":[],"limit":1}`:         "pivots[0].fieldNames: expected at least one",
		`{"fieldNames":["region"],"limit":1}`: "pivots[0].fieldNames[0]: expected a dimension out of",
		country + `,` + country:               "pivots[1].fieldNames[0]: expected each dimension in one pivot",
		`{"fieldNames":["country","dateRange","dateRange"],"limit":1}`:                                                                          "pivots[0].fieldNames[2]",
		`{"fieldNames":["country"],"limit":1,"offset":-1}`:                                                                                      "pivots[0].offset",
		`{"fieldNames":["country"],"limit":501},{"fieldNames":["city"],"limit":500}`:                                                            "pivots: expected limits whose product",
		`{"fieldNames":["country"],"limit":1,"metricAggregations":["SUM"]}`:                                                                     "pivots[0].metricAggregations[0]",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{}]}`:                                                                                  "pivots[0].orderBys[0]: expected one of",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"dimension":{"dimensionName":"city"}}]}`:                                              "pivots[0].orderBys[0].dimension.dimensionName",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"dimension":{"dimensionName":"country","orderType":"x"}}]}`:                           "orderType",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"metric":{"metricName":"newUsers"}}]}`:                                                "pivots[0].orderBys[0].metric.metricName",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"pivot":{"metricName":"sessions"}}]}`:                                                 "pivots[0].orderBys[0].pivot.pivotSelections",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"pivot":{"metricName":"sessions","pivotSelections":[{"dimensionName":"country"}]}}]}`: "pivotSelections[0].dimensionName: expected a dimension of another pivot",
		`{"fieldNames":["country"],"limit":1,"orderBys":[{"pivot":{"metricName":"sessions","pivotSelections":[{"dimensionName":"city"}]}}]}`:    "pivotSelections[0].dimensionName: expected a dimension of another pivot",
	} {
		_, err := ParsePivot(catalog.New(), "m1", euros, []byte(body(pivots)), today)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: expected %q, got %v", pivots, want, err)
		}
	}
	const day = `"dateRanges":[{"startDate":"today","endDate":"today"}]`
	for change, want := range map[string]string{
		day + `,"cohortSpec":{"cohorts":[]}`: "cohortSpec",
		day + `,"limit":1`:                   `Unknown name "limit"`,
		`"dateRanges":[{"startDate":"today","endDate":"today"},{"startDate":"yesterday","endDate":"today"}]`: "pivots: expected the field dateRange",
	} {
		_, err := ParsePivot(catalog.New(), "m1", euros, []byte(strings.Replace(body(country), day, change, 1)), today)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: expected %q, got %v", change, want, err)
		}
	}
}

func FuzzParsePivot(f *testing.F) {
	f.Add([]byte(pivotExample))
	f.Add([]byte(`{"pivots":[{"fieldNames":["dateRange"],"limit":1,"orderBys":[{"pivot":null},{"dimension":{"dimensionName":"dateRange"}}]}],"metrics":[{"name":"sessions"}],"dateRanges":[{"startDate":"today","endDate":"today"}]}`))
	c := catalog.New()
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := ParsePivot(c, "m1", euros, body, today)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("expected a fault of the input, got %v", err)
			}
			return
		}
		answered(t, q, (*Result).AppendPivot)
	})
}
