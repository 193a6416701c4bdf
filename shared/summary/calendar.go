package summary

import (
	"fmt"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// Calendar cuts time into the hours and days of a merchant's clock. It does
// not change and may be shared.
//
// Hours and days follow one another without gap or overlap, whatever the clock
// does. An hour ends at the next full hour of the clock, or where the clock is
// put forward or back: where that happens at a full hour, as nearly everywhere,
// every hour is 3,600 seconds long and a day has 23, 24 or 25 of them. A day
// begins at the first instant of its date and ends where a later date begins;
// a date is never left and entered again.
type Calendar struct {
	loc   *time.Location
	since int64 // ms: where the nth… dimensions begin to count
	shift Shift
}

// NewCalendar is the calendar of an IANA time zone. An unknown zone is a fault
// of kind Invalid that names the field time_zone.
func NewCalendar(zone string) (*Calendar, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "" || zone == "Local" {
		return nil, &fault.Error{Kind: fault.Invalid, Field: "time_zone", Expected: "an IANA time zone, such as Europe/Berlin",
			Err: fmt.Errorf("cannot find time zone %q", zone)}
	}
	return &Calendar{loc: loc}, nil
}

// Location is the zone.
func (c *Calendar) Location() *time.Location { return c.loc }

// Since is the calendar whose nth… dimensions count from an instant (ms), the
// start of a date range; without it they count from 1970.
func (c *Calendar) Since(ms int64) *Calendar {
	return &Calendar{loc: c.loc, since: ms, shift: c.shift}
}

// Shift names dates as those of another date range, so that two ranges can be
// laid side by side.
type Shift struct {
	Days  int64
	Years int
	// Weekdays: days of the week are those of the other date.
	Weekdays bool
}

// Shifted is the calendar with the same hours and days, whose dates are named
// as those that lie a shift later.
func (c *Calendar) Shifted(s Shift) *Calendar {
	return &Calendar{loc: c.loc, since: c.since, shift: s}
}

// of is the date to name; 29 February is the 28th in a year without it.
func (s Shift) of(date time.Time) time.Time {
	if s.Years != 0 {
		later := date.AddDate(s.Years, 0, 0)
		if later.Day() != date.Day() {
			later = later.AddDate(0, 0, -1)
		}
		date = later
	}
	return date.AddDate(0, 0, int(s.Days))
}

const (
	minuteMillis = int64(time.Minute / time.Millisecond)
	hourMillis   = int64(time.Hour / time.Millisecond)
	dayMillis    = 24 * hourMillis
	// farMillis bounds instants: what lies beyond is as good as for ever, and
	// sums with it do not overflow.
	farMillis = int64(1) << 56
)

// regime is a span of time in which the clock goes evenly: local = UTC + offset.
type regime struct {
	from, to int64 // ms since the Unix epoch
	offset   int64 // ms
	floor    int64 // the civil day before from: dates of the regime do not go back behind it
}

func (c *Calendar) regimeAt(ms int64) regime {
	t := time.UnixMilli(ms).In(c.loc)
	_, offset := t.Zone()
	r := regime{from: -farMillis, to: farMillis, offset: int64(offset) * 1000, floor: -farMillis}
	start, end := t.ZoneBounds()
	if !end.IsZero() {
		r.to = end.UnixMilli()
	}
	if !start.IsZero() {
		r.from = start.UnixMilli()
		_, before := time.UnixMilli(r.from - 1).In(c.loc).Zone()
		r.floor = floorDiv(r.from-1+int64(before)*1000, dayMillis)
	}
	return r
}

// day is the civil day (days since 1970-01-01) of an instant in the regime.
func (r regime) day(ms int64) int64 { return max(floorDiv(ms+r.offset, dayMillis), r.floor) }

// hour is the hour of the clock that holds ms.
func (r regime) hour(ms int64) Window { return r.span(ms, hourMillis) }

// minute is the minute of the clock that holds ms.
func (r regime) minute(ms int64) Window { return r.span(ms, minuteMillis) }

// span is the hour, minute, … of the clock that holds ms.
func (r regime) span(ms, length int64) Window {
	start := floorDiv(ms+r.offset, length)*length - r.offset
	return Window{max(start, r.from), min(start+length, r.to)}
}

// Hour is the hour of the clock that holds an instant (ms).
func (c *Calendar) Hour(ms int64) Window { return c.regimeAt(ms).hour(ms) }

// Day is the day of the calendar that holds an instant (ms).
func (c *Calendar) Day(ms int64) Window {
	r := c.regimeAt(ms)
	day := r.day(ms)
	return Window{c.dayEdge(ms, day, -1), c.dayEdge(ms, day, +1)}
}

// dayEdge follows a civil day from ms to its first instant (step -1) or to the
// first after it (step +1).
func (c *Calendar) dayEdge(ms, day, step int64) int64 {
	for {
		r := c.regimeAt(ms)
		if r.day(ms) != day {
			if step < 0 {
				return ms + 1
			}
			return ms
		}
		midnight := day*dayMillis - r.offset
		if step < 0 {
			// Within a regime dates only grow, so the day reaches back to
			// midnight or to the regime's start; look at what was before.
			ms = max(midnight, r.from) - 1
			if r.floor == day {
				ms = r.from - 1
			}
		} else {
			ms = min(midnight+dayMillis, r.to)
		}
	}
}

// Hours are the hours of the clock that overlap [from, to), in order.
func (c *Calendar) Hours(from, to int64) []Window { return c.spans(from, to, regime.hour) }

// Minutes are the minutes of the clock that overlap [from, to), in order.
func (c *Calendar) Minutes(from, to int64) []Window { return c.spans(from, to, regime.minute) }

func (c *Calendar) spans(from, to int64, at func(r regime, ms int64) Window) []Window {
	var out []Window
	for from < to {
		r := c.regimeAt(from)
		for from < min(to, r.to) {
			w := at(r, from)
			out = append(out, w)
			from = w.To
		}
	}
	return out
}

// hoursBetween is the number of hours of the clock that begin after from, up
// to and including to.
func (c *Calendar) hoursBetween(from, to int64) int64 {
	if to < from {
		return -c.hoursBetween(to, from)
	}
	var n int64
	for {
		r := c.regimeAt(from)
		end := min(to, r.to-1)
		n += floorDiv(end+r.offset, hourMillis) - floorDiv(from+r.offset, hourMillis)
		if end == to {
			return n
		}
		from = r.to
		n++ // an hour begins where the clock is put
	}
}

// Days are the days of the calendar that overlap [from, to), in order.
func (c *Calendar) Days(from, to int64) []Window {
	var out []Window
	for from < to {
		w := c.Day(from)
		out = append(out, w)
		from = w.To
	}
	return out
}

// DateStart is the first instant (ms) of a date, or of the next date that
// there is where the calendar skipped it.
func (c *Calendar) DateStart(year int, month time.Month, day int) int64 {
	want := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).UnixMilli() / dayMillis
	// Noon of the date before is on that date or, where it was skipped, on a
	// neighbour: walk from there.
	w := c.Day(time.Date(year, month, day, 0, 0, 0, 0, c.loc).UnixMilli())
	for c.CivilDay(w.From) < want {
		w = c.Day(w.To)
	}
	for {
		before := c.Day(w.From - 1)
		if c.CivilDay(before.From) < want {
			return w.From
		}
		w = before
	}
}

// CivilDay is the date of an instant (ms) as days since 1970-01-01.
func (c *Calendar) CivilDay(ms int64) int64 { return c.regimeAt(ms).day(ms) }

// Of is the window of whole UTC hours [from, to).
func Of(from, to event.Hour) Window {
	return Window{int64(from) * hourMillis, int64(to) * hourMillis}
}

// UTCHours are the UTC hours [from, to) that overlap the window.
func (w Window) UTCHours() (from, to event.Hour) {
	return hourOf(w.From), event.Hour(floorDiv(w.To-1, hourMillis)) + 1
}

// Needs are the UTC hours [from, to) whose documents Resolve needs for the
// window: those that overlap it and Reach more on either side.
func (w Window) Needs() (from, to event.Hour) {
	from, to = w.UTCHours()
	return from - Reach, to + Reach
}

func hourOf(ms int64) event.Hour { return event.Hour(floorDiv(ms, hourMillis)) }

// floorDiv rounds towards the past, also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
