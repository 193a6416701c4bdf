package history_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/summary"
)

// shopTraffic puts batches of a shop's events into stores.
type shopTraffic struct {
	t       *testing.T
	stores  *embedded.Stores
	rng     *rand.Rand
	batches uint32
	put     []store.Doc // of all batches
	tied    bool        // sessions have names, and purchases transactions, often the same
	alone   bool        // events have nothing to do with others
}

// batch puts n events of the hours [from, to) as one batch.
func (s *shopTraffic) batch(n int, from, to event.Hour) {
	s.t.Helper()
	s.batches++
	id := event.BatchID{0, 0, byte(s.batches >> 8), byte(s.batches)}
	docs := map[event.Hour]*processed.Builder{}
	for i := range n {
		var r processed.Row
		r.Batch, r.Seq = id, uint32(i)
		r.EventID = processed.ID{Hi: 1, Lo: s.rng.Uint64N(1 << 20)} // sometimes twice
		r.Millis = int64(from)*hourMs + s.rng.Int64N(int64(to-from)*hourMs)
		r.Client = s.rng.Uint64N(300)
		if s.tied && s.rng.IntN(5) > 0 {
			r.Client = 1000 + s.rng.Uint64N(1<<20)
		}
		r.User = r.Client
		r.Engaged = s.rng.Int64N(9000)
		r.Text[processed.ColName] = []string{"page_view", "page_view", "scroll", "purchase"}[s.rng.IntN(4)]
		r.Text[processed.ColPagePath] = fmt.Sprint("/", s.rng.IntN(40))
		if s.rng.IntN(5) == 0 {
			r.Text[processed.ColSource] = []string{"google", "news"}[s.rng.IntN(2)]
		}
		if s.rng.IntN(20) == 0 {
			r.Params = []processed.Param{{Key: "tax", Text: "1.5"}}
			r.Items = []processed.Item{{Price: 5_000_000, Quantity: 2}}
			r.Items[0].Text[processed.ItemID] = fmt.Sprint("i", s.rng.IntN(4))
		}
		if s.tied {
			if s.rng.IntN(3) == 0 {
				r.Session = 1 + s.rng.Uint64N(3)
			}
			if s.rng.IntN(4) == 0 {
				r.Text[processed.ColTransactionID] = fmt.Sprint("t", s.rng.IntN(400))
				r.Text[processed.ColStream] = []string{"", "app"}[s.rng.IntN(2)]
			}
			if s.rng.IntN(40) == 0 {
				r.EventID.Lo %= 500
			}
		}
		if s.alone {
			r.EventID.Hi, r.Client = 2, 1<<40+uint64(s.batches)
			r.User = r.Client
			r.Text[processed.ColTransactionID] = ""
		}
		h := event.Hour(r.Millis / hourMs)
		if docs[h] == nil {
			docs[h] = &processed.Builder{}
		}
		docs[h].Add(r)
	}
	p := store.Put{Batch: id}
	for h, b := range docs {
		key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: id}
		p.Docs = append(p.Docs, store.Doc{Key: key, Events: b.Len(), Data: b.Encode()})
	}
	if err := s.stores.Processed.Put(context.Background(), p); err != nil {
		s.t.Fatal(err)
	}
	s.put = append(s.put, p.Docs...)
}

// merge puts the first documents of an hour into one, and leaves out of it the
// last row where without says so.
func (s *shopTraffic) merge(h event.Hour, place uint64, without bool) {
	s.t.Helper()
	union := processed.NewUnion(processed.Everything())
	var old []store.DocKey
	err := s.stores.Processed.Scan(context.Background(), merchant, store.LiveRevision, h, h+1, func(d store.Doc) error {
		old = append(old, d.Key)
		return union.Add(d.Data, nil)
	})
	if err != nil || len(old) == 0 {
		s.t.Fatal(err, old)
	}
	f, err := union.Frame()
	if err != nil {
		s.t.Fatal(err)
	}
	if without {
		var b processed.Builder
		for i := range f.Len - 1 {
			b.Add(f.Row(i))
		}
		f = b.Frame()
	}
	key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: store.MergedInto(place, old)}
	if err := s.stores.Processed.Replace(context.Background(), old, store.Doc{Key: key, Events: f.Len, Data: processed.Encode(f)}); err != nil {
		s.t.Fatal(err)
	}
}

// close makes known who was seen in hours and takes their marks off, as closing
// them does.
func (s *shopTraffic) close(l *history.Loader, m *access.Merchant, hours ...event.Hour) {
	s.t.Helper()
	ctx := context.Background()
	for _, h := range hours {
		facts, err := l.Facts(ctx, m, summary.Of(h, h+1), summary.Needs(summary.RecordKeys()), false, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		names, millis := facts.Firsts()
		s.see(names, millis)
	}
	clean(s.t, s.stores, hours...)
}

// see makes known when users were seen, and claims the merchant, as closing hours
// does before it takes their marks off.
func (s *shopTraffic) see(names []uint64, millis []int64) {
	s.t.Helper()
	ctx := context.Background()
	known, err := s.stores.Visitors.FirstSeen(ctx, merchant, 1, names)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.stores.Visitors.See(ctx, merchant, 1, names, millis, known); err != nil {
		s.t.Fatal(err)
	}
	last, err := s.stores.Processed.Claimed(ctx, merchant)
	if err != nil {
		s.t.Fatal(err)
	}
	if ok, err := s.stores.Processed.Claim(ctx, merchant, last); err != nil || !ok {
		s.t.Fatalf("expected to claim the merchant: %v, %v", ok, err)
	}
}

// Who follows a merchant sees what a snapshot of all sees, to the byte, whatever
// happens in between; and most of it without counting all anew.
func TestFollowingIsTheWhole(t *testing.T) {
	s := &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(7, 8))}
	ctx := context.Background()
	cal, err := summary.NewCalendar("UTC")
	if err != nil {
		t.Fatal(err)
	}
	m := &access.Merchant{ID: merchant, Generation: 1}
	l := history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
	near := history.New(s.stores.Processed, s.stores.Visitors, history.Options{FewAround: -1})
	following := l.Follow(64 << 20)
	look := func(what string) *history.Snapshot {
		t.Helper()
		whole, err := l.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		got, err := following.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != whole.Version || got.Whole != whole.Whole || got.First != whole.First || got.Last != whole.Last || got.Some != whole.Some {
			t.Fatalf("%s: %+v, expected %+v", what, got, whole)
		}
		sameHours(t, what, near, m, cal, whole)
		for from, want := range whole.Hours {
			if have := got.Hours[from]; have == nil || !bytes.Equal(have.Encode(), want.Encode()) {
				t.Fatalf("%s: hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, want)
			}
			if !got.Touches(summary.Of(event.Hour(from/hourMs), event.Hour(from/hourMs)+1)) {
				t.Fatalf("%s: expected hour %d to be open", what, from/hourMs)
			}
		}
		return got
	}
	const now = event.Hour(1000)
	for range 20 {
		s.batch(20, now-30, now-1)
	}
	var hours []event.Hour
	for h := now - 30; h < now-1; h++ {
		hours = append(hours, h)
	}
	s.close(l, m, hours...)
	for range 30 {
		s.batch(40, now-1, now+1)
	}
	first := look("at first")
	if following.Size() == 0 {
		t.Fatal("expected something to be kept")
	}
	calls := following.Wholes()
	for i := range 60 {
		s.batch(1+s.rng.IntN(4), now-1, now+1)
		look(fmt.Sprint("batch ", i))
	}
	if n := following.Wholes() - calls; n > 6 {
		t.Fatalf("expected few of 60 snapshots to be counted whole, got %d", n)
	}
	if len(first.Hours) != len(look("the same again").Hours) {
		t.Fatal("expected the hours that were open at first")
	}
	s.merge(now, 1, false)
	look("merged")
	s.batch(3, now, now+1)
	look("after a merge")
	s.batch(3, now+1, now+2)
	look("an hour later")
	s.batch(3, now-20, now-19)
	look("a late event")
	s.close(l, m, now-20)
	users := []uint64{}
	for u := range uint64(300) {
		users = append(users, u)
	}
	millis := make([]int64, len(users))
	for i := range millis {
		millis[i] = int64(now-20) * hourMs
	}
	look("the late hour closed")
	s.see(users[:50], millis[:50])
	s.batch(1, now, now+1)
	look("users who were seen earlier")
	s.merge(now, 2, true)
	s.batch(1, now, now+1)
	look("a row less")
	m = &access.Merchant{ID: merchant, Generation: 1, Version: 2, Settings: access.Settings{KeyEvents: []string{"scroll"}}}
	look("other settings")
	s.close(l, m, now-1, now, now+1)
	if got := look("all closed"); len(got.Hours) > 0 || following.Size() > 0 {
		t.Fatal("expected nothing to be open")
	}
}

// sameHours asks a loader that passes over what is around for a snapshot, too, and one
// that would keep everything and finds in the end, or at once, that it has no room.
func sameHours(t *testing.T, what string, near *history.Loader, m *access.Merchant, cal *summary.Calendar, whole *history.Snapshot) {
	t.Helper()
	got, err := near.Snapshot(context.Background(), m, cal)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []int{got.Rows, (got.Rows + whole.Rows) / 2, max(got.Rows, whole.Rows-1)} {
		tight, err := near.Within(rows).Follow(64<<20).Snapshot(context.Background(), m, cal)
		if err != nil {
			t.Fatal(err)
		}
		if tight.Whole != whole.Whole || len(tight.Hours) != len(whole.Hours) {
			t.Fatalf("%s: with room for %d of %d events %d hours are open, expected %d", what, rows, whole.Rows, len(tight.Hours), len(whole.Hours))
		}
		for from, want := range whole.Hours {
			if have := tight.Hours[from]; have == nil || !bytes.Equal(have.Encode(), want.Encode()) {
				t.Fatalf("%s: with room for %d of %d events hour %d differs", what, rows, whole.Rows, from/hourMs)
			}
		}
	}
	if len(got.Hours) != len(whole.Hours) || got.Rows > whole.Rows {
		t.Fatalf("%s: of what is near %d hours of %d events are open, expected %d of no more than %d", what, len(got.Hours), got.Rows, len(whole.Hours), whole.Rows)
	}
	for from, want := range whole.Hours {
		if have := got.Hours[from]; have == nil || !bytes.Equal(have.Encode(), want.Encode()) {
			t.Fatalf("%s: of what is near hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, want)
		}
	}
}

// Late events of any age are counted on, too, with the hours around them that they
// change, and nothing that a snapshot of all says of another hour differs.
func TestFollowingLateEvents(t *testing.T) {
	for seed, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York"} {
		s := &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(uint64(seed), 3))}
		ctx := context.Background()
		cal, err := summary.NewCalendar(zone)
		if err != nil {
			t.Fatal(err)
		}
		m := &access.Merchant{ID: merchant, Generation: 1}
		l := history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
		near := history.New(s.stores.Processed, s.stores.Visitors, history.Options{FewAround: -1})
		following := l.Follow(64 << 20)
		const now, past = event.Hour(1000), event.Hour(160)
		count := func(w summary.Window, o *history.Open) *summary.Record {
			facts, err := l.Facts(ctx, m, w, summary.Needs(summary.RecordKeys()), true, o)
			if err != nil {
				t.Fatal(err)
			}
			day := cal.Day(w.From)
			return summary.NewRecord(facts, slices.Index(cal.Hours(day.From, day.To), w))
		}
		var hours []event.Hour
		stored := map[int64]*summary.Record{} // of closed hours
		all := summary.Of(now-past, now+1)
		closed := func() {
			s.close(l, m, hours...)
			for _, w := range cal.Hours(all.From, all.To) {
				stored[w.From] = count(w, nil)
			}
		}
		for h := now - past; h < now; h++ {
			s.batch(12, h, h+1)
			hours = append(hours, h)
		}
		closed()
		s.batch(60, now, now+1)
		steps, more := 0, 0
		for step := range 60 {
			switch s.rng.IntN(4) {
			case 0:
				at := now - event.Hour(s.rng.IntN(int(past)-30))
				s.batch(1+s.rng.IntN(3), at, at+1)
			case 1:
				at := now - event.Hour(s.rng.IntN(6))
				s.batch(2, at, at+1)
			}
			s.batch(3, now, now+1)
			whole, err := l.Snapshot(ctx, m, cal)
			if err != nil {
				t.Fatal(err)
			}
			got, err := following.Snapshot(ctx, m, cal)
			if err != nil {
				t.Fatal(err)
			}
			if !whole.Whole || !got.Whole {
				t.Fatalf("%s, step %d: expected all to be counted", zone, step)
			}
			sameHours(t, fmt.Sprint(zone, ", step ", step), near, m, cal, whole)
			steps++
			for from, want := range whole.Hours {
				have := got.Hours[from]
				if have == nil {
					have = stored[from] // nothing has changed there
				}
				if !bytes.Equal(have.Encode(), want.Encode()) {
					t.Fatalf("%s, step %d: hour %d has\n%+v, expected\n%+v", zone, step, from/hourMs, have, want)
				}
			}
			o, err := l.Open(ctx, m, now-past, now+1, true)
			if err != nil {
				t.Fatal(err)
			}
			for from, have := range got.Hours {
				if whole.Hours[from] != nil {
					continue
				}
				more++
				if want := count(cal.Hour(from), o); !bytes.Equal(have.Encode(), want.Encode()) {
					t.Fatalf("%s, step %d: hour %d, which did not change, has\n%+v, expected\n%+v", zone, step, from/hourMs, have, want)
				}
			}
			if step%20 == 19 {
				hours = append(hours, now)
				closed()
			}
		}
		if t.Logf("%s: %d of %d snapshots counted whole, %d hours more than had to be", zone, following.Wholes(), steps, more); following.Wholes()*2 > steps {
			t.Errorf("expected few of %d snapshots to be counted whole, got %d", steps, following.Wholes())
		}
	}
}

// waitsOrIsOpen checks that a snapshot has counted each dirty hour, or says that it waits,
// but for those from one on, none of which may.
func (s *shopTraffic) waitsOrIsOpen(what string, m *access.Merchant, got *history.Snapshot, from event.Hour) {
	s.t.Helper()
	if !got.Whole {
		s.t.Fatalf("%s: expected what is open, got %+v", what, got)
	}
	dirty, err := s.stores.Processed.DirtyOf(context.Background(), merchant, history.Queues(m), from-100, from+100)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range dirty {
		waits, touched := slices.Contains(got.Waiting, h), got.Touches(summary.Of(h, h+1))
		if !waits && !touched || waits && h >= from {
			s.t.Fatalf("%s: hour %d waits: %v, and is open: %v", what, h, waits, touched)
		}
	}
}

// Of a busy merchant who follows leaves late hours to their records, and sees in the
// others what a snapshot of all sees where no late event has come since he counted
// last, to the byte.
func TestLateHoursOfBusyMerchantsWait(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { lateHoursWait(t, seed) })
	}
}

func lateHoursWait(t *testing.T, seed uint64) {
	const now, most = event.Hour(1000), 2000
	ctx := context.Background()
	cal, err := summary.NewCalendar("UTC")
	if err != nil {
		t.Fatal(err)
	}
	m := &access.Merchant{ID: merchant, Generation: 1}
	s := &shopTraffic{t: t, stores: open(t), rng: rand.New(rand.NewPCG(9, seed))}
	without := &shopTraffic{t: t, stores: open(t)}
	plain := history.New(s.stores.Processed, s.stores.Visitors, history.Options{})
	whole := history.New(without.stores.Processed, without.stores.Visitors, history.Options{})
	shared := 0 // of s.put, that the other has, too
	var late []store.Doc
	share := func() {
		for _, d := range s.put[shared:] {
			if err := without.stores.Processed.Put(ctx, store.Put{Batch: d.Key.Batch, Docs: []store.Doc{d}}); err != nil {
				t.Fatal(err)
			}
		}
		shared = len(s.put)
	}
	for range 90 {
		s.batch(100, now-60, now-31)
	}
	for range 20 {
		s.batch(20, now-30, now-1)
	}
	share()
	var hours []event.Hour
	for h := now - 60; h < now-1; h++ {
		hours = append(hours, h)
	}
	s.close(plain, m, hours...)
	without.close(whole, m, hours...)
	for _, h := range []event.Hour{now - 60, now - 36, now - 12} {
		day := cal.Day(summary.Of(h, h+1).From)
		r := summary.Record{}
		for place, w := range cal.Hours(day.From, day.To) {
			if hour, _ := w.UTCHours(); hour < now-1 {
				r.Hours |= 1 << place
			}
		}
		if err := s.stores.Summaries.Put(ctx, []store.SummaryEntry{{Data: r.Encode(), Key: store.SummaryKey{
			Merchant: merchant, Generation: 1, Grain: store.GrainDay, Start: day.From / 1000}}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		s.batch(40, now-1, now+1)
	}
	share()
	following := plain.Within(most).Waiting(s.stores.Summaries, 1<<20).Follow(64 << 20)
	waited, grown := 0, 0
	look := func(what string) {
		t.Helper()
		wholes := following.Wholes()
		got, err := following.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		known := following.Wholes() > wholes // what came late was read
		late = slices.DeleteFunc(late, func(d store.Doc) bool {
			if !known && slices.Contains(got.Waiting, d.Key.Hour) {
				return false
			}
			if err := without.stores.Processed.Put(ctx, store.Put{Batch: d.Key.Batch, Docs: []store.Doc{d}}); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if known {
			grown++
		}
		want, err := whole.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		s.waitsOrIsOpen(what, m, got, now-1)
		for from, have := range got.Hours {
			if got.Frozen(from) {
				continue
			}
			if rec := want.Hours[from]; rec == nil || !bytes.Equal(have.Encode(), rec.Encode()) {
				t.Fatalf("%s: hour %d has\n%+v, expected\n%+v", what, from/hourMs, have, rec)
			}
		}
		waited = max(waited, len(got.Waiting))
	}
	look("at first")
	for step := range 80 {
		what := fmt.Sprint("step ", step)
		switch n := s.rng.IntN(10); {
		case n < 5:
			s.batch(1+s.rng.IntN(4), now-1, now+1)
			share()
		case n < 9:
			h := now - 30 + event.Hour(s.rng.IntN(28))
			s.batch(1+s.rng.IntN(2), h, h+1)
			late = append(late, s.put[shared:]...)
			shared = len(s.put)
			what += fmt.Sprintf(", late in hour %d", h)
		default:
			s.merge(now-event.Hour(s.rng.IntN(30)), uint64(step), false)
			what += ", merged"
		}
		look(what)
	}
	if waited < 5 || grown > 20 {
		t.Fatalf("expected some hours to wait, and few of 80 snapshots to be counted whole, got %d and %d", waited, grown)
	}
	// What is to be counted again for another reason does not wait, and what is closed does no more.
	if err := s.stores.Processed.MarkDirty(ctx, merchant, store.Queue(1), m.Layers.Revisions(), now-20, now-19); err != nil {
		t.Fatal(err)
	}
	anew := plain.Within(most).Waiting(s.stores.Summaries, 1<<20).Follow(64 << 20)
	got, err := anew.Snapshot(ctx, m, cal)
	if err != nil || got.Whole && !got.Touches(summary.Of(now-20, now-19)) || slices.Contains(got.Waiting, now-20) {
		t.Fatalf("expected the hour that is marked again to be open: %+v, %v", got, err)
	}
	if err := s.stores.Processed.DropQueue(ctx, merchant, store.Queue(1)); err != nil {
		t.Fatal(err)
	}
	clean(t, s.stores, hours...)
	if got, err = following.Snapshot(ctx, m, cal); err != nil || len(got.Waiting) > 0 || !got.Whole {
		t.Fatalf("expected nothing to wait: %+v, %v", got, err)
	}
}
