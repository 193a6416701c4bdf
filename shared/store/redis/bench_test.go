package redis

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/footfall/footfall/shared/store"
)

// BenchmarkGet reads 28 days of one merchant: one round trip, or two where each
// day is a reference to its one hour.
func BenchmarkGet(b *testing.B) {
	s := mustOpen(b, single(b))
	for name, alike := range map[string]bool{"days": false, "days of one hour": true} {
		merchant := fmt.Sprintf("m%v", alike)
		var keys []store.SummaryKey
		for day := range int64(28) {
			record := bytes.Repeat([]byte{byte(day + 1)}, 300)
			hour := entry(merchant, 1_790_000_000/86400*86400+day*86400, string(record))
			own := hour
			own.Key.Grain = store.GrainDay
			if !alike {
				own.Data = append(own.Data, 1)
			}
			if err := s.Summaries.Put(context.Background(), []store.SummaryEntry{hour, own}); err != nil {
				b.Fatal(err)
			}
			keys = append(keys, own.Key)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got, err := s.Summaries.Get(context.Background(), keys)
				if err != nil || len(got) != len(keys) || got[27] == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPut writes an hour and its day of 500 merchants: one round trip.
func BenchmarkPut(b *testing.B) {
	s := mustOpen(b, single(b))
	var entries []store.SummaryEntry
	for i := range 500 {
		hour := entry(fmt.Sprintf("m%d", i), 7200, string(bytes.Repeat([]byte{byte(i + 1)}, 200)))
		day := hour
		day.Key.Grain, day.Key.Start = store.GrainDay, 0
		day.Data = bytes.Repeat([]byte{byte(i + 2)}, 250)
		entries = append(entries, hour, day)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Summaries.Put(context.Background(), entries); err != nil {
			b.Fatal(err)
		}
	}
}
