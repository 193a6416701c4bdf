package summary

import (
	"slices"

	"github.com/footfall/footfall/shared/processed"
)

// Facts are the packed ones for a question, under settings that differ from those
// they were resolved with in nothing that decides what counts. Their rows stand in
// the order of users. Instants are told only where asked for: without them nothing
// may be asked about time, and all of the window is asked about.
func (p *Packed) Facts(s Settings, millis bool) *Facts {
	f := &Facts{
		Frame: &processed.Frame{Len: p.n}, Window: p.window, Settings: s, Rows: make([]uint32, p.n), packed: p,
		duplicateAt: p.duplicateAt, filteredAt: p.filteredAt, Duplicates: int64(len(p.duplicateAt)), Filtered: int64(len(p.filteredAt)),
		classes: classesOf(&processed.Strings{Dict: p.text[processed.ColName].dict}, s.KeyEvents),
	}
	for i := range f.Rows {
		f.Rows[i] = uint32(i)
	}
	if millis {
		f.Frame.Millis = make([]int64, p.n)
		for i := range f.Frame.Millis {
			f.Frame.Millis[i] = p.window.From + p.millis.at(uint32(i))
		}
	}
	return f
}

// Holds reports whether the columns can be asked about.
func (p *Packed) Holds(columns processed.Columns) bool {
	for _, name := range columns.Params {
		if !slices.Contains(p.Columns.Params, name) {
			return false
		}
	}
	return columns.Text&^p.Columns.Text == 0 && (p.Columns.Actors || !columns.Actors)
}

// With are the columns that hold both these and others.
func (p *Packed) With(columns processed.Columns) processed.Columns {
	both := processed.Columns{Text: p.Columns.Text | columns.Text, Actors: p.Columns.Actors || columns.Actors}
	both.Params = append(slices.Clone(p.Columns.Params), columns.Params...)
	slices.Sort(both.Params)
	both.Params = slices.Compact(both.Params)
	return both
}

func (v *narrow) at(i uint32) int64 {
	switch {
	case v.bytes != nil:
		return int64(v.bytes[i])
	case v.shorts != nil:
		return int64(v.shorts[i])
	case v.words != nil:
		return int64(v.words[i])
	case v.longs != nil:
		return v.longs[i]
	default:
		return 0
	}
}

// column is a text column by row.
func (p *Packed) column(t *packedText) Column {
	c := Column{Dict: t.dict, Code: t.code.words}
	if len(c.Dict) == 0 {
		c.Dict = []string{""}
	}
	if c.Code != nil {
		return c
	}
	c.Code = make([]uint32, p.n)
	for i, v := range t.code.bytes {
		c.Code[i] = uint32(v)
	}
	for i, v := range t.code.shorts {
		c.Code[i] = uint32(v)
	}
	return c
}

// match writes by row whether its text passes.
func (t *packedText) match(passes func(text string) bool, out []bool) {
	verdicts := verdictsOf(t.dict, passes)
	for i, code := range t.code.bytes {
		out[i] = verdicts[code]
	}
	for i, code := range t.code.shorts {
		out[i] = verdicts[code]
	}
	for i, code := range t.code.words {
		out[i] = verdicts[code]
	}
	if len(t.dict) == 1 {
		for i := range out {
			out[i] = verdicts[0]
		}
	}
}

// keyEvents is the column of DimIsKeyEvent.
func (p *Packed) keyEvents(classes []class) Column {
	c := p.column(&p.text[processed.ColName])
	code := make([]uint32, p.n)
	for i, name := range c.Code {
		if classes[name]&isKeyEvent != 0 {
			code[i] = 1
		}
	}
	return Column{keyEventValues, code}
}
