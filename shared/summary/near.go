package summary

import (
	"math/bits"

	"github.com/footfall/footfall/shared/processed"
)

// Near tells which rows around some hours have to do with the rows of these, so that
// the others need not be read: Resolve says of the hours' rows, and Affected of the
// hours, what they would of all rows.
//
// What matters are rows with the id of an event in the hours or with its transaction,
// and rows of the same clients; of events elsewhere that have one of these ids or
// transactions the clients, too, for their sessions are affected. Whether any of these
// rows counts, copies of it say, wherever they lie.
type Near struct {
	hours    []Window // ascending
	settings Settings
	sieve    *processed.Sieve
}

// NewNear is of some UTC hours, given with all their rows.
func NewNear(hours []Window, s Settings, frames ...*processed.Frame) *Near {
	n := &Near{hours: hours, settings: s}
	rows := 0
	for _, f := range frames {
		rows += f.Len
	}
	n.sieve = processed.NewSieve(rows, s.Drops())
	for _, f := range frames {
		for row := range f.Len {
			n.sieve.AddID(f.EventID[row])
			n.add(f, uint32(row))
		}
	}
	return n
}

// Copies is a sieve for the rows around some that have an id of theirs.
func Copies(frames ...*processed.Frame) *processed.Sieve {
	rows := 0
	for _, f := range frames {
		rows += f.Len
	}
	sieve := processed.NewSieve(rows, 0)
	for _, f := range frames {
		for _, id := range f.EventID {
			sieve.AddID(id)
		}
	}
	return sieve
}

// add has the sieve let through whatever has to do with a row, but for its copies.
func (n *Near) add(f *processed.Frame, row uint32) {
	if !n.filtered(f, row) {
		n.sieve.AddClient(f.Client[row])
	}
	if s := &f.Text[processed.ColTransactionID]; has(s.Code, row) {
		n.sieve.AddTransaction(s.At(int(row)))
	}
}

func (n *Near) filtered(f *processed.Frame, row uint32) bool {
	return f.Flags[row]&n.settings.Drops() != 0
}

// Sieve lets through the rows around the hours that matter, as far as is known.
func (n *Near) Sieve() *processed.Sieve { return n.sieve }

// Grow is given all rows of the hours and those around that have passed the sieve.
// It reports whether the latter bring others with them that have not passed; then the
// sieve is another one, and what is around must pass through it anew. skipped says
// whether a row that has not passed may have one of some ids.
func (n *Near) Grow(f *processed.Frame, skipped func(ids []processed.ID) bool) bool {
	inside, around := n.divide(f)
	if len(around) == 0 {
		return false
	}
	ids, clients := newShared(len(around)), newShared(len(around))
	for _, row := range around {
		ids.add(f.EventID[row].Hi, f.EventID[row].Lo)
		clients.add(f.Client[row], 0)
	}
	transactions := f.Text[processed.ColTransactionID].Code
	paid := make([]bool, len(f.Text[processed.ColTransactionID].Dict))
	for _, row := range inside {
		ids.meet(f.EventID[row].Hi, f.EventID[row].Lo)
		if !n.filtered(f, row) {
			clients.meet(f.Client[row], 0)
		}
		if transactions != nil {
			paid[transactions[row]] = true
		}
	}
	isCopy := func(row uint32) bool { return ids.met(f.EventID[row].Hi, f.EventID[row].Lo) }
	if transactions != nil {
		for _, row := range around {
			paid[transactions[row]] = paid[transactions[row]] || isCopy(row)
		}
		paid[0] = false
	}
	seed := func(row uint32) bool { return isCopy(row) || transactions != nil && paid[transactions[row]] }
	var seeds, related []uint32
	grown := false
	for _, row := range around {
		if !seed(row) {
			continue
		}
		seeds = append(seeds, row)
		if !n.filtered(f, row) {
			clients.meet(f.Client[row], 0)
			grown = grown || !n.sieve.HasClient(f.Client[row])
		}
		grown = grown || has(transactions, row) && !n.sieve.HasTransaction(f.Text[processed.ColTransactionID].At(int(row)))
	}
	var asked []processed.ID
	for _, row := range around {
		if seed(row) || !n.filtered(f, row) && clients.met(f.Client[row], 0) {
			related = append(related, row)
			if !n.sieve.HasID(f.EventID[row]) {
				asked = append(asked, f.EventID[row])
			}
		}
	}
	if !grown && (len(asked) == 0 || !skipped(asked)) {
		return false
	}
	n.sieve = processed.NewSieve(len(inside)+len(related), n.settings.Drops())
	for _, rows := range [2][]uint32{inside, related} {
		for _, row := range rows {
			n.sieve.AddID(f.EventID[row])
		}
	}
	for _, rows := range [2][]uint32{inside, seeds} {
		for _, row := range rows {
			n.add(f, row)
		}
	}
	return true
}

// divide lists the rows of the hours, and those around them.
func (n *Near) divide(f *processed.Frame) (inside, around []uint32) {
	hour, within := Window{1, 0}, false
	for row, ms := range f.Millis {
		if ms < hour.From || ms >= hour.To {
			h := hourOf(ms)
			hour, within = Of(h, h+1), false
			for _, w := range n.hours {
				within = within || w.From <= ms && ms < w.To
			}
		}
		if within {
			inside = append(inside, uint32(row))
		} else {
			around = append(around, uint32(row))
		}
	}
	return inside, around
}

// shared are things of some rows, to find those that are of other rows, too. Most of
// the others have none of them, which a small map tells.
type shared struct {
	near  sieve
	pairs *pairs
	is    []bool // by number
}

func newShared(most int) *shared {
	s := &shared{near: make(sieve, 1<<bits.Len(uint(most/4))), pairs: new(pairs), is: make([]bool, 1, most+1)}
	s.pairs.reset(most)
	return s
}

func (s *shared) add(a, b uint64) {
	hash := pairHash(a, b)
	s.near[hash>>6&uint64(len(s.near)-1)] |= 1 << (hash & 63)
	if s.pairs.addHashed(hash, a, b) == uint32(len(s.is)) {
		s.is = append(s.is, false)
	}
}

// meet notes that another row has a thing.
func (s *shared) meet(a, b uint64) {
	if hash := pairHash(a, b); s.near.has(hash) {
		s.is[s.pairs.table[s.pairs.slot(hash, a, b)]] = true
	}
}

// met reports whether another row has a thing that was added.
func (s *shared) met(a, b uint64) bool { return s.is[s.pairs.find(a, b)] }
