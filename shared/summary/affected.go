package summary

import (
	"cmp"
	"slices"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// Affected lists the hours, other than the dirty ones, whose numbers documents
// of the dirty hours may change: where a session goes on or began that an
// event in a dirty hour belongs to or joins, where a copy of its id or of its
// transaction lies. The frame holds the documents from Reach before the first
// dirty hour to Reach after the last, with the columns of Resolve.
//
// The list may be longer than needed, for it looks at all events of a dirty
// hour, new or not. It is never too short, but for users who cease to be new
// in a later hour: only who knows the merchant's whole history can tell (see
// Reopened).
func Affected(dirty []event.Hour, f *processed.Frame, s Settings) []event.Hour {
	if f.Len == 0 || len(dirty) == 0 {
		return nil
	}
	a := affected{f: f, settings: s, drops: s.Drops(), dirty: hourSet{}, marked: hourSet{}}
	for _, h := range dirty {
		a.dirty[h] = true
	}
	a.hours = make([]event.Hour, f.Len)
	a.seed = make([]bool, f.Len)
	var hour Window
	h, dirtyHour, all := event.Hour(0), false, true
	for i, ms := range f.Millis {
		if ms < hour.From || ms >= hour.To {
			h = hourOf(ms)
			hour, dirtyHour = Of(h, h+1), a.dirty[h]
			all = all && dirtyHour
		}
		a.hours[i] = h
		a.seed[i] = dirtyHour
	}
	if all {
		return nil // there is nothing that they could change
	}
	a.copies()
	a.purchases(classesOf(&f.Text[processed.ColName], nil))
	a.sessions()
	out := make([]event.Hour, 0, len(a.marked))
	for h := range a.marked {
		if !a.dirty[h] {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return out
}

// Reopened lists the hours in which users cease to be new because they are
// seen earlier than was known: millis is when each was seen now, before when
// it had been seen first so far (as store.Visitors says).
func Reopened(millis, before []int64) []event.Hour {
	set := hourSet{}
	for i, ms := range millis {
		if b := before[i]; ms < b && b < farMillis {
			if h := hourOf(b); h != hourOf(ms) {
				set[h] = true
			}
		}
	}
	out := make([]event.Hour, 0, len(set))
	for h := range set {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}

type hourSet map[event.Hour]bool

type affected struct {
	f             *processed.Frame
	settings      Settings
	drops         uint8 // flags of rows that are left out
	dirty, marked hourSet
	hours         []event.Hour // by row
	seed          []bool       // by row: it may count otherwise than before
}

// copies makes seeds of the rows that have the id of a seed.
func (a *affected) copies() {
	f := a.f
	rows := suspects(f.EventID)
	if len(rows) == 0 {
		return // all ids are different
	}
	ids := make([]uint32, f.Len) // number of the id; 0 where no other row has it
	numbers := newPairs(len(rows))
	for _, row := range rows {
		ids[row] = numbers.add(f.EventID[row].Hi, f.EventID[row].Lo)
	}
	if numbers.len() == len(rows)+1 {
		return
	}
	a.spread(ids, numbers.len())
}

// purchases makes marks of the rows that have the transaction of a seed.
func (a *affected) purchases(classes []class) {
	f := a.f
	txn, names := f.Text[processed.ColTransactionID].Code, f.Text[processed.ColName].Code
	if txn == nil || names == nil {
		return
	}
	numbers := make([]uint32, f.Len)
	for i := range numbers {
		if classes[names[i]]&isPurchase != 0 {
			numbers[i] = txn[i]
		}
	}
	a.spread(numbers, len(f.Text[processed.ColTransactionID].Dict))
}

// spread makes seeds of rows that share a number (0: none) with a seed within
// Reach, and marks their hours.
func (a *affected) spread(number []uint32, numbers int) {
	met := make([]bool, numbers)
	any := false
	for i, n := range number {
		if n != 0 && a.seed[i] {
			met[n] = true
			any = true
		}
	}
	if !any {
		return
	}
	type member struct {
		number uint32
		hour   event.Hour
		row    uint32
	}
	var members []member
	for i, n := range number {
		if n != 0 && met[n] {
			members = append(members, member{n, a.hours[i], uint32(i)})
		}
	}
	slices.SortFunc(members, func(x, y member) int {
		return cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(x.hour, y.hour), cmp.Compare(x.row, y.row))
	})
	var seeds []uint32
	for i := 0; i < len(members); {
		end := i
		for end < len(members) && members[end].number == members[i].number {
			end++
		}
		near := newNearness(end - i)
		for _, m := range members[i:end] {
			near.add(m.hour, a.seed[m.row])
		}
		for k, m := range members[i:end] {
			if near.within(k) {
				seeds = append(seeds, m.row)
			}
		}
		i = end
	}
	for _, row := range seeds {
		a.seed[row] = true
		a.marked[a.hours[row]] = true
	}
}

// sessions marks the hours of all rows that a seed is in one session with, or
// would be if rows between them counted.
func (a *affected) sessions() {
	f := a.f
	numbers := newPairs(f.Len)
	for i := range f.Len {
		if a.seed[i] && !a.filtered(i) {
			numbers.add(f.Client[i], f.Session[i])
		}
	}
	// Only sessions that reach out of the dirty hours can change others.
	pair := make([]uint32, f.Len)
	out := make([]bool, numbers.len())
	last, inside := noHour, false
	for i := range f.Len {
		if n := numbers.find(f.Client[i], f.Session[i]); n != 0 && !a.filtered(i) {
			if h := a.hours[i]; h != last {
				last, inside = h, a.dirty[h]
			}
			pair[i] = n
			out[n] = out[n] || !inside
		}
	}
	type step struct {
		pair uint32
		row  uint32
		ms   int64
	}
	var steps []step
	for i, n := range pair {
		if out[n] {
			steps = append(steps, step{n, uint32(i), f.Millis[i]})
		}
	}
	slices.SortFunc(steps, func(x, y step) int {
		return cmp.Or(cmp.Compare(x.pair, y.pair), cmp.Compare(x.ms, y.ms), cmp.Compare(x.row, y.row))
	})
	for i := 0; i < len(steps); {
		inactivity := a.settings.silence(f.Session[steps[i].row])
		end := i + 1
		for end < len(steps) && steps[end].pair == steps[i].pair && steps[end].ms-steps[end-1].ms < inactivity {
			end++
		}
		near := newNearness(end - i)
		for _, s := range steps[i:end] {
			near.add(a.hours[s.row], a.seed[s.row])
		}
		for k, s := range steps[i:end] {
			if near.within(k) {
				a.marked[a.hours[s.row]] = true
			}
		}
		i = end
	}
}

func (a *affected) filtered(row int) bool {
	return a.f.Flags[row]&a.drops != 0
}

// nearness tells which of a list of hours in order lie within Reach of a seed.
type nearness struct {
	hours []event.Hour
	seeds []bool
	next  []event.Hour // the first seed not before, filled on first use
	last  event.Hour   // the last seed up to the place that was asked for
}

func newNearness(n int) *nearness {
	return &nearness{hours: make([]event.Hour, 0, n), seeds: make([]bool, 0, n), last: noHour}
}

func (n *nearness) add(h event.Hour, seed bool) {
	n.hours = append(n.hours, h)
	n.seeds = append(n.seeds, seed)
}

// within is asked for 0, 1, 2, … in order.
func (n *nearness) within(i int) bool {
	if n.next == nil {
		n.next = make([]event.Hour, len(n.hours))
		next := noHour
		for k := len(n.hours) - 1; k >= 0; k-- {
			if n.seeds[k] {
				next = n.hours[k]
			}
			n.next[k] = next
		}
	}
	if n.seeds[i] {
		n.last = n.hours[i]
	}
	h := n.hours[i]
	return n.last != noHour && h-n.last <= Reach || n.next[i] != noHour && n.next[i]-h <= Reach
}
