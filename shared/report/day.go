package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// Day is a day of a merchant's calendar, whatever its zone: days since
// 1 January 1970.
type Day int32

// DayOf is the day that t's wall clock shows.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Date is the day's year, month and day of the month.
func (d Day) Date() (int, time.Month, int) { return time.Unix(int64(d)*86400, 0).UTC().Date() }

// String is the day as 2026-11-23.
func (d Day) String() string { return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly) }

// The days that a report may ask for: outside them there is no event.
var firstDay, lastDay = dayAt(2000), dayAt(2100)

func dayAt(year int) Day { return DayOf(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)) }

const dayForms = "a date such as 2026-11-23, today, yesterday or NdaysAgo"

// ParseDay reads a day: 2026-11-23, today, yesterday, or 7daysAgo.
func ParseDay(field, s string, today Day) (Day, error) {
	switch s {
	case "today":
		return today, nil
	case "yesterday":
		return today - 1, nil
	}
	if n, ok := strings.CutSuffix(s, "daysAgo"); ok {
		v, err := strconv.ParseUint(n, 10, 31)
		if err != nil || Day(v) > today-firstDay {
			return 0, fault.Field(field, dayForms)
		}
		return today - Day(v), nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fault.Field(field, dayForms)
	}
	d := DayOf(t)
	if d < firstDay || d >= lastDay {
		return 0, fault.Field(field, "a date from "+firstDay.String()+" to before "+lastDay.String())
	}
	return d, nil
}
