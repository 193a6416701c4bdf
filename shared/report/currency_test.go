package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/summary"
)

// euros is a merchant without rates.
var euros = Currencies{Settings: summary.Settings{Currency: "EUR"}}

// dated is a merchant for whom a dollar is worth 0.9 euros, and 0.7 from
// 22 November on; a pound has a rate from that day on.
func dated(t testing.TB) Currencies {
	from := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixMilli()
	return Currencies{Calendar: calendar(t, "UTC"), Settings: summary.Settings{Currency: "EUR", Rates: []summary.Rate{
		{Currency: "USD", From: from, Rate: 7 * money.One / 10}, {Currency: "USD", From: -1 << 63, Rate: 9 * money.One / 10}, {Currency: "GBP", From: from, Rate: money.One}}}}
}

// sold is a record with the money and the users of pages.
func sold(pages map[string]int64) *summary.Record {
	r := recordOf(map[string][]uint64{})
	t := &summary.Table{Keys: summary.Keys(summary.DimPagePath), Values: [][]string{{}}, Users: []summary.Users{}}
	for page, micros := range pages {
		c := summary.Counters{summary.RevenueMicros: micros, summary.Events: 1}
		r.Total.Add(&c)
		t.Values[0], t.Counters, t.Users = append(t.Values[0], page), append(t.Counters, c), append(t.Users, summary.UsersOf(1))
	}
	r.Users = summary.UsersOf(1)
	r.Tables[summary.TablePage] = t.Project(t.Keys, nil, nil)
	return r
}

// What a row has at one rate is divided once, whatever it is made of; so is a
// total, which need not be the sum of rounded rows.
func TestConvert(t *testing.T) {
	records := map[string]*summary.Record{
		"20261120": sold(map[string]int64{"/": 1, "/b": 1}), "20261121": sold(map[string]int64{"/": 1, "/b": 1_000_000}), "20261122": sold(map[string]int64{"/": 2, "/a": 700_000}),
	}
	for query, want := range map[string]string{
		"metrics=revenue,users": "[] [2.111117 1]\ntotal [2.111117 1]\n",
		// 2/0.9 = 2.2 and 2/0.7 = 2.9 millionths; 1,000,001/0.9 = 1,111,112.2; 700,000/0.7.
		"metrics=revenue,users&dimensions=page&order=page":         "[/] [0.000005 1]\n[/a] [1 1]\n[/b] [1.111112 1]\ntotal [2.111117 1]\n",
		"metrics=revenue&dimensions=date":                          "[20261120] [0.000002]\n[20261121] [1.111112]\n[20261122] [1.000003]\ntotal [2.111117]\n",
		"metrics=revenue&dimensions=page&filter=revenue>=1.000001": "[/b] [1.111112]\ntotal [1.111112]\n",
		"metrics=averageRevenuePerUser,events":                     "[] [2.111117 6]\ntotal [2.111117 6]\n",
	} {
		q := parse(t, query+"&from=2026-11-20&to=2026-11-22")
		if err := q.Convert("currency", "USD", dated(t)); err != nil {
			t.Fatal(err)
		}
		p, cal := NewPlan(q), calendar(t, "UTC")
		b := NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 100)
		for _, w := range p.Windows(cal, q.DateRanges[0], -1<<60, 1<<60) {
			if err := b.AddRecord(w, records[cal.TimeValue(summary.DimDate, w.From)]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, lines(Finish(q, []*Builder{b}, Meta{}))); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
	// Of nothing there is one row of zeros still.
	q := parse(t, "metrics=revenue&from=2026-11-20&to=2026-11-22")
	if err := q.Convert("currency", "USD", dated(t)); err != nil {
		t.Fatal(err)
	}
	if got := lines(Finish(q, []*Builder{NewBuilder(NewPlan(q), calendar(t, "UTC"), q.DateRanges[0], summary.Settings{}, 100)}, Meta{})); got != "[] [0]\ntotal [0]\n" {
		t.Errorf("of nothing: got %q", got)
	}
}

func TestConvertFaults(t *testing.T) {
	for code, want := range map[string]string{
		"":    "",
		"EUR": "",
		"USD": "",
		"JPY": "currencyCode: expected EUR, the merchant's currency, or one that currency_rates has a rate of: GBP, USD",
		"usd": "currencyCode: expected EUR",
		"GBP": "currencyCode: expected days from 2026-11-22 on, from which currency_rates has a rate of GBP: not 2026-11-21",
	} {
		body := `{"dateRanges":[{"startDate":"2026-11-21","endDate":"2026-11-22"}],"metrics":[{"name":"purchaseRevenue"}],"currencyCode":"` + code + `"}`
		_, err := ParseGoogle(catalog.New(), "m1", dated(t), []byte(body), today)
		if want == "" && err != nil || want != "" && (fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want)) {
			t.Errorf("%s: expected %q, got %v", code, want, err)
		}
	}
}
