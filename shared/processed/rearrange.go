package processed

import (
	"math"
	"slices"

	"github.com/footfall/footfall/shared/event"
)

// rowRange are rows, or items, [start, end).
type rowRange struct{ start, end int }

// rearrange makes these its rows, in this order. Of none are some there twice.
func (f *Frame) rearrange(order []rowRange) {
	if len(order) == 1 && order[0] == (rowRange{0, f.Len}) {
		return
	}
	a := arrange(order)
	f.rearrangeItems(order)
	f.Len = a.n
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
	f.listBatches()
}

func (f *Frame) rearrangeItems(order []rowRange) {
	items := &f.Items
	if items.Len == 0 {
		return
	}
	var of []rowRange
	var places []uint32 // of the rows that they belong to
	to := 0
	for _, r := range order {
		start, _ := slices.BinarySearch(items.Row, uint32(r.start))
		end, _ := slices.BinarySearch(items.Row, uint32(r.end))
		if start < end {
			of = append(of, rowRange{start, end})
		}
		for _, row := range items.Row[start:end] {
			places = append(places, row-uint32(r.start)+uint32(to))
		}
		to += r.end - r.start
	}
	if len(places) == 0 {
		*items = ItemFrame{}
		return
	}
	a := arrange(of)
	items.Len, items.Row = a.n, places
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

// renumberBatches lists batches once that follow one another, where rows stand in the
// order of the list.
func (f *Frame) renumberBatches() {
	again := false
	for i := 1; i < len(f.Batches); i++ {
		again = again || f.Batches[i] == f.Batches[i-1]
	}
	if again {
		f.listBatches()
	}
}

// listBatches lists the batches in the order of their rows.
func (f *Frame) listBatches() {
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
