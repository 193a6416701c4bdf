package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/summary"
)

// Hours of the days that busyDays fills.
const (
	firstBusy = event.Hour(5000)
	busyHours = 80
)

// busyDays puts some days of a shop, in batches of which another revision has some,
// too; of every third hour all documents but the last are merged. Visitors come back,
// some events are sent twice, by another client at times, and orders are told twice.
func busyDays(t testing.TB, s *embedded.Stores, rng *rand.Rand, perBatch, batches int) {
	t.Helper()
	ctx := context.Background()
	var sent []processed.Row
	var again []store.Doc
	for n := range batches {
		id := event.BatchID{4: byte(n / 256), 5: byte(n), 6: 1}
		from := firstBusy + event.Hour(n*busyHours/batches)
		docs := map[event.Hour]*processed.Builder{}
		for i := range perBatch {
			var r processed.Row
			r.EventID = processed.ID{Hi: rng.Uint64(), Lo: rng.Uint64()}
			r.Client = processed.HashActor(processed.ActorClient, fmt.Sprint(rng.IntN(perBatch)+n*perBatch/3))
			r.Text[processed.ColName] = []string{"page_view", "page_view", "scroll", "view_item"}[rng.IntN(4)]
			r.Text[processed.ColPagePath] = fmt.Sprint("/", rng.IntN(40))
			r.Text[processed.ColCountry] = []string{"", "DE", "AT"}[rng.IntN(3)]
			if rng.IntN(40) == 0 && len(sent) > 0 {
				r = sent[len(sent)-1-rng.IntN(min(len(sent), 9*perBatch))]
				if rng.IntN(3) == 0 {
					r.Client++
				}
			}
			if rng.IntN(30) == 0 {
				r.Text[processed.ColName] = "purchase"
				r.Text[processed.ColTransactionID] = fmt.Sprint("T", n/4+rng.IntN(4)*100)
				r.Value, r.Flags = 5_000_000, processed.FlagHasValue
				r.Items = []processed.Item{{Price: 5_000_000, Quantity: 1}}
				r.Items[0].Text[processed.ItemID] = fmt.Sprint("i", rng.IntN(4))
			}
			if rng.IntN(20) == 0 {
				r.Flags |= processed.FlagBot
			}
			r.Batch, r.Seq, r.User = id, uint32(i), r.Client
			r.Millis = int64(from)*hourMs + rng.Int64N(5*hourMs/2)
			r.Engaged = rng.Int64N(9000)
			sent = append(sent, r)
			h := event.Hour(r.Millis / hourMs)
			if docs[h] == nil {
				docs[h] = &processed.Builder{}
			}
			docs[h].Add(r)
		}
		p := store.Put{Batch: id}
		for h, b := range docs {
			doc := store.Doc{Key: store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: id}, Events: b.Len(), Data: b.Encode()}
			p.Docs = append(p.Docs, doc)
			if n%5 == 0 {
				doc.Key.Revision = 2
				again = append(again, doc)
			}
		}
		if err := s.Processed.Put(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Processed.PutRevision(ctx, 2, again, nil); err != nil {
		t.Fatal(err)
	}
	for h := firstBusy; h < firstBusy+busyHours; h += 3 {
		mergeAll(t, s, h, 1)
	}
}

// mergeAll puts one document in place of those of an hour, but for the last ones.
func mergeAll(t testing.TB, s *embedded.Stores, h event.Hour, left int) {
	t.Helper()
	ctx := context.Background()
	var docs []store.Doc
	if err := s.Processed.Scan(ctx, merchant, store.LiveRevision, h, h+1, func(d store.Doc) error {
		d.Data = slices.Clone(d.Data)
		docs = append(docs, d)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if docs = docs[:max(0, len(docs)-left)]; len(docs) == 0 {
		return
	}
	union, old := processed.NewUnion(processed.Everything()), make([]store.DocKey, 0, len(docs))
	for _, d := range docs {
		old = append(old, d.Key)
		if err := union.Add(d.Data, nil); err != nil {
			t.Fatal(err)
		}
	}
	f, err := union.Frame()
	if err != nil {
		t.Fatal(err)
	}
	key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: store.MergedInto(1, old)}
	if err := s.Processed.Replace(ctx, old, store.Doc{Key: key, Events: f.Len, Data: processed.Encode(f)}); err != nil {
		t.Fatal(err)
	}
}

// views are the merchant with all that is live, and with another revision of some.
func views() []*access.Merchant {
	live := access.Merchant{ID: merchant, Generation: 1, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR", BotFilter: true}}
	other := live
	other.Layers = access.Layers{{Revision: 2, From: 40, To: 90}}
	return []*access.Merchant{&live, &other}
}

// What is near some hours says of them what everything around them says, in whatever
// steps they are asked for; and most of the rest is passed over.
func TestNearIsTheWhole(t *testing.T) {
	s := open(t)
	rng := rand.New(rand.NewPCG(3, 9))
	busyDays(t, s, rng, 60, 160)
	ctx := context.Background()
	columns := summary.Needs(summary.RecordKeys())
	near := history.New(s.Processed, s.Visitors, history.Options{FewAround: -1})
	kept, looked := 0, 0
	for round := range 40 {
		m := views()[round%2]
		settings := history.SettingsOf(m.Settings)
		var windows []summary.Window
		h := firstBusy + event.Hour(rng.IntN(busyHours))
		for range 1 + rng.IntN(3) {
			w := summary.Of(h, h+1)
			if rng.IntN(3) == 0 {
				w.From, w.To = w.From+hourMs/2, w.To+hourMs/2 // an hour of another clock
			}
			windows = append(windows, w)
			h += event.Hour(1 + rng.IntN(12))
		}
		span := summary.Window{From: windows[0].From, To: windows[len(windows)-1].To}
		from, to := span.Needs()
		all, err := near.Load(ctx, m, from, to, columns)
		if err != nil {
			t.Fatal(err)
		}
		first := rng.IntN(len(windows)) // one that is asked for before the others
		n, err := near.Near(ctx, m, columns, windows[first])
		if err == nil {
			err = n.Add(ctx, windows...)
		}
		if err != nil {
			t.Fatal(err)
		}
		kept, looked = kept+n.Frame().Len, looked+all.Len
		var dirty []event.Hour
		for _, w := range windows {
			want, got := summary.Resolve(all, w, settings), summary.Resolve(n.Frame(), w, settings)
			if a, b := summary.NewRecord(want, 0).Encode(), summary.NewRecord(got, 0).Encode(); !slices.Equal(a, b) {
				t.Fatalf("round %d: the record of %v is another one", round, w)
			}
			from, _ := w.UTCHours()
			dirty = append(dirty, from)
		}
		if want, got := summary.Affected(dirty, all, settings), summary.Affected(dirty, n.Frame(), settings); !slices.Equal(want, got) {
			t.Fatalf("round %d: %v affect %v, got %v", round, dirty, want, got)
		}
		there := map[event.Hour]bool{}
		for _, ms := range all.Millis {
			there[event.Hour(ms/hourMs)] = true
		}
		for h := range n.Passed() {
			if !there[h] {
				t.Fatalf("round %d: hour %d is said to have rows", round, h)
			}
			delete(there, h)
		}
		for _, ms := range n.Frame().Millis {
			delete(there, event.Hour(ms/hourMs))
		}
		if len(there) > 0 || n.Looked() != summary.Of(from, to) {
			t.Fatalf("round %d: hours %v were overlooked; looked at %v, not %d to %d", round, there, n.Looked(), from, to)
		}
	}
	t.Logf("%d of %d rows were kept", kept, looked)
	if kept > looked/2 {
		t.Errorf("%d of %d rows were kept: the case tries nothing", kept, looked)
	}
}

// Facts of an hour are told although the day around it has more events than may be
// loaded; of more than that they are not.
func TestNearWithinBounds(t *testing.T) {
	s := open(t)
	busyDays(t, s, rand.New(rand.NewPCG(5, 6)), 60, 160)
	ctx := context.Background()
	l := history.New(s.Processed, s.Visitors, history.Options{})
	m := views()[0]
	h := firstBusy + busyHours/2
	w := summary.Of(h, h+1)
	from, to := w.Needs()
	whole, err := l.Load(ctx, m, from, to, processed.Columns{})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := l.Within(whole.Len/2).Facts(ctx, m, w, processed.Columns{}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Frame.Len > whole.Len/2 || len(facts.Rows) == 0 {
		t.Fatalf("%d rows of %d were kept", facts.Frame.Len, whole.Len)
	}
	for _, most := range []int{1, len(facts.Rows), facts.Frame.Len - 1} {
		if _, err := l.Within(most).Facts(ctx, m, w, processed.Columns{}, false, nil); !fault.Is(err, fault.TooLarge) {
			t.Errorf("of %d rows near, %d may be read: got %v", facts.Frame.Len, most, err)
		}
	}
}

// BenchmarkNear reads and resolves an hour of a merchant with a day before it, in
// documents as they are after merging.
func BenchmarkNear(b *testing.B) {
	const perHour, hours = 20_000, 25
	s, err := embedded.Open(b.TempDir(), embedded.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	putShop(b, s, perHour, hours)
	ctx := context.Background()
	m := views()[0]
	last := firstBusy + hours - 1
	columns := summary.Needs(summary.RecordKeys())
	for _, kind := range []struct {
		name string
		few  int
	}{{"all", hours * perHour}, {"what is near", 0}} {
		b.Run(kind.name, func(b *testing.B) {
			l := history.New(s.Processed, s.Visitors, history.Options{FewAround: kind.few})
			b.ReportAllocs()
			before, rows := cpu(), 0
			for range b.N {
				facts, err := l.Facts(ctx, m, summary.Of(last, last+1), columns, false, nil)
				if err != nil {
					b.Fatal(err)
				}
				if rows = facts.Frame.Len; len(facts.Rows) < perHour*9/10 {
					b.Fatal(len(facts.Rows))
				}
			}
			b.ReportMetric(float64(cpu()-before)/1e6/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(cpu()-before)/float64(b.N)/(perHour*hours), "cpu-ns/event")
			b.ReportMetric(float64(rows), "rows")
		})
	}
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// putShop puts a shop's events: visits of about eight events within twenty minutes, of
// visitors of whom one in five comes back.
func putShop(tb testing.TB, s *embedded.Stores, perHour, hours int) {
	tb.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	visits := make([]struct {
		client, session uint64
		n               int
	}, perHour/24) // at a time
	clients := 0
	for h := range hours {
		var b processed.Builder
		for i := range perHour {
			v := &visits[rng.IntN(len(visits))]
			first := v.n == 0
			if first {
				v.session = rng.Uint64()
				if v.n = 1 + rng.IntN(15); rng.IntN(5) > 0 || clients == 0 {
					clients++
					v.client = uint64(clients)
				} else {
					v.client = uint64(1 + rng.IntN(clients))
				}
			}
			v.n--
			var r processed.Row
			r.Batch, r.Seq = event.BatchID{4: byte(h), 5: byte(i / 300), 6: 1}, uint32(i%300)
			r.EventID = processed.ID{Hi: rng.Uint64(), Lo: rng.Uint64()}
			r.Millis = int64(firstBusy+event.Hour(h))*hourMs + int64(i)*hourMs/int64(perHour)
			r.Client = v.client * 0x9e3779b97f4a7c15
			r.User, r.Session = r.Client, v.session
			r.Engaged = rng.Int64N(9000)
			t := &r.Text
			t[processed.ColName] = []string{"page_view", "page_view", "scroll", "user_engagement"}[rng.IntN(4)]
			page := rng.IntN(rng.IntN(300) + 1)
			t[processed.ColStream], t[processed.ColHostname] = "G-BENCH", "shop.example"
			t[processed.ColPagePath], t[processed.ColPageTitle] = fmt.Sprint("/products/", page), fmt.Sprint("Product ", page)
			t[processed.ColCountry] = []string{"DE", "AT", "CH", "FR"}[v.client%4]
			t[processed.ColBrowser], t[processed.ColOS] = []string{"Chrome", "Safari", "Firefox"}[v.client%3], []string{"Windows", "iOS", "Android"}[v.client%3]
			t[processed.ColDeviceCategory], t[processed.ColLanguage] = []string{"desktop", "mobile"}[v.client%2], "de-DE"
			if first {
				t[processed.ColSource], t[processed.ColMedium] = []string{"google", "bing"}[v.client%2], "organic"
			}
			if rng.IntN(100) == 0 {
				t[processed.ColName], t[processed.ColTransactionID], t[processed.ColCurrency] = "purchase", fmt.Sprint("T", rng.Uint32()), "EUR"
				r.Value, r.Flags = 49_900_000, processed.FlagHasValue
			}
			b.Add(r)
		}
		f := b.Frame()
		key := store.DocKey{Merchant: merchant, Hour: firstBusy + event.Hour(h), Revision: store.LiveRevision, Batch: event.BatchID{4: byte(h), 6: 1}}
		if err := s.Processed.Put(context.Background(), store.Put{Batch: key.Batch, Docs: []store.Doc{{Key: key, Events: f.Len, Data: processed.Encode(f)}}}); err != nil {
			tb.Fatal(err)
		}
	}
}

// What Copies reads says of the rows of some hours which are duplicates as all that is
// around them does, bots among them, and most of the rest is passed over.
func TestCopiesTellDuplicates(t *testing.T) {
	s := open(t)
	rng := rand.New(rand.NewPCG(7, 2))
	busyDays(t, s, rng, 60, 160)
	ctx := context.Background()
	kept, looked, duplicates := 0, 0, 0
	for round := range 60 {
		loader := history.New(s.Processed, s.Visitors, history.Options{FewAround: []int{-1, 100_000}[round/2%2]})
		m := views()[round%2]
		h := firstBusy + event.Hour(rng.IntN(busyHours))
		w := summary.Of(h, h+1+event.Hour(rng.IntN(12)))
		from, to := w.Needs()
		all, err := loader.Load(ctx, m, from, to, summary.Needs(nil))
		if err != nil {
			t.Fatal(err)
		}
		frame, err := loader.Copies(ctx, m, w)
		if err != nil {
			t.Fatal(err)
		}
		if round/2%2 == 0 {
			kept, looked = kept+frame.Len, looked+all.Len
		}
		facts := summary.Resolve(all, w, summary.Settings{})
		counted := map[processed.ID]int{}
		for _, row := range facts.Rows {
			counted[all.EventID[row]]++
		}
		is, repeated := summary.Duplicates(frame), int64(0)
		for row, ms := range frame.Millis {
			switch {
			case ms < w.From || ms >= w.To:
			case is(row):
				repeated++
			default:
				counted[frame.EventID[row]]--
			}
		}
		for id, n := range counted {
			if n != 0 {
				t.Fatalf("round %d: event %v of %v counts %d times less", round, id, w, n)
			}
		}
		if repeated != facts.Duplicates {
			t.Fatalf("round %d: %d duplicates in %v, got %d", round, facts.Duplicates, w, repeated)
		}
		duplicates += int(repeated)
	}
	if duplicates == 0 || kept > looked/2 {
		t.Errorf("of %d rows %d were kept, with %d duplicates", looked, kept, duplicates)
	}
}
