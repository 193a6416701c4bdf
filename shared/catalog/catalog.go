package catalog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Catalog finds dimensions and metrics by name. It does not change after New
// and may be shared.
type Catalog struct {
	dimensions []Dimension
	metrics    []Metric
	dimName    map[string]*Dimension // the Data API's names
	dimAlias   map[string]*Dimension // a person's names
	metName    map[string]*Metric
	metAlias   map[string]*Metric
	absent     []Absent
	whyAbsent  map[string]string // by name, in both languages
}

// New makes the catalog.
func New() *Catalog {
	c := &Catalog{
		dimensions: dimensionList(), metrics: metricList(),
		dimName: map[string]*Dimension{}, dimAlias: map[string]*Dimension{},
		metName: map[string]*Metric{}, metAlias: map[string]*Metric{},
	}
	for i := range c.dimensions {
		d := &c.dimensions[i]
		c.dimName[d.Name] = d
		for _, a := range d.Aliases {
			c.dimAlias[a] = d
		}
	}
	for i := range c.metrics {
		m := &c.metrics[i]
		c.metName[m.Name] = m
		for _, a := range m.Aliases {
			c.metAlias[a] = m
		}
	}
	c.noteAbsent(absentList())
	return c
}

// Dimensions lists all dimensions in the order of the catalog; read only.
func (c *Catalog) Dimensions() []Dimension { return c.dimensions }

// Metrics lists all metrics in the order of the catalog; read only.
func (c *Catalog) Metrics() []Metric { return c.metrics }

// Dimension finds a dimension by the Data API's name.
func (c *Catalog) Dimension(field, name string) (*Dimension, error) {
	if d := c.dimName[name]; d != nil {
		return d, nil
	}
	if d := custom(name); d != nil {
		return d, nil
	}
	return nil, c.unknown(field, "dimension", name, c.dimNames(false))
}

// DimensionFor finds a dimension by what a person typed: a short name first
// (source is the session's), then the Data API's name.
func (c *Catalog) DimensionFor(field, name string) (*Dimension, error) {
	if d := c.dimAlias[name]; d != nil {
		return d, nil
	}
	if d := c.dimName[name]; d != nil {
		return d, nil
	}
	if d := custom(name); d != nil {
		return d, nil
	}
	return nil, c.unknown(field, "dimension", name, c.dimNames(true))
}

// Metric finds a metric by the Data API's name.
func (c *Catalog) Metric(field, name string) (*Metric, error) {
	if m := c.metName[name]; m != nil {
		return m, nil
	}
	if m := ofEvent(name); m != nil {
		return m, nil
	}
	return nil, c.unknown(field, "metric", name, c.metNames(false))
}

// MetricFor finds a metric by what a person typed.
func (c *Catalog) MetricFor(field, name string) (*Metric, error) {
	if m := c.metAlias[name]; m != nil {
		return m, nil
	}
	if m := c.metName[name]; m != nil {
		return m, nil
	}
	if m := ofEvent(name); m != nil {
		return m, nil
	}
	return nil, c.unknown(field, "metric", name, c.metNames(true))
}

func (c *Catalog) dimNames(aliases bool) []string {
	var names []string
	for i := range c.dimensions {
		names = append(names, c.dimensions[i].Name)
		if aliases {
			names = append(names, c.dimensions[i].Aliases...)
		}
	}
	return names
}

func (c *Catalog) metNames(aliases bool) []string {
	var names []string
	for i := range c.metrics {
		names = append(names, c.metrics[i].Name)
		if aliases {
			names = append(names, c.metrics[i].Aliases...)
		}
	}
	return names
}

func (c *Catalog) unknown(field, what, name string, names []string) error {
	if err := c.absentError(field, what, name); err != nil {
		return err
	}
	near := nearest(name, names)
	expected := "the name of a " + what
	if len(near) > 0 {
		expected += ", such as " + strings.Join(near, ", ")
	}
	return &fault.Error{Kind: fault.Invalid, Field: field, Expected: expected,
		Err: fmt.Errorf("cannot find %s %q", what, name)}
}

// nearest returns up to three names that look like one, the closest first.
func nearest(name string, names []string) []string {
	if len(name) > 64 {
		return nil // no name is that long, and distance costs its product
	}
	type scored struct {
		name  string
		score int
	}
	lower := strings.ToLower(name)
	var near []scored
	for _, n := range names {
		l := strings.ToLower(n)
		d := distance(lower, l)
		switch {
		case d <= max(1, len(l)/3):
		case len(lower) >= 3 && (strings.Contains(l, lower) || strings.Contains(lower, l)):
			d = len(l) // a part of the name is worse than a slip of the finger
		default:
			continue
		}
		near = append(near, scored{n, d})
	}
	slices.SortStableFunc(near, func(a, b scored) int { return a.score - b.score })
	var out []string
	for _, s := range near {
		if len(out) < 3 {
			out = append(out, s.name)
		}
	}
	return out
}

// distance is the number of single-letter edits between two short strings
// (Levenshtein, "Binary codes capable of correcting deletions, insertions, and
// reversals", 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// counterNames are the words in which a formula names its counters.
var counterNames = [summary.NumCounters]string{
	summary.Events: "events", summary.Views: "views", summary.Sessions: "sessions",
	summary.EngagedSessions: "engaged_sessions", summary.SessionMillis: "session_ms",
	summary.EngagementMillis: "engagement_ms", summary.NewUsers: "new_users",
	summary.KeyEvents: "key_events", summary.Transactions: "transactions",
	summary.RevenueMicros: "revenue_micros", summary.ValueMicros: "value_micros",
	summary.FirstPurchases: "first_purchases",
	summary.Unconverted:    "unconverted", summary.ItemQuantity: "item_quantity",
	summary.ItemRevenue: "item_revenue_micros", summary.ItemViews: "item_views",
	summary.ItemAddToCarts: "item_add_to_carts",
	summary.AddToCarts:     "add_to_carts", summary.Checkouts: "checkouts", summary.ItemViewEvents: "item_view_events",
	summary.ListViews: "list_views", summary.ListClicks: "list_clicks",
	summary.PromotionViews: "promotion_views", summary.PromotionClicks: "promotion_clicks",
	summary.AppTransactions: "app_transactions", summary.DuplicateOrders: "duplicate_transactions",
	summary.RefundMicros: "refund_micros", summary.TaxMicros: "tax_micros", summary.ShippingMicros: "shipping_micros",
	summary.ItemRefund: "item_refund_micros", summary.ItemDiscount: "item_discount_micros",
	summary.ItemCheckouts: "item_checkouts", summary.ItemListViews: "item_list_views", summary.ItemListClicks: "item_list_clicks",
	summary.ItemPromotionViews: "item_promotion_views", summary.ItemPromotionClicks: "item_promotion_clicks",
}

// measureNames are the words in which a formula names its measures.
var measureNames = map[summary.MeasureKind]string{
	summary.EventUsers: "distinct(users with %s)", summary.KeyEventUsers: "distinct(users with a key event)",
	summary.Purchasers: "distinct(users with a transaction)", summary.ReturningUsers: "distinct(returning users)",
	summary.TrailingUsers: "distinct(users of %d days)",
	summary.EventsNamed:   "events(%s)", summary.EventSessions: "sessions with %s", summary.KeySessions: "sessions with a key event",
	summary.ParamSum: "sum(%s)", summary.ParamCount: "count(%s)",
}

func (m *Metric) term(t Term) string {
	switch {
	case t == Users:
		return "distinct(users)"
	case t >= First:
		measure := m.Measures[t-First]
		return strings.NewReplacer("%s", measure.Name, "%d", strconv.Itoa(measure.Days)).Replace(measureNames[measure.Kind])
	}
	return counterNames[t]
}

// formula says how a metric is worked out, over the counters' names.
func formula(m *Metric) string {
	s := m.term(m.Num)
	if m.Less != None {
		s = "(" + s + " - " + m.term(m.Less) + ")"
	}
	if m.Den != None {
		s += " / " + m.term(m.Den)
	}
	if m.Per != 1 {
		s += fmt.Sprintf(" / %d", m.Per)
	}
	return s
}
