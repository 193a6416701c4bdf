package cloudevents

import (
	"math"
	"net/netip"

	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/event"
)

// maxDepth is how deep members without a field of their own may nest.
const maxDepth = 16

// members are those of data that are read after the others, because they fill
// in what the others leave open.
type members struct {
	params, items, properties *fastjson.Value
	transaction               string
	engaged                   bool
}

// data reads an event's data into e. Members that Footfall has no field for
// are kept in Extra.
func (p *Parser) data(e *event.Event, claim *netip.Addr, v *fastjson.Value) {
	if v == nil || v.Type() != fastjson.TypeObject {
		p.fail("data", "a JSON object")
		return
	}
	var m members
	p.extra = p.extra[:0]
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if p.problem == nil && v.Type() != fastjson.TypeNull {
			p.member(e, claim, &m, key, v)
		}
	})
	if p.problem == nil && m.properties != nil {
		e.UserProperties = p.userProperties(m.properties)
	}
	if p.problem == nil {
		p.eventParams(e, &m)
	}
	if p.problem == nil && m.items != nil {
		e.Items = p.itemList(m.items)
	}
	if p.problem == nil && !validName(e.Name) {
		p.fail("data.name", "1 to 40 letters, digits and underscores, a letter first")
	}
	if p.problem == nil && len(p.extra) > 0 {
		p.extra = append(p.extra, '}')
		start := len(p.texts)
		p.texts = appendCutAddresses(p.texts, view(p.extra))
		e.Extra = view(p.texts[start:])
	}
}

// member reads one member of data.
func (p *Parser) member(e *event.Event, claim *netip.Addr, m *members, key []byte, v *fastjson.Value) {
	switch string(key) {
	case "name":
		e.Name = p.str("data.name", v, MaxText)
	case "client_id":
		e.ClientID = p.ident("data.client_id", v)
	case "user_id":
		e.UserID = p.ident("data.user_id", v)
	case "session_id":
		e.SessionID = p.ident("data.session_id", v)
	case "page":
		p.page(e, v)
	case "params":
		m.params = v
	case "user_properties":
		m.properties = v
	case "items":
		m.items = v
	case "value":
		e.HasValue, e.ValueMicros = true, p.money("data.value", v)
	case "currency":
		e.Currency = p.currency("data.currency", v)
	case "engagement_ms":
		m.engaged, e.EngagementMillis = true, p.engagement("data.engagement_ms", v)
	case "transaction_id":
		m.transaction = p.ident("data.transaction_id", v)
	case "user_agent":
		e.ClaimedUserAgent = p.str("data.user_agent", v, MaxText)
	case "client_hints":
		p.clientHints(e, v)
	case "ip":
		p.address(e, claim, v)
	case "language":
		e.Language = p.str("data.language", v, MaxKey)
	case "screen":
		e.Screen = p.str("data.screen", v, MaxKey)
	default:
		p.unknown("data", key, v)
	}
}

// unknown keeps a member that has no field of its own.
func (p *Parser) unknown(parent string, key []byte, v *fastjson.Value) {
	separator := byte('{')
	if len(p.extra) > 0 {
		separator = ','
	}
	p.extra = append(p.extra, separator)
	p.extra = append(appendQuoted(p.extra, view(key)), ':')
	var ok bool
	if p.extra, ok = appendJSON(p.extra, v, maxDepth); !ok {
		p.fail(quoteKey(parent, view(key)), "JSON that is nested at most 16 deep")
	} else if len(p.extra) > MaxExtra {
		p.fail("data", "at most 16 KiB of members that Footfall does not know")
	}
}

// page reads data.page.
func (p *Parser) page(e *event.Event, v *fastjson.Value) {
	if v.Type() != fastjson.TypeObject {
		p.fail("data.page", `an object with "location"`)
		return
	}
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if p.problem != nil || v.Type() == fastjson.TypeNull {
			return
		}
		switch string(key) {
		case "location":
			e.PageLocation = p.location("data.page.location", v)
		case "title":
			e.PageTitle = p.str("data.page.title", v, MaxText)
		case "referrer":
			e.PageReferrer = p.str("data.page.referrer", v, MaxURL)
		default:
			// It keeps its place under a name that no member of data has.
			p.unknown("data.page", append([]byte("page."), key...), v)
		}
	})
}

// address reads data.ip: whole for this request, cut for what becomes durable.
func (p *Parser) address(e *event.Event, claim *netip.Addr, v *fastjson.Value) {
	a, err := netip.ParseAddr(p.str("data.ip", v, MaxText))
	if err != nil {
		p.fail("data.ip", "an IP address, such as 203.0.113.7")
		return
	}
	*claim = a.Unmap().WithZone("")
	start := len(p.texts)
	p.texts = TruncateAddr(a).AppendTo(p.texts)
	e.ClaimedIP = view(p.texts[start:])
}

// eventParams reads data.params. What has a field of its own goes there where
// the member above params is absent, and stays a parameter where it is not.
func (p *Parser) eventParams(e *event.Event, m *members) {
	start := len(p.params)
	if m.transaction != "" {
		p.params = append(p.params, event.Param{Key: "transaction_id", Text: m.transaction})
	}
	if m.params != nil {
		if m.params.Type() != fastjson.TypeObject {
			p.fail("data.params", "a JSON object")
			return
		}
		m.params.GetObject().Visit(func(key []byte, v *fastjson.Value) {
			if p.problem == nil && v.Type() != fastjson.TypeNull && !p.promote(e, m, key, v) {
				p.param("data.params", view(key), v)
			}
		})
	}
	p.countParams("data.params", start)
	if len(p.params) > start {
		e.Params = p.params[start:len(p.params):len(p.params)]
	}
}

// promote puts a parameter into the event's own field where that is still
// empty; false where it is to stay a parameter.
func (p *Parser) promote(e *event.Event, m *members, key []byte, v *fastjson.Value) bool {
	switch string(key) {
	case "value":
		if e.HasValue {
			return false
		}
		e.HasValue, e.ValueMicros = true, p.money("data.params.value", v)
	case "currency":
		if e.Currency != "" {
			return false
		}
		e.Currency = p.currency("data.params.currency", v)
	case "engagement_time_msec":
		if m.engaged {
			return false
		}
		m.engaged, e.EngagementMillis = true, p.engagement("data.params.engagement_time_msec", v)
	case "transaction_id":
		if m.transaction == "" {
			p.params = append(p.params, event.Param{Key: "transaction_id", Text: p.ident("data.params.transaction_id", v)})
		}
	case "session_id":
		if e.SessionID != "" {
			return false
		}
		e.SessionID = p.ident("data.params.session_id", v)
	case "page_location":
		if e.PageLocation != "" {
			return false
		}
		e.PageLocation = p.location("data.params.page_location", v)
	case "page_title":
		if e.PageTitle != "" {
			return false
		}
		e.PageTitle = p.str("data.params.page_title", v, MaxText)
	case "page_referrer":
		if e.PageReferrer != "" {
			return false
		}
		e.PageReferrer = p.str("data.params.page_referrer", v, MaxURL)
	case "items":
		if m.items == nil {
			m.items = v
		}
	default:
		return false
	}
	return true
}

// userProperties reads data.user_properties: values as such, or as Google
// Analytics has them, {"value": …}.
func (p *Parser) userProperties(v *fastjson.Value) []event.Param {
	if v.Type() != fastjson.TypeObject {
		p.fail("data.user_properties", "a JSON object")
		return nil
	}
	start := len(p.params)
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if v.Type() == fastjson.TypeObject {
			if inner := v.Get("value"); inner != nil {
				v = inner
			}
		}
		if p.problem == nil && v.Type() != fastjson.TypeNull {
			p.param("data.user_properties", view(key), v)
		}
	})
	p.countParams("data.user_properties", start)
	if len(p.params) == start {
		return nil
	}
	return p.params[start:len(p.params):len(p.params)]
}

func (p *Parser) countParams(field string, start int) {
	if len(p.params)-start > MaxParams {
		p.fail(field, "at most 100 parameters")
	}
}

// itemList reads data.items.
func (p *Parser) itemList(v *fastjson.Value) []event.Item {
	if v.Type() != fastjson.TypeArray {
		p.fail("data.items", "an array of items")
		return nil
	}
	all := v.GetArray()
	if len(all) > MaxItems {
		p.fail("data.items", "at most 200 items")
		return nil
	}
	start := len(p.items)
	for i, v := range all {
		p.items = append(p.items, event.Item{Quantity: 1})
		p.item(&p.items[len(p.items)-1], i, v)
		if p.problem != nil {
			return nil
		}
	}
	if len(all) == 0 {
		return nil
	}
	return p.items[start:len(p.items):len(p.items)]
}

// item reads one item; members that Google Analytics does not name are its
// parameters.
func (p *Parser) item(it *event.Item, place int, v *fastjson.Value) {
	if v.Type() != fastjson.TypeObject {
		p.fail(itemField(place, ""), "an item as a JSON object")
		return
	}
	start := len(p.params)
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if p.problem != nil || v.Type() == fastjson.TypeNull {
			return
		}
		p.itemMember(it, key, v)
		if p.problem != nil {
			p.problem.Field = itemField(place, p.problem.Field)
		}
	})
	if price := max(it.PriceMicros, -it.PriceMicros); it.Quantity > 0 && (price < 0 || price > math.MaxInt64/it.Quantity) {
		p.fail(itemField(place, ".price"), "price times quantity of at most 9 trillion")
	}
	if len(p.params)-start > MaxParams {
		p.fail(itemField(place, ""), "at most 100 parameters")
	}
	if len(p.params) > start {
		it.Params = p.params[start:len(p.params):len(p.params)]
	}
}

func (p *Parser) itemMember(it *event.Item, key []byte, v *fastjson.Value) {
	switch string(key) {
	case "item_id":
		it.ID = p.ident(".item_id", v)
	case "item_name":
		it.Name = p.str(".item_name", v, MaxText)
	case "item_brand":
		it.Brand = p.str(".item_brand", v, MaxText)
	case "item_variant":
		it.Variant = p.str(".item_variant", v, MaxText)
	case "item_category":
		it.Categories[0] = p.str(".item_category", v, MaxText)
	case "item_category2":
		it.Categories[1] = p.str(".item_category2", v, MaxText)
	case "item_category3":
		it.Categories[2] = p.str(".item_category3", v, MaxText)
	case "item_category4":
		it.Categories[3] = p.str(".item_category4", v, MaxText)
	case "item_category5":
		it.Categories[4] = p.str(".item_category5", v, MaxText)
	case "item_list_id":
		it.ListID = p.str(".item_list_id", v, MaxText)
	case "item_list_name":
		it.ListName = p.str(".item_list_name", v, MaxText)
	case "coupon":
		it.Coupon = p.str(".coupon", v, MaxText)
	case "price":
		it.PriceMicros = p.money(".price", v)
	case "quantity":
		it.Quantity = p.quantity(".quantity", v)
	default:
		p.param("", view(key), v)
	}
}
