package report

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// visits makes the events of a busy shop in the order of time: sessions of some
// four events, half of them of a hundred visitors, the others of a million.
type visits struct {
	r     *rand.Rand
	at    time.Time
	step  time.Duration
	open  []visit
	ids   int
	pages *rand.Zipf
	known int // visitors who have half of the sessions
}

type visit struct {
	client  string
	session uint64
	left    int
}

func newVisits(from time.Time, perSecond int) *visits {
	r := rand.New(rand.NewPCG(5, 6))
	return &visits{r: r, at: from, step: time.Second / time.Duration(perSecond), pages: rand.NewZipf(r, 1.3, 2, 499), known: 100}
}

func (v *visits) next(n int) []processed.Row {
	rows := make([]processed.Row, n)
	for i := range rows {
		// As many are open as send an event every 25 seconds.
		most := int(25 * time.Second / v.step)
		k := v.r.IntN(most)
		if k >= len(v.open) {
			client := fmt.Sprint("c", v.r.IntN(v.known))
			if v.r.IntN(2) == 0 {
				client = fmt.Sprint("c", v.r.IntN(1_000_000))
			}
			v.ids++
			v.open = append(v.open, visit{client, uint64(v.ids) * 0x9e3779b97f4a7c15, 1 + v.r.IntN(7)})
			k = len(v.open) - 1
		}
		at := &v.open[k]
		v.at = v.at.Add(v.step)
		row := row(fmt.Sprint(v.at.UnixNano()), at.client, fmt.Sprint("/p", v.pages.Uint64()), v.at)
		row.Session = at.session
		row.Text[processed.ColCountry] = "DE"
		row.Text[processed.ColBrowser] = []string{"Chrome", "Firefox", "Safari", "Edge"}[at.session%4]
		row.Text[processed.ColPageTitle] = row.Text[processed.ColPagePath]
		if v.r.IntN(50) == 0 {
			// It comes late, and what brought the visitor stands in it.
			row.Millis -= 60_000
			row.Text[processed.ColSource] = []string{"google", "news"}[at.session>>8%2]
		}
		if at.left--; at.left == 0 {
			v.open[k] = v.open[len(v.open)-1]
			v.open = v.open[:len(v.open)-1]
		}
		rows[i] = row
	}
	return rows
}

// merge puts one document in place of those of batches in an hour, as the
// summary function does.
func (w *world) merge(h event.Hour, place uint64) {
	w.t.Helper()
	ctx := context.Background()
	union := processed.NewUnion(processed.Everything())
	var keys []store.DocKey
	w.must(w.stores.Processed.Scan(ctx, w.merchant.ID, store.LiveRevision, h, h+1, func(d store.Doc) error {
		if d.Key.IsMerged() {
			return nil
		}
		keys = append(keys, d.Key)
		return union.Add(d.Data, nil)
	}))
	f, err := union.Frame()
	w.must(err)
	doc := store.Doc{Key: keys[0], Events: f.Len, Data: processed.Encode(f)}
	doc.Key.Batch = store.MergedInto(place, keys)
	w.must(w.stores.Processed.Replace(ctx, keys, doc))
}

// visited puts n events of an hour, as the ETL and the summary function leave them.
func (w *world) visited(v *visits, h event.Hour, n int) {
	w.t.Helper()
	for i := 0; i < n; i += 16 * 500 {
		for range 16 * 5 {
			w.put(v.next(100)...)
		}
		w.merge(h, uint64(i/8000+1))
	}
}

// visitedSince puts as many events into each of the hours [from, to), and closes these.
func (w *world) visitedSince(from, to event.Hour, perHour int) *visits {
	w.t.Helper()
	v := newVisits(from.Start(), perHour/3600)
	v.known, v.step = perHour, time.Hour/time.Duration(perHour+1)
	for h := from; h < to; h++ {
		v.at = h.Start()
		w.visited(v, h, perHour)
	}
	w.summarise()
	return v
}

// takePictures measures them: the first, and then each after some hundreds of events.
func (w *world) takePictures(b *testing.B, v *visits, hundreds int) {
	_, cal, err := w.service.merchant(context.Background(), asking{merchant: w.merchant.ID})
	w.must(err)
	a := w.service.live.of(keyOf(&w.merchant))
	take := func(i int) time.Duration {
		began := cpuTime(b)
		p, err := w.service.live.expose(context.Background(), a.follow, &w.merchant, cal, uint64(i))
		w.must(err)
		if !p.Whole {
			b.Fatal("expected a picture")
		}
		return cpuTime(b) - began
	}
	b.ReportMetric(float64(take(0))/1e3, "first-cpu-µs")
	b.ReportAllocs()
	var took time.Duration
	for i := 0; b.Loop(); i++ {
		for range hundreds {
			w.put(v.next(100)...)
		}
		took += take(i)
	}
	b.ReportMetric(float64(took)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(a.follow.Wholes()), "wholes")
	b.ReportMetric(float64(a.follow.Size())/(1<<20), "MiB")
}

// BenchmarkBusyDay takes the first picture of an hour that is half over, of a merchant
// who was sent as much in each of the 24 hours before: where all may go on being
// counted, and where that is too much.
func BenchmarkBusyDay(b *testing.B) {
	for _, perHour := range []int{16_000, 160_000} {
		w := newWorld(b, nil)
		now := event.HourOf(midday)
		v := w.visitedSince(now-24, now, perHour)
		v.at = now.Start()
		w.visited(v, now, perHour/2)
		_, cal, err := w.service.merchant(context.Background(), asking{merchant: w.merchant.ID})
		w.must(err)
		for kept, bytes := range map[string]int64{"kept": 8 << 30, "not kept": 0} {
			b.Run(fmt.Sprintf("%d an hour, %s", perHour, kept), func(b *testing.B) {
				b.ReportAllocs()
				began, rows := cpuTime(b), 0
				for i := 0; b.Loop(); i++ {
					p, err := w.service.live.expose(context.Background(), w.service.live.loader.Follow(bytes), &w.merchant, cal, uint64(i))
					w.must(err)
					if !p.Whole {
						b.Fatal("expected a picture")
					}
					rows = p.Rows
				}
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
				b.ReportMetric(float64(rows), "rows")
			})
		}
	}
}

// BenchmarkBusyDays takes pictures, each after five hundred events, of a merchant who
// was sent more in the 24 hours before than a picture may look at.
func BenchmarkBusyDays(b *testing.B) {
	const perHour = 80_000
	w := newWorld(b, func(_ *access.Settings, c *Config) { c.TallyBytes, c.LiveEvents = 4<<30, 12*perHour })
	now := event.HourOf(midday)
	v := w.visitedSince(now-26, now, perHour)
	v.at = now.Start()
	w.visited(v, now, perHour/2)
	w.takePictures(b, v, 5)
}

// BenchmarkBusyLate asks for the last seven days of a merchant of whom late events have
// come for each of the last 72 hours, which are too many to be counted at once, each time
// after a hundred events.
func BenchmarkBusyLate(b *testing.B) {
	const perHour = 8_000
	w := newWorld(b, func(_ *access.Settings, c *Config) { c.TallyBytes, c.LiveEvents = 1<<30, 40*perHour })
	now := event.HourOf(midday)
	v := w.visitedSince(now-96, now, perHour)
	for h := now - 72; h < now; h++ {
		v.at = h.Start()
		w.put(v.next(2)...)
	}
	v.at = now.Start()
	w.visited(v, now, perHour/2)
	ask := func() answer {
		return w.report("metrics=screenPageViews,sessions,activeUsers&dimensions=date&from=2026-03-06&to=today")
	}
	ask()
	b.ReportAllocs()
	began, waiting := cpuTime(b), 0
	for b.Loop() {
		w.put(v.next(100)...)
		waiting = ask().Metadata.Waiting
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(waiting), "hours-waiting")
}

// BenchmarkBusyPages asks how many users the pages of an hour had, of which there are
// more than a stored record holds in fine sets: while it is under way, each time after a
// hundred events, and when it is over.
func BenchmarkBusyPages(b *testing.B) {
	w := newWorld(b, func(_ *access.Settings, c *Config) { c.TallyBytes = 4 << 30 })
	h := event.HourOf(midday)
	v := newVisits(h.Start(), 2000)
	v.known = 1_000_000
	w.visited(v, h, 1_200_000)
	ask := func(limit int) (documents int) {
		a := w.report(fmt.Sprint("metrics=screenPageViews,activeUsers&dimensions=pagePath&from=today&to=today&limit=", limit))
		return a.Metadata.GeneratedFrom.Events
	}
	run := func(name string, before func()) {
		b.Run(name, func(b *testing.B) {
			ask(10)
			b.ReportAllocs()
			began, documents := cpuTime(b), 0
			for i := 0; b.Loop(); i++ {
				before()
				documents = ask(10 + i%490)
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/1e3, "cpu-µs/op")
			b.ReportMetric(float64(documents), "rows")
		})
	}
	run("under way", func() { w.put(v.next(100)...) })
	w.summarise()
	run("over", func() {})
}

// BenchmarkBusyHour takes a picture each second of a merchant who is sent 2,000
// events a second, by how many his hour has already.
func BenchmarkBusyHour(b *testing.B) {
	for _, open := range []int{50_000, 200_000, 800_000} {
		b.Run(fmt.Sprint(open), func(b *testing.B) {
			w := newWorld(b, func(_ *access.Settings, c *Config) { c.TallyBytes = 4 << 30 })
			h := event.HourOf(midday)
			v := newVisits(h.Start(), 2000)
			w.visited(v, h, open)
			w.takePictures(b, v, 20)
		})
	}
}

// BenchmarkBusyLedger asks for the ledger of a day with as many events an hour as in the
// days around it.
func BenchmarkBusyLedger(b *testing.B) {
	const perHour = 40_000
	w := newWorld(b, nil)
	day := event.HourOf(midday) / 24 * 24
	w.visitedSince(day-26, day+24+26, perHour)
	path := fmt.Sprintf("/v1/ledger/%s?from=%s&to=%[2]s", w.merchant.ID, day.Start().Format(time.DateOnly))
	b.ReportAllocs()
	began := cpuTime(b)
	for b.Loop() {
		if status, body := w.get(path, w.token, ""); status != http.StatusOK {
			b.Fatal(status, body)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/24/perHour, "cpu-ns/event")
}
