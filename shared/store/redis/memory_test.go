package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/redis/redistest"
	"github.com/footfall/footfall/shared/summary"
)

// packed are the limits that infra/stores/redis sets.
var packed = []string{"--hash-max-listpack-entries", "256", "--hash-max-listpack-value", "512"}

// visits are the rows of n events in an hour, of visitors with some pages each.
func visits(rng *rand.Rand, from int64, n int) *summary.Facts {
	var b processed.Builder
	for i := 0; i < n; {
		visitor := rng.Uint64()
		for range min(n-i, 1+rng.IntN(5)) {
			r := processed.Row{EventID: processed.ID{Hi: rng.Uint64(), Lo: uint64(i)}, Seq: uint32(i), Client: visitor, User: visitor,
				Millis: from + rng.Int64N(3600_000)}
			r.Text[processed.ColName] = "page_view"
			r.Text[processed.ColPagePath] = fmt.Sprintf("/p%d", int(rng.ExpFloat64()*10))
			r.Text[processed.ColPageTitle] = "A page of a shop " + r.Text[processed.ColPagePath]
			r.Text[processed.ColSource] = []string{"", "google", "newsletter"}[rng.IntN(3)]
			r.Text[processed.ColCountry] = []string{"DE", "FR", "US"}[rng.IntN(3)]
			b.Add(r)
			i++
		}
	}
	f := summary.Resolve(b.Frame(), summary.Window{From: from, To: from + 3600_000}, summary.Settings{})
	users, first := f.Firsts()
	f.SetFirstSeen(users, first)
	return f
}

// month writes what a merchant with events in some of its hours has in 30 days,
// as the summary function does, and returns how many hours those are, and how
// many bytes their records.
func month(t testing.TB, s *Stores, rng *rand.Rand, merchant string, events func(hour int) int) (hours, bytes int) {
	t.Helper()
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for day := range 30 {
		from := start.AddDate(0, 0, day).UnixMilli()
		var entries []store.SummaryEntry
		var records []*summary.Record
		for h := range 24 {
			n := events(day*24 + h)
			if n == 0 {
				continue
			}
			r := summary.NewRecord(visits(rng, from+int64(h)*3600_000, n), h)
			records = append(records, r)
			entries = append(entries, store.SummaryEntry{Data: r.Encode(), Key: store.SummaryKey{
				Merchant: merchant, Generation: 1, Grain: store.GrainHour, Start: from/1000 + int64(h)*3600}})
			bytes += len(entries[len(entries)-1].Data)
		}
		if len(records) == 0 {
			continue
		}
		hours += len(records)
		entries = append(entries, store.SummaryEntry{Data: summary.MergeRecords(records...).Encode(), Key: store.SummaryKey{
			Merchant: merchant, Generation: 1, Grain: store.GrainDay, Start: from / 1000}})
		bytes += len(entries[len(entries)-1].Data)
		if err := s.Summaries.Put(context.Background(), entries); err != nil {
			t.Fatal(err)
		}
	}
	return hours, bytes
}

// used is the memory that a server's data take.
func used(t testing.TB, server *redistest.Server) int {
	t.Helper()
	c := server.Client()
	defer c.Close()
	info, err := c.Info(context.Background(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "used_memory_dataset:")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What Redis adds to the records of a merchant-hour stays small, by a mix of
// merchants as there are: the n-th largest has 1/n of the largest's events,
// which are 5,500 a day.
func TestBytesPerActiveMerchantHour(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a month of a hundred merchants")
	}
	for _, c := range []struct {
		name string
		args []string
		most float64 // bytes beyond the records
	}{{"packed", packed, 64}, {"Redis' defaults", nil, 128}} {
		t.Run(c.name, func(t *testing.T) {
			server := redistest.Start(t, c.args...)
			s := mustOpen(t, testConfig(ModeSingle, server.Addr))
			before := used(t, server)
			rng := rand.New(rand.NewPCG(1, 2))
			hours, bytes := 0, 0
			const merchants = 100
			for i := range merchants {
				perHour := 5500.0 / 24 / float64(10*i+1)
				h, b := month(t, s, rng, fmt.Sprintf("mt%09d", i), func(hour int) int {
					return poisson(rng, perHour*[]float64{0.2, 0.1, 0.6, 1.2, 1.6, 2.3}[hour%24/4])
				})
				hours, bytes = hours+h, bytes+b
			}
			all := used(t, server) - before
			per := float64(all) / float64(hours)
			t.Logf("%d merchants, %d active merchant-hours: %.1f bytes each in Redis, of which %.1f are records of hours and days",
				merchants, hours, per, float64(bytes)/float64(hours))
			if more := per - float64(bytes)/float64(hours); more > c.most {
				t.Errorf("%.1f bytes beyond the records, expected at most %.0f", more, c.most)
			}
		})
	}
}

// poisson draws a number of events around a mean.
func poisson(rng *rand.Rand, mean float64) (n int) {
	for at := rng.ExpFloat64(); at < mean; at += rng.ExpFloat64() {
		n++
	}
	return n
}
