package summary_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// slowly is processed data of which each scan takes its time.
type slowly struct {
	store.Processed
	scan func(merchant string)
}

func (s slowly) Scan(ctx context.Context, m string, rev store.Revision, from, to event.Hour, call func(store.Doc) error) error {
	s.scan(m)
	return s.Processed.Scan(ctx, m, rev, from, to, call)
}

// cleaned is processed data that tells when marks were taken off.
type cleaned struct {
	store.Processed
	then func()
}

func (c cleaned) Clean(ctx context.Context, marks []store.Mark) error {
	err := c.Processed.Clean(ctx, marks)
	c.then()
	return err
}

// manyDirty is a bench with merchants of whom each has an hour to close.
func manyDirty(t *testing.T, merchants int) *bench {
	t.Helper()
	b := newBench(t, "UTC")
	t.Cleanup(b.close)
	for i := range merchants {
		m := access.Merchant{ID: fmt.Sprintf("m%03d", i), Version: 1, Generation: 1, Settings: b.m.Settings}
		if err := b.stores.Registry.CreateMerchant(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		var row processed.Row
		row.Batch, row.EventID = event.BatchID{byte(i), byte(i >> 8)}, processed.ID{Hi: 1, Lo: uint64(i)}
		row.Millis, row.User, row.Client = b.now.UnixMilli(), 1, 1
		b.m.ID = m.ID
		b.putAgain([]processed.Row{row})
	}
	b.now = b.now.Add(2 * time.Hour)
	return b
}

// left is how many hours of merchants are still to be closed.
func (b *bench) left(t *testing.T) int {
	t.Helper()
	list, err := b.stores.Processed.Dirty(t.Context(), false, store.Shard{Count: 1}, b.now, store.DirtyHour{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// What a shard's budget does not last for goes on without another tick, on
// whichever instance, and also where one of them dies in between.
func TestRestGoesOn(t *testing.T) {
	const merchants = 40
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("one dies: ", dies), func(t *testing.T) {
			b := manyDirty(t, merchants)
			ports := b.ports()
			ports.Processed = slowly{ports.Processed, func(string) { time.Sleep(100 * time.Millisecond) }}
			service := func() *fn.Service {
				return b.service(func(c *fn.Config) { c.Shards, c.Budget = 2, time.Second }, ports)
			}
			instances := []*fn.Service{service(), service()}
			if err := instances[0].Tick(t.Context(), ping()); err != nil {
				t.Fatal(err)
			}
			rounds, before := 0, b.left(t)
			for events := b.events.take(); len(events) > 0; events = b.events.take() {
				for i, e := range events {
					ctx, die := context.WithCancel(t.Context())
					if dies && rounds == 1 && i == 0 {
						die() // the Broker delivers it again
						if err := instances[0].Shard(ctx, e); err == nil {
							t.Fatal("expected an error of a delivery that was given up")
						}
					}
					if err := instances[(rounds+i)%2].Shard(t.Context(), e); err != nil {
						t.Fatal(err)
					}
					die()
				}
				now := b.left(t)
				if now >= before {
					t.Fatalf("round %d: %d hours left of %d", rounds, now, before)
				}
				rounds, before = rounds+1, now
			}
			if before > 0 || rounds < 2 {
				t.Fatalf("%d hours left after %d rounds", before, rounds)
			}
		})
	}
}

// A tick hands out no shard that someone is at, until he is done or is not heard
// of for long.
func TestHeldShardIsLeftAlone(t *testing.T) {
	b := manyDirty(t, 6)
	ports := b.ports()
	other := b.service(func(c *fn.Config) { c.Shards = 1 }, b.ports())
	handed := func() int {
		if err := other.Tick(t.Context(), ping()); err != nil {
			t.Fatal(err)
		}
		return len(b.events.take())
	}
	looked := false
	ports.Processed = slowly{ports.Processed, func(string) {
		if looked {
			return
		}
		looked = true
		if n := handed(); n != 0 {
			t.Errorf("%d shards are handed out that someone is at", n)
		}
		b.now = b.now.Add(time.Minute) // and he is not heard of
		if n := handed(); n != 1 {
			t.Errorf("%d shards are handed out after a minute", n)
		}
	}}
	s := b.service(func(c *fn.Config) { c.Shards, c.Workers = 1, 1 }, ports)
	if err := b.tick(s); err != nil || !looked {
		t.Fatal(looked, err)
	}
	for range 2 { // free as soon as he is done
		b.now = b.now.Add(time.Minute)
		b.m.ID = "m001"
		var row processed.Row
		row.Batch, row.Millis = event.BatchID{9, byte(b.now.Minute())}, b.now.Add(-3*time.Hour).UnixMilli()
		b.putAgain([]processed.Row{row})
		if n := handed(); n != 1 {
			t.Errorf("%d shards are handed out that nobody is at", n)
		}
	}
}

// A merchant whose hour takes long holds nobody up but himself: all others of
// his shard are closed meanwhile, however many pages of them there are.
func TestHotMerchantHoldsNobodyUp(t *testing.T) {
	const merchants = 50
	b := manyDirty(t, merchants)
	ports := b.ports()
	alone := make(chan struct{})
	leave := sync.OnceFunc(func() { close(alone) })
	ports.Processed = cleaned{slowly{ports.Processed, func(m string) {
		if m != "m003" {
			return
		}
		select {
		case <-alone:
		case <-time.After(20 * time.Second):
			t.Error("the others wait for the merchant who takes long")
		}
	}}, func() {
		if b.left(t) == 1 {
			leave()
		}
	}}
	s := b.service(func(c *fn.Config) { c.Shards, c.Workers, c.Page, c.MergeEvents = 1, 2, 4, 0 }, ports)
	if err := b.tick(s); err != nil {
		t.Fatal(err)
	}
	if n := b.left(t); n != 0 {
		t.Fatalf("%d hours are left", n)
	}
}
