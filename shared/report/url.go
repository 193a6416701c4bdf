package report

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// DefaultLimit is how many rows /v1/reports answers where none is asked for.
const DefaultLimit = 1000

// ParseURL reads the query of /v1/reports/{merchant_id}. today is the day that
// the merchant's clock shows. Errors name the parameter at fault. In which
// currency and as of which revision the answer is, its caller reads.
func ParseURL(c *catalog.Catalog, merchant string, v url.Values, today Day) (*Query, error) {
	for name, values := range v {
		switch name {
		case "metrics", "dimensions", "from", "to", "filter", "order", "limit", "offset", "empty", "compare", "currency", "revision":
		default:
			return nil, fault.Field(printable(name), "no such parameter; there are metrics, dimensions, from, to, filter, order, limit, offset, empty, compare, currency, revision")
		}
		if len(values) > 1 {
			return nil, fault.Field(name, "the parameter once")
		}
	}
	q := &Query{Merchant: merchant, Limit: DefaultLimit, Aggregations: []Aggregation{Total}}
	if v.Get("metrics") == "" {
		return nil, fault.Field("metrics", "names of metrics, comma separated, such as users,sessions,views")
	}
	for _, name := range list(v.Get("metrics")) {
		m, err := c.MetricFor("metrics", name)
		if err != nil {
			return nil, err
		}
		q.Metrics = append(q.Metrics, Column[*catalog.Metric]{name, m})
	}
	for _, name := range list(v.Get("dimensions")) {
		d, err := c.DimensionFor("dimensions", name)
		if err != nil {
			return nil, err
		}
		q.Dimensions = append(q.Dimensions, Column[*catalog.Dimension]{name, d})
	}
	r, err := ParseDays(v, today)
	if err != nil {
		return nil, err
	}
	q.DateRanges = []DateRange{r}
	if err := q.parseCompare(v.Get("compare")); err != nil {
		return nil, err
	}
	if s := v.Get("filter"); s != "" {
		if q.DimensionFilter, q.MetricFilter, err = ParseFilter(c, s); err != nil {
			return nil, err
		}
	}
	if err := q.parseOrder(v.Get("order")); err != nil {
		return nil, err
	}
	if q.Limit, err = number(v, "limit", DefaultLimit); err != nil {
		return nil, err
	}
	if q.Offset, err = number(v, "offset", 0); err != nil {
		return nil, err
	}
	switch v.Get("empty") {
	case "", "false":
	case "true":
		q.KeepEmpty = true
	default:
		return nil, fault.Field("empty", "true or false")
	}
	if len(q.Dimensions) == 0 {
		q.KeepEmpty = true // the one row is the answer, also where it is 0
	}
	return q, q.Validate()
}

// ParseDays reads from and to: where both are absent the last 28 whole days,
// where one is absent today, or the day of the other.
func ParseDays(v url.Values, today Day) (DateRange, error) {
	r := DateRange{From: today - 28, To: today - 1}
	from, to := v.Get("from"), v.Get("to")
	var err error
	if to != "" {
		if r.To, err = ParseDay("to", to, today); err != nil {
			return r, err
		}
		r.From = r.To
	} else if from != "" {
		r.To = today
	}
	if from != "" {
		if r.From, err = ParseDay("from", from, today); err != nil {
			return r, err
		}
	}
	return r, r.check("from", "to")
}

func (r DateRange) check(from, to string) error {
	if r.From > r.To {
		return fault.Field(from, fmt.Sprintf("a day that is not after %s: %s is after %s", to, r.From, r.To))
	}
	return nil
}

// parseOrder reads "-views,page". Names are those asked for as columns.
func (q *Query) parseOrder(s string) error {
	for _, name := range list(s) {
		name, desc := strings.CutPrefix(name, "-")
		o := OrderBy{Dimension: q.dimension(name), Metric: q.metric(name), Desc: desc}
		if o.Dimension < 0 && o.Metric < 0 {
			return fault.Field("order", fmt.Sprintf("names out of this report's dimensions and metrics, not %q", printable(name)))
		}
		q.OrderBys = append(q.OrderBys, o)
	}
	return nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	names := strings.Split(s, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

func number(v url.Values, name string, absent int64) (int64, error) {
	s := v.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fault.Field(name, "a whole number")
	}
	return n, nil
}

// printable keeps a stranger's text short and on one line in a message.
func printable(s string) string {
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	if len(q) > 64 {
		q = q[:64] + "…"
	}
	return q
}
