package summary_test

import (
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// rated are settings with rates: of dollars two, the first from within the
// days of drawRows on; of other currencies none.
var rated = func() summary.Settings {
	s := euros
	at := func(day int) int64 { return time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC).UnixMilli() }
	s.Rates = []summary.Rate{{"USD", at(30), 1_500_000_000_000}, {"USD", at(29), 333_333_333_333}, {"EUR", at(1), 7 * money.One}}
	return s
}()

// own is an amount in euros, in fractions of integers and rounded half to even.
func (n *naive) own(micros int64, r *processed.Row) (int64, bool) {
	currency := r.Text[processed.ColCurrency]
	if currency == "" || currency == "EUR" {
		return micros, true
	}
	best, found := summary.Rate{}, false
	for _, rate := range n.settings.Rates {
		if rate.Currency == currency && rate.From <= r.Millis && (!found || rate.From > best.From) {
			best, found = rate, true
		}
	}
	if !found {
		return 0, false
	}
	exact := new(big.Rat).Mul(new(big.Rat).SetInt64(micros), big.NewRat(int64(best.Rate), 1_000_000_000_000))
	below := new(big.Int).Div(exact.Num(), exact.Denom()) // floored, for denominators are positive
	rest := new(big.Rat).Sub(exact, new(big.Rat).SetInt(below))
	if c := rest.Cmp(big.NewRat(1, 2)); c > 0 || c == 0 && below.Bit(0) == 1 {
		below.Add(below, big.NewInt(1))
	}
	return below.Int64(), true
}

// decimal is a number's text in millionths.
func decimal(text string) int64 {
	r, ok := new(big.Rat).SetString(text)
	if text == "" || !ok {
		return 0
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	return new(big.Int).Div(r.Num(), r.Denom()).Int64()
}

var paid = []string{"purchase", "in_app_purchase"}

// count counts a row that counts, and its items by their ids.
func (n *naive) count(c *summary.Counters, r *processed.Row, f fact, items map[string]*summary.Counters) {
	name := r.Text[processed.ColName]
	own := func(micros int64) int64 {
		v, _ := n.own(micros, r)
		return v
	}
	c[summary.Events]++
	c[summary.Views] += boolInt(name == "page_view")
	c[summary.Sessions] += boolInt(f.begins)
	c[summary.EngagedSessions] += boolInt(f.engaged)
	c[summary.SessionMillis] += f.length
	c[summary.EngagementMillis] += r.Engaged
	c[summary.KeyEvents] += boolInt(f.key)
	c[summary.Transactions] += boolInt(f.purchase)
	c[summary.AppTransactions] += boolInt(f.purchase && name == "in_app_purchase")
	c[summary.DuplicateOrders] += boolInt(!f.purchase && slices.Contains(paid, name))
	for event, counter := range map[string]summary.Counter{
		"add_to_cart": summary.AddToCarts, "begin_checkout": summary.Checkouts, "view_item": summary.ItemViewEvents,
		"view_item_list": summary.ListViews, "select_item": summary.ListClicks,
		"view_promotion": summary.PromotionViews, "select_promotion": summary.PromotionClicks,
	} {
		c[counter] += boolInt(name == event)
	}
	if r.Flags&processed.FlagHasValue != 0 {
		if v, ok := n.own(r.Value, r); !ok {
			c[summary.Unconverted]++
		} else if !slices.Contains(paid, name) || f.purchase {
			c[summary.ValueMicros] += v
			c[summary.RevenueMicros] += v * boolInt(f.purchase)
			c[summary.RefundMicros] += v * boolInt(name == "refund")
		}
	}
	for _, p := range r.Params {
		c[summary.TaxMicros] += own(decimal(p.Text)) * boolInt(f.purchase && p.Key == "tax")
		c[summary.ShippingMicros] += own(decimal(p.Text)) * boolInt(f.purchase && p.Key == "shipping")
	}
	for _, it := range r.Items {
		id := it.Text[processed.ItemID]
		if items[id] == nil {
			items[id] = &summary.Counters{}
		}
		for _, to := range []*summary.Counters{c, items[id]} {
			to[summary.ItemQuantity] += it.Quantity * boolInt(f.purchase)
			to[summary.ItemRevenue] += own(it.Price*it.Quantity) * boolInt(f.purchase)
			to[summary.ItemDiscount] += own(decimal(it.Text[processed.ItemDiscount])*it.Quantity) * boolInt(f.purchase)
			to[summary.ItemRefund] += own(it.Price*it.Quantity) * boolInt(name == "refund")
			for event, counter := range map[string]summary.Counter{
				"view_item": summary.ItemViews, "add_to_cart": summary.ItemAddToCarts, "begin_checkout": summary.ItemCheckouts,
				"view_item_list": summary.ItemListViews, "select_item": summary.ItemListClicks,
				"view_promotion": summary.ItemPromotionViews, "select_promotion": summary.ItemPromotionClicks,
			} {
				to[counter] += it.Quantity * boolInt(name == event)
			}
		}
	}
}

// itemTexts are what item dimensions say of an item, by dimension.
func itemTexts(k int) (texts [processed.NumItemColumns]string) {
	for c := range texts {
		texts[c] = "c" + strconv.Itoa(c) + "-" + strconv.Itoa(k%(c+2))
	}
	texts[processed.ItemDiscount] = ""
	return texts
}
