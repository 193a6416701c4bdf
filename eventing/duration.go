package eventing

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// period is the part of ISO 8601's durations that has one length. Knative's
// parser keeps one decimal, so more would mean another time there than here.
var period = regexp.MustCompile(`^P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:\.([0-9]))?S)?)?$`)

const (
	// Knative holds each number of a duration in tenths, in 16 bits.
	maxPeriodNumber = 3276
	maxDuration     = 24 * time.Hour

	durationExpected = "an ISO 8601 duration above zero and at most P1D, as PT0.5S or PT5M: days, hours, minutes and seconds, " +
		"each number up to 3276, one decimal of a second"
)

// parseDuration reads an ISO 8601 duration exactly as Knative does.
func parseDuration(s string) (time.Duration, bool) {
	m := period.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(s, "T") {
		return 0, false
	}
	units := [...]time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second, time.Second / 10}
	var total time.Duration
	for i, unit := range units {
		if m[i+1] == "" {
			continue
		}
		number, err := strconv.Atoi(m[i+1])
		if err != nil || number > maxPeriodNumber {
			return 0, false
		}
		total += time.Duration(number) * unit
	}
	return total, total > 0 && total <= maxDuration
}
