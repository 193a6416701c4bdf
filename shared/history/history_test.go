package history_test

import (
	"context"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/summary"
)

const (
	hourMs   = 3_600_000
	merchant = "mtest"
)

var shop = &access.Merchant{ID: merchant, Generation: 1}

func open(t testing.TB) *embedded.Stores {
	t.Helper()
	s, err := embedded.Open("/data", embedded.Options{FS: vfs.NewMem(), NoSync: true, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put writes a document of n page views of one user, a minute apart, from the
// start of an hour on.
func put(t *testing.T, s *embedded.Stores, batch byte, h event.Hour, n int, user uint64) {
	t.Helper()
	var b processed.Builder
	for i := range n {
		var r processed.Row
		r.Batch, r.Seq, r.EventID = event.BatchID{batch}, uint32(i), processed.ID{Hi: uint64(batch), Lo: uint64(i)}
		r.Millis, r.User, r.Client = int64(h)*hourMs+int64(i)*60_000, user, user
		r.Text[processed.ColName], r.Text[processed.ColCountry] = "page_view", "DE"
		b.Add(r)
	}
	f := b.Frame()
	key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: event.BatchID{batch}}
	if err := s.Processed.Put(context.Background(), store.Put{Batch: key.Batch, Docs: []store.Doc{{Key: key, Events: n, Data: processed.Encode(f)}}}); err != nil {
		t.Fatal(err)
	}
}

func clean(t *testing.T, s *embedded.Stores, hours ...event.Hour) {
	t.Helper()
	for _, h := range hours {
		marks, err := s.Processed.Marks(context.Background(), merchant, []store.Queue{store.LiveQueue}, h, h+1)
		if err == nil {
			err = s.Processed.Clean(context.Background(), marks)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadWithinBounds(t *testing.T) {
	s := open(t)
	for i := range 6 {
		put(t, s, byte(i+1), 1000+event.Hour(i/2), 10, 7)
	}
	ctx := context.Background()
	for _, cache := range []int64{0, 30_000, 1 << 20} {
		l := history.New(s.Processed, s.Visitors, history.Options{CacheBytes: cache})
		for range 2 {
			f, err := l.Load(ctx, shop, 1000, 1003, processed.Columns{Text: 1 << processed.ColName})
			if err != nil {
				t.Fatal(err)
			}
			if f.Len != 60 || f.Text[processed.ColCountry].Code != nil {
				t.Fatalf("%d rows, country %v", f.Len, f.Text[processed.ColCountry].Code)
			}
			f, err = l.Load(ctx, shop, 1001, 1002, processed.Columns{Text: 1 << processed.ColCountry})
			if err != nil {
				t.Fatal(err)
			}
			if f.Len != 20 || f.Text[processed.ColCountry].At(3) != "DE" {
				t.Fatalf("%d rows, country %q", f.Len, f.Text[processed.ColCountry].At(3))
			}
		}
		if _, err := l.Within(59).Load(ctx, shop, 1000, 1003, processed.Columns{}); !fault.Is(err, fault.TooLarge) {
			t.Errorf("over the bound: %v", err)
		}
		if _, err := l.Within(60).Load(ctx, shop, 1000, 1003, processed.Columns{}); err != nil {
			t.Errorf("at the bound: %v", err)
		}
	}
}

func TestOpenSaysWhatRecordsMiss(t *testing.T) {
	s := open(t)
	m := &access.Merchant{ID: merchant, Generation: 3, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR"}}
	ctx := context.Background()
	put(t, s, 1, 1000, 60, 7) // to the end of its hour
	put(t, s, 2, 1200, 1, 8)
	clean(t, s, 1000, 1200)
	if _, err := s.Visitors.See(ctx, merchant, 3, []uint64{7, 8}, []int64{1000 * hourMs, 1200 * hourMs}, nil); err != nil {
		t.Fatal(err)
	}
	l := history.New(s.Processed, s.Visitors, history.Options{CacheBytes: 1 << 20})
	stale := func(from, to event.Hour, newUsers bool) []event.Hour {
		o, err := l.Open(ctx, m, from, to, newUsers)
		if err != nil {
			t.Fatal(err)
		}
		return o.Stale
	}
	if got := stale(0, 5000, true); len(got) != 0 {
		t.Fatalf("nothing is dirty, but %v are stale", got)
	}
	// User 7 goes on in the next hour; user 8 had been there long before.
	put(t, s, 3, 1001, 1, 7)
	put(t, s, 4, 900, 1, 8)
	if got := stale(0, 5000, true); !slices.Equal(got, []event.Hour{900, 1000, 1001, 1200}) {
		t.Errorf("got %v", got)
	}
	if got := stale(0, 5000, false); !slices.Equal(got, []event.Hour{900, 1000, 1001}) {
		t.Errorf("without new users: got %v", got)
	}
	if got := stale(1100, 1300, true); !slices.Equal(got, []event.Hour{1200}) {
		t.Errorf("in a later range: got %v", got)
	}
	o, err := l.Open(ctx, m, 1100, 1300, true)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Touches(summary.Of(1199, 1201)) || o.Touches(summary.Of(1100, 1200)) {
		t.Error("touches the wrong windows")
	}
	facts, err := l.Facts(ctx, m, summary.Of(1200, 1201), processed.Columns{}, true, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(facts.Rows) != 1 || facts.NewUser[facts.Rows[0]] {
		t.Error("user 8 is new although seen before")
	}
}

// During an import so much is dirty that every hour near it is taken for stale.
func TestOpenDuringImport(t *testing.T) {
	s := open(t)
	m := &access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR"}}
	for h := range event.Hour(60) {
		put(t, s, byte(h+1), 2000+h, 1, uint64(h))
	}
	l := history.New(s.Processed, s.Visitors, history.Options{})
	o, err := l.Open(context.Background(), m, 1900, 2100, false)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.Stale); n != 60+2*int(summary.Reach) {
		t.Errorf("%d stale hours", n)
	}
}

func TestRuns(t *testing.T) {
	got := history.Runs([]event.Hour{1, 2, 49, 98, 99, 109, 110}, 10)
	want := [][]event.Hour{{1, 2}, {49}, {98, 99}, {109, 110}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v", got)
	}
}
