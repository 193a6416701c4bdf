package summary_test

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
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

// busyHours are hours of a shop. A few visitors come every hour, a few stay from one into
// the next.
type busyHours struct {
	*bench
	rows []processed.Row
}

// put adds some of the n-th hour's events, in a batch that part tells from others of it.
func (w busyHours) put(n int, rows []processed.Row, part byte) {
	shifted := slices.Clone(rows)
	for i := range shifted {
		row := &shifted[i]
		row.Batch[4], row.Batch[5], row.Batch[6] = 1, byte(n), part
		row.EventID.Lo ^= uint64(n)<<32 | uint64(part)<<48
		row.Millis += int64(n) * hourMs
		visit := uint64(n)
		if row.Client%50 == 0 {
			visit /= 2
		}
		if row.Session ^= visit; row.Client%50 > 1 {
			row.Client ^= visit
		}
		row.User = row.Client
	}
	w.putAgain(shifted)
}

func (w busyHours) hour(n int) {
	w.put(n, w.rows, 0)
	w.now = time.UnixMilli(w.rows[0].Millis + int64(n)*hourMs).Add(2 * time.Hour)
}

// closing measures how hours are closed for which prepare has put events.
func (w busyHours) closing(b *testing.B, s *fn.Service, prepare func(n int)) {
	b.ReportAllocs()
	b.ResetTimer()
	var used time.Duration
	for n := range b.N {
		b.StopTimer()
		prepare(n)
		b.StartTimer()
		began := cpuTime(b)
		w.settle(s)
		used += cpuTime(b) - began
	}
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
}

// BenchmarkCloseBusy closes the hour that has just ended of a merchant who had a day as
// busy before it.
func BenchmarkCloseBusy(b *testing.B) {
	const events, before = 20_000, 24
	w := busyHours{newBench(b, "Europe/Berlin"), shopHour(events, events)}
	defer w.close()
	s := w.service(nil, w.ports())
	for n := range before {
		w.hour(n)
	}
	w.settle(s)
	w.closing(b, s, func(n int) { w.hour(before + n) })
}

// BenchmarkCloseLate closes the hours of two days again, in each of which an event has
// come late, of a merchant whose hours have more events than are counted at once.
func BenchmarkCloseLate(b *testing.B) {
	const events, before, late = 20_000, 80, 48
	w := busyHours{newBench(b, "Europe/Berlin"), shopHour(events, events)}
	defer w.close()
	s := w.service(func(c *fn.Config) { c.LateEvery, c.Share = 0, 0 }, w.ports())
	for n := range before {
		w.hour(n)
	}
	w.settle(s)
	w.closing(b, s, func(i int) {
		for n := before - late; n < before; n++ {
			w.put(n, w.rows[:1], byte(1+i))
		}
	})
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

// BenchmarkMerchants closes an hour in which many merchants were active, each
// of whom had a visit or a few, whose events came in batches of many merchants.
func BenchmarkMerchants(b *testing.B) {
	const merchants = 20_000
	rows := shopHour(5*merchants, 300)
	b.ReportAllocs()
	var used time.Duration
	for range b.N {
		b.StopTimer()
		w := manyMerchants(b, merchants, rows)
		s := w.service(nil, w.ports())
		b.StartTimer()
		before := cpuTime(b)
		if err := w.tick(s); err != nil {
			b.Fatal(err)
		}
		used += cpuTime(b) - before
		b.StopTimer()
		left, err := w.stores.Processed.Dirty(b.Context(), false, store.Shard{Count: 1}, w.now, store.DirtyHour{}, 1)
		if err != nil || len(left) > 0 {
			b.Fatal("not all is closed: ", left, err)
		}
		w.close()
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/merchants, "cpu-µs/merchant")
}

// manyMerchants has the rows spread over merchants by their clients, on disk.
func manyMerchants(b *testing.B, n int, rows []processed.Row) *bench {
	b.Helper()
	stores, err := embedded.Open(b.TempDir(), embedded.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &bench{t: b, stores: stores, now: time.UnixMilli(rows[0].Millis).Add(2 * time.Hour)}
	ids := make([]string, n)
	for from := 0; from < n; from += store.MaxCreations {
		var some []access.Merchant
		for i := from; i < min(from+store.MaxCreations, n); i++ {
			ids[i] = "m" + strings.ToLower(crand.Text())
			some = append(some, access.Merchant{ID: ids[i], Version: 1, Name: ids[i], Generation: 1, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR", BotFilter: true}})
		}
		if _, err := stores.Registry.CreateMerchants(b.Context(), some); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.tick(w.service(nil, w.ports())); err != nil { // the first one looks for lost records
		b.Fatal(err)
	}
	for from := 0; from < len(rows); {
		put := store.Put{Batch: rows[from].Batch}
		docs := map[string]*processed.Builder{}
		for ; from < len(rows) && rows[from].Batch == put.Batch; from++ {
			id := ids[rows[from].Client%uint64(n)]
			if docs[id] == nil {
				docs[id] = &processed.Builder{}
			}
			docs[id].Add(rows[from])
		}
		for id, d := range docs {
			key := store.DocKey{Merchant: id, Hour: hourOf(rows[0].Millis), Revision: store.LiveRevision, Batch: put.Batch}
			put.Docs = append(put.Docs, store.Doc{Key: key, Events: d.Len(), Data: d.Encode()})
		}
		if err := stores.Processed.Put(b.Context(), put); err != nil {
			b.Fatal(err)
		}
	}
	return w
}
