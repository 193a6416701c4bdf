package summary

import (
	"cmp"
	"strings"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/place"
)

var (
	sessionTraffic = []Dimension{DimSessionSource, DimSessionMedium, DimSessionCampaign}
	firstTraffic   = []Dimension{DimFirstSource, DimFirstMedium, DimFirstCampaign}
	eventTraffic   = []Dimension{DimSource, DimMedium, DimCampaign}
	country        = []Dimension{DimCountry}
	system         = []Dimension{DimOS, DimOSVersion}
	platform       = []Dimension{DimHostname, DimDeviceCategory}
)

// parts are the dimensions that a dimension follows from, whose values need not
// be stored beside theirs; nil for all others. Read only.
func (d Dimension) parts() []Dimension {
	switch d {
	case DimSessionSourceMedium:
		return sessionTraffic[:2]
	case DimSourceMedium:
		return eventTraffic[:2]
	case DimFirstSourceMedium:
		return firstTraffic[:2]
	case DimSessionChannel, DimSessionPrimaryChannel:
		return sessionTraffic
	case DimFirstChannel, DimFirstPrimaryChannel:
		return firstTraffic
	case DimChannel, DimPrimaryChannel:
		return eventTraffic
	case DimCountryName, DimContinent, DimContinentName, DimSubContinent, DimSubContinentName:
		return country
	case DimOSWithVersion:
		return system
	case DimPlatform:
		return platform[:1]
	case DimPlatformDevice:
		return platform
	default:
		return nil
	}
}

// join makes the value of a dimension of those of its parts.
func (d Dimension) join(primary *channel.Group) func(values []string) string {
	switch d {
	case DimSessionSourceMedium, DimSourceMedium, DimFirstSourceMedium:
		return func(v []string) string { return v[0] + " / " + v[1] }
	case DimChannel, DimPrimaryChannel:
		of := primary.Of
		if d == DimChannel {
			of = channel.Default
		}
		return func(v []string) string {
			if v[0] == "" && v[1] == "" && v[2] == "" {
				return "" // an event on the way of a session is not direct
			}
			return of(v[0], v[1], v[2])
		}
	case DimFirstChannel, DimFirstPrimaryChannel:
		of := primary.Of
		if d == DimFirstChannel {
			of = channel.Default
		}
		return func(v []string) string {
			// A link that names a medium or a campaign alone has no source either.
			if v[0] == noOrigin.Source && v[1] == noOrigin.Medium && v[2] == noOrigin.Campaign {
				return noOrigin.Source
			}
			return of(v[0], v[1], v[2])
		}
	case DimCountryName:
		return func(v []string) string { return cmp.Or(place.Of(v[0]).Name, v[0]) }
	case DimContinent:
		return func(v []string) string { return place.Of(v[0]).Continent }
	case DimContinentName:
		return func(v []string) string { return place.Region(place.Of(v[0]).Continent) }
	case DimSubContinent:
		return func(v []string) string { return place.Of(v[0]).SubContinent }
	case DimSubContinentName:
		return func(v []string) string { return place.Region(place.Of(v[0]).SubContinent) }
	case DimOSWithVersion:
		return func(v []string) string { return strings.TrimSuffix(v[0]+" "+v[1], " ") }
	case DimPlatform:
		return func(v []string) string { return platformOf(v[0]) }
	case DimPlatformDevice:
		return func(v []string) string {
			if platform := platformOf(v[0]); platform != "" && v[1] != "" {
				return platform + " / " + v[1]
			}
			return ""
		}
	case DimSessionPrimaryChannel:
		return func(v []string) string { return primary.Of(v[0], v[1], v[2]) }
	default:
		return func(v []string) string { return channel.Default(v[0], v[1], v[2]) }
	}
}

// platformOf is what an event came from: a page that a host served is the web.
// What came without one, from a server or an app, does not say.
func platformOf(host string) string {
	if host == "" {
		return ""
	}
	return "web"
}
