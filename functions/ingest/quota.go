package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

const (
	// quotaWindow is the time that a quota is for. Windows begin with the
	// minutes of the clock, the same for every instance.
	quotaWindow = 60 // seconds
	// quotaEvery is how often an instance tells the others what came to it.
	quotaEvery = time.Second
	// quotaKeep is how long a window is remembered after it was last told of.
	quotaKeep = 2 * time.Minute
	// quotaTimeout is for telling and asking.
	quotaTimeout = 2 * time.Second
	// quotaGrain is the part of its quota that a tenant must have used here
	// before the others are told: a million quiet tenants cost nothing.
	quotaGrain = 100
	// refusalsEvery is how often what was refused is put into the ledger, one
	// entry for each stream.
	refusalsEvery = 10 * time.Second
	// mostRefusals bounds the streams whose refusals wait for that.
	mostRefusals = 10_000
)

// tenant is a merchant that may send so many events a minute.
type tenant struct {
	id string

	mu     sync.Mutex
	limit  int64 // events in a window
	window int64 // which one the counts are of
	used   int64 // taken by this instance
	told   int64 // of used, what the others know
	others int64 // taken by other instances, as far as is known
	due    bool  // the others are to be told
}

// take reserves one event in a window; tell is true where the others should
// hear of it and nobody has seen to that yet.
func (t *tenant) take(window int64) (ok, tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if window != t.window {
		t.window, t.used, t.told, t.others, t.due = window, 0, 0, 0, false
	}
	if t.used+t.others >= t.limit {
		return false, false
	}
	t.used++
	if !t.due && (t.used-t.told)*quotaGrain >= t.limit {
		t.due = true
		return true, true
	}
	return true, false
}

// giveBack returns events that were taken and are nowhere.
func (t *tenant) giveBack(window, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if window == t.window {
		t.used = max(t.used-n, t.told)
	}
}

// quota is how many events the tenant may send in a window.
func (t *tenant) quota() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit
}

// setLimit changes the quota, from now on.
func (t *tenant) setLimit(limit int64) {
	t.mu.Lock()
	t.limit = limit
	t.mu.Unlock()
}

// tell is what the others are to hear, once; false where its window is over.
func (t *tenant) tell(window int64) (store.Usage, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = false
	n := t.used - t.told
	if t.window != window || n <= 0 {
		return store.Usage{}, false
	}
	t.told = t.used
	return store.Usage{Tenant: t.id, Window: window, Events: n}, true
}

// hear takes what all instances have told of a window.
func (t *tenant) hear(window, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.window == window {
		t.others = max(0, total-t.told)
	}
}

// quotas holds tenants to what they may send. What the hot path needs is in
// memory; what other instances take is learnt in the background, each second
// and in one go. Where the store of quotas is away each instance goes on with
// what it knows: collection comes first.
type quotas struct {
	store store.Quotas // nil: this instance is alone
	clock function.Clock
	log   *slog.Logger
	keep  func([]event.Refused)

	mu      sync.Mutex
	due     []*tenant
	refused map[string]*refusal // by stream

	failing bool // of the loop
}

// refusal is what was refused of a stream lately.
type refusal struct {
	limit  int64
	events int64
}

func newQuotas(ports Ports, keep func([]event.Refused)) *quotas {
	return &quotas{store: ports.Quotas, clock: ports.Clock, log: ports.Log, keep: keep, refused: map[string]*refusal{}}
}

func windowAt(t time.Time) int64 { return t.Unix() / quotaWindow * quotaWindow }

// untilNext is after what time a tenant may send again.
func untilNext(t time.Time) time.Duration {
	return time.Unix(windowAt(t)+quotaWindow, 0).Sub(t)
}

// tell has the others hear of a tenant.
func (q *quotas) tell(t *tenant) {
	if q.store == nil {
		return
	}
	q.mu.Lock()
	q.due = append(q.due, t)
	q.mu.Unlock()
}

// refuse counts events of a stream that were refused. The stream's name may be
// of the request's memory.
func (q *quotas) refuse(stream string, limit, events int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.refused[stream]
	if r == nil {
		if len(q.refused) >= mostRefusals {
			return
		}
		r = &refusal{}
		q.refused[strings.Clone(stream)] = r
	}
	r.limit = limit
	r.events += events
}

// run tells and asks until ctx is done.
func (q *quotas) run(ctx context.Context) {
	ticker := time.NewTicker(quotaEvery)
	defer ticker.Stop()
	last := q.clock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			q.share(ctx)
			if now := q.clock(); now.Sub(last) >= refusalsEvery || now.Before(last) {
				last = now
				q.flush()
			}
		}
	}
}

// share tells the others of tenants that are due, and learns what they say.
func (q *quotas) share(ctx context.Context) {
	q.mu.Lock()
	due := q.due
	q.due = nil
	q.mu.Unlock()
	window := windowAt(q.clock())
	uses := make([]store.Usage, 0, len(due))
	told := due[:0]
	for _, t := range due {
		if use, ok := t.tell(window); ok {
			uses, told = append(uses, use), append(told, t)
		}
	}
	if len(uses) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout)
	defer cancel()
	totals, err := q.store.Add(ctx, uses, quotaKeep)
	if failing := err != nil; failing != q.failing {
		q.failing = failing
		if failing {
			q.log.Warn("cannot share what tenants have used; each instance holds to their quotas alone", "error", err)
		} else {
			q.log.Info("what tenants have used is shared again")
		}
	}
	for i := range totals {
		told[i].hear(window, totals[i])
	}
}

// flush puts what was refused into the ledger.
func (q *quotas) flush() {
	q.mu.Lock()
	refused := q.refused
	if len(refused) > 0 {
		q.refused = map[string]*refusal{}
	}
	q.mu.Unlock()
	if len(refused) == 0 {
		return
	}
	list := make([]event.Refused, 0, len(refused))
	for stream, r := range refused {
		list = append(list, event.OverQuota(stream, quotaExpected(r.limit), r.events))
	}
	q.keep(list)
}

func quotaExpected(limit int64) string { return fmt.Sprintf("at most %d events a minute", limit) }

// taken is what a request has reserved of a tenant's quota.
type taken struct {
	tenant *tenant
	events int64
}

// over is what a request had of a stream over its merchant's quota.
type over struct {
	stream string
	limit  int64
	events int64
}

// within reserves an event of a tenant's quota for a request; false where it
// is used up.
func (in *Ingest) within(rq *request, t *tenant, stream string) bool {
	ok, tell := t.take(rq.window)
	if tell {
		in.quotas.tell(t)
	}
	if ok {
		if n := len(rq.taken); n == 0 || rq.taken[n-1].tenant != t {
			rq.taken = append(rq.taken, taken{tenant: t})
		}
		rq.taken[len(rq.taken)-1].events++
		return true
	}
	if n := len(rq.over); n == 0 || rq.over[n-1].stream != stream {
		rq.over = append(rq.over, over{stream: stream, limit: t.quota()})
	}
	rq.over[len(rq.over)-1].events++
	return false
}

// giveBack returns what a request has reserved and could not use.
func (rq *request) giveBack() {
	for _, t := range rq.taken {
		t.tenant.giveBack(rq.window, t.events)
	}
}
