package summary

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// The store of records is a cache: it may be emptied, or a part of it that was
// one node of a cluster. Then nothing is dirty, and without more every report
// would be counted from documents for ever. So each tick looks for marks of
// ours that must be there as long as what was written with them is. Where one
// is missing a walk begins over all merchants: whoever's oldest day has no
// record gets the days that have none marked dirty, and is closed again as
// always. Walk and marks stand in the same store: what empties it during a walk
// begins another.
//
// Oldest day: a merchant's records stand and fall together, on one node, and
// days are marked from the newest to the oldest, so that the oldest has its
// record again only after all others were marked.

const (
	// rebuildMarks are spread over the nodes of a cluster by their names: of
	// thirty nodes each has one, but for a chance of one in six thousand.
	rebuildMarks = 256
	// rebuildPage is how many merchants are looked at between two notes of how
	// far the walk has come.
	rebuildPage = 200
	// rebuildSpan is how many hours are marked in one call.
	rebuildSpan = 31 * 24
)

// markKey is the key of a note of ours. No merchant is called so.
func markKey(name string, start int64) store.SummaryKey {
	return store.SummaryKey{Merchant: "!rebuild-" + name, Grain: store.GrainNote, Start: start}
}

// walk is how far a walk has come.
type walk struct {
	Begun  time.Time `json:"begun"`
	Cursor string    `json:"cursor"` // of Registry.Changes
	Marked int64     `json:"marked"` // hours
	Done   bool      `json:"done"`
}

// rebuild looks whether records were lost, and goes on with the walk that
// marks their hours, for a part of the tick's time.
func (s *Service) rebuild(ctx context.Context) error {
	id, w, err := s.currentWalk(ctx)
	if err != nil || w.Done {
		return err
	}
	budget, cancel := context.WithTimeout(ctx, s.cfg.RebuildBudget)
	defer cancel()
	for marked := int64(0); !spent(budget) && marked < int64(s.cfg.RebuildHours); {
		page, next, err := s.merchants(ctx, w.Cursor)
		if err != nil {
			return err
		}
		hours, err := s.markMissing(ctx, page)
		if err != nil {
			return err
		}
		marked += hours
		w.Marked, w.Cursor, w.Done = w.Marked+hours, next, len(page) < rebuildPage
		if err := s.putWalk(ctx, id, w); err != nil {
			return err
		}
		if w.Done {
			s.Log.Info("the store of records was looked through after a loss", "begun", w.Begun, "hours_marked", w.Marked)
			return nil
		}
	}
	return nil
}

// currentWalk finds the walk to go on with, and begins one where a mark is
// missing. Its state stands under its own number: an instance that is late goes
// on with its walk and disturbs no newer one.
func (s *Service) currentWalk(ctx context.Context) (id int64, w walk, err error) {
	current := markKey("walk", 0)
	keys := make([]store.SummaryKey, 0, 1+rebuildMarks)
	keys = append(keys, current)
	for i := range rebuildMarks {
		keys = append(keys, markKey(strconv.Itoa(i), 0))
	}
	data, err := s.getNotes(ctx, keys)
	if err != nil {
		return 0, w, err
	}
	if !slices.ContainsFunc(data, func(d []byte) bool { return d == nil }) {
		if id, err = strconv.ParseInt(string(data[0]), 10, 64); err == nil {
			state, err := s.getNotes(ctx, []store.SummaryKey{markKey("walk", id)})
			if err != nil {
				return 0, w, err
			}
			if json.Unmarshal(state[0], &w) == nil { // else it was lost, too
				return id, w, nil
			}
		}
	}
	now := s.Clock()
	id, w = max(now.UnixNano(), 1), walk{Begun: now.UTC()}
	if err := s.putWalk(ctx, id, w); err != nil {
		return 0, w, err
	}
	// The marks come last: as long as one is missing, the walk begins again.
	entries := []store.SummaryEntry{{Key: current, Data: strconv.AppendInt(nil, id, 10)}}
	for i, k := range keys[1:] {
		if data[1+i] == nil {
			entries = append(entries, store.SummaryEntry{Key: k, Data: []byte("here")})
		}
	}
	if len(entries)-1 < rebuildMarks {
		s.Log.Warn("records were lost; looking which hours must be closed again", "marks_lost", len(entries)-1, "marks", rebuildMarks)
	}
	if err := s.putNotes(ctx, entries[:1]); err != nil {
		return 0, w, err
	}
	return id, w, s.putNotes(ctx, entries[1:])
}

func (s *Service) putWalk(ctx context.Context, id int64, w walk) error {
	state, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("cannot write down a walk: %w", err)
	}
	return s.putNotes(ctx, []store.SummaryEntry{{Key: markKey("walk", id), Data: state}})
}

func (s *Service) getNotes(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	data, err := s.Summaries.Get(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("cannot read notes beside the records: %w", err)
	}
	return data, nil
}

func (s *Service) putNotes(ctx context.Context, entries []store.SummaryEntry) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.Summaries.Put(ctx, entries); err != nil {
		return fmt.Errorf("cannot write notes beside the records: %w", err)
	}
	return nil
}

func (s *Service) merchants(ctx context.Context, cursor string) ([]access.Merchant, string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	page, next, err := s.Registry.Changes(ctx, cursor, rebuildPage)
	if err != nil {
		return nil, "", fmt.Errorf("cannot list merchants: %w", err)
	}
	return page, next, nil
}

// tenancy is a merchant in a view with the hours that hold its documents.
type tenancy struct {
	m           access.Merchant // in the view
	cal         *summary.Calendar
	first, last event.Hour
}

// markMissing marks what has no record of those views whose oldest day has
// none. It returns how many hours that may be.
func (s *Service) markMissing(ctx context.Context, merchants []access.Merchant) (int64, error) {
	each := make([][]tenancy, len(merchants))
	var group errgroup.Group
	group.SetLimit(s.cfg.RebuildWorkers)
	for i := range merchants {
		group.Go(func() (err error) {
			each[i], err = s.tenancies(ctx, &merchants[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	tenants := slices.Concat(each...)
	oldest := make([]store.SummaryKey, len(tenants))
	for i := range tenants {
		oldest[i] = tenants[i].dayKey(tenants[i].cal.Day(tenants[i].first.Start().UnixMilli()))
	}
	data, err := s.getNotes(ctx, oldest)
	if err != nil {
		return 0, err
	}
	var hours atomic.Int64
	for i := range tenants {
		if data[i] == nil { // lost; or all that it has is open, and dirty already
			group.Go(func() error {
				n, err := s.markDays(ctx, &tenants[i])
				hours.Add(n)
				return err
			})
		}
	}
	err = group.Wait()
	return hours.Load(), err
}

// tenancies are those views of a merchant that have, or had, records.
func (s *Service) tenancies(ctx context.Context, m *access.Merchant) (list []tenancy, err error) {
	for _, v := range m.AllViews() {
		if v.State != access.ViewReady && v.State != access.ViewBuilding {
			continue
		}
		t := tenancy{m: m.In(v)}
		some := false
		ectx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		t.first, t.last, some, err = s.Processed.Extent(ectx, m.ID, v.Layers.Revisions()...)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("cannot find the events of merchant %q: %w", m.ID, err)
		}
		if !some {
			continue
		}
		if t.cal, err = summary.NewCalendar(v.Settings.TimeZone); err != nil {
			// Its hours cannot be closed either; the others' must be.
			s.Log.Error("cannot look for lost records", "merchant", m.ID, "error", err)
			continue
		}
		list = append(list, t)
	}
	return list, nil
}

func (t *tenancy) dayKey(day summary.Window) store.SummaryKey {
	return store.SummaryKey{Merchant: t.m.ID, Generation: t.m.Generation, Grain: store.GrainDay, Start: day.From / 1000}
}

// markDays marks the days without a record, newest first. Of a quiet day
// nothing is marked, for it has no documents.
func (s *Service) markDays(ctx context.Context, t *tenancy) (hours int64, err error) {
	days := t.cal.Days(t.first.Start().UnixMilli(), t.last.End().UnixMilli())
	keys := make([]store.SummaryKey, len(days))
	for i, d := range days {
		keys[i] = t.dayKey(d)
	}
	data, err := s.getNotes(ctx, keys)
	if err != nil {
		return 0, err
	}
	for end := len(days); end > 0; {
		if data[end-1] != nil {
			end--
			continue
		}
		start := end - 1
		for start > 0 && data[start-1] == nil && end-start < rebuildSpan/24 {
			start--
		}
		from, to := summary.Window{From: days[start].From, To: days[end-1].To}.UTCHours()
		from, to = max(from, t.first), min(to, t.last+1)
		if err := s.markHours(ctx, &t.m, store.Queue(t.m.Generation), from, to); err != nil {
			return hours, err
		}
		hours += int64(to - from)
		end = start
	}
	return hours, nil
}

// markHours has hours counted again for a merchant in a view.
func (s *Service) markHours(ctx context.Context, m *access.Merchant, queue store.Queue, from, to event.Hour) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.Processed.MarkDirty(ctx, m.ID, queue, m.Layers.Revisions(), from, to); err != nil {
		return fmt.Errorf("cannot mark hours %s to %s of merchant %q dirty: %w", from, to, m.ID, err)
	}
	return nil
}
