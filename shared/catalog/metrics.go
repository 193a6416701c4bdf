package catalog

import (
	"math"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/summary"
)

// Type is a metric's type in the Data API's words.
type Type string

// The types. A rate is a fraction between 0 and 1.
const (
	Integer  Type = "TYPE_INTEGER"
	Float    Type = "TYPE_FLOAT"
	Seconds  Type = "TYPE_SECONDS"
	Currency Type = "TYPE_CURRENCY"
)

// Term is one quantity of a formula: a counter, or the number of users.
type Term uint8

// Users is the number of distinct users; None is left out of the formula. First
// is the metric's own measure.
const (
	Users Term = Term(summary.NumCounters) + iota
	None
	First
	Second
)

// Metric is one number of a report: (Num − Less) / (Den × Per).
type Metric struct {
	Name        string   // the Data API's name
	Aliases     []string // what a person may type in /v1/reports
	Type        Type
	Unit        string // "users", "seconds", "fraction", "currency", …
	Scope       Scope
	Num         Term
	Less        Term              // None: nothing is taken away
	Den         Term              // None: 1. Where it is 0 the metric is 0
	Measures    []summary.Measure // what First and Second are: records do not hold them
	Per         int64             // 1000 for ms, 1,000,000 for micro-units
	Expression  *Expression       // instead of all these, of a metric that a question makes up
	Formula     string
	Category    string
	Since       int // version of processed documents from which on they hold what it is made of
	Origin      Origin
	Description string
}

// UsesUsers reports whether the metric needs the set of users.
func (m *Metric) UsesUsers() bool { return m.Num == Users || m.Less == Users || m.Den == Users }

// Sketched reports whether the metric is worked out from sets of users, and is
// thus a sketch above summary's bound.
func (m *Metric) Sketched() bool {
	return m.sets() > 0
}

// sets is how many sets of users the metric is worked out from.
func (m *Metric) sets() int {
	n := 0
	if m.Expression != nil {
		for _, part := range m.Expression.Parts {
			n += part.sets()
		}
		return n
	}
	for _, t := range []Term{m.Num, m.Less, m.Den} {
		if t == Users || t >= First && m.Measures[t-First].Users() {
			n++
		}
	}
	return n
}

// Firsts reports whether it must be known what each user did for the first time.
func (m *Metric) Firsts() bool {
	for _, t := range []Term{m.Num, m.Den} {
		if t == Term(summary.NewUsers) || t == Term(summary.FirstPurchases) {
			return true
		}
	}
	return false
}

// OnlyUsers reports whether the metric is a number of users and nothing else.
func (m *Metric) OnlyUsers() bool { return m.Num == Users && m.Den == None }

// Value is a metric's value, the fraction N/D with D > 0. It stays a fraction
// so that two ways to one answer agree to the last digit. Where D is 0 it is F,
// which was worked out from such values.
type Value struct {
	N, D int64
	F    float64
}

// floatValue is a number that is no fraction of counts. What is beyond all
// numbers is 0, as what is divided by 0: no form of an answer has a word for it.
func floatValue(f float64) Value {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return Value{D: 1}
	}
	if whole := int64(f); float64(whole) == f && math.Abs(f) < 1<<53 {
		return Value{N: whole, D: 1}
	}
	return Value{F: f}
}

// Zero reports whether the value is 0.
func (v Value) Zero() bool { return v.N == 0 && v.F == 0 }

// Minus is v − o.
func (v Value) Minus(o Value) Value {
	if v.D == o.D && v.D != 0 {
		if n := v.N - o.N; n != 0 {
			return Value{N: n, D: v.D}
		}
		return Value{D: 1}
	}
	return floatValue(v.Float() - o.Float())
}

// Float is the value as a number.
func (v Value) Float() float64 {
	switch v.D {
	case 0:
		return v.F
	case 1:
		return float64(v.N)
	}
	return float64(v.N) / float64(v.D)
}

// Append writes the value as a JSON number: whole numbers and decimals as they
// are, other fractions as the shortest float that names them.
func (v Value) Append(b []byte) []byte {
	if v.D == 1 {
		return strconv.AppendInt(b, v.N, 10)
	}
	if v.D != 0 && v.N%v.D == 0 {
		return strconv.AppendInt(b, v.N/v.D, 10)
	}
	return strconv.AppendFloat(b, v.Float(), 'f', -1, 64)
}

// String is what Append writes.
func (v Value) String() string { return string(v.Append(nil)) }

// Of works the metric out from counters, a number of users and the numbers of
// its Measures.
func (m *Metric) Of(c *summary.Counters, users int64, measured ...int64) Value {
	n := m.Num.of(c, users, measured)
	if m.Less != None {
		n -= m.Less.of(c, users, measured)
	}
	d := m.Per
	if m.Den != None {
		den := m.Den.of(c, users, measured)
		if den <= 0 {
			return Value{D: 1}
		}
		if d > math.MaxInt64/den {
			return Value{N: n / d, D: den} // beyond the range of the fraction: whole units are left
		}
		d *= den
	}
	if n == 0 {
		return Value{D: 1}
	}
	return Value{N: n, D: d}
}

func (t Term) of(c *summary.Counters, users int64, measured []int64) int64 {
	switch {
	case t == Users:
		return users
	case t >= First:
		return measured[t-First]
	}
	return c[t]
}

func measures(kind summary.MeasureKind, name string) []summary.Measure {
	return []summary.Measure{{Kind: kind, Name: name}}
}

// trailing are the users of the days that end with a row's last one.
func trailing(days ...int) []summary.Measure {
	list := make([]summary.Measure, len(days))
	for i, n := range days {
		list[i] = summary.Measure{Kind: summary.TrailingUsers, Days: n}
	}
	return list
}

const lookBack = "Days before the date range count, days that have not begun do not; totals are those of the range's last day."

// ofEvents are the metrics that take a name behind a colon: of an event, or of
// a parameter.
var ofEvents = []struct {
	prefix string
	build  func(name string) Metric
}{
	{"keyEvents:", func(n string) Metric {
		return Metric{Type: Integer, Unit: "events", Scope: ScopeEvent, Num: First, Measures: measures(summary.EventsNamed, n), Description: "Events named " + n + "."}
	}},
	{"userKeyEventRate:", func(n string) Metric {
		return Metric{Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Users, Measures: measures(summary.EventUsers, n), Description: "Share of users with an event named " + n + "."}
	}},
	{"sessionKeyEventRate:", func(n string) Metric {
		return Metric{Type: Float, Unit: "fraction", Scope: ScopeSession, Num: First, Den: Term(summary.Sessions), Measures: measures(summary.EventSessions, n), Description: "Share of sessions with an event named " + n + "."}
	}},
	{customEvent, func(n string) Metric {
		return Metric{Type: Float, Unit: "as sent", Scope: ScopeEvent, Num: First, Per: 1_000_000, Measures: measures(summary.ParamSum, n), Description: "Sum of the numbers in the parameter " + n + ", to six decimals."}
	}},
	{"countCustomEvent:", func(n string) Metric {
		return Metric{Type: Integer, Unit: "events", Scope: ScopeEvent, Num: First, Measures: measures(summary.ParamCount, n), Description: "Events whose parameter " + n + " is a number."}
	}},
	{"averageCustomEvent:", func(n string) Metric {
		return Metric{Type: Float, Unit: "as sent", Scope: ScopeEvent, Num: First, Den: Second, Per: 1_000_000, Measures: append(measures(summary.ParamSum, n), measures(summary.ParamCount, n)...), Description: "Mean of the numbers in the parameter " + n + "."}
	}},
}

// ofEvent is the metric of an event's or a parameter's name, nil where the name
// is none.
func ofEvent(name string) *Metric {
	for _, o := range ofEvents {
		if n, ok := strings.CutPrefix(name, o.prefix); ok && validParam(n) {
			m := o.build(n)
			m.Name, m.Category = name, "Custom"
			m.complete()
			return &m
		}
	}
	return nil
}

// complete fills in what a list leaves out.
func (m *Metric) complete() {
	// The zero Term is a counter: only what the list leaves out is None.
	if m.Less == 0 {
		m.Less = None
	}
	if m.Den == 0 {
		m.Den = None
	}
	m.Per = max(1, m.Per)
	m.Since, m.Origin = max(1, m.Since), origin(m.Origin)
	m.Formula = formula(m)
}

func metricList() []Metric {
	const (
		ms    = 1000
		micro = 1_000_000
	)
	events, views, sessions := Term(summary.Events), Term(summary.Views), Term(summary.Sessions)
	engaged, length, focus := Term(summary.EngagedSessions), Term(summary.SessionMillis), Term(summary.EngagementMillis)
	newUsers, keyEvents, firstPurchases := Term(summary.NewUsers), Term(summary.KeyEvents), Term(summary.FirstPurchases)
	transactions, revenue, value := Term(summary.Transactions), Term(summary.RevenueMicros), Term(summary.ValueMicros)
	refunds, itemRevenue, itemRefund := Term(summary.RefundMicros), Term(summary.ItemRevenue), Term(summary.ItemRefund)
	type M = Metric
	list := []M{
		{Name: "activeUsers", Aliases: []string{"users"}, Type: Integer, Unit: "users", Scope: ScopeUser, Num: Users, Category: "User", Description: "Distinct users with at least one counted event. A user is a user id, else a client id, else a visitor's daily hash. Equal to totalUsers: no event is asked for beyond being counted."},
		{Name: "totalUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: Users, Category: "User", Description: "Distinct users with at least one counted event."},
		{Name: "newUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: newUsers, Category: "User", Description: "Users whose first event ever of this merchant is in the group."},
		{Name: "returningUsers", Origin: Footfall, Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: measures(summary.ReturningUsers, ""), Category: "User", Description: "Distinct users with an event in a session that is not their first, as newVsReturning tells. Google's pages have this number, its API does not."},
		{Name: "active1DayUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: trailing(1), Category: "User", Description: "Distinct users of the last day: of a row that stands for one or several days, else of the date range. " + lookBack},
		{Name: "active7DayUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: trailing(7), Category: "User", Description: "Distinct users of the 7 days that end with the last day. " + lookBack},
		{Name: "active28DayUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: trailing(28), Category: "User", Description: "Distinct users of the 28 days that end with the last day. " + lookBack},
		{Name: "dauPerMau", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Second, Measures: trailing(1, 30), Category: "User", Description: "Share of the users of the 30 days that end with the last day who were active on that day. " + lookBack},
		{Name: "dauPerWau", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Second, Measures: trailing(1, 7), Category: "User", Description: "Share of the users of the 7 days that end with the last day who were active on that day. " + lookBack},
		{Name: "wauPerMau", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Second, Measures: trailing(7, 30), Category: "User", Description: "Share of the users of the 30 days that end with the last day who were active in the last 7 of them. " + lookBack},
		{Name: "scrolledUsers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: measures(summary.EventUsers, "scroll"), Category: "User", Description: "Distinct users with an event scroll, which a tag sends at 90 percent of a page's height."},
		{Name: "totalPurchasers", Aliases: []string{"purchasers"}, Type: Integer, Unit: "users", Scope: ScopeUser, Num: First, Measures: measures(summary.Purchasers, ""), Category: "E-commerce", Description: "Distinct users with a transaction."},
		{Name: "firstTimePurchasers", Type: Integer, Unit: "users", Scope: ScopeUser, Num: firstPurchases, Category: "E-commerce", Description: "Users whose first event ever of a purchase of this merchant is in the group. An event that repeats a transaction is one, too."},
		{Name: "firstTimePurchaserRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: firstPurchases, Den: Users, Category: "E-commerce", Description: "Share of users that bought for the first time."},
		{Name: "firstTimePurchaserConversionRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: firstPurchases, Den: Users, Category: "E-commerce", Description: "The older name of firstTimePurchaserRate."},
		{Name: "firstTimePurchasersPerNewUser", Type: Float, Unit: "users per user", Scope: ScopeUser, Num: firstPurchases, Den: newUsers, Category: "E-commerce", Description: "Users that bought for the first time for each new one. It can be above 1, for who is new may have bought later, and who buys may have come before."},
		{Name: "purchaserRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Users, Measures: measures(summary.Purchasers, ""), Category: "E-commerce", Description: "Share of users that made a transaction."},
		{Name: "purchaserConversionRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Users, Measures: measures(summary.Purchasers, ""), Category: "E-commerce", Description: "The older name of purchaserRate."},
		{Name: "transactionsPerPurchaser", Type: Float, Unit: "transactions per user", Scope: ScopeUser, Num: transactions, Den: First, Measures: measures(summary.Purchasers, ""), Category: "E-commerce", Description: "Transactions per user that made one."},
		{Name: "sessions", Type: Integer, Unit: "sessions", Scope: ScopeSession, Num: sessions, Category: "Session", Description: "Sessions that began in the group. A session counts once, at its first event; it ends after the merchant's session_timeout_minutes (30) without an event, a session named by the client after 24 hours."},
		{Name: "engagedSessions", Type: Integer, Unit: "sessions", Scope: ScopeSession, Num: engaged, Category: "Session", Description: "Sessions that last longer than 10 seconds, or have over 10 seconds in focus, two views or a key event."},
		{Name: "engagementRate", Type: Float, Unit: "fraction", Scope: ScopeSession, Num: engaged, Den: sessions, Category: "Session", Description: "Share of sessions that are engaged."},
		{Name: "bounceRate", Type: Float, Unit: "fraction", Scope: ScopeSession, Num: sessions, Less: engaged, Den: sessions, Category: "Session", Description: "Share of sessions that are not engaged."},
		{Name: "averageSessionDuration", Aliases: []string{"session_duration"}, Type: Seconds, Unit: "seconds", Scope: ScopeSession, Num: length, Den: sessions, Per: ms, Category: "Session", Description: "Mean time from first to last event of a session."},
		{Name: "sessionsPerUser", Type: Float, Unit: "sessions per user", Scope: ScopeSession, Num: sessions, Den: Users, Category: "Session", Description: "Sessions per user."},
		{Name: "userEngagementDuration", Aliases: []string{"engagement"}, Type: Seconds, Unit: "seconds", Scope: ScopeEvent, Num: focus, Per: ms, Category: "User", Description: "Time that pages were in focus."},
		{Name: "screenPageViews", Aliases: []string{"views", "page_views", "pageviews"}, Type: Integer, Unit: "views", Scope: ScopeEvent, Num: views, Category: "Page", Description: "Events named page_view or screen_view."},
		{Name: "screenPageViewsPerSession", Aliases: []string{"views_per_session"}, Type: Float, Unit: "views per session", Scope: ScopeSession, Num: views, Den: sessions, Category: "Page", Description: "Views per session."},
		{Name: "screenPageViewsPerUser", Aliases: []string{"views_per_user"}, Type: Float, Unit: "views per user", Scope: ScopeUser, Num: views, Den: Users, Category: "Page", Description: "Views per user."},
		{Name: "eventCount", Aliases: []string{"events"}, Type: Integer, Unit: "events", Scope: ScopeEvent, Num: events, Category: "Event", Description: "Counted events."},
		{Name: "eventsPerSession", Type: Float, Unit: "events per session", Scope: ScopeSession, Num: events, Den: sessions, Category: "Event", Description: "Events per session."},
		{Name: "eventCountPerUser", Aliases: []string{"events_per_user"}, Type: Float, Unit: "events per user", Scope: ScopeUser, Num: events, Den: Users, Category: "Event", Description: "Events per user."},
		{Name: "eventValue", Aliases: []string{"value"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: value, Per: micro, Category: "Event", Description: "Sum of the value of all events in the merchant's currency."},
		{Name: "keyEvents", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: keyEvents, Category: "Event", Description: "Events that the merchant has named key events."},
		{Name: "conversions", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: keyEvents, Category: "Event", Description: "The older name of keyEvents."},
		{Name: "userConversionRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Users, Measures: measures(summary.KeyEventUsers, ""), Category: "Event", Description: "The older name of userKeyEventRate."},
		{Name: "sessionConversionRate", Type: Float, Unit: "fraction", Scope: ScopeSession, Num: First, Den: sessions, Measures: measures(summary.KeySessions, ""), Category: "Event", Description: "The older name of sessionKeyEventRate."},
		{Name: "userKeyEventRate", Type: Float, Unit: "fraction", Scope: ScopeUser, Num: First, Den: Users, Measures: measures(summary.KeyEventUsers, ""), Category: "Event", Description: "Share of users with a key event."},
		{Name: "sessionKeyEventRate", Type: Float, Unit: "fraction", Scope: ScopeSession, Num: First, Den: sessions, Measures: measures(summary.KeySessions, ""), Category: "Event", Description: "Share of sessions with a key event."},
		{Name: "unconvertedEvents", Origin: Footfall, Aliases: []string{"unconverted"}, Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.Unconverted), Category: "E-commerce", Description: "Events whose value is in a currency other than the merchant's for which the merchant gave no rate of that day; their money is in no sum."},
		{Name: "transactions", Type: Integer, Unit: "transactions", Scope: ScopeEvent, Num: transactions, Category: "E-commerce", Description: "Events purchase, ecommerce_purchase, in_app_purchase, app_store_subscription_convert and app_store_subscription_renew. A transaction_id counts once within a stream and 24 hours, at its first event; duplicateTransactions says how many were left out. An event without a transaction_id is a transaction of its own. A refund is none."},
		{Name: "duplicateTransactions", Origin: Footfall, Type: Integer, Unit: "transactions", Scope: ScopeEvent, Num: Term(summary.DuplicateOrders), Category: "E-commerce", Description: "Purchases left out of transactions, revenue and items bought because their transaction_id was counted in the same stream within the 24 hours before. They are counted as events."},
		{Name: "ecommercePurchases", Aliases: []string{"purchases"}, Type: Integer, Unit: "transactions", Scope: ScopeEvent, Num: transactions, Less: Term(summary.AppTransactions), Category: "E-commerce", Description: "Transactions of purchase events, without those of an app's store (in_app_purchase and subscriptions)."},
		{Name: "purchaseRevenue", Aliases: []string{"revenue"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: revenue, Less: refunds, Per: micro, Category: "E-commerce", Description: "Value of transactions less refunds, in the merchant's currency. A refund counts where and when it happened, not where the purchase did."},
		{Name: "grossPurchaseRevenue", Aliases: []string{"gross_revenue"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: revenue, Per: micro, Category: "E-commerce", Description: "Value of transactions in the merchant's currency, refunds not taken away."},
		{Name: "refundAmount", Aliases: []string{"refunds"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: refunds, Per: micro, Category: "E-commerce", Description: "Value of refund and app_store_refund events, whole or in part: what the event itself says as its value. A refund without a value takes back only its items (itemRefundAmount)."},
		{Name: "totalRevenue", Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: revenue, Less: refunds, Per: micro, Category: "E-commerce", Description: "Revenue from all that Footfall collects revenue of, which is transactions less refunds; it knows of no advertising revenue."},
		{Name: "taxAmount", Aliases: []string{"tax"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: Term(summary.TaxMicros), Per: micro, Category: "E-commerce", Description: "Sum of the parameter tax of transactions, in the merchant's currency."},
		{Name: "shippingAmount", Aliases: []string{"shipping"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: Term(summary.ShippingMicros), Per: micro, Category: "E-commerce", Description: "Sum of the parameter shipping of transactions, in the merchant's currency."},
		{Name: "averagePurchaseRevenue", Aliases: []string{"average_order_value"}, Type: Currency, Unit: "currency", Scope: ScopeEvent, Num: revenue, Less: refunds, Den: transactions, Per: micro, Category: "E-commerce", Description: "Purchase revenue per transaction."},
		{Name: "averagePurchaseRevenuePerUser", Type: Currency, Unit: "currency", Scope: ScopeUser, Num: revenue, Less: refunds, Den: Users, Per: micro, Category: "E-commerce", Description: "Purchase revenue per active user, whether or not the user bought anything."},
		{Name: "averagePurchaseRevenuePerPayingUser", Aliases: []string{"revenue_per_purchaser"}, Type: Currency, Unit: "currency", Scope: ScopeUser, Num: revenue, Less: refunds, Den: First, Measures: measures(summary.Purchasers, ""), Per: micro, Category: "E-commerce", Description: "Purchase revenue per user with a transaction (ARPPU)."},
		{Name: "averageRevenuePerUser", Aliases: []string{"revenue_per_user"}, Type: Currency, Unit: "currency", Scope: ScopeUser, Num: revenue, Less: refunds, Den: Users, Per: micro, Category: "E-commerce", Description: "Total revenue per active user (ARPU)."},
		{Name: "addToCarts", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.AddToCarts), Category: "E-commerce", Description: "Events named add_to_cart."},
		{Name: "checkouts", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.Checkouts), Category: "E-commerce", Description: "Events named begin_checkout."},
		{Name: "itemViewEvents", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.ItemViewEvents), Category: "E-commerce", Description: "Events named view_item."},
		{Name: "itemListViewEvents", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.ListViews), Category: "E-commerce", Description: "Events named view_item_list."},
		{Name: "itemListClickEvents", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.ListClicks), Category: "E-commerce", Description: "Events named select_item."},
		{Name: "promotionViews", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.PromotionViews), Category: "E-commerce", Description: "Events named view_promotion."},
		{Name: "promotionClicks", Type: Integer, Unit: "events", Scope: ScopeEvent, Num: Term(summary.PromotionClicks), Category: "E-commerce", Description: "Events named select_promotion."},
		{Name: "itemRevenue", Type: Currency, Unit: "currency", Scope: ScopeItem, Num: itemRevenue, Less: itemRefund, Per: micro, Category: "E-commerce", Description: "Price times quantity of items bought, less that of items in refund events; without tax and shipping."},
		{Name: "grossItemRevenue", Type: Currency, Unit: "currency", Scope: ScopeItem, Num: itemRevenue, Per: micro, Category: "E-commerce", Description: "Price times quantity of items bought, refunds not taken away."},
		{Name: "itemRefundAmount", Type: Currency, Unit: "currency", Scope: ScopeItem, Num: itemRefund, Per: micro, Category: "E-commerce", Description: "Price times quantity of items in refund events."},
		{Name: "itemDiscountAmount", Since: 2, Type: Currency, Unit: "currency", Scope: ScopeItem, Num: Term(summary.ItemDiscount), Per: micro, Category: "E-commerce", Description: "The parameter discount of items bought, which is per unit, times their quantity."},
		{Name: "cartToViewRate", Type: Float, Unit: "fraction", Scope: ScopeItem, Num: First, Den: Second, Measures: append(measures(summary.EventUsers, "add_to_cart"), measures(summary.EventUsers, "view_item")...), Category: "E-commerce", Description: "Users who put into the cart for each who viewed: of an item, where items are asked for. It can be above 1, for some add without a view."},
		{Name: "purchaseToViewRate", Type: Float, Unit: "fraction", Scope: ScopeItem, Num: First, Den: Second, Measures: append(measures(summary.Purchasers, ""), measures(summary.EventUsers, "view_item")...), Category: "E-commerce", Description: "Users with a transaction for each who viewed: of an item, where items are asked for. It can be above 1, for some buy without a view."},
		{Name: "itemListClickThroughRate", Type: Float, Unit: "fraction", Scope: ScopeItem, Num: First, Den: Second, Measures: append(measures(summary.EventUsers, "select_item"), measures(summary.EventUsers, "view_item_list")...), Category: "E-commerce", Description: "Users who selected an item of a list for each who viewed one: of the same list, where itemListName or itemListId is asked for."},
		{Name: "itemPromotionClickThroughRate", Type: Float, Unit: "fraction", Scope: ScopeItem, Num: First, Den: Second, Measures: append(measures(summary.EventUsers, "select_promotion"), measures(summary.EventUsers, "view_promotion")...), Category: "E-commerce", Description: "Users who selected a promotion for each who viewed one: of the same, where itemPromotionName or itemPromotionId is asked for."},
		{Name: "itemsPurchased", Aliases: []string{"items"}, Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemQuantity), Category: "E-commerce", Description: "Units bought; what is refunded later is not taken away."},
		{Name: "itemsViewed", Aliases: []string{"item_views"}, Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemViews), Category: "E-commerce", Description: "Units in view_item events; an item without a quantity is one unit."},
		{Name: "itemsAddedToCart", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemAddToCarts), Category: "E-commerce", Description: "Units in add_to_cart events."},
		{Name: "itemsCheckedOut", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemCheckouts), Category: "E-commerce", Description: "Units in begin_checkout events."},
		{Name: "itemsViewedInList", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemListViews), Category: "E-commerce", Description: "Units in view_item_list events."},
		{Name: "itemsClickedInList", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemListClicks), Category: "E-commerce", Description: "Units in select_item events."},
		{Name: "itemsViewedInPromotion", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemPromotionViews), Category: "E-commerce", Description: "Units in view_promotion events; one that names no item is one unit of its promotion."},
		{Name: "itemsClickedInPromotion", Type: Integer, Unit: "items", Scope: ScopeItem, Num: Term(summary.ItemPromotionClicks), Category: "E-commerce", Description: "Units in select_promotion events; one that names no item is one unit of its promotion."},
	}
	for i := range list {
		m := &list[i]
		m.complete()
		m.Aliases = withSnake(m.Name, m.Aliases)
	}
	return list
}
