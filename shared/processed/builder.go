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

// Size bounds what was added, in bytes: of the builder's memory and, but for
// some headers, of the document that Encode will make.
func (b *Builder) Size() int {
	const numbers = 77 // of a row: all columns that are no text
	size := b.f.Len*numbers + b.f.Items.Len*20
	for c := range b.text {
		size += b.text[c].bytes + 4*len(b.f.Text[c].Code)
	}
	for c := range b.items {
		size += b.items[c].bytes + 4*len(b.f.Items.Text[c].Code)
	}
	for key, p := range b.params {
		size += len(key) + p.dict.bytes + 4*b.f.Len
	}
	return size
}

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
	b.finish()
	f := b.f
	*b = Builder{}
	return &f
}

// Encode is the document of what was added: Encode(b.Frame()), but the
// builder, empty afterwards, keeps its memory for the next frame.
func (b *Builder) Encode() []byte {
	b.finish()
	data := Encode(&b.f)
	b.reset()
	return data
}

// finish makes every column as long as the frame.
func (b *Builder) finish() {
	f := &b.f
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
}

// reset empties the builder and keeps no text alive: a text may be part of a
// whole batch's memory.
func (b *Builder) reset() {
	f := &b.f
	f.Len = 0
	f.Batches, f.Batch, f.Seq, f.EventID = f.Batches[:0], f.Batch[:0], f.Seq[:0], f.EventID[:0]
	f.Millis, f.User, f.Client, f.Session = f.Millis[:0], f.User[:0], f.Client[:0], f.Session[:0]
	f.Flags, f.Engaged, f.Value = f.Flags[:0], f.Engaged[:0], f.Value[:0]
	for c := range f.Text {
		b.text[c].reset(&f.Text[c])
	}
	items := &f.Items
	items.Len = 0
	items.Row, items.Price, items.Quantity = items.Row[:0], items.Price[:0], items.Quantity[:0]
	for c := range items.Text {
		b.items[c].reset(&items.Text[c])
	}
	f.Params, b.params = nil, nil
}

// put sets row i of a column whose rows before i may not be written yet: a
// column that stays empty costs nothing.
func put(s *Strings, d *dictionary, i int, text string) {
	if text == "" {
		return // the next text or the end pads
	}
	code := d.code(s, text)
	pad(s, i)
	s.Code = append(s.Code, code)
}

// pad fills a column that is in use with "" up to n rows.
func pad(s *Strings, n int) {
	if len(s.Dict) == 0 {
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
	bytes int // of all texts, with what they cost
}

const (
	scanned  = 8
	textCost = 16 // of a text beside its letters
)

func (d *dictionary) code(s *Strings, text string) uint32 {
	if text == "" {
		return 0
	}
	if s.Dict == nil {
		s.Dict = make([]string, 0, 4) // most columns of a quiet hour have fewer
	}
	if len(s.Dict) == 0 {
		s.Dict = append(s.Dict, "")
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
	d.bytes += len(text) + textCost
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

// codeOf is code of a text that is copied only where it is new.
func (d *dictionary) codeOf(s *Strings, text []byte) uint32 {
	if d.codes == nil {
		for k := len(s.Dict) - 1; k >= 0; k-- {
			if s.Dict[k] == string(text) {
				return uint32(k)
			}
		}
	} else if code, ok := d.codes[string(text)]; ok {
		return code
	}
	return d.code(s, string(text))
}

func (d *dictionary) reset(s *Strings) {
	clear(s.Dict)
	s.Dict, s.Code = s.Dict[:0], s.Code[:0]
	d.codes, d.bytes = nil, 0
}
