package catalog

import (
	"encoding/json"
	"math"

	"github.com/footfall/footfall/shared/summary"
)

// Origin says whose name it is.
type Origin string

// The origins: the Data API's list, or Footfall's own.
const (
	GA4      Origin = "ga4"
	Footfall Origin = "footfall"
)

// Method says how a metric is worked out.
type Method struct {
	Name string `json:"method"` // exact, sketch
	// Of a sketch: up to how many distinct users in a row it is exact, and its
	// relative standard error beyond, where the sets are not coarse. Of two sketches in
	// one formula it is that of two independent ones; two that share users err
	// together, and less.
	ExactUpTo int     `json:"exact_up_to,omitempty"`
	Error     float64 `json:"error,omitempty"`
}

// Method says how exact a metric is.
func (m *Metric) Method() Method {
	if m.Sketched() {
		return Method{Name: "sketch", ExactUpTo: summary.UsersExact, Error: m.ErrorOf(summary.UsersError)}
	}
	return Method{Name: "exact"}
}

// ErrorOf is the metric's relative standard error where that of the sets is so large.
func (m *Metric) ErrorOf(sets float64) float64 { return sets * math.Sqrt(float64(m.sets())) }

type dimensionJSON struct {
	APIName     string   `json:"api_name"`
	Names       []string `json:"names"`
	Origin      Origin   `json:"origin"`
	Type        string   `json:"type"`
	Scope       Scope    `json:"scope"`
	Category    string   `json:"category"`
	Absent      string   `json:"absent"`
	Since       int      `json:"since"`
	Description string   `json:"description"`
}

type metricJSON struct {
	APIName  string   `json:"api_name"`
	Names    []string `json:"names"`
	Origin   Origin   `json:"origin"`
	Type     Type     `json:"type"`
	Unit     string   `json:"unit"`
	Scope    Scope    `json:"scope"`
	Category string   `json:"category"`
	Formula  string   `json:"formula"`
	Method
	Since       int    `json:"since"`
	Description string `json:"description"`
}

// JSON is the answer of GET /v1/catalog.
func (c *Catalog) JSON() []byte {
	var out struct {
		Dimensions []dimensionJSON `json:"dimensions"`
		Metrics    []metricJSON    `json:"metrics"`
		Absent     []Absent        `json:"absent"`
	}
	for i := range c.dimensions {
		d := &c.dimensions[i]
		out.Dimensions = append(out.Dimensions, dimensionJSON{d.Name, nonNil(d.Aliases), d.Origin, "text", d.Scope, d.Category, d.Fill, d.Since, d.Description})
	}
	for i := range c.metrics {
		m := &c.metrics[i]
		out.Metrics = append(out.Metrics, metricJSON{m.Name, nonNil(m.Aliases), m.Origin, m.Type, m.Unit, m.Scope, m.Category, m.Formula, m.Method(), m.Since, m.Description})
	}
	out.Absent = c.absent
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
