package processed

// Builder packs rows into a frame. The zero value is ready. Rows of one batch
// are added together and in order of Seq, batches in order of id.
type Builder struct {
	f      Frame
	text   [NumStringColumns]dictionary
	params map[string]*paramColumn
	items  [NumItemColumns]dictionary
}

type paramColumn struct {
	column Strings
	dict   dictionary
}

// Len is the number of rows added.
func (b *Builder) Len() int { return b.f.Len }

// Add appends a row.
func (b *Builder) Add(r Row) { b.Append(&r) }

// Append appends a row without copying it; it keeps r's strings only.
func (b *Builder) Append(r *Row) {
	f := &b.f
	i := f.Len
	f.Len++
	if n := len(f.Batches); n == 0 || f.Batches[n-1] != r.Batch {
		f.Batches = append(f.Batches, r.Batch)
	}
	f.Batch = append(f.Batch, uint32(len(f.Batches)-1))
	f.Seq = append(f.Seq, r.Seq)
	f.EventID = append(f.EventID, r.EventID)
	f.Millis = append(f.Millis, r.Millis)
	f.User = append(f.User, r.User)
	f.Client = append(f.Client, r.Client)
	f.Session = append(f.Session, r.Session)
	f.Flags = append(f.Flags, r.Flags)
	f.Engaged = append(f.Engaged, r.Engaged)
	f.Value = append(f.Value, r.Value)
	for c := range r.Text {
		put(&f.Text[c], &b.text[c], i, r.Text[c])
	}
	for k := range r.Params {
		b.param(i, &r.Params[k])
	}
	for k := range r.Items {
		it, n := &r.Items[k], f.Items.Len
		f.Items.Len++
		f.Items.Row = append(f.Items.Row, uint32(i))
		f.Items.Price = append(f.Items.Price, it.Price)
		f.Items.Quantity = append(f.Items.Quantity, it.Quantity)
		for c := range it.Text {
			put(&f.Items.Text[c], &b.items[c], n, it.Text[c])
		}
	}
}

func (b *Builder) param(i int, p *Param) {
	if p.Text == "" {
		return
	}
	column := b.params[p.Key]
	if column == nil {
		if b.params == nil {
			b.params = map[string]*paramColumn{}
		}
		column = &paramColumn{}
		b.params[p.Key] = column
	}
	if len(column.column.Code) > i {
		return // the key stood in this row already
	}
	put(&column.column, &column.dict, i, p.Text)
}

// Frame is what was added. The builder is empty afterwards.
func (b *Builder) Frame() *Frame {
	f := b.f
	for c := range f.Text {
		pad(&f.Text[c], f.Len)
	}
	for c := range f.Items.Text {
		pad(&f.Items.Text[c], f.Items.Len)
	}
	if len(b.params) > 0 {
		f.Params = make(map[string]*Strings, len(b.params))
		for key, p := range b.params {
			pad(&p.column, f.Len)
			f.Params[key] = &p.column
		}
	}
	*b = Builder{}
	return &f
}

// put sets row i of a column whose rows before i may not be written yet: a
// column that stays empty costs nothing.
func put(s *Strings, d *dictionary, i int, text string) {
	if text == "" {
		if s.Code != nil {
			pad(s, i+1)
		}
		return
	}
	code := d.code(s, text)
	pad(s, i)
	s.Code = append(s.Code, code)
}

// pad fills a column that is in use with "" up to n rows.
func pad(s *Strings, n int) {
	if s.Code == nil && s.Dict == nil {
		return
	}
	for len(s.Code) < n {
		s.Code = append(s.Code, 0)
	}
}

// dictionary finds a text's code. Few texts are compared one by one, which is
// quicker than hashing them and allocates nothing; many go into a map.
type dictionary struct {
	codes map[string]uint32
}

const scanned = 8

func (d *dictionary) code(s *Strings, text string) uint32 {
	if text == "" {
		return 0
	}
	if s.Dict == nil {
		s.Dict = append(make([]string, 0, 4), "")
	}
	if d.codes == nil {
		for k := len(s.Dict) - 1; k > 0; k-- {
			if s.Dict[k] == text {
				return uint32(k)
			}
		}
	} else if code, ok := d.codes[text]; ok {
		return code
	}
	code := uint32(len(s.Dict))
	s.Dict = append(s.Dict, text)
	if d.codes != nil {
		d.codes[text] = code
	} else if len(s.Dict) > scanned {
		d.codes = make(map[string]uint32, 4*scanned)
		for k := 1; k < len(s.Dict); k++ {
			d.codes[s.Dict[k]] = uint32(k)
		}
	}
	return code
}
