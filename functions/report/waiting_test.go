package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// Where late events are too many to be counted at once, answers use the records of their
// hours and say so, of the days that are asked for, until these are closed again.
func TestLateHoursWait(t *testing.T) {
	w := newWorld(t, func(_ *access.Settings, c *Config) { c.LiveEvents = 400 })
	now := event.HourOf(midday)
	n := 0
	put := func(h event.Hour, events int) {
		var rows []processed.Row
		for range events {
			n++
			rows = append(rows, row(fmt.Sprint(n), fmt.Sprint("c", n%7), "/", h.Start().Add(time.Duration(n%50)*time.Minute)))
		}
		w.put(rows...)
	}
	for h := now - 60; h < now; h++ {
		put(h, 10)
	}
	w.summarise()
	put(now, 20)
	ask := func(what, from string, events, waiting int) {
		t.Helper()
		a := w.report("metrics=eventCount&from=" + from + "&to=today")
		if got := a.Totals["eventCount"]; got != float64(events) || a.Metadata.Waiting != waiting {
			t.Errorf("%s: %v events and %d hours that wait, expected %d and %d", what, got, a.Metadata.Waiting, events, waiting)
		}
	}
	ask("before", "2026-03-10", 620, 0)
	put(now-50, 2)
	put(now-40, 2)
	ask("late events", "2026-03-10", 620, 2)
	ask("late events of other days", "2026-03-12", 140, 0)
	put(now, 5)
	put(now-1, 1)
	ask("an hour that was closed just now is counted", "2026-03-10", 626, 2)
	w.summarise()
	ask("closed again", "2026-03-10", 630, 0)
	put(now-70, 2)
	put(now-50, 2)
	put(now-40, 2)
	ask("a day ago where nothing was before", "2026-03-08", 630, 3)
	if a := w.report("metrics=eventCount&dimensions=dateHour&from=2026-03-08&to=today"); a.Totals["eventCount"] != 630.0 || a.Metadata.Waiting != 3 {
		t.Errorf("by the hour: %v events and %d hours that wait, expected 630 and 3", a.Totals["eventCount"], a.Metadata.Waiting)
	}
	w.summarise()
	ask("closed for the first time", "2026-03-08", 636, 0)
}
