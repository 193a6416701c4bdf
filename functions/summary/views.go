package summary

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/view"
)

// closeView counts the hours that are marked for one view, and brings a new one
// to where it may be shown. One that was given up it removes.
func (s *Service) closeView(ctx, budget context.Context, dirty []store.DirtyHour, late *lateness) error {
	id, generation, hours := dirty[0].Merchant, uint32(dirty[0].Queue), hoursOf(dirty)
	m, shown, err := s.merchantShown(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil // as of any merchant that is not registered
	}
	if err != nil {
		return err
	}
	v, known := m.ViewOf(generation)
	if !known && generation > m.Generation {
		return nil // it is about to be made known
	}
	if !known || v.State == access.ViewGone || s.outdated(&m, &v) {
		if err := s.remove(ctx, &m, generation); err != nil {
			return fmt.Errorf("cannot remove a view: %w", err)
		}
		return nil
	}
	isShown := v.Generation == shown.Generation
	began, again := time.Now(), isShown && v.State == access.ViewReady
	if again && !s.free(id, began, late) {
		return nil // what it has in its queue was reopened: it is held back as late events are
	}
	c, err := s.closing(&m, v, isShown, late.watermark)
	if err == nil {
		if again {
			defer c.worked(began)
		}
		err = c.advance(ctx, budget, hours)
	}
	if err != nil {
		return fmt.Errorf("cannot count view %d of %q: %w", generation, id, err)
	}
	return nil
}

// advance closes hours of the view, all of them where it is new.
func (c *closing) advance(ctx, budget context.Context, hours []event.Hour) (err error) {
	if c.view.State == access.ViewNew {
		if err := c.markAll(ctx); err != nil {
			return err
		}
		if err := c.become(ctx, access.ViewNew, access.ViewBuilding); err != nil {
			return err
		}
		if hours, err = c.left(ctx); err != nil {
			return err
		}
	}
	if err := c.runs(ctx, budget, hours); err != nil || spent(budget) {
		return err
	}
	triggered := len(hours) > 0 && hours[0] == 0 // by what a death left behind
	if c.view.State == access.ViewBuilding {
		left, err := c.left(ctx)
		if err != nil || len(left) > 0 {
			return err
		}
		if err := c.appoint(ctx); err != nil {
			return err
		}
		triggered = true
	}
	if !triggered || c.view.State != access.ViewReady {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.Processed.Clean(ctx, []store.Mark{view.Trigger(c.m.ID, c.view.Generation)}); err != nil {
		return fmt.Errorf("cannot take its trigger off: %w", err)
	}
	return nil
}

// markAll marks all hours with documents for the view.
func (c *closing) markAll(ctx context.Context) error {
	ectx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	first, last, some, err := c.Processed.Extent(ectx, c.m.ID, c.m.Layers.Revisions()...)
	if err != nil {
		return fmt.Errorf("cannot find its events: %w", err)
	}
	for from := first; some && from <= last; from += rebuildSpan {
		if err := c.markHours(ctx, &c.m, store.Queue(c.view.Generation), from, min(from+rebuildSpan, last+1)); err != nil {
			return err
		}
	}
	return nil
}

// left are the hours that end by the watermark and are still to be counted.
func (c *closing) left(ctx context.Context) ([]event.Hour, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	hours, err := c.Processed.DirtyOf(ctx, c.m.ID, []store.Queue{store.Queue(c.view.Generation)}, 1, event.HourOf(c.watermark))
	if err != nil {
		return nil, fmt.Errorf("cannot list what is left: %w", err)
	}
	return hours, nil
}

// become brings the view from one state to the next, where nobody else has.
func (c *closing) become(ctx context.Context, from, to access.ViewState) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	m, err := c.sweeper.Change(ctx, c.m.ID, func(m access.Merchant) (access.Merchant, bool) {
		v, known := m.ViewOf(c.view.Generation)
		return m.WithState(v.Generation, to, c.Clock().UTC().Truncate(time.Millisecond)), known && v.State == from
	})
	if err != nil {
		return err
	}
	if v, known := m.ViewOf(c.view.Generation); known {
		c.view.State = v.State
	} else {
		c.view.State = access.ViewGone
	}
	return nil
}

// appoint makes the view one that may be shown, and sees to it that those in
// whose place it is are looked at when their time is over.
func (c *closing) appoint(ctx context.Context) error {
	m, err := c.merchant(ctx, c.m.ID)
	if err != nil {
		return err
	}
	var marks []store.Mark
	for _, v := range m.AllViews() {
		if v.State == access.ViewReady && v.Generation < c.view.Generation && v.Layers.Equal(c.view.Layers) {
			at := c.Clock().Add(c.cfg.ViewGrace)
			if _, already := m.Superseded(&v); already {
				at = c.Clock()
			}
			marks = append(marks, view.Later(m.ID, v.Generation, at.Add(overtaken)))
		}
	}
	if len(marks) > 0 {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
		if err := c.Processed.Mark(ctx, marks); err != nil {
			return fmt.Errorf("cannot mark when older views are to be removed: %w", err)
		}
	}
	return c.become(ctx, access.ViewBuilding, access.ViewReady)
}

// overtaken is how long a view is kept at least that is not shown any more:
// longer than anybody answers by what it knew of the merchant before.
const overtaken = time.Minute

// outdated reports whether a view need not be kept, for a newer one of the same
// layers has been shown for long. One such view is kept for the grace, older
// ones are not.
func (s *Service) outdated(m *access.Merchant, v *access.View) bool {
	since, superseded := m.Superseded(v)
	if !superseded {
		return false
	}
	newer := slices.ContainsFunc(m.AllViews(), func(o access.View) bool {
		_, too := m.Superseded(&o)
		return too && o.Generation > v.Generation && o.Layers.Equal(v.Layers)
	})
	age := s.Clock().Sub(since)
	return age >= s.cfg.ViewGrace || newer && age >= overtaken
}

// remove removes a view that is outdated, was given up, or of which something
// is left.
func (s *Service) remove(ctx context.Context, m *access.Merchant, generation uint32) error {
	if _, known := m.ViewOf(generation); !known {
		return s.sweeper.Remains(ctx, m.ID, generation)
	}
	return s.sweeper.Sweep(ctx, m.ID, func(m *access.Merchant, v *access.View) bool {
		return v.Generation == generation && s.outdated(m, v)
	})
}
