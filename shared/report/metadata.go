package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

type (
	googleDimensionMetadata struct {
		APIName     string `json:"apiName"`
		UIName      string `json:"uiName"`
		Description string `json:"description"`
		Custom      bool   `json:"customDefinition,omitempty"`
		Category    string `json:"category"`
	}
	googleMetricMetadata struct {
		APIName     string       `json:"apiName"`
		UIName      string       `json:"uiName"`
		Description string       `json:"description"`
		Type        catalog.Type `json:"type"`
		Expression  string       `json:"expression,omitempty"`
		Custom      bool         `json:"customDefinition,omitempty"`
		Category    string       `json:"category"`
	}
)

func dimensionMetadata(d *catalog.Dimension) googleDimensionMetadata {
	return googleDimensionMetadata{APIName: d.Name, UIName: words(d.Name), Description: d.Description, Category: d.Category}
}

func metricMetadata(m *catalog.Metric) googleMetricMetadata {
	return googleMetricMetadata{APIName: m.Name, UIName: words(m.Name), Description: m.Description, Type: m.Type, Expression: m.Formula, Category: m.Category}
}

// words are a name as a person reads it: sessionSource is Session source.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case i == 0:
			b.WriteString(strings.ToUpper(string(r)))
		case r >= 'A' && r <= 'Z':
			b.WriteString(" " + strings.ToLower(string(r)))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// GoogleMetadata is the catalog as the response of getMetadata, with what the
// merchant has defined of its own.
func GoogleMetadata(c *catalog.Catalog, merchant string, own []access.CustomDefinition) ([]byte, error) {
	out := struct {
		Name       string                    `json:"name"`
		Dimensions []googleDimensionMetadata `json:"dimensions"`
		Metrics    []googleMetricMetadata    `json:"metrics"`
	}{Name: "properties/" + merchant + "/metadata"}
	for i := range c.Dimensions() {
		out.Dimensions = append(out.Dimensions, dimensionMetadata(&c.Dimensions()[i]))
	}
	for i := range c.Metrics() {
		out.Metrics = append(out.Metrics, metricMetadata(&c.Metrics()[i]))
	}
	for _, d := range own {
		event, user, metrics := catalog.CustomNames(d.Parameter)
		switch d.Kind {
		case access.EventMetric:
			// The sum has the name as it is; the others say beside it what they are.
			for i, words := range []string{"", ", average", ", count"} {
				m, err := c.Metric("custom_definitions", metrics[i])
				if err != nil {
					return nil, err
				}
				about := metricMetadata(m)
				about.UIName, about.Description, about.Custom = d.Name+words, cmp.Or(d.Description, m.Description), true
				out.Metrics = append(out.Metrics, about)
			}
			continue
		case access.UserDimension:
			event = user
		}
		dimension, err := c.Dimension("custom_definitions", event)
		if err != nil {
			return nil, err
		}
		about := dimensionMetadata(dimension)
		about.UIName, about.Description, about.Custom = d.Name, cmp.Or(d.Description, dimension.Description), true
		out.Dimensions = append(out.Dimensions, about)
	}
	return marshal(out), nil
}

// GoogleCompatibility answers checkCompatibility: which dimensions and metrics
// can be added to a report. They are those with which it is a query still.
func GoogleCompatibility(c *catalog.Catalog, merchant string, body []byte) ([]byte, error) {
	var r struct {
		Property            string            `json:"property"`
		Dimensions          []googleDimension `json:"dimensions"`
		Metrics             []googleMetric    `json:"metrics"`
		DimensionFilter     *googleFilterExpr `json:"dimensionFilter"`
		MetricFilter        *googleFilterExpr `json:"metricFilter"`
		CompatibilityFilter string            `json:"compatibilityFilter"`
	}
	if err := decodeGoogle(body, &r); err != nil {
		return nil, err
	}
	switch r.CompatibilityFilter {
	case "", "COMPATIBILITY_UNSPECIFIED", "COMPATIBLE", "INCOMPATIBLE":
	default:
		return nil, fault.Field("compatibilityFilter", "COMPATIBLE or INCOMPATIBLE")
	}
	q := &Query{Merchant: merchant, Limit: 1}
	if err := q.googleColumns(c, r.Dimensions, r.Metrics, false); err != nil {
		return nil, err
	}
	if err := q.googleFilters(c, r.DimensionFilter, r.MetricFilter); err != nil {
		return nil, err
	}
	if len(q.Dimensions)+len(q.Metrics) > 0 {
		if err := q.Validate(); err != nil {
			return nil, err
		}
	}
	fits := func(with Query) (string, bool) {
		said := "COMPATIBLE"
		if with.Validate() != nil {
			said = "INCOMPATIBLE"
		}
		return said, r.CompatibilityFilter == said || r.CompatibilityFilter == "" || r.CompatibilityFilter == "COMPATIBILITY_UNSPECIFIED"
	}
	type dimension struct {
		Metadata      googleDimensionMetadata `json:"dimensionMetadata"`
		Compatibility string                  `json:"compatibility"`
	}
	type metric struct {
		Metadata      googleMetricMetadata `json:"metricMetadata"`
		Compatibility string               `json:"compatibility"`
	}
	out := struct {
		Dimensions []dimension `json:"dimensionCompatibilities"`
		Metrics    []metric    `json:"metricCompatibilities"`
	}{[]dimension{}, []metric{}}
	for i := range c.Dimensions() {
		d, with := &c.Dimensions()[i], *q
		if q.dimension(d.Name) < 0 {
			with.Dimensions = append(q.Dimensions[:len(q.Dimensions):len(q.Dimensions)], Column[*catalog.Dimension]{d.Name, d})
		}
		if said, listed := fits(with); listed {
			out.Dimensions = append(out.Dimensions, dimension{dimensionMetadata(d), said})
		}
	}
	for i := range c.Metrics() {
		m, with := &c.Metrics()[i], *q
		if q.metric(m.Name) < 0 {
			with.Metrics = append(q.Metrics[:len(q.Metrics):len(q.Metrics)], Column[*catalog.Metric]{m.Name, m})
		}
		if said, listed := fits(with); listed {
			out.Metrics = append(out.Metrics, metric{metricMetadata(m), said})
		}
	}
	return marshal(out), nil
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("cannot write the catalog: %w", err)) // texts of the catalog
	}
	return append(b, '\n')
}
