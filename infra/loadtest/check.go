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

// answerWithin is how long a report may say that it does not hold all yet.
const answerWithin = 30 * time.Second

// CheckReports compares each merchant's report with the truth, to the unit. A
// report that differs may be a little older than the question where much is
// going on, and says so: then it is asked for again. One that says that it is
// complete up to the moment of asking is taken at its word.
func (p *Process) CheckReports(ctx context.Context, merchants []Merchant, truth []Truth, from, to time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	pause := time.NewTicker(cmp.Or(p.Pause, 20*time.Millisecond))
	defer pause.Stop()
	for i, m := range merchants {
		asked := time.Now().Truncate(time.Microsecond)
		for {
			r, err := p.report(ctx, m, "eventCount,screenPageViews", from, to)
			if err != nil {
				return err
			}
			row := r.totals()
			if row[0] == float64(truth[i].Events) && row[1] == float64(truth[i].Views) {
				break
			}
			differs := fmt.Errorf("merchant %s: report says events, views = %v, sent %+v, and %d events pending at %s, asked at %s",
				m.MerchantID, row, truth[i], r.Metadata.Pending, r.Metadata.Watermark, asked)
			if r.Metadata.Pending == 0 && !r.Metadata.Watermark.Before(asked) {
				return differs
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", differs, ctx.Err())
			case <-pause.C:
			}
		}
	}
	return nil
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
