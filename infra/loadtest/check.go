package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Ledger is the part of the answer of GET /v1/ledger that holds the totals.
type Ledger struct {
	Totals struct {
		Accepted  int64            `json:"accepted"`
		Counted   int64            `json:"counted"`
		Duplicate int64            `json:"duplicate"`
		Pending   int64            `json:"pending"`
		Rejected  map[string]int64 `json:"rejected"`
	} `json:"totals"`
	AddsUp bool `json:"adds_up"`
}

// Ledger asks for a merchant's ledger of [from, to).
func (p *Process) Ledger(ctx context.Context, m Merchant, from, to time.Time) (Ledger, error) {
	var l Ledger
	q := url.Values{"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)}}
	err := p.Do(ctx, http.MethodGet, "/v1/ledger/"+m.MerchantID+"?"+q.Encode(), m.ReportToken, "", nil, http.StatusOK, &l)
	return l, err
}

// WaitDelivered waits until every Trigger has settled all that stands in its
// Broker's topic.
func (p *Process) WaitDelivered(ctx context.Context) error {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		var brokers struct {
			Brokers []struct {
				Triggers []struct {
					Lag      int64 `json:"lag"`
					InFlight int64 `json:"in_flight"`
				} `json:"triggers"`
			} `json:"brokers"`
		}
		if err := p.Do(ctx, http.MethodGet, "/brokers", p.AdminToken, "", nil, http.StatusOK, &brokers); err != nil {
			return err
		}
		var open int64
		for _, b := range brokers.Brokers {
			for _, t := range b.Triggers {
				open += t.Lag + t.InFlight
			}
		}
		if open == 0 && len(brokers.Brokers) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d deliveries are open: %w", open, ctx.Err())
		case <-pause.C:
		}
	}
}

// WaitCounted waits until the ledgers of all merchants show every event that
// was sent, with nothing pending. It fails as soon as more is counted than was
// sent, and with the last difference when ctx ends.
func (p *Process) WaitCounted(ctx context.Context, merchants []Merchant, truth []Truth, from, to time.Time) error {
	pause := time.NewTicker(cmp.Or(p.Pause, 20*time.Millisecond))
	defer pause.Stop()
	for i, m := range merchants {
		var last Ledger
		for {
			l, err := p.Ledger(ctx, m, from, to)
			if err == nil {
				last = l
			}
			t := l.Totals
			switch {
			case err != nil && ctx.Err() == nil:
				return err
			case err == nil && t.Counted > truth[i].Events:
				return fmt.Errorf("merchant %s: %d events counted, only %d sent", m.MerchantID, t.Counted, truth[i].Events)
			case err == nil && t.Pending == 0 && t.Counted == truth[i].Events && t.Accepted >= truth[i].Sent && l.AddsUp:
			default:
				select {
				case <-ctx.Done():
					return fmt.Errorf("merchant %s: sent %+v, ledger %+v: %w", m.MerchantID, truth[i], last, ctx.Err())
				case <-pause.C:
					continue
				}
			}
			break
		}
	}
	return nil
}

// CheckReports compares each merchant's report with the truth, to the unit.
func (p *Process) CheckReports(ctx context.Context, merchants []Merchant, truth []Truth, from, to time.Time) error {
	for i, m := range merchants {
		row, err := p.Totals(ctx, m, "eventCount,screenPageViews", from, to)
		if err != nil {
			return err
		}
		if row[0] != float64(truth[i].Events) || row[1] != float64(truth[i].Views) {
			return fmt.Errorf("merchant %s: report says events, views = %v, sent %+v", m.MerchantID, row, truth[i])
		}
	}
	return nil
}

// Totals asks for a report without dimensions; zeros where it has no row.
func (p *Process) Totals(ctx context.Context, m Merchant, metrics string, from, to time.Time) ([]float64, error) {
	var report struct {
		Metrics []string             `json:"metrics"`
		Rows    []map[string]float64 `json:"rows"`
	}
	q := url.Values{"metrics": {metrics}, "from": {from.UTC().Format(time.DateOnly)}, "to": {to.UTC().Format(time.DateOnly)}}
	if err := p.Do(ctx, http.MethodGet, "/v1/reports/"+m.MerchantID+"?"+q.Encode(), m.ReportToken, "", nil, http.StatusOK, &report); err != nil {
		return nil, err
	}
	totals := make([]float64, len(report.Metrics))
	for i, name := range report.Metrics {
		if len(report.Rows) > 0 {
			totals[i] = report.Rows[0][name]
		}
	}
	return totals, nil
}

// HoursFromDocuments is how many hours of the days from to to a report works
// out from processed data, because no summary holds them yet.
func (p *Process) HoursFromDocuments(ctx context.Context, m Merchant, from, to time.Time) (int, error) {
	var report struct {
		Metadata struct {
			Generated struct {
				HoursFromDocuments int `json:"hours_from_documents"`
			} `json:"generated_from"`
		} `json:"metadata"`
	}
	q := url.Values{"metrics": {"eventCount"}, "from": {from.UTC().Format(time.DateOnly)}, "to": {to.UTC().Format(time.DateOnly)}}
	err := p.Do(ctx, http.MethodGet, "/v1/reports/"+m.MerchantID+"?"+q.Encode(), m.ReportToken, "", nil, http.StatusOK, &report)
	return report.Metadata.Generated.HoursFromDocuments, err
}
