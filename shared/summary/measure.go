package summary

import (
	"math"

	"github.com/footfall/footfall/shared/money"
	"github.com/footfall/footfall/shared/processed"
)

// Measure is a number that no record holds: facts are asked for it beside the
// counters.
type Measure struct {
	Kind MeasureKind
	Name string // of an event or a parameter; some kinds take none
	Days int    // of TrailingUsers
}

// MeasureKind says what is measured.
type MeasureKind uint8

// The kinds.
const (
	EventUsers     MeasureKind = iota // users with an event of the name
	KeyEventUsers                     // users with a key event
	Purchasers                        // users with a transaction
	ReturningUsers                    // users with an event in a session that is not their first
	// TrailingUsers are the users of a number of days that end with the last
	// one of a row. Days are beyond a group: it has none of them, and who puts
	// an answer together adds them.
	TrailingUsers
	EventsNamed   // events of the name
	EventSessions // sessions that began here, with an event of the name
	KeySessions   // sessions that began here, with a key event
	ParamSum      // sum of the numbers that a parameter holds, in millionths
	ParamCount    // events whose parameter holds a number
)

// Users reports whether the measure is a set of users, and not a sum.
func (m Measure) Users() bool { return m.Kind <= TrailingUsers }

// FirstSeen reports whether it must be known when users were first seen.
func (m Measure) FirstSeen() bool { return m.Kind == ReturningUsers }

// Extra is what a table holds of a measure, by row: sums, or sets of users.
type Extra struct {
	Sums  []int64
	Users []Users
}

// MeasureColumns are the parameters that measures read.
func MeasureColumns(measures []Measure) []string {
	var params []string
	for _, m := range measures {
		if m.Kind == ParamSum || m.Kind == ParamCount {
			params = append(params, m.Name)
		}
	}
	return params
}

// measure works a measure out for each place in Rows: what it adds, which for a
// set of users is 0 or not.
func (f *Facts) measure(m Measure) func(place uint32) int64 {
	switch m.Kind {
	case KeyEventUsers:
		return f.flag(f.KeyEvent)
	case Purchasers:
		return f.flag(f.Purchase)
	case ReturningUsers:
		return func(place uint32) int64 {
			if f.NewSession[f.Rows[place]] {
				return 0
			}
			return 1
		}
	case EventSessions:
		named := f.named(m.Name)
		return f.flag(f.sessionsWith(named))
	case KeySessions:
		return f.flag(f.sessionsWith(func(row uint32) bool { return f.class(row)&isKeyEvent != 0 }))
	case ParamSum, ParamCount:
		return f.numbers(m)
	case TrailingUsers:
		return func(uint32) int64 { return 0 }
	default:
		named := f.named(m.Name)
		return func(place uint32) int64 {
			if named(f.Rows[place]) {
				return 1
			}
			return 0
		}
	}
}

func (f *Facts) flag(flags []bool) func(uint32) int64 {
	return func(place uint32) int64 {
		if flags[f.Rows[place]] {
			return 1
		}
		return 0
	}
}

// named tells the rows of an event's name.
func (f *Facts) named(name string) func(row uint32) bool {
	names := &f.Frame.Text[processed.ColName]
	for code, n := range names.Dict {
		if n == name && names.Code != nil {
			return func(row uint32) bool { return names.Code[row] == uint32(code) }
		}
	}
	return func(uint32) bool { return false }
}

// sessionsWith marks the rows that begin a session in which a row matches.
func (f *Facts) sessionsWith(match func(row uint32) bool) []bool {
	marked := make([]bool, f.Frame.Len)
	if f.Frame.Len == 0 {
		return marked
	}
	r := resolver{Facts: f, f: f.Frame, order: canonicalOrder(f.Frame), match: match, marked: marked, drops: f.Settings.Drops()}
	r.duplicates()
	r.sessions()
	return marked
}

// numbers reads a parameter's values, each text once.
func (f *Facts) numbers(m Measure) func(uint32) int64 {
	p := f.Frame.Params[m.Name]
	if p == nil || p.Code == nil {
		return func(uint32) int64 { return 0 }
	}
	values := make([]int64, len(p.Dict))
	for i, text := range p.Dict {
		micros, ok := money.Micros(text)
		switch {
		case !ok || micros > maxNumber || micros < -maxNumber:
		case m.Kind == ParamCount:
			values[i] = 1
		default:
			values[i] = micros
		}
	}
	return func(place uint32) int64 { return values[p.Code[f.Rows[place]]] }
}

// maxNumber is the size, in millionths, up to which a parameter's text counts
// as a number. Sums of more than nine times that stay there.
const maxNumber = 1e18

// like is an empty extra of the same kind.
func (e *Extra) like() Extra {
	if e.Users != nil {
		return Extra{Users: []Users{}}
	}
	return Extra{Sums: []int64{}}
}

// take appends row i of another.
func (e *Extra) take(o *Extra, i int) {
	if e.Users != nil {
		e.Users = append(e.Users, o.Users[i])
	} else {
		e.Sums = append(e.Sums, o.Sums[i])
	}
}

// merge adds row i of another to the last row.
func (e *Extra) merge(o *Extra, i int) {
	if e.Users != nil {
		last := len(e.Users) - 1
		e.Users[last] = e.Users[last].Union(o.Users[i])
	} else {
		e.Sums[len(e.Sums)-1] = Plus(e.Sums[len(e.Sums)-1], o.Sums[i])
	}
}

// Plus adds within the range of an int64.
func Plus(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}
