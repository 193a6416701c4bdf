package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/fault"
)

// Absent are names of the Data API that Footfall does not have, because it cannot
// know them or does not record them apart, with the reason.
// Who asks for one is told so: a number that nobody measured is not 0.
type Absent struct {
	Reason     string   `json:"reason"`
	Dimensions []string `json:"dimensions,omitempty"`
	Metrics    []string `json:"metrics,omitempty"`
}

// ErrAbsent is in the error about a name of Google's that Footfall does not have.
var ErrAbsent = errors.New("Footfall does not have it")

// absentList is Google's list (developers.google.com/analytics/devguides/
// reporting/data/v1/api-schema) without what the catalog has: what other Google
// products or Google's own knowledge of people put into a property, and what
// Footfall does not record apart. An entry of the catalog wins over one of it.
func absentList() []Absent {
	return []Absent{
		{
			Reason:     "it comes from a linked Google Ads account; a session's campaign, as its address names it, is sessionCampaignName",
			Dimensions: everyScope("googleAds", "AccountName", "AdGroupId", "AdGroupName", "AdNetworkType", "CampaignId", "CampaignName", "CampaignType", "CreativeId", "CustomerId", "Keyword", "Query"),
			Metrics:    []string{"advertiserAdClicks", "advertiserAdCost", "advertiserAdCostPerClick", "advertiserAdCostPerConversion", "advertiserAdCostPerKeyEvent", "advertiserAdImpressions", "returnOnAdSpend"},
		},
		{
			Reason:     "it comes from a linked Search Ads 360 account",
			Dimensions: everyScope("sa360", "AdGroupId", "AdGroupName", "CampaignId", "CampaignName", "CreativeFormat", "EngineAccountId", "EngineAccountName", "EngineAccountType", "Keyword", "KeywordText", "ManagerAccountId", "ManagerAccountName", "Medium", "Query", "Source", "SourceMedium"),
		},
		{
			Reason: "it comes from a linked Campaign Manager 360 account",
			Dimensions: everyScope("cm360", "AccountId", "AccountName", "AdvertiserId", "AdvertiserName", "CampaignId", "CampaignName", "CreativeFormat", "CreativeId", "CreativeName", "CreativeType", "CreativeTypeId",
				"CreativeVersion", "Medium", "PlacementCostStructure", "PlacementId", "PlacementName", "RenderingId", "SiteId", "SiteName", "Source", "SourceMedium"),
		},
		{
			Reason: "it comes from a linked Display & Video 360 account",
			Dimensions: everyScope("dv360", "AdvertiserId", "AdvertiserName", "CampaignId", "CampaignName", "CreativeFormat", "CreativeId", "CreativeName", "ExchangeId", "ExchangeName", "InsertionOrderId", "InsertionOrderName",
				"LineItemId", "LineItemName", "Medium", "PartnerId", "PartnerName", "Source", "SourceMedium"),
		},
		{
			Reason:     "it is Google's guess about a person, from accounts and browsing elsewhere; Footfall knows what visitors did here",
			Dimensions: []string{"brandingInterest", "userAgeBracket", "userGender"},
		},
		{
			Reason:     "audiences are lists that Google Analytics keeps; Footfall has none",
			Dimensions: []string{"audienceId", "audienceName", "audienceResourceName"},
		},
		{
			Reason:     "it belongs to a cohort report, which Footfall does not have",
			Dimensions: []string{"cohort", "cohortNthDay", "cohortNthMonth", "cohortNthWeek"},
			Metrics:    []string{"cohortActiveUsers", "cohortTotalUsers"},
		},
		{
			Reason:     "it comes from AdMob, Ad Manager and other networks that pay a publisher",
			Dimensions: []string{"adFormat", "adSourceName", "adUnitName"},
			Metrics:    []string{"adUnitExposure", "publisherAdClicks", "publisherAdImpressions", "totalAdRevenue"},
		},
		{
			Reason:  "it comes from Google Search Console",
			Metrics: []string{"organicGoogleSearchAveragePosition", "organicGoogleSearchClickThroughRate", "organicGoogleSearchClicks", "organicGoogleSearchImpressions"},
		},
		{
			Reason:  "it comes from Firebase Crashlytics",
			Metrics: []string{"crashAffectedUsers", "crashFreeUsersRate"},
		},
		{
			Reason:     "it needs Google's own list of device names",
			Dimensions: []string{"mobileDeviceMarketingName"},
		},
		{
			Reason:     "it is about Google Analytics' own data filters; the merchant's filters keep nothing apart for tests",
			Dimensions: []string{"testDataFilterId", "testDataFilterName"},
		},
		{
			Reason:     "pages are kept without protocol, fragment and tracking parameters, so that a page is one page; fullPageUrl has host name, path and query",
			Dimensions: []string{"pageLocation"},
		},
		{
			Reason: "a visit has one source, medium and campaign, from its address or else from the referring site: ask for source, medium, campaignName and their kin",
			Dimensions: []string{
				"manualSource", "manualMedium", "manualSourceMedium", "manualCampaignName", "sessionManualSource", "sessionManualMedium", "sessionManualSourceMedium", "sessionManualCampaignName",
				"firstUserManualSource", "firstUserManualMedium", "firstUserManualSourceMedium", "firstUserManualCampaignName",
			},
		},
		{
			Reason: "of an address's utm_ parameters Footfall keeps source, medium, campaign, term and content",
			Dimensions: []string{
				"campaignId", "manualCampaignId", "manualCreativeFormat", "manualMarketingTactic", "manualSourcePlatform", "sourcePlatform",
				"sessionCampaignId", "sessionManualCampaignId", "sessionManualCreativeFormat", "sessionManualMarketingTactic", "sessionManualSourcePlatform", "sessionSourcePlatform",
				"firstUserCampaignId", "firstUserManualCampaignId", "firstUserManualCreativeFormat", "firstUserManualMarketingTactic", "firstUserManualSourcePlatform", "firstUserSourcePlatform",
			},
		},
		{
			Reason:     "a user is known by user id, client id or a daily hash, and documents do not say by which",
			Dimensions: []string{"signedInWithUserId"},
		},
		{
			Reason:     "a stream's name may change; its id is in streamId",
			Dimensions: []string{"streamName"},
		},
		{
			Reason:     "Footfall's reports have no comparisons within one answer; ask once for each, with a filter",
			Dimensions: []string{"comparison"},
		},
		{
			Reason:     "of an address' campaign words, Footfall records source, medium, campaign, content and term",
			Dimensions: append(everyScope("manual", "CampaignId", "CreativeFormat", "MarketingTactic", "SourcePlatform"), "campaignId", "sessionCampaignId", "firstUserCampaignId", "sourcePlatform", "sessionSourcePlatform", "firstUserSourcePlatform"),
		},
		{
			Reason:     "Footfall tells no source that an address names apart from others; it is in source, medium and campaignName, and those of the session and the first user",
			Dimensions: everyScope("manual", "CampaignName", "Medium", "Source", "SourceMedium"),
		},
		{
			Reason:     "Footfall does not record it; where events send it as a parameter of their own, ask for customEvent:app_version",
			Dimensions: []string{"appVersion"},
		},
		{
			Reason:     "ask for the two of which it is made side by side: hostName and pagePathPlusQueryString",
			Dimensions: []string{"pageLocation"},
		},
		{
			Reason:     "Footfall does not tell sites and apps apart but by their stream: ask for streamId",
			Dimensions: []string{"streamName"},
		},
		{
			Reason:     "Footfall counts a user by the user id or else by the client id, and does not say which it was",
			Dimensions: []string{"signedInWithUserId"},
		},
		{
			Reason:  "Google has renamed it: ask for keyEvents, sessionKeyEventRate or userKeyEventRate",
			Metrics: []string{"conversions", "sessionConversionRate", "userConversionRate"},
		},
	}
}

// everyScope are a product's names about the event, the session and the user's
// first visit.
func everyScope(product string, names ...string) []string {
	title := strings.ToUpper(product[:1]) + product[1:]
	var list []string
	for _, prefix := range []string{product, "session" + title, "firstUser" + title} {
		for _, n := range names {
			list = append(list, prefix+n)
		}
	}
	return list
}

// Absent lists the names of Google's that Footfall does not have; read only.
func (c *Catalog) Absent() []Absent { return c.absent }

// noteAbsent makes the names of the list be refused with their reason, in both
// languages, where the catalog has not come to know them.
func (c *Catalog) noteAbsent(list []Absent) {
	c.whyAbsent = map[string]string{}
	for _, a := range list {
		a.Dimensions = slices.DeleteFunc(a.Dimensions, func(n string) bool { return c.dimName[n] != nil })
		a.Metrics = slices.DeleteFunc(a.Metrics, func(n string) bool { return c.metName[n] != nil })
		if len(a.Dimensions)+len(a.Metrics) == 0 {
			continue
		}
		slices.Sort(a.Dimensions)
		slices.Sort(a.Metrics)
		c.absent = append(c.absent, a)
		for _, names := range [][]string{a.Dimensions, a.Metrics} {
			for _, n := range names {
				c.whyAbsent[n] = a.Reason
				for _, snake := range withSnake(n, nil) {
					c.whyAbsent[snake] = a.Reason
				}
			}
		}
	}
}

// absentError says why there is no such dimension or metric; nil where the name
// is just unknown.
func (c *Catalog) absentError(field, what, name string) error {
	reason, ok := c.whyAbsent[name]
	if !ok {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Field: field, Expected: "a " + what + " that Footfall has",
		Err: fmt.Errorf("cannot answer %s, %w: %s", name, ErrAbsent, reason)}
}
