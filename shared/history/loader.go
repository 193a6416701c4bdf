package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Options of a Loader; the zero value is usable.
type Options struct {
	// CacheBytes bounds the memory of decoded documents; 0 caches nothing.
	CacheBytes int64
	// MaxRows bounds how many events one Load takes into memory; 0 is no
	// bound.
	MaxRows int
	// Timeout bounds each call of a store; 0 is DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is how long one call of a store may take.
const DefaultTimeout = 30 * time.Second

// Loader reads processed data. It may be used by many goroutines at once.
type Loader struct {
	processed store.Processed
	visitors  store.Visitors
	options   Options
	cache     *cache
}

// New makes a loader over two stores.
func New(p store.Processed, v store.Visitors, o Options) *Loader {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Loader{processed: p, visitors: v, options: o, cache: newCache(o.CacheBytes)}
}

// Within is the loader with another bound of rows; both share one cache.
func (l *Loader) Within(maxRows int) *Loader {
	bounded := *l
	bounded.options.MaxRows = maxRows
	return &bounded
}

// errTooMany ends a scan that has met more rows than may be loaded.
var errTooMany = errors.New("too many events")

// Load reads a merchant's documents of the UTC hours [from, to) as one frame:
// each event of a batch once, although a batch may stand in several documents.
// More rows than Options.MaxRows are a fault of kind TooLarge. The frame is
// shared: it must not be written.
func (l *Loader) Load(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour, columns processed.Columns) (*processed.Frame, error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	// A batch counts once per hour: without the rows' identity and instant
	// that cannot be told.
	columns.Identity, columns.Actors = true, true
	view := viewOf(columns)
	u := processed.NewUnion(columns)
	var kept int64 // bytes that this load has added to the cache, about
	err := l.processed.Scan(ctx, merchant, rev, from, to, func(d store.Doc) error {
		if l.options.MaxRows > 0 && u.Len()+d.Events > l.options.MaxRows {
			return errTooMany
		}
		// A small document is decoded sooner than kept, and what fills the
		// cache alone would find nothing there the next time.
		if d.Events < cachedFrom || kept >= l.cache.most/2 {
			return u.Add(d.Data, nil)
		}
		f := l.cache.get(d.Key, view)
		if f == nil {
			var err error
			if f, err = processed.Decode(d.Data, columns); err != nil {
				return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
			}
			kept += l.cache.put(d.Key, view, f)
		}
		u.AddFrame(f, nil)
		return nil
	})
	if errors.Is(err, errTooMany) {
		return nil, &fault.Error{Kind: fault.TooLarge,
			Err: fmt.Errorf("cannot read the events of %q from %s to %s: more than %d", merchant, from, to, l.options.MaxRows)}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the events of %q: %w", merchant, err)
	}
	f, err := u.Frame()
	if err != nil {
		return nil, fmt.Errorf("cannot read the events of %q from %s to %s: %w", merchant, from, to, err)
	}
	return f, nil
}

// cachedFrom is from how many events on a document's frame is kept.
const cachedFrom = 32

// SettingsOf is what counting needs of a merchant's settings.
func SettingsOf(s access.Settings) summary.Settings {
	return summary.Settings{Currency: s.Currency, BotFilter: s.BotFilter, KeyEvents: s.KeyEvents}
}

// Facts reads and resolves a window. newUsers asks for new users, which takes
// a look-up for each user; open is what Open returned for a range that holds
// the window, and may be nil where all earlier hours are summarised.
func (l *Loader) Facts(ctx context.Context, m *access.Merchant, rev store.Revision, w summary.Window, columns processed.Columns, newUsers bool, open *Open) (*summary.Facts, error) {
	from, to := w.Needs()
	columns.Text |= summary.ResolveText
	f, err := l.Load(ctx, m.ID, rev, from, to, columns)
	if err != nil {
		return nil, err
	}
	facts := summary.Resolve(f, w, SettingsOf(m.Settings))
	if newUsers {
		if err := l.tellFirstSeen(ctx, m, facts, open); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

func (l *Loader) tellFirstSeen(ctx context.Context, m *access.Merchant, facts *summary.Facts, open *Open) error {
	users, _ := facts.Users()
	millis, err := l.FirstSeen(ctx, m, users)
	if err != nil {
		return err
	}
	if open != nil {
		for i, u := range users {
			if at, ok := open.first[u]; ok {
				millis[i] = min(millis[i], at)
			}
		}
	}
	facts.SetFirstSeen(users, millis)
	return nil
}

// FirstSeen asks the visitors' store when users were first seen, in ms since
// the Unix epoch; math.MaxInt64 for unknown ones.
func (l *Loader) FirstSeen(ctx context.Context, m *access.Merchant, users []uint64) ([]int64, error) {
	if len(users) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	millis, err := l.visitors.FirstSeen(ctx, m.ID, m.Generation, users)
	if err != nil {
		return nil, fmt.Errorf("cannot look up visitors of %q: %w", m.ID, err)
	}
	return millis, nil
}

// firstHour is before every hour that holds events.
const firstHour = event.Hour(math.MinInt32 / 2)
