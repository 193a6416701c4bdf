package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// googleRow is a row of an answer of the Data API.
type googleRow struct {
	DimensionValues []struct{ Value string }
	MetricValues    []struct{ Value string }
}

func (r *googleRow) cells() []string {
	var cells []string
	for _, v := range r.DimensionValues {
		cells = append(cells, v.Value)
	}
	for _, v := range r.MetricValues {
		cells = append(cells, v.Value)
	}
	return cells
}

// googleAnswer is the answer of one of the Data API's reports.
type googleAnswer struct {
	PivotHeaders []struct {
		PivotDimensionHeaders []googleRow
	}
	Rows, Aggregates, Totals, Maximums, Minimums []googleRow
	Metadata                                     struct{ CurrencyCode string }
	// Of getMetadata.
	Dimensions, Metrics []struct {
		APIName          string
		CustomDefinition bool
	}
}

// table is the answer as a story writes it: along each pivot the tuples, then
// rows, then those about several.
func (a *googleAnswer) table() [][]string {
	var rows [][]string
	for _, h := range a.PivotHeaders {
		for _, d := range h.PivotDimensionHeaders {
			rows = append(rows, append([]string{"pivot"}, d.cells()...))
		}
	}
	for _, list := range [][]googleRow{a.Rows, a.Aggregates, a.Totals, a.Maximums, a.Minimums} {
		for i := range list {
			rows = append(rows, list[i].cells())
		}
	}
	for _, d := range append(a.Dimensions, a.Metrics...) {
		if d.CustomDefinition {
			rows = append(rows, []string{d.APIName})
		}
	}
	return rows
}

// google checks an answer of the Data API.
func (p *player) google(ctx context.Context, s Step) error {
	m := p.current
	path, method := "/v1beta/properties/"+m.id+":"+word(s, 0), http.MethodPost
	if word(s, 0) == "metadata" {
		path, method = "/v1beta/properties/"+m.id+"/metadata", http.MethodGet
	}
	if fault := s.Get("error"); fault != "" {
		var got struct{ Error struct{ Message string } }
		if err := p.do(ctx, method, path, m.token, "application/json", []byte(s.Body), http.StatusBadRequest, &got); err != nil {
			return err
		}
		if !strings.HasPrefix(got.Error.Message, fault+":") {
			return fmt.Errorf("expected a fault at %s, got %q", fault, got.Error.Message)
		}
		return nil
	}
	if s.Body != "" && !json.Valid([]byte(s.Body)) {
		return fmt.Errorf("expected JSON behind >, got %s", s.Body)
	}
	return p.eventually(ctx, func() error {
		var a googleAnswer
		if err := p.do(ctx, method, path, m.token, "application/json", []byte(s.Body), http.StatusOK, &a); err != nil {
			return err
		}
		if currency := s.Get("currency"); currency != "" && a.Metadata.CurrencyCode != currency {
			return fmt.Errorf("expected currencyCode %s, got %s", currency, a.Metadata.CurrencyCode)
		}
		return same(word(s, 0), a.table(), m.named(s.Rows))
	})
}

// named are rows with what only the system knows put in.
func (m *merchant) named(rows [][]string) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		for _, cell := range row {
			if cell == "$STREAM" {
				cell = m.stream
			}
			out[i] = append(out[i], cell)
		}
	}
	return out
}
