package report

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// repairs has hours closed again whose records are lost although they are
// clean: evicted for want of memory, or written just before their server died.
// The summary function looks for a store that was emptied by itself; this finds
// what it does not see, where somebody misses it. Nothing waits for it: what
// finds no room is asked for by the next reader.
type repairs struct {
	processed store.Processed
	clock     function.Clock
	log       *slog.Logger
	asked     chan wish

	mu     sync.Mutex
	lately map[repair]time.Time // when each was asked for
}

// repair is the UTC hours [from, to) of a merchant in a view.
type repair struct {
	view     albumKey
	from, to event.Hour
}

// wish is a repair with the revisions whose documents the view counts.
type wish struct {
	repair
	revisions []store.Revision
}

const (
	repairQueue   = 256
	repairPause   = 20 * time.Millisecond // between two repairs
	repairTimeout = 5 * time.Second
	// repairAgain is after what time an hour may be asked for again: the
	// summary function has closed it by then.
	repairAgain = 5 * time.Minute
	mostLately  = 16_384
)

func newRepairs(processed store.Processed, clock function.Clock, log *slog.Logger) *repairs {
	return &repairs{processed: processed, clock: clock, log: log, asked: make(chan wish, repairQueue), lately: map[repair]time.Time{}}
}

// ask has a window closed again, unless that was asked for lately or too much
// is.
func (s *repairs) ask(m *access.Merchant, w summary.Window) {
	r := repair{view: keyOf(m)}
	r.from, r.to = w.UTCHours()
	now := s.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.lately[r]; ok && now.Sub(at) < repairAgain {
		return
	}
	if len(s.lately) >= mostLately {
		for k, at := range s.lately {
			if now.Sub(at) >= repairAgain {
				delete(s.lately, k)
			}
		}
		if len(s.lately) >= mostLately {
			return
		}
	}
	select {
	case s.asked <- wish{r, m.Layers.Revisions()}:
		s.lately[r] = now
	default:
	}
}

// run marks what was asked for, one at a time.
func (s *repairs) run(ctx context.Context) error {
	pause := time.NewTicker(repairPause)
	defer pause.Stop()
	failing := false
	for {
		select {
		case r := <-s.asked:
			err := s.mark(ctx, r)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil && !failing {
				s.log.Warn("cannot have hours closed again whose records are lost; going on without", "merchant", r.view.merchant, "error", err)
			}
			failing = err != nil
		case <-ctx.Done():
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *repairs) mark(ctx context.Context, r wish) error {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	return s.processed.MarkDirty(ctx, r.view.merchant, store.Queue(r.view.generation), r.revisions, r.from, r.to)
}
