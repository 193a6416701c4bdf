package summary_test

import (
	"context"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// The documents of an hour under way are merged when there are many, whatever of
// them comes again; it stays to be counted, and is closed when it ends.
func TestDocumentsOfTheHourUnderWayAreMerged(t *testing.T) {
	for _, most := range []int{300, 50_000} {
		b := newBench(t, "UTC")
		b.now = b.now.Add(10 * time.Minute)
		s := b.service(func(c *fn.Config) { c.MergeEvents = most }, b.ports())
		docs := func() (n int) {
			t.Helper()
			h := event.HourOf(b.now)
			if err := b.stores.Processed.Scan(context.Background(), b.m.ID, store.LiveRevision, h, h+1, func(store.Doc) error {
				n++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		batch := func(n int) []processed.Row {
			rows := make([]processed.Row, 5)
			for i := range rows {
				r := &rows[i]
				r.Batch, r.Seq, r.Millis = event.BatchID{byte(n >> 8), byte(n)}, uint32(i), b.now.UnixMilli()-int64(n)
				r.EventID, r.Client, r.User = processed.ID{Hi: uint64(n), Lo: uint64(i)}, uint64(n%7), uint64(n%7)
				r.Text[processed.ColName] = "page_view"
			}
			return rows
		}
		for n := range 200 {
			b.put(batch(n))
		}
		for range 2 { // one of two ticks is the merchant's turn
			if err := b.tick(s); err != nil {
				t.Fatal(err)
			}
			b.now = b.now.Add(time.Minute)
		}
		if n, want := docs(), 1000/most+1+63; n > want {
			t.Errorf("%d documents are left of 200, expected at most %d", n, want)
		}
		if h := event.HourOf(b.now); b.dirty()[0] != h {
			t.Errorf("hours %v are dirty, expected %v", b.dirty(), h)
		}
		b.check()
		for n := range 200 { // all of them come again
			b.putAgain(batch(n))
		}
		b.check()
		b.now = b.now.Add(time.Hour)
		b.settle(s)
		b.check()
		b.close()
	}
}
