package history

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// fringe are the hours before those that a tally holds whole, of a merchant who has too
// many events in them for all to be held. Of each hour a filter has the ties of its rows
// (summary.Ties), so that for a new row elsewhere the few that it has to do with are read.
// What comes late into these hours is not looked at: they wait, or all is counted anew.
type fringe struct {
	stretch
	settings summary.Settings
	hours    map[event.Hour]filter
	rows     hashSet // those that the tally holds
	asked    hashSet // ties whose rows it holds
}

func newFringe(hours stretch, s summary.Settings) *fringe {
	return &fringe{stretch: hours, settings: s, hours: map[event.Hour]filter{}}
}

// size is about how much memory it takes.
func (g *fringe) size() int64 {
	n := g.rows.size() + g.asked.size()
	for _, f := range g.hours {
		n += f.size()
	}
	return n
}

// tiesOfRow is how many ties of rows a filter has room for, where each has an id of its own
// and a session has some rows.
const tiesOfRow = 1.25

// make makes room for an hour of so many rows.
func (g *fringe) make(h event.Hour, rows int) {
	g.hours[h] = newFilter(int(float64(rows) * tiesOfRow))
}

// add notes the rows of a frame that are kept, where they are of hours that there is room
// for. held says which of them the tally holds; nil is none.
func (g *fringe) add(f *processed.Frame, keep processed.Keep, held func(row int) bool) {
	ties := summary.TiesOf(f, g.settings)
	dropped := make([]bool, len(f.Batches))
	for i, b := range f.Batches {
		dropped[i] = keep != nil && !keep(b)
	}
	hour, filter := firstHour, filter(nil)
	for row, ms := range f.Millis {
		if dropped[f.Batch[row]] {
			continue
		}
		if h := hourOf(ms); h != hour {
			hour, filter = h, g.hours[h]
		}
		if filter != nil {
			ties.Of(uint32(row), math.MaxInt64, filter.add)
		}
		if held != nil && held(row) {
			g.rows.add(rowHash(f, row))
		}
	}
}

func hourOf(ms int64) event.Hour { return event.HourOfMicros(ms * 1000) }

// rowHash names a row: a batch's rows have numbers.
func rowHash(f *processed.Frame, row int) uint64 {
	var b [20]byte
	batch := f.Batches[f.Batch[row]]
	copy(b[:], batch[:])
	binary.LittleEndian.PutUint32(b[16:], f.Seq[row])
	return max(1, xxh3.Hash(b[:]))
}

// read notes all rows of documents.
func (g *fringe) read(ctx context.Context, l *Loader, m *access.Merchant) error {
	rows, err := l.rowsOf(ctx, m, []stretch{g.stretch})
	if err != nil {
		return err
	}
	for h, n := range rows {
		g.make(h, n)
	}
	columns := processed.Columns{Identity: true, Actors: true, Text: summary.TiesText}
	for h := range rows {
		if err := l.each(ctx, m, stretch{h, h + 1}, func(d store.Doc, keep processed.Keep) error {
			f, err := processed.Decode(d.Data, columns)
			if err == nil {
				g.add(f, keep, nil)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// ask are ties whose rows are to be read, and where these may be.
type ask struct {
	ties  map[uint64]bool
	sieve *processed.Sieve
	hours map[event.Hour]bool
}

// look lists those of a frame's ties that rows of the fringe may have which were not read.
// Of rows that were, only the ids matter: whether they are copies of others decides what
// they count for, and what else they are tied to does not.
func (g *fringe) look(f *processed.Frame, idsAlone bool) *ask {
	a := &ask{ties: map[uint64]bool{}, hours: map[event.Hour]bool{}}
	ties, before := summary.TiesOf(f, g.settings), summary.Of(g.to, g.to+1).From
	var tied []uint32
	for row := range uint32(f.Len) {
		some := false
		check := func(tie uint64) {
			if g.asked.has(tie) {
				return
			}
			for h, filter := range g.hours {
				if filter.has(tie) {
					a.hours[h], a.ties[tie], some = true, true, true
				}
			}
		}
		if idsAlone {
			check(ties.ID(row))
		} else {
			ties.Of(row, before, check)
		}
		if some {
			tied = append(tied, row)
		}
	}
	if len(tied) == 0 {
		return a
	}
	a.sieve = processed.NewSieve(len(tied), g.settings.Drops())
	transactions := &f.Text[processed.ColTransactionID]
	for _, row := range tied {
		a.sieve.AddID(f.EventID[row])
		if idsAlone {
			continue
		}
		a.sieve.AddClient(f.Client[row])
		if transactions.Code != nil && transactions.Code[row] != 0 {
			a.sieve.AddTransaction(transactions.At(int(row)))
		}
	}
	return a
}

// fetch reads the rows of the fringe that some rows have to do with, and that were not
// read before.
func (g *fringe) fetch(ctx context.Context, l *Loader, m *access.Merchant, columns processed.Columns, f *processed.Frame) ([]*processed.Frame, error) {
	var found []*processed.Frame
	for a := g.look(f, false); len(a.ties) > 0; a = g.look(f, true) {
		var err error
		if f, err = g.pick(ctx, l, m, columns, a); err != nil {
			return nil, err
		}
		for tie := range a.ties {
			g.asked.add(tie)
		}
		for row := range f.Len {
			g.rows.add(rowHash(f, row))
		}
		if f.Len > 0 {
			found = append(found, f)
		}
	}
	return found, nil
}

// pick reads the rows that have one of some ties and were not read before.
func (g *fringe) pick(ctx context.Context, l *Loader, m *access.Merchant, columns processed.Columns, a *ask) (*processed.Frame, error) {
	sift := processed.NewSift(columns, a.sieve)
	var hours []stretch
	for h := range a.hours {
		hours = append(hours, stretch{h, h + 1})
	}
	for _, s := range joined(hours) {
		if err := l.each(ctx, m, s, func(d store.Doc, keep processed.Keep) error {
			_, err := sift.Add(d.Data, keep)
			return err
		}); err != nil {
			return nil, err
		}
	}
	all := sift.Frame()
	ties := summary.TiesOf(all, g.settings)
	var rows []uint32
	for row := range all.Len {
		tied := false
		ties.Of(uint32(row), math.MaxInt64, func(tie uint64) { tied = tied || a.ties[tie] })
		if tied && !g.rows.has(rowHash(all, row)) {
			rows = append(rows, uint32(row))
		}
	}
	var stack processed.Stack
	stack.Append(all)
	return stack.Select(rows), nil
}
