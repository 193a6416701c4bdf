package summary_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// scripts is how many scripts a test plays: fewer where it is to be short, as under
// the race detector, which finds nothing in actors that take turns.
func scripts(n int) uint64 {
	if testing.Short() {
		n /= 5
	}
	return uint64(n)
}

// interleave runs actors at once, but one at a time: whenever it is somebody's
// turn, chance says whose. The same chance has the same happen.
func interleave(rng *rand.Rand, actors ...func(turn func())) {
	ready, done := make(chan int), make(chan struct{})
	goes := make([]chan struct{}, len(actors))
	for i, act := range actors {
		goes[i] = make(chan struct{})
		go func() {
			act(func() {
				ready <- i
				<-goes[i]
			})
			done <- struct{}{}
		}()
	}
	var waiting []int
	// Who is at it may stay at it for a while, so that one gets far while another
	// stands still.
	last, stays := -1, rng.IntN(3)
	for running := len(actors); ; running = 1 {
		for ; running > 0; running-- {
			select {
			case i := <-ready:
				waiting = append(waiting, i)
			case <-done:
			}
		}
		if len(waiting) == 0 {
			return
		}
		slices.Sort(waiting) // whoever came first, the same chance is to have the same happen
		k := rng.IntN(len(waiting))
		for n, i := range waiting {
			if i == last && rng.IntN(5) < 2*stays {
				k = n
			}
		}
		last = waiting[k]
		waiting = append(waiting[:k], waiting[k+1:]...)
		goes[last] <- struct{}{}
	}
}

// atOnce has instances do what is to be done, while a batch of late events comes.
func (b *bench) atOnce(rng *rand.Rand, late []processed.Row, instances ...func(turn func()) *fn.Service) {
	b.rows = append(b.rows, late...)
	actors := []func(turn func()){func(turn func()) {
		turn()
		b.putAgain(late)
	}}
	for _, instance := range instances {
		actors = append(actors, func(turn func()) { b.pass(instance(turn)) })
	}
	interleave(rng, actors...)
}

// turning are ports each of whose calls waits for its turn. The service behind them
// works on one merchant, and so on one thing at a time; nobody is told to hold off.
func turning(p fn.Ports, turn func()) fn.Ports {
	p.Processed, p.Summaries, p.Visitors = turningProcessed{p.Processed, turn}, turningSummaries{p.Summaries, turn}, turningVisitors{p.Visitors, turn}
	return p
}

type turningProcessed struct {
	store.Processed
	turn func()
}

func (p turningProcessed) Marks(ctx context.Context, m string, queues []store.Queue, from, to event.Hour) ([]store.Mark, error) {
	p.turn()
	return p.Processed.Marks(ctx, m, queues, from, to)
}

func (p turningProcessed) Mark(ctx context.Context, marks []store.Mark) error {
	p.turn()
	return p.Processed.Mark(ctx, marks)
}

func (p turningProcessed) MarkDirty(ctx context.Context, m string, q store.Queue, revs []store.Revision, from, to event.Hour) error {
	p.turn()
	return p.Processed.MarkDirty(ctx, m, q, revs, from, to)
}

func (p turningProcessed) Clean(ctx context.Context, marks []store.Mark) error {
	p.turn()
	return p.Processed.Clean(ctx, marks)
}

func (p turningProcessed) Claim(ctx context.Context, m string, last uint64) (bool, error) {
	p.turn()
	return p.Processed.Claim(ctx, m, last)
}

func (p turningProcessed) Claimed(ctx context.Context, m string) (uint64, error) {
	p.turn()
	return p.Processed.Claimed(ctx, m)
}

func (p turningProcessed) Scan(ctx context.Context, m string, rev store.Revision, from, to event.Hour, call func(store.Doc) error) error {
	p.turn()
	return p.Processed.Scan(ctx, m, rev, from, to, call)
}

func (p turningProcessed) Replace(ctx context.Context, old []store.DocKey, d store.Doc) error {
	p.turn()
	return p.Processed.Replace(ctx, old, d)
}

type turningSummaries struct {
	store.Summaries
	turn func()
}

func (s turningSummaries) Get(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	s.turn()
	return s.Summaries.Get(ctx, keys)
}

func (s turningSummaries) Put(ctx context.Context, entries []store.SummaryEntry) error {
	s.turn()
	return s.Summaries.Put(ctx, entries)
}

func (s turningSummaries) Delete(ctx context.Context, keys []store.SummaryKey) error {
	s.turn()
	return s.Summaries.Delete(ctx, keys)
}

type turningVisitors struct {
	store.Visitors
	turn func()
}

func (v turningVisitors) FirstSeen(ctx context.Context, m string, g uint32, users []uint64) ([]int64, error) {
	v.turn()
	return v.Visitors.FirstSeen(ctx, m, g, users)
}

func (v turningVisitors) See(ctx context.Context, m string, g uint32, users []uint64, millis, known []int64) ([]int64, error) {
	v.turn()
	return v.Visitors.See(ctx, m, g, users, millis, known)
}
