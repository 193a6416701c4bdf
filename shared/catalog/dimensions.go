package catalog

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// Scope says what a dimension describes or a metric counts.
type Scope string

// The scopes. A session dimension has one value for a whole session, an item
// dimension groups the items of events and not the events.
const (
	ScopeTime    Scope = "time"
	ScopeEvent   Scope = "event"
	ScopeSession Scope = "session"
	ScopeUser    Scope = "user"
	ScopeItem    Scope = "item"
)

// NotSet stands in answers where a dimension has no value.
const NotSet = "(not set)"

// Dimension is one way to break numbers down.
type Dimension struct {
	Name        string            // the Data API's name
	Aliases     []string          // what a person may type in /v1/reports
	Dim         summary.Dimension // what summary groups by
	Param       string            // the parameter, where Dim is DimParam
	Scope       Scope
	Fill        string // what stands for "no value"
	Category    string // for lists
	Since       int    // version of processed documents from which on they hold it
	Origin      Origin
	Description string
	Made        *Made // instead of these, of a dimension that a question makes up
}

// Key is what summary groups by.
func (d *Dimension) Key() summary.Key { return summary.Key{Dim: d.Dim, Param: d.Param} }

// Show is the value as it stands in answers, and as filters see it.
func (d *Dimension) Show(value string) string {
	if d.Made != nil {
		return value // it is made of what others show
	}
	if value == "" {
		return d.Fill
	}
	if d.Dim == summary.DimSessionSourceMedium || d.Dim == summary.DimSourceMedium || d.Dim == summary.DimFirstSourceMedium {
		// Group joins the two halves, each of which may be absent.
		source, medium, ok := strings.Cut(value, " / ")
		if ok && (source == "" || medium == "") {
			noSource, noMedium, both := strings.Cut(d.Fill, " / ")
			if !both {
				noMedium = noSource
			}
			if source == "" && medium == "" {
				return d.Fill
			}
			return cmp.Or(source, noSource) + " / " + cmp.Or(medium, noMedium)
		}
	}
	return value
}

// Time reports whether the value comes from the instant of the event.
func (d *Dimension) Time() bool { return d.Scope == ScopeTime }

func dimensionList() []Dimension {
	type D = Dimension
	param := func(name, param, what string) D {
		return D{Name: name, Dim: summary.DimParam, Param: param, Description: what + ": the event's parameter " + param + "."}
	}
	var list []D
	for _, group := range []struct {
		category   string
		dimensions []D
	}{
		{"Time", []D{
			{Name: "year", Dim: summary.DimYear, Description: "Year of the merchant's calendar, as 2026."},
			{Name: "month", Dim: summary.DimMonth, Description: "Month of the year, 01 to 12."},
			{Name: "yearMonth", Dim: summary.DimYearMonth, Description: "Year and month, as 202611."},
			{Name: "week", Aliases: []string{"sunday_week"}, Dim: summary.DimWeek, Description: "Week of the year, 01 to 53, as Google counts: weeks begin on Sunday, and 1 January is always in week 01. For a person week is isoWeek."},
			{Name: "yearWeek", Dim: summary.DimYearWeek, Description: "Year and week, as 202648; weeks begin on Sunday."},
			{Name: "isoWeek", Aliases: []string{"week"}, Dim: summary.DimISOWeek, Description: "ISO 8601 week of the year, 01 to 53; weeks begin on Monday."},
			{Name: "isoYear", Dim: summary.DimISOYear, Description: "Year that the ISO 8601 week belongs to, as 2026."},
			{Name: "isoYearIsoWeek", Dim: summary.DimISOYearISOWeek, Description: "ISO 8601 year and week, as 202647."},
			{Name: "date", Aliases: []string{"day"}, Dim: summary.DimDate, Description: "Day of the merchant's calendar, as 20261123."},
			{Name: "day", Aliases: []string{"day_of_month"}, Dim: summary.DimDay, Description: "Day of the month, 01 to 31. For a person day is date."},
			{Name: "dayOfWeek", Aliases: []string{"weekday"}, Dim: summary.DimDayOfWeek, Description: "Day of the week, 0 (Sunday) to 6."},
			{Name: "dayOfWeekName", Aliases: []string{"weekday_name"}, Dim: summary.DimDayOfWeekName, Description: "Day of the week by its English name."},
			{Name: "dateHour", Dim: summary.DimDateHour, Description: "Day and hour of the merchant's clock, as 2026112318."},
			{Name: "hour", Dim: summary.DimHour, Description: "Hour of the day on the merchant's clock, 00 to 23."},
			{Name: "dateHourMinute", Dim: summary.DimDateHourMinute, Description: "Day, hour and minute of the merchant's clock, as 202611231859."},
			{Name: "minute", Dim: summary.DimMinute, Description: "Minute of the hour on the merchant's clock, 00 to 59."},
			{Name: "nthYear", Dim: summary.DimNthYear, Description: "Years that have begun since the start of the date range; 0000 is the first."},
			{Name: "nthMonth", Dim: summary.DimNthMonth, Description: "Months that have begun since the start of the date range; 0000 is the first."},
			{Name: "nthWeek", Dim: summary.DimNthWeek, Description: "Weeks that have begun since the start of the date range, on Sundays; 0000 is the first."},
			{Name: "nthDay", Dim: summary.DimNthDay, Description: "Days since the start of the date range; 0000 is the first."},
			{Name: "nthHour", Dim: summary.DimNthHour, Description: "Hours that have begun since the start of the date range; 0000 is the first. A day on which the clock is put has 23 or 25."},
			{Name: "nthMinute", Dim: summary.DimNthMinute, Description: "Minutes that have passed since the start of the date range; 0000 is the first."},
		}},
		{"Event", []D{
			{Name: "eventName", Aliases: []string{"event"}, Dim: summary.DimEventName, Description: "Name of the event, such as page_view."},
			{Name: "streamId", Aliases: []string{"stream"}, Dim: summary.DimStream, Description: "Measurement id of the stream that the event came from, G-…"},
			param("appVersion", "app_version", "Version of the app"),
			{Name: "isKeyEvent", Dim: summary.DimIsKeyEvent, Description: "true where the merchant has named the event a key event, else false."},
			param("contentGroup", "content_group", "Group of the content"),
			param("contentId", "content_id", "Id of the content"),
			param("contentType", "content_type", "Kind of the content"),
			param("searchTerm", "search_term", "What was searched for"),
			param("method", "method", "Way of a login, sign-up or share"),
			param("linkUrl", "link_url", "Address of a link that was clicked"),
			param("linkDomain", "link_domain", "Domain of a link that was clicked"),
			param("linkId", "link_id", "HTML id of a link that was clicked"),
			param("linkClasses", "link_classes", "HTML classes of a link that was clicked"),
			param("linkText", "link_text", "Text of a link that was clicked"),
			param("outbound", "outbound", "true where a link led away from the site"),
			param("fileName", "file_name", "Name of a downloaded file"),
			param("fileExtension", "file_extension", "Extension of a downloaded file"),
			param("percentScrolled", "percent_scrolled", "How far down a page was scrolled, in percent"),
			param("videoTitle", "video_title", "Title of a video"),
			param("videoUrl", "video_url", "Address of a video"),
			param("videoProvider", "video_provider", "Where a video is from"),
			param("visible", "visible", "true where a video was in sight"),
			param("groupId", "group_id", "Id of the group that was joined"),
			param("achievementId", "achievement_id", "Id of an achievement in a game"),
			param("character", "character", "Character in a game"),
			param("level", "level", "Level in a game"),
			param("virtualCurrencyName", "virtual_currency_name", "Name of a virtual currency"),
		}},
		{"Page", []D{
			{Name: "hostName", Aliases: []string{"host", "hostname"}, Dim: summary.DimHostname, Description: "Host name of the page."},
			{Name: "pagePath", Aliases: []string{"page", "path"}, Dim: summary.DimPagePath, Description: "Path of the page, without query."},
			{Name: "pagePathPlusQueryString", Aliases: []string{"page_query"}, Dim: summary.DimPagePathQuery, Description: "Path of the page with its query, tracking parameters removed."},
			{Name: "fullPageUrl", Aliases: []string{"url"}, Dim: summary.DimFullPageURL, Description: "Host name, path and query of the page, tracking parameters removed."},
			{Name: "pageTitle", Aliases: []string{"title"}, Dim: summary.DimPageTitle, Description: "Title of the page."},
			{Name: "pageReferrer", Aliases: []string{"referrer"}, Dim: summary.DimPageReferrer, Description: "Where the visitor came to the page from, as the browser says."},
			{Name: "unifiedScreenName", Aliases: []string{"screen_name"}, Dim: summary.DimScreenName, Description: "Title of the page, or where there is none the app's screen, from the parameter screen_name or firebase_screen."},
			{Name: "unifiedScreenClass", Dim: summary.DimScreenClass, Description: "Title of the page, or where there is none the class of the app's screen."},
			{Name: "unifiedPagePathScreen", Dim: summary.DimPathOrScreen, Description: "Path of the page, or where there is none the class of the app's screen, from the parameter screen_class or firebase_screen_class."},
			{Name: "unifiedPageScreen", Dim: summary.DimPathQueryScreen, Description: "Path of the page with its query, or where there is none the class of the app's screen."},
			{Name: "landingPage", Aliases: []string{"landing"}, Dim: summary.DimLandingPage, Scope: ScopeSession, Description: "Path of the first page of the session."},
			{Name: "landingPagePlusQueryString", Aliases: []string{"landing_query"}, Dim: summary.DimLandingPageQuery, Scope: ScopeSession, Description: "Path of the first page of the session with its query, tracking parameters removed."},
			{Name: "exitPage", Aliases: []string{"exit"}, Origin: Footfall, Dim: summary.DimExitPage, Scope: ScopeSession, Description: "Path of the last page of the session, at most 24 hours after its beginning."},
		}},
		{"Traffic source", []D{
			{Name: "sessionSource", Aliases: []string{"source"}, Dim: summary.DimSessionSource, Scope: ScopeSession, Fill: "(direct)", Description: "Where the session came from: utm_source, or the referring site; (direct) where neither is known."},
			{Name: "sessionMedium", Aliases: []string{"medium"}, Dim: summary.DimSessionMedium, Scope: ScopeSession, Fill: "(none)", Description: "How the session came: utm_medium, or organic, social, ai-assistant, referral by the referring site; (none) for direct sessions."},
			{Name: "sessionCampaignName", Aliases: []string{"campaign", "session_campaign"}, Dim: summary.DimSessionCampaign, Scope: ScopeSession, Description: "The session's campaign: utm_campaign."},
			{Name: "sessionSourceMedium", Aliases: []string{"source_medium"}, Dim: summary.DimSessionSourceMedium, Scope: ScopeSession, Fill: "(direct) / (none)", Description: "Source and medium of the session, as google / organic."},
			{Name: "sessionDefaultChannelGroup", Dim: summary.DimSessionChannel, Scope: ScopeSession, Description: "Channel of the session in Google Analytics' default channel group, worked out from source, medium and campaign: Direct, Organic Search, Paid Social, AI Assistant, …"},
			{Name: "sessionPrimaryChannelGroup", Aliases: []string{"channel"}, Dim: summary.DimSessionPrimaryChannel, Scope: ScopeSession, Description: "Channel of the session by the merchant's own channel_rules, and by the default channel group where none of them holds."},
			{Name: "sessionManualTerm", Aliases: []string{"term"}, Dim: summary.DimSessionTerm, Scope: ScopeSession, Description: "utm_term of the link that the session came by."},
			{Name: "sessionManualAdContent", Aliases: []string{"content"}, Dim: summary.DimSessionContent, Scope: ScopeSession, Description: "utm_content of the link that the session came by."},
			{Name: "firstUserSource", Aliases: []string{"first_source"}, Dim: summary.DimFirstSource, Fill: "(direct)", Description: "Source of the session in which the user was first seen in the merchant's history."},
			{Name: "firstUserMedium", Aliases: []string{"first_medium"}, Dim: summary.DimFirstMedium, Fill: "(none)", Description: "Medium of the session in which the user was first seen."},
			{Name: "firstUserSourceMedium", Aliases: []string{"first_source_medium"}, Dim: summary.DimFirstSourceMedium, Fill: "(direct) / (none)", Description: "Source and medium of the session in which the user was first seen."},
			{Name: "firstUserCampaignName", Aliases: []string{"first_campaign"}, Dim: summary.DimFirstCampaign, Description: "Campaign of the session in which the user was first seen."},
			{Name: "firstUserManualTerm", Dim: summary.DimFirstTerm, Description: "utm_term of the session in which the user was first seen."},
			{Name: "firstUserManualAdContent", Dim: summary.DimFirstContent, Description: "utm_content of the session in which the user was first seen."},
			{Name: "firstUserDefaultChannelGroup", Dim: summary.DimFirstChannel, Description: "Channel, in the default channel group, of the session in which the user was first seen."},
			{Name: "firstUserPrimaryChannelGroup", Aliases: []string{"first_channel"}, Dim: summary.DimFirstPrimaryChannel, Description: "The same by the merchant's own channel_rules first."},
			{Name: "source", Aliases: []string{"event_source"}, Dim: summary.DimSource, Description: "The event's own source, on the events that name one."},
			{Name: "medium", Aliases: []string{"event_medium"}, Dim: summary.DimMedium, Description: "The event's own medium, on the events that name one."},
			{Name: "campaignName", Aliases: []string{"event_campaign"}, Dim: summary.DimCampaign, Description: "The event's own campaign, on the events that name one."},
			{Name: "sourceMedium", Aliases: []string{"event_source_medium"}, Dim: summary.DimSourceMedium, Description: "The event's own source and medium, on the events that name one."},
			{Name: "manualTerm", Aliases: []string{"event_term"}, Dim: summary.DimTerm, Description: "The event's own utm_term."},
			{Name: "manualAdContent", Aliases: []string{"event_content"}, Dim: summary.DimContent, Description: "The event's own utm_content."},
			{Name: "defaultChannelGroup", Dim: summary.DimChannel, Description: "Channel in the default channel group by the event's own source, medium and campaign, on the events that name one."},
			{Name: "primaryChannelGroup", Aliases: []string{"event_channel"}, Dim: summary.DimPrimaryChannel, Description: "The same by the merchant's own channel_rules first."},
		}},
		{"Place", []D{
			{Name: "country", Dim: summary.DimCountryName, Description: "English name of the visitor's country."},
			{Name: "countryId", Aliases: []string{"country_code"}, Dim: summary.DimCountry, Description: "Country of the visitor, ISO 3166-1 alpha-2."},
			{Name: "continent", Dim: summary.DimContinentName, Description: "Continent of the visitor, as UN M49 divides the world."},
			{Name: "continentId", Dim: summary.DimContinent, Description: "Continent of the visitor, by its number in UN M49, such as 150."},
			{Name: "subContinent", Aliases: []string{"subcontinent"}, Origin: Footfall, Dim: summary.DimSubContinentName, Description: "Part of the continent, such as Western Europe."},
			{Name: "subContinentId", Origin: Footfall, Dim: summary.DimSubContinent, Description: "Part of the continent, by its number in UN M49, such as 155."},
			{Name: "region", Dim: summary.DimRegion, Description: "Region of the visitor, where a place database is installed or the ingress tells it."},
			{Name: "city", Dim: summary.DimCity, Description: "City of the visitor, where a place database is installed or the ingress tells it."},
			{Name: "cityId", Dim: summary.DimCityID, Since: 2, Description: "City of the visitor, by its GeoNames id, where a place database is installed that has it. (Google's ids are others.)"},
		}},
		{"Visitor", []D{
			{Name: "language", Dim: summary.DimLanguage, Description: "First language of the visitor's browser, a BCP 47 tag."},
			{Name: "languageCode", Dim: summary.DimLanguage, Description: "First language of the visitor's browser, a BCP 47 tag."},
			{Name: "firstSessionDate", Dim: summary.DimFirstDate, Description: "Day on which the user was first seen in the merchant's history, as 20261123."},
			{Name: "newVsReturning", Aliases: []string{"new_or_returning", "visitor"}, Dim: summary.DimNewVsReturning, Description: "new in the session in which a user was first seen in the merchant's history, returning in all later ones."},
		}},
		{"Device", []D{
			{Name: "platform", Dim: summary.DimPlatform, Description: "web for events of a page with a host name; others do not say where they ran."},
			{Name: "platformDeviceCategory", Dim: summary.DimPlatformDevice, Description: "Platform and kind of device, as web / mobile."},
			{Name: "deviceCategory", Aliases: []string{"device"}, Dim: summary.DimDeviceCategory, Description: "desktop, mobile, tablet, smart tv, …"},
			{Name: "mobileDeviceBranding", Aliases: []string{"device_brand"}, Dim: summary.DimDeviceBrand, Since: 2, Description: "Who makes the device, where client hints or the agent name a model: Samsung, Apple, Google, …"},
			{Name: "mobileDeviceModel", Dim: summary.DimDeviceModel, Since: 2, Description: "Model of the device as client hints, or the agents of older browsers, name it: Pixel 8, SM-S918B, iPhone."},
			{Name: "deviceModel", Aliases: []string{"device_model"}, Dim: summary.DimDeviceModel, Since: 2, Description: "The same as mobileDeviceModel."},
			{Name: "browser", Dim: summary.DimBrowser, Description: "Name of the browser, by its client hints or its agent."},
			{Name: "browserVersion", Origin: Footfall, Dim: summary.DimBrowserVersion, Description: "Version of the browser."},
			{Name: "operatingSystem", Aliases: []string{"os"}, Dim: summary.DimOS, Description: "Name of the operating system."},
			{Name: "operatingSystemVersion", Aliases: []string{"os_version"}, Dim: summary.DimOSVersion, Description: "Version of the operating system. Browsers tell Windows 11, and versions of Android and macOS, by client hints only."},
			{Name: "operatingSystemWithVersion", Dim: summary.DimOSWithVersion, Description: "Operating system and version, as Windows 11."},
			{Name: "screenResolution", Aliases: []string{"screen"}, Dim: summary.DimScreen, Description: "Size of the screen in pixels, as 1920x1080."},
		}},
		{"E-commerce", []D{
			{Name: "currencyCode", Aliases: []string{"currency"}, Dim: summary.DimCurrency, Description: "Currency that the event itself names, ISO 4217."},
			{Name: "transactionId", Aliases: []string{"transaction"}, Dim: summary.DimTransactionID, Description: "Id of the transaction."},
			{Name: "orderCoupon", Aliases: []string{"coupon"}, Dim: summary.DimOrderCoupon, Description: "Coupon of the whole order: the event's parameter coupon."},
			{Name: "shippingTier", Dim: summary.DimShippingTier, Description: "How the order is shipped, such as Ground or Next-day: the event's parameter shipping_tier."},
			{Name: "itemId", Dim: summary.DimItemID, Description: "Id of the item."},
			{Name: "itemName", Aliases: []string{"item"}, Dim: summary.DimItemName, Description: "Name of the item."},
			{Name: "itemBrand", Aliases: []string{"brand"}, Dim: summary.DimItemBrand, Description: "Brand of the item."},
			{Name: "itemVariant", Dim: summary.DimItemVariant, Description: "Variant of the item."},
			{Name: "itemCategory", Aliases: []string{"category"}, Dim: summary.DimItemCategory, Description: "First category of the item."},
			{Name: "itemCategory2", Dim: summary.DimItemCategory2, Description: "Second category of the item."},
			{Name: "itemCategory3", Dim: summary.DimItemCategory3, Description: "Third category of the item."},
			{Name: "itemCategory4", Dim: summary.DimItemCategory4, Description: "Fourth category of the item."},
			{Name: "itemCategory5", Dim: summary.DimItemCategory5, Description: "Fifth category of the item."},
			{Name: "itemListId", Dim: summary.DimItemListID, Description: "Id of the list in which the item stood: item_list_id of the item, else of the event."},
			{Name: "itemListName", Dim: summary.DimItemListName, Description: "Name of the list in which the item stood: item_list_name of the item, else of the event."},
			{Name: "itemListPosition", Since: 2, Dim: summary.DimItemListPosition, Description: "Place of the item in its list, as the item's index says."},
			{Name: "itemAffiliation", Since: 2, Dim: summary.DimItemAffiliation, Description: "Affiliation of the item, such as a partner's shop: affiliation of the item, else of the event."},
			{Name: "itemLocationID", Since: 2, Dim: summary.DimItemLocationID, Description: "Place that the item belongs to, such as a shop: location_id of the item, else of the event."},
			{Name: "itemPromotionId", Since: 2, Dim: summary.DimItemPromotionID, Description: "Id of the promotion that showed the item: promotion_id of the item, else of the event."},
			{Name: "itemPromotionName", Since: 2, Dim: summary.DimItemPromotionName, Description: "Name of the promotion: promotion_name of the item, else of the event."},
			{Name: "itemPromotionCreativeName", Since: 2, Dim: summary.DimItemCreativeName, Description: "Name of the promotion's creative: creative_name of the item, else of the event."},
			{Name: "itemPromotionCreativeSlot", Since: 2, Dim: summary.DimItemCreativeSlot, Description: "Slot of the promotion's creative: creative_slot of the item, else of the event."},
		}},
	} {
		for _, d := range group.dimensions {
			d.Category = group.category
			list = append(list, d)
		}
	}
	var taken []string
	for i := range list {
		taken = append(taken, list[i].Aliases...)
	}
	for i := range list {
		list[i].Fill = cmp.Or(list[i].Fill, NotSet)
		list[i].Scope = cmp.Or(list[i].Scope, scopeOf(list[i].Dim))
		list[i].Since, list[i].Origin = max(1, list[i].Since), origin(list[i].Origin)
		given := list[i].Aliases
		list[i].Aliases = withSnake(list[i].Name, given)
		if last := list[i].Aliases; len(last) > len(given) && slices.Contains(taken, last[len(given)]) {
			list[i].Aliases = given // another's short name wins
		}
	}
	return list
}

// scopeOf is the scope of a dimension that is not a session's.
func scopeOf(d summary.Dimension) Scope {
	switch {
	case d.IsTime():
		return ScopeTime
	case d.IsItem():
		return ScopeItem
	case d.OfFirstSeen():
		return ScopeUser
	default:
		return ScopeEvent
	}
}

// Prefixes of the names of dimensions that a merchant's own events make.
const (
	customEvent = "customEvent:"
	customUser  = "customUser:"
	maxCustom   = 100 // bytes of the name of a parameter
)

// CustomNames are what a merchant's parameter can be asked for as: a dimension
// of events or of users, or the metrics of the numbers in it.
func CustomNames(parameter string) (event, user string, metrics []string) {
	return customEvent + parameter, customUser + parameter, []string{customEvent + parameter, "averageCustomEvent:" + parameter, "countCustomEvent:" + parameter}
}

// custom is the dimension of an event's parameter or a user's property, nil
// where the name is neither.
func custom(name string) *Dimension {
	d := &Dimension{Name: name, Origin: GA4, Dim: summary.DimParam, Fill: NotSet, Category: "Custom", Since: 1}
	param, ok := strings.CutPrefix(name, customEvent)
	switch property, user := strings.CutPrefix(name, customUser); {
	case user && validParam(property):
		d.Scope, d.Param = ScopeUser, processed.UserProperty+property
		d.Description = "The user's property " + property + ", as the event itself carried it."
	case ok && validParam(param):
		d.Scope, d.Param = ScopeEvent, param
		d.Description = "The event's parameter " + param + "."
		if param == "transaction_id" { // which has a column of its own
			d.Dim, d.Param = summary.DimTransactionID, ""
		}
	default:
		return nil
	}
	return d
}

func validParam(name string) bool {
	return name != "" && len(name) <= maxCustom && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) && !strings.HasPrefix(name, processed.UserProperty)
}

// withSnake adds the snake_case form of a name, which is what the rest of
// Footfall's own API looks like.
func withSnake(name string, aliases []string) []string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	if s := b.String(); s != name {
		return append(aliases, s)
	}
	return aliases
}

// origin is the Data API's where a list says nothing else.
func origin(o Origin) Origin {
	if o == "" {
		return GA4
	}
	return o
}
