package summary_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// benchFrame is a day of a shop: visits of some events each by clients that
// come back, in batches as they arrive.
func benchFrame(events, clients int) *processed.Frame {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC).UnixMilli()
	browsers, oses, devices := []string{"Chrome", "Safari", "Firefox", "Edge"}, []string{"Windows", "iOS", "Android", "macOS"}, []string{"desktop", "mobile", "tablet"}
	countries := []string{"DE", "FR", "GB", "US", "AT", "CH", "NL"}
	sources := [][2]string{{"", ""}, {"google", "organic"}, {"newsletter", "email"}, {"bing", "organic"}}
	type visit struct {
		client, left int
	}
	var b processed.Builder
	active := make([]visit, 400)
	for i := range active {
		active[i] = visit{client: rng.IntN(clients)}
	}
	for i := range events {
		v := &active[rng.IntN(len(active))]
		first := v.left == 0
		if first {
			*v = visit{client: rng.IntN(clients), left: 1 + rng.IntN(12)}
		}
		v.left--
		var r processed.Row
		r.Batch = event.BatchID{0, byte(i / 500 >> 16), byte(i / 500 >> 8), byte(i / 500)}
		r.Seq = uint32(i % 500)
		r.EventID = processed.ID{Hi: rng.Uint64(), Lo: rng.Uint64()}
		r.Millis = start + int64(i)*86_400_000/int64(events)
		r.Client = uint64(v.client+1) * 0x9e3779b97f4a7c15
		r.User = r.Client
		r.Engaged = int64(rng.IntN(5000))
		t := &r.Text
		t[processed.ColName] = "page_view"
		if rng.IntN(3) == 0 {
			t[processed.ColName] = []string{"scroll", "user_engagement", "click", "add_to_cart"}[rng.IntN(4)]
		}
		page := rng.IntN(rng.IntN(800) + 1)
		t[processed.ColPagePath] = fmt.Sprintf("/products/%d", page)
		t[processed.ColPageTitle] = fmt.Sprintf("Product %d · The Shop", page)
		t[processed.ColHostname] = "shop.example"
		t[processed.ColCountry] = countries[v.client%len(countries)]
		t[processed.ColBrowser] = browsers[v.client/7%len(browsers)]
		t[processed.ColOS] = oses[v.client/7%len(oses)]
		t[processed.ColDeviceCategory] = devices[v.client/5%len(devices)]
		t[processed.ColLanguage] = "de-DE"
		if first {
			s := sources[v.client%len(sources)]
			t[processed.ColSource], t[processed.ColMedium] = s[0], s[1]
		}
		b.Append(&r)
	}
	return b.Frame()
}

// perEvent reports the time of the process per event, for the machine may have
// other things to do.
func perEvent(b *testing.B, events int, run func()) {
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime()
	for range b.N {
		run()
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N)/float64(events), "cpu-ns/event")
}

func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
