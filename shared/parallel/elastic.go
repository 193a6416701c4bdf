package parallel

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Elastic lets through as much work at once as leaves the processors to others of the
// process when they want them: work that nobody waits for, which would rather take longer
// than have what people wait for stand in line. While there is no crowd (Crowded) it lets
// one more through each time that it looks, and else half as many. One goes on at any time.
// The zero value holds nobody back.
//
// The same is known from databases that have to compact and to answer, see Cockroach Labs,
// "Elastic CPU control" (2022).
type Elastic struct {
	most    int
	crowded func() bool

	mu      sync.Mutex
	limit   int
	running int
	waiting []chan struct{} // the first one is next
	looked  time.Time
}

// NewElastic lets at most so many through at once.
func NewElastic(most int) *Elastic {
	return &Elastic{most: max(1, most), limit: 1, crowded: Crowded}
}

// Enter waits for its turn; whoever has come first is first. leave is to be called once.
func (e *Elastic) Enter(ctx context.Context) (leave func(), err error) {
	e.mu.Lock()
	turn := make(chan struct{})
	e.waiting = append(e.waiting, turn)
	e.admit()
	e.mu.Unlock()
	select {
	case <-turn:
		return e.leave, nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := slices.Index(e.waiting, turn); at >= 0 {
		e.waiting = slices.Delete(e.waiting, at, at+1)
	} else {
		e.running--
		e.admit()
	}
	return nil, ctx.Err()
}

func (e *Elastic) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	e.admit()
}

// admit lets through whoever may go.
func (e *Elastic) admit() {
	if now := time.Now(); e.most > 0 && now.Sub(e.looked) >= lookEvery {
		e.looked = now
		if e.crowded() {
			e.limit = max(1, e.limit/2)
		} else {
			e.limit = min(e.limit+1, e.most)
		}
	}
	for (e.most == 0 || e.running < e.limit) && len(e.waiting) > 0 {
		e.running++
		close(e.waiting[0])
		e.waiting = e.waiting[1:]
	}
}
