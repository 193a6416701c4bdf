package summary_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/view"
)

// reprocess writes what a fixed ETL makes of the batches [from, to) that were
// put: some events are left out, others happened in another hour or on another
// page. Many batches share a document, as a reprocess writes them.
func (b *bench) reprocess(rng *rand.Rand, rev store.Revision, from, to byte) access.Layer {
	b.t.Helper()
	layer := access.Layer{Revision: rev, From: event.BatchID{from}.Millis(), To: event.BatchID{to}.Millis()}
	builders := map[store.DocKey]*processed.Builder{}
	for _, r := range b.rows {
		if r.Batch[0] < from || r.Batch[0] >= to || rng.IntN(6) == 0 {
			continue
		}
		if rng.IntN(3) == 0 {
			r.Millis += int64(rng.IntN(5)-2) * hourMs
		}
		r.Text[processed.ColPagePath] = "/fixed"
		b.anew[rev] = append(b.anew[rev], r)
		// Of each hour there are documents of two shards.
		k := store.DocKey{Merchant: b.m.ID, Hour: hourOf(r.Millis), Revision: rev, Batch: event.BatchID{0: r.Batch[0] % 2, 15: 1}}
		if builders[k] == nil {
			builders[k] = &processed.Builder{}
		}
		builders[k].Add(r)
	}
	var docs []store.Doc
	for k, builder := range builders {
		docs = append(docs, store.Doc{Key: k, Events: builder.Len(), Data: builder.Encode()})
	}
	if err := b.stores.Processed.PutRevision(context.Background(), rev, docs, nil); err != nil {
		b.t.Fatal(err)
	}
	return layer
}

// layered makes a view of a layer over those that are shown.
func (b *bench) layered(layer access.Layer) {
	b.t.Helper()
	k := view.Keeper{Registry: b.stores.Registry, Marks: b.stores.Processed}
	m, err := k.Add(context.Background(), b.m.ID, b.now, func(m *access.Merchant) (access.Layers, bool) {
		return append(m.View(b.flips.list.At(b.now)).Layers, layer), true
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.m = m
}

// flip publishes a revision, or rolls it back.
func (b *bench) flip(rev store.Revision, on bool) {
	b.now = b.now.Add(2 * time.Second)
	for i := range b.flips.list {
		if p := &b.flips.list[i]; p.Revision == rev {
			p.Flips = append(p.Flips, revision.Flip{At: b.now, On: on})
			return
		}
	}
	b.flips.list = append(b.flips.list, revision.Publication{Revision: rev, Flips: []revision.Flip{{At: b.now, On: on}}})
}

func (b *bench) shown() access.View {
	m := b.merchant()
	return m.View(b.flips.list.At(b.now))
}

// A reprocess is counted beside what is shown, shown when it is published, and
// what was before is back when it is rolled back. All the time events come in,
// also of the batches that were reprocessed.
func TestAReprocessIsCountedBesideWhatIsShown(t *testing.T) {
	b := newBench(t, "Europe/Berlin")
	defer b.close()
	s := b.service(nil, b.ports())
	in := newScript(4)
	rng := rand.New(rand.NewPCG(4, 4))
	for range 20 {
		b.put(in.next(b.now.UnixMilli()))
		b.now = b.now.Add(time.Hour)
	}
	b.settle(s)
	b.layered(b.reprocess(rng, 2, 5, 15))
	b.put(in.next(b.now.UnixMilli() - 5*hourMs))
	b.check()
	b.settle(s)
	b.check()
	if top := b.shown().Layers.Top(); top != store.LiveRevision {
		t.Fatalf("revision %d is shown before it is published", top)
	}
	b.flip(2, true)
	if top := b.shown().Layers.Top(); top != 2 {
		t.Fatalf("revision %d is shown, expected 2", top)
	}
	b.check()
	for i := range 12 {
		b.put(in.next(b.now.UnixMilli() - 4*hourMs))
		b.putAgain(b.batch(byte(3 + i)))
		b.check()
		b.now = b.now.Add(time.Hour)
		if err := b.tick(s); err != nil {
			t.Fatal(err)
		}
		b.check()
		if i%4 == 3 {
			b.flip(2, i%8 == 7)
			b.check()
		}
	}
	b.settle(s)
	b.check()
	// A second one over part of the first and what came after it.
	b.flip(2, true)
	b.layered(b.reprocess(rng, 3, 10, 25))
	b.settle(s)
	b.flip(3, true)
	b.check()
	m := b.merchant()
	if v := b.shown(); len(v.Layers) != 2 || len(m.Views) != 3 {
		t.Fatalf("view %+v of %d is shown", v, len(m.Views))
	}
}

// batch are the rows of a batch that was put.
func (b *bench) batch(n byte) (rows []processed.Row) {
	for _, r := range b.rows {
		if r.Batch == (event.BatchID{n}) {
			rows = append(rows, r)
		}
	}
	return rows
}

// deadly dies for good at the n-th call that changes something, before or after
// it has its effect: from then on nothing reaches the stores.
type deadly struct {
	mu    sync.Mutex
	left  int
	after bool
}

func (d *deadly) around(call func() error) error {
	d.mu.Lock()
	d.left--
	dies, dead := d.left == 0, d.left < 0
	d.mu.Unlock()
	if dead || dies && !d.after {
		return errInjected
	}
	if err := call(); err != nil || dies {
		return errInjected
	}
	return nil
}

func (d *deadly) dead() bool { return d.left <= 0 }

type deadlyProcessed struct {
	store.Processed
	d *deadly
}

func (p deadlyProcessed) Mark(ctx context.Context, marks []store.Mark) error {
	return p.d.around(func() error { return p.Processed.Mark(ctx, marks) })
}

func (p deadlyProcessed) MarkDirty(ctx context.Context, m string, q store.Queue, revs []store.Revision, from, to event.Hour) error {
	return p.d.around(func() error { return p.Processed.MarkDirty(ctx, m, q, revs, from, to) })
}

func (p deadlyProcessed) Clean(ctx context.Context, marks []store.Mark) error {
	return p.d.around(func() error { return p.Processed.Clean(ctx, marks) })
}

func (p deadlyProcessed) Replace(ctx context.Context, old []store.DocKey, d store.Doc) error {
	return p.d.around(func() error { return p.Processed.Replace(ctx, old, d) })
}

func (p deadlyProcessed) DropQueue(ctx context.Context, m string, q store.Queue) error {
	return p.d.around(func() error { return p.Processed.DropQueue(ctx, m, q) })
}

type deadlySummaries struct {
	store.Summaries
	d *deadly
}

func (p deadlySummaries) Put(ctx context.Context, e []store.SummaryEntry) error {
	return p.d.around(func() error { return p.Summaries.Put(ctx, e) })
}

func (p deadlySummaries) Drop(ctx context.Context, m string, g uint32) error {
	return p.d.around(func() error { return p.Summaries.Drop(ctx, m, g) })
}

type deadlyVisitors struct {
	store.Visitors
	d *deadly
}

func (p deadlyVisitors) See(ctx context.Context, m string, g uint32, users []uint64, millis, known []int64) (was []int64, err error) {
	err = p.d.around(func() error { was, err = p.Visitors.See(ctx, m, g, users, millis, known); return err })
	return was, err
}

func (p deadlyVisitors) Drop(ctx context.Context, m string, g uint32) error {
	return p.d.around(func() error { return p.Visitors.Drop(ctx, m, g) })
}

type deadlyRegistry struct {
	store.Registry
	d *deadly
}

func (r deadlyRegistry) UpdateMerchant(ctx context.Context, m access.Merchant) error {
	return r.d.around(func() error { return r.Registry.UpdateMerchant(ctx, m) })
}

func (d *deadly) ports(p fn.Ports) fn.Ports {
	p.Processed, p.Summaries, p.Visitors, p.Registry = deadlyProcessed{p.Processed, d}, deadlySummaries{p.Summaries, d}, deadlyVisitors{p.Visitors, d}, deadlyRegistry{p.Registry, d}
	return p
}

// Whoever closes hours may be killed between any two steps, whatever is under
// way: a view that is made, built, shown, given up or removed. The numbers of
// every view are right at once and after the next ticks, and nothing is left of
// a view that is gone.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	stories := map[string]func(b *bench, in *script){
		"settings change": func(b *bench, _ *script) {
			settings := b.m.Settings
			settings.TimeZone = "Asia/Kolkata"
			b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
		},
		"settings change twice": func(b *bench, _ *script) {
			for _, zone := range []string{"Asia/Kolkata", "America/New_York"} {
				settings := b.m.Settings
				settings.TimeZone = zone
				b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
			}
		},
		"a reprocess": func(b *bench, in *script) {
			b.layered(b.reprocess(in.rng, 2, 2, 7))
		},
		"a reprocess is published": func(b *bench, in *script) {
			b.layered(b.reprocess(in.rng, 2, 2, 7))
			b.settle(b.service(nil, b.ports()))
			b.flip(2, true)
			b.put(in.next(b.now.UnixMilli() - 3*hourMs))
			b.put(in.next(b.now.UnixMilli() - 3*hourMs))
		},
		"an old view is removed": func(b *bench, in *script) {
			settings := b.m.Settings
			settings.Currency = "USD"
			b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
			b.settle(b.service(nil, b.ports()))
			b.now = b.now.Add(26 * time.Hour)
			b.put(in.next(b.now.UnixMilli() - 3*hourMs))
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			for step := 1; ; step++ {
				for _, after := range []bool{false, true} {
					b := newBench(t, "UTC")
					in := newScript(uint64(step))
					for range 8 {
						b.put(in.next(b.now.UnixMilli()))
						b.now = b.now.Add(2 * time.Hour)
					}
					b.settle(b.service(nil, b.ports()))
					story(b, in)
					b.put(in.next(b.now.UnixMilli() - 2*hourMs))
					d := &deadly{left: step, after: after}
					if err := b.tick(b.service(nil, d.ports(b.ports()))); err != nil && !strings.Contains(err.Error(), "injected") {
						t.Fatal(err)
					}
					b.check()
					b.put(in.next(b.now.UnixMilli() - 2*hourMs))
					b.check()
					b.now = b.now.Add(time.Minute) // the dead one holds nothing any more
					b.settle(b.service(nil, b.ports()))
					b.check()
					b.swept()
					b.close()
					if !d.dead() {
						return
					}
				}
			}
		})
	}
}

// Two instances, of which one meets faults, views that come and go, and events all
// the time: what is shown is right at any moment, and all is right when it is quiet.
func TestViewsComeAndGo(t *testing.T) {
	for seed := range scripts(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newBench(t, "UTC")
			defer b.close()
			in := newScript(seed)
			rng := rand.New(rand.NewPCG(seed, 11))
			f := &faulty{rng: rand.New(rand.NewPCG(seed, 12)), in: 12}
			grace := func(c *fn.Config) {
				c.ViewGrace, c.Hold = 3*time.Hour, 0
				c.MergeFresh, c.MergeEvents = 2, []int{0, 10, 50_000}[seed%3]
			}
			instance := func(turn func(), faults *faulty) *fn.Service {
				ports := turning(b.ports(), turn)
				if faults != nil {
					ports.Processed, ports.Summaries, ports.Visitors = faultyProcessed{ports.Processed, f}, faultySummaries{ports.Summaries, f}, faultyVisitors{ports.Visitors, f}
				}
				return b.service(grace, ports)
			}
			zones := []string{"UTC", "Asia/Kolkata", "America/New_York"}
			next := store.Revision(2)
			for range 20 {
				for range rng.IntN(3) {
					b.put(in.next(b.now.UnixMilli()))
				}
				switch rng.IntN(5) {
				case 0:
					settings := b.m.Settings
					settings.TimeZone, settings.BotFilter = zones[rng.IntN(3)], rng.IntN(2) == 0
					b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
				case 1:
					if n := len(b.rows); n > 10 && next < 5 {
						to := b.rows[n-1].Batch[0]
						b.layered(b.reprocess(rng, next, to/2, to+1))
						next++
					}
				case 2:
					if next > 2 {
						b.flip(next-1, rng.IntN(3) > 0)
					}
				}
				b.check()
				b.now = b.now.Add(time.Duration(20+rng.IntN(80)) * time.Minute)
				b.atOnce(rng, in.next(b.now.UnixMilli()-2*hourMs), func(turn func()) *fn.Service { return instance(turn, nil) },
					func(turn func()) *fn.Service { return instance(turn, f) })
				b.check()
			}
			b.now = b.now.Add(5 * time.Hour)
			b.settle(b.service(grace, b.ports()))
			b.check()
			b.swept()
		})
	}
}

// pass has an instance do what is to be done, whoever else is at it.
func (b *bench) pass(s *fn.Service) {
	b.t.Helper()
	shards := []int{0, 1}
	for _, i := range shards {
		e := cloudevents.New()
		e.SetID("1")
		e.SetSource("test")
		e.SetType(event.TypeSummaryShard)
		if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"shard": i, "count": len(shards), "watermark": b.now}); err != nil {
			b.t.Error(err)
		}
		if err := s.Shard(context.Background(), e); err != nil && !strings.Contains(err.Error(), "injected") {
			b.t.Error(err)
		}
	}
}

// swept checks that nothing is left of views that are gone.
func (b *bench) swept() {
	b.t.Helper()
	b.now = b.now.Add(2 * time.Hour)
	b.settle(b.service(nil, b.ports()))
	m := b.merchant()
	for g := uint32(1); g <= m.Generation; g++ {
		if _, kept := m.ViewOf(g); !kept {
			b.nothingLeft(g)
		}
	}
}
