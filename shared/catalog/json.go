package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/footfall/footfall/shared/summary"
)

type dimensionJSON struct {
	APIName     string   `json:"api_name"`
	Names       []string `json:"names"`
	Scope       Scope    `json:"scope"`
	Category    string   `json:"category"`
	Absent      string   `json:"absent"`
	Description string   `json:"description"`
}

type metricJSON struct {
	APIName     string   `json:"api_name"`
	Names       []string `json:"names"`
	Type        Type     `json:"type"`
	Unit        string   `json:"unit"`
	Scope       Scope    `json:"scope"`
	Category    string   `json:"category"`
	Formula     string   `json:"formula"`
	Method      string   `json:"method"`
	Description string   `json:"description"`
}

// Method says how exact a metric is.
func (m *Metric) Method() string {
	if m.UsesUsers() {
		return fmt.Sprintf("exact up to %d users in a row, above that a HyperLogLog sketch with a relative standard error of %.2g", summary.UsersExact, summary.UsersError)
	}
	return "exact"
}

// JSON is the answer of GET /v1/catalog.
func (c *Catalog) JSON() []byte {
	var out struct {
		Dimensions []dimensionJSON `json:"dimensions"`
		Metrics    []metricJSON    `json:"metrics"`
	}
	for i := range c.dimensions {
		d := &c.dimensions[i]
		out.Dimensions = append(out.Dimensions, dimensionJSON{d.Name, nonNil(d.Aliases), d.Scope, d.Category, d.Fill, d.Description})
	}
	for i := range c.metrics {
		m := &c.metrics[i]
		out.Metrics = append(out.Metrics, metricJSON{m.Name, nonNil(m.Aliases), m.Type, m.Unit, m.Scope, m.Category, m.Formula, m.Method(), m.Description})
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // texts and numbers that stand in this package
	}
	return append(b, '\n')
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
