package loadtest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Watch reads a merchant's report again and again while other things happen.
// Its numbers must be the same each time.
type Watch struct {
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu     sync.Mutex
	seen   Watched
	failed error
}

// Watched is what a watch has seen.
type Watched struct {
	Answers int           // that were right
	Failed  int           // without an answer, or with 5xx
	Slowest time.Duration // of the answers
	Last    error         // of the failed ones
}

// StartWatch begins to ask, every pause, whether a merchant has the given
// events and views in [from, to] (dates).
func (p *Process) StartWatch(ctx context.Context, m Merchant, truth Counts, from, to time.Time, pause time.Duration) *Watch {
	ctx, stop := context.WithCancel(ctx)
	w := &Watch{stop: stop}
	w.ended.Go(func() {
		beat := time.NewTicker(pause)
		defer beat.Stop()
		for {
			asking, cancel := context.WithTimeout(ctx, 30*time.Second)
			began := time.Now()
			row, err := p.Totals(asking, m, "eventCount,screenPageViews", from, to)
			cancel()
			if ctx.Err() != nil {
				return
			}
			w.note(row, truth, time.Since(began), err)
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
			}
		}
	})
	return w
}

func (w *Watch) note(row []float64, truth Counts, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.seen.Failed++
		w.seen.Last = err
	case row[0] != float64(truth.Events) || row[1] != float64(truth.Views):
		if w.failed == nil {
			w.failed = fmt.Errorf("report says events, views = %v, expected %+v", row, truth)
		}
	default:
		w.seen.Answers++
		w.seen.Slowest = max(w.seen.Slowest, took)
	}
}

// Stop ends the watch. Its error is of an answer that was wrong.
func (w *Watch) Stop() (Watched, error) {
	w.stop()
	w.ended.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.failed
}
