package channel

import (
	"slices"
	"strings"
)

// The channels of Google Analytics 4's default channel group.
const (
	Direct           = "Direct"
	CrossNetwork     = "Cross-network"
	PaidShopping     = "Paid Shopping"
	PaidSearch       = "Paid Search"
	PaidSocial       = "Paid Social"
	PaidVideo        = "Paid Video"
	Display          = "Display"
	PaidOther        = "Paid Other"
	AIAssistant      = "AI Assistant"
	OrganicShopping  = "Organic Shopping"
	OrganicSocial    = "Organic Social"
	OrganicVideo     = "Organic Video"
	OrganicSearch    = "Organic Search"
	Referral         = "Referral"
	Email            = "Email"
	Affiliates       = "Affiliates"
	Audio            = "Audio"
	SMS              = "SMS"
	MobilePush       = "Mobile Push Notifications"
	Unassigned       = "Unassigned"
	noSource         = "(direct)"
	noMedium         = "(none)"
	noCampaign       = "(not set)"
	crossNetworkMark = "cross-network"
)

// traffic is what a rule looks at, in lower case: "channel definitions aren't
// case sensitive".
type traffic struct {
	source, medium, campaign string
	kind                     Kind
	paid                     bool // medium matches ^(.*cp.*|ppc|retargeting|paid.*)$
	shop                     bool // campaign matches ^(.*(([^a-df-z]|^)shop|shopping).*)$
}

// defaults are the rules for manual traffic of "[GA4] Default channel group",
// https://support.google.com/analytics/answer/9756891, in the order in which
// Google Analytics tries them (that of the group in its settings). What stands
// behind each is that page's own condition. Rules about the networks of Google's
// own advertising products are not among them: only Google knows those.
// AI Assistant was added on 13 May 2026 (https://support.google.com/analytics/answer/9164320).
var defaults = [...]struct {
	channel string
	holds   func(t *traffic) bool
}{
	// Source exactly matches "(direct)" AND Medium is one of ("(not set)", "(none)")
	{Direct, func(t *traffic) bool {
		return t.source == noSource && (t.medium == noMedium || t.medium == noCampaign)
	}},
	// Campaign Name contains "cross-network"
	{CrossNetwork, func(t *traffic) bool { return strings.Contains(t.campaign, crossNetworkMark) }},
	// (Source matches a list of shopping sites OR Campaign Name matches regex
	// ^(.*(([^a-df-z]|^)shop|shopping).*)$) AND Medium matches regex ^(.*cp.*|ppc|retargeting|paid.*)$
	{PaidShopping, func(t *traffic) bool { return t.paid && (t.kind == Shopping || t.shop) }},
	// Source matches a list of search sites AND Medium matches the same regex
	{PaidSearch, func(t *traffic) bool { return t.paid && t.kind == Search }},
	// Source matches a list of social sites AND Medium matches the same regex
	{PaidSocial, func(t *traffic) bool { return t.paid && t.kind == Social }},
	// Source matches a list of video sites AND Medium matches the same regex
	{PaidVideo, func(t *traffic) bool { return t.paid && t.kind == Video }},
	// Medium is one of ("display", "banner", "expandable", "interstitial", "cpm")
	{Display, func(t *traffic) bool {
		return among(t.medium, "display", "banner", "expandable", "interstitial", "cpm")
	}},
	// Medium matches regex ^(.*cp.*|ppc|retargeting|paid.*)$
	{PaidOther, func(t *traffic) bool { return t.paid }},
	// Medium exactly matches "ai-assistant"
	{AIAssistant, func(t *traffic) bool { return t.medium == MediumAI }},
	// Source matches a list of shopping sites OR Campaign name matches regex
	// ^(.*(([^a-df-z]|^)shop|shopping).*)$
	{OrganicShopping, func(t *traffic) bool { return t.kind == Shopping || t.shop }},
	// Source matches a regex list of social sites OR Medium is one of
	// ("social", "social-network", "social-media", "sm", "social network", "social media")
	{OrganicSocial, func(t *traffic) bool {
		return t.kind == Social || among(t.medium, "social", "social-network", "social-media", "sm", "social network", "social media")
	}},
	// Source matches a list of video sites OR Medium matches regex ^(.*video.*)$
	{OrganicVideo, func(t *traffic) bool { return t.kind == Video || strings.Contains(t.medium, "video") }},
	// Source matches a list of search sites OR Medium exactly matches organic
	{OrganicSearch, func(t *traffic) bool { return t.kind == Search || t.medium == "organic" }},
	// Medium is one of ("referral", "app", or "link")
	{Referral, func(t *traffic) bool { return among(t.medium, "referral", "app", "link") }},
	// Source = email|e-mail|e_mail|e mail OR Medium = email|e-mail|e_mail|e mail
	{Email, func(t *traffic) bool {
		return among(t.source, "email", "e-mail", "e_mail", "e mail") || among(t.medium, "email", "e-mail", "e_mail", "e mail")
	}},
	// Medium = affiliate|affiliates
	{Affiliates, func(t *traffic) bool { return among(t.medium, "affiliate", "affiliates") }},
	// Medium exactly matches audio
	{Audio, func(t *traffic) bool { return t.medium == "audio" }},
	// Source exactly matches sms OR Medium exactly matches sms
	{SMS, func(t *traffic) bool { return t.source == "sms" || t.medium == "sms" }},
	// Medium ends with "push" OR Medium contains "mobile" or "notification" OR
	// Source exactly matches "firebase"
	{MobilePush, func(t *traffic) bool {
		return strings.HasSuffix(t.medium, "push") || strings.Contains(t.medium, "mobile") ||
			strings.Contains(t.medium, "notification") || t.source == "firebase"
	}},
}

// Default is the channel of a source, medium and campaign in Google Analytics'
// default channel group. "" is what is absent.
func Default(source, medium, campaign string) string {
	t := trafficOf(source, medium, campaign)
	return t.channel()
}

func trafficOf(source, medium, campaign string) traffic {
	t := traffic{source: lower(source, noSource), medium: lower(medium, noMedium), campaign: lower(campaign, noCampaign)}
	t.kind = Known().Kind(t.source)
	t.paid = strings.Contains(t.medium, "cp") || t.medium == "ppc" || t.medium == "retargeting" || strings.HasPrefix(t.medium, "paid")
	t.shop = namesShop(t.campaign)
	return t
}

func lower(s, absent string) string {
	if s == "" {
		return absent
	}
	return strings.ToLower(s)
}

func (t *traffic) channel() string {
	for i := range defaults {
		if defaults[i].holds(t) {
			return defaults[i].channel
		}
	}
	return Unassigned
}

// namesShop reports whether a campaign, in lower case, matches
// ^(.*(([^a-df-z]|^)shop|shopping).*)$: "shop" is not to be the end of a word
// such as "bishop", but may follow an e, as in "eshop".
func namesShop(campaign string) bool {
	for rest := campaign; ; {
		i := strings.Index(rest, "shop")
		if i < 0 {
			return false
		}
		at := len(campaign) - len(rest) + i
		if at == 0 || campaign[at-1] == 'e' || campaign[at-1] < 'a' || campaign[at-1] > 'z' || strings.HasPrefix(rest[i:], "shopping") {
			return true
		}
		rest = rest[i+len("shop"):]
	}
}

func among(s string, list ...string) bool {
	return slices.Contains(list, s)
}
