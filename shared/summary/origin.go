package summary

import "github.com/footfall/footfall/shared/processed"

// Origin is what brought a user for the first time: the traffic source of the
// session that holds the user's first event ever.
type Origin struct {
	Source, Medium, Campaign, Term, Content string
}

// noOrigin is that of a user whose first event is not to be found any more:
// nothing is known of it, which is not to have come directly.
var noOrigin = Origin{"(not set)", "(not set)", "(not set)", "(not set)", "(not set)"}

// OriginText are the text columns that Origins reads besides those of Resolve.
const OriginText uint64 = 1<<processed.ColTerm | 1<<processed.ColContent

// FirstSeen is when each user was first seen, in the order of Users, as
// SetFirstSeen was told and the rows say.
func (f *Facts) FirstSeen() []int64 {
	f.indexUsers()
	return f.actors.seen
}

// Origins finds those of the users whose first event, at the given instant
// (ms), is among the rows.
func (f *Facts) Origins(first map[uint64]int64) map[uint64]Origin {
	found := map[uint64]Origin{}
	frame := f.Frame
	for _, row := range f.Rows {
		user := frame.User[row]
		if at, asked := first[user]; !asked || at != frame.Millis[row] {
			continue
		}
		if _, before := found[user]; before {
			continue // of events at one instant the first one counts
		}
		from := int(f.Session[row][AttributionRow])
		found[user] = Origin{
			frame.Text[processed.ColSource].At(from), frame.Text[processed.ColMedium].At(from), frame.Text[processed.ColCampaign].At(from),
			frame.Text[processed.ColTerm].At(from), frame.Text[processed.ColContent].At(from),
		}
	}
	return found
}

// SetOrigins tells where the users came from, without whom the dimensions of
// users' first sources have no values.
func (f *Facts) SetOrigins(origins map[uint64]Origin) {
	f.indexUsers()
	f.actors.origins = make([]Origin, len(f.actors.users))
	for i, user := range f.actors.users {
		o, known := origins[user]
		if !known {
			o = noOrigin
		}
		f.actors.origins[i] = o
	}
}

// userColumn is a column of what is said of users.
func (f *Facts) userColumn(of func(user int) string) Column {
	f.indexUsers()
	c := Column{Code: make([]uint32, len(f.Rows))}
	codes := map[string]uint32{}
	byUser := make([]uint32, len(f.actors.users))
	for i := range byUser {
		value := of(i)
		code, known := codes[value]
		if !known {
			code = uint32(len(c.Dict))
			codes[value] = code
			c.Dict = append(c.Dict, value)
		}
		byUser[i] = code
	}
	if len(c.Dict) == 0 {
		c.Dict = []string{""}
	}
	for place, user := range f.actors.of {
		c.Code[place] = byUser[user]
	}
	return c
}

// origin is a column of users' first sources.
func (f *Facts) origin(d Dimension) Column {
	f.indexUsers()
	if f.actors.origins == nil {
		return f.constant("")
	}
	return f.userColumn(func(user int) string {
		o := &f.actors.origins[user]
		switch d {
		case DimFirstSource:
			return o.Source
		case DimFirstMedium:
			return o.Medium
		case DimFirstCampaign:
			return o.Campaign
		case DimFirstTerm:
			return o.Term
		default:
			return o.Content
		}
	})
}

// firstDate is the column of the days on which users were first seen.
func (f *Facts) firstDate(cal *Calendar) Column {
	seen := f.FirstSeen()
	if seen == nil {
		return f.constant("")
	}
	return f.userColumn(func(user int) string { return cal.TimeValue(DimDate, seen[user]) })
}

// IsOrigin reports whether a dimension tells of users' first sources, which
// facts must be told.
func (d Dimension) IsOrigin() bool { return d >= DimFirstSource && d <= DimFirstPrimaryChannel }

// OfFirstSeen reports whether a dimension follows from when users were first
// seen.
func (d Dimension) OfFirstSeen() bool {
	return d == DimNewVsReturning || d == DimFirstDate || d.IsOrigin()
}
