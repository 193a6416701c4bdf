package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// RealtimeMinutes is how many minutes before the current one a realtime report
// can ask for, as the Data API's standard properties can.
const RealtimeMinutes = 29

const (
	maxMinuteRanges = 2 // as the Data API's
	minuteMillis    = int64(time.Minute / time.Millisecond)
)

// The request of runRealtimeReport, v1beta.
type (
	googleRealtimeRequest struct {
		Property           string              `json:"property"`
		Dimensions         []googleDimension   `json:"dimensions"`
		Metrics            []googleMetric      `json:"metrics"`
		DimensionFilter    *googleFilterExpr   `json:"dimensionFilter"`
		MetricFilter       *googleFilterExpr   `json:"metricFilter"`
		Limit              int64Text           `json:"limit"`
		MetricAggregations []string            `json:"metricAggregations"`
		OrderBys           []googleOrderBy     `json:"orderBys"`
		ReturnQuota        bool                `json:"returnPropertyQuota"`
		MinuteRanges       []googleMinuteRange `json:"minuteRanges"`
	}
	googleMinuteRange struct {
		Name  string     `json:"name"`
		Start *int64Text `json:"startMinutesAgo"`
		End   *int64Text `json:"endMinutesAgo"`
	}
)

// ParseRealtime reads the body of runRealtimeReport, for an instant. The names
// are those of a realtime catalog of RealtimeMinutes.
func ParseRealtime(c *catalog.Realtime, merchant string, body []byte, now time.Time) (*Query, error) {
	var r googleRealtimeRequest
	if err := decodeGoogle(body, &r); err != nil {
		return nil, err
	}
	q := &Query{Merchant: merchant, Limit: int64(r.Limit), Quota: r.ReturnQuota, Realtime: true}
	if q.Limit == 0 {
		q.Limit = googleLimit
	}
	if err := q.googleColumns(c, r.Dimensions, r.Metrics, len(r.MinuteRanges) > 1); err != nil {
		return nil, err
	}
	if err := q.googleMinutes(r.MinuteRanges, now.UnixMilli()); err != nil {
		return nil, err
	}
	if err := q.googleFilters(c, r.DimensionFilter, r.MetricFilter); err != nil {
		return nil, err
	}
	if err := q.googleOrder(r.OrderBys); err != nil {
		return nil, err
	}
	var err error
	if q.Aggregations, err = googleAggregations("metricAggregations", r.MetricAggregations); err != nil {
		return nil, err
	}
	return q, q.Validate()
}

// googleMinutes reads the ranges of minutes; none is all of them. The current
// minute is the one that an instant (ms) lies in.
func (q *Query) googleMinutes(ranges []googleMinuteRange, now int64) error {
	if len(ranges) == 0 {
		ranges = []googleMinuteRange{{}}
	}
	if len(ranges) > maxMinuteRanges {
		return fault.Field("minuteRanges", fmt.Sprintf("at most %d minute ranges", maxMinuteRanges))
	}
	names := map[string]bool{}
	for i, g := range ranges {
		field := fmt.Sprintf("minuteRanges[%d]", i)
		start, end := int64(RealtimeMinutes), int64(0)
		if g.Start != nil {
			start = int64(*g.Start)
		}
		if g.End != nil {
			end = int64(*g.End)
		}
		switch {
		case start < 0 || start > RealtimeMinutes:
			return fault.Field(field+".startMinutesAgo", fmt.Sprintf("0 to %d minutes", RealtimeMinutes))
		case end < 0 || end > start:
			return fault.Field(field+".endMinutesAgo", fmt.Sprintf("0 to startMinutesAgo, which is %d", start))
		}
		current := now - now%minuteMillis
		r := DateRange{Name: g.Name, Minutes: &Minutes{
			Window: summary.Window{From: current - start*minuteMillis, To: current - (end-1)*minuteMillis},
			Since:  current - RealtimeMinutes*minuteMillis,
		}}
		if err := r.nameOf(field, i, names); err != nil {
			return err
		}
		q.DateRanges = append(q.DateRanges, r)
	}
	return nil
}

// nameOf checks a range's name, or gives it the one of its place.
func (r *DateRange) nameOf(field string, i int, names map[string]bool) error {
	if strings.HasPrefix(r.Name, "date_range_") || strings.HasPrefix(r.Name, "RESERVED_") {
		return fault.Field(field+".name", "a name that begins neither with date_range_ nor with RESERVED_")
	}
	if r.Name == "" {
		r.Name = fmt.Sprintf("date_range_%d", i)
	}
	if names[r.Name] {
		return fault.Field(field+".name", "a different name for each range")
	}
	names[r.Name] = true
	return nil
}
