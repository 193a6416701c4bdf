package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/fault"
)

// Realtime are the names of reports about the last minutes: the Data API's list
// for them (developers.google.com/analytics/devguides/reporting/data/v1/
// realtime-api-schema) is one of its own.
type Realtime struct {
	core    *Catalog
	streams map[string]string // name by measurement id
	minutes int
}

var (
	realtimeDimensions = []string{"appVersion", "city", "cityId", "country", "countryId", "deviceCategory", "eventName", minutesAgo, "platform", "streamId", streamName, "unifiedScreenName"}
	realtimeMetrics    = []string{"activeUsers", "eventCount", "keyEvents", "screenPageViews"}
)

const (
	minutesAgo = "minutesAgo"
	streamName = "streamName"
)

// Realtime has the names for a merchant whose streams have names, as they are
// now. minutesAgo counts back from the minute that is so many after the instant
// from which the calendar counts.
func (c *Catalog) Realtime(streams map[string]string, minutes int) *Realtime {
	return &Realtime{core: c, streams: streams, minutes: minutes}
}

// Dimension finds a dimension by the Data API's name.
func (r *Realtime) Dimension(field, name string) (*Dimension, error) {
	switch {
	case name == minutesAgo:
		return Make(name, "count", []*Dimension{r.core.dimName["nthMinute"]}, 1, func(shown []string) string {
			n, err := strconv.Atoi(shown[0])
			if err != nil {
				return NotSet // a count of minutes is a number
			}
			return fmt.Sprintf("%02d", r.minutes-n)
		}), nil
	case name == streamName:
		return Make(name, "name", []*Dimension{r.core.dimName["streamId"]}, 1, func(shown []string) string {
			return cmp.Or(r.streams[shown[0]], NotSet)
		}), nil
	case slices.Contains(realtimeDimensions, name) || strings.HasPrefix(name, customUser):
		return r.core.Dimension(field, name)
	}
	if d, err := r.core.Dimension(field, name); d == nil {
		return nil, err // it says why
	}
	return nil, fault.Field(field, "a dimension of realtime reports, one of "+strings.Join(realtimeDimensions, ", ")+" or "+customUser+"NAME: "+name+" is of other reports")
}

// Metric finds a metric by the Data API's name.
func (r *Realtime) Metric(field, name string) (*Metric, error) {
	m, err := r.core.Metric(field, name)
	if err != nil || slices.Contains(realtimeMetrics, name) {
		return m, err
	}
	return nil, fault.Field(field, "a metric of realtime reports, one of "+strings.Join(realtimeMetrics, ", ")+": "+name+" is of other reports")
}
