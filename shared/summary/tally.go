package summary

import (
	"maps"
	"math"
	"slices"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// Tally holds the records of some hours with the rows that they were counted
// from, and goes on counting as rows come: the records are those of all rows
// counted at once.
//
// What new rows change lies in the rows that share a session, an event id or a
// transaction with them, or with such a row, and so on. These alone are resolved
// and grouped, by the same code, without the new rows and with them, and the
// difference is added to the records. It holds because no other row shares
// anything with them: neither sessions nor duplicates reach across. Users do; but
// what a user's other rows count for changes only where the user is seen earlier than
// before, or not any more where it was seen first, and only who has left a row of a
// table may have to leave its users: then all of the user's rows are looked at, too.
//
// Of rows in hours that it does not count, who asks when users were first seen is
// told; so it is of what is summarised.
//
// A Tally is for one goroutine. The records that it gives out do not change.
type Tally struct {
	settings Settings
	cal      *Calendar
	stack    processed.Stack
	hours    map[int64]*tallied
	first    map[uint64]int64  // when the users of the counted hours were first seen, and first bought, ms; by name as Firsts has it
	fresh    map[uint64]uint64 // those of them who are new in a counted hour, or as buyers: their users
	index    rowIndex
}

// tallied is an hour that is counted.
type tallied struct {
	place int     // in the merchant's day
	full  *Record // without a record's bounds but for keptRows, and remembering users; its tables are never changed
	out   *Record // within the bounds of a wide record
	extra int64   // bytes of users who are remembered
}

// keptRows is how many rows of a table a tally keeps. A longer table is left out
// for good, for documents to answer.
const keptRows = 2 * MaxTableRows

// NewTally counts hours of the merchant's clock whole. Each of the facts holds
// some of them and the rows of their Needs, and has been told when users were first
// seen; none has a row of another. It copies what it keeps of their frames.
func NewTally(facts []*Facts, cal *Calendar, hours func(*Facts) []Window) *Tally {
	t := &Tally{
		settings: facts[0].Settings, cal: cal, hours: map[int64]*tallied{},
		first: map[uint64]int64{}, fresh: map[uint64]uint64{}, index: newRowIndex(),
	}
	for _, f := range facts {
		t.Hold(f.Frame)
		t.learn(f, nil)
		for _, w := range hours(f) {
			h := &tallied{place: t.place(w)}
			h.count(fullRecord(f.Slice(w), h.place, true))
			t.hours[w.From] = h
		}
	}
	return t
}

// place is that of an hour in the merchant's day.
func (t *Tally) place(w Window) int {
	day := t.cal.Day(w.From)
	return slices.Index(t.cal.Hours(day.From, day.To), w)
}

// Record is that of a counted hour, by its first instant; nil of another.
func (t *Tally) Record(from int64) *Record {
	if h := t.hours[from]; h != nil {
		return h.out
	}
	return nil
}

// Records are those of the counted hours, by their first instants.
func (t *Tally) Records() map[int64]*Record {
	records := make(map[int64]*Record, len(t.hours))
	for from, h := range t.hours {
		records[from] = h.out
	}
	return records
}

// Rows is how many rows the tally holds.
func (t *Tally) Rows() int { return t.stack.Len() }

// Size is about how much memory the rows take.
func (t *Tally) Size() int64 {
	const perUser = 64 // of two maps
	n := t.stack.Size() + t.index.size() + int64(len(t.first)*perUser)
	for _, h := range t.hours {
		n += h.extra
	}
	return n
}

// Counts reports whether all hours of the clock that touch a UTC hour are counted.
func (t *Tally) Counts(h event.Hour) bool {
	return !slices.ContainsFunc(t.clock(h), func(w Window) bool { return t.hours[w.From] == nil })
}

// Needs are the UTC hours [from, to) whose rows counting a UTC hour takes.
func (t *Tally) Needs(h event.Hour) (from, to event.Hour) {
	hours := t.clock(h)
	return Window{hours[0].From, hours[len(hours)-1].To}.Needs()
}

// FirstSeen tells when names, as Firsts has them, were first seen in what is
// summarised, in their order and in ms, math.MaxInt64 for unknown ones.
type FirstSeen func(names []uint64) ([]int64, error)

// Hold takes in rows that are around hours that will be counted.
func (t *Tally) Hold(rows *processed.Frame) {
	t.stack.Append(rows)
	t.index.grow(&t.stack)
}

// Adopt counts a UTC hour from now on, too: all hours of the clock that touch it,
// with the rows that are there, which must be all that it Needs. false: all
// must be counted anew.
func (t *Tally) Adopt(h event.Hour, firstSeen FirstSeen) (ok bool, err error) {
	return t.adopt(h, uint32(t.Rows()), firstSeen)
}

// adopt is Adopt with the rows before end.
func (t *Tally) adopt(h event.Hour, end uint32, firstSeen FirstSeen) (ok bool, err error) {
	var hours []Window
	for _, w := range t.clock(h) {
		if t.hours[w.From] == nil {
			hours = append(hours, w)
		}
	}
	if len(hours) == 0 {
		return true, nil
	}
	whole := Window{hours[0].From, hours[len(hours)-1].To}
	var seeds []uint32
	for row := range end {
		if ms := t.stack.Millis(row); ms >= whole.From && ms < whole.To {
			seeds = append(seeds, row)
		}
	}
	r := t.related(seeds)
	var was, is *Facts
	for {
		rows := r.before(end)
		was, is = t.within(t.resolve(rows)), t.within(t.resolve(rows), hours...)
		if !r.widen(r.inQuestion(is)) {
			break
		}
	}
	t.remind(was)
	names, told, err := r.tell(is, firstSeen)
	if err != nil {
		return false, err
	}
	is.SetFirstSeen(names, told)
	for _, row := range was.Rows {
		if was.NewUser[row] != is.NewUser[row] || first(was, row) != first(is, row) {
			return false, nil
		}
	}
	t.learn(is, r)
	for _, w := range hours {
		h := &tallied{place: t.place(w)}
		h.count(fullRecord(is.Slice(w), h.place, true))
		t.hours[w.From] = h
	}
	return true, nil
}

func first(f *Facts, row uint32) bool { return f.FirstPurchase != nil && f.FirstPurchase[row] }

// Around is what counting asks of the merchant's other data.
type Around struct {
	FirstSeen FirstSeen
	// Earlier says that users may have been seen earlier than FirstSeen has said so far.
	Earlier bool
	// Whole says of a UTC hour whether all rows are there that Adopt needs.
	Whole func(event.Hour) bool
	// Waits says of a UTC hour that it need not be adopted, though the rows change it;
	// nil is none.
	Waits func(event.Hour) bool
}

// Add counts rows of counted hours that were not there before. Where they change
// other hours, too, these are adopted, and listed. ok is false where that cannot be:
// then all must be counted anew, and the tally must not be used any more; so it is
// after an error.
func (t *Tally) Add(rows *processed.Frame, around Around) (adopted []event.Hour, ok bool, err error) {
	start := uint32(t.Rows())
	t.Hold(rows)
	seeds := make([]uint32, 0, rows.Len)
	for i := range rows.Len {
		row := start + uint32(i)
		if !t.counted(t.stack.Millis(row)) {
			return nil, false, nil
		}
		seeds = append(seeds, row)
	}
	if around.Earlier {
		older, err := t.older(around.FirstSeen)
		if err != nil {
			return nil, false, err
		}
		seeds = append(seeds, older...)
	}
	if len(seeds) == 0 {
		return nil, true, nil
	}
	r := t.related(seeds)
	for {
		had := r.before(start)
		before, after := t.resolve(had), t.resolve(r.rows)
		less, more := t.within(before), t.within(after)
		_, leavers := compare(less, more)
		if r.widen(slices.AppendSeq(r.inQuestion(less, more), maps.Keys(leavers))) {
			continue
		}
		others := t.differing(before, after)
		names, told, err := r.tell(more, around.FirstSeen)
		if err != nil {
			return nil, false, err
		}
		_, millis := more.Firsts()
		for _, h := range Reopened(millis, told) {
			if !t.Counts(h) {
				others[h] = true
			}
		}
		if around.Waits != nil {
			maps.DeleteFunc(others, func(h event.Hour, _ bool) bool { return around.Waits(h) })
		}
		if len(others) == 0 {
			t.remind(less)
			more.SetFirstSeen(names, told)
			t.learn(more, r)
			return adopted, t.exchange(less, more), nil
		}
		for h := range others {
			if !around.Whole(h) {
				return nil, false, nil
			}
			if ok, err := t.adopt(h, start, around.FirstSeen); !ok || err != nil {
				return nil, false, err
			}
			adopted = append(adopted, h)
		}
		// An adopted hour may hold users who cease to be new in yet another one.
	}
}

// exchange counts facts in place of others. false: that cannot be told.
func (t *Tally) exchange(before, after *Facts) bool {
	before, after = changed(before, after)
	var asked leaving
	changes := map[*tallied]*change{}
	for from, h := range t.hours {
		w := t.cal.Hour(from)
		if c := h.change(before.Slice(w), after.Slice(w)); c != nil {
			changes[h] = c
			if !c.make(h, &asked) {
				return false
			}
		}
	}
	if asked.from.some {
		asked.left = true
		left := t.fallingInto(&asked.from)
		for from, h := range t.hours {
			if c := changes[h]; c != nil {
				c.rest = fullRecord(left.Slice(t.cal.Hour(from)), h.place, true)
				if !c.make(h, &asked) {
					return false
				}
			}
		}
	}
	for h, c := range changes {
		h.count(c.made)
	}
	return true
}

// fallingInto are the facts of all users who fall into registers of sketches.
func (t *Tally) fallingInto(registers *registerSet) *Facts {
	var users []uint64
	for _, user := range t.stack.Users() {
		if registers.has(user) {
			users = append(users, user)
		}
	}
	r := t.related(nil)
	r.widen(users)
	f := t.within(t.resolve(r.before(uint32(t.Rows()))))
	t.remind(f)
	return f
}

// clock are the hours of the merchant's clock that touch a UTC hour.
func (t *Tally) clock(h event.Hour) []Window {
	w := Of(h, h+1)
	return t.cal.Hours(w.From, w.To)
}

// within are the facts of the rows in counted hours, and in some more.
func (t *Tally) within(f *Facts, more ...Window) *Facts {
	s := *f
	s.actors = actors{}
	s.Rows = make([]uint32, 0, len(f.Rows))
	var hour Window
	in := false
	for _, row := range f.Rows {
		if ms := f.Frame.Millis[row]; ms < hour.From || ms >= hour.To {
			hour = t.cal.Hour(ms)
			in = t.hours[hour.From] != nil || slices.Contains(more, hour)
		}
		if in {
			s.Rows = append(s.Rows, row)
		}
	}
	return &s
}

// remind tells facts what the tally knows of their users' first sight.
func (t *Tally) remind(f *Facts) {
	names, _ := f.Firsts()
	told := make([]int64, len(names))
	for i, name := range names {
		told[i] = t.first[name]
	}
	f.SetFirstSeen(names, told)
}

// learn remembers when the users of facts were first seen and first bought, and
// who is new. The facts are of all rows, or of some: then those of users of whom
// others are not among them say nothing of that.
func (t *Tally) learn(f *Facts, some *relation) {
	gone := map[uint64]bool{}
	if some != nil {
		for user := range some.full {
			gone[user], gone[Buyer(user)] = true, true
		}
	}
	note := func(name, user uint64, at int64, fresh bool) {
		if some != nil && some.knows(name, user) {
			return
		}
		delete(gone, name)
		t.first[name] = at
		if fresh {
			t.fresh[name] = user
		} else if some != nil {
			delete(t.fresh, name)
		}
	}
	for i, u := range f.actors.users {
		note(u, u, f.actors.seen[i], f.NewUser[f.actors.first[i]])
	}
	for i, row := range f.actors.bought {
		u := f.Frame.User[row]
		note(Buyer(u), u, f.actors.firstBought[i], f.FirstPurchase[row])
	}
	for name := range gone {
		delete(t.first, name)
		delete(t.fresh, name)
	}
}

// older are the rows of users that count as new, or as buying first, and have
// been seen or have bought earlier, as is known by now.
func (t *Tally) older(firstSeen FirstSeen) (rows []uint32, err error) {
	names := make([]uint64, 0, len(t.fresh))
	for name := range t.fresh {
		names = append(names, name)
	}
	stored, err := firstSeen(names)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if stored[i] < t.first[name] {
			t.index.eachOf(&t.stack, t.fresh[name], func(row uint32) { rows = append(rows, row) })
		}
	}
	return rows, nil
}

// resolve works out the facts of some rows, wherever in time they lie.
func (t *Tally) resolve(rows []uint32) *Facts {
	f := t.stack.Select(rows)
	w := Window{math.MaxInt64, math.MinInt64}
	for _, ms := range f.Millis {
		w = Window{min(w.From, ms), max(w.To, ms+1)}
	}
	if f.Len == 0 {
		w = Window{}
	}
	return Resolve(f, w, t.settings)
}

// counted reports whether an instant lies in a counted hour.
func (t *Tally) counted(ms int64) bool { return t.hours[t.cal.Hour(ms).From] != nil }

// change is what comes to an hour's record in place of what.
type change struct {
	less, more *Record
	rest       *Record // of those who are left of what leaving asked for; empty so far
	made       *Record // the new one
}

// change is what it is to count facts in place of others; nil for nothing.
func (h *tallied) change(before, after *Facts) *change {
	if len(before.Rows) == 0 && len(after.Rows) == 0 && before.Duplicates == after.Duplicates && before.Filtered == after.Filtered {
		return nil
	}
	return &change{less: fullRecord(before, h.place, true), more: fullRecord(after, h.place, true), rest: &Record{}}
}

// make makes the new record. false: that cannot be told.
func (c *change) make(h *tallied, asked *leaving) (ok bool) {
	less, more := c.less, c.more
	r := &Record{Total: h.full.Total, Duplicates: h.full.Duplicates + more.Duplicates - less.Duplicates, Filtered: h.full.Filtered + more.Filtered - less.Filtered}
	r.Total.exchange(&less.Total, &more.Total)
	if r.Total[Events] > 0 && h.place >= 0 && h.place < 32 {
		r.Hours = 1 << h.place
	}
	if r.Users, ok = h.full.Users.exchange(less.Users, more.Users, c.rest.Users, asked); !ok {
		return false
	}
	for id := range r.Tables {
		if r.Tables[id], ok = h.full.Tables[id].exchange(less.Tables[id], more.Tables[id], c.rest.Tables[id], asked); !ok {
			return false
		}
	}
	c.made = r
	return true
}

// count takes a record as the hour's.
func (h *tallied) count(full *Record) {
	out := *full
	h.extra = full.Users.extra()
	out.Users = full.Users.forget()
	for id, t := range full.Tables {
		switch {
		case t == nil:
		case t.Len() > keptRows:
			full.Tables[id], out.Tables[id] = nil, nil
		default:
			within := *t
			for row, u := range t.Users {
				extra := u.extra()
				if extra == 0 {
					continue
				}
				if h.extra += extra; &within.Users[0] == &t.Users[0] {
					within.Users = slices.Clone(t.Users)
				}
				within.Users[row] = u.forget()
			}
			out.Tables[id] = bounded(&within, WideTableUsers)
		}
	}
	h.full, h.out = full, &out
}
