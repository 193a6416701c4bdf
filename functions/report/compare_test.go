package report

import (
	"strings"
	"testing"
	"time"
)

// What was before stands beside what is now, on records and on documents.
func TestCompare(t *testing.T) {
	w := newWorld(t, nil)
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02T15", s)
		w.must(err)
		return v
	}
	w.put(
		row("1", "anna", "/a", at("2026-03-10T09")), row("2", "ben", "/a", at("2026-03-10T10")), row("3", "anna", "/b", at("2026-03-11T09")),
		row("4", "anna", "/a", at("2026-03-08T09")), row("5", "cleo", "/old", at("2026-03-09T09")),
		row("6", "cleo", "/a", at("2025-03-11T23")),
		row("7", "anna", "/leap", at("2024-02-29T09")), row("8", "ben", "/leap", at("2024-02-28T09")),
	)
	const days = "&from=2026-03-10&to=2026-03-11"
	for range 2 { // from documents, then from records
		for query, want := range map[string]string{
			"metrics=views,users&dimensions=date&compare=previous_period" + days: "20260310 2 1 1\n20260311 1 1 0\n= 3 2 1\n",
			"metrics=views,users&dimensions=page&compare=previous_period" + days: "/a 2 1 1\n/b 1 0 1\n/old 0 1 -1\n= 3 2 1\n",
			"metrics=views,users&dimensions=date&compare=previous_year" + days:   "20260310 2 0 2\n20260311 1 1 0\n= 3 1 2\n",
			// Tuesday and Wednesday against Sunday and Monday; beside a date its own day of the week.
			"metrics=views,users&dimensions=dayOfWeek&order=dayOfWeek&compare=previous_period" + days:                     "0 0 1 -1\n1 0 1 -1\n2 2 0 2\n3 1 0 1\n= 3 2 1\n",
			"metrics=views,users&dimensions=date,dayOfWeek&order=date&compare=previous_period" + days:                     "20260310 2 1 1\n20260311 1 1 0\n= 3 2 1\n",
			"metrics=views,users&compare=previous_period" + days:                                                          "nil 3 2 1\n= 3 2 1\n",
			"metrics=views,users&dimensions=page&filter=views>1&compare=previous_period" + days:                           "/a 2 1 1\n= 2 1 1\n",
			"metrics=views,users&dimensions=page&filter=date==20260310&compare=previous_period" + days:                    "/a 2 1 1\n= 2 1 1\n",
			"metrics=views,users&dimensions=date&from=2025-02-27&to=2025-03-01&compare=previous_year":                     "20250228 0 2 -2\n= 0 2 -2\n",
			"metrics=views,users&dimensions=date&from=2024-02-28&to=2024-02-29&compare=previous_period&empty=true":        "20240228 1 0 1\n20240229 1 0 1\n= 2 0 2\n",
			"metrics=views,users&dimensions=page,country&compare=previous_period&filter=country=empty=;browser!=x" + days: "/a 2 1 1\n/b 1 0 1\n/old 0 1 -1\n= 3 2 1\n",
		} {
			a := w.report(query)
			column := strings.Split(strings.Split(query, "dimensions=")[len(strings.Split(query, "dimensions="))-1], "&")[0]
			column, _, _ = strings.Cut(column, ",")
			got := strings.ReplaceAll(a.lines(column, "views", "views_before", "views_difference"), "<nil>", "nil")
			a.Rows = []map[string]any{a.Totals}
			a.Totals["="] = "="
			got += a.lines("=", "views", "views_before", "views_difference")
			if got != want {
				t.Errorf("%s:\nexpected\n%s\ngot\n%s", query, want, got)
			}
		}
		w.summarise()
	}
	_, csv := w.get("/v1/reports/"+w.merchant.ID+"?metrics=views,bounceRate&dimensions=page&compare=previous_period"+days, w.token, "text/csv")
	if !strings.HasPrefix(csv, "page,views,views_before,views_difference,bounceRate,bounceRate_before,bounceRate_difference\r\n/a,2,1,1,1,1,0\r\n") {
		t.Errorf("got %s", csv)
	}
	for query, field := range map[string]string{"compare=last_week": "compare", "compare=previous_year&from=2000-06-01&to=2000-06-02": "compare"} {
		if status, body := w.get("/v1/reports/"+w.merchant.ID+"?metrics=views&"+query, w.token, ""); status != 400 || !strings.Contains(body, `"field":"`+field+`"`) {
			t.Errorf("%s: got %d %s", query, status, body)
		}
	}
}
