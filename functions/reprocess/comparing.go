package reprocess

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/compare"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// planCompare cuts the merchants that have a view of the job into shards.
func (s *Service) planCompare(ctx context.Context, j *revision.Job) (int, error) {
	return s.chain(ctx, j, func(cursor string) ([]string, string, error) {
		page, err := s.parts(ctx, j.Revision, viewPart, cursor, s.cfg.ShardMerchants)
		if err != nil || len(page) == 0 {
			return nil, "", err
		}
		ids := make([]string, len(page))
		for i := range page {
			ids[i] = strings.TrimPrefix(page[i].Name, viewPart)
		}
		return ids, page[len(page)-1].Name, nil
	})
}

const (
	resultParts = "compared/" // of shards
	resultPart  = "comparison"
)

// compareShard compares its merchants and keeps what it finds.
func (s *Service) compareShard(ctx context.Context, j *revision.Job, sh *revision.Shard) error {
	var all compare.Result
	for _, id := range sh.Merchants {
		c, err := s.compareMerchant(ctx, j, id, nil)
		if err != nil {
			return fmt.Errorf("merchant %q: %w", id, err)
		}
		if c == nil {
			continue
		}
		all.Merge(c.Result())
		sh.Counts.Merchants++
	}
	data, err := all.Encode()
	if err != nil {
		return err
	}
	return s.putPart(ctx, j.Revision, fmt.Sprintf("%s%06d", resultParts, sh.Index), data)
}

// compared ends the phase: what the shards found becomes one comparison.
func (s *Service) compared(ctx context.Context, j *revision.Job) (bool, error) {
	all := &compare.Result{}
	for after := ""; ; {
		page, err := s.parts(ctx, j.Revision, resultParts, after, jobsPage)
		if err != nil {
			return false, err
		}
		for _, p := range page {
			one, err := compare.DecodeResult(p.Data)
			if err != nil {
				return false, err
			}
			all.Merge(one)
			after = p.Name
		}
		if len(page) < jobsPage {
			break
		}
	}
	asking, cancel := s.call(ctx)
	built, err := s.Revisions.Progress(asking, j.Revision, revision.Building)
	cancel()
	if err != nil {
		return false, err
	}
	all.Unchanged = built.Counts.Unchanged
	data, err := all.Encode()
	if err != nil {
		return false, err
	}
	if err := s.putPart(ctx, j.Revision, resultPart, data); err != nil {
		return false, err
	}
	if err := s.problems(ctx, j); err != nil {
		return false, err
	}
	s.to(j, revision.Compared)
	return true, nil
}

// comparison is what a job would change. NotFound where it is not known yet, or
// not any more.
func (s *Service) comparison(ctx context.Context, rev store.Revision) (*compare.Result, error) {
	parts, err := s.parts(ctx, rev, resultPart, "", 1)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 || parts[0].Name != resultPart {
		return nil, fault.New(fault.NotFound, "there is no comparison of revision %d", rev)
	}
	return compare.DecodeResult(parts[0].Data)
}

// maxMoves is how often a merchant is compared again because something came
// between; then what is compared may be a moment apart.
const maxMoves = 5

// compareMerchant compares a merchant's view of the job with the one that it lies
// over; nil where there are none. rows takes every row that changes, as compare.New
// does, and may see them more than once: from reset on they come again.
func (s *Service) compareMerchant(ctx context.Context, j *revision.Job, id string, rows *rowsOf) (*compare.Comparison, error) {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	after, ok := candidate(&m, j.Revision)
	if !ok {
		return nil, nil
	}
	before, ok := below(&m, &after)
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no view of merchant %q without revision %d any more", id, j.Revision)
	}
	cal, err := summary.NewCalendar(after.Settings.TimeZone)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		at, err := s.version(ctx, id)
		if err != nil {
			return nil, err
		}
		c := compare.New(id, cal.Location(), rows.take())
		if err := s.compareViews(ctx, &m, [2]access.View{before, after}, cal, c); err != nil {
			return nil, err
		}
		now, err := s.version(ctx, id)
		if err != nil || now == at || try == maxMoves {
			return c, err
		}
	}
}

// below is the view that one with a revision on top is compared with: of the
// same settings, without that layer.
func below(m *access.Merchant, v *access.View) (found access.View, ok bool) {
	layers := v.Layers[:len(v.Layers)-1]
	for _, o := range m.AllViews() {
		if o.State != access.ViewGone && slices.Equal(o.Layers, layers) && (!ok || o.State == access.ViewReady || found.State != access.ViewReady) {
			found, ok = o, true
		}
	}
	return found, ok
}

func (s *Service) version(ctx context.Context, merchant string) (store.Version, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Processed.Version(ctx, merchant)
}

// atOnce is how many hours' records are read at once.
const atOnce = 24

// compareViews compares all hours of two views of a merchant.
func (s *Service) compareViews(ctx context.Context, m *access.Merchant, views [2]access.View, cal *summary.Calendar, c *compare.Comparison) error {
	first, last, ok, err := s.extent(ctx, m.ID, views[1].Layers.Revisions()...)
	if err != nil {
		return err
	}
	if ok {
		w := summary.Of(first, last+1)
		hours := cal.Hours(w.From, w.To)
		for len(hours) > 0 {
			n := min(len(hours), atOnce)
			if err := s.compareHours(ctx, m, views, cal, hours[:n], c); err != nil {
				return err
			}
			hours = hours[n:]
		}
	}
	var rejects [2][]compare.Reject
	for i := range views {
		counts, err := s.rejects(ctx, m.ID, views[i].Layers)
		if err != nil {
			return err
		}
		for _, r := range counts {
			if !r.Refused {
				rejects[i] = append(rejects[i], compare.Reject{Hour: r.Hour, Reason: r.Reason, Events: r.Events})
			}
		}
	}
	return c.Rejects(rejects[0], rejects[1])
}

// compareHours compares records where both views have them, and counts anew
// where new documents came, or a record is missing.
func (s *Service) compareHours(ctx context.Context, m *access.Merchant, views [2]access.View, cal *summary.Calendar, hours []summary.Window, c *compare.Comparison) error {
	var open [2]*openView
	records := [2][][]byte{}
	for i := range views {
		var err error
		if open[i], err = s.open(ctx, m, views[i], hours); err != nil {
			return err
		}
		if records[i], err = s.records(ctx, m.ID, views[i].Generation, hours); err != nil {
			return err
		}
	}
	for n, w := range hours {
		before, after := records[0][n], records[1][n]
		if !open[0].Touches(w) && !open[1].Touches(w) && (before == nil) == (after == nil) {
			if err := c.Hour(w.From/1000, before, after); err != nil {
				return err
			}
			continue
		}
		var counted [2]*summary.Record
		for i := range views {
			var err error
			if counted[i], err = s.count(ctx, open[i], cal, w); err != nil {
				return err
			}
		}
		if err := c.Records(w.From/1000, counted[0], counted[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) records(ctx context.Context, merchant string, generation uint32, hours []summary.Window) ([][]byte, error) {
	keys := make([]store.SummaryKey, len(hours))
	for i, w := range hours {
		keys[i] = store.SummaryKey{Merchant: merchant, Generation: generation, Grain: store.GrainHour, Start: w.From / 1000}
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Summaries.Get(ctx, keys)
}

// rowsOf takes the rows of a comparison that may be begun again.
type rowsOf struct {
	rows []compare.Row
	most int
}

// take is what a comparison that begins now gives its rows to.
func (r *rowsOf) take() func(*compare.Row) error {
	if r == nil {
		return nil
	}
	r.rows = r.rows[:0]
	return func(row *compare.Row) error {
		if len(r.rows) == r.most {
			return fault.New(fault.TooLarge, "more than %d numbers of one merchant change", r.most)
		}
		r.rows = append(r.rows, *row)
		return nil
	}
}

// hoursOf are the UTC hours that windows lie in.
func hoursOf(hours []summary.Window) (from, to event.Hour) {
	from, _ = hours[0].UTCHours()
	_, to = hours[len(hours)-1].UTCHours()
	return from, to
}
