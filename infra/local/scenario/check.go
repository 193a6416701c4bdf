package scenario

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/catalog"
)

// answer is the answer of GET /v1/reports as far as stories look at it.
type answer struct {
	Dimensions []string                     `json:"dimensions"`
	Metrics    []string                     `json:"metrics"`
	Rows       []map[string]json.RawMessage `json:"rows"`
	Totals     map[string]json.RawMessage   `json:"totals"`
	Metadata   struct {
		Pending    int64 `json:"pending"`
		Duplicates int64 `json:"duplicates"`
		Bots       int64 `json:"bots"`
		Rejected   int64 `json:"rejected"`
		Generated  struct {
			HoursFromDocuments int64 `json:"hours_from_documents"`
		} `json:"generated_from"`
	} `json:"metadata"`
}

// table is the answer's rows as a story writes them.
func (a *answer) table() [][]string {
	var rows [][]string
	for _, row := range a.Rows {
		var cells []string
		for _, d := range a.Dimensions {
			var text string
			_ = json.Unmarshal(row[d], &text) // what is no text shows as ""
			cells = append(cells, text)
		}
		for _, m := range a.Metrics {
			cells = append(cells, string(row[m]))
			if before, ok := row[m+"_before"]; ok {
				cells = append(cells, string(before), string(row[m+"_difference"]))
			}
		}
		rows = append(rows, cells)
	}
	return rows
}

// report checks a report, in its own form and in Google's.
func (p *player) report(ctx context.Context, s Step) error {
	m := p.current
	token := m.token
	if other := s.Get("token"); other != "" {
		o, ok := p.merchants[other]
		if !ok {
			return fmt.Errorf("unknown merchant %q", other)
		}
		token = o.token
	}
	path := "/v1/reports/" + m.id + "?" + query(s, "metrics", "dimensions", "from", "to", "filter", "order", "limit", "offset", "empty", "compare", "currency")
	if fault := s.Get("error"); fault != "" {
		return p.refused(ctx, path, token, fault)
	}
	want := m.named(s.Rows)
	err := p.eventually(ctx, func() error {
		var a answer
		if err := p.do(ctx, http.MethodGet, path, token, "", nil, http.StatusOK, &a); err != nil {
			return err
		}
		if total := list(s.Get("total")); total != nil {
			var got []string
			for _, m := range a.Metrics {
				got = append(got, string(a.Totals[m]))
			}
			if err := same("the total", [][]string{got}, [][]string{total}); err != nil {
				return err
			}
		}
		for name, n := range map[string]int64{"pending": a.Metadata.Pending, "duplicates": a.Metadata.Duplicates, "bots": a.Metadata.Bots, "rejected": a.Metadata.Rejected} {
			if said := s.Get(name); said != "" && said != strconv.FormatInt(n, 10) {
				return fmt.Errorf("expected %s=%s, got %d", name, said, n)
			}
		}
		return same("the report", a.table(), want)
	})
	if err != nil || s.Get("filter") != "" || s.Get("limit") != "" || s.Get("offset") != "" || s.Get("compare") != "" || s.Get("currency") != "" || s.Get("empty") != "" {
		return err
	}
	// Behind a balancer another instance may answer, which keeps settings for a
	// second.
	return p.eventually(ctx, func() error { return p.runReport(ctx, s, token, want) })
}

// runReport asks the same of Google's Data API. Rows are compared as a set:
// its default order is its own.
func (p *player) runReport(ctx context.Context, s Step, token string, want [][]string) error {
	type named struct {
		Name string `json:"name"`
	}
	body := struct {
		DateRanges []map[string]string `json:"dateRanges"`
		Dimensions []named             `json:"dimensions,omitempty"`
		Metrics    []named             `json:"metrics"`
	}{DateRanges: []map[string]string{{"startDate": s.Get("from"), "endDate": s.Get("to")}}}
	names := catalog.New()
	for _, name := range list(s.Get("dimensions")) {
		d, err := names.DimensionFor("dimensions", name)
		if err != nil {
			return err
		}
		body.Dimensions = append(body.Dimensions, named{d.Name})
	}
	for _, name := range list(s.Get("metrics")) {
		m, err := names.MetricFor("metrics", name)
		if err != nil {
			return err
		}
		body.Metrics = append(body.Metrics, named{m.Name})
	}
	var got struct {
		Rows []struct {
			DimensionValues []struct{ Value string }
			MetricValues    []struct{ Value string }
		}
	}
	if err := p.call(ctx, http.MethodPost, "/v1beta/properties/"+p.current.id+":runReport", token, body, http.StatusOK, &got); err != nil {
		return err
	}
	var rows [][]string
	for _, r := range got.Rows {
		var cells []string
		for _, d := range r.DimensionValues {
			cells = append(cells, d.Value)
		}
		for _, m := range r.MetricValues {
			cells = append(cells, m.Value)
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 && len(body.Dimensions) == 0 {
		return nil // where nothing happened Google's API has no row, ours has one of zeros
	}
	want = slices.Clone(want)
	slices.SortFunc(rows, slices.Compare)
	slices.SortFunc(want, slices.Compare)
	return same("runReport", rows, want)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// same compares two tables: text as it is, numbers as numbers.
func same(what string, got, want [][]string) error {
	equal := slices.EqualFunc(got, want, func(a, b []string) bool {
		return slices.EqualFunc(a, b, func(x, y string) bool {
			if x == y {
				return true
			}
			f, err := strconv.ParseFloat(x, 64)
			g, err2 := strconv.ParseFloat(y, 64)
			return err == nil && err2 == nil && cmp.Compare(f, g) == 0
		})
	})
	if equal {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s differs\nexpected:\n", what)
	for _, r := range want {
		fmt.Fprintf(&b, "  %s\n", strings.Join(r, " | "))
	}
	b.WriteString("got:\n")
	for _, r := range got {
		fmt.Fprintf(&b, "  %s\n", strings.Join(r, " | "))
	}
	return fmt.Errorf("%s", b.String())
}

// refused expects an error: a status, or the field at fault with status 400.
func (p *player) refused(ctx context.Context, path, token, fault string) error {
	want, field := http.StatusBadRequest, fault
	if status, err := strconv.Atoi(fault); err == nil {
		want, field = status, ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.sys.URL+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var got struct{ Field string }
	_ = json.Unmarshal(body, &got) // an answer that is no JSON has no field
	if resp.StatusCode != want || got.Field != field && field != "" {
		return fmt.Errorf("expected status %d and the fault at %q, got %d %s", want, field, resp.StatusCode, bytes.TrimSpace(body))
	}
	return nil
}

// ledger checks the totals of a ledger, and that it adds up.
func (p *player) ledger(ctx context.Context, s Step) error {
	path := "/v1/ledger/" + p.current.id + "?" + query(s, "from", "to")
	return p.eventually(ctx, func() error {
		var got struct {
			Totals struct {
				Accepted, Counted, Duplicate, Pending, Bots, Internal int64
				Rejected, Refused                                     map[string]int64
			}
			AddsUp bool `json:"adds_up"`
		}
		if err := p.do(ctx, http.MethodGet, path, p.current.token, "", nil, http.StatusOK, &got); err != nil {
			return err
		}
		if !got.AddsUp {
			return fmt.Errorf("it does not add up: %+v", got.Totals)
		}
		t := got.Totals
		for _, o := range s.Options {
			var n int64
			switch o.Key {
			case "from", "to":
				continue
			case "accepted":
				n = t.Accepted
			case "counted":
				n = t.Counted
			case "duplicate":
				n = t.Duplicate
			case "pending":
				n = t.Pending
			case "bots":
				n = t.Bots
			case "internal":
				n = t.Internal
			default:
				kind, reason, _ := strings.Cut(o.Key, ".")
				if n = t.Rejected[reason]; kind == "refused" {
					n = t.Refused[reason]
				}
			}
			if strconv.FormatInt(n, 10) != o.Value {
				return fmt.Errorf("expected %s=%s, got %d: %+v", o.Key, o.Value, n, t)
			}
		}
		return nil
	})
}

// rejected checks the list of rejects: rows of reason | field.
func (p *player) rejected(ctx context.Context, s Step) error {
	path := "/v1/rejected/" + p.current.id + "?" + query(s, "from", "to")
	return p.eventually(ctx, func() error {
		var got struct {
			Rejected []struct{ Reason, Field string }
		}
		if err := p.do(ctx, http.MethodGet, path, p.current.token, "", nil, http.StatusOK, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, r := range got.Rejected {
			rows = append(rows, []string{r.Reason, r.Field})
		}
		return same("the list of rejects", rows, s.Rows)
	})
}

// everywhere waits until the reports over all that was sent are as they should.
func (p *player) everywhere(ctx context.Context, otherwise string, right func(*answer) bool) error {
	for _, m := range p.merchants {
		if m.first.IsZero() {
			continue
		}
		q := url.Values{
			"metrics": {"events"},
			"from":    {m.first.In(m.zone).Format(time.DateOnly)}, "to": {m.last.In(m.zone).Format(time.DateOnly)},
		}
		err := p.eventually(ctx, func() error {
			var a answer
			if err := p.do(ctx, http.MethodGet, "/v1/reports/"+m.id+"?"+q.Encode(), m.token, "", nil, http.StatusOK, &a); err != nil {
				return err
			}
			if !right(&a) {
				return fmt.Errorf("%s: %+v", otherwise, a.Metadata)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
