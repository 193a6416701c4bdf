package laws

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// The rules once more, from the events' JSON: each question about an event is
// answered by looking at all events, with no state in between.

// settings are a merchant's, as far as they alter numbers.
type settings struct {
	Zone      string   `json:"time_zone"`
	Currency  string   `json:"currency"`
	BotFilter bool     `json:"bot_filter"`
	KeyEvents []string `json:"key_events"`

	CurrencyRates []currencyRate `json:"currency_rates"`
	ChannelRules  []channelRule  `json:"channel_rules"`
}

// currencyRate is what a unit of a currency is worth, from a day on.
type currencyRate struct {
	Currency string      `json:"currency"`
	Rate     json.Number `json:"rate"`
	From     string      `json:"from,omitempty"`
}

// received is an event as it reached Footfall: what its receipt says of it.
type received struct {
	raw   json.RawMessage
	at    time.Time
	batch string
	place int // among those of the batch
}

// hit is an accepted event, and what is to be known of it.
type hit struct {
	received
	cloudEvent
	millis      int64
	local       time.Time // on the merchant's clock
	transaction string
	micros      int64 // of its value
	valued      bool
	currency    string
	user        string // whose event it is
	actor       string // whose session it is in
	agent       agent
	page        pageParts
	source      source
	goods       []goods

	// What counting says.
	duplicate, filtered bool
	begins, engaged     bool
	length, views       int64  // of the session that it begins, ms
	session             []*hit // that it begins
	first               *hit   // the first of its user ever
	attribution         *hit   // whose source is its session's
	start               *hit   // of its session
	fresh               bool   // in the session in which its user was first seen
	landing, exit       *hit   // whose pages are its session's first and last
	newUser             bool
	purchase            bool
	firstPurchase       bool // of its user, whatever its transaction
	key                 bool
}

// goods is an item in numbers.
type goods struct {
	item
	price, quantity, discount int64 // micro-units; pieces; micro-units of a piece
}

func (h *hit) counts() bool { return !h.duplicate && !h.filtered }

// hour counts UTC hours.
func (h *hit) hour() int64 { return hourOf(h.millis) }

func hourOf(millis int64) int64 {
	const perHour = int64(time.Hour / time.Millisecond)
	n := millis / perHour
	if millis%perHour < 0 {
		n--
	}
	return n
}

// reach is how many hours around its own an event depends on.
const reach = 24

// micro reads a number of units as an integer of micro-units.
func micro(t testing.TB, n json.Number) int64 {
	t.Helper()
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		t.Fatalf("not a number: %q", n)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() {
		t.Fatalf("finer than a micro-unit: %q", n)
	}
	return r.Num().Int64()
}

func readHit(t testing.TB, r received, zone *time.Location) *hit {
	t.Helper()
	h := &hit{received: r}
	d := json.NewDecoder(strings.NewReader(string(r.raw)))
	d.UseNumber()
	if err := d.Decode(&h.cloudEvent); err != nil {
		t.Fatalf("cannot read event %s: %v", r.raw, err)
	}
	at := r.at
	if h.Time != "" {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, h.Time); err != nil {
			t.Fatal(err)
		}
	}
	h.millis, h.local = at.UnixMilli(), at.In(zone)
	h.transaction, _ = h.Data.Params["transaction_id"].(string)
	if h.Data.Value != "" {
		h.valued, h.micros = true, micro(t, h.Data.Value)
	}
	h.currency = strings.ToUpper(h.Data.Currency)
	visitor := "visitor " + at.UTC().Format(time.DateOnly) + " " + h.Data.IP + " " + h.Data.UserAgent
	named := func(kind, id string) string {
		if id == "" {
			return ""
		}
		return kind + id
	}
	h.user = cmp.Or(named("user ", h.Data.UserID), named("client ", h.Data.ClientID), visitor)
	h.actor = cmp.Or(named("client ", h.Data.ClientID), named("user ", h.Data.UserID), visitor)
	var known bool
	if h.agent, known = agents[h.Data.UserAgent]; !known {
		t.Fatalf("no definition of the agent %q", h.Data.UserAgent)
	}
	if p := h.Data.Page; p != nil {
		h.page = partsOf(t, p.Location)
		h.source = sourceOf(t, h.page, p.Referrer)
	}
	items := h.Data.Items
	if len(items) == 0 && (h.Data.Name == "view_promotion" || h.Data.Name == "select_promotion") {
		// It is about what it promotes, if it says what that is.
		if bare := (item{}); h.inherit(&bare) {
			items = []item{bare}
		}
	}
	for _, i := range items {
		h.inherit(&i)
		g := goods{item: i, quantity: 1}
		if i.Price != "" {
			g.price = micro(t, i.Price)
		}
		if i.Discount != "" {
			g.discount = micro(t, i.Discount)
		}
		if i.Quantity != nil {
			g.quantity = *i.Quantity
		}
		h.goods = append(h.goods, g)
	}
	return h
}

// inherit gives an item what its event says of all its items.
func (h *hit) inherit(i *item) (said bool) {
	for key, of := range map[string]*string{
		"item_list_id": &i.ListID, "item_list_name": &i.ListName, "affiliation": &i.Affiliation, "location_id": &i.LocationID,
		"promotion_id": &i.PromotionID, "promotion_name": &i.PromotionName, "creative_name": &i.CreativeName, "creative_slot": &i.CreativeSlot,
	} {
		if v := h.text(key); v != "" {
			*of, said = cmp.Or(*of, v), true
		}
	}
	return said
}

// naive is a merchant's history.
type naive struct {
	settings settings
	zone     *time.Location
	hits     []*hit // by time, then as they came
	now      time.Time
	in       string // currency of the question at hand; "" is the merchant's
}

// newNaive reads events and works out what each counts for.
func newNaive(t testing.TB, s settings, now time.Time, events []received) *naive {
	t.Helper()
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		t.Fatal(err)
	}
	n := &naive{settings: s, zone: zone, now: now}
	for _, e := range events {
		n.hits = append(n.hits, readHit(t, e, zone))
	}
	slices.SortFunc(n.hits, func(a, b *hit) int {
		return cmp.Or(cmp.Compare(a.millis, b.millis), strings.Compare(a.batch, b.batch), cmp.Compare(a.place, b.place))
	})
	seen, bought := map[string]*hit{}, map[string]bool{}
	for i, h := range n.hits {
		h.key = slices.Contains(s.KeyEvents, h.Data.Name)
		h.duplicate = n.copyOf(i, h.hour()-reach)
		h.filtered = !h.duplicate && n.bot(h)
		if !h.counts() {
			continue
		}
		// New is a user's first event ever.
		if h.newUser = seen[h.user] == nil; h.newUser {
			seen[h.user] = h
		}
		h.first = seen[h.user]
		h.firstPurchase = h.transacts() && !bought[h.user]
		bought[h.user] = bought[h.user] || h.transacts()
	}
	for i, h := range n.hits {
		if h.counts() {
			n.judge(i)
			h.fresh = h.first.millis >= h.start.millis
		}
	}
	return n
}

func (n *naive) bot(h *hit) bool { return n.settings.BotFilter && h.agent.bot }

// copyOf reports whether an earlier hit of an hour not before since has the
// same id in the same stream.
func (n *naive) copyOf(i int, since int64) bool {
	for _, o := range n.hits[:i] {
		if o.ID == n.hits[i].ID && o.Stream == n.hits[i].Stream && o.hour() >= since {
			return true
		}
	}
	return false
}

// around are the hits that count as seen from an hour: those within reach of
// it, without copies of what lies within reach of both, and without bots.
func (n *naive) around(hour int64) []*hit {
	var out []*hit
	for i, h := range n.hits {
		if h.hour() >= hour-reach && h.hour() <= hour+reach && !n.bot(h) && !n.copyOf(i, max(h.hour(), hour)-reach) {
			out = append(out, h)
		}
	}
	return out
}

const (
	inactivity      = int64(30 * time.Minute / time.Millisecond) // ends a session
	namedInactivity = int64(24 * time.Hour / time.Millisecond)   // ends one that the client has named
)

// judge works out a hit's session and purchase.
func (n *naive) judge(i int) {
	h := n.hits[i]
	around := n.around(h.hour())
	silence := inactivity
	if h.Data.SessionID != "" {
		silence = namedInactivity
	}
	var walk []*hit // all hits of the same client, and of the same named session
	at := 0
	for _, o := range around {
		if o == h {
			at = len(walk)
		}
		if o.actor == h.actor && o.Data.SessionID == h.Data.SessionID {
			walk = append(walk, o)
		}
	}
	first := at
	for first > 0 && walk[first].millis-walk[first-1].millis < silence {
		first--
	}
	last := first
	for last+1 < len(walk) && walk[last+1].millis-walk[last].millis < silence && walk[last+1].hour() <= walk[first].hour()+reach {
		last++
	}
	session := walk[first : last+1]
	h.start = session[0]
	h.attribution, h.landing, h.exit = session[0], session[0], session[0]
	for _, o := range session {
		if o.page.path != "" {
			h.exit = o
		}
	}
	for _, o := range slices.Backward(session) {
		if o.source != (source{}) {
			h.attribution = o
		}
		if o.page.path != "" {
			h.landing = o
		}
	}
	if first == at {
		h.begins, h.session = true, session
		h.length = session[len(session)-1].millis - h.millis
		focus, key := int64(0), false
		for _, o := range session {
			if o.view() {
				h.views++
			}
			focus += o.Data.EngagementMS
			key = key || slices.Contains(n.settings.KeyEvents, o.Data.Name)
		}
		h.engaged = h.views >= 2 || key || h.length > 10_000 || focus > 10_000
	}
	// A transaction counts at its first purchase.
	h.purchase = h.transacts()
	for _, o := range around {
		if o == h {
			break
		}
		if o.transacts() && h.transaction != "" && o.transaction == h.transaction && o.Stream == h.Stream && o.hour() >= h.hour()-reach {
			h.purchase = false
		}
	}
}

func (h *hit) view() bool { return h.Data.Name == "page_view" || h.Data.Name == "screen_view" }

// transacts reports whether a hit is of a transaction, first of its id or not.
func (h *hit) transacts() bool { return h.Data.Name == "purchase" || h.Data.Name == "in_app_purchase" }

func (h *hit) refunds() bool { return h.Data.Name == "refund" || h.Data.Name == "app_store_refund" }

// convert is an amount of a hit's money in the merchant's, to the nearest
// micro-unit and from the middle to the even one; ok is false where the
// merchant gave no rate.
func (n *naive) convert(h *hit, micros int64) (own int64, ok bool) {
	if h.currency == "" || h.currency == n.settings.Currency {
		return micros, true
	}
	rate, _ := n.rateOn(h.currency, h.local.Format(time.DateOnly))
	if rate == nil {
		return 0, false
	}
	return nearest(rate.Mul(rate, big.NewRat(micros, 1))).Int64(), true
}

// worth is convert where what has no rate is nothing.
func (n *naive) worth(h *hit, micros int64) int64 {
	own, _ := n.convert(h, micros)
	return own
}
