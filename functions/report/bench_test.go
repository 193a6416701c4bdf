package report

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// trafficOf are page views of a shop of some size: visitors and pages by
// Zipf's law, over whole days before midday.
func trafficOf(n, days int) []processed.Row {
	r := rand.New(rand.NewPCG(1, 2))
	pages := rand.NewZipf(r, 1.2, 4, 999)
	rows := make([]processed.Row, n)
	span := time.Duration(days) * 24 * time.Hour
	for i := range rows {
		at := midday.Truncate(24 * time.Hour).Add(-span).Add(time.Duration(float64(span) * float64(i) / float64(n)))
		row := row(fmt.Sprint(i), fmt.Sprint("c", r.IntN(n/8+1)), fmt.Sprint("/p", pages.Uint64()), at)
		row.Text[processed.ColCountry] = []string{"DE", "AT", "CH", "FR", "US", "GB", "NL"}[r.IntN(7)]
		row.Text[processed.ColDeviceCategory] = []string{"desktop", "mobile", "tablet"}[r.IntN(3)]
		row.Text[processed.ColBrowser] = []string{"Chrome", "Firefox", "Safari", "Edge"}[r.IntN(4)]
		if r.IntN(6) == 0 {
			row.Text[processed.ColSource], row.Text[processed.ColMedium] = []string{"google", "bing", "news"}[r.IntN(3)], "organic"
		}
		rows[i] = row
	}
	return rows
}

// bench asks the i-th question each time.
func (w *world) bench(b *testing.B, question func(i int) string) {
	b.Helper()
	m, cal, err := w.service.merchant(context.Background(), asking{merchant: w.merchant.ID})
	w.must(err)
	var sources report.Sources
	rows := 0
	b.ReportAllocs()
	began := cpuTime(b)
	query := ""
	for i := 0; b.Loop(); i++ {
		query = question(i)
		v, err := url.ParseQuery(encode(query))
		w.must(err)
		q, err := report.ParseURL(w.service.catalog, m.ID, v, w.service.today(cal))
		w.must(err)
		result, _, err := w.service.run(context.Background(), m, cal, q, "")
		w.must(err)
		sources, rows = result.Meta.Sources, len(result.Rows)
		result.AppendJSON(nil)
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
	if rows == 0 && !strings.Contains(query, "item") {
		b.Fatal("expected rows")
	}
	b.ReportMetric(float64(sources.DayRecords+sources.HourRecords), "records")
	b.ReportMetric(float64(sources.Events), "events")
}

func always(query string) func(int) string { return func(int) string { return query } }

// cpuTime is what the process has used: wall time says little on a machine
// that does other work, too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecords asks summaries alone.
func BenchmarkRecords(b *testing.B) {
	for _, perDay := range []int{100, 5000} {
		w := newWorld(b, nil)
		w.put(trafficOf(28*perDay, 28)...)
		w.summariseDays()
		const core = "metrics=users,new_users,sessions,engaged_sessions,bounceRate,averageSessionDuration,views,events,key_events,revenue"
		b.Run(fmt.Sprintf("28 days by day, %d events a day", perDay), func(b *testing.B) { w.bench(b, always(core+"&dimensions=date")) })
		w.pendingBatch()
		b.Run(fmt.Sprintf("28 days by day with a batch pending, %d events a day", perDay), func(b *testing.B) { w.bench(b, always(core+"&dimensions=date")) })
		b.Run(fmt.Sprintf("28 days by source, %d events a day", perDay), func(b *testing.B) { w.bench(b, always(core+"&dimensions=source,medium")) })
	}
}

// BenchmarkDashboard asks what the merchant's page asks, of 28 days, while the
// merchant has events of today that are in no record: first, and again before
// another event has come.
func BenchmarkDashboard(b *testing.B) {
	const core = "metrics=users,sessions,views,engagementRate,averageSessionDuration,key_events,revenue"
	for _, perDay := range []int{1000, 5000} {
		w := newWorld(b, nil)
		w.put(trafficOf(28*perDay, 28)...)
		w.summariseDays()
		w.put(trafficToday(perDay/2, 0)...)
		for name, query := range map[string]string{
			"totals": core, "by day": core + "&dimensions=date", "pages": "metrics=views,users&dimensions=page&limit=10", "sources": "metrics=sessions,users&dimensions=source&limit=10",
			"countries": "metrics=users,views&dimensions=country&limit=10", "devices": "metrics=users,views&dimensions=device", "events": "metrics=events,users&dimensions=event&limit=10",
			"items": "metrics=items,itemRevenue&dimensions=item&limit=10",
		} {
			query += "&from=27daysAgo&to=today"
			b.Run(fmt.Sprintf("%s, %d events a day", name, perDay), func(b *testing.B) { w.bench(b, always(query)) })
			b.Run(fmt.Sprintf("%s again, %d events a day", name, perDay), func(b *testing.B) {
				began := cpuTime(b)
				for b.Loop() {
					_, err := w.ask(query)
					w.must(err)
				}
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
			})
		}
	}
}

// pendingBatch makes the watermark lag, as it always does a little while events
// come in.
func (w *world) pendingBatch() {
	w.must(w.stores.Journal.Append(context.Background(), []store.JournalRow{{Batch: event.BatchID{0xee}, ReceivedAt: w.now.Add(-time.Second), Payload: []byte("x"),
		Counts: []event.StreamHour{{Stream: w.merchant.Streams[0].MeasurementID, Hour: event.HourOf(w.now), Events: 1}}}}))
}

// summariseDays closes days only, from one resolve.
func (w *world) summariseDays() {
	ctx := context.Background()
	first, last, _, err := w.stores.Processed.Extent(ctx, w.merchant.ID, 1)
	w.must(err)
	cal, err := summary.NewCalendar("UTC")
	w.must(err)
	for _, day := range cal.Days(first.Start().UnixMilli(), last.End().UnixMilli()) {
		facts, err := w.service.ports.History.Facts(ctx, &w.merchant, day, summary.Needs(summary.RecordKeys()), true, nil)
		w.must(err)
		users, millis := facts.Firsts()
		known, err := w.stores.Visitors.FirstSeen(ctx, w.merchant.ID, 1, users)
		w.must(err)
		_, err = w.stores.Visitors.See(ctx, w.merchant.ID, 1, users, millis, known)
		w.must(err)
		w.record('d', day, summary.NewRecord(facts, 0))
	}
	for h := first; h <= last; h++ {
		marks, err := w.stores.Processed.Marks(ctx, w.merchant.ID, []store.Queue{store.LiveQueue}, h, h+1)
		w.must(err)
		w.must(w.stores.Processed.Clean(ctx, marks))
	}
}

// BenchmarkDocuments asks what no summary holds: two dimensions and a filter on
// a third, exact users and sessions, over a million events: first, and once more
// with another filter and other dimensions.
func BenchmarkDocuments(b *testing.B) {
	w := newWorld(b, nil)
	w.put(trafficOf(1_000_000, 7)...)
	for dims, query := range map[string]string{
		"country, device": "metrics=users,sessions,views&dimensions=country,device&filter=browser!=%s&from=7daysAgo&to=yesterday",
		"page, device":    "metrics=users,sessions,views&dimensions=page,device&filter=browser!=%s&from=7daysAgo&to=yesterday",
	} {
		b.Run(dims+", first", func(b *testing.B) {
			w.bench(b, func(i int) string {
				w.service.ports.History = history.New(w.stores.Processed, w.stores.Visitors, history.Options{CacheBytes: 64 << 20})
				return fmt.Sprintf(query, "Edge")
			})
		})
		b.Run(dims+", while events come", func(b *testing.B) {
			w.service.ports.History = history.New(w.stores.Processed, w.stores.Visitors, history.Options{CacheBytes: 256 << 20})
			w.bench(b, func(i int) string {
				w.put(trafficToday(1, i)...)
				return fmt.Sprintf(query, []string{"Edge", "Opera", "Chrome", "Lynx"}[i%4])
			})
		})
		b.Run(dims+", next", func(b *testing.B) {
			for range 2 { // the second one has its facts kept
				_, err := w.ask(fmt.Sprintf(query, "Firefox"))
				w.must(err)
			}
			w.bench(b, func(i int) string { return fmt.Sprintf(query, []string{"Edge", "Opera", "Chrome", "Lynx"}[i%4]) })
		})
	}
}

// BenchmarkUnderLoad asks for 28 days by day while a batch comes in every
// twentieth question, as at 1,400 questions and 70 batches a second.
func BenchmarkUnderLoad(b *testing.B) {
	for _, perDay := range []int{100, 5000} {
		b.Run(fmt.Sprintf("%d events a day", perDay), func(b *testing.B) {
			w := newWorld(b, nil)
			w.put(trafficOf(28*perDay, 28)...)
			w.summariseDays()
			w.put(trafficToday(perDay/2, 0)...)
			b.ReportAllocs()
			began := cpuTime(b)
			n := 0
			for b.Loop() {
				if n++; n%20 == 0 {
					w.put(trafficToday(10, n)...)
				}
				result, err := w.ask("metrics=users,new_users,sessions,engaged_sessions,views,events,revenue&dimensions=date&from=28daysAgo&to=today")
				w.must(err)
				if len(result.Rows) != 29 {
					b.Fatalf("expected 29 days, got %d", len(result.Rows))
				}
				result.AppendJSON(nil)
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
}

// trafficToday are page views of the two hours before now.
func trafficToday(n, seed int) []processed.Row {
	rows := make([]processed.Row, n)
	for i := range rows {
		at := midday.Add(-2 * time.Hour).Add(time.Duration(i) * 2 * time.Hour / time.Duration(n))
		rows[i] = row(fmt.Sprintf("today%d-%d", seed, i), fmt.Sprint("c", (seed+i)%1000), fmt.Sprint("/p", i%50), at)
	}
	return rows
}

// BenchmarkPicture takes a picture of a merchant after each small batch, with so
// many events in its open hours: what it costs to have a busy merchant's reports
// fresh.
func BenchmarkPicture(b *testing.B) {
	for _, open := range []int{1_000, 15_000, 50_000} {
		for name, bytes := range map[string]int{"what is new": 256 << 20, "all": 0} {
			b.Run(fmt.Sprintf("%d open events, %s", open, name), func(b *testing.B) {
				w := newWorld(b, func(_ *access.Settings, c *Config) { c.TallyBytes = bytes })
				w.put(trafficOf(28*1000, 28)...)
				w.summariseDays()
				for i := range open / 100 {
					w.put(visitsToday(100, i, open/6)...)
				}
				_, cal, err := w.service.merchant(context.Background(), asking{merchant: w.merchant.ID})
				w.must(err)
				a := w.service.live.of(keyOf(&w.merchant))
				b.ReportAllocs()
				var took time.Duration
				for i := 0; b.Loop(); i++ {
					w.put(visitsToday(20, 1_000_000+i, open/6)...)
					began := cpuTime(b)
					p, err := w.service.live.expose(context.Background(), a.follow, &w.merchant, cal, uint64(i))
					took += cpuTime(b) - began
					w.must(err)
					if !p.Whole {
						b.Fatal("expected a picture")
					}
				}
				b.ReportMetric(float64(took)/float64(b.N)/1e3, "cpu-µs/op")
				b.ReportMetric(float64(a.follow.Wholes()), "wholes")
			})
		}
	}
}

// visitsToday are page views of the two hours before now, by so many visitors.
func visitsToday(n, seed, visitors int) []processed.Row {
	r := rand.New(rand.NewPCG(3, uint64(seed)))
	rows := make([]processed.Row, n)
	for i := range rows {
		at := midday.Add(-time.Duration(r.Int64N(int64(2 * time.Hour))))
		rows[i] = row(fmt.Sprintf("now%d-%d", seed, i), fmt.Sprint("c", r.IntN(visitors)), fmt.Sprint("/p", r.IntN(1+r.IntN(800))), at)
	}
	return rows
}

// BenchmarkAgain asks the same question by HTTP again and again, of a merchant
// with open hours to whom nothing comes meanwhile.
func BenchmarkAgain(b *testing.B) {
	const core = "metrics=users,new_users,sessions,engaged_sessions,views,events,revenue"
	w := newWorld(b, func(_ *access.Settings, c *Config) { c.SettingsAge = time.Second })
	w.put(trafficOf(28*5000, 28)...)
	w.summariseDays()
	w.put(trafficToday(2500, 0)...)
	handler := http.NewServeMux()
	w.must(function.Mount(handler, function.EventOptions{}, w.service.Function()))
	for name, query := range map[string]string{
		"28 days by day": core + "&dimensions=date&from=27daysAgo&to=today",
		"pages":          "metrics=views,users&dimensions=page&limit=10&from=27daysAgo&to=today",
	} {
		path := "/v1/reports/" + w.merchant.ID + "?" + query
		request := httptest.NewRequest(http.MethodGet, path, nil)
		request.Header.Set("Authorization", "Bearer "+w.token)
		b.Run(name+", handler", func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				answer := httptest.NewRecorder()
				if handler.ServeHTTP(answer, request); answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
}
