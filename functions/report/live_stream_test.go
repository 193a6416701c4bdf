package report

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/summary"
)

// ask answers a query as the handler does, without HTTP.
func (w *world) ask(query string) (*report.Result, error) {
	m, cal, err := w.service.merchant(context.Background(), asking{merchant: w.merchant.ID})
	if err != nil {
		return nil, err
	}
	v, err := url.ParseQuery(encode(query))
	if err != nil {
		return nil, err
	}
	q, err := report.ParseURL(w.service.catalog, m.ID, v, w.service.today(cal))
	if err != nil {
		return nil, err
	}
	result, _, err := w.service.run(context.Background(), m, cal, q, query)
	return result, err
}

func (w *world) askTotals(query string) ([]int64, error) {
	result, err := w.ask(query)
	if err != nil {
		return nil, err
	}
	numbers := make([]int64, len(result.Query.Metrics))
	for _, row := range result.Rows {
		for i, v := range row.Metrics {
			numbers[i] += v.N
		}
	}
	return numbers, nil
}

// TestStreamWithReports lets events come in, some of them twice and some late,
// while readers ask and hours are closed: for each reader no number ever goes
// back, none is larger than what was sent, and the last ones are the truth.
func TestStreamWithReports(t *testing.T) {
	const batches, each = 120, 20
	w := newWorld(t, nil)
	w.service.live.patience = patience
	// Four weeks that are closed, so that an answer is merged of both kinds.
	w.put(trafficOf(500, 28)...)
	w.summarise()
	const query = "metrics=views,users,new_users&from=2026-02-12&to=2026-03-12&dimensions="
	before, err := w.askTotals(query + "date")
	w.must(err)

	var sent atomic.Int64 // distinct events that a reader may see, told before they are put
	done := make(chan struct{})
	var readers sync.WaitGroup
	fail := make(chan string, 8)
	for i, dimension := range []string{"date", "dateHour", "country,date", "page"} {
		readers.Add(1)
		go func() {
			defer readers.Done()
			last := before
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true // and look once more
				default:
				}
				now, err := w.askTotals(query + dimension)
				most := sent.Load()
				switch {
				case err != nil:
					fail <- fmt.Sprintf("reader %d: %v", i, err)
					return
				case now[0] < last[0]:
					fail <- fmt.Sprintf("reader %d: views went from %d back to %d", i, last[0], now[0])
					return
				case now[0] > before[0]+most || now[2] > before[2]+most:
					fail <- fmt.Sprintf("reader %d: %v of which %d were sent after %v", i, now, most, before)
					return
				}
				last = now
			}
		}()
	}
	var previous []processed.Row
	for b := range batches {
		rows := make([]processed.Row, 0, 2*each)
		for i := range each {
			at := midday.Add(time.Duration(b-batches)*time.Minute + time.Duration(i)*time.Second)
			if i%10 == 0 {
				at = at.Add(-30 * time.Hour)
			}
			rows = append(rows, row(fmt.Sprintf("s%d-%d", b, i), fmt.Sprintf("v%d", (b*7+i)%90), fmt.Sprintf("/p%d", i%5), at))
		}
		sent.Add(each)
		w.put(append(rows, previous...)...)
		previous = rows[:5]
		if b%40 == 39 {
			w.summarise()
		}
	}
	close(done)
	readers.Wait()
	close(fail)
	for what := range fail {
		t.Error(what)
	}
	// Readers that keep asking come to see everything within the bounded age.
	truth := w.truth()
	for _, dimension := range []string{"date", "dateHour"} {
		var got []int64
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
			got, err = w.askTotals(query + dimension)
			w.must(err)
			if got[0] == truth[0] && got[2] == truth[2] {
				break
			}
		}
		if got[0] != truth[0] || got[2] != truth[2] {
			t.Errorf("by %s: expected %v views and new users in the end, got %v", dimension, truth, got)
		}
	}
	if truth[0] != before[0]+batches*each {
		t.Errorf("expected %d views counted once, got %d", before[0]+batches*each, truth[0])
	}
}

// truth counts views and new users from all documents at once.
func (w *world) truth() []int64 {
	ctx := context.Background()
	first, last, _, err := w.stores.Processed.Extent(ctx, w.merchant.ID, 1)
	w.must(err)
	facts, err := w.service.ports.History.Facts(ctx, &w.merchant, summary.Of(first, last+1), summary.Needs(summary.RecordKeys()), false, nil)
	w.must(err)
	users, _ := facts.Users()
	t := summary.Group(facts, nil, summary.GroupOptions{})
	return []int64{t.Counters[0][summary.Views], int64(len(users)), int64(len(users))}
}

// TestLiveSaysWhatItHolds keeps a picture that is older than now and shows that
// the answer's watermark is the picture's, and that a quiet merchant's event is
// seen at once.
func TestLiveSaysWhatItHolds(t *testing.T) {
	w := newWorld(t, nil)
	const query = "metrics=views&from=2026-03-12&to=2026-03-12"
	for i := range 3 {
		w.put(row(fmt.Sprint(i), "c", "/", midday.Add(-time.Minute)))
		if got := w.report(query).lines("views"); got != fmt.Sprintln(i+1) {
			t.Fatalf("expected event %d to be seen at once, got %q", i+1, got)
		}
	}
	// A merchant that has had its share is answered from the last picture.
	a := w.service.live.of(keyOf(&w.merchant))
	a.mu.Lock()
	a.allowed = allowance{left: -time.Hour, at: time.Now()}
	a.next = time.Now().Add(time.Hour)
	a.looked = a.next                        // so that it is not for once
	a.last.began = time.Now().Add(time.Hour) // so that it does not grow old
	a.mu.Unlock()
	w.now = midday.Add(time.Minute)
	w.put(row("late", "c", "/", midday))
	got := w.report(query)
	if got.lines("views") != "3\n" || !got.Metadata.Watermark.Equal(midday) {
		t.Fatalf("expected 3 views as of %s, got %q as of %s", midday, got.lines("views"), got.Metadata.Watermark)
	}
	a.mu.Lock()
	a.allowed = allowance{}
	a.mu.Unlock()
	got = w.report(query)
	if got.lines("views") != "4\n" || !got.Metadata.Watermark.Equal(w.now) {
		t.Fatalf("expected 4 views as of %s, got %q as of %s", w.now, got.lines("views"), got.Metadata.Watermark)
	}
}

// TestDataWhereAPictureSawNone: an hour of which neither a picture nor a record knows has
// a newer picture taken, though the last one might be used. Documents would say more than
// the next picture does, if that was begun already.
func TestDataWhereAPictureSawNone(t *testing.T) {
	w := newWorld(t, nil)
	w.put(row("0", "c", "/", midday.Add(-10*time.Hour)))
	w.summarise()
	w.put(row("1", "c", "/", midday.Add(-time.Hour))) // so that the day is made of hours
	const query = "metrics=%s&from=2026-03-12&to=2026-03-12&dimensions=%s"
	for i, dimension := range []string{"date", "dateHour"} {
		w.report(fmt.Sprintf(query, "users", dimension))
		a := w.service.live.of(keyOf(&w.merchant))
		a.mu.Lock()
		a.allowed = allowance{left: -time.Hour, at: time.Now()}
		a.next = time.Now().Add(time.Hour)
		a.looked = a.next                        // so that it is not for once
		a.last.began = time.Now().Add(time.Hour) // so that it does not grow old
		before := a.last.number
		a.mu.Unlock()
		hour := event.HourOf(midday) - 6 + event.Hour(i)
		w.put(row(fmt.Sprint("late", i), "c", "/", hour.Start()))
		views, err := w.askTotals(fmt.Sprintf(query, "views", dimension))
		w.must(err)
		a.mu.Lock()
		last := a.last
		a.mu.Unlock()
		if views[0] != int64(3+i) || last.number == before || !last.Touches(summary.Of(hour, hour+1)) {
			t.Errorf("by %s: expected %d views from a picture that was taken then, got %d, and picture %d after %d", dimension, 3+i, views[0], last.number, before)
		}
	}
}

// TestReadersAreNotKept: where readers and events keep coming, nobody waits for a
// picture that takes long, but has the last one and what it says of itself.
func TestReadersAreNotKept(t *testing.T) {
	w := newWorld(t, nil)
	const query = "metrics=views&from=2026-03-12&to=2026-03-12"
	w.put(row("0", "c", "/", midday.Add(-time.Minute)))
	w.report(query)
	l := w.service.live
	l.patience = patience
	a := l.of(keyOf(&w.merchant))
	busy := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.looked = time.Now().Add(time.Hour)     // it is not for once
		a.last.began = time.Now().Add(time.Hour) // nor is the picture old
	}
	for range cap(l.slots) {
		l.slots <- struct{}{} // others' pictures take long
	}
	w.now = midday.Add(time.Minute)
	w.put(row("1", "c", "/", midday))
	for range 3 {
		busy()
		if got := w.report(query); got.lines("views") != "1\n" || !got.Metadata.Watermark.Equal(midday) {
			t.Fatalf("expected 1 view as of %s, got %q as of %s", midday, got.lines("views"), got.Metadata.Watermark)
		}
	}
	a.mu.Lock()
	taking := a.taking
	a.mu.Unlock()
	for range cap(l.slots) {
		<-l.slots
	}
	<-taking
	if got := w.report(query); got.lines("views") != "2\n" || !got.Metadata.Watermark.Equal(w.now) {
		t.Fatalf("expected 2 views as of %s, got %q as of %s", w.now, got.lines("views"), got.Metadata.Watermark)
	}
}

// TestCostlyPicturesMayBeOlder: where pictures take more than their share of the
// machine, those that cost much are taken less often, up to a minute, and those that
// cost little as often as ever.
func TestCostlyPicturesMayBeOlder(t *testing.T) {
	w := newWorld(t, nil)
	l := w.service.live
	now := time.Now()
	for _, c := range []struct {
		cost, debt, want time.Duration
	}{
		{time.Millisecond, 0, 12 * time.Millisecond},
		{time.Second, 0, 12 * time.Second},
		{time.Minute, 0, time.Minute},
		{time.Millisecond, mostDebt, 492 * time.Millisecond},
		{50 * time.Millisecond, 2 * time.Second, 5400 * time.Millisecond},
		{200 * time.Millisecond, mostDebt, time.Minute},
	} {
		l.allowed = allowance{left: -c.debt, at: now}
		if got := l.stretched(&album{cost: c.cost}, now); got != c.want {
			t.Errorf("a picture that costs %s may be %s old where %s was taken beyond the share, expected %s", c.cost, got, c.debt, c.want)
		}
	}
	// What was taken beyond it is given back, and it is bounded.
	const query = "metrics=views&from=2026-03-12&to=2026-03-12"
	w.put(row("0", "c", "/", midday.Add(-time.Minute)))
	l.allowed = allowance{left: -mostDebt, at: now}
	w.report(query)
	if debt := l.debt(time.Now()); debt > mostDebt || debt == 0 {
		t.Errorf("%s were taken beyond the share", debt)
	}
	if debt := l.debt(time.Now().Add(2 * time.Minute)); debt != 0 {
		t.Errorf("two minutes later %s are still owed", debt)
	}
}

// TestReadersAlwaysWait: where pictures may not be older at all, what was put last is
// in every answer, whatever the pictures cost.
func TestReadersAlwaysWait(t *testing.T) {
	w := newWorld(t, func(_ *access.Settings, c *Config) { c.LiveAge = 0 })
	const query = "metrics=views&from=2026-03-12&to=2026-03-12"
	for i := range 5 {
		w.put(row(fmt.Sprint(i), "c", "/", midday.Add(-time.Minute)))
		if got := w.report(query).lines("views"); got != fmt.Sprintln(i+1) {
			t.Fatalf("expected event %d to be seen, got %q", i+1, got)
		}
		a := w.service.live.of(keyOf(&w.merchant))
		a.mu.Lock()
		a.cost, a.looked = time.Minute, time.Now().Add(time.Hour)
		a.allowed = allowance{left: -time.Hour, at: time.Now()}
		a.mu.Unlock()
	}
}
