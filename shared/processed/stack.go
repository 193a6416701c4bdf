package processed

import (
	"slices"

	"github.com/footfall/footfall/shared/event"
)

// Stack is a frame that grows at its end: rows keep their places. The zero value
// is ready. It is for one goroutine.
type Stack struct {
	f      Frame
	text   [NumStringColumns]dictionary
	items  [NumItemColumns]dictionary
	params map[string]*paramColumn
	remap  []uint32 // scratch: codes of one frame to codes of another; 0 where not met
}

// Frame is what lies on the stack. It may be read until the next Append.
func (s *Stack) Frame() *Frame { return &s.f }

// Append copies a frame's rows to the end. All frames of a stack were decoded
// with Identity, Actors and the same other columns.
func (s *Stack) Append(from *Frame) {
	f := &s.f
	start := f.Len
	f.Len += from.Len
	first := uint32(len(f.Batches))
	f.Batches = append(f.Batches, from.Batches...)
	for _, b := range from.Batch {
		f.Batch = append(f.Batch, b+first)
	}
	f.Seq = append(f.Seq, from.Seq...)
	f.EventID = append(f.EventID, from.EventID...)
	f.Millis = append(f.Millis, from.Millis...)
	f.User = append(f.User, from.User...)
	f.Client = append(f.Client, from.Client...)
	f.Session = append(f.Session, from.Session...)
	f.Flags = append(f.Flags, from.Flags...)
	f.Engaged = append(f.Engaged, from.Engaged...)
	f.Value = append(f.Value, from.Value...)
	for c := range f.Text {
		s.join(&f.Text[c], &s.text[c], &from.Text[c], start, f.Len)
	}
	for key, column := range from.Params {
		p := s.params[key]
		if p == nil {
			if s.params == nil {
				s.params, f.Params = map[string]*paramColumn{}, map[string]*Strings{}
			}
			p = &paramColumn{}
			s.params[key], f.Params[key] = p, &p.column
		}
		s.join(&p.column, &p.dict, column, start, f.Len)
	}
	for key, p := range s.params {
		if from.Params[key] == nil {
			pad(&p.column, f.Len)
		}
	}
	items := &f.Items
	at := items.Len
	items.Len += from.Items.Len
	for _, row := range from.Items.Row {
		items.Row = append(items.Row, row+uint32(start))
	}
	items.Price = append(items.Price, from.Items.Price...)
	items.Quantity = append(items.Quantity, from.Items.Quantity...)
	for c := range items.Text {
		s.join(&items.Text[c], &s.items[c], &from.Items.Text[c], at, items.Len)
	}
}

// join adds a column's rows, which go to [start, end).
func (s *Stack) join(to *Strings, d *dictionary, from *Strings, start, end int) {
	if from.Code != nil && len(from.Dict) > 1 {
		if to.Dict == nil {
			to.Dict = append(to.Dict, "")
		}
		pad(to, start)
		s.remap = append(s.remap[:0], make([]uint32, len(from.Dict))...)
		for _, code := range from.Code {
			if code != 0 && s.remap[code] == 0 {
				s.remap[code] = d.code(to, from.Dict[code])
			}
			to.Code = append(to.Code, s.remap[code])
		}
	}
	pad(to, end)
}

// Select is a frame of some rows, given in ascending order.
func (s *Stack) Select(rows []uint32) *Frame {
	f, n := &s.f, len(rows)
	out := &Frame{Len: n, Batch: make([]uint32, n)}
	s.remap = append(s.remap[:0], make([]uint32, len(f.Batches))...)
	for i, row := range rows {
		b := f.Batch[row]
		if s.remap[b] == 0 {
			out.Batches = append(out.Batches, f.Batches[b])
			s.remap[b] = uint32(len(out.Batches))
		}
		out.Batch[i] = s.remap[b] - 1
	}
	out.Seq, out.EventID, out.Millis = pick(f.Seq, rows), pick(f.EventID, rows), pick(f.Millis, rows)
	out.User, out.Client, out.Session = pick(f.User, rows), pick(f.Client, rows), pick(f.Session, rows)
	out.Flags, out.Engaged, out.Value = pick(f.Flags, rows), pick(f.Engaged, rows), pick(f.Value, rows)
	for c := range f.Text {
		out.Text[c] = s.choose(&f.Text[c], rows)
	}
	for key, column := range f.Params {
		if chosen := s.choose(column, rows); chosen.Code != nil {
			if out.Params == nil {
				out.Params = map[string]*Strings{}
			}
			out.Params[key] = &chosen
		}
	}
	if f.Items.Len > 0 {
		s.chooseItems(out, rows)
	}
	return out
}

func (s *Stack) chooseItems(out *Frame, rows []uint32) {
	from, to := &s.f.Items, &out.Items
	var chosen []uint32
	for i, row := range rows {
		at, _ := slices.BinarySearch(from.Row, row)
		for ; at < from.Len && from.Row[at] == row; at++ {
			chosen = append(chosen, uint32(at))
			to.Row = append(to.Row, uint32(i))
		}
	}
	if to.Len = len(chosen); to.Len == 0 {
		return
	}
	to.Price, to.Quantity = pick(from.Price, chosen), pick(from.Quantity, chosen)
	for c := range from.Text {
		to.Text[c] = s.choose(&from.Text[c], chosen)
	}
}

// choose is a column of some rows, with the texts that stand in them.
func (s *Stack) choose(from *Strings, rows []uint32) Strings {
	if from.Code == nil {
		return Strings{}
	}
	s.remap = append(s.remap[:0], make([]uint32, len(from.Dict))...)
	out := Strings{Dict: []string{""}, Code: make([]uint32, len(rows))}
	for i, row := range rows {
		code := from.Code[row]
		if code == 0 {
			continue
		}
		if s.remap[code] == 0 {
			s.remap[code] = uint32(len(out.Dict))
			out.Dict = append(out.Dict, from.Dict[code])
		}
		out.Code[i] = s.remap[code]
	}
	if len(out.Dict) == 1 {
		return Strings{}
	}
	return out
}

func pick[T any](from []T, rows []uint32) []T {
	out := make([]T, len(rows))
	for i, row := range rows {
		out[i] = from[row]
	}
	return out
}

// Rows counts rows by batch and UTC hour: the unit of which readers take each
// once.
func (f *Frame) Rows(fn func(batch event.BatchID, hour event.Hour, rows int)) {
	for start := 0; start < f.Len; {
		end, hour := f.runFrom(start, f.Len)
		fn(f.Batches[f.Batch[start]], event.Hour(hour), end-start)
		start = end
	}
}
