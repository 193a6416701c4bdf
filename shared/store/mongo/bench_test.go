package mongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// The figures of a stand-in say how many round trips and documents a call
// takes, and not how fast MongoDB is.

func benchID(n uint64) (id event.BatchID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// benchRow is a batch of 30 KiB with events of 20 streams.
func benchRow(n uint64) store.JournalRow {
	r := store.JournalRow{Batch: benchID(n), ReceivedAt: noon.Add(time.Duration(n) * time.Millisecond), PartitionKey: "key", Payload: bytes.Repeat([]byte{byte(n)}, 30<<10)}
	for i := range 20 {
		r.Counts = append(r.Counts, event.StreamHour{Stream: fmt.Sprintf("G-%d", i), Hour: 7, Events: 5})
	}
	return r
}

func BenchmarkJournal(b *testing.B) {
	ctx := context.Background()
	for _, together := range []int{1, 16} {
		b.Run(fmt.Sprintf("append/%d", together), func(b *testing.B) {
			s := mustPrepare(b, testConfig(server(b)))
			var next atomic.Uint64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					rows := make([]store.JournalRow, together)
					for i := range rows {
						rows[i] = benchRow(next.Add(1))
					}
					must(b, s.Journal.Append(ctx, rows))
				}
			})
			perSecond(b, together, "batches/s")
		})
	}
	for _, together := range []int{1, 100} {
		b.Run(fmt.Sprintf("mark/%d", together), func(b *testing.B) {
			s := mustPrepare(b, testConfig(server(b)))
			var rows []store.JournalRow
			for n := range together {
				r := benchRow(uint64(n))
				must(b, s.Journal.Append(ctx, []store.JournalRow{r}))
				r.Payload = nil
				rows = append(rows, r)
			}
			for b.Loop() {
				must(b, s.Journal.Mark(ctx, store.StagePublished, rows))
			}
			perSecond(b, together, "batches/s")
		})
	}
	for _, folded := range []bool{false, true} {
		b.Run(fmt.Sprintf("counts/folded=%t", folded), func(b *testing.B) {
			s := mustPrepare(b, testConfig(server(b)))
			const rows = 500
			for n := range uint64(rows) {
				r := benchRow(n)
				r.Payload = nil
				must(b, s.Journal.Mark(ctx, store.StageProcessed, []store.JournalRow{r}))
			}
			if folded {
				must(b, s.journal.foldProcessed(ctx, 0))
			}
			for b.Loop() {
				if _, err := s.Journal.Counts(ctx, []string{"G-1", "G-2"}, 0, 24); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("fold/500", func(b *testing.B) {
		s := mustPrepare(b, testConfig(server(b)))
		var next uint64
		for b.Loop() {
			b.StopTimer()
			rows := make([]store.JournalRow, 500)
			for i := range rows {
				rows[i] = benchRow(next)
				rows[i].Payload = nil
				next++
			}
			must(b, s.Journal.Mark(ctx, store.StageProcessed, rows))
			b.StartTimer()
			must(b, s.journal.foldProcessed(ctx, 0))
		}
		perSecond(b, 500, "batches/s")
	})
}

func perSecond(b *testing.B, each int, unit string) {
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), unit)
}

func BenchmarkProcessed(b *testing.B) {
	ctx := context.Background()
	s := mustPrepare(b, testConfig(server(b)))
	data := bytes.Repeat([]byte("0123456789"), 80) // 30 events
	var next atomic.Uint64
	for _, docs := range []int{1, 20} {
		b.Run(fmt.Sprintf("put/%d", docs), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					put := store.Put{Batch: benchID(next.Add(1))}
					for i := range docs {
						key := store.DocKey{Merchant: fmt.Sprintf("m%d-%d", docs, i), Hour: event.Hour(7 + next.Load()/100), Revision: store.LiveRevision, Batch: put.Batch}
						put.Docs = append(put.Docs, store.Doc{Key: key, Events: 30, Data: data})
					}
					must(b, s.Processed.Put(ctx, put))
				}
			})
			perSecond(b, docs, "docs/s")
		})
	}
	const scanned = 1000
	for n := range uint64(scanned / 20) {
		put := store.Put{Batch: benchID(n)}
		for h := range event.Hour(20) {
			put.Docs = append(put.Docs, store.Doc{Key: store.DocKey{Merchant: "scan", Hour: h, Revision: store.LiveRevision, Batch: put.Batch}, Events: 30, Data: data})
		}
		must(b, s.Processed.Put(ctx, put))
	}
	b.Run("scan/1000", func(b *testing.B) {
		for b.Loop() {
			n := 0
			must(b, s.Processed.Scan(ctx, "scan", store.LiveRevision, 0, 100, func(store.Doc) error { n++; return nil }))
			if n != scanned {
				b.Fatalf("%d documents", n)
			}
		}
		perSecond(b, scanned, "docs/s")
	})
	b.Run("version", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Processed.Version(ctx, "scan"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVisitors(b *testing.B) {
	ctx := context.Background()
	s := mustPrepare(b, testConfig(server(b)))
	const users = 5000
	var base uint64
	b.Run("see/5000", func(b *testing.B) {
		for b.Loop() {
			all, millis := make([]uint64, users), make([]int64, users)
			for i := range all {
				all[i] = base * 0x9E3779B97F4A7C15
				base++
			}
			if _, err := s.Visitors.See(ctx, "m", 1, all, millis, nil); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, users, "users/s")
	})
	b.Run("first/5000", func(b *testing.B) {
		for b.Loop() {
			all := make([]uint64, users)
			for i := range all {
				all[i] = uint64(i) * 0x9E3779B97F4A7C15
			}
			if _, err := s.Visitors.FirstSeen(ctx, "m", 1, all); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, users, "users/s")
	})
}
