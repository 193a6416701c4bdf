package function

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Fresh is how long after an answer a server counts as there. It is longer
	// than the ten seconds between two of Kubernetes' questions: a server that
	// is slow and answers does not take every instance out at once.
	Fresh = 15 * time.Second
	// askAfter is the age of the last answer from which on one is asked for
	// again, in advance.
	askAfter = 3 * time.Second
	// askTimeout bounds one question: the answer to one that came with a probe
	// is then still fresh at the next but one.
	askTimeout = 5 * time.Second
)

// Health is whether a server answers. It asks only where no call has had an
// answer lately, and one question at a time; one that takes longer than whoever
// waited for it still tells the next. A server that is dead counts as there for
// Fresh, and no longer.
type Health struct {
	ask      func(ctx context.Context) error
	answered atomic.Int64 // when the last call had its answer, ns since began; 0: none yet
	began    time.Time

	mu     sync.Mutex
	asking *question // nil: none under way
}

// question is one that is under way.
type question struct {
	done chan struct{}
	err  error // set when done
}

// NewHealth makes a Health of a question, which is given five seconds.
func NewHealth(ask func(ctx context.Context) error) *Health {
	return &Health{ask: ask, began: time.Now()}
}

// Answered notes that a call has just had its answer.
func (h *Health) Answered() { h.answered.Store(max(1, int64(time.Since(h.began)))) }

// age is that of the last answer; beyond Fresh where there was none.
func (h *Health) age() time.Duration {
	at := h.answered.Load()
	if at == 0 {
		return Fresh
	}
	return time.Since(h.began) - time.Duration(at)
}

// Ready is nil where the server has answered lately, or does so now.
func (h *Health) Ready(ctx context.Context) error {
	age := h.age()
	if age < askAfter {
		return nil
	}
	q := h.question(ctx)
	if age < Fresh {
		return nil
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// question is the one that is under way, or a new one.
func (h *Health) question(ctx context.Context) *question {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asking != nil {
		return h.asking
	}
	q := &question{done: make(chan struct{})}
	h.asking = q
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		q.err = h.ask(ctx)
		if q.err == nil {
			h.Answered()
		}
		h.mu.Lock()
		h.asking = nil
		h.mu.Unlock()
		close(q.done)
	}()
	return q
}
