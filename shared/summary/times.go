package summary

import (
	"fmt"
	"time"
)

// timeDims names the values of a time dimension, hour by hour or minute by
// minute: where rows come in order of time nearly all of them fall into the one at
// hand.
type timeDims struct {
	cal    *Calendar
	dim    Dimension
	window Window
	code   uint32
	codes  map[string]uint32
	dict   []string
	met    map[int64]timeSpan // by hour, or minute, of UTC: the last one there
}

// timeSpan is a window of one value.
type timeSpan struct {
	window Window
	code   uint32
}

func newTimeDims(cal *Calendar, dim Dimension) *timeDims {
	return &timeDims{cal: cal, dim: dim, codes: map[string]uint32{}, met: map[int64]timeSpan{}}
}

func (t *timeDims) at(ms int64) uint32 {
	if ms >= t.window.From && ms < t.window.To {
		return t.code
	}
	slot := floorDiv(ms, hourMillis)
	if t.dim.Minutely() {
		slot = floorDiv(ms, minuteMillis)
	}
	if met, ok := t.met[slot]; ok && ms >= met.window.From && ms < met.window.To {
		t.window, t.code = met.window, met.code
		return t.code
	}
	r := t.cal.regimeAt(ms)
	if t.dim.Minutely() {
		t.window = r.minute(ms)
	} else {
		t.window = r.hour(ms)
	}
	// Midnight may lie within a window only where the regime begins there, so
	// one value holds for the whole window.
	value := t.cal.timeValue(t.dim, r, ms)
	code, ok := t.codes[value]
	if !ok {
		code = uint32(len(t.dict))
		t.dict = append(t.dict, value)
		t.codes[value] = code
	}
	t.code = code
	t.met[slot] = timeSpan{t.window, code}
	return code
}

// TimeValue is the value of a time dimension at an instant (ms).
func (c *Calendar) TimeValue(d Dimension, ms int64) string { return c.timeValue(d, c.regimeAt(ms), ms) }

func (c *Calendar) timeValue(d Dimension, r regime, ms int64) string {
	civil := r.day(ms)
	date := time.Unix(civil*86400, 0).UTC()
	if c.shift != (Shift{}) && (c.shift.Weekdays || d != DimDayOfWeek && d != DimDayOfWeekName) {
		date = c.shift.of(date)
	}
	// The hour's label is its start on the clock; its date is the calendar's.
	local := ms + r.offset
	hour := floorDiv(local, hourMillis) - floorDiv(local, dayMillis)*24
	minute := floorDiv(local, minuteMillis) - floorDiv(local, hourMillis)*60
	switch d {
	case DimYear:
		return date.Format("2006")
	case DimMonth:
		return date.Format("01")
	case DimYearMonth:
		return date.Format("200601")
	case DimWeek:
		return fmt.Sprintf("%02d", sundayWeek(date))
	case DimYearWeek:
		return fmt.Sprintf("%s%02d", date.Format("2006"), sundayWeek(date))
	case DimISOWeek:
		_, week := date.ISOWeek()
		return fmt.Sprintf("%02d", week)
	case DimISOYear:
		year, _ := date.ISOWeek()
		return fmt.Sprintf("%04d", year)
	case DimISOYearISOWeek:
		year, week := date.ISOWeek()
		return fmt.Sprintf("%04d%02d", year, week)
	case DimDate:
		return date.Format("20060102")
	case DimDay:
		return date.Format("02")
	case DimDayOfWeek:
		return fmt.Sprint(int(date.Weekday()))
	case DimDayOfWeekName:
		return date.Weekday().String()
	case DimDateHour:
		return fmt.Sprintf("%s%02d", date.Format("20060102"), hour)
	case DimHour:
		return fmt.Sprintf("%02d", hour)
	case DimDateHourMinute:
		return fmt.Sprintf("%s%02d%02d", date.Format("20060102"), hour, minute)
	case DimMinute:
		return fmt.Sprintf("%02d", minute)
	default:
		return fmt.Sprintf("%04d", c.nth(d, civil, ms))
	}
}

// sundayWeek is the week of the year, from 1: weeks begin on Sunday, but for
// the first, which begins on 1 January.
func sundayWeek(date time.Time) int {
	first := time.Date(date.Year(), 1, 1, 0, 0, 0, 0, time.UTC).Weekday()
	return (date.YearDay()-1+int(first))/7 + 1
}

// nth is how many years, months, … have begun since the calendar's Since.
func (c *Calendar) nth(d Dimension, civil, ms int64) int64 {
	if d == DimNthHour {
		return c.hoursBetween(c.since, ms)
	}
	if d == DimNthMinute {
		return floorDiv(ms, minuteMillis) - floorDiv(c.since, minuteMillis)
	}
	start := c.CivilDay(c.since)
	from, to := time.Unix(start*86400, 0).UTC(), time.Unix(civil*86400, 0).UTC()
	years := int64(to.Year() - from.Year())
	switch d {
	case DimNthYear:
		return years
	case DimNthMonth:
		return 12*years + int64(to.Month()-from.Month())
	case DimNthWeek:
		const thursday = 4 // 1 January 1970
		return floorDiv(civil+thursday, 7) - floorDiv(start+thursday, 7)
	default:
		return civil - start
	}
}
