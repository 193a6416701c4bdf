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

func (p *Process) pause() time.Duration { return cmp.Or(p.Pause, 20*time.Millisecond) }

func (p *Process) patience() time.Duration { return cmp.Or(p.Patience, 30*time.Second) }

// WaitTotals waits until a merchant's ledger of [from, to) shows every event that
// was sent, with nothing pending, and compares the totals of its report of these
// days, to the unit: for events made by hand, of which only accepted, counted,
// events and views are known. It fails as soon as more is counted than was sent,
// and with the last difference when ctx ends.
func (p *Process) WaitTotals(ctx context.Context, m Merchant, want Counts, from, to time.Time) error {
	pause := time.NewTicker(p.pause())
	defer pause.Stop()
	for {
		l, err := p.Ledger(ctx, m, from, to)
		if err != nil {
			return err
		}
		t := l.Totals
		if t.Counted > int64(want.Counted) {
			return fmt.Errorf("merchant %s: %d events counted, only %d sent", m.MerchantID, t.Counted, want.Counted)
		}
		if t.Pending == 0 && t.Counted == int64(want.Counted) && t.Accepted >= int64(want.Accepted) && l.AddsUp {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("merchant %s: sent %+v, ledger %+v: %w", m.MerchantID, want, l, ctx.Err())
		case <-pause.C:
		}
	}
	for asked := time.Now().Truncate(time.Microsecond); ; {
		r, err := p.report(ctx, m, "eventCount,screenPageViews", from, to.Add(-1))
		if err != nil {
			return err
		}
		row := r.totals()
		if row[0] == float64(want.Events) && row[1] == float64(want.Views) {
			return nil
		}
		differs := fmt.Errorf("merchant %s: report says events, views = %v, sent %+v, and %d events pending at %s, asked at %s",
			m.MerchantID, row, want, r.Metadata.Pending, r.Metadata.Watermark, asked)
		if r.Metadata.Pending == 0 && !r.Metadata.Watermark.Before(asked) || time.Since(asked) > p.patience() {
			return differs
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", differs, ctx.Err())
		case <-pause.C:
		}
	}
}

// answer is the part of a report that is looked at.
type answer struct {
	Metrics  []string             `json:"metrics"`
	Rows     []map[string]float64 `json:"rows"`
	Metadata struct {
		Watermark time.Time `json:"watermark"`
		Pending   int64     `json:"pending"`
	} `json:"metadata"`
}

// totals are those of a report without dimensions; zeros where it has no row.
func (r *answer) totals() []float64 {
	totals := make([]float64, len(r.Metrics))
	for i, name := range r.Metrics {
		if len(r.Rows) > 0 {
			totals[i] = r.Rows[0][name]
		}
	}
	return totals
}

func (p *Process) report(ctx context.Context, m Merchant, metrics string, from, to time.Time) (r answer, err error) {
	q := url.Values{"metrics": {metrics}, "from": {from.UTC().Format(time.DateOnly)}, "to": {to.UTC().Format(time.DateOnly)}}
	err = p.Do(ctx, http.MethodGet, "/v1/reports/"+m.MerchantID+"?"+q.Encode(), m.ReportToken, "", nil, http.StatusOK, &r)
	return r, err
}

// Totals asks for a report without dimensions; zeros where it has no row.
func (p *Process) Totals(ctx context.Context, m Merchant, metrics string, from, to time.Time) ([]float64, error) {
	r, err := p.report(ctx, m, metrics, from, to)
	if err != nil {
		return nil, err
	}
	return r.totals(), nil
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
