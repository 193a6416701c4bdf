package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/money"
)

// MaxCurrencyRates is how many rates a merchant may give.
const MaxCurrencyRates = 1000

// CurrencyRate is what one unit of another currency is worth in the
// merchant's, from a day of its calendar until the currency's next rate.
type CurrencyRate struct {
	Currency string     `json:"currency"` // ISO 4217
	Rate     money.Rate `json:"rate"`
	From     string     `json:"from,omitempty"` // "2026-03-01"; absent: from the beginning
}

// FromDate is the day from which the rate holds; ok is false where it has
// always held.
func (r *CurrencyRate) FromDate() (day time.Time, ok bool) {
	day, err := time.Parse(time.DateOnly, r.From)
	return day, err == nil
}

// sortedRates are rates by currency, then day; nil for none.
func sortedRates(rates []CurrencyRate) []CurrencyRate {
	if len(rates) == 0 {
		return nil
	}
	rates = slices.Clone(rates)
	slices.SortFunc(rates, compareRates)
	return rates
}

func compareRates(a, b CurrencyRate) int {
	return cmp.Or(strings.Compare(a.Currency, b.Currency), strings.Compare(a.From, b.From))
}

// validateRates returns the first fault.
func (s *Settings) validateRates() error {
	if len(s.CurrencyRates) > MaxCurrencyRates {
		return fault.Field("currency_rates", fmt.Sprintf("at most %d rates", MaxCurrencyRates))
	}
	seen := map[CurrencyRate]bool{}
	for i, r := range s.CurrencyRates {
		field := func(member string) string { return fmt.Sprintf("currency_rates[%d].%s", i, member) }
		_, dated := r.FromDate()
		switch {
		case !KnownCurrency(r.Currency):
			return fault.Field(field("currency"), `an ISO 4217 code such as "USD"`)
		case r.Currency == s.Currency:
			return fault.Field(field("currency"), "another currency than the merchant's own, which is "+s.Currency)
		case r.Rate <= 0 || r.Rate > money.MaxRate:
			return fault.Field(field("rate"), money.Expected)
		case r.From != "" && !dated:
			return fault.Field(field("from"), `a day such as "2026-03-01"`)
		}
		key := CurrencyRate{Currency: r.Currency, From: r.From}
		if seen[key] {
			return fault.Field(field("from"), "one rate of each currency and day")
		}
		seen[key] = true
	}
	return nil
}
