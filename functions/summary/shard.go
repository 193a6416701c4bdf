package summary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Shard closes the dirty hours of a shard's merchants that end by the
// watermark. What its budget does not last for goes on at once, as an event that
// any instance may take: a million merchants' hour waits for no tick. Should that
// be lost, the next tick finds the hours dirty still.
func (s *Service) Shard(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeSummaryShard {
		return fault.Field("type", event.TypeSummaryShard)
	}
	var d shardData
	if err := json.Unmarshal(e.Data(), &d); err != nil {
		return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "shard, count and watermark", Err: err}
	}
	if d.Count < 1 || d.Shard < 0 || d.Shard >= d.Count || d.Watermark.IsZero() {
		return fault.Field("data", "0 <= shard < count, and a watermark")
	}
	if more, err := s.work(ctx, &d); err != nil || !more {
		return err
	}
	rest, err := s.shardEvent(&d, fmt.Sprintf("-%d", s.Clock().UnixNano()))
	if err != nil {
		return err
	}
	return s.publish(ctx, []cloudevents.Event{rest})
}

// work closes what the budget lasts for, and reports whether more is to be
// done. Where no run was closed there is not: another try would end alike.
func (s *Service) work(ctx context.Context, d *shardData) (more bool, err error) {
	shard := d.shard()
	if !s.start(shard) {
		return false, nil // this instance is at it
	}
	defer s.finish(shard)
	letGo := s.hold(ctx, shard)
	defer func() { letGo(!more) }()
	before := s.closed.Load()
	if more, err = s.closeShard(ctx, d); err != nil || !more || s.closed.Load() == before {
		return false, err
	}
	return s.left(ctx, d)
}

func (s *Service) start(shard store.Shard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[shard] {
		return false
	}
	s.running[shard] = true
	return true
}

func (s *Service) finish(shard store.Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, shard)
}

// maxPasses is how often a run looks for dirty hours. Closing an hour may
// reopen another, in which a user was counted as new and is no longer; that one
// reopens none, so the third pass is for what arrives meanwhile.
const maxPasses = 3

// othersTurn is how long the views that are not shown are worked on before it
// is seen what came to the others meanwhile.
const othersTurn = 15 * time.Second

// closeShard passes over the dirty hours until none is left: over those of the
// views that are shown first, and in what is left of the time over all others.
// more is true where its budget ended first.
func (s *Service) closeShard(ctx context.Context, d *shardData) (more bool, err error) {
	shard := d.shard()
	// Within the budget new work is begun; what was begun is finished.
	budget, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	late := s.lateness(ctx, d)
	for {
		err := s.passes(ctx, budget, shard, late, false)
		if !spent(budget) {
			s.turnsDone(ctx, shard, late)
			err = errors.Join(err, s.mergePass(ctx, budget, shard, d.Watermark))
		}
		turn, end := context.WithTimeout(budget, othersTurn)
		err = errors.Join(err, s.passes(ctx, turn, shard, late, true))
		others := spent(turn)
		end()
		if err == nil {
			err = ctx.Err() // given up: it is delivered again
		}
		if err != nil || !others || spent(budget) {
			return spent(budget), err
		}
	}
}

func (s *Service) passes(ctx, budget context.Context, shard store.Shard, late *lateness, others bool) error {
	for range maxPasses {
		if found, err := s.pass(ctx, budget, shard, late, others); err != nil || !found {
			return err
		}
	}
	return nil
}

// pass goes through the dirty hours, merchant by merchant; found is false where
// there are none to close now.
func (s *Service) pass(ctx, budget context.Context, shard store.Shard, late *lateness, others bool) (found bool, err error) {
	var some atomic.Bool
	err = s.eachMerchant(ctx, budget, others, shard, late.watermark, func(dirty []store.DirtyHour) (work func() error) {
		if !others && !late.asks(dirty) {
			return nil
		}
		return func() error {
			did, err := s.closeQueues(ctx, budget, dirty, late)
			if did {
				some.Store(true)
			}
			return err
		}
	})
	return some.Load(), err
}

// eachMerchant has workers do what fn gives for each merchant with dirty hours, as
// long as the budget lasts; nil is nothing. A merchant that takes long holds one
// worker: the others go on with the pages that follow. One merchant's trouble is not
// another's.
func (s *Service) eachMerchant(ctx, budget context.Context, others bool, shard store.Shard, endBy time.Time, fn func([]store.DirtyHour) (work func() error)) error {
	var errs faults
	var group errgroup.Group
	group.SetLimit(s.cfg.Workers)
	errs.add(s.pages(ctx, others, shard, endBy, func(dirty []store.DirtyHour, cut bool) bool {
		if work := fn(dirty); work != nil {
			group.Go(func() error {
				if !spent(budget) {
					errs.add(work())
				}
				return nil
			})
		}
		if cut {
			_ = group.Wait() // two workers at one merchant would do each other's work again
		}
		return !spent(budget)
	}))
	_ = group.Wait() // its errors are in errs
	return errs.err()
}

// pages calls fn with each merchant's dirty hours that end by a time, until it returns
// false. cut says that they are a part, and more of them come next: one merchant may
// have more than a page.
func (s *Service) pages(ctx context.Context, others bool, shard store.Shard, endBy time.Time, fn func(dirty []store.DirtyHour, cut bool) bool) error {
	for after := (store.DirtyHour{}); ; {
		page, err := s.dirty(ctx, others, shard, endBy, after, s.cfg.Page)
		if err != nil {
			return err
		}
		last := len(page) < s.cfg.Page
		whole := page
		if !last {
			whole = page[:lastMerchant(page)]
		}
		cut := len(whole) == 0 && !last
		if cut {
			whole = page
		}
		for start, i := 0, 0; i < len(whole); start = i {
			for i < len(whole) && whole[i].Merchant == whole[start].Merchant {
				i++
			}
			if !fn(whole[start:i], cut) {
				return nil
			}
		}
		if last {
			return nil
		}
		after = whole[len(whole)-1]
	}
}

// closeQueues closes a merchant's dirty hours, one queue after the other: at once
// they would keep each other from it. did is false where there was nothing to do.
func (s *Service) closeQueues(ctx, budget context.Context, dirty []store.DirtyHour, late *lateness) (did bool, err error) {
	for i := 0; i < len(dirty) && !spent(budget); {
		from, queue := i, dirty[i].Queue
		for i < len(dirty) && dirty[i].Queue == queue {
			i++
		}
		if queue == store.LiveQueue {
			some, e := s.closeMerchant(ctx, budget, dirty[from:i], late)
			did, err = did || some, errors.Join(err, e)
		} else {
			did, err = true, errors.Join(err, s.closeView(ctx, budget, dirty[from:i], late))
		}
	}
	return did, err
}

// hoursOf are the hours of one merchant's queue.
func hoursOf(dirty []store.DirtyHour) []event.Hour {
	hours := make([]event.Hour, len(dirty))
	for i := range dirty {
		hours[i] = dirty[i].Hour
	}
	return hours
}

// lastMerchant is where the entries of the last merchant of a page begin.
func lastMerchant(page []store.DirtyHour) int {
	i := len(page) - 1
	for i > 0 && page[i-1].Merchant == page[i].Merchant {
		i--
	}
	return i
}

// faults collects the errors of merchants; the first is told, all are counted.
type faults struct {
	mu    sync.Mutex
	first error
	n     int
}

func (f *faults) add(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.first == nil {
		f.first = err
	}
}

func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n > 1 {
		return fmt.Errorf("%d merchants, the first: %w", f.n, f.first)
	}
	return f.first
}
