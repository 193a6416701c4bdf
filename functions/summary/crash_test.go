package summary_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// faulty makes calls fail before or after they did their work, at random.
type faulty struct {
	mu  sync.Mutex
	rng *rand.Rand
	in  int // one in so many
}

var errInjected = fault.New(fault.Transient, "injected")

func (f *faulty) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(f.in) == 0
}

func (f *faulty) around(call func() error) error {
	if f.fails() {
		return errInjected
	}
	if err := call(); err != nil {
		return err
	}
	if f.fails() {
		return errInjected
	}
	return nil
}

type faultyProcessed struct {
	store.Processed
	f *faulty
}

func (p faultyProcessed) Clean(ctx context.Context, marks []store.Mark) error {
	return p.f.around(func() error { return p.Processed.Clean(ctx, marks) })
}

func (p faultyProcessed) Replace(ctx context.Context, old []store.DocKey, d store.Doc) error {
	return p.f.around(func() error { return p.Processed.Replace(ctx, old, d) })
}

func (p faultyProcessed) Scan(ctx context.Context, m string, rev store.Revision, from, to event.Hour, call func(store.Doc) error) error {
	return p.f.around(func() error { return p.Processed.Scan(ctx, m, rev, from, to, call) })
}

type faultySummaries struct {
	store.Summaries
	f *faulty
}

func (p faultySummaries) Put(ctx context.Context, e []store.SummaryEntry) error {
	return p.f.around(func() error { return p.Summaries.Put(ctx, e) })
}

type faultyVisitors struct {
	store.Visitors
	f *faulty
}

func (p faultyVisitors) See(ctx context.Context, m string, g uint32, users []uint64, millis, known []int64) (was []int64, err error) {
	err = p.f.around(func() error { was, err = p.Visitors.See(ctx, m, g, users, millis, known); return err })
	return was, err
}

// A tick may die anywhere: the next one mends it.
func TestTicksThatDieMidway(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newBench(t, "Europe/Berlin")
			defer b.close()
			f := &faulty{rng: rand.New(rand.NewPCG(seed, 7)), in: 5}
			ports := b.ports()
			ports.Processed, ports.Summaries, ports.Visitors = faultyProcessed{ports.Processed, f}, faultySummaries{ports.Summaries, f}, faultyVisitors{ports.Visitors, f}
			s := b.service(nil, ports)
			in := newScript(seed)
			for range 25 {
				b.put(in.next(b.now.UnixMilli()))
				b.now = b.now.Add(40 * time.Minute)
				if err := b.tick(s); err != nil && !strings.Contains(err.Error(), "injected") {
					t.Fatal(err)
				}
				b.check()
			}
			b.now = b.now.Add(4 * time.Hour)
			b.settle(b.service(nil, b.ports()))
			b.check()
		})
	}
}

// Two instances at the same shard, with data coming in: what is in force is right at
// any moment.
func TestTwoAtOnce(t *testing.T) {
	for seed := range scripts(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newBench(t, "UTC")
			defer b.close()
			in := newScript(seed)
			rng := rand.New(rand.NewPCG(seed, 5))
			instance := func(turn func()) *fn.Service {
				return b.service(func(c *fn.Config) { c.Hold = 0 }, turning(b.ports(), turn))
			}
			for range 12 {
				for range 3 {
					b.put(in.next(b.now.UnixMilli()))
				}
				b.now = b.now.Add(70 * time.Minute)
				b.atOnce(rng, in.next(b.now.UnixMilli()-2*hourMs), instance, instance)
				b.check()
			}
			b.now = b.now.Add(4 * time.Hour)
			b.settle(b.service(nil, b.ports()))
			b.check()
		})
	}
}

// hooked calls a function once, before or after a call of the given name, which is done and
// said to have failed where fails is set.
type hooked struct {
	store.Processed
	at    string
	do    func()
	fails bool
}

func (h *hooked) here(at string) error {
	do := h.do
	if h.at != at || do == nil {
		return nil
	}
	h.do = nil
	do()
	if h.fails {
		return errInjected
	}
	return nil
}

func (h *hooked) Scan(ctx context.Context, m string, rev store.Revision, from, to event.Hour, call func(store.Doc) error) error {
	fails := h.here("before scan")
	return errors.Join(fails, h.Processed.Scan(ctx, m, rev, from, to, call), h.here("after scan"))
}

func (h *hooked) Clean(ctx context.Context, marks []store.Mark) error {
	fails := h.here("before clean")
	return errors.Join(fails, h.Processed.Clean(ctx, marks), h.here("after clean"))
}

type hookedVisitors struct {
	store.Visitors
	h *hooked
}

func (v hookedVisitors) See(ctx context.Context, m string, g uint32, users []uint64, millis, known []int64) ([]int64, error) {
	fails := v.h.here("before see")
	was, err := v.Visitors.See(ctx, m, g, users, millis, known)
	return was, errors.Join(err, fails, v.h.here("after see"))
}

type hookedSummaries struct {
	store.Summaries
	h *hooked
}

func (s hookedSummaries) Put(ctx context.Context, e []store.SummaryEntry) error {
	if e[0].Key.Grain == store.GrainNote {
		return s.Summaries.Put(ctx, e) // what stands beside the records
	}
	fails := s.h.here("before put")
	return errors.Join(fails, s.Summaries.Put(ctx, e), s.h.here("after put"))
}

// One instance stands still in the middle of its work while data comes and
// another instance does the same work from start to end. Then the first one goes on, or
// cannot, for all that it knows.
func TestOvertaken(t *testing.T) {
	for _, at := range []string{"before scan", "after scan", "before see", "after see", "before put", "after put", "before clean", "after clean"} {
		for seed := range uint64(16) {
			fails := seed%2 == 1
			t.Run(fmt.Sprintf("%s %d, fails: %v", at, seed, fails), func(t *testing.T) {
				b := newBench(t, "UTC")
				defer b.close()
				in := newScript(seed)
				quick := b.service(func(c *fn.Config) { c.Hold = 0 }, b.ports()) // whose ticks wait for nobody
				for range 6 {
					for range 3 {
						b.put(in.next(b.now.UnixMilli()))
					}
					b.now = b.now.Add(80 * time.Minute)
					h := &hooked{Processed: b.stores.Processed, at: at, fails: fails}
					h.do = func() {
						b.put(in.next(b.now.UnixMilli() - 2*hourMs))
						if err := b.tick(quick); err != nil {
							t.Error(err)
						}
					}
					ports := b.ports()
					ports.Processed, ports.Visitors, ports.Summaries = h, hookedVisitors{ports.Visitors, h}, hookedSummaries{ports.Summaries, h}
					slow := b.service(nil, ports)
					if err := slow.Tick(context.Background(), ping()); err != nil {
						t.Fatal(err)
					}
					for _, e := range b.events.take() {
						if err := slow.Shard(context.Background(), e); err != nil && (!fails || !errors.Is(err, errInjected)) {
							t.Fatal(err)
						}
					}
					b.check()
				}
				b.now = b.now.Add(4 * time.Hour)
				b.settle(quick)
				b.check()
			})
		}
	}
}

// The settings change while hours are closed: at any step of it.
func TestSettingsChangeMeanwhile(t *testing.T) {
	for _, at := range []string{"before scan", "after scan", "before see", "after see", "before put", "after put", "before clean", "after clean"} {
		t.Run(at, func(t *testing.T) {
			b := newBench(t, "UTC")
			defer b.close()
			in := newScript(9)
			for range 4 {
				b.put(in.next(b.now.UnixMilli()))
				b.now = b.now.Add(2 * time.Hour)
			}
			h := &hooked{Processed: b.stores.Processed, at: at}
			h.do = func() {
				settings := b.m.Settings
				settings.TimeZone = "Asia/Kolkata"
				b.change(func(m access.Merchant) access.Merchant { return m.WithSettings(settings, b.now) })
			}
			ports := b.ports()
			ports.Processed, ports.Visitors, ports.Summaries = h, hookedVisitors{ports.Visitors, h}, hookedSummaries{ports.Summaries, h}
			s := b.service(nil, ports)
			if err := b.tick(s); err != nil || h.do != nil {
				t.Fatalf("changed %v, %v", h.do == nil, err)
			}
			b.check()
			b.settle(s)
			b.check()
			if m := b.merchant(); m.View(revision.Book{}).Settings.TimeZone != "Asia/Kolkata" {
				t.Fatal("the change is not shown")
			}
		})
	}
}
