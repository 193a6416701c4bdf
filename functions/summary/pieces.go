package summary

import (
	"context"
	"errors"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/history"
)

// How many hours are counted at once: of a merchant in pieces, and of all merchants
// together as far as there is room for their events.

// runs closes hours as long as the budget lasts.
func (c *closing) runs(ctx, budget context.Context, hours []event.Hour) error {
	for _, run := range history.Runs(hours, event.Hour(c.cfg.Span)) {
		if spent(budget) {
			return nil
		}
		if err := c.run(ctx, budget, run); errors.Is(err, errSpent) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// spent reports whether no new work is to be begun.
func spent(budget context.Context) bool { return budget.Err() != nil }

// errSpent says that the budget ended while work waited for its turn.
var errSpent = errors.New("the budget is spent")

// run closes dirty hours that lie close together, the last ones first, as many at once as
// Config.RunEvents allows: with each piece the hours around it are looked at, too. Where a
// piece turns out to be too much, its last hour goes alone, however many events it looks
// at. Where these are many, the others may be about as many: what hours look at is nearly
// the same where one of them, or the one under way, is a busy one. Else fewer go at once.
func (c *closing) run(ctx, budget context.Context, dirty []event.Hour) error {
	most, piece := c.cfg.RunEvents, len(dirty)
	if piece > 1 {
		events, err := c.loader.Events(ctx, &c.m, dirty)
		if err != nil {
			return err
		}
		if events > most {
			piece = max(1, piece*most/events)
		}
	}
	last := func(n int) (hours []event.Hour) {
		hours, dirty = dirty[len(dirty)-n:], dirty[:len(dirty)-n]
		return hours
	}
	for len(dirty) > 0 && !spent(budget) {
		if n := min(piece, len(dirty)); n > 1 {
			err := c.close(ctx, budget, c.loader.Within(most), dirty[len(dirty)-n:])
			if err == nil {
				if last(n); 2*c.looked <= most {
					piece *= 2
				}
				continue
			}
			if !fault.Is(err, fault.TooLarge) {
				return err
			}
			if spent(budget) {
				return nil
			}
			piece = (n + 1) / 2
		}
		if err := c.close(ctx, budget, c.loader, last(1)); err != nil {
			return err
		}
		if as := c.looked + c.looked/4; as > most {
			most, piece = as, len(dirty)
		}
	}
	return nil
}

// enter waits until there is room for the events of some hours beside those of other
// merchants, and a processor to spare, until leave is called. errSpent says that its
// turn has not come within the budget.
func (c *closing) enter(ctx, budget context.Context, hours []event.Hour) (leave func(), err error) {
	events, err := c.loader.Events(ctx, &c.m, hours)
	if err != nil {
		return nil, err
	}
	n, came := int64(min(events, c.cfg.RunEvents)), time.Now()
	defer func() { c.waited += time.Since(came) }()
	if err := c.room.Acquire(budget, n); err != nil {
		return nil, errSpent
	}
	yield, err := c.elastic.Enter(budget)
	if err != nil {
		c.room.Release(n)
		return nil, errSpent
	}
	return func() {
		yield()
		c.room.Release(n)
	}, nil
}
