package summary

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/summary"
)

// newcomers are the users whom a run counted as new, with the instant.
type newcomers struct {
	users  []uint64
	millis []int64
}

// see tells the visitors' store who was seen and the facts who is new. Hours
// outside the plan in which a user ceases to be new are marked dirty first:
// should we die before the end, they are found again.
func (c *closing) see(ctx context.Context, facts *summary.Facts, p *plan) (newcomers, error) {
	users, millis := facts.Firsts()
	if len(users) == 0 {
		return newcomers{}, nil
	}
	before, err := c.loader.FirstSeen(ctx, &c.m, users)
	if err != nil {
		return newcomers{}, err
	}
	if err := c.reopen(ctx, p, millis, before); err != nil {
		return newcomers{}, err
	}
	sctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stood, err := c.seeEarlier(sctx, users, millis, before)
	if err != nil {
		return newcomers{}, fmt.Errorf("cannot record visitors: %w", err)
	}
	// Another may have been at it between the two calls.
	for i := range stood {
		if stood[i] == before[i] {
			before[i] = math.MaxInt64
		} else {
			before[i] = stood[i]
		}
	}
	if err := c.reopen(ctx, p, millis, before); err != nil {
		return newcomers{}, err
	}
	facts.SetFirstSeen(users, stood)
	var n newcomers
	for i := range users {
		if stood[i] >= millis[i] {
			n.users, n.millis = append(n.users, users[i]), append(n.millis, millis[i])
		}
	}
	return n, nil
}

// seeEarlier tells the visitors' store of the users who were not known to be
// seen so early, and returns what stood there of all. Whom it leaves out it
// could not change; should another lower one of these meanwhile, stillNew
// finds out.
func (c *closing) seeEarlier(ctx context.Context, users []uint64, millis, before []int64) ([]int64, error) {
	var earlier []int
	for i := range users {
		if millis[i] < before[i] {
			earlier = append(earlier, i)
		}
	}
	if len(earlier) == len(users) {
		return c.Visitors.See(ctx, c.m.ID, c.m.Generation, users, millis)
	}
	stood := slices.Clone(before)
	if len(earlier) == 0 {
		return stood, nil
	}
	some, at := make([]uint64, len(earlier)), make([]int64, len(earlier))
	for k, i := range earlier {
		some[k], at[k] = users[i], millis[i]
	}
	found, err := c.Visitors.See(ctx, c.m.ID, c.m.Generation, some, at)
	if err != nil {
		return nil, err
	}
	for k, i := range earlier {
		stood[i] = found[k]
	}
	return stood, nil
}

// reopen marks hours dirty in which users cease to be new, but for those that
// are counted now.
func (c *closing) reopen(ctx context.Context, p *plan, millis, before []int64) error {
	var hours []event.Hour
	for _, h := range summary.Reopened(millis, before) {
		w := summary.Of(h, h+1)
		counted := true
		for _, window := range c.cal.Hours(w.From, w.To) {
			counted = counted && p.counts(window)
		}
		if !counted {
			hours = append(hours, h)
		}
	}
	return c.markDirty(ctx, slices.Compact(hours))
}

// stillNew reports whether the users who were counted as new still are: if
// another instance has seen one of them earlier since, it did not know that
// our hour counts it, too.
func (c *closing) stillNew(ctx context.Context, n newcomers) (bool, error) {
	if len(n.users) == 0 {
		return true, nil
	}
	now, err := c.loader.FirstSeen(ctx, &c.m, n.users)
	if err != nil {
		return false, err
	}
	for i := range now {
		if now[i] < n.millis[i] {
			return false, nil
		}
	}
	return true, nil
}
