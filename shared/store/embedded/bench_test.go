package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

func openBench(b *testing.B) *Stores {
	b.Helper()
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func newID(b *testing.B) event.BatchID {
	id, err := event.NewBatchID()
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// noise does not compress, as a batch does not any more.
func noise(n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// spread runs fn b.N times by n goroutines.
func spread(b *testing.B, n int, fn func(i int)) {
	b.Helper()
	var next atomic.Int64
	done := make(chan struct{}, n)
	for range n {
		go func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				fn(int(i))
			}
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
}

// BenchmarkAppend writes batches of 64 KB with four streams, each durable.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			s, payload := openBench(b), noise(64<<10)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			b.ResetTimer()
			spread(b, n, func(int) {
				if err := s.Journal.Append(ctx, []store.JournalRow{benchRow(newID(b), payload)}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

func benchRow(id event.BatchID, payload []byte) store.JournalRow {
	r := store.JournalRow{Batch: id, ReceivedAt: time.Now(), PartitionKey: "p0", Payload: payload}
	for i := range 4 {
		r.Counts = append(r.Counts, event.StreamHour{Stream: fmt.Sprintf("G-%010d", i), Hour: event.HourOf(r.ReceivedAt), Events: 75})
	}
	return r
}

// BenchmarkMark takes batches through their three stages; Watermark and
// Counts are asked while thousands of them have just been finished.
func BenchmarkMark(b *testing.B) {
	s, ctx := openBench(b), context.Background()
	rows := make([]store.JournalRow, b.N)
	for i := range rows {
		rows[i] = benchRow(newID(b), nil)
		if err := s.Journal.Append(ctx, rows[i:i+1]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range rows {
		for _, stage := range stages {
			if err := s.Journal.Mark(ctx, stage, rows[i:i+1]); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// busyJournal has taken 20,000 batches of the same streams and hour through
// all stages without a flush between: the worst case for reads.
func busyJournal(b *testing.B) *Stores {
	b.Helper()
	s, err := Open(b.TempDir(), Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ctx := context.Background()
	for range 20_000 {
		r := []store.JournalRow{benchRow(newID(b), nil)}
		if err := s.Journal.Append(ctx, r); err != nil {
			b.Fatal(err)
		}
		if err := s.Journal.Mark(ctx, store.AllStages, r); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkWatermark(b *testing.B) {
	s, ctx := busyJournal(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Journal.Watermark(ctx, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCounts(b *testing.B) {
	s, ctx := busyJournal(b), context.Background()
	h := event.HourOf(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if c, err := s.Journal.Counts(ctx, []string{"G-0000000001"}, h-28*24, h+1); err != nil || len(c) == 0 {
			b.Fatal(c, err)
		}
	}
}

func benchPut(id event.BatchID, data []byte, merchants int) store.Put {
	p := store.Put{Batch: id}
	h := event.HourOf(time.Now())
	for i := range merchants {
		p.Docs = append(p.Docs, store.Doc{
			Key:    store.DocKey{Merchant: fmt.Sprintf("merchant%06d", i), Hour: h, Revision: store.LiveRevision, Batch: id},
			Events: 10, Data: data,
		})
	}
	return p
}

// BenchmarkPut writes what a batch of 300 events of 30 merchants becomes.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			s, data := openBench(b), noise(600)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			b.ResetTimer()
			spread(b, n, func(int) {
				if err := s.Processed.Put(ctx, benchPut(newID(b), data, 30)); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkScan reads a merchant's hour of 1,000 documents among those of 30.
func BenchmarkScan(b *testing.B) {
	s, ctx := openBench(b), context.Background()
	data := noise(600)
	for range 1000 {
		if err := s.Processed.Put(ctx, benchPut(newID(b), data, 30)); err != nil {
			b.Fatal(err)
		}
	}
	h := event.HourOf(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := s.Processed.Scan(ctx, "merchant000003", store.LiveRevision, h-1, h+1, func(store.Doc) error { n++; return nil })
		if err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}

var liveQueue = []store.Queue{store.LiveQueue}

// BenchmarkDirtyOf asks for a merchant's dirty hours after an hour of 5,000
// batches was cleaned and another is being filled.
func BenchmarkDirtyOf(b *testing.B) {
	s, err := Open(b.TempDir(), Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ctx, h := context.Background(), event.HourOf(time.Now())
	for _, dirty := range []bool{false, true} {
		for range 5000 {
			p := benchPut(newID(b), nil, 1)
			if dirty {
				p.Docs[0].Key.Hour++
			}
			if err := s.Processed.Put(ctx, p); err != nil {
				b.Fatal(err)
			}
		}
		if !dirty {
			marks, err := s.Processed.Marks(ctx, "merchant000000", liveQueue, h, h+1)
			if err == nil {
				err = s.Processed.Clean(ctx, marks)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		hours, err := s.Processed.DirtyOf(ctx, "merchant000000", liveQueue, h-28*24, h+2)
		if err != nil || len(hours) == 0 {
			b.Fatal(hours, err)
		}
	}
}

// BenchmarkSummariesGet reads the 28 days of a merchant among 10,000.
func BenchmarkSummariesGet(b *testing.B) {
	s, ctx := openBench(b), context.Background()
	key := func(m, day int) store.SummaryKey {
		return store.SummaryKey{Merchant: fmt.Sprintf("merchant%06d", m), Generation: 1, Grain: store.GrainDay, Start: int64(day) * 86400}
	}
	data := noise(400)
	for m := range 10_000 {
		var entries []store.SummaryEntry
		for day := range 28 {
			entries = append(entries, store.SummaryEntry{Key: key(m, day), Data: data})
		}
		if err := s.Summaries.Put(ctx, entries); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	keys := make([]store.SummaryKey, 28)
	for m := 0; b.Loop(); m++ {
		for day := range keys {
			keys[day] = key(m*7919%10_000, day)
		}
		got, err := s.Summaries.Get(ctx, keys)
		if err != nil || got[27] == nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSee remembers 1,000 users of a merchant, half of them known.
func BenchmarkSee(b *testing.B) {
	s, ctx := openBench(b), context.Background()
	users, millis := make([]uint64, 1000), make([]int64, 1000)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		for i := range users {
			if i%2 == 0 || users[i] == 0 {
				users[i] = rng.Uint64()
			}
		}
		if _, err := s.Visitors.See(ctx, "m", 1, users, millis, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkArchive appends blocks of 64 KB, each durable.
func BenchmarkArchive(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			s, data := openBench(b), noise(64<<10)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			b.ResetTimer()
			spread(b, n, func(int) {
				if err := s.Archive.Append(ctx, []store.Block{{Batch: newID(b), ReceivedAt: time.Now(), Data: data}}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkAppendLater appends batches as ingest makes them of single events,
// to a store that has taken as many before as fill some tables.
func BenchmarkAppendLater(b *testing.B) {
	s, err := Open(b.TempDir(), Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, payload := context.Background(), noise(6<<10)
	row := func() []store.JournalRow {
		r := store.JournalRow{Batch: newID(b), ReceivedAt: time.Now(), PartitionKey: "p0", Payload: payload}
		for i := range 40 {
			r.Counts = append(r.Counts, event.StreamHour{Stream: fmt.Sprintf("G-%010d", i/2), Hour: event.HourOf(r.ReceivedAt) + event.Hour(i%2), Events: 2})
		}
		return []store.JournalRow{r}
	}
	for i := range 6000 {
		if err := s.Journal.Append(ctx, row()); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			if err := s.engine.db.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Journal.Append(ctx, row()); err != nil {
			b.Fatal(err)
		}
	}
}
