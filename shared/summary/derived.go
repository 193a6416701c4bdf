package summary

import "github.com/footfall/footfall/shared/channel"

var (
	sessionTraffic = []Dimension{DimSessionSource, DimSessionMedium, DimSessionCampaign}
	firstTraffic   = []Dimension{DimFirstSource, DimFirstMedium, DimFirstCampaign}
	eventTraffic   = []Dimension{DimSource, DimMedium, DimCampaign}
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
			if v[0] == noOrigin.Source {
				return noOrigin.Source
			}
			return of(v[0], v[1], v[2])
		}
	case DimSessionPrimaryChannel:
		return func(v []string) string { return primary.Of(v[0], v[1], v[2]) }
	default:
		return func(v []string) string { return channel.Default(v[0], v[1], v[2]) }
	}
}
