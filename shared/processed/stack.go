package processed

import (
	"sort"
	"strings"

	"github.com/footfall/footfall/shared/event"
)

// Stack is rows of many frames, packed closely, and grows at its end: rows keep their
// places. The zero value is ready. It is for one goroutine.
type Stack struct {
	len                              int
	batches                          []event.BatchID
	batch, seq                       lane
	ids                              [][]ID // in blocks of blockRows
	millis, flags, engaged, value    lane
	users                            numbering[uint64]
	sessions                         numbering[Session]
	user, session                    lane // numbers
	text                             [NumStringColumns]stackText
	params                           map[string]*stackText
	items                            int
	itemRow, itemPrice, itemQuantity lane
	itemText                         [NumItemColumns]stackText
	remap                            []uint32 // scratch: codes of one frame to codes of another; 0 where not met
}

// Session is whose session a row belongs to, and what the client calls it; 0: nothing.
type Session struct{ Client, Session uint64 }

// stackText is a text column of a stack. Rows beyond the end of codes have none.
type stackText struct {
	texts Strings // without codes
	dict  dictionary
	codes lane
}

// Len is how many rows there are.
func (s *Stack) Len() int { return s.len }

// Millis is when a row happened, ms since the Unix epoch.
func (s *Stack) Millis(row uint32) int64 { return s.millis.at(row) }

// ID is that of a row's event.
func (s *Stack) ID(row uint32) ID { return s.ids[row>>blockBits][row&(blockRows-1)] }

// User is the number of a row's user, in the order in which they came, from 0.
func (s *Stack) User(row uint32) uint32 { return uint32(s.user.at(row)) }

// Users are those of all rows, by number. They must not be written.
func (s *Stack) Users() []uint64 { return s.users.keys }

// UserNumber is the number of a user; ok is false where no row is its.
func (s *Stack) UserNumber(user uint64) (number uint32, ok bool) { return s.users.find(user) }

// Session is the number of a row's session, in the order in which they came, from 0.
func (s *Stack) Session(row uint32) uint32 { return uint32(s.session.at(row)) }

// Code is what stands for a row's text in a column: 0 for none.
func (s *Stack) Code(c StringColumn, row uint32) uint32 { return uint32(s.text[c].codes.at(row)) }

// Size is about how much memory the rows take.
func (s *Stack) Size() int64 {
	const perText = 48
	n := int64(cap(s.batches))*16 + s.users.size(8) + s.sessions.size(16)
	for _, block := range s.ids {
		n += int64(cap(block)) * 16
	}
	for _, c := range []*lane{&s.batch, &s.seq, &s.millis, &s.flags, &s.engaged, &s.value, &s.user, &s.session, &s.itemRow, &s.itemPrice, &s.itemQuantity} {
		n += c.size()
	}
	text := func(t *stackText) { n += t.codes.size() + int64(t.dict.bytes+perText*len(t.texts.Dict)) }
	for c := range s.text {
		text(&s.text[c])
	}
	for _, p := range s.params {
		text(p)
	}
	for c := range s.itemText {
		text(&s.itemText[c])
	}
	return n
}

// Append copies a frame's rows to the end. All frames of a stack were decoded
// with Identity, Actors and the same other columns.
func (s *Stack) Append(from *Frame) {
	start, first := s.len, len(s.batches)
	s.len += from.Len
	s.batches = append(s.batches, from.Batches...)
	for row := range from.Len {
		s.batch.append(int64(from.Batch[row]) + int64(first))
		s.seq.append(int64(from.Seq[row]))
		s.addID(start+row, from.EventID[row])
		s.millis.append(from.Millis[row])
		s.user.append(int64(s.users.number(from.User[row])))
		s.session.append(int64(s.sessions.number(Session{from.Client[row], from.Session[row]})))
		s.flags.append(int64(from.Flags[row]))
		s.engaged.append(from.Engaged[row])
		s.value.append(from.Value[row])
	}
	for c := range s.text {
		s.join(&s.text[c], &from.Text[c], start)
	}
	for key, column := range from.Params {
		p := s.params[key]
		if p == nil {
			if s.params == nil {
				s.params = map[string]*stackText{}
			}
			p = &stackText{}
			s.params[key] = p
		}
		s.join(p, column, start)
	}
	items := &from.Items
	for i := range items.Len {
		s.itemRow.append(int64(items.Row[i]) + int64(start))
		s.itemPrice.append(items.Price[i])
		s.itemQuantity.append(items.Quantity[i])
	}
	for c := range s.itemText {
		s.join(&s.itemText[c], &items.Text[c], s.items)
	}
	s.items += items.Len
}

func (s *Stack) addID(row int, id ID) {
	if row&(blockRows-1) == 0 {
		var block []ID
		if row > 0 {
			block = make([]ID, 0, blockRows) // where there are many, growing would leave a quarter more
		}
		s.ids = append(s.ids, block)
	}
	block := &s.ids[len(s.ids)-1]
	*block = append(*block, id)
}

// join adds a column's rows, which begin at start.
func (s *Stack) join(to *stackText, from *Strings, start int) {
	if from.Code == nil || len(from.Dict) <= 1 {
		return
	}
	to.codes.pad(start)
	s.remap = append(s.remap[:0], make([]uint32, len(from.Dict))...)
	for _, code := range from.Code {
		if code != 0 && s.remap[code] == 0 {
			// The frame's text may hold the memory of a whole document.
			s.remap[code] = to.dict.code(&to.texts, strings.Clone(from.Dict[code]))
		}
		to.codes.append(int64(s.remap[code]))
	}
}

// Select is a frame of some rows, given in ascending order.
func (s *Stack) Select(rows []uint32) *Frame {
	n := len(rows)
	out := &Frame{Len: n, Batch: make([]uint32, n), EventID: make([]ID, n), User: make([]uint64, n), Client: make([]uint64, n), Session: make([]uint64, n)}
	s.remap = append(s.remap[:0], make([]uint32, len(s.batches))...)
	for i, row := range rows {
		b := s.batch.at(row)
		if s.remap[b] == 0 {
			out.Batches = append(out.Batches, s.batches[b])
			s.remap[b] = uint32(len(out.Batches))
		}
		out.Batch[i] = s.remap[b] - 1
		out.EventID[i] = s.ID(row)
		out.User[i] = s.users.keys[s.User(row)]
		of := s.sessions.keys[s.Session(row)]
		out.Client[i], out.Session[i] = of.Client, of.Session
	}
	out.Seq, out.Flags = pick[uint32](&s.seq, rows), pick[uint8](&s.flags, rows)
	out.Millis, out.Engaged, out.Value = pick[int64](&s.millis, rows), pick[int64](&s.engaged, rows), pick[int64](&s.value, rows)
	for c := range s.text {
		out.Text[c] = s.choose(&s.text[c], rows)
	}
	for key, column := range s.params {
		if chosen := s.choose(column, rows); chosen.Code != nil {
			if out.Params == nil {
				out.Params = map[string]*Strings{}
			}
			out.Params[key] = &chosen
		}
	}
	if s.items > 0 {
		s.chooseItems(out, rows)
	}
	return out
}

func (s *Stack) chooseItems(out *Frame, rows []uint32) {
	to := &out.Items
	var chosen []uint32
	at := 0
	for i, row := range rows {
		at += sort.Search(s.items-at, func(n int) bool { return s.itemRow.at(uint32(at+n)) >= int64(row) })
		for ; at < s.items && s.itemRow.at(uint32(at)) == int64(row); at++ {
			chosen = append(chosen, uint32(at))
			to.Row = append(to.Row, uint32(i))
		}
	}
	if to.Len = len(chosen); to.Len == 0 {
		return
	}
	to.Price, to.Quantity = pick[int64](&s.itemPrice, chosen), pick[int64](&s.itemQuantity, chosen)
	for c := range s.itemText {
		to.Text[c] = s.choose(&s.itemText[c], chosen)
	}
}

// choose is a column of some rows, with the texts that stand in them.
func (s *Stack) choose(from *stackText, rows []uint32) Strings {
	if from.codes.n == 0 {
		return Strings{}
	}
	s.remap = append(s.remap[:0], make([]uint32, len(from.texts.Dict))...)
	out := Strings{Dict: []string{""}, Code: make([]uint32, len(rows))}
	for i, row := range rows {
		code := from.codes.at(row)
		if code == 0 {
			continue
		}
		if s.remap[code] == 0 {
			s.remap[code] = uint32(len(out.Dict))
			out.Dict = append(out.Dict, from.texts.Dict[code])
		}
		out.Code[i] = s.remap[code]
	}
	if len(out.Dict) == 1 {
		return Strings{}
	}
	return out
}

func pick[T uint8 | uint32 | int64](from *lane, rows []uint32) []T {
	out := make([]T, len(rows))
	for i, row := range rows {
		out[i] = T(from.at(row))
	}
	return out
}

// Rows counts rows by batch and UTC hour: the unit of which readers take each
// once.
func (f *Frame) Rows(fn func(batch event.BatchID, hour event.Hour, rows int)) {
	f.eachUnit(0, f.Len, func(unit batchHour, start, end int) { fn(unit.batch, event.Hour(unit.hour), end-start) })
}
