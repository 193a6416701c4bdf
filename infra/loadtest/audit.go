package loadtest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Audited is what an audit has compared.
type Audited struct {
	Merchants     int
	MerchantHours int
	Values        int
	Differences   int
}

// Audit compares reports and ledgers of up to n merchants with the truth, hour by
// hour and value by value, and writes each difference to out. The busiest
// third of n is among them, the others are drawn from seed; 0 is all. It waits
// until nothing of a merchant is pending, for as long as ctx goes on. again is
// true where requests were sent more than once: then more may have been accepted,
// and found to be duplicates.
func (p *Process) Audit(ctx context.Context, merchants []Merchant, truth *Truths, n int, seed uint64, again bool, out io.Writer) (Audited, error) {
	sites := truth.sites()
	var chosen []int
	for i := range merchants {
		if sites[i] != nil {
			chosen = append(chosen, i)
		}
	}
	if n > 0 && n < len(chosen) {
		rest := chosen[n/3:]
		rand.New(rand.NewPCG(seed, 0x6175646974)).Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		chosen = chosen[:n]
	}
	found := make([]Audited, len(chosen))
	said := make([][]string, len(chosen))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for k, i := range chosen {
		group.Go(func() (err error) {
			found[k], said[k], err = p.auditOne(ctx, merchants[i], sites[i], again)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Audited{}, err
	}
	var all Audited
	for k := range found {
		all.Merchants++
		all.MerchantHours += found[k].MerchantHours
		all.Values += found[k].Values
		all.Differences += len(said[k])
		for _, line := range said[k] {
			fmt.Fprintln(out, line)
		}
	}
	return all, nil
}

type ledgerHours struct {
	Hours []struct {
		Hour time.Time `json:"hour"`
		ledgerCounts
		AddsUp bool `json:"adds_up"`
	} `json:"hours"`
	Totals ledgerCounts `json:"totals"`
	AddsUp bool         `json:"adds_up"`
}

type ledgerCounts struct {
	Accepted  int64            `json:"accepted"`
	Counted   int64            `json:"counted"`
	Bots      int64            `json:"bots"`
	Duplicate int64            `json:"duplicate"`
	Pending   int64            `json:"pending"`
	Rejected  map[string]int64 `json:"rejected"`
	Refused   map[string]int64 `json:"refused"`
}

// auditOne compares one merchant.
func (p *Process) auditOne(ctx context.Context, m Merchant, hours map[time.Time]Counts, again bool) (a Audited, said []string, err error) {
	var from, to time.Time
	var refused int64
	for h, c := range hours {
		if from.IsZero() || h.Before(from) {
			from = h
		}
		if h.After(to) {
			to = h
		}
		refused += int64(c.Refused)
	}
	to = to.Add(time.Hour)
	differs := func(hour time.Time, what string, want, got any) {
		said = append(said, fmt.Sprintf("merchant %s, hour %s, %s: sent %v, found %v", m.MerchantID, hour.Format("2006-01-02T15"), what, want, got))
	}
	var l ledgerHours
	q := url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}
	pause := time.NewTicker(250 * time.Millisecond)
	defer pause.Stop()
	for {
		l = ledgerHours{}
		if err := p.Do(ctx, http.MethodGet, "/v1/ledger/"+m.MerchantID+"?"+q.Encode(), p.AdminToken, "", nil, http.StatusOK, &l); err != nil {
			return a, nil, err
		}
		if l.Totals.Pending == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return a, nil, fmt.Errorf("%d events of merchant %s are pending: %w", l.Totals.Pending, m.MerchantID, ctx.Err())
		case <-pause.C:
		}
	}
	a.MerchantHours = len(hours)
	ledgers := map[time.Time]ledgerCounts{}
	for _, h := range l.Hours {
		ledgers[h.Hour] = h.ledgerCounts
		if !h.AddsUp {
			differs(h.Hour, "the ledger", "a sum that adds up", h.ledgerCounts)
		}
	}
	var foundRefused int64
	for _, k := range l.Totals.Refused {
		foundRefused += k
	}
	if foundRefused != refused && (!again || foundRefused < refused) {
		differs(from, "refused", refused, foundRefused)
	}
	rows, err := p.hourly(ctx, m, from, to)
	if err != nil {
		return a, nil, err
	}
	for h := range ledgers {
		if _, ok := hours[h]; !ok && ledgers[h].Accepted > 0 {
			differs(h, "accepted", 0, ledgers[h].Accepted)
		}
	}
	for h, c := range hours {
		got, row := ledgers[h], rows[h.Format("2006010215")]
		if accepted := int64(c.Accepted); got.Accepted != accepted && (!again || got.Accepted < accepted) {
			differs(h, "accepted", accepted, got.Accepted)
		}
		for _, v := range []struct {
			what      string
			want, got float64
		}{
			{"counted", float64(c.Counted), float64(got.Counted)},
			{"bots", float64(c.Bots), float64(got.Bots)},
			{"eventCount", float64(c.Events), row["eventCount"]},
			{"screenPageViews", float64(c.Views), row["screenPageViews"]},
			{"sessions", float64(c.Sessions), row["sessions"]},
			{"ecommercePurchases", float64(c.Purchases), row["ecommercePurchases"]},
			{"purchaseRevenue", float64(c.RevenueMicros) / 1e6, row["purchaseRevenue"]},
		} {
			if diff := v.want - v.got; diff > 1e-6 || diff < -1e-6 {
				differs(h, v.what, v.want, v.got)
			}
			a.Values++
		}
		a.Values += 2 // accepted, duplicate
		if d := int64(c.Accepted - c.Counted); got.Duplicate != d && (!again || got.Duplicate < d) {
			differs(h, "duplicate", d, got.Duplicate)
		}
	}
	slices.Sort(said)
	return a, said, nil
}

// hourly asks for what reports say of each hour.
func (p *Process) hourly(ctx context.Context, m Merchant, from, to time.Time) (map[string]map[string]float64, error) {
	type hourly struct {
		Rows     []map[string]any `json:"rows"`
		Metadata struct {
			Watermark time.Time `json:"watermark"`
			Pending   int64     `json:"pending"`
		} `json:"metadata"`
	}
	var r hourly
	q := url.Values{
		"metrics": {"eventCount,screenPageViews,sessions,ecommercePurchases,purchaseRevenue"}, "dimensions": {"dateHour"}, "limit": {"100000"},
		"from": {from.Format(time.DateOnly)}, "to": {to.Format(time.DateOnly)},
	}
	// A report may be a little older than the question, and says so.
	pause := time.NewTicker(250 * time.Millisecond)
	defer pause.Stop()
	for asked := time.Now().Truncate(time.Microsecond); ; {
		r = hourly{}
		if err := p.Do(ctx, http.MethodGet, "/v1/reports/"+m.MerchantID+"?"+q.Encode(), p.AdminToken, "", nil, http.StatusOK, &r); err != nil {
			return nil, err
		}
		if r.Metadata.Pending == 0 && !r.Metadata.Watermark.Before(asked) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("a report of merchant %s holds what came until %s, asked at %s: %w", m.MerchantID, r.Metadata.Watermark, asked, ctx.Err())
		case <-pause.C:
		}
	}
	rows := map[string]map[string]float64{}
	for _, row := range r.Rows {
		values := map[string]float64{}
		for name, v := range row {
			if n, ok := v.(float64); ok {
				values[name] = n
			}
		}
		hour, _ := row["dateHour"].(string)
		rows[hour] = values
	}
	return rows, nil
}
