package report

import (
	"context"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/summary"
)

// dirty are the hours that wait to be closed.
func (w *world) dirty() []event.Hour {
	w.t.Helper()
	hours, err := w.stores.Processed.DirtyOf(context.Background(), w.merchant.ID, history.Queues(&w.merchant), -1<<30, 1<<30)
	w.must(err)
	return hours
}

// A report that misses the record of a clean hour is right, and has the hour
// closed again; quiet hours and repeated questions ask for nothing.
func TestLostRecordsAreAskedFor(t *testing.T) {
	w := newWorld(t, nil)
	w.merchant.Settings.TimeZone = "UTC"
	for i := range 3 {
		w.put(row("e"+string(rune('a'+i)), "anna", "/", midday.Add(time.Duration(-24*i-3)*time.Hour)))
	}
	w.summarise()
	const question = "metrics=views&dimensions=date&from=2026-03-09&to=2026-03-12"
	before := w.report(question).lines("date", "views")
	if len(w.service.repairs.asked) != 0 {
		t.Fatal("something is asked for although nothing is lost")
	}
	w.must(w.stores.Summaries.Drop(context.Background(), w.merchant.ID, w.merchant.Generation))
	// Other questions, for the answer to the same one is kept.
	for _, more := range []string{"&limit=50", "&limit=51", "&limit=52"} {
		if after := w.report(question+more).lines("date", "views"); after != before {
			t.Fatalf("without records the report says\n%s, with them\n%s", after, before)
		}
	}
	if n := len(w.service.repairs.asked); n != 3 {
		t.Fatalf("%d hours are asked for, expected 3", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	stopped := make(chan error, 1)
	go func() { stopped <- w.service.repairs.run(ctx) }()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for len(w.dirty()) < 3 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("hours %v are marked, expected 3", w.dirty())
		}
	}
	cancel()
	w.must(<-stopped)
	w.summarise()
	if after := w.report(question).lines("date", "views"); after != before || len(w.dirty()) != 0 {
		t.Fatalf("closed again the report says\n%s, before\n%s", after, before)
	}
}

// Whatever is asked, the queue and what is remembered stay bounded.
func TestRepairsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	r := w.service.repairs
	at := event.HourOf(midday)
	for i := range 2 * repairQueue {
		r.ask(&w.merchant, summary.Of(at-event.Hour(i), at-event.Hour(i)+1))
	}
	if len(r.asked) != repairQueue || len(r.lately) != repairQueue {
		t.Fatalf("%d wait and %d are remembered, expected %d", len(r.asked), len(r.lately), repairQueue)
	}
	for len(r.asked) > 0 {
		<-r.asked
	}
	r.ask(&w.merchant, summary.Of(at, at+1))
	if len(r.asked) != 0 {
		t.Fatal("an hour is asked for again at once")
	}
	w.now = w.now.Add(repairAgain)
	r.ask(&w.merchant, summary.Of(at, at+1))
	if len(r.asked) != 1 {
		t.Fatal("an hour is never asked for again")
	}
}
