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
	// Lost and Doubled are events that are not counted, and that are counted
	// though nobody sent them, or once too often.
	Lost, Doubled int64
}

func (a *Audited) add(b *Audited) {
	a.Merchants += b.Merchants
	a.MerchantHours += b.MerchantHours
	a.Values += b.Values
	a.Differences += b.Differences
	a.Lost += b.Lost
	a.Doubled += b.Doubled
}

// Audit compares reports and ledgers of up to n merchants with the truth, hour by
// hour and value by value, and writes each difference to out. The busiest
// third of n is among them, the others are drawn from seed; 0 is all. It waits
// until nothing of a merchant is pending, for as long as ctx goes on. again is
// true where requests were sent more than once, or the system was killed: then
// more may have been accepted, and found to be duplicates, and what was refused
// is not compared.
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
	all := make([]audit, len(chosen))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for k, i := range chosen {
		group.Go(func() error {
			all[k] = audit{p: p, m: merchants[i], truth: sites[i], again: again}
			return all[k].run(ctx, truth.began)
		})
	}
	if err := group.Wait(); err != nil {
		return Audited{}, err
	}
	var sum Audited
	for k := range all {
		slices.Sort(all[k].said)
		for _, line := range all[k].said {
			fmt.Fprintln(out, line)
		}
		sum.add(&all[k].found)
	}
	return sum, nil
}

// audit is that of one merchant.
type audit struct {
	p     *Process
	m     Merchant
	truth *site
	again bool
	found Audited
	said  []string // the differences
}

// span is the hours [from, to) of which the truth knows.
func (a *audit) span() (from, to time.Time) {
	for h := range a.truth.hours {
		if from.IsZero() || h.Before(from) {
			from = h
		}
		if h.After(to) {
			to = h
		}
	}
	return from, to.Add(time.Hour)
}

func (a *audit) differs(hour time.Time, what string, want, got any) {
	a.said = append(a.said, fmt.Sprintf("merchant %s, hour %s, %s: sent %v, found %v", a.m.MerchantID, hour.Format("2006-01-02T15"), what, want, got))
	a.found.Differences++
}

func (a *audit) run(ctx context.Context, began time.Time) error {
	a.found.Merchants, a.found.MerchantHours = 1, len(a.truth.hours)
	if err := a.refused(ctx, began); err != nil {
		return err
	}
	if len(a.truth.hours) == 0 {
		return nil
	}
	from, to := a.span()
	l, err := a.counted(ctx, from, to)
	if err != nil {
		return err
	}
	a.ledger(l)
	return a.reports(ctx, from, to)
}

// ledgerHours is the answer of GET /v1/ledger.
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

func sumOf(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// ask asks day by day: a ledger looks at a bounded number of events at once.
func (a *audit) ask(ctx context.Context, from, to time.Time) (all ledgerHours, err error) {
	all = ledgerHours{Totals: ledgerCounts{Rejected: map[string]int64{}, Refused: map[string]int64{}}, AddsUp: true}
	for day := from; day.Before(to); day = day.Add(24 * time.Hour) {
		end := day.Add(24 * time.Hour)
		if end.After(to) {
			end = to
		}
		q := url.Values{"from": {day.UTC().Format(time.RFC3339)}, "to": {end.UTC().Format(time.RFC3339)}}
		var l ledgerHours
		if err := a.p.Do(ctx, http.MethodGet, "/v1/ledger/"+a.m.MerchantID+"?"+q.Encode(), a.p.AdminToken, "", nil, http.StatusOK, &l); err != nil {
			return all, err
		}
		all.Hours = append(all.Hours, l.Hours...)
		all.Totals.add(&l.Totals)
		all.AddsUp = all.AddsUp && l.AddsUp
	}
	return all, nil
}

func (c *ledgerCounts) add(other *ledgerCounts) {
	c.Accepted += other.Accepted
	c.Counted += other.Counted
	c.Bots += other.Bots
	c.Duplicate += other.Duplicate
	c.Pending += other.Pending
	for reason, n := range other.Rejected {
		c.Rejected[reason] += n
	}
	for reason, n := range other.Refused {
		c.Refused[reason] += n
	}
}

// refused compares what was refused. It stands in the hours of arrival, by the
// system's own clock, which may be some hours off. Nobody waits until it is kept:
// it comes a moment later, and where a process was killed, some of it never.
func (a *audit) refused(ctx context.Context, began time.Time) error {
	if a.again {
		return nil
	}
	const off = 3 * time.Hour
	pause := time.NewTicker(a.p.pause())
	defer pause.Stop()
	for asked := time.Now(); ; {
		l, err := a.ask(ctx, began.Add(-off).Truncate(time.Hour), time.Now().Add(off).Truncate(time.Hour))
		if err != nil {
			return err
		}
		n := sumOf(l.Totals.Refused)
		if n >= a.truth.refused || time.Since(asked) > a.p.patience() {
			if a.found.Values++; n != a.truth.refused {
				a.differs(began, "refused", a.truth.refused, n)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("of merchant %s %d of %d refused events are kept: %w", a.m.MerchantID, n, a.truth.refused, ctx.Err())
		case <-pause.C:
		}
	}
}

// counted is the ledger when nothing is pending, and either all that was sent is
// counted or it is clear that it will not be.
func (a *audit) counted(ctx context.Context, from, to time.Time) (l ledgerHours, err error) {
	var want int64
	for _, c := range a.truth.hours {
		want += int64(c.Counted)
	}
	pause := time.NewTicker(a.p.pause())
	defer pause.Stop()
	var missing time.Time // since when
	for {
		if l, err = a.ask(ctx, from, to); err != nil {
			return l, err
		}
		switch {
		case l.Totals.Pending > 0:
			missing = time.Time{}
		case l.Totals.Counted >= want:
			return l, nil
		case missing.IsZero():
			missing = time.Now()
		case time.Since(missing) > a.p.patience():
			return l, nil
		}
		select {
		case <-ctx.Done():
			return l, fmt.Errorf("of merchant %s %d events are pending and %d of %d counted: %w", a.m.MerchantID, l.Totals.Pending, l.Totals.Counted, want, ctx.Err())
		case <-pause.C:
		}
	}
}

// ledger compares each hour's.
func (a *audit) ledger(l ledgerHours) {
	ledgers := map[time.Time]ledgerCounts{}
	for _, h := range l.Hours {
		ledgers[h.Hour] = h.ledgerCounts
		if !h.AddsUp || h.Accepted != h.Counted+h.Duplicate+h.Pending+sumOf(h.Rejected) {
			a.differs(h.Hour, "the ledger", "a sum that adds up", h.ledgerCounts)
		}
		if _, ok := a.truth.hours[h.Hour]; !ok && h.Accepted > 0 {
			a.differs(h.Hour, "accepted", 0, h.Accepted)
			a.found.Doubled += h.Counted
		}
	}
	if !l.AddsUp {
		a.differs(time.Time{}, "the ledger", "totals that add up", l.Totals)
	}
	for h, c := range a.truth.hours {
		got := ledgers[h]
		for _, v := range []struct {
			what      string
			want, got int64
			more      bool // than were sent may be found where they were sent again
		}{
			{"accepted", int64(c.Accepted), got.Accepted, true},
			{"counted", int64(c.Counted), got.Counted, false},
			{"bots", int64(c.Bots), got.Bots, false},
			{"duplicate", int64(c.Accepted - c.Counted), got.Duplicate, true},
			{"rejected", 0, sumOf(got.Rejected), false},
		} {
			a.found.Values++
			if v.got != v.want && !(v.more && a.again && v.got > v.want) {
				a.differs(h, v.what, v.want, v.got)
			}
		}
		a.found.Lost += max(0, int64(c.Counted)-got.Counted)
		a.found.Doubled += max(0, got.Counted-int64(c.Counted))
	}
}

// tickAgain is how long an audit waits for a tick to close what waits: who was at a shard
// by then may not have heard of it.
const tickAgain = 10 * time.Second

// reports compares what reports say of each hour. One that differs may be a little
// older than the question, or lack what came late, and says so: then it is asked for
// again, once a tick has closed what waits, for as long as ctx goes on. One that says that
// it is complete up to the moment of asking is taken at its word.
func (a *audit) reports(ctx context.Context, from, to time.Time) error {
	type hourly struct {
		Rows     []map[string]any `json:"rows"`
		Metadata struct {
			Watermark time.Time `json:"watermark"`
			Pending   int64     `json:"pending"`
			Waiting   int       `json:"waiting_hours"`
			Sources   struct {
				Days      int   `json:"day_records"`
				Hours     int   `json:"hour_records"`
				Documents int   `json:"hours_from_documents"`
				Events    int64 `json:"documents_events"`
			} `json:"generated_from"`
		} `json:"metadata"`
	}
	q := url.Values{
		"metrics": {"eventCount,screenPageViews,sessions,ecommercePurchases,purchaseRevenue"}, "dimensions": {"dateHour"}, "limit": {"100000"},
		"from": {from.Format(time.DateOnly)}, "to": {to.Format(time.DateOnly)},
	}
	pause := time.NewTicker(a.p.pause())
	defer pause.Stop()
	found, said := a.found, len(a.said)
	var ticked time.Time
	for asked := time.Now().Truncate(time.Microsecond); ; {
		var r hourly
		if err := a.p.Do(ctx, http.MethodGet, "/v1/reports/"+a.m.MerchantID+"?"+q.Encode(), a.p.AdminToken, "", nil, http.StatusOK, &r); err != nil {
			return err
		}
		a.found, a.said = found, a.said[:said]
		a.rows(r.Rows)
		complete := r.Metadata.Pending == 0 && !r.Metadata.Watermark.Before(asked)
		switch {
		case len(a.said) == said:
			return nil
		case r.Metadata.Waiting > 0:
			if time.Since(ticked) > tickAgain {
				ticked = time.Now()
				if err := a.p.Tick(ctx); err != nil {
					return err
				}
			}
		case complete:
			a.said = append(a.said, fmt.Sprintf("merchant %s: asked from %s on, its report says that it holds all until %s: %+v", a.m.MerchantID, asked.UTC().Format(time.RFC3339Nano), r.Metadata.Watermark.Format(time.RFC3339Nano), r.Metadata.Sources))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a report of merchant %s holds what came until %s, asked at %s, and %d events are pending and %d hours wait: %w", a.m.MerchantID, r.Metadata.Watermark, asked, r.Metadata.Pending, r.Metadata.Waiting, ctx.Err())
		case <-pause.C:
		}
	}
}

func (a *audit) rows(rows []map[string]any) {
	hours := map[string]map[string]any{}
	for _, row := range rows {
		if hour, ok := row["dateHour"].(string); ok {
			hours[hour] = row
		}
	}
	compare := func(h time.Time, c Counts, row map[string]any) {
		for _, v := range []struct {
			what string
			want float64
		}{
			{"eventCount", float64(c.Events)},
			{"screenPageViews", float64(c.Views)},
			{"sessions", float64(c.Sessions)},
			{"ecommercePurchases", float64(c.Purchases)},
			{"purchaseRevenue", float64(c.RevenueMicros) / 1e6},
		} {
			a.found.Values++
			got, _ := row[v.what].(float64)
			if diff := v.want - got; diff > 1e-6 || diff < -1e-6 {
				a.differs(h, v.what, v.want, got)
			}
		}
	}
	for h, c := range a.truth.hours {
		name := h.Format("2006010215")
		compare(h, c, hours[name])
		delete(hours, name)
	}
	for name, row := range hours { // of which nothing was sent
		h, err := time.Parse("2006010215", name)
		if err != nil {
			a.differs(h, "dateHour", "an hour", name)
			continue
		}
		compare(h, Counts{}, row)
	}
}
