package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Marks takes marks; store.Processed is one.
type Marks interface {
	Mark(ctx context.Context, marks []store.Mark) error
}

// Keeper writes merchants whose views change.
type Keeper struct {
	Registry store.Registry
	Marks    Marks
}

// Trigger is a mark of no document that has the summary function look at a
// view: of an hour before all events, so that it is always due. It stands from
// before a view is made known until it is ready, and from before it is given up
// until nothing is left of it.
func Trigger(merchant string, generation uint32) store.Mark {
	return store.Mark{Merchant: merchant, Queue: store.Queue(generation)}
}

// IsTrigger reports whether a mark was made by Trigger.
func IsTrigger(m store.Mark) bool { return m.Hour == 0 && m.Batch == event.BatchID{} }

// Later is a mark of no document that has the summary function look at a view
// when an instant has passed.
func Later(merchant string, generation uint32, at time.Time) store.Mark {
	return store.Mark{Merchant: merchant, Queue: store.Queue(generation), Hour: event.HourOf(at)}
}

// Update replaces a merchant, as Registry.UpdateMerchant does. before is what
// after was made of.
func (k *Keeper) Update(ctx context.Context, before, after *access.Merchant) error {
	var marks []store.Mark
	for _, v := range after.AllViews() {
		if was, known := before.ViewOf(v.Generation); (v.State == access.ViewNew || v.State == access.ViewGone) && (!known || was.State != v.State) {
			marks = append(marks, Trigger(after.ID, v.Generation))
		}
	}
	if len(marks) > 0 {
		if err := k.Marks.Mark(ctx, marks); err != nil {
			return fmt.Errorf("cannot mark what is to be counted of merchant %q: %w", after.ID, err)
		}
	}
	return k.Registry.UpdateMerchant(ctx, *after)
}

// maxConflicts is how often a change that others overtake is tried.
const maxConflicts = 8

// Change reads a merchant, lets f change it and writes it back, again where
// somebody else came between. f reports whether there is anything to change.
// What is returned is as it is stored.
func (k *Keeper) Change(ctx context.Context, id string, f func(access.Merchant) (access.Merchant, bool)) (access.Merchant, error) {
	for try := 1; ; try++ {
		before, err := k.Registry.Merchant(ctx, id)
		if err != nil {
			return before, fmt.Errorf("cannot read merchant %q: %w", id, err)
		}
		after, changed := f(before)
		if !changed {
			return before, nil
		}
		err = k.Update(ctx, &before, &after)
		if err == nil {
			after.Version++
			return after, nil
		}
		if !fault.Is(err, fault.Conflict) || try == maxConflicts {
			return before, fmt.Errorf("cannot change the views of merchant %q: %w", id, err)
		}
	}
}

// Add gives a merchant a view of layers under the settings that were asked for
// last, or finds the one that it has. of is asked for the layers each time that
// the merchant was read; it reports whether a view is wanted.
func (k *Keeper) Add(ctx context.Context, id string, now time.Time, of func(*access.Merchant) (access.Layers, bool)) (access.Merchant, error) {
	return k.Change(ctx, id, func(m access.Merchant) (access.Merchant, bool) {
		layers, wanted := of(&m)
		if !wanted {
			return m, false
		}
		after, _ := m.WithView(layers, now)
		return after, !slices.EqualFunc(m.AllViews(), after.AllViews(), sameState)
	})
}

func sameState(a, b access.View) bool { return a.Generation == b.Generation && a.State == b.State }

// Sweeper removes views.
type Sweeper struct {
	Keeper
	processed store.Processed
	visitors  store.Visitors
	summaries store.Summaries
	clock     func() time.Time
}

// NewSweeper removes views of merchants from these stores.
func NewSweeper(r store.Registry, p store.Processed, v store.Visitors, s store.Summaries, clock func() time.Time) *Sweeper {
	return &Sweeper{Keeper: Keeper{Registry: r, Marks: p}, processed: p, visitors: v, summaries: s, clock: clock}
}

// Sweep gives up those views of a merchant that pick picks, and then removes
// with them all that are given up: their summaries, visitors and marks. A view
// that is shown must not be picked, nor one that still may be; the last one is
// never given up. pick may be nil. Documents of revisions stay.
func (s *Sweeper) Sweep(ctx context.Context, id string, pick func(m *access.Merchant, v *access.View) bool) error {
	m, err := s.Change(ctx, id, func(m access.Merchant) (access.Merchant, bool) {
		views := m.AllViews()
		left := 0
		for i := range views {
			if views[i].State != access.ViewGone {
				left++
			}
		}
		changed := false
		for i := range views {
			if v := &views[i]; pick != nil && v.State != access.ViewGone && left > 1 && pick(&m, v) {
				m = m.WithState(v.Generation, access.ViewGone, time.Time{})
				changed = true
				left--
			}
		}
		return m, changed
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range m.AllViews() {
		if v.State == access.ViewGone {
			errs = append(errs, s.remove(ctx, id, v.Generation))
		}
	}
	return errors.Join(errs...)
}

// remove removes a view that is given up: what it holds first, then the view,
// and its marks last, for they lead here again. Within the hour it is looked at
// once more: somebody may have been at it who read the merchant before, and
// died before he saw that he should not be.
func (s *Sweeper) remove(ctx context.Context, id string, generation uint32) error {
	if err := s.drop(ctx, id, generation); err != nil {
		return err
	}
	if _, err := s.Change(ctx, id, func(m access.Merchant) (access.Merchant, bool) {
		_, there := m.ViewOf(generation)
		return m.Without(generation), there
	}); err != nil {
		return err
	}
	if err := s.dropQueue(ctx, id, generation); err != nil {
		return err
	}
	if err := s.Marks.Mark(ctx, []store.Mark{Later(id, generation, s.clock())}); err != nil {
		return fmt.Errorf("cannot mark when view %d of merchant %q is looked at once more: %w", generation, id, err)
	}
	return nil
}

// Remains removes what stands under a generation that a merchant has not any
// more. It must have had it: a higher one may be about to be made known.
func (s *Sweeper) Remains(ctx context.Context, id string, generation uint32) error {
	if err := s.drop(ctx, id, generation); err != nil {
		return err
	}
	return s.dropQueue(ctx, id, generation)
}

func (s *Sweeper) drop(ctx context.Context, id string, generation uint32) error {
	if err := s.summaries.Drop(ctx, id, generation); err != nil {
		return fmt.Errorf("cannot remove the summaries of view %d of merchant %q: %w", generation, id, err)
	}
	if err := s.visitors.Drop(ctx, id, generation); err != nil {
		return fmt.Errorf("cannot remove the visitors of view %d of merchant %q: %w", generation, id, err)
	}
	return nil
}

func (s *Sweeper) dropQueue(ctx context.Context, id string, generation uint32) error {
	if err := s.processed.DropQueue(ctx, id, store.Queue(generation)); err != nil {
		return fmt.Errorf("cannot remove the marks of view %d of merchant %q: %w", generation, id, err)
	}
	return nil
}
