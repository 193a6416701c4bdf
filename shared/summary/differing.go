package summary

import "github.com/footfall/footfall/shared/processed"

// What is said of a row of two facts, the second ones with more rows.
const (
	inLess uint8 = 1 << iota // counts in the first ones
	inMore
	differs
)

// compare says of each row whether it counts with less rows and with more, of which
// the facts with less have the first ones, and whether it counts for something else
// in a record's tables; and who has left a row of a table so.
func compare(less, more *Facts) (marks []uint8, leavers map[uint64]bool) {
	marks, leavers = make([]uint8, more.Frame.Len), map[uint64]bool{}
	for _, row := range less.Rows {
		marks[row] |= inLess
	}
	for _, row := range more.Rows {
		marks[row] |= inMore
	}
	for _, row := range less.Rows {
		if marks[row]&inMore == 0 || !alike(more.Frame, &less.Session[row], &more.Session[row]) {
			marks[row] |= differs
			leavers[more.Frame.User[row]] = true
		}
	}
	return marks, leavers
}

// sessionValue is where a value of a record's tables stands in a session.
type sessionValue struct {
	of     SessionRow
	column processed.StringColumn
}

var sessionValues = func() (all []sessionValue) {
	for _, k := range RecordKeys() {
		if of, c, ok := sessionTextOf(k.Dim); ok {
			all = append(all, sessionValue{of, c})
		}
	}
	return all
}()

// alike reports whether what a record's tables say of a session is the same with other
// rows of it in these places. Events that come out of order change the rows often, and
// what they say seldom.
func alike(f *processed.Frame, a, b *SessionRows) bool {
	for _, v := range sessionValues {
		if code := f.Text[v.column].Code; a[v.of] != b[v.of] && code != nil && code[a[v.of]] != code[b[v.of]] {
			return false
		}
	}
	return true
}

// changed are facts without the rows that are the same in both, of which before has
// the first ones, and count nothing otherwise. Who may have left a row of a table keeps
// all rows, for one of these may hold it there.
func changed(before, after *Facts) (less, more *Facts) {
	marks, leavers := compare(before, after)
	for row, mark := range marks {
		if mark&differs == 0 && mark != 0 && (mark&inLess == 0 ||
			before.Begins[row] != after.Begins[row] || before.EngagedBegin[row] != after.EngagedBegin[row] ||
			before.SessionMillis[row] != after.SessionMillis[row] || before.NewUser[row] != after.NewUser[row] ||
			before.Purchase[row] != after.Purchase[row] || first(before, uint32(row)) != first(after, uint32(row))) {
			marks[row] |= differs
		}
	}
	only := func(f *Facts) *Facts {
		s := *f
		s.actors = actors{}
		s.Rows = nil
		for _, row := range f.Rows {
			if marks[row]&differs != 0 || leavers[f.Frame.User[row]] {
				s.Rows = append(s.Rows, row)
			}
		}
		return &s
	}
	return only(before), only(after)
}

// differing are the UTC hours of rows that are in no counted hour and whose facts
// differ. after is of all rows, of which before has the first ones.
func (t *Tally) differing(before, after *Facts) hourSet {
	hours := hourSet{}
	var rest []int // rows of before that are in no counted hour
	for row, ms := range before.Frame.Millis {
		if !t.counted(ms) {
			rest = append(rest, row)
		}
	}
	if len(rest) == 0 {
		return hours
	}
	counts := func(f *Facts) []bool {
		rows := make([]bool, after.Frame.Len)
		for _, row := range f.Rows {
			rows[row] = true
		}
		return rows
	}
	was, is := counts(before), counts(after)
	for _, row := range rest {
		switch {
		case was[row] != is[row],
			was[row] && (!alike(after.Frame, &before.Session[row], &after.Session[row]) || before.Begins[row] != after.Begins[row] ||
				before.EngagedBegin[row] != after.EngagedBegin[row] || before.SessionMillis[row] != after.SessionMillis[row] ||
				before.SessionViews[row] != after.SessionViews[row] || before.Purchase[row] != after.Purchase[row]):
			hours[hourOf(before.Frame.Millis[row])] = true
		}
	}
	for _, lists := range [][2][]int64{{before.duplicateAt, after.duplicateAt}, {before.filteredAt, after.filteredAt}} {
		times := map[int64]int{}
		for i, list := range lists {
			for _, ms := range list {
				times[ms] += 2*i - 1
			}
		}
		for ms, n := range times {
			if n != 0 && !t.counted(ms) {
				hours[hourOf(ms)] = true
			}
		}
	}
	return hours
}
