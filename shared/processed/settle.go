package processed

import (
	"bytes"
	"cmp"
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

const hourMillis = 3600_000

// batchHour is the unit that counts once.
type batchHour struct {
	batch event.BatchID
	hour  int64
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
		batch, unit, end := f.Batch[start], f.unit(start), start+1
		for from := unit.hour * hourMillis; end < to && f.Batch[end] == batch && uint64(f.Millis[end]-from) < hourMillis; end++ {
		}
		fn(unit, start, end)
		start = end
	}
}

// floorHour is the hour of an instant.
func floorHour(ms int64) int64 {
	hour := ms / hourMillis
	if ms%hourMillis < 0 {
		hour--
	}
	return hour
}

// settle settles the rows of a frame's parts.
func (f *Frame) settle(parts []part) {
	s := settling{f: f}
	if !s.cut(parts) {
		f.renumberBatches()
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
