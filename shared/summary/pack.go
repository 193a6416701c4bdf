package summary

import (
	"math"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/parallel"
	"github.com/footfall/footfall/shared/processed"
)

// Packed are lean facts by themselves, some 10 to 20 bytes for each row: what a
// question about them reads, but neither what was only needed to resolve them nor
// the rows that do not count. They stand user by user, users in the order in which
// sets keep them: who goes through them once has the sets of any grouping sorted,
// each user of a group once, and has looked no user up. They do not change and may
// be shared.
type Packed struct {
	Columns processed.Columns // that can be asked about
	Looked  int               // rows that were looked at

	n       int
	window  Window
	ends    []uint32 // by user: where its rows end
	hashes  []uint64 // by user, ascending: what sets keep of it
	flags   []uint8  // by row
	lengths []uint32 // of the rows that begin a session: its length, ms
	values  []int64  // of the rows that have a value
	millis  narrow   // from the window's start; nil where Columns has no Actors
	engaged narrow
	text    [processed.NumStringColumns]packedText
	params  map[string]packedText

	duplicateAt, filteredAt []int64
}

// Flags of a packed row.
const (
	packedBegins uint8 = 1 << iota
	packedEngaged
	packedBought
	packedValue
)

// packedText is a text column; without codes all rows have the first text.
type packedText struct {
	dict []string // ascending, each once
	code narrow
}

// narrow are numbers in as few bytes as the largest takes; all nil: they are 0.
type narrow struct {
	bytes  []uint8
	shorts []uint16
	words  []uint32
	longs  []int64
}

// Pack packs lean facts, but for items, as far as the columns ask: of them Actors
// stands for instants.
func (f *Facts) Pack(columns processed.Columns) *Packed {
	frame, n := f.Frame, len(f.Rows)
	columns.Identity, columns.Text = false, columns.Text|1<<processed.ColName|1<<processed.ColCurrency
	p := &Packed{Columns: columns, Looked: frame.Len, n: n, window: f.Window, duplicateAt: f.duplicateAt, filteredAt: f.filteredAt}
	l := f.layout(p)
	p.flags = spread(l, func(row uint32) uint8 { return f.packedFlags(row) })
	p.lengths = some(l, p.flags, packedBegins, func(row uint32) uint32 { return uint32(f.SessionMillis[row]) })
	p.values = some(l, p.flags, packedValue, func(row uint32) int64 { return frame.Value[row] })
	if columns.Actors {
		after := func(row uint32) int64 { return frame.Millis[row] - f.Window.From }
		if f.Window.To-f.Window.From > math.MaxUint32 {
			p.millis.longs = spread(l, after)
		} else {
			p.millis.words = spread(l, func(row uint32) uint32 { return uint32(after(row)) })
		}
	}
	if frame.Engaged != nil {
		p.engaged = l.numbers(frame.Engaged)
	}
	for c := range p.text {
		if columns.Text>>c&1 != 0 {
			p.text[c] = l.texts(&frame.Text[c])
		}
	}
	for _, name := range columns.Params {
		if s := frame.Params[name]; s != nil && s.Code != nil {
			if p.params == nil {
				p.params = map[string]packedText{}
			}
			p.params[name] = l.texts(s)
		}
	}
	return p
}

func (f *Facts) packedFlags(row uint32) (flags uint8) {
	if f.Begins[row] {
		flags = packedBegins
		if f.EngagedBegin[row] {
			flags |= packedEngaged
		}
	}
	if f.Purchase[row] {
		flags |= packedBought
	}
	if f.Frame.Flags != nil && f.Frame.Flags[row]&processed.FlagHasValue != 0 {
		flags |= packedValue
	}
	return flags
}

// layout is where rows go: dealt to parts by the upper bits of their users' hashes,
// and within a part, which fits a processor's cache, to their users.
type layout struct {
	rows  []uint32
	part  []uint8    // by place in rows
	next  [][]uint32 // by range of rows, then by part: where its first row goes
	ends  []uint32   // by part
	local []uint32   // by place where a row was dealt to: its own, from the part's start
}

func (f *Facts) layout(p *Packed) *layout {
	n := len(f.Rows)
	bits := partsOf(n)
	l := &layout{rows: f.Rows, local: make([]uint32, n)}
	user := f.Frame.User
	dealt := make([]uint64, n)
	l.deal(bits, func(row uint32) uint64 { return mix(user[row]) })
	l.each(func(_, from, to int, next []uint32) {
		for i, row := range f.Rows[from:to] {
			part := l.part[from+i]
			dealt[next[part]] = mix(user[row])
			next[part]++
		}
	})
	users := make([][]uint64, len(l.ends))
	ends := make([][]uint32, len(l.ends))
	desks := make([]userDesk, workers(n))
	parallel.Share(len(desks), len(l.ends), func(g, part int) {
		from, to := l.bounds(part)
		users[part], ends[part] = desks[g].arrange(dealt[from:to], l.local[from:to], uint32(from), bits)
	})
	p.ends = slices.Concat(ends...)
	p.hashes = slices.Concat(users...)
	for i, mixed := range p.hashes {
		p.hashes[i] = setHash(mixed)
	}
	return l
}

func (l *layout) cut(i int) int { return len(l.rows) * i / len(l.next) }

// deal chooses the parts.
func (l *layout) deal(bits uint, hash func(row uint32) uint64) {
	n := len(l.rows)
	l.part, l.ends, l.next = make([]uint8, n), make([]uint32, 1<<bits), make([][]uint32, workers(n))
	parallel.Do(len(l.next), func(i int) {
		from, to := l.cut(i), l.cut(i+1)
		counts := make([]uint32, 1<<bits)
		for k, row := range l.rows[from:to] {
			part := partOf(hash(row), bits)
			l.part[from+k] = part
			counts[part]++
		}
		l.next[i] = counts
	})
	sum := uint32(0)
	for part := range l.ends {
		for _, next := range l.next {
			next[part], sum = sum, sum+next[part]
		}
		l.ends[part] = sum
	}
}

// each calls fn with ranges of places side by side, and with what says where the
// next row of a part goes.
func (l *layout) each(fn func(i, from, to int, next []uint32)) {
	parallel.Do(len(l.next), func(i int) { fn(i, l.cut(i), l.cut(i+1), slices.Clone(l.next[i])) })
}

func (l *layout) bounds(part int) (from, to int) {
	if part > 0 {
		from = int(l.ends[part-1])
	}
	return from, int(l.ends[part])
}

// spread brings what a row has to its place.
func spread[T any](l *layout, of func(row uint32) T) []T {
	dealt, out := make([]T, len(l.rows)), make([]T, len(l.rows))
	l.each(func(_, from, to int, next []uint32) {
		for i, row := range l.rows[from:to] {
			part := l.part[from+i]
			dealt[next[part]] = of(row)
			next[part]++
		}
	})
	parallel.Share(len(l.next), len(l.ends), func(_, part int) {
		from, to := l.bounds(part)
		room := out[from:to]
		for i, at := range l.local[from:to] {
			room[at] = dealt[from+i]
		}
	})
	return out
}

// some are what the rows with a flag have, in their order.
func some[T any](l *layout, flags []uint8, flag uint8, of func(row uint32) T) []T {
	n := 0
	for _, f := range flags {
		if f&flag != 0 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]T, 0, n)
	all := spread(l, of)
	for i, f := range flags {
		if f&flag != 0 {
			out = append(out, all[i])
		}
	}
	return out
}

// numbers packs what is below zero, or does not fit, as it is.
func (l *layout) numbers(of []int64) narrow {
	var any int64
	for _, row := range l.rows {
		v := of[row]
		if v < 0 {
			any = -1
			break
		}
		any |= v
	}
	switch {
	case any == 0:
		return narrow{}
	case any < 0 || any > math.MaxUint32:
		return narrow{longs: spread(l, func(row uint32) int64 { return of[row] })}
	case any > math.MaxUint16:
		return narrow{words: spread(l, func(row uint32) uint32 { return uint32(of[row]) })}
	default:
		return narrow{shorts: spread(l, func(row uint32) uint16 { return uint16(of[row]) })}
	}
}

// texts packs a column, with its own copy of those of its texts that rows have, in
// order.
func (l *layout) texts(s *processed.Strings) packedText {
	if s.Code == nil {
		return packedText{dict: []string{""}}
	}
	used := make([]bool, len(s.Dict))
	for _, row := range l.rows {
		used[s.Code[row]] = true
	}
	p := packedText{}
	for at, text := range s.Dict {
		if used[at] {
			p.dict = append(p.dict, strings.Clone(text))
		}
	}
	slices.Sort(p.dict)
	code := make([]uint32, len(s.Dict))
	for at, text := range s.Dict {
		if used[at] {
			place, _ := slices.BinarySearch(p.dict, text)
			code[at] = uint32(place)
		}
	}
	switch n := len(p.dict); {
	case n <= 1:
	case n <= 1<<8:
		p.code.bytes = spread(l, func(row uint32) uint8 { return uint8(code[s.Code[row]]) })
	case n <= 1<<16:
		p.code.shorts = spread(l, func(row uint32) uint16 { return uint16(code[s.Code[row]]) })
	default:
		p.code.words = spread(l, func(row uint32) uint32 { return code[s.Code[row]] })
	}
	return p
}

// userDesk is memory that serves one part after the other.
type userDesk struct {
	table   []uint32 // of users, from 1; 0 is free
	numbers []uint32 // by row: its user's
	users   []uint64
	keys    []uint64 // of users, in order
	next    []uint32 // by user: the place of its next row
}

// arrange tells the places of rows of which the mixed hashes of the users are
// given, whose upper bits are the same, and the users in order with their ends, the
// first row being first.
func (d *userDesk) arrange(rows []uint64, place []uint32, first uint32, bits uint) (users []uint64, ends []uint32) {
	size := 1 << tableBits(len(rows))
	d.table = slices.Grow(d.table[:0], size)[:size]
	clear(d.table)
	d.numbers = slices.Grow(d.numbers[:0], len(rows))[:len(rows)]
	d.users = d.users[:0]
	for i, mixed := range rows {
		slot := mixed & uint64(size-1)
		for d.table[slot] != 0 && d.users[d.table[slot]-1] != mixed {
			slot = (slot + 1) & uint64(size-1)
		}
		if d.table[slot] == 0 {
			d.users = append(d.users, mixed)
			d.table[slot] = uint32(len(d.users))
		}
		d.numbers[i] = d.table[slot] - 1
	}
	n := len(d.users)
	d.keys = slices.Grow(d.keys[:0], n)[:n]
	for i, mixed := range d.users {
		d.keys[i] = mixed<<bits&^(1<<32-1) | uint64(i)
	}
	sortUpper(d.keys)
	for i := 1; i < n; i++ { // those of one upper half
		for k := i; k > 0 && d.users[uint32(d.keys[k])] < d.users[uint32(d.keys[k-1])]; k-- {
			d.keys[k], d.keys[k-1] = d.keys[k-1], d.keys[k]
		}
	}
	d.next = slices.Grow(d.next[:0], n)[:n]
	clear(d.next)
	for _, number := range d.numbers {
		d.next[number]++
	}
	users, ends = make([]uint64, n), make([]uint32, n)
	sum := uint32(0)
	for i, key := range d.keys {
		user := uint32(key)
		d.next[user], sum = sum, sum+d.next[user]
		users[i], ends[i] = d.users[user], first+sum
	}
	for i, number := range d.numbers {
		place[i] = d.next[number]
		d.next[number]++
	}
	return users, ends
}

// Size is about how much memory they take.
func (p *Packed) Size() int64 {
	n := int64(4096+12*len(p.ends)+len(p.flags)+4*len(p.lengths)+8*len(p.values)+8*len(p.duplicateAt)+8*len(p.filteredAt)) + p.millis.size() + p.engaged.size()
	for i := range p.text {
		n += p.text[i].size()
	}
	for _, t := range p.params {
		n += 128 + t.size()
	}
	return n
}

func (t *packedText) size() int64 {
	n := t.code.size() + int64(16*len(t.dict))
	for _, text := range t.dict {
		n += int64(len(text))
	}
	return n
}

func (v *narrow) size() int64 {
	return int64(len(v.bytes) + 2*len(v.shorts) + 4*len(v.words) + 8*len(v.longs))
}
