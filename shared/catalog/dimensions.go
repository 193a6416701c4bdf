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
}

// Key is what summary groups by.
func (d *Dimension) Key() summary.Key { return summary.Key{Dim: d.Dim, Param: d.Param} }

// Show is the value as it stands in answers, and as filters see it.
func (d *Dimension) Show(value string) string {
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
	list := []D{
		{Name: "year", Dim: summary.DimYear, Scope: ScopeTime, Category: "Time", Description: "Year of the merchant's calendar, as 2026."},
		{Name: "month", Dim: summary.DimMonth, Scope: ScopeTime, Category: "Time", Description: "Month of the year, 01 to 12."},
		{Name: "yearMonth", Dim: summary.DimYearMonth, Scope: ScopeTime, Category: "Time", Description: "Year and month, as 202611."},
		{Name: "week", Aliases: []string{"sunday_week"}, Dim: summary.DimWeek, Scope: ScopeTime, Category: "Time", Description: "Week of the year, 01 to 53, as Google counts: weeks begin on Sunday, and 1 January is always in week 01. For a person week is isoWeek."},
		{Name: "yearWeek", Dim: summary.DimYearWeek, Scope: ScopeTime, Category: "Time", Description: "Year and week, as 202648; weeks begin on Sunday."},
		{Name: "isoWeek", Aliases: []string{"week"}, Dim: summary.DimISOWeek, Scope: ScopeTime, Category: "Time", Description: "ISO 8601 week of the year, 01 to 53; weeks begin on Monday."},
		{Name: "isoYear", Dim: summary.DimISOYear, Scope: ScopeTime, Category: "Time", Description: "Year that the ISO 8601 week belongs to, as 2026."},
		{Name: "isoYearIsoWeek", Dim: summary.DimISOYearISOWeek, Scope: ScopeTime, Category: "Time", Description: "ISO 8601 year and week, as 202647."},
		{Name: "date", Aliases: []string{"day"}, Dim: summary.DimDate, Scope: ScopeTime, Category: "Time", Description: "Day of the merchant's calendar, as 20261123."},
		{Name: "day", Aliases: []string{"day_of_month"}, Dim: summary.DimDay, Scope: ScopeTime, Category: "Time", Description: "Day of the month, 01 to 31. For a person day is date."},
		{Name: "dayOfWeek", Aliases: []string{"weekday"}, Dim: summary.DimDayOfWeek, Scope: ScopeTime, Category: "Time", Description: "Day of the week, 0 (Sunday) to 6."},
		{Name: "dayOfWeekName", Aliases: []string{"weekday_name"}, Dim: summary.DimDayOfWeekName, Scope: ScopeTime, Category: "Time", Description: "Day of the week by its English name."},
		{Name: "dateHour", Dim: summary.DimDateHour, Scope: ScopeTime, Category: "Time", Description: "Day and hour of the merchant's clock, as 2026112318."},
		{Name: "hour", Dim: summary.DimHour, Scope: ScopeTime, Category: "Time", Description: "Hour of the day on the merchant's clock, 00 to 23."},
		{Name: "dateHourMinute", Dim: summary.DimDateHourMinute, Scope: ScopeTime, Category: "Time", Description: "Day, hour and minute of the merchant's clock, as 202611231859."},
		{Name: "minute", Dim: summary.DimMinute, Scope: ScopeTime, Category: "Time", Description: "Minute of the hour on the merchant's clock, 00 to 59."},
		{Name: "nthYear", Dim: summary.DimNthYear, Scope: ScopeTime, Category: "Time", Description: "Years that have begun since the start of the date range; 0000 is the first."},
		{Name: "nthMonth", Dim: summary.DimNthMonth, Scope: ScopeTime, Category: "Time", Description: "Months that have begun since the start of the date range; 0000 is the first."},
		{Name: "nthWeek", Dim: summary.DimNthWeek, Scope: ScopeTime, Category: "Time", Description: "Weeks that have begun since the start of the date range, on Sundays; 0000 is the first."},
		{Name: "nthDay", Dim: summary.DimNthDay, Scope: ScopeTime, Category: "Time", Description: "Days since the start of the date range; 0000 is the first."},
		{Name: "nthHour", Dim: summary.DimNthHour, Scope: ScopeTime, Category: "Time", Description: "Hours that have begun since the start of the date range; 0000 is the first. A day on which the clock is put has 23 or 25."},
		{Name: "nthMinute", Dim: summary.DimNthMinute, Scope: ScopeTime, Category: "Time", Description: "Minutes that have passed since the start of the date range; 0000 is the first."},

		{Name: "eventName", Aliases: []string{"event"}, Dim: summary.DimEventName, Scope: ScopeEvent, Category: "Event", Description: "Name of the event, such as page_view."},
		{Name: "streamId", Aliases: []string{"stream"}, Dim: summary.DimStream, Scope: ScopeEvent, Category: "Event", Description: "Measurement id of the stream that the event came from, G-…"},
		{Name: "appVersion", Dim: summary.DimParam, Param: "app_version", Scope: ScopeEvent, Category: "Event", Description: "Version of the app: the event's parameter app_version."},
		{Name: "isKeyEvent", Dim: summary.DimIsKeyEvent, Scope: ScopeEvent, Category: "Event", Description: "true where the merchant has named the event a key event, else false."},
		{Name: "contentGroup", Dim: summary.DimParam, Param: "content_group", Scope: ScopeEvent, Category: "Event", Description: "Group of the content: the event's parameter content_group."},
		{Name: "contentId", Dim: summary.DimParam, Param: "content_id", Scope: ScopeEvent, Category: "Event", Description: "Id of the content: the event's parameter content_id."},
		{Name: "contentType", Dim: summary.DimParam, Param: "content_type", Scope: ScopeEvent, Category: "Event", Description: "Kind of the content: the event's parameter content_type."},
		{Name: "searchTerm", Dim: summary.DimParam, Param: "search_term", Scope: ScopeEvent, Category: "Event", Description: "What was searched for: the event's parameter search_term."},
		{Name: "method", Dim: summary.DimParam, Param: "method", Scope: ScopeEvent, Category: "Event", Description: "Way of a login, sign-up or share: the event's parameter method."},
		{Name: "linkUrl", Dim: summary.DimParam, Param: "link_url", Scope: ScopeEvent, Category: "Event", Description: "Address of a link that was clicked: the event's parameter link_url."},
		{Name: "linkDomain", Dim: summary.DimParam, Param: "link_domain", Scope: ScopeEvent, Category: "Event", Description: "Domain of a link that was clicked: the event's parameter link_domain."},
		{Name: "linkId", Dim: summary.DimParam, Param: "link_id", Scope: ScopeEvent, Category: "Event", Description: "HTML id of a link that was clicked: the event's parameter link_id."},
		{Name: "linkClasses", Dim: summary.DimParam, Param: "link_classes", Scope: ScopeEvent, Category: "Event", Description: "HTML classes of a link that was clicked: the event's parameter link_classes."},
		{Name: "linkText", Dim: summary.DimParam, Param: "link_text", Scope: ScopeEvent, Category: "Event", Description: "Text of a link that was clicked: the event's parameter link_text."},
		{Name: "outbound", Dim: summary.DimParam, Param: "outbound", Scope: ScopeEvent, Category: "Event", Description: "true where a link led away from the site: the event's parameter outbound."},
		{Name: "fileName", Dim: summary.DimParam, Param: "file_name", Scope: ScopeEvent, Category: "Event", Description: "Name of a downloaded file: the event's parameter file_name."},
		{Name: "fileExtension", Dim: summary.DimParam, Param: "file_extension", Scope: ScopeEvent, Category: "Event", Description: "Extension of a downloaded file: the event's parameter file_extension."},
		{Name: "percentScrolled", Dim: summary.DimParam, Param: "percent_scrolled", Scope: ScopeEvent, Category: "Event", Description: "How far down a page was scrolled, in percent: the event's parameter percent_scrolled."},
		{Name: "videoTitle", Dim: summary.DimParam, Param: "video_title", Scope: ScopeEvent, Category: "Event", Description: "Title of a video: the event's parameter video_title."},
		{Name: "videoUrl", Dim: summary.DimParam, Param: "video_url", Scope: ScopeEvent, Category: "Event", Description: "Address of a video: the event's parameter video_url."},
		{Name: "videoProvider", Dim: summary.DimParam, Param: "video_provider", Scope: ScopeEvent, Category: "Event", Description: "Where a video is from: the event's parameter video_provider."},
		{Name: "visible", Dim: summary.DimParam, Param: "visible", Scope: ScopeEvent, Category: "Event", Description: "true where a video was in sight: the event's parameter visible."},
		{Name: "groupId", Dim: summary.DimParam, Param: "group_id", Scope: ScopeEvent, Category: "Event", Description: "Id of the group that was joined: the event's parameter group_id."},
		{Name: "achievementId", Dim: summary.DimParam, Param: "achievement_id", Scope: ScopeEvent, Category: "Event", Description: "Id of an achievement in a game: the event's parameter achievement_id."},
		{Name: "character", Dim: summary.DimParam, Param: "character", Scope: ScopeEvent, Category: "Event", Description: "Character in a game: the event's parameter character."},
		{Name: "level", Dim: summary.DimParam, Param: "level", Scope: ScopeEvent, Category: "Event", Description: "Level in a game: the event's parameter level."},
		{Name: "virtualCurrencyName", Dim: summary.DimParam, Param: "virtual_currency_name", Scope: ScopeEvent, Category: "Event", Description: "Name of a virtual currency: the event's parameter virtual_currency_name."},

		{Name: "hostName", Aliases: []string{"host", "hostname"}, Dim: summary.DimHostname, Scope: ScopeEvent, Category: "Page", Description: "Host name of the page."},
		{Name: "pagePath", Aliases: []string{"page", "path"}, Dim: summary.DimPagePath, Scope: ScopeEvent, Category: "Page", Description: "Path of the page, without query."},
		{Name: "pagePathPlusQueryString", Aliases: []string{"page_query"}, Dim: summary.DimPagePathQuery, Scope: ScopeEvent, Category: "Page", Description: "Path of the page with its query, tracking parameters removed."},
		{Name: "fullPageUrl", Aliases: []string{"url"}, Dim: summary.DimFullPageURL, Scope: ScopeEvent, Category: "Page", Description: "Host name, path and query of the page, tracking parameters removed."},
		{Name: "pageTitle", Aliases: []string{"title"}, Dim: summary.DimPageTitle, Scope: ScopeEvent, Category: "Page", Description: "Title of the page."},
		{Name: "pageReferrer", Aliases: []string{"referrer"}, Dim: summary.DimPageReferrer, Scope: ScopeEvent, Category: "Page", Description: "Where the visitor came to the page from, as the browser says."},
		{Name: "unifiedScreenName", Aliases: []string{"screen_name"}, Dim: summary.DimScreenName, Scope: ScopeEvent, Category: "Page", Description: "Title of the page, or where there is none the app's screen, from the parameter screen_name or firebase_screen."},
		{Name: "unifiedScreenClass", Dim: summary.DimScreenClass, Scope: ScopeEvent, Category: "Page", Description: "Title of the page, or where there is none the class of the app's screen."},
		{Name: "unifiedPagePathScreen", Dim: summary.DimPathOrScreen, Scope: ScopeEvent, Category: "Page", Description: "Path of the page, or where there is none the class of the app's screen, from the parameter screen_class or firebase_screen_class."},
		{Name: "unifiedPageScreen", Dim: summary.DimPathQueryScreen, Scope: ScopeEvent, Category: "Page", Description: "Path of the page with its query, or where there is none the class of the app's screen."},
		{Name: "landingPage", Aliases: []string{"landing"}, Dim: summary.DimLandingPage, Scope: ScopeSession, Category: "Page", Description: "Path of the first page of the session."},
		{Name: "landingPagePlusQueryString", Aliases: []string{"landing_query"}, Dim: summary.DimLandingPageQuery, Scope: ScopeSession, Category: "Page", Description: "Path of the first page of the session with its query, tracking parameters removed."},
		{Name: "exitPage", Aliases: []string{"exit"}, Origin: Footfall, Dim: summary.DimExitPage, Scope: ScopeSession, Category: "Page", Description: "Path of the last page of the session, at most 24 hours after its beginning."},

		{Name: "sessionSource", Aliases: []string{"source"}, Dim: summary.DimSessionSource, Scope: ScopeSession, Fill: "(direct)", Category: "Traffic source", Description: "Where the session came from: utm_source, or the referring site; (direct) where neither is known."},
		{Name: "sessionMedium", Aliases: []string{"medium"}, Dim: summary.DimSessionMedium, Scope: ScopeSession, Fill: "(none)", Category: "Traffic source", Description: "How the session came: utm_medium, or organic, social, ai-assistant, referral by the referring site; (none) for direct sessions."},
		{Name: "sessionCampaignName", Aliases: []string{"campaign", "session_campaign"}, Dim: summary.DimSessionCampaign, Scope: ScopeSession, Category: "Traffic source", Description: "The session's campaign: utm_campaign."},
		{Name: "sessionSourceMedium", Aliases: []string{"source_medium"}, Dim: summary.DimSessionSourceMedium, Scope: ScopeSession, Fill: "(direct) / (none)", Category: "Traffic source", Description: "Source and medium of the session, as google / organic."},
		{Name: "sessionDefaultChannelGroup", Dim: summary.DimSessionChannel, Scope: ScopeSession, Category: "Traffic source", Description: "Channel of the session in Google Analytics' default channel group, worked out from source, medium and campaign: Direct, Organic Search, Paid Social, AI Assistant, …"},
		{Name: "sessionPrimaryChannelGroup", Aliases: []string{"channel"}, Dim: summary.DimSessionPrimaryChannel, Scope: ScopeSession, Category: "Traffic source", Description: "Channel of the session by the merchant's own channel_rules, and by the default channel group where none of them holds."},
		{Name: "sessionManualTerm", Aliases: []string{"term"}, Dim: summary.DimSessionTerm, Scope: ScopeSession, Category: "Traffic source", Description: "utm_term of the link that the session came by."},
		{Name: "sessionManualAdContent", Aliases: []string{"content"}, Dim: summary.DimSessionContent, Scope: ScopeSession, Category: "Traffic source", Description: "utm_content of the link that the session came by."},
		{Name: "firstUserSource", Aliases: []string{"first_source"}, Dim: summary.DimFirstSource, Fill: "(direct)", Scope: ScopeUser, Category: "Traffic source", Description: "Source of the session in which the user was first seen in the merchant's history."},
		{Name: "firstUserMedium", Aliases: []string{"first_medium"}, Dim: summary.DimFirstMedium, Fill: "(none)", Scope: ScopeUser, Category: "Traffic source", Description: "Medium of the session in which the user was first seen."},
		{Name: "firstUserSourceMedium", Aliases: []string{"first_source_medium"}, Dim: summary.DimFirstSourceMedium, Fill: "(direct) / (none)", Scope: ScopeUser, Category: "Traffic source", Description: "Source and medium of the session in which the user was first seen."},
		{Name: "firstUserCampaignName", Aliases: []string{"first_campaign"}, Dim: summary.DimFirstCampaign, Scope: ScopeUser, Category: "Traffic source", Description: "Campaign of the session in which the user was first seen."},
		{Name: "firstUserManualTerm", Dim: summary.DimFirstTerm, Scope: ScopeUser, Category: "Traffic source", Description: "utm_term of the session in which the user was first seen."},
		{Name: "firstUserManualAdContent", Dim: summary.DimFirstContent, Scope: ScopeUser, Category: "Traffic source", Description: "utm_content of the session in which the user was first seen."},
		{Name: "firstUserDefaultChannelGroup", Dim: summary.DimFirstChannel, Scope: ScopeUser, Category: "Traffic source", Description: "Channel, in the default channel group, of the session in which the user was first seen."},
		{Name: "firstUserPrimaryChannelGroup", Aliases: []string{"first_channel"}, Dim: summary.DimFirstPrimaryChannel, Scope: ScopeUser, Category: "Traffic source", Description: "The same by the merchant's own channel_rules first."},
		{Name: "source", Aliases: []string{"event_source"}, Dim: summary.DimSource, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own source, on the events that name one."},
		{Name: "medium", Aliases: []string{"event_medium"}, Dim: summary.DimMedium, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own medium, on the events that name one."},
		{Name: "campaignName", Aliases: []string{"event_campaign"}, Dim: summary.DimCampaign, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own campaign, on the events that name one."},
		{Name: "sourceMedium", Aliases: []string{"event_source_medium"}, Dim: summary.DimSourceMedium, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own source and medium, on the events that name one."},
		{Name: "manualTerm", Aliases: []string{"event_term"}, Dim: summary.DimTerm, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own utm_term."},
		{Name: "manualAdContent", Aliases: []string{"event_content"}, Dim: summary.DimContent, Scope: ScopeEvent, Category: "Traffic source", Description: "The event's own utm_content."},
		{Name: "defaultChannelGroup", Dim: summary.DimChannel, Scope: ScopeEvent, Category: "Traffic source", Description: "Channel in the default channel group by the event's own source, medium and campaign, on the events that name one."},
		{Name: "primaryChannelGroup", Aliases: []string{"event_channel"}, Dim: summary.DimPrimaryChannel, Scope: ScopeEvent, Category: "Traffic source", Description: "The same by the merchant's own channel_rules first."},

		{Name: "country", Dim: summary.DimCountryName, Scope: ScopeEvent, Category: "Place", Description: "English name of the visitor's country."},
		{Name: "countryId", Aliases: []string{"country_code"}, Dim: summary.DimCountry, Scope: ScopeEvent, Category: "Place", Description: "Country of the visitor, ISO 3166-1 alpha-2."},
		{Name: "continent", Dim: summary.DimContinentName, Scope: ScopeEvent, Category: "Place", Description: "Continent of the visitor, as UN M49 divides the world."},
		{Name: "continentId", Dim: summary.DimContinent, Scope: ScopeEvent, Category: "Place", Description: "Continent of the visitor, by its number in UN M49, such as 150."},
		{Name: "subContinent", Aliases: []string{"subcontinent"}, Origin: Footfall, Dim: summary.DimSubContinentName, Scope: ScopeEvent, Category: "Place", Description: "Part of the continent, such as Western Europe."},
		{Name: "subContinentId", Origin: Footfall, Dim: summary.DimSubContinent, Scope: ScopeEvent, Category: "Place", Description: "Part of the continent, by its number in UN M49, such as 155."},
		{Name: "region", Dim: summary.DimRegion, Scope: ScopeEvent, Category: "Place", Description: "Region of the visitor, where a place database is installed or the ingress tells it."},
		{Name: "city", Dim: summary.DimCity, Scope: ScopeEvent, Category: "Place", Description: "City of the visitor, where a place database is installed or the ingress tells it."},
		{Name: "cityId", Dim: summary.DimCityID, Since: 2, Scope: ScopeEvent, Category: "Place", Description: "City of the visitor, by its GeoNames id, where a place database is installed that has it. (Google's ids are others.)"},
		{Name: "language", Dim: summary.DimLanguage, Scope: ScopeEvent, Category: "Visitor", Description: "First language of the visitor's browser, a BCP 47 tag."},
		{Name: "languageCode", Dim: summary.DimLanguage, Scope: ScopeEvent, Category: "Visitor", Description: "First language of the visitor's browser, a BCP 47 tag."},
		{Name: "firstSessionDate", Dim: summary.DimFirstDate, Scope: ScopeUser, Category: "Visitor", Description: "Day on which the user was first seen in the merchant's history, as 20261123."},
		{Name: "newVsReturning", Aliases: []string{"new_or_returning", "visitor"}, Dim: summary.DimNewVsReturning, Scope: ScopeUser, Category: "Visitor", Description: "new in the session in which a user was first seen in the merchant's history, returning in all later ones."},

		{Name: "platform", Dim: summary.DimPlatform, Scope: ScopeEvent, Category: "Device", Description: "web for events of a page with a host name; others do not say where they ran."},
		{Name: "platformDeviceCategory", Dim: summary.DimPlatformDevice, Scope: ScopeEvent, Category: "Device", Description: "Platform and kind of device, as web / mobile."},
		{Name: "deviceCategory", Aliases: []string{"device"}, Dim: summary.DimDeviceCategory, Scope: ScopeEvent, Category: "Device", Description: "desktop, mobile, tablet, smart tv, …"},
		{Name: "mobileDeviceBranding", Aliases: []string{"device_brand"}, Dim: summary.DimDeviceBrand, Since: 2, Scope: ScopeEvent, Category: "Device", Description: "Who makes the device, where client hints or the agent name a model: Samsung, Apple, Google, …"},
		{Name: "mobileDeviceModel", Dim: summary.DimDeviceModel, Since: 2, Scope: ScopeEvent, Category: "Device", Description: "Model of the device as client hints, or the agents of older browsers, name it: Pixel 8, SM-S918B, iPhone."},
		{Name: "deviceModel", Aliases: []string{"device_model"}, Dim: summary.DimDeviceModel, Since: 2, Scope: ScopeEvent, Category: "Device", Description: "The same as mobileDeviceModel."},
		{Name: "browser", Dim: summary.DimBrowser, Scope: ScopeEvent, Category: "Device", Description: "Name of the browser, by its client hints or its agent."},
		{Name: "browserVersion", Origin: Footfall, Dim: summary.DimBrowserVersion, Scope: ScopeEvent, Category: "Device", Description: "Version of the browser."},
		{Name: "operatingSystem", Aliases: []string{"os"}, Dim: summary.DimOS, Scope: ScopeEvent, Category: "Device", Description: "Name of the operating system."},
		{Name: "operatingSystemVersion", Aliases: []string{"os_version"}, Dim: summary.DimOSVersion, Scope: ScopeEvent, Category: "Device", Description: "Version of the operating system. Browsers tell Windows 11, and versions of Android and macOS, by client hints only."},
		{Name: "operatingSystemWithVersion", Dim: summary.DimOSWithVersion, Scope: ScopeEvent, Category: "Device", Description: "Operating system and version, as Windows 11."},
		{Name: "screenResolution", Aliases: []string{"screen"}, Dim: summary.DimScreen, Scope: ScopeEvent, Category: "Device", Description: "Size of the screen in pixels, as 1920x1080."},

		{Name: "currencyCode", Aliases: []string{"currency"}, Dim: summary.DimCurrency, Scope: ScopeEvent, Category: "E-commerce", Description: "Currency that the event itself names, ISO 4217."},
		{Name: "transactionId", Aliases: []string{"transaction"}, Dim: summary.DimTransactionID, Scope: ScopeEvent, Category: "E-commerce", Description: "Id of the transaction."},
		{Name: "orderCoupon", Aliases: []string{"coupon"}, Dim: summary.DimOrderCoupon, Scope: ScopeEvent, Category: "E-commerce", Description: "Coupon of the whole order: the event's parameter coupon."},
		{Name: "shippingTier", Dim: summary.DimShippingTier, Scope: ScopeEvent, Category: "E-commerce", Description: "How the order is shipped, such as Ground or Next-day: the event's parameter shipping_tier."},
		{Name: "itemId", Dim: summary.DimItemID, Scope: ScopeItem, Category: "E-commerce", Description: "Id of the item."},
		{Name: "itemName", Aliases: []string{"item"}, Dim: summary.DimItemName, Scope: ScopeItem, Category: "E-commerce", Description: "Name of the item."},
		{Name: "itemBrand", Aliases: []string{"brand"}, Dim: summary.DimItemBrand, Scope: ScopeItem, Category: "E-commerce", Description: "Brand of the item."},
		{Name: "itemVariant", Dim: summary.DimItemVariant, Scope: ScopeItem, Category: "E-commerce", Description: "Variant of the item."},
		{Name: "itemCategory", Aliases: []string{"category"}, Dim: summary.DimItemCategory, Scope: ScopeItem, Category: "E-commerce", Description: "First category of the item."},
		{Name: "itemCategory2", Dim: summary.DimItemCategory2, Scope: ScopeItem, Category: "E-commerce", Description: "Second category of the item."},
		{Name: "itemCategory3", Dim: summary.DimItemCategory3, Scope: ScopeItem, Category: "E-commerce", Description: "Third category of the item."},
		{Name: "itemCategory4", Dim: summary.DimItemCategory4, Scope: ScopeItem, Category: "E-commerce", Description: "Fourth category of the item."},
		{Name: "itemCategory5", Dim: summary.DimItemCategory5, Scope: ScopeItem, Category: "E-commerce", Description: "Fifth category of the item."},
		{Name: "itemListId", Dim: summary.DimItemListID, Scope: ScopeItem, Category: "E-commerce", Description: "Id of the list in which the item stood: item_list_id of the item, else of the event."},
		{Name: "itemListName", Dim: summary.DimItemListName, Scope: ScopeItem, Category: "E-commerce", Description: "Name of the list in which the item stood: item_list_name of the item, else of the event."},
		{Name: "itemListPosition", Since: 2, Dim: summary.DimItemListPosition, Scope: ScopeItem, Category: "E-commerce", Description: "Place of the item in its list, as the item's index says."},
		{Name: "itemAffiliation", Since: 2, Dim: summary.DimItemAffiliation, Scope: ScopeItem, Category: "E-commerce", Description: "Affiliation of the item, such as a partner's shop: affiliation of the item, else of the event."},
		{Name: "itemLocationID", Since: 2, Dim: summary.DimItemLocationID, Scope: ScopeItem, Category: "E-commerce", Description: "Place that the item belongs to, such as a shop: location_id of the item, else of the event."},
		{Name: "itemPromotionId", Since: 2, Dim: summary.DimItemPromotionID, Scope: ScopeItem, Category: "E-commerce", Description: "Id of the promotion that showed the item: promotion_id of the item, else of the event."},
		{Name: "itemPromotionName", Since: 2, Dim: summary.DimItemPromotionName, Scope: ScopeItem, Category: "E-commerce", Description: "Name of the promotion: promotion_name of the item, else of the event."},
		{Name: "itemPromotionCreativeName", Since: 2, Dim: summary.DimItemCreativeName, Scope: ScopeItem, Category: "E-commerce", Description: "Name of the promotion's creative: creative_name of the item, else of the event."},
		{Name: "itemPromotionCreativeSlot", Since: 2, Dim: summary.DimItemCreativeSlot, Scope: ScopeItem, Category: "E-commerce", Description: "Slot of the promotion's creative: creative_slot of the item, else of the event."},
	}
	var taken []string
	for i := range list {
		taken = append(taken, list[i].Aliases...)
	}
	for i := range list {
		if list[i].Fill == "" {
			list[i].Fill = NotSet
		}
		list[i].Since, list[i].Origin = max(1, list[i].Since), origin(list[i].Origin)
		given := list[i].Aliases
		list[i].Aliases = withSnake(list[i].Name, given)
		if last := list[i].Aliases; len(last) > len(given) && slices.Contains(taken, last[len(given)]) {
			list[i].Aliases = given // another's short name wins
		}
	}
	return list
}

// Prefixes of the names of dimensions that a merchant's own events make.
const (
	customEvent = "customEvent:"
	customUser  = "customUser:"
	maxCustom   = 100 // bytes of the name of a parameter
)

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
