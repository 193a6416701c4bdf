package report

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// The request of runPivotReport, v1beta, beyond what it shares with runReport.
type (
	googlePivotRequest struct {
		googleQuestion
		Pivots []googlePivot `json:"pivots"`
	}
	googlePivot struct {
		FieldNames         []string        `json:"fieldNames"`
		OrderBys           []googleOrderBy `json:"orderBys"`
		Offset             int64Text       `json:"offset"`
		Limit              int64Text       `json:"limit"`
		MetricAggregations []string        `json:"metricAggregations"`
	}
	googlePivotOrder struct {
		Metric     string `json:"metricName"`
		Selections []struct {
			Dimension string `json:"dimensionName"`
			Value     string `json:"dimensionValue"`
		} `json:"pivotSelections"`
	}
)

// ParsePivot reads the body of runPivotReport; its arguments are ParseGoogle's.
func ParsePivot(c *catalog.Catalog, merchant string, currencies Currencies, body []byte, today Day) (*Query, error) {
	var r googlePivotRequest
	if err := decodeGoogle(body, &r); err != nil {
		return nil, err
	}
	q, err := r.question(c, merchant, currencies, today)
	if err != nil {
		return nil, err
	}
	q.Limit = MaxRows // that pivots have is checked by their product
	if err := q.googlePivots(r.Pivots); err != nil {
		return nil, err
	}
	return q, q.Validate()
}

// ParsePivotBatch reads the body of batchRunPivotReports.
func ParsePivotBatch(c *catalog.Catalog, merchant string, currencies Currencies, body []byte, today Day) ([]*Query, error) {
	return parseBatch(body, func(body []byte) (*Query, error) { return ParsePivot(c, merchant, currencies, body, today) })
}

// googlePivots reads the pivots. Of the dimensions only those that stand in one
// are left: they alone are shown and grouped by.
func (q *Query) googlePivots(list []googlePivot) error {
	if len(list) == 0 || len(list) > MaxDimensions+1 {
		return fault.Field("pivots", fmt.Sprintf("1 to %d pivots", MaxDimensions+1))
	}
	asked := q.Dimensions
	q.Dimensions = nil
	ranged := false
	for i, g := range list {
		field := fmt.Sprintf("pivots[%d]", i)
		if len(g.FieldNames) == 0 {
			return fault.Field(field+".fieldNames", "at least one dimension that this report asks for")
		}
		p := Pivot{Offset: int64(g.Offset), Limit: int64(g.Limit)}
		for k, name := range g.FieldNames {
			field := fmt.Sprintf("%s.fieldNames[%d]", field, k)
			if name == rangeDimension {
				if ranged {
					return fault.Field(field, "each dimension in one pivot only")
				}
				ranged = true
				p.Fields = append(p.Fields, RangeField)
				continue
			}
			at := slices.IndexFunc(asked, func(d Column[*catalog.Dimension]) bool { return d.Name == name })
			switch {
			case at < 0:
				return fault.Field(field, fmt.Sprintf("a dimension out of this report's dimensions, or %s, not %q", rangeDimension, printable(name)))
			case q.dimension(name) >= 0:
				return fault.Field(field, "each dimension in one pivot only")
			}
			p.Fields = append(p.Fields, len(q.Dimensions))
			q.Dimensions = append(q.Dimensions, asked[at])
		}
		var err error
		if p.Aggregations, err = googleAggregations(field+".metricAggregations", g.MetricAggregations); err != nil {
			return err
		}
		q.Pivots = append(q.Pivots, p)
	}
	// An order may look at a field of a later pivot.
	for i, g := range list {
		if err := q.googlePivotOrder(fmt.Sprintf("pivots[%d]", i), &q.Pivots[i], g.OrderBys); err != nil {
			return err
		}
	}
	return q.checkPivots()
}

// field is the place of a field by its name; ok is false where no pivot has it.
func (q *Query) field(name string) (at int, ok bool) {
	at = q.dimension(name)
	if name == rangeDimension {
		at = RangeField
	}
	for _, p := range q.Pivots {
		if slices.Contains(p.Fields, at) {
			return at, true
		}
	}
	return 0, false
}

func (q *Query) googlePivotOrder(in string, p *Pivot, list []googleOrderBy) error {
	for i, g := range list {
		field := fmt.Sprintf("%s.orderBys[%d]", in, i)
		o := PivotOrder{OrderBy: OrderBy{Dimension: -1, Metric: -1, Desc: g.Desc}}
		metric := func(field, name string) error {
			if o.Metric = q.metric(name); o.Metric < 0 {
				return fault.Field(field, "a metric that this report asks for")
			}
			return nil
		}
		switch {
		case g.Metric != nil:
			if err := metric(field+".metric.metricName", g.Metric.Name); err != nil {
				return err
			}
		case g.Dimension != nil:
			at, ok := q.field(g.Dimension.Name)
			if o.Dimension = slices.Index(p.Fields, at); !ok || o.Dimension < 0 {
				return fault.Field(field+".dimension.dimensionName", "a dimension of this pivot")
			}
			var err error
			if o.Order, err = g.Dimension.order(field + ".dimension.orderType"); err != nil {
				return err
			}
		case g.Pivot != nil:
			if err := metric(field+".pivot.metricName", g.Pivot.Metric); err != nil {
				return err
			}
			if len(g.Pivot.Selections) == 0 {
				return fault.Field(field+".pivot.pivotSelections", "at least one dimension and its value")
			}
			for k, s := range g.Pivot.Selections {
				at, ok := q.field(s.Dimension)
				if !ok || slices.Contains(p.Fields, at) {
					return fault.Field(fmt.Sprintf("%s.pivot.pivotSelections[%d].dimensionName", field, k), "a dimension of another pivot")
				}
				o.Where = append(o.Where, Selection{at, s.Value})
			}
		default:
			return fault.Field(field, "one of metric, dimension, pivot")
		}
		p.OrderBys = append(p.OrderBys, o)
	}
	return nil
}

// AppendPivotBatch writes answers as the response of batchRunPivotReports.
func AppendPivotBatch(b []byte, results []*Result) []byte {
	b = append(b, `{"pivotReports":[`...)
	for i, r := range results {
		b = comma(b, i)
		b = r.AppendPivot(b)
	}
	return append(b, `],"kind":"analyticsData#batchRunPivotReports"}`+"\n"...)
}

// AppendPivot writes the answer as runPivotReport's response.
func (r *Result) AppendPivot(b []byte) []byte {
	b = append(b, `{"pivotHeaders":[`...)
	for i, h := range r.Headers {
		b = comma(b, i)
		b = append(b, '{')
		if len(h.Tuples) > 0 {
			b = append(b, `"pivotDimensionHeaders":[`...)
			for k, values := range h.Tuples {
				b = comma(b, k)
				b = append(b, '{')
				b = appendDimensionValues(b, values)
				b = append(b, '}')
			}
			b = append(b, `],`...)
		}
		if h.RowCount > 0 {
			b = append(b, `"rowCount":`...)
			b = strconv.AppendInt(b, int64(h.RowCount), 10)
		}
		b = append(b, '}')
	}
	b = append(b, `],"dimensionHeaders":[`...)
	for i, at := range r.Query.fields() {
		b = comma(b, i)
		b = append(b, `{"name":`...)
		b = appendText(b, r.Query.fieldName(at))
		b = append(b, '}')
	}
	b = append(b, `],`...)
	b = r.appendMetricHeaders(b)
	for _, list := range []struct {
		name string
		rows []Row
	}{{"rows", r.Rows}, {"aggregates", r.Aggregates}} {
		if len(list.rows) == 0 {
			continue
		}
		b = append(b, '"')
		b = append(b, list.name...)
		b = append(b, `":[`...)
		for i := range list.rows {
			b = comma(b, i)
			b = append(b, '{')
			b = appendDimensionValues(b, list.rows[i].Dimensions)
			b = r.appendMetricValues(b, &list.rows[i], true)
			b = append(b, '}')
		}
		b = append(b, `],`...)
	}
	return r.appendGoogleEnd(b, "analyticsData#runPivotReport")
}

func appendDimensionValues(b []byte, values []string) []byte {
	b = append(b, `"dimensionValues":[`...)
	for i, v := range values {
		b = comma(b, i)
		b = append(b, `{"value":`...)
		b = appendText(b, v)
		b = append(b, '}')
	}
	return append(b, ']')
}
