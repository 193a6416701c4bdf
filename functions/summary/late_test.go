package summary_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// late is a bench whose late events wait for an hour.
func late(t *testing.T) (b *bench, tick func(), put func(millis ...int64)) {
	t.Helper()
	b = newBench(t, "UTC")
	b.now = b.now.Add(30 * 24 * time.Hour)
	s := b.service(func(c *fn.Config) { c.LateEvery = time.Hour }, b.ports())
	tick = func() {
		t.Helper()
		b.now = b.now.Add(time.Minute)
		if err := b.tick(s); err != nil {
			t.Fatal(err)
		}
		b.check()
	}
	n := byte(0)
	put = func(millis ...int64) {
		t.Helper()
		n++
		rows := make([]processed.Row, len(millis))
		for i, ms := range millis {
			r := &rows[i]
			r.Batch, r.Seq, r.Millis = event.BatchID{n}, uint32(i), ms
			r.EventID, r.Client, r.User = processed.ID{Hi: uint64(n), Lo: uint64(i)}, uint64(i), uint64(i)
			r.Text[processed.ColName] = "page_view"
		}
		b.put(rows)
		b.check()
	}
	return b, tick, put
}

// until ticks until nothing is dirty below the current hour, and says for how long.
func (b *bench) until(t *testing.T, tick func(), most time.Duration) time.Duration {
	t.Helper()
	since := b.now
	for {
		left := false
		for _, h := range b.dirty() {
			left = left || !h.End().After(b.now)
		}
		if !left {
			return b.now.Sub(since)
		}
		if b.now.Sub(since) > most {
			t.Fatalf("hours are not closed after %s", most)
		}
		tick()
	}
}

func TestLateEventsWait(t *testing.T) {
	b, tick, put := late(t)
	defer b.close()
	end := b.now.UnixMilli()
	put(end-50*hourMs, end-30*60_000) // the hour before, and one long past
	tick()
	if d := b.dirty(); len(d) > 0 {
		t.Fatalf("hours %v are not closed at the first tick", d)
	}
	// Late ones of both hours wait, and those that come meanwhile with them, for
	// an hour at most.
	put(end-50*hourMs+1, end-29*60_000)
	tick()
	if d := b.dirty(); len(d) != 2 {
		t.Fatalf("%d hours are dirty, expected 2 that wait", len(d))
	}
	if took := b.until(t, tick, time.Hour); took < 2*time.Minute {
		t.Fatalf("they waited for %s", took)
	}
	// Once an hour each.
	put(end - 50*hourMs + 2)
	if took := b.until(t, tick, time.Hour); took < 59*time.Minute {
		t.Fatalf("they waited for %s", took)
	}
	// Not where a tick says so.
	put(end - 50*hourMs + 4)
	now := ping()
	if err := now.SetData("application/json", map[string]bool{"late": true}); err != nil {
		t.Fatal(err)
	}
	if err := b.service(func(c *fn.Config) { c.LateEvery = time.Hour }, b.ports()).Tick(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if took := b.until(t, tick, time.Hour); took != time.Minute {
		t.Fatalf("they waited for %s, expected a tick", took)
	}
	// An hour that ends takes them with it.
	b.now = b.now.Truncate(time.Hour).Add(time.Hour)
	put(end-50*hourMs+3, end-7*hourMs, b.now.UnixMilli()-1)
	if took := b.until(t, tick, time.Hour); took != time.Minute {
		t.Fatalf("they waited for %s, expected a tick", took)
	}
	// Those of three days wait, as a busy merchant always has them; more do not.
	var many []int64
	for h := range int64(90) {
		many = append(many, end-h*hourMs-100*hourMs)
	}
	put(many[:73]...)
	tick()
	if d := b.dirty(); len(d) != 73 {
		t.Fatalf("%d hours are dirty, expected 73 that wait", len(d))
	}
	put(many...)
	if took := b.until(t, tick, time.Hour); took != time.Minute {
		t.Fatalf("they waited for %s, expected a tick", took)
	}
	// Nor does what was lost.
	for _, lost := range []string{b.m.ID, "!rebuild-0"} {
		for g := range b.m.Generation + 1 {
			if err := b.stores.Summaries.Drop(context.Background(), lost, g); err != nil {
				t.Fatal(err)
			}
		}
	}
	tick()
	if took := b.until(t, tick, time.Hour); took > time.Minute {
		t.Fatalf("they waited for %s", took)
	}
}

// An hour under way is not counted when others of its day are, and when it ends it is
// closed at once.
func TestHourUnderWayIsLeftAlone(t *testing.T) {
	b, tick, put := late(t)
	defer b.close()
	end := b.now.Truncate(24 * time.Hour).Add(12 * time.Hour)
	put(end.UnixMilli()-3*hourMs, end.UnixMilli()-2*hourMs, end.UnixMilli()+1, end.UnixMilli()+hourMs)
	b.now = end.Add(10 * time.Minute)
	tick()
	key := func(at time.Time) []store.SummaryKey {
		return []store.SummaryKey{{Merchant: b.m.ID, Generation: b.m.Generation, Grain: store.GrainHour, Start: at.Unix()}}
	}
	for at, want := range map[time.Time]bool{end.Add(-3 * time.Hour): true, end.Add(-2 * time.Hour): true, end: false, end.Add(time.Hour): false} {
		if data, err := b.stores.Summaries.Get(t.Context(), key(at)); err != nil || (data[0] != nil) != want {
			t.Errorf("hour %s has a record: %t, expected %t (%v)", at, data[0] != nil, want, err)
		}
	}
	put(end.UnixMilli()-3*hourMs+1, end.UnixMilli()+2)
	b.now = end.Add(time.Hour)
	if took := b.until(t, tick, time.Hour); took != time.Minute {
		t.Errorf("the hour is closed %s after its end", took)
	}
}

// Whatever waits, at any moment every record that is in force is right.
func TestRecordsEqualHistoryWhileLateEventsWait(t *testing.T) {
	for seed := range scripts(20) {
		b, tick, _ := late(t)
		in := newScript(seed)
		rng := rand.New(rand.NewPCG(seed, 3))
		for range 60 {
			if rng.IntN(2) == 0 {
				b.put(in.next(b.now.UnixMilli()))
			}
			b.now = b.now.Add(time.Duration(rng.IntN(20)) * time.Minute)
			tick()
		}
		b.now = b.now.Truncate(time.Hour).Add(time.Hour)
		b.until(t, tick, 70*time.Minute)
		b.close()
	}
}
