package laws

import (
	"cmp"
	"regexp"
	"strings"
	"testing"
)

// channels are what the links and referrers of these tests come to in Google's
// default channel group, as a person reads support.google.com/analytics/answer/9756891.
var channels = map[source]string{
	{}: "Direct",
	{source: "google", medium: "cpc", campaign: "spring"}:            "Paid Search",
	{source: "google", medium: "cpc", campaign: "brand"}:             "Paid Search",
	{source: "google", medium: "cpc", campaign: "cross-network 7"}:   "Cross-network",
	{source: "google", medium: "cpc"}:                                "Paid Search",
	{source: "bing", medium: "cpc"}:                                  "Paid Search",
	{source: "google", medium: "(not set)"}:                          "Organic Search",
	{source: "google", medium: "organic"}:                            "Organic Search",
	{source: "duckduckgo", medium: "organic"}:                        "Organic Search",
	{source: "bing", medium: "organic"}:                              "Organic Search",
	{source: "newsletter", medium: "email", campaign: "spring sale"}: "Email",
	{source: "facebook", medium: "social"}:                           "Organic Social",
	{source: "twitter", medium: "social"}:                            "Organic Social",
	{source: "instagram", medium: "paid_social", campaign: "teens"}:  "Paid Social",
	{source: "adnet", medium: "banner", campaign: "Summer eShop"}:    "Display",
	{source: "leaflet", medium: "qr", campaign: "workshop"}:          "Unassigned",
	{source: "leaflet", medium: "qr", campaign: "Pop-up shop"}:       "Organic Shopping",
	{source: "partner", medium: "(not set)"}:                         "Unassigned",
	{source: "(not set)", medium: "affiliate"}:                       "Affiliates",
	{source: "(not set)", medium: "(not set)", campaign: "lonely"}:   "Unassigned",
	{source: "news.example.org", medium: "referral"}:                 "Referral",
	{source: "shop.example", medium: "referral"}:                     "Referral",
	{source: "other.example", medium: "referral"}:                    "Referral",
	{source: "app", medium: "web push", campaign: "come back"}:       "Mobile Push Notifications",
}

// channelRule gives a channel to what meets all its conditions.
type channelRule struct {
	Channel string             `json:"channel"`
	When    []channelCondition `json:"when"`
}

type channelCondition struct {
	Field    string `json:"field"`
	Is       string `json:"is,omitempty"`
	Contains string `json:"contains,omitempty"`
	Begins   string `json:"begins,omitempty"`
	Regexp   string `json:"regexp,omitempty"`
}

// ownRules are rules that a merchant may have.
var ownRules = [][]channelRule{
	{},
	{{"Letters", []channelCondition{{Field: "source", Is: "NEWSLETTER"}}}, {"Season", []channelCondition{{Field: "campaign", Begins: "sp"}, {Field: "medium", Contains: "cp"}}}},
	{{"Typed", []channelCondition{{Field: "medium", Is: "(none)"}}}, {"Unnamed", []channelCondition{{Field: "campaign", Is: "(not set)"}, {Field: "source", Regexp: "^(google|bing)$"}}}},
}

func defaultChannel(t testing.TB, s source) string {
	t.Helper()
	s.term, s.content = "", ""
	c, ok := channels[s]
	if !ok {
		t.Fatalf("no definition of the channel of %+v", s)
	}
	return c
}

// ownChannel tries the merchant's rules first.
func (n *naive) ownChannel(t testing.TB, s source) string {
	t.Helper()
	shown := map[string]string{"source": cmp.Or(s.source, "(direct)"), "medium": cmp.Or(s.medium, "(none)"), "campaign": cmp.Or(s.campaign, "(not set)")}
	for _, rule := range n.settings.ChannelRules {
		all := true
		for _, c := range rule.When {
			text, low := shown[c.Field], strings.ToLower(shown[c.Field])
			switch {
			case c.Is != "":
				all = all && strings.EqualFold(text, c.Is)
			case c.Contains != "":
				all = all && strings.Contains(low, strings.ToLower(c.Contains))
			case c.Begins != "":
				all = all && strings.HasPrefix(low, strings.ToLower(c.Begins))
			default:
				all = all && regexp.MustCompile("(?i)"+c.Regexp).MatchString(text)
			}
		}
		if all {
			return rule.Channel
		}
	}
	return defaultChannel(t, s)
}
