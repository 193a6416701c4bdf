package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
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
	// CacheBytes bounds the memory of decoded documents and packed facts; 0 caches
	// nothing.
	CacheBytes int64
	// MaxRows bounds how many events one Load takes into memory; 0 is no
	// bound.
	MaxRows int
	// FewAround is how many events around what is counted are taken as they come,
	// where to pass some over would cost as much; 0 is DefaultFewAround, and less
	// is none.
	FewAround int
	// Timeout bounds each call of a store; 0 is DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is how long one call of a store may take.
const DefaultTimeout = 30 * time.Second

// DefaultFewAround of events take some ms.
const DefaultFewAround = 1 << 14

// Loader reads processed data. It may be used by many goroutines at once.
type Loader struct {
	processed store.Processed
	visitors  store.Visitors
	options   Options
	cache     *cache
	lean      bool
	records   store.Summaries // that say which hours were closed; nil where none is to wait
	openRows  int             // of a busy merchant's open hours
	leaving   *sync.Mutex     // held by the one whose tally lets go of rows
}

// New makes a loader over two stores.
func New(p store.Processed, v store.Visitors, o Options) *Loader {
	o.Timeout, o.FewAround = cmp.Or(o.Timeout, DefaultTimeout), cmp.Or(o.FewAround, DefaultFewAround)
	return &Loader{processed: p, visitors: v, options: o, cache: newCache(o.CacheBytes), leaving: new(sync.Mutex)}
}

// Within is the loader with another bound of rows; both share one cache.
func (l *Loader) Within(maxRows int) *Loader {
	bounded := *l
	bounded.options.MaxRows = maxRows
	return &bounded
}

// Uncached is the loader without the cache, for what is read once.
func (l *Loader) Uncached() *Loader {
	own := *l
	own.cache = newCache(0)
	return &own
}

// Lean is the loader whose Facts have no rows of sessions (summary.ResolveLean).
func (l *Loader) Lean() *Loader {
	lean := *l
	lean.lean = true
	return &lean
}

// Waiting is the loader that has late hours of busy merchants wait, where they have
// records. Who follows one counts up to so many rows of his open hours, and of the one
// before, even where the hours around them have more than Options.MaxRows.
func (l *Loader) Waiting(records store.Summaries, openRows int) *Loader {
	own := *l
	own.records, own.openRows = records, openRows
	return &own
}

// errTooMany ends a scan that has met more rows than may be loaded.
var errTooMany = errors.New("too many events")

// Load reads the documents of a merchant in a view (access.Merchant.In) of the
// UTC hours [from, to) as one frame: each event of a batch once, although a
// batch may stand in several documents, and as the revision says that owns the
// batch. More rows than Options.MaxRows are a fault of kind TooLarge. The frame
// is shared: it must not be written.
func (l *Loader) Load(ctx context.Context, m *access.Merchant, from, to event.Hour, columns processed.Columns) (*processed.Frame, error) {
	hours := stretch{from, to}
	f, err := l.load(ctx, m, hours, columns, nil)
	if err != nil {
		return nil, l.readFault(m, hours, err)
	}
	return f, nil
}

// load is Load that ends with errTooMany, too, where more says of a document that it is
// one too many.
func (l *Loader) load(ctx context.Context, m *access.Merchant, hours stretch, columns processed.Columns, more func(store.Doc) bool) (*processed.Frame, error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	// A batch counts once per hour: without the rows' identity and instant
	// that cannot be told.
	columns.Identity, columns.Actors = true, true
	r := loading{Loader: l, columns: columns, view: viewOf(columns), union: processed.NewUnion(columns)}
	for _, rev := range m.Layers.Revisions() {
		err := l.scan(ctx, m, rev, hours.from, hours.to, func(d store.Doc, keep processed.Keep) error {
			if more != nil && !more(d) {
				return errTooMany
			}
			return r.add(d, keep)
		})
		if err != nil {
			return nil, err
		}
	}
	return r.union.Frame()
}

// Events is how many rows a merchant's documents of some hours have, in order. Of what
// stands twice each counts.
func (l *Loader) Events(ctx context.Context, m *access.Merchant, hours []event.Hour) (int, error) {
	var all []stretch
	for _, h := range hours {
		all = append(all, stretch{h, h + 1})
	}
	rows, err := l.rowsOf(ctx, m, joined(all))
	return rows.in(all), err
}

// readFault is the fault of reading a merchant's hours.
func (l *Loader) readFault(m *access.Merchant, hours stretch, err error) error {
	if errors.Is(err, errTooMany) {
		return &fault.Error{Kind: fault.TooLarge,
			Err: fmt.Errorf("cannot read the events of %q from %s to %s: more than %d", m.ID, hours.from, hours.to, l.options.MaxRows)}
	}
	return fmt.Errorf("cannot read the events of %q from %s to %s: %w", m.ID, hours.from, hours.to, err)
}

// scan calls fn with each document of a revision that may have rows that count,
// and with what says which do.
func (l *Loader) scan(ctx context.Context, m *access.Merchant, rev store.Revision, from, to event.Hour, fn func(store.Doc, processed.Keep) error) error {
	o := ownedOf(m, rev)
	return l.processed.Scan(ctx, m.ID, rev, from, to, func(d store.Doc) error {
		if !o.some(d.Key) {
			return nil
		}
		return fn(d, o.of(d.Key))
	})
}

// each is scan of all revisions of some hours.
func (l *Loader) each(ctx context.Context, m *access.Merchant, hours stretch, fn func(store.Doc, processed.Keep) error) error {
	for _, rev := range m.Layers.Revisions() {
		if err := l.within(ctx, func(ctx context.Context) error {
			return l.scan(ctx, m, rev, hours.from, hours.to, func(d store.Doc, keep processed.Keep) error {
				if err := fn(d, keep); err != nil {
					return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
				}
				return nil
			})
		}); err != nil {
			return l.readFault(m, hours, err)
		}
	}
	return nil
}

// pick is scan of the documents that want asks for.
func (l *Loader) pick(ctx context.Context, m *access.Merchant, rev store.Revision, from, to event.Hour, want func(store.DocKey, int) bool, fn func(store.Doc, processed.Keep) error) error {
	o := ownedOf(m, rev)
	return l.processed.Pick(ctx, m.ID, rev, from, to, func(k store.DocKey, events int) bool { return o.some(k) && want(k, events) },
		func(d store.Doc) error { return fn(d, o.of(d.Key)) })
}

// owned says what of a revision's documents counts.
type owned struct {
	keep  processed.Keep // nil: all
	whole bool           // what the ETL wrote is of one batch, until it is merged
}

func ownedOf(m *access.Merchant, rev store.Revision) owned {
	if len(m.Layers) == 0 {
		return owned{}
	}
	return owned{func(b event.BatchID) bool { return m.Layers.Owner(b.Millis()) == rev }, rev == store.LiveRevision}
}

// some reports whether a document may have rows that count.
func (o *owned) some(k store.DocKey) bool { return !o.whole || k.IsMerged() || o.keep(k.Batch) }

// of says which rows do, of a document that may have some.
func (o *owned) of(k store.DocKey) processed.Keep {
	if o.whole && !k.IsMerged() {
		return nil
	}
	return o.keep
}

// loading is a frame that is being read.
type loading struct {
	*Loader
	columns processed.Columns
	view    string // of columns
	union   *processed.Union
	kept    int64 // bytes that this load has added to the cache, about
}

func (l *loading) add(d store.Doc, keep processed.Keep) error {
	if l.options.MaxRows > 0 && l.union.Len()+d.Events > l.options.MaxRows {
		return errTooMany
	}
	// A small document is decoded sooner than kept, and what fills the
	// cache alone would find nothing there the next time.
	if d.Events < cachedFrom || l.kept >= l.cache.most/2 {
		return l.union.Add(d.Data, keep)
	}
	f := l.cache.get(d.Key, l.view)
	if f == nil {
		var err error
		if f, err = processed.Decode(d.Data, l.columns); err != nil {
			return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
		}
		l.kept += l.cache.put(d.Key, l.view, f)
	}
	l.union.AddFrame(f, keep)
	return nil
}

// errFound ends a scan that has found what it was for.
var errFound = errors.New("found")

// Inhabited finds where in a window there are rows that count, and tells an
// instant (ms) before which there are none; ok is false where there are none at
// all. Only at the window's edges, where they cut an hour of UTC, are rows
// looked at.
func (l *Loader) Inhabited(ctx context.Context, m *access.Merchant, w summary.Window) (first int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	from, to := w.UTCHours()
	for _, rev := range m.Layers.Revisions() {
		err := l.scan(ctx, m, rev, from, to, func(d store.Doc, keep processed.Keep) error {
			hour := summary.Of(d.Key.Hour, d.Key.Hour+1)
			at := max(hour.From, w.From)
			whole := hour.From >= w.From && hour.To <= w.To
			if keep != nil || !whole {
				f, err := processed.Decode(d.Data, processed.Columns{Identity: keep != nil, Actors: !whole})
				if err != nil {
					return fmt.Errorf("cannot read document of batch %s, hour %s: %w", d.Key.Batch, d.Key.Hour, err)
				}
				if !inhabits(f, keep, w, whole) {
					return nil
				}
			}
			if !ok || at < first {
				first, ok = at, true
			}
			return errFound
		})
		if err != nil && !errors.Is(err, errFound) {
			return 0, false, fmt.Errorf("cannot find the events of %q: %w", m.ID, err)
		}
	}
	return first, ok, nil
}

// inhabits reports whether a frame has a row that is kept and, unless the whole
// frame is known to be, lies in the window.
func inhabits(f *processed.Frame, keep processed.Keep, w summary.Window, whole bool) bool {
	for row := range f.Len {
		if (keep == nil || keep(f.Batches[f.Batch[row]])) && (whole || f.Millis[row] >= w.From && f.Millis[row] < w.To) {
			return true
		}
	}
	return false
}

// Queues are the lists of hours that are still to be counted for a merchant in
// a view: what came lately and is marked for all views, and what is marked for
// this one.
func Queues(m *access.Merchant) []store.Queue {
	return []store.Queue{store.LiveQueue, store.Queue(m.Generation)}
}

// cachedFrom is from how many events on a document's frame is kept.
const cachedFrom = 32

// SettingsOf is what counting needs of a merchant's settings.
func SettingsOf(s access.Settings) summary.Settings {
	return summary.Settings{Currency: s.Currency, BotFilter: s.BotFilter, InternalFilter: s.InternalFilter, KeyEvents: s.KeyEvents, Inactivity: s.SessionTimeout(), ChannelRules: s.ChannelRules, Rates: ratesOf(s)}
}

// ratesOf are the rates with the instants at which the merchant's days begin.
func ratesOf(s access.Settings) []summary.Rate {
	if len(s.CurrencyRates) == 0 {
		return nil
	}
	cal, err := summary.NewCalendar(s.TimeZone)
	if err != nil {
		return nil // a zone that no merchant can have: nothing is counted on it
	}
	rates := make([]summary.Rate, len(s.CurrencyRates))
	for i, r := range s.CurrencyRates {
		rates[i] = summary.Rate{Currency: r.Currency, From: math.MinInt64, Rate: r.Rate}
		if day, ok := r.FromDate(); ok {
			rates[i].From = cal.DateStart(day.Date())
		}
	}
	return rates
}

// Facts reads and resolves a window of a merchant in a view. newUsers asks for new users, which takes
// a look-up for each user; open is what Open returned for a range that holds
// the window, and may be nil where all earlier hours are summarised.
func (l *Loader) Facts(ctx context.Context, m *access.Merchant, w summary.Window, columns processed.Columns, newUsers bool, open *Open) (*summary.Facts, error) {
	resolve, text := summary.Resolve, summary.ResolveText
	if l.lean {
		resolve, text = summary.ResolveLean, summary.LeanText
	}
	columns.Text |= text
	near, err := l.Near(ctx, m, columns, w)
	if err != nil {
		return nil, err
	}
	facts := resolve(near.Frame(), w, SettingsOf(m.Settings))
	if newUsers {
		if err := l.tellFirstSeen(ctx, m, facts, open); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

func (l *Loader) tellFirstSeen(ctx context.Context, m *access.Merchant, facts *summary.Facts, open *Open) error {
	users, _ := facts.Firsts()
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
