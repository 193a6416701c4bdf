package processed

import (
	"slices"

	"github.com/footfall/footfall/shared/parallel"
)

// manyRows are worth another goroutine.
const manyRows = 1 << 15

// fillAll fills a large frame in sections side by side. Each has dictionaries of
// its own, which are made one afterwards.
func (u *Union) fillAll() error {
	n := min(parallel.Workers(u.rows, manyRows), len(u.parts))
	if n < 2 {
		return u.fill()
	}
	sections := u.split(n)
	errs := make([]error, len(sections))
	parallel.Do(len(sections), func(i int) { errs[i] = sections[i].fill() })
	for i, s := range sections {
		if errs[i] != nil {
			return errs[i]
		}
		for k := range s.parts { // decoding says which parts have no rows that count
			at := &u.parts[s.firstPart+k]
			at.keep, at.none = s.parts[k].keep, s.parts[k].none
		}
	}
	u.join(sections)
	return nil
}

// section is a union of consecutive parts of another, whose frame is a piece of
// the other's.
type section struct {
	Union
	firstPart, firstRow int
}

// split cuts the parts into at most n sections of about as many rows.
func (u *Union) split(n int) []*section {
	var out []*section
	for first := 0; first < len(u.parts); {
		start, next := u.parts[first].start, first+1
		for next < len(u.parts) && (len(out) == n-1 || u.parts[next].end-start <= u.rows/n) {
			next++
		}
		end, f := u.parts[next-1].end, u.f
		s := &section{firstPart: first, firstRow: start}
		s.columns, s.rows, s.parts = u.columns, end-start, slices.Clone(u.parts[first:next])
		for i := range s.parts {
			s.parts[i].start -= start
			s.parts[i].end -= start
		}
		s.f = &Frame{
			Len: s.rows, Batch: f.Batch[start:end], Seq: f.Seq[start:end], EventID: f.EventID[start:end], Flags: f.Flags[start:end],
			Millis: f.Millis[start:end], Engaged: f.Engaged[start:end], Value: f.Value[start:end],
			User: f.User[start:end], Client: f.Client[start:end], Session: f.Session[start:end],
		}
		out, first = append(out, s), next
	}
	return out
}

// join makes the sections' columns those of the frame.
func (u *Union) join(sections []*section) {
	f := u.f
	for _, s := range sections {
		if first := uint32(len(f.Batches)); first > 0 {
			for i := range s.f.Batch {
				s.f.Batch[i] += first
			}
		}
		f.Batches = append(f.Batches, s.f.Batches...)
		items := &s.f.Items
		for _, row := range items.Row {
			f.Items.Row = append(f.Items.Row, row+uint32(s.firstRow))
		}
		f.Items.Price, f.Items.Quantity = append(f.Items.Price, items.Price...), append(f.Items.Quantity, items.Quantity...)
		f.Items.Len += items.Len
	}
	var joins []func()
	column := func(to *Strings, rows int, of func(s *section) (*Strings, int)) {
		joins = append(joins, func() { joinColumn(to, rows, sections, of) })
	}
	for c := range f.Text {
		column(&f.Text[c], f.Len, func(s *section) (*Strings, int) { return &s.f.Text[c], s.f.Len })
	}
	for c := range f.Items.Text {
		column(&f.Items.Text[c], f.Items.Len, func(s *section) (*Strings, int) { return &s.f.Items.Text[c], s.f.Items.Len })
	}
	for _, s := range sections {
		for key := range s.f.Params {
			if f.Params == nil {
				f.Params = map[string]*Strings{}
			}
			if f.Params[key] != nil {
				continue
			}
			to := &Strings{}
			f.Params[key] = to
			column(to, f.Len, func(s *section) (*Strings, int) { return s.f.Params[key], s.f.Len })
		}
	}
	parallel.Share(len(sections), len(joins), func(_, i int) { joins[i]() })
}

// joinColumn puts the column that each section has, nil or empty where it has
// none, and its length, one after the other.
func joinColumn(to *Strings, rows int, sections []*section, of func(*section) (*Strings, int)) {
	var dict dictionary
	at := 0
	for _, s := range sections {
		from, n := of(s)
		if from != nil && from.Code != nil {
			if to.Code == nil {
				to.Dict, to.Code = []string{""}, make([]uint32, rows)
			}
			remap := make([]uint32, len(from.Dict))
			for code, text := range from.Dict {
				remap[code] = dict.code(to, text)
			}
			codes := to.Code[at : at+n]
			for i, code := range from.Code {
				codes[i] = remap[code]
			}
		}
		at += n
	}
}
