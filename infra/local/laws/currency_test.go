package laws

import (
	"math/big"
	"testing"
	"time"
)

// rateOn is what a currency is worth on a day, and since when; nil where the
// merchant gave no rate.
func (n *naive) rateOn(currency, day string) (rate *big.Rat, since string) {
	for _, r := range n.settings.CurrencyRates {
		if r.Currency == currency && r.From <= day && (rate == nil || r.From >= since) {
			rate, _ = new(big.Rat).SetString(r.Rate.String())
			since = r.From
		}
	}
	return rate, since
}

// nearest is the nearest whole number, and from the middle the even one.
func nearest(r *big.Rat) *big.Int {
	whole := new(big.Int).Div(r.Num(), r.Denom())
	left := new(big.Rat).Sub(r, new(big.Rat).SetInt(whole))
	if c := left.Cmp(big.NewRat(1, 2)); c > 0 || c == 0 && whole.Bit(0) == 1 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole
}

// inCurrency adds micro-units of the merchant's currency up in the currency that
// is asked for: those of each of its rates together, to the nearest micro-unit.
func (g *group) inCurrency(sum func(counts func(h *hit) bool) *big.Rat) *big.Rat {
	if g.n.in == "" || g.n.in == g.n.settings.Currency {
		return sum(func(*hit) bool { return true })
	}
	sinceOf := func(h *hit) string {
		_, since := g.n.rateOn(g.n.in, h.local.Format(time.DateOnly))
		return since
	}
	rates := map[string]*big.Rat{}
	for _, u := range g.units {
		rate, since := g.n.rateOn(g.n.in, u.hit.local.Format(time.DateOnly))
		rates[since] = rate
	}
	total := new(big.Rat)
	for since, rate := range rates {
		own := sum(func(h *hit) bool { return sinceOf(h) == since })
		total.Add(total, new(big.Rat).SetInt(nearest(own.Quo(own, rate))))
	}
	return total
}

// payable takes a currency out of a question that the merchant has no rate of on
// some day.
func (n *naive) payable(t testing.TB, q query) query {
	t.Helper()
	for _, r := range q.DateRanges {
		if rate, _ := n.rateOn(q.CurrencyCode, n.day(t, r.Start).Format(time.DateOnly)); rate == nil && q.CurrencyCode != n.settings.Currency {
			q.CurrencyCode = ""
		}
	}
	return q
}
