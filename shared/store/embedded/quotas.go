package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// quotas are in memory: one process has the data folder, and a count that a
// restart forgets is forgotten by contract.
type quotas struct {
	now     func() time.Time
	mu      sync.Mutex
	windows map[int64]*quotaWindow
}

type quotaWindow struct {
	until  time.Time
	counts map[string]int64
}

func newQuotas(now func() time.Time) *quotas {
	return &quotas{now: now, windows: map[int64]*quotaWindow{}}
}

// Add implements store.Quotas.
func (q *quotas) Add(ctx context.Context, uses []store.Usage, keep time.Duration) ([]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.New(fault.Transient, "cannot add what tenants have used: %w", err)
	}
	for i := range uses {
		if uses[i].Events < 0 {
			return nil, fault.Field("uses.events", "zero or more")
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for start, w := range q.windows { // a few
		if now.After(w.until) {
			delete(q.windows, start)
		}
	}
	totals := make([]int64, len(uses))
	for i := range uses {
		w := q.windows[uses[i].Window]
		if w == nil {
			w = &quotaWindow{counts: map[string]int64{}}
			q.windows[uses[i].Window] = w
		}
		w.until = now.Add(keep)
		w.counts[uses[i].Tenant] += uses[i].Events
		totals[i] = w.counts[uses[i].Tenant]
	}
	return totals, nil
}
