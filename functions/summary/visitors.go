package summary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// newcomers are the users whom a run counted as new, with the instant.
type newcomers struct {
	users  []uint64
	millis []int64
}

// seeTries is how often see looks again at users whom another instance has seen at the same
// time.
const seeTries = 10

// see tells the visitors' store who was seen and the facts who is new. Hours
// outside the plan in which a user ceases to be new are marked dirty first:
// should we die before the end, they are found again. Whom another has seen
// meanwhile, earlier than was known, is so looked at again.
func (c *closing) see(ctx context.Context, facts *summary.Facts, p *plan) (newcomers, error) {
	users, millis := facts.Firsts()
	if len(users) == 0 {
		return newcomers{}, nil
	}
	before, err := c.loader.FirstSeen(ctx, &c.m, users)
	if err != nil {
		return newcomers{}, err
	}
	// Whom we have not seen earlier than was known we could not change; should another
	// lower one of these meanwhile, stillNew finds out.
	var earlier []int
	for i := range users {
		if millis[i] < before[i] {
			earlier = append(earlier, i)
		}
	}
	for range seeTries {
		if earlier, err = c.seeEarlier(ctx, p, earlier, users, millis, before); err != nil || len(earlier) == 0 {
			break
		}
	}
	if err == nil && len(earlier) > 0 {
		err = fault.New(fault.Transient, "cannot record visitors: others keep seeing %d of the same", len(earlier))
	}
	if err != nil {
		return newcomers{}, err
	}
	facts.SetFirstSeen(users, before)
	var n newcomers
	for i := range users {
		if before[i] >= millis[i] {
			n.users, n.millis = append(n.users, users[i]), append(n.millis, millis[i])
		}
	}
	return n, nil
}

// seeEarlier tells the visitors' store of users, by their places, who were not known to be
// seen so early, and returns those of whom something else is known by now, which before then
// says, and who were seen later than we say all the same.
func (c *closing) seeEarlier(ctx context.Context, p *plan, places []int, users []uint64, millis, before []int64) ([]int, error) {
	if len(places) == 0 {
		return nil, nil
	}
	some, at, known := make([]uint64, len(places)), make([]int64, len(places)), make([]int64, len(places))
	for k, i := range places {
		some[k], at[k], known[k] = users[i], millis[i], before[i]
	}
	if err := c.reopen(ctx, p, at, known); err != nil {
		return nil, err
	}
	sctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stood, err := c.Visitors.See(sctx, c.m.ID, c.m.Generation, some, at, known)
	if err != nil {
		err = fmt.Errorf("cannot record visitors: %w", err)
	}
	// Another may have counted an hour of these meanwhile, with whoever is new there, and
	// taken its marks off. We shall not count it then, either.
	unseen := context.WithoutCancel(ctx)
	if now, e := c.claimedNow(unseen); e != nil || now != c.claimed {
		err = errors.Join(err, c.markDirty(unseen, summary.Reopened(at, known)))
	}
	if err != nil {
		return nil, err
	}
	var again []int
	for k, i := range places {
		if stood[k] != known[k] {
			if before[i] = stood[k]; millis[i] < stood[k] {
				again = append(again, i)
			}
		}
	}
	return again, nil
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
