package summary

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/store"
)

// An instance that is at a shard says so in a note beside the records, with the
// time until which it holds: ticks hand out no shard that is held, or a minute
// later a second instance would do the same work beside it. Nothing depends on
// it but work done twice, so a note may be lost, and one that cannot be written
// or read is as good as none. What a death leaves behind is over soon.

func holdKey(shard store.Shard) store.SummaryKey {
	return store.SummaryKey{Merchant: fmt.Sprintf("!shard-%d-%d", shard.Index, shard.Count), Grain: store.GrainNote}
}

// held are the shards that someone is at.
func (s *Service) held(ctx context.Context) []bool {
	held := make([]bool, s.cfg.Shards)
	if s.cfg.Hold == 0 {
		return held
	}
	keys := make([]store.SummaryKey, len(held))
	for i := range keys {
		keys[i] = holdKey(store.Shard{Index: i, Count: len(keys)})
	}
	notes, err := s.getNotes(ctx, keys)
	if err != nil {
		s.Log.Warn("cannot see which shards are worked on", "error", err)
		return held
	}
	now := s.Clock().UnixMilli()
	for i, note := range notes {
		until, err := strconv.ParseInt(string(note), 10, 64)
		// A clock that was ahead must not keep a shard for longer.
		held[i] = err == nil && now < until && until <= now+2*s.cfg.Hold.Milliseconds()
	}
	return held
}

// hold says that a shard is worked on, until letGo is called: by then it is
// free, or held for a while longer by whoever goes on.
func (s *Service) hold(ctx context.Context, shard store.Shard) (letGo func(free bool)) {
	if s.cfg.Hold == 0 {
		return func(bool) {}
	}
	say := func(until int64) {
		note := store.SummaryEntry{Key: holdKey(shard), Data: strconv.AppendInt(nil, until, 10)}
		if err := s.putNotes(context.WithoutCancel(ctx), []store.SummaryEntry{note}); err != nil {
			s.Log.Warn("cannot say whether a shard is worked on", "shard", shard.Index, "error", err)
		}
	}
	sayHeld := func() { say(s.Clock().Add(s.cfg.Hold).UnixMilli()) }
	sayHeld()
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		again := time.NewTicker(s.cfg.Hold / 4)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				sayHeld()
			case <-done:
				return
			}
		}
	})
	return func(free bool) {
		close(done)
		saying.Wait()
		if free {
			say(0)
		}
	}
}
