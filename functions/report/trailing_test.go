package report

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
)

// Users of the days up to a date are those of a report over just these days,
// with and without summaries, in all and by a dimension; the total is that of
// the last day.
func TestUsersOfTheDaysBefore(t *testing.T) {
	from := time.Date(2026, 3, 6, 3, 0, 0, 0, time.UTC)
	rows := randomRows(rand.New(rand.NewPCG(3, 4)), 60, from, 100*time.Hour)
	change := func(s *access.Settings, _ *Config) { s.TimeZone = "America/New_York" }
	for _, summarised := range []bool{false, true} {
		w := newWorld(t, change)
		w.put(rows...)
		if summarised {
			w.summarise()
		}
		const asked = "metrics=active1DayUsers,active7DayUsers,dauPerWau,wauPerMau&from=2026-03-08&to=2026-03-11"
		users := func(last, days int, filter string) float64 {
			first := time.Date(2026, 3, last+1-days, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			return w.report(fmt.Sprintf("metrics=users&from=%s&to=2026-03-%02d%s", first, last, filter)).Rows[0]["users"].(float64)
		}
		check := func(row map[string]any, last int, filter string) {
			t.Helper()
			day, week, month := users(last, 1, filter), users(last, 7, filter), users(last, 30, filter)
			if row["active1DayUsers"] != day || row["active7DayUsers"] != week || row["dauPerWau"] != day/week || row["wauPerMau"] != week/month {
				t.Errorf("%v: want %v, %v, and %v in 30 days", row, day, week, month)
			}
		}
		answer := w.report(asked + "&dimensions=date")
		if len(answer.Rows) != 4 {
			t.Fatalf("expected a row for each day, got %v", answer.Rows)
		}
		for i, row := range answer.Rows {
			check(row, 8+i, "")
		}
		check(answer.Totals, 11, "")
		check(w.report(asked).Rows[0], 11, "")
		for _, row := range w.report(asked + "&dimensions=date,page").Rows {
			var last int
			if _, err := fmt.Sscanf(row["date"].(string), "202603%d", &last); err != nil {
				t.Fatal(err)
			}
			check(row, last, "&filter=page=="+row["page"].(string))
		}
		// Weeks end with their last day in the range: the 8th is a Sunday.
		for i, row := range w.report(asked + "&dimensions=isoWeek").Rows {
			check(row, 8+3*i, "")
		}
	}
	w := newWorld(t, change)
	for _, query := range []string{"dimensions=hour", "dimensions=nthMinute", "filter=date==20260308"} {
		if status, body := w.get("/v1/reports/"+w.merchant.ID+"?metrics=dauPerMau&"+encode(query), w.token, ""); status != 400 {
			t.Errorf("%s: got %d %s", query, status, body)
		}
	}
}
