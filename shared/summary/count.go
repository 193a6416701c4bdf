package summary

import (
	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
)

// addEvent counts an event of a class, whose money has a rate.
func (c *Counters) addEvent(f *Facts, row uint32, cl class, m *currencies, rate money.Rate) {
	frame := f.Frame
	c[Events]++
	if cl&isView != 0 {
		c[Views]++
	}
	if f.Begins[row] {
		c[Sessions]++
		if f.EngagedBegin[row] {
			c[EngagedSessions]++
		}
		c[SessionMillis] += f.SessionMillis[row]
	}
	if frame.Engaged != nil {
		c[EngagementMillis] += frame.Engaged[row]
	}
	if f.NewUser[row] {
		c[NewUsers]++
	}
	if f.KeyEvent[row] {
		c[KeyEvents]++
	}
	if frame.Flags != nil && frame.Flags[row]&processed.FlagHasValue != 0 {
		c.addValue(frame.Value[row], cl, f.Purchase[row], rate)
	}
	if cl&^(isView|isKeyEvent) == 0 {
		return
	}
	if cl&isPurchase != 0 && f.FirstPurchase != nil && f.FirstPurchase[row] {
		c[FirstPurchases]++
	}
	if f.Purchase[row] {
		c.addPurchase(cl, m.tax.at(int(row)), m.shipping.at(int(row)), rate)
	} else {
		c.addClass(cl)
	}
}

// addValue counts the value of an event, which a transaction has once.
func (c *Counters) addValue(micros int64, cl class, bought bool, rate money.Rate) {
	v, ok := own(micros, rate)
	switch {
	case !ok:
		c[Unconverted]++
	case cl&isPurchase == 0:
		c[ValueMicros] += v
		if cl&isRefund != 0 {
			c[RefundMicros] += v
		}
	case bought:
		c[ValueMicros] += v
		c[RevenueMicros] += v
	}
}

// addPurchase counts a transaction.
func (c *Counters) addPurchase(cl class, tax, shipping int64, rate money.Rate) {
	c[Transactions]++
	if cl&isAppPurchase != 0 {
		c[AppTransactions]++
	}
	c[TaxMicros] += owned(tax, rate)
	c[ShippingMicros] += owned(shipping, rate)
}

// addClass counts what an event stands for that is no transaction.
func (c *Counters) addClass(cl class) {
	switch {
	case cl&isPurchase != 0:
		c[DuplicateOrders]++
	case cl&isAddToCart != 0:
		c[AddToCarts]++
	case cl&isCheckout != 0:
		c[Checkouts]++
	case cl&isItemView != 0:
		c[ItemViewEvents]++
	case cl&isListView != 0:
		c[ListViews]++
	case cl&isListClick != 0:
		c[ListClicks]++
	case cl&isPromotionView != 0:
		c[PromotionViews]++
	case cl&isPromotionClick != 0:
		c[PromotionClicks]++
	}
}

// addItem counts an item of an event of a class: its units, and its money
// where some changed hands.
func (c *Counters) addItem(m *currencies, i int, cl class, bought bool, rate money.Rate) {
	items := &m.frame.Items
	quantity := int64(1)
	if items.Quantity != nil {
		quantity = items.Quantity[i]
	}
	price := func() int64 {
		if items.Price == nil {
			return 0
		}
		return owned(items.Price[i]*quantity, rate)
	}
	switch {
	case bought:
		c[ItemQuantity] += quantity
		c[ItemRevenue] += price()
		c[ItemDiscount] += owned(times(m.discount.at(i), quantity), rate)
	case cl&isRefund != 0:
		c[ItemRefund] += price()
	case cl&isItemView != 0:
		c[ItemViews] += quantity
	case cl&isAddToCart != 0:
		c[ItemAddToCarts] += quantity
	case cl&isCheckout != 0:
		c[ItemCheckouts] += quantity
	case cl&isListView != 0:
		c[ItemListViews] += quantity
	case cl&isListClick != 0:
		c[ItemListClicks] += quantity
	case cl&isPromotionView != 0:
		c[ItemPromotionViews] += quantity
	case cl&isPromotionClick != 0:
		c[ItemPromotionClicks] += quantity
	}
}

// times is an amount of so many; nothing where that is beyond 64 bits, as only
// a discount that ingest did not look at can be.
func times(micros, quantity int64) int64 {
	if product := micros * quantity; quantity == 0 || product/quantity == micros {
		return product
	}
	return 0
}
