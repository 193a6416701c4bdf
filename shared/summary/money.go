package summary

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
)

// Rate is what one unit of a currency is worth in the merchant's own, from an
// instant (ms since the Unix epoch) until that of the currency's next rate.
type Rate struct {
	Currency string
	From     int64
	Rate     money.Rate
}

// The parameters in which an event says amounts beside its value.
const (
	paramTax      = "tax"
	paramShipping = "shipping"
	paramCoupon   = "coupon"
	paramTier     = "shipping_tier"
)

// amounts are a text column read as decimal numbers; what is none is nothing.
type amounts struct {
	code   []uint32
	micros []int64
}

func amountsOf(s *processed.Strings) amounts {
	if s == nil || s.Code == nil {
		return amounts{}
	}
	return amounts{code: s.Code, micros: microsOf(s.Dict)}
}

func microsOf(texts []string) []int64 {
	micros := make([]int64, len(texts))
	for i, text := range texts {
		micros[i], _ = money.Micros(text)
	}
	return micros
}

func (a amounts) at(i int) int64 {
	if a.code == nil {
		return 0
	}
	return a.micros[a.code[i]]
}

// currencies turns amounts into the merchant's own money.
type currencies struct {
	frame         *processed.Frame
	rates         [][]Rate // by code of the currency column, ascending; nil where there is no rate
	tax, shipping amounts  // by row
	discount      amounts  // by item
}

func currenciesOf(f *processed.Frame, s *Settings) currencies {
	names := f.Text[processed.ColCurrency].Dict
	m := currencies{
		frame: f, rates: make([][]Rate, len(names)),
		tax: amountsOf(f.Params[paramTax]), shipping: amountsOf(f.Params[paramShipping]),
		discount: amountsOf(&f.Items.Text[processed.ItemDiscount]),
	}
	for i, c := range names {
		m.rates[i] = s.RatesOf(c)
	}
	return m
}

// RatesOf are the rates of a currency, ascending by instant.
func (s *Settings) RatesOf(currency string) []Rate {
	if currency == "" || strings.EqualFold(currency, s.Currency) {
		return []Rate{{From: math.MinInt64, Rate: money.One}}
	}
	var rates []Rate
	for _, r := range s.Rates {
		if strings.EqualFold(r.Currency, currency) {
			rates = append(rates, r)
		}
	}
	slices.SortFunc(rates, func(a, b Rate) int { return cmp.Compare(a.From, b.From) })
	return rates
}

// rate is that of a row's money; 0 where the merchant gave none for its
// currency and instant.
func (m *currencies) rate(row uint32) money.Rate {
	code := m.frame.Text[processed.ColCurrency].Code
	if code == nil {
		return money.One
	}
	return m.of(code[row], row)
}

// of is that of a row whose currency has a code.
func (m *currencies) of(code, row uint32) money.Rate {
	rates := m.rates[code]
	if len(rates) == 1 && rates[0].From == math.MinInt64 {
		return rates[0].Rate
	}
	for _, r := range slices.Backward(rates) {
		if r.From <= m.frame.Millis[row] {
			return r.Rate
		}
	}
	return 0
}

// own is an amount in the merchant's money; ok is false where there is no rate
// or the result is beyond what can be counted.
func own(micros int64, rate money.Rate) (_ int64, ok bool) {
	if rate == 0 {
		return 0, false
	}
	return money.Convert(micros, rate)
}

// owned is own where what cannot be converted is nothing.
func owned(micros int64, rate money.Rate) int64 {
	v, _ := own(micros, rate)
	return v
}
