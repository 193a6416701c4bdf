package history

import (
	"context"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// Open is what records do not hold of a merchant's data at one moment.
type Open struct {
	// Dirty are the hours with new documents, up to Reach after the range:
	// ascending UTC hours.
	Dirty []event.Hour
	// Stale are the hours of the range whose records must not be used: the
	// dirty ones and those whose numbers they change. Ascending UTC hours.
	Stale []event.Hour

	first map[uint64]int64 // when users were first seen in dirty hours, ms
}

// Touches reports whether a stale hour overlaps the window: then it must be
// counted from documents.
func (o *Open) Touches(w summary.Window) bool { return touches(o.Stale, w) }

func touches(stale []event.Hour, w summary.Window) bool {
	from, to := w.UTCHours()
	i, _ := slices.BinarySearch(stale, from)
	return i < len(stale) && stale[i] < to
}

// maxAffected is the number of dirty hours up to which the hours that they
// affect are worked out. During an import there are more: then every hour
// within Reach of one counts as affected.
const maxAffected = 48

// longestRun is how many hours are read at once to see what they change.
const longestRun event.Hour = 96

// Open works out which hours of [from, to) reports of a merchant in a view must
// count from documents.
// It is to be asked before records are read: a record that is written later
// holds more and not less. newUsers asks for what new users take: then the
// first sight of users in dirty hours before the range matters, too.
func (l *Loader) Open(ctx context.Context, m *access.Merchant, from, to event.Hour, newUsers bool) (*Open, error) {
	first := from - summary.Reach
	if newUsers {
		first = firstHour
	}
	dirty, err := l.dirtyOf(ctx, m, first, to+summary.Reach)
	if err != nil {
		return nil, err
	}
	o := &Open{Dirty: dirty, first: map[uint64]int64{}}
	stale := map[event.Hour]bool{}
	for _, h := range dirty {
		stale[h] = true
	}
	for _, run := range Runs(dirty, longestRun) {
		if err := l.openRun(ctx, m, run, o, stale, newUsers); err != nil {
			return nil, err
		}
	}
	if newUsers {
		if err := l.reopened(ctx, m, o, stale); err != nil {
			return nil, err
		}
	}
	for h := range stale {
		if h >= from && h < to {
			o.Stale = append(o.Stale, h)
		}
	}
	slices.Sort(o.Stale)
	return o, nil
}

func (l *Loader) dirtyOf(ctx context.Context, m *access.Merchant, from, to event.Hour) ([]event.Hour, error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	hours, err := l.processed.DirtyOf(ctx, m.ID, Queues(m), from, to)
	if err != nil {
		return nil, fmt.Errorf("cannot list dirty hours of %q: %w", m.ID, err)
	}
	return hours, nil
}

// openRun looks at dirty hours that lie close together.
func (l *Loader) openRun(ctx context.Context, m *access.Merchant, run []event.Hour, o *Open, stale map[event.Hour]bool, newUsers bool) error {
	many := len(run) > maxAffected
	if many {
		for _, h := range run {
			for n := h - summary.Reach; n <= h+summary.Reach; n++ {
				stale[n] = true
			}
		}
		if !newUsers {
			return nil
		}
	}
	w := summary.Of(run[0], run[len(run)-1]+1)
	near, err := l.Near(ctx, m, processed.Columns{Text: summary.ResolveText}, w)
	if err != nil {
		return err
	}
	settings := SettingsOf(m.Settings)
	if !many {
		for _, h := range summary.Affected(run, near.Frame(), settings) {
			stale[h] = true
		}
	}
	if newUsers {
		users, millis := summary.Resolve(near.Frame(), w, settings).Firsts()
		for i, u := range users {
			if at, ok := o.first[u]; !ok || millis[i] < at {
				o.first[u] = millis[i]
			}
		}
	}
	return nil
}

// reopened adds the hours in which users cease to be new.
func (l *Loader) reopened(ctx context.Context, m *access.Merchant, o *Open, stale map[event.Hour]bool) error {
	users := make([]uint64, 0, len(o.first))
	millis := make([]int64, 0, len(o.first))
	for u, at := range o.first {
		users = append(users, u)
		millis = append(millis, at)
	}
	before, err := l.FirstSeen(ctx, m, users)
	if err != nil {
		return err
	}
	for _, h := range summary.Reopened(millis, before) {
		stale[h] = true
	}
	return nil
}

// Runs cuts ascending hours into runs that are best read at once: where the
// gap is longer than what lies around both sides, and where a run gets so long
// that its events would fill the memory.
func Runs(hours []event.Hour, longest event.Hour) [][]event.Hour {
	var out [][]event.Hour
	start := 0
	for i := 1; i <= len(hours); i++ {
		if i == len(hours) || hours[i]-hours[i-1] > 2*summary.Reach || hours[i]-hours[start] >= longest {
			out = append(out, hours[start:i])
			start = i
		}
	}
	return out
}
