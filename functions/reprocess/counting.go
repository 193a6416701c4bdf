package reprocess

import (
	"context"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/summary"
)

// openView is a merchant in a view, with the hours whose records do not hold
// all.
type openView struct {
	*history.Open
	m access.Merchant
}

func (s *Service) open(ctx context.Context, m *access.Merchant, v access.View, hours []summary.Window) (*openView, error) {
	o := &openView{m: m.In(v)}
	from, to := hoursOf(hours)
	var err error
	o.Open, err = s.loader.Open(ctx, &o.m, from, to, true)
	return o, err
}

// count counts an hour of the merchant's clock from processed data, as the
// summary function will; nil where it has nothing.
func (s *Service) count(ctx context.Context, o *openView, cal *summary.Calendar, w summary.Window) (*summary.Record, error) {
	facts, err := s.loader.Facts(ctx, &o.m, w, summary.Needs(summary.RecordKeys()), true, o.Open)
	if err != nil {
		return nil, err
	}
	day := cal.Day(w.From)
	r := summary.NewRecord(facts.Slice(w), slices.Index(cal.Hours(day.From, day.To), w))
	if r.Empty() {
		return nil, nil
	}
	return r, nil
}
