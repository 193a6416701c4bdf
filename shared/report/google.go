package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// The request of the Data API's runReport, v1beta, as its discovery document
// (revision 2025) lists it. What Footfall does not do is listed too, so that it
// is refused by name and not overlooked.
type (
	// googleQuestion is what reports with and without pivots have in common.
	googleQuestion struct {
		Property        string            `json:"property"`
		Dimensions      []googleDimension `json:"dimensions"`
		Metrics         []googleMetric    `json:"metrics"`
		DateRanges      []googleDateRange `json:"dateRanges"`
		DimensionFilter *googleFilterExpr `json:"dimensionFilter"`
		MetricFilter    *googleFilterExpr `json:"metricFilter"`
		CurrencyCode    string            `json:"currencyCode"`
		CohortSpec      json.RawMessage   `json:"cohortSpec"`
		KeepEmptyRows   bool              `json:"keepEmptyRows"`
		ReturnQuota     bool              `json:"returnPropertyQuota"`
		Comparisons     []json.RawMessage `json:"comparisons"`
		ConversionSpec  json.RawMessage   `json:"conversionSpec"`
	}
	googleRequest struct {
		googleQuestion
		Offset             int64Text       `json:"offset"`
		Limit              int64Text       `json:"limit"`
		MetricAggregations []string        `json:"metricAggregations"`
		OrderBys           []googleOrderBy `json:"orderBys"`
	}
	googleDimension struct {
		Name       string            `json:"name"`
		Expression *googleExpression `json:"dimensionExpression"`
	}
	googleExpression struct {
		Lower       *googleCase `json:"lowerCase"`
		Upper       *googleCase `json:"upperCase"`
		Concatenate *struct {
			Names     []string `json:"dimensionNames"`
			Delimiter string   `json:"delimiter"`
		} `json:"concatenate"`
	}
	googleCase struct {
		Name string `json:"dimensionName"`
	}
	googleMetric struct {
		Name       string `json:"name"`
		Expression string `json:"expression"`
		Invisible  bool   `json:"invisible"`
	}
	googleDateRange struct {
		Start string `json:"startDate"`
		End   string `json:"endDate"`
		Name  string `json:"name"`
	}
	googleFilterExpr struct {
		And    *googleFilterList `json:"andGroup"`
		Or     *googleFilterList `json:"orGroup"`
		Not    *googleFilterExpr `json:"notExpression"`
		Filter *googleFilter     `json:"filter"`
	}
	googleFilterList struct {
		Expressions []*googleFilterExpr `json:"expressions"`
	}
	googleFilter struct {
		FieldName string `json:"fieldName"`
		String    *struct {
			MatchType     string `json:"matchType"`
			Value         string `json:"value"`
			CaseSensitive bool   `json:"caseSensitive"`
		} `json:"stringFilter"`
		InList *struct {
			Values        []string `json:"values"`
			CaseSensitive bool     `json:"caseSensitive"`
		} `json:"inListFilter"`
		Numeric *struct {
			Operation string        `json:"operation"`
			Value     googleNumeric `json:"value"`
		} `json:"numericFilter"`
		Between *struct {
			From googleNumeric `json:"fromValue"`
			To   googleNumeric `json:"toValue"`
		} `json:"betweenFilter"`
		Empty *struct{} `json:"emptyFilter"`
	}
	googleNumeric struct {
		Int64  *int64Text `json:"int64Value"`
		Double *float64   `json:"doubleValue"`
	}
	googleDimensionOrder struct {
		Name string `json:"dimensionName"`
		Type string `json:"orderType"`
	}
	googleOrderBy struct {
		Metric *struct {
			Name string `json:"metricName"`
		} `json:"metric"`
		Dimension *googleDimensionOrder `json:"dimension"`
		Pivot     *googlePivotOrder     `json:"pivot"`
		Desc      bool                  `json:"desc"`
	}
)

// int64Text is an int64 as Google's JSON writes it, in quotes, or a number.
type int64Text int64

// UnmarshalJSON reads "12" or 12.
func (v *int64Text) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("expected a 64-bit integer, got %q", printable(s))
	}
	*v = int64Text(n)
	return nil
}

// googleLimit is runReport's default number of rows.
const googleLimit = 10_000

// ParseGoogle reads the body of runReport. currencies are the merchant's, today
// the day on the merchant's clock. Errors name the field at fault.
func ParseGoogle(c *catalog.Catalog, merchant string, currencies Currencies, body []byte, today Day) (*Query, error) {
	var r googleRequest
	if err := decodeGoogle(body, &r); err != nil {
		return nil, err
	}
	return r.query(c, merchant, currencies, today)
}

// maxBatch is how many reports one batch may ask for, as Google's.
const maxBatch = 5

// ParseGoogleBatch reads the body of batchRunReports. Errors name the request
// in which they are.
func ParseGoogleBatch(c *catalog.Catalog, merchant string, currencies Currencies, body []byte, today Day) ([]*Query, error) {
	return parseBatch(body, func(body []byte) (*Query, error) { return ParseGoogle(c, merchant, currencies, body, today) })
}

func parseBatch[Q any](body []byte, parse func(body []byte) (Q, error)) ([]Q, error) {
	var batch struct {
		Property string            `json:"property"`
		Requests []json.RawMessage `json:"requests"`
	}
	if err := decodeGoogle(body, &batch); err != nil {
		return nil, err
	}
	if len(batch.Requests) == 0 || len(batch.Requests) > maxBatch {
		return nil, fault.Field("requests", fmt.Sprintf("1 to %d requests", maxBatch))
	}
	queries := make([]Q, len(batch.Requests))
	for i, raw := range batch.Requests {
		var err error
		if queries[i], err = parse(raw); err != nil {
			return nil, inPart(fmt.Sprintf("requests[%d]", i), err)
		}
	}
	return queries, nil
}

// inPart says in which part of a body a fault lies.
func inPart(part string, err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	in := *f
	if in.Field == "" {
		in.Field, in.Expected = part, "a request"
	} else {
		in.Field = part + "." + in.Field
	}
	return &in
}

func decodeGoogle(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return jsonFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.Field("body", "one JSON object and nothing after it")
	}
	return nil
}

func (r *googleRequest) query(c *catalog.Catalog, merchant string, currencies Currencies, today Day) (*Query, error) {
	q, err := r.question(c, merchant, currencies, today)
	if err != nil {
		return nil, err
	}
	q.Limit, q.Offset = int64(r.Limit), int64(r.Offset)
	if q.Limit == 0 {
		q.Limit = googleLimit
	}
	if err := q.googleOrder(r.OrderBys); err != nil {
		return nil, err
	}
	if q.Aggregations, err = googleAggregations("metricAggregations", r.MetricAggregations); err != nil {
		return nil, err
	}
	return q, q.Validate()
}

// question reads the part that reports with and without pivots have in common.
func (r *googleQuestion) question(c *catalog.Catalog, merchant string, currencies Currencies, today Day) (*Query, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	q := &Query{Merchant: merchant, KeepEmpty: r.KeepEmptyRows, Quota: r.ReturnQuota}
	if err := q.googleColumns(c, r.Dimensions, r.Metrics, len(r.DateRanges) > 1); err != nil {
		return nil, err
	}
	if err := q.googleRanges(r.DateRanges, today); err != nil {
		return nil, err
	}
	if err := q.Convert("currencyCode", r.CurrencyCode, currencies); err != nil {
		return nil, err
	}
	return q, q.googleFilters(c, r.DimensionFilter, r.MetricFilter)
}

func googleAggregations(field string, names []string) ([]Aggregation, error) {
	var list []Aggregation
	for i, a := range names {
		switch a {
		case "TOTAL":
			list = append(list, Total)
		case "MINIMUM":
			list = append(list, Minimum)
		case "MAXIMUM":
			list = append(list, Maximum)
		case "COUNT":
			list = append(list, Count)
		default:
			return nil, fault.Field(fmt.Sprintf("%s[%d]", field, i), "TOTAL, MINIMUM, MAXIMUM or COUNT")
		}
	}
	return list, nil
}

// names find dimensions and metrics by the Data API's names.
type names interface {
	Dimension(field, name string) (*catalog.Dimension, error)
	Metric(field, name string) (*catalog.Metric, error)
}

// googleColumns reads the dimensions and metrics of a request; ranges says that
// it has several date ranges.
func (q *Query) googleColumns(c names, dimensions []googleDimension, metrics []googleMetric, ranges bool) error {
	for i, d := range dimensions {
		if d.Name == rangeDimension && ranges && d.Expression == nil {
			continue // Google adds the column by itself, asked for or not
		}
		dim, err := q.googleDimensionOf(c, fmt.Sprintf("dimensions[%d]", i), d)
		if err != nil {
			return err
		}
		q.Dimensions = append(q.Dimensions, Column[*catalog.Dimension]{d.Name, dim})
	}
	var hidden []Column[*catalog.Metric]
	for i, m := range metrics {
		met, err := googleMetricOf(c, fmt.Sprintf("metrics[%d]", i), m)
		if err != nil {
			return err
		}
		column := Column[*catalog.Metric]{m.Name, met}
		if m.Invisible {
			hidden = append(hidden, column)
		} else {
			q.Metrics = append(q.Metrics, column)
		}
	}
	q.Metrics, q.Hidden = append(q.Metrics, hidden...), len(hidden)
	return nil
}

// googleDimensionOf is a dimension of the catalog, or one that the request makes
// up of others: of those before it by their names there, or of the catalog's.
func (q *Query) googleDimensionOf(c names, field string, d googleDimension) (*catalog.Dimension, error) {
	if d.Expression == nil {
		return c.Dimension(field+".name", d.Name)
	}
	if !madeName(d.Name) || d.Name == rangeDimension {
		return nil, fault.Field(field+".name", madeNames+", and not "+rangeDimension)
	}
	field += ".dimensionExpression"
	find := func(field, name string) (*catalog.Dimension, error) { return q.namedDimension(c, field, name) }
	e := d.Expression
	switch {
	case e.Lower != nil && e.Upper == nil && e.Concatenate == nil:
		of, err := find(field+".lowerCase.dimensionName", e.Lower.Name)
		if err != nil {
			return nil, err
		}
		return catalog.LowerCase(d.Name, of), nil
	case e.Upper != nil && e.Lower == nil && e.Concatenate == nil:
		of, err := find(field+".upperCase.dimensionName", e.Upper.Name)
		if err != nil {
			return nil, err
		}
		return catalog.UpperCase(d.Name, of), nil
	case e.Concatenate == nil || e.Lower != nil || e.Upper != nil:
		return nil, fault.Field(field, "exactly one of lowerCase, upperCase, concatenate")
	}
	field += ".concatenate"
	if len(e.Concatenate.Names) == 0 {
		return nil, fault.Field(field+".dimensionNames", "at least one dimension")
	}
	if len(e.Concatenate.Delimiter) > maxName {
		return nil, fault.Field(field+".delimiter", fmt.Sprintf("at most %d bytes", maxName))
	}
	list := make([]*catalog.Dimension, len(e.Concatenate.Names))
	for k, name := range e.Concatenate.Names {
		var err error
		if list[k], err = find(fmt.Sprintf("%s.dimensionNames[%d]", field, k), name); err != nil {
			return nil, err
		}
	}
	return catalog.Concatenate(field+".dimensionNames", d.Name, e.Concatenate.Delimiter, list)
}

// namedDimension is a dimension by its name in the request, else in the catalog.
func (q *Query) namedDimension(c names, field, name string) (*catalog.Dimension, error) {
	if i := q.dimension(name); i >= 0 {
		return q.Dimensions[i].Of, nil
	}
	return c.Dimension(field, name)
}

// madeName reports whether a request may call what it makes up so.
func madeName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

var madeNames = fmt.Sprintf("a name of letters, digits and _, at most %d", maxName)

// googleMetricOf is a metric of the catalog, or one that the request makes up.
func googleMetricOf(c names, field string, m googleMetric) (*catalog.Metric, error) {
	if m.Expression == "" {
		return c.Metric(field+".name", m.Name)
	}
	if !madeName(m.Name) {
		return nil, fault.Field(field+".name", madeNames)
	}
	e, err := catalog.ParseExpression(field+".expression", m.Expression, func(name string) (*catalog.Metric, error) {
		return c.Metric(field+".expression", name)
	})
	if err != nil {
		return nil, err
	}
	return &catalog.Metric{Name: m.Name, Type: catalog.Float, Scope: e.Parts[0].Scope, Num: catalog.None, Less: catalog.None, Den: catalog.None, Per: 1, Expression: e, Formula: m.Expression}, nil
}

// maxName bounds the name that a request gives a metric.
const maxName = 100

func (q *Query) googleFilters(c names, dimensions, metrics *googleFilterExpr) error {
	var err error
	if q.DimensionFilter, err = q.googleExpr(c, "dimensionFilter", dimensions, false, 0); err != nil {
		return err
	}
	if q.MetricFilter, err = q.googleExpr(c, "metricFilter", metrics, true, 0); err != nil {
		return err
	}
	q.MetricFilter.each(func(f *Filter) {
		if q.metric(f.Metric.Name) < 0 && err == nil {
			err = fault.Field("metricFilter", fmt.Sprintf("metrics that this report asks for, not %q", f.Metric.Name))
		}
	})
	if err != nil {
		return err
	}
	if q.DimensionFilter.size() > maxFilterSize || q.MetricFilter.size() > maxFilterSize {
		return fault.Field("dimensionFilter", fmt.Sprintf("at most %d conditions", maxFilterSize))
	}
	return nil
}

func (r *googleQuestion) refuse() error {
	present := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	switch {
	case present(r.CohortSpec):
		return fault.Field("cohortSpec", "no cohorts: Footfall does not report by cohort")
	case len(r.Comparisons) > 0:
		return fault.Field("comparisons", "no comparisons: ask once for each")
	case present(r.ConversionSpec):
		return fault.Field("conversionSpec", "no conversion settings: Footfall has no attribution models")
	}
	return nil
}

// rangeDimension tells the date ranges of a report apart.
const rangeDimension = "dateRange"

func (q *Query) googleRanges(ranges []googleDateRange, today Day) error {
	if len(ranges) == 0 || len(ranges) > MaxDateRanges {
		return fault.Field("dateRanges", fmt.Sprintf("1 to %d date ranges", MaxDateRanges))
	}
	names := map[string]bool{}
	for i, g := range ranges {
		field := fmt.Sprintf("dateRanges[%d]", i)
		r := DateRange{Name: g.Name}
		var err error
		if r.From, err = ParseDay(field+".startDate", g.Start, today); err != nil {
			return err
		}
		if r.To, err = ParseDay(field+".endDate", g.End, today); err != nil {
			return err
		}
		if err := r.check(field+".startDate", field+".endDate"); err != nil {
			return err
		}
		if err := r.nameOf(field, i, names); err != nil {
			return err
		}
		q.DateRanges = append(q.DateRanges, r)
	}
	return nil
}

const maxDepth = 20

func (q *Query) googleExpr(c names, field string, g *googleFilterExpr, metric bool, depth int) (*Filter, error) {
	if g == nil {
		return nil, nil
	}
	set := 0
	for _, is := range []bool{g.And != nil, g.Or != nil, g.Not != nil, g.Filter != nil} {
		if is {
			set++
		}
	}
	if set == 0 && depth == 0 {
		return nil, nil // an empty message is an absent one
	}
	if set != 1 {
		return nil, fault.Field(field, "exactly one of andGroup, orGroup, notExpression, filter")
	}
	if depth > maxDepth {
		return nil, fault.Field(field, fmt.Sprintf("at most %d levels", maxDepth))
	}
	group := func(op FilterOp, name string, list *googleFilterList) (*Filter, error) {
		f := &Filter{Op: op}
		if len(list.Expressions) == 0 {
			return nil, fault.Field(field+"."+name+".expressions", "at least one expression")
		}
		for i, e := range list.Expressions {
			kidField := fmt.Sprintf("%s.%s.expressions[%d]", field, name, i)
			kid, err := q.googleExpr(c, kidField, e, metric, depth+1)
			if err != nil {
				return nil, err
			}
			if kid == nil {
				return nil, fault.Field(kidField, "an expression")
			}
			f.Kids = append(f.Kids, kid)
		}
		return f, nil
	}
	switch {
	case g.And != nil:
		return group(And, "andGroup", g.And)
	case g.Or != nil:
		return group(Or, "orGroup", g.Or)
	case g.Not != nil:
		kid, err := q.googleExpr(c, field+".notExpression", g.Not, metric, depth+1)
		if err != nil {
			return nil, err
		}
		return &Filter{Op: Not, Kids: []*Filter{kid}}, nil
	default:
		return q.googleLeaf(c, field+".filter", g.Filter, metric)
	}
}

func (q *Query) googleLeaf(c names, field string, g *googleFilter, metric bool) (*Filter, error) {
	f := &Filter{}
	var err error
	if i := q.metric(g.FieldName); metric && i >= 0 {
		f.Metric = q.Metrics[i].Of
	} else if metric {
		f.Metric, err = c.Metric(field+".fieldName", g.FieldName)
	} else {
		f.Dimension, err = q.namedDimension(c, field+".fieldName", g.FieldName)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case g.Numeric != nil:
		kinds := map[string]TestKind{"EQUAL": Equal, "LESS_THAN": Less, "LESS_THAN_OR_EQUAL": LessOrEqual, "GREATER_THAN": Greater, "GREATER_THAN_OR_EQUAL": GreaterOrEqual}
		kind, ok := kinds[g.Numeric.Operation]
		if !ok {
			return nil, fault.Field(field+".numericFilter.operation", "EQUAL, LESS_THAN, LESS_THAN_OR_EQUAL, GREATER_THAN or GREATER_THAN_OR_EQUAL")
		}
		f.Test = NumberTest(kind, g.Numeric.Value.float(), 0)
	case g.Between != nil:
		f.Test = NumberTest(Between, g.Between.From.float(), g.Between.To.float())
	case metric:
		return nil, fault.Field(field, "numericFilter or betweenFilter for a metric")
	case g.String != nil:
		kinds := map[string]TestKind{"": Exact, "MATCH_TYPE_UNSPECIFIED": Exact, "EXACT": Exact, "BEGINS_WITH": BeginsWith, "ENDS_WITH": EndsWith, "CONTAINS": Contains, "FULL_REGEXP": FullRegexp, "PARTIAL_REGEXP": PartialRegexp}
		kind, ok := kinds[g.String.MatchType]
		if !ok {
			return nil, fault.Field(field+".stringFilter.matchType", "EXACT, BEGINS_WITH, ENDS_WITH, CONTAINS, FULL_REGEXP or PARTIAL_REGEXP")
		}
		f.Test, err = TextTest(field+".stringFilter.value", kind, g.String.Value, !g.String.CaseSensitive)
	case g.InList != nil:
		if len(g.InList.Values) == 0 {
			return nil, fault.Field(field+".inListFilter.values", "at least one value")
		}
		f.Test = ListTest(g.InList.Values, !g.InList.CaseSensitive)
	case g.Empty != nil:
		f.Test = Test{Kind: Empty}
	default:
		return nil, fault.Field(field, "one of stringFilter, inListFilter, numericFilter, betweenFilter, emptyFilter")
	}
	return f, err
}

func (n googleNumeric) float() float64 {
	switch {
	case n.Int64 != nil:
		return float64(*n.Int64)
	case n.Double != nil:
		return *n.Double
	default:
		return 0
	}
}

func (q *Query) googleOrder(list []googleOrderBy) error {
	for i, g := range list {
		field := fmt.Sprintf("orderBys[%d]", i)
		o := OrderBy{Dimension: -1, Metric: -1, Desc: g.Desc}
		switch {
		case g.Metric != nil:
			if o.Metric = q.metric(g.Metric.Name); o.Metric < 0 {
				return fault.Field(field+".metric.metricName", "a metric that this report asks for")
			}
		case g.Dimension != nil:
			if o.Dimension = q.dimension(g.Dimension.Name); o.Dimension < 0 {
				return fault.Field(field+".dimension.dimensionName", "a dimension that this report asks for")
			}
			var err error
			if o.Order, err = g.Dimension.order(field + ".dimension.orderType"); err != nil {
				return err
			}
		case g.Pivot != nil:
			return fault.Field(field+".pivot", "no pivot in a report without pivots")
		default:
			return fault.Field(field, "one of metric, dimension")
		}
		q.OrderBys = append(q.OrderBys, o)
	}
	return nil
}

func (g *googleDimensionOrder) order(field string) (DimensionOrder, error) {
	switch g.Type {
	case "", "ORDER_TYPE_UNSPECIFIED", "ALPHANUMERIC":
		return Alphanumeric, nil
	case "CASE_INSENSITIVE_ALPHANUMERIC":
		return IgnoreCase, nil
	case "NUMERIC":
		return Numeric, nil
	}
	return 0, fault.Field(field, "ALPHANUMERIC, CASE_INSENSITIVE_ALPHANUMERIC or NUMERIC")
}

// jsonFault says in Google's words what is wrong with a body.
func jsonFault(err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		return &fault.Error{Kind: fault.Invalid, Field: typed.Field, Expected: "a " + typed.Type.String(), Err: errors.New("Invalid JSON payload received")}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.New(fault.Invalid, "Invalid JSON payload received. Unknown name %s: Cannot find field.", name)
	}
	return fault.New(fault.Invalid, "Invalid JSON payload received. %w", err)
}
