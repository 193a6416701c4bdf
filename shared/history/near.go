package history

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Near is what counting some hours takes: their rows, and those of Reach around them
// that have to do with these (summary.Near). Of a busy merchant's day around an hour
// they are few, and the others are passed over. It is for one goroutine.
type Near struct {
	loader  *Loader
	m       *access.Merchant
	columns processed.Columns
	copies  bool // of what is around, only what has an id of the hours' rows matters

	asked  []stretch // ascending, and apart
	frame  *processed.Frame
	looked stretch     // all hours that were looked at
	all    bool        // the frame holds all rows of them
	whole  []wholeRows // of what was asked; ascending
	met    map[event.Hour]bool
}

// wholeRows are all rows of some hours.
type wholeRows struct {
	stretch
	frame *processed.Frame
}

// manyHours are so many that what lies around is the smaller part.
const manyHours = 2 * summary.Reach

// Near reads what counting windows of a merchant in a view takes, which may be far less
// than Load reads: of the hours around the windows only rows that matter are kept, and
// count for Options.MaxRows. Windows lie at most twice Reach apart, for everything
// between them is looked at.
func (l *Loader) Near(ctx context.Context, m *access.Merchant, columns processed.Columns, windows ...summary.Window) (*Near, error) {
	n := &Near{loader: l, m: m, columns: columns, frame: &processed.Frame{}}
	return n, n.Add(ctx, windows...)
}

// Copies reads the rows of a window, and of those of Reach around it what has an id of
// theirs: enough to tell which of them are duplicates (summary.Duplicates). Of their columns
// it reads who they are of, and when.
func (l *Loader) Copies(ctx context.Context, m *access.Merchant, w summary.Window) (*processed.Frame, error) {
	n := &Near{loader: l, m: m, columns: processed.Columns{Identity: true, Actors: true}, copies: true, frame: &processed.Frame{}}
	err := n.Add(ctx, w)
	return n.frame, err
}

// Frame holds the rows. It is shared: it must not be written.
func (n *Near) Frame() *processed.Frame { return n.frame }

// Looked is where rows were looked at.
func (n *Near) Looked() summary.Window { return summary.Of(n.looked.from, n.looked.to) }

// Passed are the hours with rows that count of which not all need be in the frame.
func (n *Near) Passed() map[event.Hour]bool { return n.met }

// Add reads what counting more windows takes. After an error nothing else may be asked.
func (n *Near) Add(ctx context.Context, windows ...summary.Window) error {
	for _, w := range windows {
		from, to := w.UTCHours()
		n.asked = append(n.asked, stretch{from, to})
	}
	if n.asked = joined(n.asked); len(n.asked) == 0 {
		return nil
	}
	looked := stretch{n.asked[0].from - summary.Reach, n.asked[len(n.asked)-1].to + summary.Reach}
	var have []stretch
	for _, w := range n.whole {
		have = append(have, w.stretch)
	}
	missing := without(n.asked, have)
	if looked == n.looked && (n.all || len(missing) == 0) {
		return nil
	}
	n.looked = looked
	if len(n.whole) == 0 {
		done, err := n.takeAll(ctx)
		if done || err != nil {
			return err
		}
	}
	return n.sift(ctx, missing)
}

// takeAll reads everything, where there is not much. done is false where there is.
func (n *Near) takeAll(ctx context.Context) (done bool, err error) {
	hours, around := event.Hour(0), 0
	for _, s := range n.asked {
		hours += s.to - s.from
	}
	frame, err := n.loader.load(ctx, n.m, n.looked, n.columns, func(d store.Doc) bool {
		if !within(n.asked, d.Key.Hour) {
			around += d.Events
		}
		return around <= n.loader.options.FewAround || hours >= manyHours
	})
	if n.all = err == nil; n.all {
		n.frame = frame
	}
	if n.all || errors.Is(err, errTooMany) {
		return n.all, nil
	}
	return false, n.loader.readFault(n.m, n.looked, err)
}

// sift reads the missing ones of the hours that are asked for, and what matters of
// those around them.
func (n *Near) sift(ctx context.Context, missing []stretch) error {
	l := n.loader
	for _, s := range missing {
		frame, err := l.Load(ctx, n.m, s.from, s.to, n.columns)
		if err != nil {
			return err
		}
		n.whole = append(n.whole, wholeRows{s, frame})
	}
	slices.SortFunc(n.whole, func(a, b wholeRows) int { return cmp.Compare(a.from, b.from) })
	var hours []summary.Window
	var frames []*processed.Frame
	rows := 0
	for _, w := range n.whole {
		hours, frames = append(hours, summary.Of(w.from, w.to)), append(frames, w.frame)
		rows += w.frame.Len
	}
	if n.copies {
		around, err := n.siftAround(ctx, summary.Copies(frames...), rows)
		if err == nil {
			n.frame, err = n.together(around)
		}
		return err
	}
	near := summary.NewNear(hours, SettingsOf(n.m.Settings), frames...)
	for {
		around, err := n.siftAround(ctx, near.Sieve(), rows)
		if err != nil {
			return err
		}
		if n.frame, err = n.together(around); err != nil {
			return err
		}
		if !near.Grow(n.frame, func(ids []processed.ID) bool {
			return slices.ContainsFunc(around, func(s sifted) bool { return s.Skipped(ids) })
		}) {
			return nil
		}
	}
}

// sifted are the hours between those that are asked for, and before and after them.
type sifted struct {
	stretch
	*processed.Sift
}

func (n *Near) siftAround(ctx context.Context, sieve *processed.Sieve, rows int) ([]sifted, error) {
	l := n.loader
	n.met = map[event.Hour]bool{}
	var around []sifted
	for _, s := range without([]stretch{n.looked}, n.asked) {
		sift := processed.NewSift(n.columns, sieve)
		if err := l.each(ctx, n.m, s, func(d store.Doc, keep processed.Keep) error {
			before := sift.Len()
			some, err := sift.Add(d.Data, keep)
			if err != nil {
				return err
			}
			if some {
				n.met[d.Key.Hour] = true
			}
			if rows += sift.Len() - before; l.options.MaxRows > 0 && rows > l.options.MaxRows {
				return errTooMany
			}
			return nil
		}); err != nil {
			return nil, err
		}
		around = append(around, sifted{s, sift})
	}
	return around, nil
}

// together puts what was read into one frame, hour by hour.
func (n *Near) together(around []sifted) (*processed.Frame, error) {
	parts := slices.Clone(n.whole)
	for _, s := range around {
		parts = append(parts, wholeRows{s.stretch, s.Frame()})
	}
	slices.SortFunc(parts, func(a, b wholeRows) int { return cmp.Compare(a.from, b.from) })
	frames := make([]*processed.Frame, len(parts))
	for i, p := range parts {
		frames[i] = p.frame
	}
	return united(n.columns, frames)
}

// united is one frame of the rows of several that were read with the same columns.
func united(columns processed.Columns, frames []*processed.Frame) (*processed.Frame, error) {
	union := processed.NewUnion(columns)
	for _, f := range frames {
		union.AddFrame(f, nil)
	}
	return union.Frame()
}

// joined is the hours of some stretches, ascending and apart.
func joined(all []stretch) []stretch {
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var out []stretch
	for _, s := range all {
		if last := len(out) - 1; last >= 0 && s.from <= out[last].to {
			out[last].to = max(out[last].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// without is the hours of some stretches but for those of others, both ascending
// and apart.
func without(all, others []stretch) []stretch {
	var out []stretch
	for _, s := range all {
		for _, o := range others {
			if o.to <= s.from || o.from >= s.to {
				continue
			}
			if s.from < o.from {
				out = append(out, stretch{s.from, o.from})
			}
			s.from = o.to
		}
		if s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

func within(all []stretch, h event.Hour) bool {
	return slices.ContainsFunc(all, func(s stretch) bool { return s.from <= h && h < s.to })
}
