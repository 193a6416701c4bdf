package parallel_test

import (
	"sync/atomic"
	"testing"

	"github.com/footfall/footfall/shared/parallel"
)

func TestShare(t *testing.T) {
	for _, workers := range []int{0, 1, 2, 7} {
		for _, tasks := range []int{0, 1, 5, 1000} {
			done := make([]atomic.Int32, tasks)
			busy := make([]atomic.Bool, max(1, workers))
			parallel.Share(workers, tasks, func(worker, task int) {
				if busy[worker].Swap(true) {
					t.Errorf("worker %d has two tasks at once", worker)
				}
				done[task].Add(1)
				busy[worker].Store(false)
			})
			for task := range done {
				if n := done[task].Load(); n != 1 {
					t.Fatalf("%d workers, %d tasks: task %d done %d times", workers, tasks, task, n)
				}
			}
		}
	}
}

func TestWorkers(t *testing.T) {
	if few := parallel.Workers(99, 100); few != 1 {
		t.Errorf("%d workers for less than one has to do", few)
	}
	if many := parallel.Workers(1<<30, 1); many < 1 {
		t.Errorf("%d workers", many)
	}
}
