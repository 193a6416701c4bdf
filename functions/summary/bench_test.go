package summary_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/processed"
)

// BenchmarkClose closes one hour of a shop, whose events came in documents of
// some rows each.
func BenchmarkClose(b *testing.B) {
	const events = 10_000
	for _, per := range []int{1, 30} {
		b.Run(fmt.Sprintf("documents of %d", per), func(b *testing.B) {
			rows := shopHour(events, per)
			b.ReportAllocs()
			var used time.Duration
			for range b.N {
				b.StopTimer()
				w := newBench(b, "Europe/Berlin")
				w.now = time.UnixMilli(rows[0].Millis).Add(2 * time.Hour)
				for i := 0; i < len(rows); i += per {
					w.putAgain(rows[i:min(i+per, len(rows))])
				}
				s := w.service(nil, w.ports())
				b.StartTimer()
				before := cpuTime(b)
				w.settle(s)
				used += cpuTime(b) - before
				b.StopTimer()
				w.close()
				b.StartTimer()
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/events, "cpu-ns/event")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// shopHour are the events of an hour: visits of eight events by clients that
// look at pages, in batches of some rows.
func shopHour(n, per int) []processed.Row {
	r := rand.New(rand.NewPCG(3, 4))
	rows := make([]processed.Row, n)
	start := time.Date(2026, 3, 20, 9, 0, 0, 0, time.UTC).UnixMilli()
	for i := range rows {
		row := &rows[i]
		binary.BigEndian.PutUint32(row.Batch[:], uint32(i/per))
		row.Seq = uint32(i % per)
		row.EventID = processed.ID{Hi: r.Uint64(), Lo: r.Uint64()}
		row.Millis = start + int64(i)*hourMs/int64(n)
		client := r.IntN(n/8 + 1)
		row.Client = processed.HashActor(processed.ActorClient, fmt.Sprint(client))
		row.User, row.Engaged = row.Client, int64(r.IntN(9000))
		row.Session, row.Flags = processed.HashActor(processed.ActorSession, fmt.Sprint(client, "s")), processed.FlagSessionGiven
		page := r.IntN(r.IntN(300) + 1)
		t := &row.Text
		t[processed.ColName] = []string{"page_view", "page_view", "scroll", "user_engagement"}[r.IntN(4)]
		t[processed.ColStream], t[processed.ColHostname] = "G-BENCH", "shop.example"
		t[processed.ColPagePath], t[processed.ColPageTitle] = fmt.Sprint("/products/", page), fmt.Sprint("Product ", page)
		t[processed.ColCountry] = []string{"DE", "AT", "CH", "FR"}[client%4]
		t[processed.ColBrowser], t[processed.ColOS] = []string{"Chrome", "Safari", "Firefox"}[client%3], []string{"Windows", "iOS", "Android"}[client%3]
		t[processed.ColDeviceCategory], t[processed.ColLanguage] = []string{"desktop", "mobile"}[client%2], "de-DE"
		if i%8 == 0 {
			t[processed.ColSource], t[processed.ColMedium] = []string{"google", "bing"}[client%2], "organic"
		}
	}
	return rows
}
