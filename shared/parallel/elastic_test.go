package parallel

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// As long as nobody has to wait for a processor more and more goes on at once; then half
// as much each time, but one thing always.
func TestElastic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var crowded atomic.Bool
		e := NewElastic(16)
		e.crowded = crowded.Load
		var running, most atomic.Int32
		done := make(chan struct{})
		for range 40 {
			go func() {
				for {
					leave, err := e.Enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					running.Add(1)
					time.Sleep(30 * time.Millisecond)
					most.Store(max(most.Load(), running.Load()))
					running.Add(-1)
					leave()
					select {
					case <-done:
						return
					default:
					}
				}
			}()
		}
		for _, phase := range []struct {
			crowded bool
			want    int32
		}{{false, 16}, {true, 1}, {false, 16}} {
			crowded.Store(phase.crowded)
			time.Sleep(10 * time.Second)
			most.Store(0)
			time.Sleep(time.Second)
			if got := most.Load(); got != phase.want {
				t.Errorf("crowded %t: %d at once, expected %d", phase.crowded, got, phase.want)
			}
		}
		close(done)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if e.running != 0 || len(e.waiting) != 0 {
			t.Errorf("%d are running and %d are waiting when all have left", e.running, len(e.waiting))
		}
	})
}

// Who gives up waiting takes nobody's turn, not even where it has just come.
func TestElasticGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewElastic(1)
		leave, err := e.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.Enter(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("entered while another was at it: %v", err)
		}
		waiting := make(chan error, 1)
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				next, err := e.Enter(ctx)
				if err == nil {
					leave = next
				}
				waiting <- err
			}()
			synctest.Wait()
			go cancel()
			leave()
			if err := <-waiting; err == nil {
				continue
			}
			if leave, err = e.Enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		leave()
		if e.running != 0 || len(e.waiting) != 0 {
			t.Errorf("%d are running and %d are waiting", e.running, len(e.waiting))
		}
	})
}
