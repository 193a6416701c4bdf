package summary_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/store/redis"
	"github.com/footfall/footfall/shared/store/redis/redistest"
	"github.com/footfall/footfall/shared/summary"
)

// cache is a store of records that can be emptied and be away.
type cache struct {
	store.Summaries
	empty func()
	away  atomic.Bool
}

func (c *cache) Get(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	if c.away.Load() {
		return nil, errInjected
	}
	return c.Summaries.Get(ctx, keys)
}

// embeddedCache is the embedded store of records on a folder of its own.
func embeddedCache(t testing.TB) *cache {
	c := &cache{}
	c.empty = func() {
		s, err := embedded.Open("/cache", embedded.Options{FS: vfs.NewMem(), NoSync: true, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		c.Summaries = s.Summaries
	}
	c.empty()
	return c
}

// redisCache is Redis, emptied as an operator would.
func redisCache(t testing.TB) *cache {
	server := redistest.Start(t)
	s, err := redis.Open(redis.Config{
		Mode: redis.ModeSingle, Addrs: []string{server.Addr}, KeyPrefix: "ff:", Timeout: 5 * time.Second, DialTimeout: time.Second, PoolSize: 8,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &cache{Summaries: s.Summaries, empty: server.Empty}
}

func eachCache(t *testing.T, test func(t *testing.T, c *cache)) {
	t.Run("embedded", func(t *testing.T) { test(t, embeddedCache(t)) })
	t.Run("redis", func(t *testing.T) { test(t, redisCache(t)) })
}

// An emptied store of records is filled again by ticks alone, and every record
// is what it was.
func TestAnEmptiedStoreIsRebuilt(t *testing.T) {
	eachCache(t, func(t *testing.T, c *cache) {
		b := newBench(t, "Australia/Lord_Howe")
		defer b.close()
		b.stores.Summaries = c
		s := b.service(nil, b.ports())
		in := newScript(21)
		for range 30 {
			b.put(in.next(b.now.UnixMilli()))
			b.now = b.now.Add(5 * time.Hour)
			b.settle(s)
		}
		b.check()
		if d := b.dirty(); len(d) != 0 {
			t.Fatalf("hours %v are dirty", d)
		}
		c.empty()
		if err := s.Tick(context.Background(), ping()); err != nil {
			t.Fatal(err)
		}
		if len(b.dirty()) == 0 {
			t.Fatal("nothing is dirty although all records are gone")
		}
		b.check() // by documents
		b.settle(s)
		b.check() // by records
		version := b.version()
		if err := b.tick(s); err != nil {
			t.Fatal(err)
		}
		if d := b.dirty(); len(d) != 0 || b.version() != version {
			t.Fatalf("a tick marks hours %v again although nothing is missing", d)
		}
	})
}

func (b *bench) version() store.Version {
	v, err := b.stores.Processed.Version(context.Background(), b.m.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// others registers n more merchants with one event each, at distances of a day.
func (b *bench) others(n int) []access.Merchant {
	b.t.Helper()
	ctx := context.Background()
	list := make([]access.Merchant, n)
	for i := range list {
		m := b.m
		m.ID, m.Version = fmt.Sprintf("mother%03d", i), 1
		if err := b.stores.Registry.CreateMerchant(ctx, m); err != nil {
			b.t.Fatal(err)
		}
		batch := event.BatchID{1, byte(i >> 8), byte(i)}
		at := b.now.Add(-time.Duration(i%40+1) * 24 * time.Hour)
		var builder processed.Builder
		row := processed.Row{Batch: batch, EventID: processed.ID{Hi: 1, Lo: uint64(i)}, Millis: at.UnixMilli(), Client: 1, User: 1}
		row.Text[processed.ColName] = "page_view"
		builder.Add(row)
		err := b.stores.Processed.Put(ctx, store.Put{Batch: batch, Docs: []store.Doc{{
			Key: store.DocKey{Merchant: m.ID, Hour: event.HourOf(at), Revision: store.LiveRevision, Batch: batch}, Events: 1, Data: builder.Encode(),
		}}})
		if err != nil {
			b.t.Fatal(err)
		}
		list[i] = m
	}
	return list
}

// missing are the merchants without the record of their only day, and without
// a mark that says so.
func (b *bench) missing(merchants []access.Merchant) (list []string) {
	b.t.Helper()
	ctx := context.Background()
	for i := range merchants {
		m := &merchants[i]
		first, last, some, err := b.stores.Processed.Extent(ctx, m.ID, store.LiveRevision)
		if err != nil || !some {
			b.t.Fatalf("extent: %v, %v", some, err)
		}
		dirty, err := b.stores.Processed.DirtyOf(ctx, m.ID, queues, first, last+1)
		if err != nil {
			b.t.Fatal(err)
		}
		cal, err := summary.NewCalendar(m.Settings.TimeZone)
		if err != nil {
			b.t.Fatal(err)
		}
		data, err := b.stores.Summaries.Get(ctx, []store.SummaryKey{{Merchant: m.ID, Generation: m.Generation,
			Grain: store.GrainDay, Start: cal.Day(first.Start().UnixMilli()).From / 1000}})
		if err != nil {
			b.t.Fatal(err)
		}
		if data[0] == nil && len(dirty) == 0 {
			list = append(list, m.ID)
		}
	}
	return list
}

// The search for lost records goes on over several ticks of several instances,
// and begins again where the store is emptied meanwhile.
func TestARebuildInPortions(t *testing.T) {
	eachCache(t, func(t *testing.T, c *cache) {
		b := newBench(t, "Asia/Kolkata")
		defer b.close()
		b.stores.Summaries = c
		instances := []*fn.Service{}
		for range 2 {
			instances = append(instances, b.service(func(cfg *fn.Config) { cfg.RebuildHours = 1 }, b.ports()))
		}
		merchants := b.others(700)
		tick := func(i int) {
			t.Helper()
			if err := b.tick(instances[i%2]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			tick(i)
		}
		if lost := b.missing(merchants); len(lost) > 0 {
			t.Fatalf("%d merchants have no records", len(lost))
		}
		c.empty()
		tick(0)
		left := len(b.missing(merchants))
		if left == 0 || left >= len(merchants) {
			t.Fatalf("%d of %d merchants were not looked at by one tick, expected some", left, len(merchants))
		}
		c.empty()
		for i := range 6 {
			tick(i)
		}
		if lost := b.missing(merchants); len(lost) > 0 {
			t.Fatalf("%d merchants have no records, first %s", len(lost), lost[0])
		}
	})
}

// Where one node of a cluster is lost, the merchants of the others are left
// alone.
func TestOnlyWhatIsLostIsRebuilt(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	merchants := b.others(50)
	if err := b.tick(s); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, lost := range []string{"!rebuild-7", merchants[3].ID, merchants[30].ID} {
		for generation := range uint32(2) {
			if err := b.stores.Summaries.Drop(ctx, lost, generation); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Tick(ctx, ping()); err != nil {
		t.Fatal(err)
	}
	for i := range merchants {
		dirty, err := b.stores.Processed.DirtyOf(ctx, merchants[i].ID, queues, -1<<30, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if want := i == 3 || i == 30; want != (len(dirty) > 0) {
			t.Errorf("merchant %d has %d dirty hours", i, len(dirty))
		}
	}
	for range 2 {
		if err := b.tick(s); err != nil {
			t.Fatal(err)
		}
	}
	if lost := b.missing(merchants); len(lost) > 0 {
		t.Fatalf("merchants %v have no records", lost)
	}
}

// A store of records that is away stops no tick.
func TestTicksGoOnWithoutTheStoreOfRecords(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	c := embeddedCache(t)
	b.stores.Summaries = c
	s := b.service(nil, b.ports())
	b.others(3)
	c.away.Store(true)
	if err := s.Tick(context.Background(), ping()); err != nil {
		t.Fatal(err)
	}
	events := b.events.take()
	if len(events) == 0 {
		t.Fatal("no shard is worked on")
	}
	for _, e := range events {
		if err := s.Shard(context.Background(), e); err != nil && !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
	}
	c.away.Store(false)
	if err := b.tick(s); err != nil {
		t.Fatal(err)
	}
}
