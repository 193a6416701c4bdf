package main

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/footfall/footfall/infra/loadtest/plot"
)

// limit is by how much something may grow and still be taken for what it was.
const limit = 0.10

// Kind is what is expected of a figure while load is steady.
type Kind int

// Level is one that stays, Bounded one that goes up and down below a bound,
// Kept one that grows by what is kept of each event, in bytes, and Held one that
// grows by what is open of that.
const (
	Level Kind = iota
	Bounded
	Kept
	Held
)

// Series is one figure over time.
type Series struct {
	Name   string
	Kind   Kind
	Format func(float64) string
	At     []float64 // s
	Events []float64 // accepted by then, since the start
	Values []float64 // NaN where there is none
}

// Verdict is what the rule of a series' kind says of it.
type Verdict struct {
	First, Last, Peak string // first and last quarter, and the highest of all
	Says              string
	Grows             bool
}

// Judge applies the rule.
func (s *Series) Judge() Verdict {
	s = s.known()
	n := len(s.Values)
	if n < 4 {
		return Verdict{Says: "too few looks"}
	}
	v := Verdict{
		First: s.Format(mean(s.Values[:n/4])), Last: s.Format(mean(s.Values[n-n/4:])), Peak: s.Format(slices.Max(s.Values)),
	}
	switch s.Kind {
	case Level:
		v.Says, v.Grows = s.level()
	case Bounded:
		v.Says, v.Grows = s.bounded()
	case Kept:
		v.Last = s.Format(s.Values[n-1])
		v.Says, v.Grows = s.kept()
	case Held:
		v.Says, v.Grows = s.held()
	}
	return v
}

// known leaves out looks without a value.
func (s *Series) known() *Series {
	k := *s
	k.At, k.Events, k.Values = nil, nil, nil
	for i, v := range s.Values {
		if !math.IsNaN(v) {
			k.At, k.Events, k.Values = append(k.At, s.At[i]), append(k.Events, s.Events[i]), append(k.Values, v)
		}
	}
	return &k
}

// level: over the second half, by a straight line through the means of ten
// spans (so that what goes up and down within a span is no growth), the figure
// moves by no more than limit of its mean, and twice the line's standard error.
//
// Where there are two hours of looks, it is the last hour's mean that is no more than
// the mean of the hour before and limit, and twice the standard error of what ten spans
// of the one are apart from those of the other: much goes up as an hour of the clock
// fills, and down when it has ended.
func (s *Series) level() (says string, grows bool) {
	if moves, unsure, ok := s.hourly(); ok {
		return verdict(fmt.Sprintf("%+.0f %% ± %.0f %% from one hour to the next", 100*moves, 100*unsure), moves, unsure)
	}
	half := len(s.Values) / 2
	at, values := spans(s.At[half:], s.Values[half:], 10)
	m := mean(values)
	if m == 0 {
		return "flat", false
	}
	slope, e := line(at, values)
	span := s.At[len(s.At)-1] - s.At[half]
	moves, unsure := slope*span/m, 2*e*span/m
	return verdict(fmt.Sprintf("%+.0f %% ± %.0f %%", 100*moves, 100*unsure), moves, unsure)
}

// hourly is by how much the last hour's mean is above that of the hour before, as a part of
// it, and twice the standard error; ok is false where there are not two hours.
func (s *Series) hourly() (moves, unsure float64, ok bool) {
	const hour = 3600 // s
	end := s.At[len(s.At)-1]
	from := func(at float64) int { return sort.SearchFloat64s(s.At, at) }
	if end-s.At[0] < 2*hour-60 { // the first look comes a moment late
		return 0, 0, false
	}
	first, middle := from(end-2*hour), from(end-hour)
	_, before := spans(s.At[first:middle], s.Values[first:middle], 10)
	_, last := spans(s.At[middle:], s.Values[middle:], 10)
	m := mean(before)
	if len(before) != len(last) || len(last) < 2 || m == 0 {
		return 0, 0, false
	}
	apart := make([]float64, len(last))
	for i := range last {
		apart[i] = last[i] - before[i]
	}
	d, n := mean(apart), float64(len(apart))
	var rest float64
	for _, a := range apart {
		rest += (a - d) * (a - d)
	}
	return d / m, 2 * math.Sqrt(rest/(n-1)/n) / m, true
}

// verdict says what a movement is, each a part of what moves.
func verdict(says string, moves, unsure float64) (_ string, grows bool) {
	switch {
	case moves-unsure > limit:
		return "grows: " + says, true
	case moves+unsure > limit:
		return "not seen to grow, noisy: " + says, false
	}
	return "flat: " + says, false
}

// bounded: the peak of the last quarter is not more than limit above that of
// the second and third.
func (s *Series) bounded() (says string, grows bool) {
	n := len(s.Values)
	before, last := slices.Max(s.Values[n/4:n-n/4]), slices.Max(s.Values[n-n/4:])
	says = fmt.Sprintf("peak of the last quarter %s, before %s", s.Format(last), s.Format(before))
	if last > before*(1+limit) {
		return "grows: " + says, true
	}
	return "bounded: " + says, false
}

// kept: an event of the second half takes not more than limit more than one of
// the first.
func (s *Series) kept() (says string, grows bool) {
	n := len(s.Values)
	each := func(from, to int) float64 {
		return (s.Values[to] - s.Values[from]) / max(1, s.Events[to]-s.Events[from])
	}
	first, second := each(0, n/2), each(n/2, n-1)
	says = fmt.Sprintf("%s B per event, before %s", plot.Digits(second), plot.Digits(first))
	if second > first*(1+limit) && second-first > 0.5 {
		return "grows faster than events: " + says, true
	}
	return "by events: " + says, false
}

// held: by a straight line through each half, an event of the second one adds not more
// than limit more than one of the first, and twice the lines' standard errors.
func (s *Series) held() (says string, grows bool) {
	const per = 1e6 // events
	half := len(s.Values) / 2
	first, e := line(s.Events[:half], s.Values[:half])
	second, e2 := line(s.Events[half:], s.Values[half:])
	unsure := 2 * math.Hypot(e, e2)
	says = fmt.Sprintf("%s of a million events ± %s, before %s", plot.Digits(per*second), plot.Digits(per*unsure), plot.Digits(per*first))
	if second-unsure > max(0, first)*(1+limit) {
		return "grows faster than events: " + says, true
	}
	return "by events: " + says, false
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// spans are the means of n parts of about the same length, or all values where
// they are not twice as many.
func spans(at, values []float64, n int) (ats, means []float64) {
	if len(values) < 2*n {
		return at, values
	}
	for i := range n {
		from, to := i*len(values)/n, (i+1)*len(values)/n
		ats, means = append(ats, mean(at[from:to])), append(means, mean(values[from:to]))
	}
	return ats, means
}

// line fits a straight line by least squares and tells its slope and the
// standard error of that.
func line(x, y []float64) (slope, e float64) {
	mx, my := mean(x), mean(y)
	var xx, xy float64
	for i := range x {
		xx += (x[i] - mx) * (x[i] - mx)
		xy += (x[i] - mx) * (y[i] - my)
	}
	if xx == 0 {
		return 0, 0
	}
	slope = xy / xx
	if len(x) < 3 {
		return slope, 0
	}
	var rest float64
	for i := range x {
		d := y[i] - my - slope*(x[i]-mx)
		rest += d * d
	}
	return slope, math.Sqrt(rest / float64(len(x)-2) / xx)
}
