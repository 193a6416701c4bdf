package laws

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"
)

// dimension is what a name means: the value that a hit has, or one of its
// items, as answers show it; "" stands for none and shows as fill.
type dimension struct {
	of      func(h *hit, g *goods, start time.Time) string // start: of the date range
	channel func(t testing.TB, n *naive, h *hit) string    // instead, where the merchant's rules matter
	time    bool
	item    bool
	fill    string
}

func (n *naive) show(t testing.TB, d *dimension, h *hit, g *goods, start time.Time) string {
	t.Helper()
	of := d.of
	if d.channel != nil {
		of = func(h *hit, _ *goods, _ time.Time) string { return d.channel(t, n, h) }
	}
	if v := of(h, g, start); v != "" {
		return v
	}
	if d.fill != "" {
		return d.fill
	}
	return "(not set)"
}

func clock(of func(t time.Time) string) dimension {
	return dimension{time: true, of: func(h *hit, _ *goods, _ time.Time) string { return of(h.local) }}
}

// since is the number of something that has begun since the range did.
func since(of func(t, start time.Time) int) dimension {
	return dimension{time: true, of: func(h *hit, _ *goods, start time.Time) string { return fmt.Sprintf("%04d", of(h.local, start)) }}
}

// civil counts a time's days, whatever their length.
func civil(t time.Time) int {
	y, m, d := t.Date()
	return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// week begins on Sunday, and the first with the year.
func week(t time.Time) int {
	first := time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	return (civil(t)-civil(first)+int(first.Weekday()))/7 + 1
}

func param(key string) dimension {
	return event(func(h *hit) string {
		if v, ok := h.Data.Params[key]; ok {
			return fmt.Sprint(v)
		}
		return ""
	})
}

func layout(l string) dimension { return clock(func(t time.Time) string { return t.Format(l) }) }

func event(of func(h *hit) string) dimension {
	return dimension{of: func(h *hit, _ *goods, _ time.Time) string { return of(h) }}
}

// byChannel is a channel by Google's rules, or by the merchant's first. Who named
// no source came directly; bare: an event on the way of a session did not.
func byChannel(own, bare bool, of func(h *hit) source) dimension {
	return dimension{channel: func(t testing.TB, n *naive, h *hit) string {
		s := of(h)
		switch {
		case bare && s == (source{}):
			return ""
		case own:
			return n.ownChannel(t, s)
		default:
			return defaultChannel(t, s)
		}
	}}
}

func ownSource(h *hit) source     { return h.source }
func sessionSource(h *hit) source { return h.attribution.source }
func firstSource(h *hit) source   { return h.first.attribution.source }

func property(key string) dimension {
	return event(func(h *hit) string {
		if v, ok := h.Data.UserProperties[key]; ok {
			return fmt.Sprint(v)
		}
		return ""
	})
}

func ofItem(of func(i *item) string) dimension {
	return dimension{item: true, of: func(_ *hit, g *goods, _ time.Time) string { return of(&g.item) }}
}

func (d dimension) or(fill string) dimension {
	d.fill = fill
	return d
}

// dimensions are the definitions of all dimensions.
var dimensions = map[string]dimension{
	"year":      layout("2006"),
	"month":     layout("01"),
	"yearMonth": layout("200601"),
	"date":      layout("20060102"),
	"dateHour":  layout("2006010215"),
	"hour":      layout("15"),
	"dayOfWeek": clock(func(t time.Time) string { return fmt.Sprint(int(t.Weekday())) }),
	"isoWeek": clock(func(t time.Time) string {
		_, week := t.ISOWeek()
		return fmt.Sprintf("%02d", week)
	}),

	"week":           clock(func(t time.Time) string { return fmt.Sprintf("%02d", week(t)) }),
	"yearWeek":       clock(func(t time.Time) string { return fmt.Sprintf("%d%02d", t.Year(), week(t)) }),
	"isoYear":        clock(func(t time.Time) string { year, _ := t.ISOWeek(); return fmt.Sprint(year) }),
	"isoYearIsoWeek": clock(func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprintf("%d%02d", year, week) }),
	"day":            layout("02"),
	"dayOfWeekName":  layout("Monday"),
	"dateHourMinute": layout("200601021504"),
	"minute":         layout("04"),
	"nthYear":        since(func(t, start time.Time) int { return t.Year() - start.Year() }),
	"nthMonth":       since(func(t, start time.Time) int { return 12*(t.Year()-start.Year()) + int(t.Month()-start.Month()) }),
	"nthWeek":        since(func(t, start time.Time) int { return (civil(t) - civil(start) + int(start.Weekday())) / 7 }),
	"nthDay":         since(func(t, start time.Time) int { return civil(t) - civil(start) }),
	"nthMinute":      since(func(t, start time.Time) int { return int(t.Sub(start) / time.Minute) }),
	"nthHour": since(func(t, start time.Time) int {
		// An hour begins where the clock shows a full one, or is put.
		n := 0
		for at := start.Add(15 * time.Minute); !at.After(t); at = at.Add(15 * time.Minute) {
			_, before := at.Add(-time.Minute).Zone()
			if _, now := at.Zone(); at.Minute() == 0 || now != before {
				n++
			}
		}
		return n
	}),

	"contentGroup": param("content_group"), "contentId": param("content_id"), "contentType": param("content_type"), "searchTerm": param("search_term"),
	"method": param("method"), "linkUrl": param("link_url"), "linkDomain": param("link_domain"), "linkId": param("link_id"),
	"linkClasses": param("link_classes"), "linkText": param("link_text"), "outbound": param("outbound"), "fileName": param("file_name"),
	"fileExtension": param("file_extension"), "percentScrolled": param("percent_scrolled"), "videoTitle": param("video_title"),
	"videoUrl": param("video_url"), "videoProvider": param("video_provider"), "visible": param("visible"), "groupId": param("group_id"),
	"achievementId": param("achievement_id"), "character": param("character"), "level": param("level"), "virtualCurrencyName": param("virtual_currency_name"),
	"orderCoupon": param("coupon"), "shippingTier": param("shipping_tier"),

	"eventName": event(func(h *hit) string { return h.Data.Name }),
	"streamId":  event(func(h *hit) string { return h.Stream }),

	"hostName":                event(func(h *hit) string { return h.page.host }),
	"pagePath":                event(func(h *hit) string { return h.page.path }),
	"pagePathPlusQueryString": event(func(h *hit) string { return h.page.pathQuery() }),
	"pageTitle":               event(func(h *hit) string { return h.onPage().Title }),
	"unifiedScreenName": event(func(h *hit) string {
		return cmp.Or(h.onPage().Title, h.text("screen_name"), h.text("firebase_screen"))
	}),
	"unifiedPagePathScreen": event(func(h *hit) string {
		return cmp.Or(h.page.path, h.text("screen_class"), h.text("firebase_screen_class"))
	}),
	"unifiedPageScreen": event(func(h *hit) string {
		return cmp.Or(h.page.pathQuery(), h.text("screen_class"), h.text("firebase_screen_class"))
	}),
	"pageReferrer": event(func(h *hit) string { return h.onPage().Referrer }),
	"landingPage":  event(func(h *hit) string { return h.landing.page.path }),

	"landingPagePlusQueryString": event(func(h *hit) string { return h.landing.page.pathQuery() }),
	"exitPage":                   event(func(h *hit) string { return h.exit.page.path }),
	"fullPageUrl":                event(func(h *hit) string { return h.page.host + h.page.pathQuery() }),

	"sourceMedium":           event(func(h *hit) string { return h.source.pair() }),
	"manualTerm":             event(func(h *hit) string { return h.source.term }),
	"manualAdContent":        event(func(h *hit) string { return h.source.content }),
	"sessionManualTerm":      event(func(h *hit) string { return h.attribution.source.term }),
	"sessionManualAdContent": event(func(h *hit) string { return h.attribution.source.content }),

	"source":       event(func(h *hit) string { return h.source.source }),
	"medium":       event(func(h *hit) string { return h.source.medium }),
	"campaignName": event(func(h *hit) string { return h.source.campaign }),

	"sessionSource":       event(func(h *hit) string { return h.attribution.source.source }).or("(direct)"),
	"sessionMedium":       event(func(h *hit) string { return h.attribution.source.medium }).or("(none)"),
	"sessionCampaignName": event(func(h *hit) string { return h.attribution.source.campaign }),
	"sessionSourceMedium": event(func(h *hit) string { return h.attribution.source.pair() }).or("(direct) / (none)"),

	"firstUserSource":          event(func(h *hit) string { return firstSource(h).source }).or("(direct)"),
	"firstUserMedium":          event(func(h *hit) string { return firstSource(h).medium }).or("(none)"),
	"firstUserSourceMedium":    event(func(h *hit) string { return firstSource(h).pair() }).or("(direct) / (none)"),
	"firstUserCampaignName":    event(func(h *hit) string { return firstSource(h).campaign }),
	"firstUserManualTerm":      event(func(h *hit) string { return firstSource(h).term }),
	"firstUserManualAdContent": event(func(h *hit) string { return firstSource(h).content }),
	"firstSessionDate":         event(func(h *hit) string { return h.first.local.Format("20060102") }),

	"defaultChannelGroup":          byChannel(false, true, ownSource),
	"primaryChannelGroup":          byChannel(true, true, ownSource),
	"sessionDefaultChannelGroup":   byChannel(false, false, sessionSource),
	"sessionPrimaryChannelGroup":   byChannel(true, false, sessionSource),
	"firstUserDefaultChannelGroup": byChannel(false, false, firstSource),
	"firstUserPrimaryChannelGroup": byChannel(true, false, firstSource),

	"country":   event(nowhere),
	"continent": event(nowhere), "continentId": event(nowhere), "subContinent": event(nowhere), "subContinentId": event(nowhere), "cityId": event(nowhere),
	"platform": event(func(h *hit) string { return h.platform() }),
	"platformDeviceCategory": event(func(h *hit) string {
		if h.platform() == "" || h.agent.device == "" {
			return ""
		}
		return h.platform() + " / " + h.agent.device
	}),
	"operatingSystemWithVersion": event(func(h *hit) string { return strings.TrimSuffix(h.agent.os+" "+h.agent.osVersion, " ") }),
	"appVersion":                 param("app_version"),
	"isKeyEvent":                 event(func(h *hit) string { return fmt.Sprint(h.key) }),
	"unifiedScreenClass": event(func(h *hit) string {
		return cmp.Or(h.onPage().Title, h.text("screen_class"), h.text("firebase_screen_class"))
	}),
	"countryId":    event(nowhere),
	"region":       event(nowhere),
	"city":         event(nowhere),
	"language":     event(func(h *hit) string { return h.Data.Language }),
	"languageCode": event(func(h *hit) string { return h.Data.Language }),
	"newVsReturning": event(func(h *hit) string {
		if h.fresh {
			return "new"
		}
		return "returning"
	}),

	"mobileDeviceBranding": event(func(h *hit) string { return h.agent.brand }),
	"mobileDeviceModel":    event(func(h *hit) string { return h.agent.model }),
	"deviceModel":          event(func(h *hit) string { return h.agent.model }),

	"deviceCategory":         event(func(h *hit) string { return h.agent.device }),
	"browser":                event(func(h *hit) string { return h.agent.browser }),
	"browserVersion":         event(func(h *hit) string { return h.agent.browserVersion }),
	"operatingSystem":        event(func(h *hit) string { return h.agent.os }),
	"operatingSystemVersion": event(func(h *hit) string { return h.agent.osVersion }),
	"screenResolution":       event(func(h *hit) string { return h.Data.Screen }),

	"currencyCode":  event(func(h *hit) string { return h.currency }),
	"transactionId": event(func(h *hit) string { return h.transaction }),

	"itemId":       ofItem(func(i *item) string { return i.ID }),
	"itemName":     ofItem(func(i *item) string { return i.Name }),
	"itemBrand":    ofItem(func(i *item) string { return i.Brand }),
	"itemVariant":  ofItem(func(i *item) string { return i.Variant }),
	"itemCategory": ofItem(func(i *item) string { return i.Category }),

	"itemCategory2": ofItem(func(i *item) string { return i.Category2 }),
	"itemCategory3": ofItem(func(i *item) string { return i.Category3 }),
	"itemCategory4": ofItem(func(i *item) string { return i.Category4 }),
	"itemCategory5": ofItem(func(i *item) string { return i.Category5 }),
	"itemListId":    ofItem(func(i *item) string { return i.ListID }),
	"itemListName":  ofItem(func(i *item) string { return i.ListName }),
	"itemListPosition": ofItem(func(i *item) string {
		if i.Index == nil {
			return ""
		}
		return fmt.Sprint(*i.Index)
	}),
	"itemAffiliation":           ofItem(func(i *item) string { return i.Affiliation }),
	"itemLocationID":            ofItem(func(i *item) string { return i.LocationID }),
	"itemPromotionId":           ofItem(func(i *item) string { return i.PromotionID }),
	"itemPromotionName":         ofItem(func(i *item) string { return i.PromotionName }),
	"itemPromotionCreativeName": ofItem(func(i *item) string { return i.CreativeName }),
	"itemPromotionCreativeSlot": ofItem(func(i *item) string { return i.CreativeSlot }),

	"customEvent:plan": param("plan"), "customEvent:level": param("level"), "customEvent:transaction_id": param("transaction_id"), "customEvent:nothing": param("nothing"),
	"customUser:tier": property("tier"),
}

func (p *pageParts) pathQuery() string {
	if p.query == "" {
		return p.path
	}
	return p.path + "?" + p.query
}

// pair is a source with its medium.
func (s source) pair() string {
	if s.source == "" {
		return ""
	}
	return s.source + " / " + s.medium
}

// nowhere: no place file is installed where the laws are tested.
func nowhere(*hit) string { return "" }

// platform is the web where a host served the page; others do not say.
func (h *hit) platform() string {
	if h.page.host == "" {
		return ""
	}
	return "web"
}

func (h *hit) text(param string) string {
	s, _ := h.Data.Params[param].(string)
	return s
}

func (h *hit) onPage() page {
	if h.Data.Page == nil {
		return page{}
	}
	return *h.Data.Page
}

// isTime reports whether a name's value comes from the instant of an event.
func isTime(name string) bool { return dimensions[name].time }
