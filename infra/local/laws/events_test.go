package laws

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// cloudEvent is a tracking event as a sender writes it.
type cloudEvent struct {
	SpecVersion string `json:"specversion"`
	Type        string `json:"type"`
	Source      string `json:"source"`
	ID          string `json:"id"`
	Stream      string `json:"measurementid"`
	Time        string `json:"time,omitempty"`
	Data        data   `json:"data"`
}

type data struct {
	Name           string         `json:"name"`
	ClientID       string         `json:"client_id,omitempty"`
	UserID         string         `json:"user_id,omitempty"`
	SessionID      string         `json:"session_id,omitempty"`
	Page           *page          `json:"page,omitempty"`
	Params         map[string]any `json:"params,omitempty"`
	UserProperties map[string]any `json:"user_properties,omitempty"`
	Items          []item         `json:"items,omitempty"`
	Value          json.Number    `json:"value,omitempty"`
	Currency       string         `json:"currency,omitempty"`
	EngagementMS   int64          `json:"engagement_ms,omitempty"`
	UserAgent      string         `json:"user_agent,omitempty"`
	IP             string         `json:"ip,omitempty"`
	Language       string         `json:"language,omitempty"`
	Screen         string         `json:"screen,omitempty"`
}

type page struct {
	Location string `json:"location,omitempty"`
	Title    string `json:"title,omitempty"`
	Referrer string `json:"referrer,omitempty"`
}

type item struct {
	ID        string      `json:"item_id,omitempty"`
	Name      string      `json:"item_name,omitempty"`
	Brand     string      `json:"item_brand,omitempty"`
	Variant   string      `json:"item_variant,omitempty"`
	Category  string      `json:"item_category,omitempty"`
	Category2 string      `json:"item_category2,omitempty"`
	Category3 string      `json:"item_category3,omitempty"`
	Category4 string      `json:"item_category4,omitempty"`
	Category5 string      `json:"item_category5,omitempty"`
	ListID    string      `json:"item_list_id,omitempty"`
	ListName  string      `json:"item_list_name,omitempty"`
	Coupon    string      `json:"coupon,omitempty"`
	Price     json.Number `json:"price,omitempty"`
	Quantity  *int64      `json:"quantity,omitempty"`
	Discount  json.Number `json:"discount,omitempty"`
	Index     *int        `json:"index,omitempty"`

	Affiliation   string `json:"affiliation,omitempty"`
	LocationID    string `json:"location_id,omitempty"`
	PromotionID   string `json:"promotion_id,omitempty"`
	PromotionName string `json:"promotion_name,omitempty"`
	CreativeName  string `json:"creative_name,omitempty"`
	CreativeSlot  string `json:"creative_slot,omitempty"`
}

// agents are programs' names for themselves, with what a person reads in them.
var agents = map[string]agent{
	"": {},
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                                    {"desktop", "Chrome", "142.0.0.0", "Windows", "10", false, "", ""},
	"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0":                                                                             {"desktop", "Firefox", "132.0", "Linux", "", false, "", ""},
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1":            {"mobile", "Safari", "18.1", "iOS", "18.1", false, "Apple", "iPhone"},
	"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1":                     {"tablet", "Safari", "17.5", "iOS", "17.5", false, "Apple", "iPad"},
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                                    {"mobile", "Chrome", "142.0.0.0", "Android", "10", false, "", ""},
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                           {"", "Googlebot", "2.1", "", "", true, "", ""},
	"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/87.0.4280.88 Safari/537.36 WebAppManager":                          {"smart tv", "Chrome", "87.0.4280.88", "Linux", "", false, "", ""},
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15":                              {"desktop", "Safari", "18.1", "macOS", "10.15.7", false, "", ""},
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0":                      {"desktop", "Edge", "142.0.0.0", "Windows", "10", false, "", ""},
	"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15":                                {"console", "Safari", "15.4", "", "", false, "", ""},
	"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36": {"mobile", "Samsung Browser", "25.0", "Android", "14", false, "Samsung", "SM-S918B"},
}

type agent struct {
	device, browser, browserVersion, os, osVersion string
	bot                                            bool
	brand, model                                   string
}

// generator makes the events of a small shop from a seed. Its visitors are
// few, so that sessions, users, transactions and ids meet often.
type generator struct {
	*rand.Rand
	streams []string
	zone    *time.Location
	from    time.Time // the first day, 0:00 on the merchant's clock
	days    int
	until   time.Time // nothing happens later
	taken   map[string]map[int64]bool
	n       int
}

func one[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// instant is any instant of the days; often one near the edge of an hour, of a
// day, or of the night in which clocks are changed.
func (g *generator) instant() time.Time {
	t := g.from.Add(time.Duration(g.Int64N(int64(g.days) * int64(24*time.Hour))))
	near := time.Duration(g.Int64N(int64(8*time.Second))) - 4*time.Second
	switch g.IntN(6) {
	case 0:
		t = t.Truncate(time.Hour).Add(near)
	case 1:
		y, m, d := t.Date()
		t = time.Date(y, m, d, 0, 0, 0, 0, g.zone).Add(near)
	case 2:
		y, m, d := t.Date()
		t = time.Date(y, m, d, g.IntN(4), 30*g.IntN(2), 0, 0, g.zone).Add(near)
	}
	return t.Truncate(time.Millisecond)
}

// free moves an instant on until it is free for an actor: what two events of
// one person, or of one purchase, at the same millisecond mean depends on which came first.
func (g *generator) free(t time.Time, actors ...string) time.Time {
	for {
		busy := false
		for _, a := range actors {
			busy = busy || a != "" && g.taken[a][t.UnixMilli()]
		}
		if !busy {
			break
		}
		t = t.Add(time.Millisecond)
	}
	for _, a := range actors {
		if g.taken[a] == nil {
			g.taken[a] = map[int64]bool{}
		}
		g.taken[a][t.UnixMilli()] = true
	}
	return t
}

// visit is one walk through the shop: some events of one person.
func (g *generator) visit() []cloudEvent {
	person := g.IntN(14)
	client, user, session := fmt.Sprintf("client-%d", person), "", ""
	ip := fmt.Sprintf("203.0.113.%d", person)
	// Each person has an own agent, but for now and then.
	agent := one(rand.New(rand.NewPCG(uint64(person/2), 0)), agentNames()...)
	if g.chance(5) {
		agent = one(g.Rand, agentNames()...)
	}
	switch person {
	case 12:
		client = "" // known by address and agent only
	case 13:
		client, user = "", "user-0" // an app's server: by user id only
	}
	if g.chance(35) {
		session = fmt.Sprint(1700000000 + g.IntN(5))
	}
	signIn := -1
	if person < 6 && g.chance(40) {
		signIn = g.IntN(3)
	}
	language, screen := one(g.Rand, "de", "en-us", "en-gb", ""), one(g.Rand, "1920x1080", "390x844", "")
	stream := g.streams[min(g.IntN(4), len(g.streams)-1)]
	at := g.instant()
	var events []cloudEvent
	for i := range 1 + g.IntN(7) {
		if i > 0 {
			at = at.Add(one(g.Rand, time.Millisecond, time.Second, 5*time.Second, 9999*time.Millisecond, 10*time.Second, 10001*time.Millisecond,
				time.Minute, 11*time.Minute, 30*time.Minute-time.Millisecond, 30*time.Minute, 31*time.Minute, 3*time.Hour, 24*time.Hour-time.Millisecond, 24*time.Hour))
		}
		if i == signIn {
			user = fmt.Sprintf("user-%d", person/2)
		}
		e := g.event(i == 0)
		e.Stream = stream
		if g.chance(4) {
			e.Stream = one(g.Rand, g.streams...)
		}
		d := &e.Data
		d.ClientID, d.UserID, d.SessionID, d.UserAgent, d.IP, d.Language, d.Screen = client, user, session, agent, ip, language, screen
		transaction, _ := d.Params["transaction_id"].(string)
		at = g.free(at, "c"+client, "u"+user, "t"+transaction)
		if at.After(g.until) {
			break
		}
		e.Time = at.UTC().Format(time.RFC3339Nano)
		events = append(events, e)
	}
	return events
}

func agentNames() []string {
	names := make([]string, 0, len(agents))
	for name := range agents {
		names = append(names, name)
	}
	// In an order of their own, for a map has none.
	for i := range names {
		for j := i; j > 0 && names[j] < names[j-1]; j-- {
			names[j], names[j-1] = names[j-1], names[j]
		}
	}
	return names
}

// event is one event, without who and when.
func (g *generator) event(first bool) cloudEvent {
	g.n++
	e := cloudEvent{SpecVersion: "1.0", Type: "footfall.event.v1", Source: "/laws", ID: fmt.Sprintf("e%d", g.n)}
	d := &e.Data
	d.Name = one(g.Rand, "page_view", "page_view", "page_view", "page_view", "screen_view", "scroll", "user_engagement", "sign_up", "view_item",
		"view_item", "add_to_cart", "begin_checkout", "purchase", "purchase", "search", "generate_lead", "refund", "view_item_list", "select_item", "view_promotion", "select_promotion",
		"in_app_purchase", "app_store_refund")
	if g.chance(85) {
		d.Page = &page{
			Location: "https://" + one(g.Rand, "shop.example", "shop.example", "www.shop.example", "Blog.Shop.Example:8443") +
				one(g.Rand, "", "/", "/shoes", "/Shoes", "/hats", "/thanks", "/blog/2026/hats") + one(g.Rand, "", "", "", "?q=red", "?q=red&page=2", "#top"),
			Title: one(g.Rand, "Home", "Shoes", "Hats & more", "", "Danke schön"),
		}
		if g.chance(30) {
			d.Page.Referrer = one(g.Rand, referrers...)
		}
		if first && g.chance(40) || g.chance(6) {
			separator := "?"
			d.Page.Location = "https://shop.example" + one(g.Rand, "/", "/shoes", "/sale?color=red")
			if d.Page.Location[len(d.Page.Location)-1] == 'd' {
				separator = "&"
			}
			d.Page.Location += separator + one(g.Rand, links...)
		}
	}
	if g.chance(40) {
		d.EngagementMS = one[int64](g.Rand, 500, 4000, 9999, 10_000, 10_001, 61_000)
	}
	if g.chance(40) {
		d.Params = map[string]any{}
		if g.chance(50) {
			d.Params["plan"] = one(g.Rand, "free", "Pro", "team")
		}
		if g.chance(50) {
			d.Params["level"] = g.IntN(12)
			d.Params["content_group"] = one(g.Rand, "blog", "shop")
			d.Params["percent_scrolled"] = 90
		}
		if g.chance(30) {
			d.Params["screen_name"], d.Params["firebase_screen_class"] = one(g.Rand, "Cart", "List"), "MainActivity"
		}
		if g.chance(30) {
			d.Params["discount"] = json.Number(one(g.Rand, "0.5", "2.25", "10"))
		}
		if g.chance(20) {
			d.Params["outbound"] = g.chance(50)
		}
		if g.chance(30) {
			d.Params["score"] = one[any](g.Rand, 3, json.Number("-1.25"), "7.5", "1e3", "many", "0x10", " 4", true)
		}
	}
	if g.chance(15) {
		d.UserProperties = map[string]any{"tier": one(g.Rand, "gold", "silver")}
	}
	switch d.Name {
	case "purchase", "in_app_purchase":
		g.sell(d)
		if g.chance(80) {
			d.say("transaction_id", fmt.Sprintf("T-%d", g.IntN(12)))
		}
		if g.chance(50) {
			d.say("tax", one[any](g.Rand, json.Number("1.9"), json.Number("0.07"), 3, "2.5", "none"))
		}
		if g.chance(50) {
			d.say("shipping", one[any](g.Rand, json.Number("4.95"), 0, "free"))
		}
	case "view_item", "add_to_cart", "begin_checkout", "refund", "app_store_refund", "view_item_list", "select_item":
		g.sell(d)
	case "view_promotion", "select_promotion":
		if g.chance(50) {
			g.sell(d)
		}
		if g.chance(70) {
			d.say("promotion_id", one(g.Rand, "P1", "P2"))
			d.say("promotion_name", one(g.Rand, "Summer", "Winter"))
		}
		if g.chance(30) {
			d.say("creative_name", "Beach")
			d.say("creative_slot", one(g.Rand, "top", "side"))
		}
	case "sign_up", "generate_lead":
		if g.chance(40) {
			d.Value, d.Currency = json.Number(one(g.Rand, "1", "2.5", "0.000001", "-3")), one(g.Rand, "EUR", "USD", "eur", "")
		}
	}
	return e
}

// sell puts goods and their value into an event.
func (g *generator) sell(d *data) {
	if g.chance(85) {
		d.Value, d.Currency = json.Number(fmt.Sprintf("%d.%02d", g.IntN(200), g.IntN(100))), one(g.Rand, "EUR", "EUR", "EUR", "", "eur", "USD", "JPY")
	}
	for range g.IntN(4) {
		i := item{ID: one(g.Rand, "sku-1", "sku-2", "sku-3", "sku-4", ""), Brand: one(g.Rand, "Acme", "Bolt", ""), Variant: one(g.Rand, "red", "blue", ""),
			Category: one(g.Rand, "Wear", "Sport", ""), Category2: one(g.Rand, "Feet", "Head", "", ""), Category3: one(g.Rand, "Run", "", ""),
			Category4: one(g.Rand, "Trail", "", ""), Category5: one(g.Rand, "Wide", "", ""), ListID: one(g.Rand, "L1", "L2", ""), ListName: one(g.Rand, "Sale", "New", ""),
			Coupon: one(g.Rand, "SUMMER", "", "")}
		if i.ID != "" {
			i.Name = map[string]string{"sku-1": "Shoes", "sku-2": "Hat", "sku-3": "Socks", "sku-4": ""}[i.ID]
		}
		if g.chance(90) {
			i.Price = json.Number(fmt.Sprintf("%d.%02d", g.IntN(100), g.IntN(100)))
		}
		if g.chance(70) {
			quantity := g.Int64N(4)
			i.Quantity = &quantity
		}
		if g.chance(30) {
			i.Discount = json.Number(one(g.Rand, "0.5", "1.99", "10"))
		}
		if g.chance(40) {
			index := g.IntN(3)
			i.Index = &index
		}
		if g.chance(30) {
			i.Affiliation, i.LocationID = one(g.Rand, "Partner", ""), one(g.Rand, "L-1", "L-2", "")
		}
		if g.chance(30) {
			i.PromotionID, i.PromotionName, i.CreativeName, i.CreativeSlot = one(g.Rand, "P1", "P3", ""), one(g.Rand, "Summer", ""), one(g.Rand, "Snow", ""), one(g.Rand, "top", "")
		}
		d.Items = append(d.Items, i)
	}
	// What an event says of all its items.
	for _, said := range [][2]string{{"item_list_id", "L9"}, {"item_list_name", "Best"}, {"affiliation", "House"}, {"location_id", "L-9"}, {"promotion_name", "Winter"}} {
		if g.chance(8) {
			d.say(said[0], said[1])
		}
	}
}

// say sets a parameter.
func (d *data) say(key string, value any) {
	if d.Params == nil {
		d.Params = map[string]any{}
	}
	d.Params[key] = value
}

// traffic is at least n events, as they happened.
func (g *generator) traffic(n int) []cloudEvent {
	var events []cloudEvent
	for len(events) < n {
		events = append(events, g.visit()...)
	}
	return events
}

// again are copies: the same event sent twice, and a few that were given
// another time on their way.
func (g *generator) again(events []cloudEvent, n int) []cloudEvent {
	var copies []cloudEvent
	for range n {
		e := one(g.Rand, events...)
		if g.chance(25) {
			at, _ := time.Parse(time.RFC3339Nano, e.Time) // written by visit
			at = at.Add(one(g.Rand, time.Millisecond, time.Minute, time.Hour, 25*time.Hour, 49*time.Hour))
			transaction, _ := e.Data.Params["transaction_id"].(string)
			if at = g.free(at, "c"+e.Data.ClientID, "u"+e.Data.UserID, "t"+transaction); at.After(g.until) {
				continue
			}
			e.Time = at.UTC().Format(time.RFC3339Nano)
		}
		copies = append(copies, e)
	}
	return copies
}
