package processed

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/footfall/footfall/shared/event"
)

// settling puts the rows of a frame that was read from several documents in the
// order of hour, batch and Seq, and drops those that count elsewhere or nowhere.
//
// Documents of an hour are of batches that came one after the other, but for a few at
// their edges. Only there are rows compared one by one; all others stay where they
// stand, or move in one piece.
type settling struct {
	f      *Frame
	pieces []piece
}

// compare orders units by hour, then by batch.
func (k *batchHour) compare(other *batchHour) int {
	if c := cmp.Compare(k.hour, other.hour); c != 0 {
		return c
	}
	return bytes.Compare(k.batch[:], other.batch[:])
}

// unit is the unit of a row.
func (f *Frame) unit(row int) batchHour {
	return batchHour{f.Batches[f.Batch[row]], floorHour(f.Millis[row])}
}

// piece is a stretch of consecutive rows of one document, and the unit of the first
// of them. Where it is of several units, no row of another piece comes between them.
type piece struct {
	unit       batchHour
	document   int
	start, end int
}

// extent are the first and the last unit of a document's rows; sorted says that each of
// its units stands in one piece, in order.
type extent struct {
	first, last batchHour
	sorted      bool
}

func (f *Frame) extent(start, end int) extent {
	e := extent{first: f.unit(start), sorted: true}
	e.last = e.first
	was := e.first
	f.eachUnit(start, end, func(unit batchHour, at, _ int) {
		if at == start {
			return
		}
		e.sorted = e.sorted && was.compare(&unit) < 0
		if was = unit; e.last.compare(&unit) < 0 {
			e.last = unit
		} else if e.first.compare(&unit) > 0 {
			e.first = unit
		}
	})
	return e
}

// eachUnit calls fn with each stretch of consecutive rows of one unit.
func (f *Frame) eachUnit(start, to int, fn func(unit batchHour, start, end int)) {
	for start < to {
		end, hour := f.runFrom(start, to)
		fn(batchHour{f.Batches[f.Batch[start]], hour}, start, end)
		start = end
	}
}

// settle settles the rows of a frame's parts.
func (f *Frame) settle(parts []part) {
	s := settling{f: f}
	if !s.cut(parts) {
		return
	}
	slices.SortFunc(s.pieces, func(a, b piece) int {
		if c := a.unit.compare(&b.unit); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.document, b.document), cmp.Compare(f.Seq[a.start], f.Seq[b.start]), cmp.Compare(a.start, b.start))
	})
	s.once()
	s.untangle()
	f.rearrange(s.joined())
}

// cut cuts the rows that count into pieces. false: all stand where they belong.
func (s *settling) cut(parts []part) bool {
	f := s.f
	ordered := true
	extents := make([]extent, len(parts))
	var order []int // parts with rows, by the first unit: whole documents may stand out of order
	for k := range parts {
		p := &parts[k]
		if ordered = ordered && p.keep == nil && !p.none; p.none || p.start == p.end {
			continue
		}
		extents[k] = f.extent(p.start, p.end)
		if ordered = ordered && extents[k].sorted; ordered && len(order) > 0 {
			ordered = extents[order[len(order)-1]].last.compare(&extents[k].first) < 0
		}
		order = append(order, k)
	}
	if ordered {
		return false
	}
	slices.SortStableFunc(order, func(a, b int) int { return extents[a].first.compare(&extents[b].first) })
	var most *batchHour // of the parts before
	for i, k := range order {
		p, e := &parts[k], &extents[k]
		from, to := p.end, p.end // rows that come after all of the parts before, and before all of those after it
		if e.sorted && p.keep == nil {
			from, to = p.start, p.end
			if most != nil {
				from = f.firstFrom(p.start, p.end, most, 1)
			}
			if i+1 < len(order) {
				to = max(from, f.firstFrom(p.start, p.end, &extents[order[i+1]].first, 0))
			}
		}
		s.pieceByPiece(k, p.start, from, p.keep)
		if from < to {
			s.pieces = append(s.pieces, piece{f.unit(from), k, from, to})
		}
		s.pieceByPiece(k, to, p.end, p.keep)
		if most == nil || most.compare(&e.last) < 0 {
			most = &e.last
		}
	}
	return true
}

// firstFrom is the first of some sorted rows whose unit compares with another as least,
// or more.
func (f *Frame) firstFrom(start, end int, other *batchHour, least int) int {
	return start + sort.Search(end-start, func(i int) bool {
		unit := f.unit(start + i)
		return unit.compare(other) >= least
	})
}

func (s *settling) pieceByPiece(document, start, to int, keep Keep) {
	s.f.eachUnit(start, to, func(unit batchHour, start, end int) {
		if keep == nil || keep(unit.batch) {
			s.pieces = append(s.pieces, piece{unit, document, start, end})
		}
	})
}

// once drops the pieces of units that a document holds which was added earlier.
func (s *settling) once() {
	kept := s.pieces[:0]
	for _, p := range s.pieces {
		if n := len(kept); n > 0 && kept[n-1].unit == p.unit && kept[n-1].document != p.document {
			continue
		}
		kept = append(kept, p)
	}
	s.pieces = kept
}

// untangle cuts pieces of one unit whose rows interleave into single rows.
func (s *settling) untangle() {
	seq := s.f.Seq
	for i := 0; i < len(s.pieces); {
		j, overlap := i+1, false
		for ; j < len(s.pieces) && s.pieces[j].unit == s.pieces[i].unit; j++ {
			overlap = overlap || seq[s.pieces[j-1].end-1] > seq[s.pieces[j].start]
		}
		if overlap {
			var rows []piece
			for _, p := range s.pieces[i:j] {
				for row := p.start; row < p.end; row++ {
					rows = append(rows, piece{p.unit, p.document, row, row + 1})
				}
			}
			slices.SortStableFunc(rows, func(a, b piece) int { return cmp.Compare(seq[a.start], seq[b.start]) })
			s.pieces = slices.Replace(s.pieces, i, j, rows...)
			j = i + len(rows)
		}
		i = j
	}
}

// rowRange are rows, or items, [start, end).
type rowRange struct{ start, end int }

// joined are the rows of the pieces in order, those in one that stand together.
func (s *settling) joined() []rowRange {
	var out []rowRange
	for _, p := range s.pieces {
		if n := len(out); n > 0 && out[n-1].end == p.start {
			out[n-1].end = p.end
		} else {
			out = append(out, rowRange{p.start, p.end})
		}
	}
	return out
}

// rearrange makes these its rows, in this order. Of none are some there twice.
func (f *Frame) rearrange(order []rowRange) {
	n := 0
	for _, r := range order {
		n += r.end - r.start
	}
	if n == f.Len && len(order) == 1 {
		return
	}
	a := arrange(order)
	f.rearrangeItems(order)
	f.Len = n
	f.Batch, f.Seq, f.EventID, f.Millis = moved(a, f.Batch), moved(a, f.Seq), moved(a, f.EventID), moved(a, f.Millis)
	f.User, f.Client, f.Session = moved(a, f.User), moved(a, f.Client), moved(a, f.Session)
	f.Flags, f.Engaged, f.Value = moved(a, f.Flags), moved(a, f.Engaged), moved(a, f.Value)
	for c := range f.Text {
		f.Text[c].rearrange(a)
	}
	for key, s := range f.Params {
		if s.rearrange(a); s.Code == nil {
			delete(f.Params, key)
		}
	}
	if len(f.Params) == 0 {
		f.Params = nil
	}
	f.renumberBatches()
}

func (f *Frame) rearrangeItems(order []rowRange) {
	items := &f.Items
	if items.Len == 0 {
		return
	}
	var of []rowRange
	to, n := 0, 0
	for _, r := range order {
		start, _ := slices.BinarySearch(items.Row, uint32(r.start))
		end, _ := slices.BinarySearch(items.Row, uint32(r.end))
		if start < end {
			of = append(of, rowRange{start, end})
		}
		n += end - start
	}
	if n == 0 {
		*items = ItemFrame{}
		return
	}
	places := make([]uint32, 0, n)
	k := 0
	for _, r := range order {
		if k < len(of) && items.Row[of[k].start] < uint32(r.end) && items.Row[of[k].start] >= uint32(r.start) {
			for _, row := range items.Row[of[k].start:of[k].end] {
				places = append(places, row-uint32(r.start)+uint32(to))
			}
			k++
		}
		to += r.end - r.start
	}
	a := arrange(of)
	items.Len, items.Row = n, places
	items.Price, items.Quantity = moved(a, items.Price), moved(a, items.Quantity)
	for c := range items.Text {
		items.Text[c].rearrange(a)
	}
}

// rearrange moves a column's texts. Its dictionary is then in order of first appearance,
// as a Builder's is, so that it does not tell how the rows came together.
func (s *Strings) rearrange(a *arrangement) {
	if s.Code == nil {
		return
	}
	s.Code = moved(a, s.Code)
	known := make([]uint32, len(s.Dict))
	dict := make([]string, 1, len(s.Dict))
	for i, code := range s.Code {
		if code == 0 {
			continue
		}
		if known[code] == 0 {
			known[code] = uint32(len(dict))
			dict = append(dict, s.Dict[code])
		}
		s.Code[i] = known[code]
	}
	if s.Dict = dict; len(dict) == 1 {
		*s = Strings{}
	}
}

// renumberBatches lists the batches in the order of their rows.
func (f *Frame) renumberBatches() {
	batches := make([]event.BatchID, 0, len(f.Batches))
	last := uint32(math.MaxUint32)
	for i, b := range f.Batch {
		if b != last {
			if n := len(batches); n == 0 || batches[n-1] != f.Batches[b] {
				batches = append(batches, f.Batches[b])
			}
			last = b
		}
		f.Batch[i] = uint32(len(batches) - 1)
	}
	f.Batches = batches
}

// arrangement is how the elements of columns move, which stay in their memory.
type arrangement struct {
	order     []rowRange
	stretches []stretch
	n         int
	most      int // elements of a stretch that is copied
}

// stretch are elements [from, to) of an order. All come from between those of the
// stretches before and after it.
type stretch struct{ from, to, n int }

func arrange(order []rowRange) *arrangement {
	a := &arrangement{order: order}
	least := make([]int, len(order)+1) // where what comes from here on begins
	least[len(order)] = math.MaxInt
	for i := len(order) - 1; i >= 0; i-- {
		least[i] = min(least[i+1], order[i].start)
	}
	for i := 0; i < len(order); {
		s := stretch{from: i}
		for end := 0; i < len(order) && (i == s.from || end > least[i]); i++ {
			end = max(end, order[i].end)
			s.n += order[i].end - order[i].start
		}
		s.to = i
		a.stretches = append(a.stretches, s)
		if a.n += s.n; s.to-s.from > 1 {
			a.most = max(a.most, s.n)
		}
	}
	return a
}

// moved is a column in another order; nil stays nil.
func moved[T any](a *arrangement, column []T) []T {
	if column == nil {
		return nil
	}
	var scratch []T
	to := 0
	for _, s := range a.stretches {
		parts := a.order[s.from:s.to]
		if len(parts) == 1 {
			// What comes before it takes no more room than it did.
			if parts[0].start != to {
				copy(column[to:], column[parts[0].start:parts[0].end])
			}
			to += s.n
			continue
		}
		if scratch == nil {
			scratch = make([]T, 0, a.most)
		}
		scratch = scratch[:0]
		for _, r := range parts {
			scratch = append(scratch, column[r.start:r.end]...)
		}
		to += copy(column[to:], scratch)
	}
	return column[:a.n:a.n]
}
