package report

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/summary"
)

// A report in another currency than the merchant's divides what was counted in
// the merchant's by the rates at which amounts of the other one are converted.
// A rate holds from the start of a day, and records are of days and hours, so
// that each part of an answer is of one rate. Rows are kept by their rate, in a
// last column that no answer shows, until all has come: what a row has, of each
// rate, is divided once, and so is what a total has.

// Currencies are a merchant's own currency and what others are worth in it.
type Currencies struct {
	Settings summary.Settings
	Calendar *summary.Calendar
}

// Convert makes the report one in a currency, "" being the merchant's own. The
// fault, where there is not a rate for all that is asked, lies at field.
func (q *Query) Convert(field, code string, c Currencies) error {
	if code == "" || code == c.Settings.Currency {
		return nil
	}
	var rates []summary.Rate
	if slices.ContainsFunc(c.Settings.Rates, func(r summary.Rate) bool { return r.Currency == code }) {
		rates = c.Settings.RatesOf(code)
	}
	if len(rates) == 0 {
		var known []string
		for _, r := range c.Settings.Rates {
			known = append(known, r.Currency)
		}
		slices.Sort(known)
		also := "; there is none"
		if len(known) > 0 {
			also = ": " + strings.Join(slices.Compact(known), ", ")
		}
		return fault.Field(field, c.Settings.Currency+", the merchant's currency, or one that currency_rates has a rate of"+also)
	}
	for _, r := range q.DateRanges {
		if Span(c.Calendar, r).From < rates[0].From {
			first := time.UnixMilli(rates[0].From).In(c.Calendar.Location()).Format(time.DateOnly)
			return fault.Field(field, fmt.Sprintf("days from %s on, from which currency_rates has a rate of %s: not %s", first, code, r.From))
		}
	}
	q.Currency, q.rates = code, rates
	return nil
}

// converts reports whether tables have a last column for rates.
func (p *Plan) converts() bool { return p.Query.Currency != "" }

// rateKey is the last column of tables in a report that converts.
var rateKey = summary.Key{Dim: summary.DimParam, Param: "\x00rate"}

// rateAt names the rate of an instant (ms) among the query's.
func (p *Plan) rateAt(ms int64) string {
	after := sort.Search(len(p.Query.rates), func(i int) bool { return p.Query.rates[i].From > ms })
	return fmt.Sprintf("%04d", max(0, after-1))
}

// withRate adds the last column to a table whose windows are of one rate.
func (p *Plan) withRate(t *summary.Table, rate string) {
	if p.converts() {
		t.Keys = append(t.Keys[:len(t.Keys):len(t.Keys)], rateKey)
		t.Values = append(t.Values[:len(t.Values):len(t.Values)], slices.Repeat([]string{rate}, t.Len()))
	}
}

// byRate cuts windows, which are in order, where rates change.
func (p *Plan) byRate(windows []summary.Window) [][]summary.Window {
	var out [][]summary.Window
	for i, w := range windows {
		if i > 0 && (!p.converts() || p.rateAt(w.From) == p.rateAt(windows[i-1].From)) {
			out[len(out)-1] = append(out[len(out)-1], w)
		} else {
			out = append(out, []summary.Window{w})
		}
	}
	return out
}

// one makes sure that a table without other columns than that of rates has a
// row, as one without columns has.
func (p *Plan) one(t *summary.Table) *summary.Table {
	if p.converts() && len(t.Keys) == 1 && t.Len() == 0 {
		t = p.emptyOf(nil)
		t.Values[0] = append(t.Values[0], p.rateAt(math.MinInt64))
		t.Counters = append(t.Counters, summary.Counters{})
		if t.Users != nil {
			t.Users = append(t.Users, summary.Users{})
		}
		t.AddZero()
	}
	return t
}

// emptyOf is a table without rows of keys, and of rates where there are some.
func (p *Plan) emptyOf(keys []summary.Key) *summary.Table {
	if p.converts() {
		keys = append(keys[:len(keys):len(keys)], rateKey)
	}
	return summary.EmptyTable(keys, p.Users, p.measures)
}

// spans are the rows [from, to) of a table that are one row of the answer.
func (p *Plan) spans(t *summary.Table) iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for from := 0; from < t.Len(); {
			to := from + 1
			for p.converts() && to < t.Len() && slices.Equal(p.row(t, from), p.row(t, to)) {
				to++
			}
			if !yield(from, to) {
				return
			}
			from = to
		}
	}
}

// row is the tuple of row i without its rate.
func (p *Plan) row(t *summary.Table, i int) []string {
	row := t.Row(i)
	if p.converts() {
		row = row[:len(row)-1]
	}
	return row
}

// rateOf names the rate of row i; "" where nothing is converted.
func (p *Plan) rateOf(t *summary.Table, i int) string {
	if !p.converts() {
		return ""
	}
	return t.Values[len(t.Values)-1][i]
}

// converted are counters in the report's currency, of those of a rate.
func (p *Plan) converted(c *summary.Counters, rate string) summary.Counters {
	out := *c
	if !p.converts() {
		return out
	}
	at, err := strconv.Atoi(rate)
	if err != nil {
		panic(err) // as rateAt writes it
	}
	for _, of := range summary.Money() {
		v, ok := money.Divide(c[of], p.Query.rates[at].Rate)
		switch {
		case ok:
		case c[of] < 0:
			v = math.MinInt64
		default:
			v = math.MaxInt64
		}
		out[of] = v
	}
	return out
}
