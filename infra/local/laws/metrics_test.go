package laws

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// group is what an answer's row is about: hits, or items of hits where the
// question groups or filters items.
type group struct {
	n     *naive
	units []unit

	// Where numbers of users look back: what has the group's values on any day,
	// and the last of the group's days.
	everyDay []unit
	last     int
}

// unit is a hit, or one of its items.
type unit struct {
	hit  *hit
	item *goods // nil: the whole hit
}

// trailing are the users of the days up to the group's last one, whether these
// are of the group or not.
func (g *group) trailing(days int) *big.Rat {
	users := map[string]bool{}
	for _, u := range g.everyDay {
		if day := civil(u.hit.local); day <= g.last && day > g.last-days {
			users[u.hit.user] = true
		}
	}
	return big.NewRat(int64(len(users)), 1)
}

// hits are the group's hits, each once.
func (g *group) hits() []*hit {
	var out []*hit
	seen := map[*hit]bool{}
	for _, u := range g.units {
		if !seen[u.hit] {
			seen[u.hit] = true
			out = append(out, u.hit)
		}
	}
	return out
}

// count is the number of hits for which a condition holds.
func (g *group) count(holds func(h *hit) bool) *big.Rat {
	return g.sum(func(h *hit) int64 {
		if holds(h) {
			return 1
		}
		return 0
	})
}

func (g *group) sum(of func(h *hit) int64) *big.Rat {
	total := new(big.Rat)
	for _, h := range g.hits() {
		total.Add(total, big.NewRat(of(h), 1))
	}
	return total
}

// sumItems adds up over the group's items.
func (g *group) sumItems(of func(h *hit, i *goods) int64) *big.Rat {
	total := new(big.Rat)
	for _, u := range g.units {
		if u.item != nil {
			total.Add(total, big.NewRat(of(u.hit, u.item), 1))
			continue
		}
		for i := range u.hit.goods {
			total.Add(total, big.NewRat(of(u.hit, &u.hit.goods[i]), 1))
		}
	}
	return total
}

// money is a sum of amounts in the currency that is asked for.
func (g *group) money(of func(h *hit) int64) *big.Rat {
	return per(g.inCurrency(func(counts func(h *hit) bool) *big.Rat {
		return g.sum(func(h *hit) int64 {
			if !counts(h) {
				return 0
			}
			return g.n.worth(h, of(h))
		})
	}), 1_000_000)
}

func (g *group) moneyOfItems(of func(h *hit, i *goods) int64) *big.Rat {
	return per(g.inCurrency(func(counts func(h *hit) bool) *big.Rat {
		return g.sumItems(func(h *hit, i *goods) int64 {
			if !counts(h) {
				return 0
			}
			return g.n.worth(h, of(h, i))
		})
	}), 1_000_000)
}

func (g *group) users() *big.Rat {
	users := map[string]bool{}
	for _, u := range g.units {
		users[u.hit.user] = true
	}
	return big.NewRat(int64(len(users)), 1)
}

// over is a quotient; 0 where there is nothing to divide by.
func over(a, b *big.Rat) *big.Rat {
	if b.Sign() <= 0 {
		return new(big.Rat)
	}
	return new(big.Rat).Quo(a, b)
}

func per(a *big.Rat, n int64) *big.Rat { return new(big.Rat).Quo(a, big.NewRat(n, 1)) }

func sessions(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.begins }) }
func engaged(g *group) *big.Rat  { return g.count(func(h *hit) bool { return h.begins && h.engaged }) }
func views(g *group) *big.Rat    { return g.count((*hit).view) }
func events(g *group) *big.Rat   { return g.count(func(*hit) bool { return true }) }
func users(g *group) *big.Rat    { return g.users() }
func bought(g *group) *big.Rat   { return g.count(func(h *hit) bool { return h.purchase }) }

// gross is the money of transactions, refunded what refunds say.
func gross(g *group) *big.Rat {
	return g.money(func(h *hit) int64 {
		if h.purchase {
			return h.micros
		}
		return 0
	})
}

func refunded(g *group) *big.Rat {
	return g.money(func(h *hit) int64 {
		if h.refunds() {
			return h.micros
		}
		return 0
	})
}

func minus(a, b *big.Rat) *big.Rat { return new(big.Rat).Sub(a, b) }

func revenue(g *group) *big.Rat { return minus(gross(g), refunded(g)) }

func itemGross(g *group) *big.Rat {
	return g.moneyOfItems(func(h *hit, i *goods) int64 {
		if h.purchase {
			return i.price * i.quantity
		}
		return 0
	})
}

func itemRefunded(g *group) *big.Rat {
	return g.moneyOfItems(func(h *hit, i *goods) int64 {
		if h.refunds() {
			return i.price * i.quantity
		}
		return 0
	})
}

// who is the number of users of the hits for which a condition holds.
func (g *group) who(holds func(h *hit) bool) *big.Rat {
	users := map[string]bool{}
	for _, u := range g.units {
		if holds(u.hit) {
			users[u.hit.user] = true
		}
	}
	return big.NewRat(int64(len(users)), 1)
}

func firstPurchases(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.firstPurchase }) }
func newUsers(g *group) *big.Rat       { return g.count(func(h *hit) bool { return h.newUser }) }

func purchasers(g *group) *big.Rat { return g.who(func(h *hit) bool { return h.purchase }) }

// happened counts the hits of a name.
func happened(name string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.Data.Name == name }) }
}

// named sums the pieces of items of hits of a name.
func named(name string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat {
		return g.sumItems(func(h *hit, i *goods) int64 {
			if h.Data.Name == name {
				return i.quantity
			}
			return 0
		})
	}
}

// did are the users of the hits of a name.
func did(name string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat { return g.who(func(h *hit) bool { return h.Data.Name == name }) }
}

func ratio(a, b func(g *group) *big.Rat) func(g *group) *big.Rat {
	return func(g *group) *big.Rat { return over(a(g), b(g)) }
}

// sessionsWith are the sessions that begin in the group and have such a hit.
func sessionsWith(such func(h *hit) bool) func(g *group) *big.Rat {
	return func(g *group) *big.Rat {
		return g.count(func(h *hit) bool { return slices.ContainsFunc(h.session, such) })
	}
}

func isKey(h *hit) bool { return h.key }

func isNamed(name string) func(h *hit) bool { return func(h *hit) bool { return h.Data.Name == name } }

// amount is what a parameter of a hit says as a number of micro-units; ok is
// false where it is no number.
func (h *hit) amount(param string) (micros int64, ok bool) {
	text := fmt.Sprint(h.Data.Params[param])
	if text == "" || !strings.Contains("-0123456789", text[:1]) || !json.Valid([]byte(text)) {
		return 0, false
	}
	r, _ := new(big.Rat).SetString(text)
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() {
		panic("finer than a micro-unit: " + text) // the generator makes none
	}
	return r.Num().Int64(), true
}

func sumOf(param string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat {
		return per(g.sum(func(h *hit) int64 { v, _ := h.amount(param); return v }), 1_000_000)
	}
}

func countOf(param string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat {
		return g.count(func(h *hit) bool { _, ok := h.amount(param); return ok })
	}
}

// ofSales is the money that a parameter of transactions names.
func ofSales(param string) func(g *group) *big.Rat {
	return func(g *group) *big.Rat {
		return g.money(func(h *hit) int64 {
			v, _ := h.amount(param)
			if !h.purchase {
				return 0
			}
			return v
		})
	}
}

func back(days int) func(g *group) *big.Rat {
	return func(g *group) *big.Rat { return g.trailing(days) }
}

// looksBack are metrics about days before the date range, with how many days
// they are about.
var looksBack = map[string]int{"active1DayUsers": 1, "active7DayUsers": 7, "active28DayUsers": 28, "dauPerMau": 30, "dauPerWau": 7, "wauPerMau": 30}

// metrics are the definitions of all metrics.
var metrics = map[string]func(g *group) *big.Rat{
	"activeUsers":     users,
	"totalUsers":      users,
	"newUsers":        func(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.newUser }) },
	"sessions":        sessions,
	"engagedSessions": engaged,
	"engagementRate":  func(g *group) *big.Rat { return over(engaged(g), sessions(g)) },
	"bounceRate": func(g *group) *big.Rat {
		return over(g.count(func(h *hit) bool { return h.begins && !h.engaged }), sessions(g))
	},
	"averageSessionDuration": func(g *group) *big.Rat {
		return over(per(g.sum(func(h *hit) int64 { return h.length }), 1000), sessions(g))
	},
	"sessionsPerUser":           func(g *group) *big.Rat { return over(sessions(g), users(g)) },
	"userEngagementDuration":    func(g *group) *big.Rat { return per(g.sum(func(h *hit) int64 { return h.Data.EngagementMS }), 1000) },
	"screenPageViews":           views,
	"screenPageViewsPerSession": func(g *group) *big.Rat { return over(views(g), sessions(g)) },
	"screenPageViewsPerUser":    func(g *group) *big.Rat { return over(views(g), users(g)) },
	"eventCount":                events,
	"eventsPerSession":          func(g *group) *big.Rat { return over(events(g), sessions(g)) },
	"eventCountPerUser":         func(g *group) *big.Rat { return over(events(g), users(g)) },
	"eventValue": func(g *group) *big.Rat {
		return g.money(func(h *hit) int64 {
			if h.transacts() && !h.purchase {
				return 0
			}
			return h.micros
		})
	},
	"keyEvents": func(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.key }) },
	"unconvertedEvents": func(g *group) *big.Rat {
		return g.count(func(h *hit) bool { _, ok := g.n.convert(h, 0); return h.valued && !ok })
	},
	"transactions": bought,
	"ecommercePurchases": func(g *group) *big.Rat {
		return g.count(func(h *hit) bool { return h.purchase && h.Data.Name == "purchase" })
	},
	"purchaseRevenue":                  revenue,
	"totalRevenue":                     revenue,
	"averagePurchaseRevenue":           func(g *group) *big.Rat { return over(revenue(g), bought(g)) },
	"averageRevenuePerUser":            func(g *group) *big.Rat { return over(revenue(g), users(g)) },
	"itemRevenue":                      func(g *group) *big.Rat { return minus(itemGross(g), itemRefunded(g)) },
	"grossItemRevenue":                 itemGross,
	"itemRefundAmount":                 itemRefunded,
	"grossPurchaseRevenue":             gross,
	"refundAmount":                     refunded,
	"averagePurchaseRevenuePerUser":    func(g *group) *big.Rat { return over(revenue(g), users(g)) },
	"duplicateTransactions":            func(g *group) *big.Rat { return minus(g.count((*hit).transacts), bought(g)) },
	"returningUsers":                   func(g *group) *big.Rat { return g.who(func(h *hit) bool { return !h.fresh }) },
	"scrolledUsers":                    func(g *group) *big.Rat { return g.who(func(h *hit) bool { return h.Data.Name == "scroll" }) },
	"totalPurchasers":                  purchasers,
	"firstTimePurchasers":              firstPurchases,
	"firstTimePurchaserRate":           ratio(firstPurchases, users),
	"firstTimePurchaserConversionRate": ratio(firstPurchases, users),
	"firstTimePurchasersPerNewUser":    ratio(firstPurchases, newUsers),
	"purchaserRate":                    func(g *group) *big.Rat { return over(purchasers(g), users(g)) },
	"transactionsPerPurchaser":         func(g *group) *big.Rat { return over(bought(g), purchasers(g)) },
	"userKeyEventRate":                 func(g *group) *big.Rat { return over(g.who(func(h *hit) bool { return h.key }), users(g)) },
	"addToCarts":                       happened("add_to_cart"),
	"checkouts":                        happened("begin_checkout"),
	"itemViewEvents":                   happened("view_item"),
	"itemListViewEvents":               happened("view_item_list"),
	"itemListClickEvents":              happened("select_item"),
	"promotionViews":                   happened("view_promotion"),
	"promotionClicks":                  happened("select_promotion"),
	"itemsCheckedOut":                  named("begin_checkout"),
	"itemsViewedInList":                named("view_item_list"),
	"itemsClickedInList":               named("select_item"),
	"itemsPurchased": func(g *group) *big.Rat {
		return g.sumItems(func(h *hit, i *goods) int64 {
			if h.purchase {
				return i.quantity
			}
			return 0
		})
	},
	"conversions":                         func(g *group) *big.Rat { return g.count(func(h *hit) bool { return h.key }) },
	"userConversionRate":                  func(g *group) *big.Rat { return over(g.who(func(h *hit) bool { return h.key }), users(g)) },
	"purchaserConversionRate":             func(g *group) *big.Rat { return over(purchasers(g), users(g)) },
	"averagePurchaseRevenuePerPayingUser": func(g *group) *big.Rat { return over(revenue(g), purchasers(g)) },
	"active1DayUsers":                     back(1),
	"active7DayUsers":                     back(7),
	"active28DayUsers":                    back(28),
	"dauPerMau":                           ratio(back(1), back(30)),
	"dauPerWau":                           ratio(back(1), back(7)),
	"wauPerMau":                           ratio(back(7), back(30)),

	"sessionKeyEventRate":   ratio(sessionsWith(isKey), sessions),
	"sessionConversionRate": ratio(sessionsWith(isKey), sessions),
	"taxAmount":             ofSales("tax"),
	"shippingAmount":        ofSales("shipping"),
	"itemDiscountAmount": func(g *group) *big.Rat {
		return g.moneyOfItems(func(h *hit, i *goods) int64 {
			if h.purchase {
				return i.discount * i.quantity
			}
			return 0
		})
	},
	"itemsViewedInPromotion":        named("view_promotion"),
	"itemsClickedInPromotion":       named("select_promotion"),
	"cartToViewRate":                ratio(did("add_to_cart"), did("view_item")),
	"purchaseToViewRate":            ratio(purchasers, did("view_item")),
	"itemListClickThroughRate":      ratio(did("select_item"), did("view_item_list")),
	"itemPromotionClickThroughRate": ratio(did("select_promotion"), did("view_promotion")),

	"keyEvents:scroll":              happened("scroll"),
	"userKeyEventRate:scroll":       ratio(did("scroll"), users),
	"sessionKeyEventRate:view_item": ratio(sessionsWith(isNamed("view_item")), sessions),
	"customEvent:score":             sumOf("score"),
	"countCustomEvent:score":        countOf("score"),
	"averageCustomEvent:score":      ratio(sumOf("score"), countOf("score")),

	"itemsViewed":      named("view_item"),
	"itemsAddedToCart": named("add_to_cart"),
}
