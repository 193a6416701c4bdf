package summary_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/summary"
	"github.com/footfall/footfall/shared/view"
)

const hourMs = int64(time.Hour / time.Millisecond)

type tb interface {
	Helper()
	Error(...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// bench is a whole summary function on stores in memory.
type bench struct {
	t      tb
	stores *embedded.Stores
	m      access.Merchant
	rows   []processed.Row                    // all that was put
	anew   map[store.Revision][]processed.Row // what reprocesses made of them
	now    time.Time
	events queue
	flips  publications
}

// publications are what a test says is published.
type publications struct{ list revision.Publications }

func (p *publications) Publications(context.Context) (revision.Publications, error) {
	return p.list, nil
}

// queue is a Broker that keeps what is published until the test delivers it.
type queue struct {
	mu     sync.Mutex
	events []cloudevents.Event
}

func (q *queue) Publish(_ context.Context, broker string, events ...cloudevents.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if broker != "control" {
		return errors.New("not for this broker")
	}
	q.events = append(q.events, events...)
	return nil
}

func (q *queue) take() []cloudevents.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

func newBench(t tb, zone string) *bench {
	t.Helper()
	stores, err := embedded.Open("/data", embedded.Options{FS: vfs.NewMem(), NoSync: true, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, stores: stores, anew: map[store.Revision][]processed.Row{}, now: time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), m: access.Merchant{
		ID: "mtest", Version: 1, Name: "Test", Generation: 1, CreatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Settings: access.Settings{TimeZone: zone, Currency: "EUR", BotFilter: true, KeyEvents: []string{"sign_up"}},
	}}
	if err := stores.Registry.CreateMerchant(context.Background(), b.m); err != nil {
		t.Fatal(err)
	}
	if b.m, err = stores.Registry.Merchant(context.Background(), b.m.ID); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) close() {
	if err := b.stores.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) ports() fn.Ports {
	return fn.Ports{Journal: b.stores.Journal, Processed: b.stores.Processed, Visitors: b.stores.Visitors, Summaries: b.stores.Summaries,
		Registry: b.stores.Registry, Revisions: &b.flips, Publisher: &b.events, Clock: func() time.Time { return b.now }}
}

func (b *bench) service(change func(*fn.Config), ports fn.Ports) *fn.Service {
	cfg := fn.DefaultConfig()
	cfg.Shards, cfg.LateEvery = 2, 0
	if change != nil {
		change(&cfg)
	}
	s, err := fn.New(cfg, ports)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func hourOf(ms int64) event.Hour { return event.HourOfMicros(ms * 1000) }

// put writes rows of one batch as the ETL does.
func (b *bench) put(rows []processed.Row) {
	b.t.Helper()
	if len(rows) == 0 {
		return
	}
	b.rows = append(b.rows, rows...)
	b.putAgain(rows)
}

// putAgain is a redelivered batch.
func (b *bench) putAgain(rows []processed.Row) {
	byHour := map[event.Hour]*processed.Builder{}
	for _, r := range rows {
		h := hourOf(r.Millis)
		if byHour[h] == nil {
			byHour[h] = &processed.Builder{}
		}
		byHour[h].Add(r)
	}
	p := store.Put{Batch: rows[0].Batch}
	for h, builder := range byHour {
		f := builder.Frame()
		p.Docs = append(p.Docs, store.Doc{Key: store.DocKey{Merchant: b.m.ID, Hour: h, Revision: store.LiveRevision, Batch: p.Batch},
			Events: f.Len, Data: processed.Encode(f)})
	}
	if err := b.stores.Processed.Put(context.Background(), p); err != nil {
		b.t.Fatal(err)
	}
}

func ping() cloudevents.Event {
	e := cloudevents.New()
	e.SetID("1")
	e.SetSource("test")
	e.SetType(event.TypePing)
	e.SetExtension(event.ExtensionTick, "summary")
	return e
}

// tick runs one tick and all its shards; errors are returned, as to a Broker.
func (b *bench) tick(s *fn.Service) error {
	errs := []error{s.Tick(context.Background(), ping())}
	for _, e := range b.events.take() {
		errs = append(errs, s.Shard(context.Background(), e))
	}
	return errors.Join(errs...)
}

// queues are those of a merchant with one view.
var queues = []store.Queue{store.LiveQueue, 1}

// dirty are the hours that are still to be counted, in any view.
func (b *bench) dirty() []event.Hour {
	queues := []store.Queue{store.LiveQueue}
	m := b.merchant()
	for _, v := range m.AllViews() {
		queues = append(queues, store.Queue(v.Generation))
	}
	hours, err := b.stores.Processed.DirtyOf(context.Background(), b.m.ID, queues, -1<<30, 1<<30)
	if err != nil {
		b.t.Fatal(err)
	}
	return hours
}

// merchant is the merchant as it is now.
func (b *bench) merchant() access.Merchant {
	m, err := b.stores.Registry.Merchant(context.Background(), b.m.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// change changes the merchant as function merchant and reprocess do.
func (b *bench) change(f func(access.Merchant) access.Merchant) {
	b.t.Helper()
	k := view.Keeper{Registry: b.stores.Registry, Marks: b.stores.Processed}
	m, err := k.Change(context.Background(), b.m.ID, func(m access.Merchant) (access.Merchant, bool) { return f(m), true })
	if err != nil {
		b.t.Fatal(err)
	}
	b.m = m
}

// settle ticks until nothing below the watermark is dirty, and every view that
// is kept is ready.
func (b *bench) settle(s *fn.Service) {
	b.t.Helper()
	for range 20 {
		if err := b.tick(s); err != nil {
			b.t.Fatal(err)
		}
		left := false
		for _, h := range b.dirty() {
			left = left || !h.End().After(b.now)
		}
		m := b.merchant()
		for _, v := range m.AllViews() {
			left = left || v.State != access.ViewReady
		}
		if !left {
			return
		}
	}
	b.t.Fatal("20 ticks do not close all hours")
}

// counted are the rows that layers say count.
func (b *bench) counted(layers access.Layers) []processed.Row {
	var rows []processed.Row
	for rev, all := range b.anew {
		for _, r := range all {
			if layers.Owner(r.Batch.Millis()) == rev {
				rows = append(rows, r)
			}
		}
	}
	for _, r := range b.rows {
		if layers.Owner(r.Batch.Millis()) == store.LiveRevision {
			rows = append(rows, r)
		}
	}
	return rows
}

// check compares every record that a report would use with one counted at once
// from all events, in the view that is shown and in all others that may be.
func (b *bench) check() {
	b.t.Helper()
	m := b.merchant()
	shown := m.View(b.flips.list.At(b.now))
	for _, v := range m.AllViews() {
		if v.State == access.ViewReady || v.Generation == shown.Generation {
			b.checkView(m.In(v))
		}
	}
}

func (b *bench) checkView(m access.Merchant) {
	b.t.Helper()
	rows := b.counted(m.Layers)
	if len(rows) == 0 {
		return
	}
	ctx := context.Background()
	cal, err := summary.NewCalendar(m.Settings.TimeZone)
	if err != nil {
		b.t.Fatal(err)
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range rows {
		lo, hi = min(lo, r.Millis), max(hi, r.Millis)
	}
	w := summary.Window{From: cal.Day(lo).From, To: cal.Day(hi).To}
	facts := summary.Resolve(frameOf(rows), w, history.SettingsOf(m.Settings))
	users, first := facts.Firsts()
	facts.SetFirstSeen(users, first)

	loader := history.New(b.stores.Processed, b.stores.Visitors, history.Options{CacheBytes: 1 << 20})
	from, to := w.UTCHours()
	open, err := loader.Open(ctx, &m, from, to, true)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &checking{b, &m, loader, open}
	for _, day := range cal.Days(w.From, w.To) {
		var parts []*summary.Record
		for i, h := range cal.Hours(day.From, day.To) {
			want := summary.NewRecord(facts.Slice(h), i)
			c.compare(ctx, store.GrainHour, h, want, i)
			parts = append(parts, want)
		}
		c.compare(ctx, store.GrainDay, day, summary.MergeRecords(parts...), -1)
	}
}

// checking is the check of a merchant in a view.
type checking struct {
	*bench
	m      *access.Merchant
	loader *history.Loader
	open   *history.Open
}

func (b *checking) compare(ctx context.Context, grain store.Grain, w summary.Window, want *summary.Record, hour int) {
	b.t.Helper()
	key := store.SummaryKey{Merchant: b.m.ID, Generation: b.m.Generation, Grain: grain, Start: w.From / 1000}
	data, err := b.stores.Summaries.Get(ctx, []store.SummaryKey{key})
	if err != nil {
		b.t.Fatal(err)
	}
	at := fmt.Sprintf("view %d: %c %s", b.m.Generation, grain, time.UnixMilli(w.From).UTC().Format(time.RFC3339))
	if !b.open.Touches(w) {
		switch {
		case data[0] == nil && !want.Empty():
			b.t.Fatalf("%s: no record, and nothing says that it is open", at)
		case data[0] != nil && !bytes.Equal(data[0], want.Encode()):
			got, err := summary.DecodeRecord(data[0], summary.WantAll())
			b.t.Fatalf("%s: record differs: got %v, want %v (%v)", at, got.Total, want.Total, err)
		}
		return
	}
	if hour < 0 {
		return
	}
	// What is open is counted from documents, and to the same numbers.
	facts, err := b.loader.Facts(ctx, b.m, w, summary.Needs(summary.RecordKeys()), true, b.open)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := summary.NewRecord(facts, hour); !bytes.Equal(got.Encode(), want.Encode()) {
		b.t.Fatalf("%s: documents differ: got %v, want %v", at, got.Total, want.Total)
	}
}

func frameOf(rows []processed.Row) *processed.Frame {
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, func(a, b processed.Row) int {
		return cmp.Or(bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Seq, b.Seq))
	})
	var b processed.Builder
	for _, r := range sorted {
		b.Add(r)
	}
	return b.Frame()
}

// script draws events of days that come in batches, in and out of order.
type script struct {
	rng   *rand.Rand
	start int64
	batch byte
	ids   []processed.Row
}

func newScript(seed uint64) *script {
	return &script{rng: rand.New(rand.NewPCG(seed, 1)), start: time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC).UnixMilli()}
}

// next is a batch of events that happened around an instant (ms).
func (s *script) next(at int64) []processed.Row {
	s.batch++
	rows := make([]processed.Row, 1+s.rng.IntN(6))
	for i := range rows {
		r := &rows[i]
		if len(s.ids) > 0 && s.rng.IntN(5) == 0 {
			// The same event again: maybe at another time, for the sender
			// gave none.
			*r = s.ids[s.rng.IntN(len(s.ids))]
			if s.rng.IntN(2) == 0 {
				r.Millis += int64(s.rng.IntN(int(3 * hourMs)))
			}
		} else {
			back := []int64{0, 1000, 20 * 60_000, 50 * 60_000, 3 * hourMs, 26 * hourMs, 60 * hourMs}
			r.Millis = max(s.start, at-back[min(s.rng.IntN(14), 6)%7]*int64(s.rng.IntN(2))-int64(s.rng.IntN(10))*60_000)
			r.EventID = processed.ID{Hi: uint64(s.batch), Lo: uint64(i)}
			r.Client = uint64(1 + s.rng.IntN(4))
			r.User = uint64(1 + s.rng.IntN(4))
			r.Session = uint64(s.rng.IntN(2))
			if s.rng.IntN(8) == 0 {
				r.Flags |= processed.FlagBot
			}
			r.Text[processed.ColName] = []string{"page_view", "page_view", "purchase", "sign_up"}[s.rng.IntN(4)]
			if r.Text[processed.ColName] == "purchase" {
				r.Text[processed.ColTransactionID] = []string{"", "T1", "T2"}[s.rng.IntN(3)]
				r.Flags |= processed.FlagHasValue
				r.Value = 1_500_000
			}
			r.Text[processed.ColPagePath] = []string{"/", "/a", "/b"}[s.rng.IntN(3)]
			r.Text[processed.ColSource] = []string{"", "", "google"}[s.rng.IntN(3)]
			r.Text[processed.ColCountry] = []string{"DE", "FR"}[s.rng.IntN(2)]
			s.ids = append(s.ids, *r)
		}
		r.Batch, r.Seq = event.BatchID{s.batch}, uint32(i)
	}
	return rows
}

// Whatever comes in which order, at any moment every record that is in force
// equals one made of all events at once, and so does what is counted from
// documents meanwhile.
func TestRecordsEqualHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"}).Draw(t, "zone"))
		defer b.close()
		s := b.service(func(c *fn.Config) {
			c.Span = rapid.SampledFrom([]int{1, 5, 48}).Draw(t, "span")
			c.RunEvents = rapid.SampledFrom([]int{5, 500_000}).Draw(t, "run events")
			c.Page = rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "page")
			c.MergeEvents = rapid.SampledFrom([]int{0, 10, 50_000}).Draw(t, "merge events")
		}, b.ports())
		in := newScript(rapid.Uint64().Draw(t, "seed"))
		for range rapid.IntRange(3, 10).Draw(t, "rounds") {
			var last []processed.Row
			for range in.rng.IntN(4) {
				last = in.next(b.now.UnixMilli())
				b.put(last)
			}
			if last != nil && in.rng.IntN(3) == 0 {
				b.putAgain(last)
			}
			b.check()
			b.now = b.now.Add(time.Duration([]int{10, 20, 30, 45, 60, 95, 600, 1500}[in.rng.IntN(8)]) * time.Minute)
			if in.rng.IntN(3) > 0 {
				if err := b.tick(s); err != nil {
					t.Fatal(err)
				}
				b.check()
			}
		}
		b.now = b.now.Add(4 * time.Hour)
		b.settle(s)
		b.check()
		if d := b.dirty(); len(d) > 0 {
			t.Fatalf("hours %v stay dirty", d)
		}
	})
}

func TestRecordsAreMadeAgain(t *testing.T) {
	b := newBench(t, "Europe/Berlin")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(5)
	for range 10 {
		b.put(in.next(b.now.UnixMilli()))
		b.now = b.now.Add(time.Hour)
		b.settle(s)
	}
	ctx := context.Background()
	// Summaries were lost, as a cache may lose them: marking is enough.
	if err := b.stores.Summaries.Drop(ctx, b.m.ID, b.m.Generation); err != nil {
		t.Fatal(err)
	}
	if err := b.stores.Processed.MarkDirty(ctx, b.m.ID, store.LiveQueue, []store.Revision{store.LiveRevision}, -1<<30, 1<<30); err != nil {
		t.Fatal(err)
	}
	b.settle(s)
	b.check()
	// Lost again, and one late event only: its day is whole again.
	if err := b.stores.Summaries.Drop(ctx, b.m.ID, b.m.Generation); err != nil {
		t.Fatal(err)
	}
	late := in.next(b.now.UnixMilli() - 4*hourMs)[:1]
	b.put(late)
	b.settle(s)
	cal, err := summary.NewCalendar(b.m.Settings.TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	key := store.SummaryKey{Merchant: b.m.ID, Generation: b.m.Generation, Grain: store.GrainDay, Start: cal.Day(late[0].Millis).From / 1000}
	data, err := b.stores.Summaries.Get(ctx, []store.SummaryKey{key})
	if err != nil {
		t.Fatal(err)
	}
	day, err := summary.DecodeRecord(data[0], summary.WantAll())
	if err != nil {
		t.Fatal(err)
	}
	facts := summary.Resolve(frameOf(b.rows), cal.Day(late[0].Millis), history.SettingsOf(b.m.Settings))
	if got := day.Total[summary.Events]; got != int64(len(facts.Rows)) {
		t.Errorf("the day has %d events, its record %d", len(facts.Rows), got)
	}
}

// A change of settings makes a view beside the one that is shown, which is as
// before until the new one is ready.
func TestGenerations(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(8)
	for range 8 {
		b.put(in.next(b.now.UnixMilli()))
		b.now = b.now.Add(2 * time.Hour)
	}
	b.settle(s)
	b.check()
	settings := b.m.Settings
	settings.TimeZone, settings.BotFilter = "Asia/Kolkata", false
	b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
	if shown := b.m.View(revision.Book{}); shown.Settings.TimeZone != "UTC" || len(b.m.Views) != 2 {
		t.Fatalf("the change is shown before it is counted: %+v", b.m.Views)
	}
	b.check()
	b.settle(s)
	b.check()
	m := b.merchant()
	if shown := m.View(revision.Book{}); shown.Settings.TimeZone != "Asia/Kolkata" {
		t.Fatalf("the change is not shown: %+v", m.Views)
	}
	b.put(in.next(b.now.UnixMilli() - 3*hourMs))
	b.check()
	b.settle(s)
	b.check()
	// When its time is over what was shown before is removed.
	b.now = b.now.Add(26 * time.Hour)
	b.settle(s)
	b.check()
	if m = b.merchant(); len(m.AllViews()) != 1 || m.Generation != 2 || m.Settings.TimeZone != "Asia/Kolkata" {
		t.Fatalf("the old view is still there: %+v", m.Views)
	}
	b.swept()
}

// An hour and a day whose events are all taken away, as an erasure does it, have
// no record any more; a day that has others is that of the others.
func TestEventsThatAreTakenAway(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(3)
	for range 20 {
		b.put(in.next(b.now.UnixMilli()))
		b.now = b.now.Add(3 * time.Hour)
	}
	b.settle(s)
	b.check()
	ctx := context.Background()
	first := hourOf(slices.MinFunc(b.rows, func(a, c processed.Row) int { return cmp.Compare(a.Millis, c.Millis) }).Millis)
	gone := map[event.Hour]bool{}
	for h := first; h < first+30; h++ {
		gone[h] = true
	}
	var keys []store.SummaryKey
	for h := range gone {
		var old []store.DocKey
		if err := b.stores.Processed.Scan(ctx, b.m.ID, store.LiveRevision, h, h+1, func(d store.Doc) error {
			old = append(old, d.Key)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(old) == 0 {
			continue
		}
		none := store.Doc{Key: old[0], Data: processed.Encode(frameOf(nil))}
		none.Key.Batch = store.MergedInto(store.MaxPlace-1, old)
		if err := b.stores.Processed.Replace(ctx, old, none); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, store.SummaryKey{Merchant: b.m.ID, Generation: b.m.Generation, Grain: store.GrainHour, Start: h.Start().Unix()})
	}
	if len(keys) < 5 {
		t.Fatalf("only %d hours had events", len(keys))
	}
	b.rows = slices.DeleteFunc(b.rows, func(r processed.Row) bool { return gone[hourOf(r.Millis)] })
	for _, v := range b.m.AllViews() {
		if err := b.stores.Visitors.Drop(ctx, b.m.ID, v.Generation); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.stores.Processed.MarkDirty(ctx, b.m.ID, store.Queue(b.m.Generation), []store.Revision{store.LiveRevision}, 0, 1<<30); err != nil {
		t.Fatal(err)
	}
	b.settle(s)
	b.check()
	data, err := b.stores.Summaries.Get(ctx, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range data {
		if d != nil {
			t.Errorf("%+v is left", keys[i])
		}
	}
}

// nothingLeft checks that nothing stands under a generation.
func (b *bench) nothingLeft(generation uint32) {
	b.t.Helper()
	ctx := context.Background()
	cal, err := summary.NewCalendar("UTC")
	if err != nil {
		b.t.Fatal(err)
	}
	var keys []store.SummaryKey
	var users []uint64
	for _, r := range b.rows {
		keys = append(keys, store.SummaryKey{Merchant: b.m.ID, Generation: generation, Grain: store.GrainHour, Start: cal.Hour(r.Millis).From / 1000},
			store.SummaryKey{Merchant: b.m.ID, Generation: generation, Grain: store.GrainDay, Start: cal.Day(r.Millis).From / 1000})
		users = append(users, r.User)
	}
	data, err := b.stores.Summaries.Get(ctx, keys)
	if err != nil {
		b.t.Fatal(err)
	}
	for i, d := range data {
		if d != nil {
			b.t.Fatalf("%+v is left", keys[i])
		}
	}
	first, err := b.stores.Visitors.FirstSeen(ctx, b.m.ID, generation, users)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, at := range first {
		if at != math.MaxInt64 {
			b.t.Fatal("a visitor is left")
		}
	}
	if hours, err := b.stores.Processed.DirtyOf(ctx, b.m.ID, []store.Queue{store.Queue(generation)}, -1<<30, 1<<30); err != nil || len(hours) > 0 {
		b.t.Fatalf("marks of hours %v are left, %v", hours, err)
	}
}

func TestSmallDocumentsAreMerged(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(3)
	ctx := context.Background()
	docs := func() (n int) {
		err := b.stores.Processed.Scan(ctx, b.m.ID, store.LiveRevision, hourOf(in.start), hourOf(in.start)+1, func(store.Doc) error { n++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var first []processed.Row
	for i := range 5 {
		rows := in.next(in.start)
		for k := range rows {
			rows[k].Millis = in.start + int64(k)
		}
		if i == 0 {
			first = rows
		}
		b.put(rows)
	}
	b.now = b.now.Add(time.Hour)
	if n := docs(); n != 5 {
		t.Fatalf("%d documents", n)
	}
	b.settle(s)
	if n := docs(); n != 1 {
		t.Errorf("%d documents after the hour was closed", n)
	}
	b.check()
	b.putAgain(first) // delivered again: the merged one holds it
	b.check()
	b.settle(s)
	b.check()
	if n := docs(); n != 1 {
		t.Errorf("%d documents after a batch came again", n)
	}
}

func TestQuietTickPublishesNothing(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(1)
	b.put(in.next(b.now.UnixMilli()))
	if err := s.Tick(context.Background(), ping()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.events.take()); n != 0 {
		t.Errorf("%d shards although the only hour is open", n)
	}
	b.now = b.now.Add(time.Hour)
	if err := s.Tick(context.Background(), ping()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.events.take()); n != 1 {
		t.Errorf("%d shards for one merchant", n)
	}
}

func TestBadEventsAreFinal(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	s := b.service(nil, b.ports())
	other := ping()
	other.SetExtension(event.ExtensionTick, "journal")
	if err := s.Tick(context.Background(), other); !fault.Is(err, fault.Invalid) {
		t.Errorf("another's tick: %v", err)
	}
	for _, data := range []string{`{}`, `{"shard":2,"count":2,"watermark":"2026-03-10T00:00:00Z"}`, `nonsense`} {
		e := cloudevents.New()
		e.SetID("1")
		e.SetSource("test")
		e.SetType(event.TypeSummaryShard)
		if err := e.SetData(cloudevents.ApplicationJSON, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := s.Shard(context.Background(), e); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", data, err)
		}
	}
	if _, err := fn.New(fn.Config{}, b.ports()); err == nil || strings.Count(err.Error(), "FOOTFALL_SUMMARY_") < 7 {
		t.Errorf("an empty configuration: %v", err)
	}
}

func TestUnknownMerchantStaysDirty(t *testing.T) {
	b := newBench(t, "UTC")
	defer b.close()
	known := b.m.ID
	b.m.ID = "mgone"
	b.put(newScript(1).next(b.now.UnixMilli()))
	b.m.ID = known
	b.now = b.now.Add(time.Hour)
	ports := b.ports()
	var log bytes.Buffer
	ports.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := b.tick(b.service(nil, ports)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "not registered") {
		t.Error("nobody is told")
	}
}

// BenchmarkCloseHour closes the first hour of many small merchants.
func BenchmarkCloseHour(b *testing.B) {
	x := newBench(b, "Europe/Berlin")
	defer x.close()
	ctx := context.Background()
	for i := range b.N {
		m := x.m
		m.ID = fmt.Sprintf("m%07d", i)
		if err := x.stores.Registry.CreateMerchant(ctx, m); err != nil {
			b.Fatal(err)
		}
		x.m.ID = m.ID
		in := newScript(uint64(i))
		x.putAgain(in.next(x.now.UnixMilli()))
		x.putAgain(in.next(x.now.UnixMilli()))
	}
	x.now = x.now.Add(time.Hour)
	s := x.service(nil, x.ports())
	b.ReportAllocs()
	b.ResetTimer()
	if err := x.tick(s); err != nil {
		b.Fatal(err)
	}
}
