package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Workers is how many goroutines n rows are worth, of which a goroutine should
// have perWorker, as long as there are processors to spare.
func Workers(n, perWorker int) int {
	if n < perWorker || Crowded() {
		return 1
	}
	return min(runtime.GOMAXPROCS(0), 1+n/perWorker)
}

// Do calls fn with 0 to n-1 side by side and returns when all have. n is 1 or more.
func Do(n int, fn func(i int)) {
	var wait sync.WaitGroup
	for i := 1; i < n; i++ {
		wait.Go(func() { fn(i) })
	}
	fn(0)
	wait.Wait()
}

// Share has so many workers take tasks 0 to n-1, each the next one that nobody
// has taken.
func Share(workers, n int, fn func(worker, task int)) {
	var taken atomic.Int64
	Do(max(1, min(workers, n)), func(worker int) {
		for {
			task := int(taken.Add(1)) - 1
			if task >= n {
				return
			}
			fn(worker, task)
		}
	})
}
