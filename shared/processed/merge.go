package processed

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/footfall/footfall/shared/event"
)

const hourMillis = 3600_000

// Merge joins frames into one: rows in order of batch, then of Seq.
//
// A batch's rows of one UTC hour are the same wherever they stand, so of a
// batch and hour that several frames hold, the first frame's rows count and
// the others are dropped. Frames of several hours may be merged where Millis
// was decoded; without it all frames must be of one hour.
//
// All frames must have been decoded with Identity and with the same other
// columns: a numeric column that one of them lacks is missing in the result.
// The frames are left as they are; the result may share memory with them.
func Merge(frames ...*Frame) *Frame {
	var holding []*Frame
	for _, f := range frames {
		if f != nil && f.Len > 0 {
			holding = append(holding, f)
		}
	}
	if len(holding) == 0 {
		return &Frame{}
	}
	m := merger{frames: holding}
	m.plan()
	if len(holding) == 1 && m.whole() {
		return holding[0]
	}
	return m.merge()
}

// run is a stretch of consecutive rows of one frame, batch and hour, and
// where it goes.
type run struct {
	batch      event.BatchID
	frame      int
	start, end int
	to         int
}

type merger struct {
	frames []*Frame
	runs   []run
	rows   int
}

// batchHour is the unit that counts once.
type batchHour struct {
	batch event.BatchID
	hour  int64
}

// plan cuts the frames into runs, drops those that an earlier frame holds, and
// puts the others in order.
func (m *merger) plan() {
	holder := map[batchHour]int{}
	for k, f := range m.frames {
		f.eachUnit(0, f.Len, func(unit batchHour, start, end int) {
			first, held := holder[unit]
			if !held {
				holder[unit], first = k, k
			}
			if first == k {
				m.runs = append(m.runs, run{batch: unit.batch, frame: k, start: start, end: end})
			}
		})
	}
	m.arrange()
}

// arrange puts the runs in order.
func (m *merger) arrange() {
	m.sort()
	if split := m.untangle(); split {
		m.sort()
	}
	for i := range m.runs {
		m.runs[i].to = m.rows
		m.rows += m.runs[i].end - m.runs[i].start
	}
}

// runFrom is the end of the run that begins at a row, not after to, and its
// hour.
func (f *Frame) runFrom(start, to int) (end int, hour int64) {
	batch := f.Batch[start]
	if f.Millis == nil {
		for end = start + 1; end < to && f.Batch[end] == batch; end++ {
		}
		return end, 0
	}
	hour = floorHour(f.Millis[start])
	from := hour * hourMillis
	for end = start + 1; end < to && f.Batch[end] == batch; end++ {
		if uint64(f.Millis[end]-from) >= hourMillis {
			break
		}
	}
	return end, hour
}

func (m *merger) seq(r run, row int) uint32 { return at(m.frames[r.frame].Seq, row) }

func (m *merger) sort() {
	slices.SortStableFunc(m.runs, func(a, b run) int {
		if c := bytes.Compare(a.batch[:], b.batch[:]); c != 0 {
			return c
		}
		return cmp.Compare(m.seq(a, a.start), m.seq(b, b.start))
	})
}

// untangle cuts runs of one batch whose rows interleave, as those of a batch
// that spans two hours may, into single rows.
func (m *merger) untangle() bool {
	var cut []run // nil until runs interleave
	for i := 0; i < len(m.runs); {
		j := i + 1
		overlap := false
		for ; j < len(m.runs) && m.runs[j].batch == m.runs[i].batch; j++ {
			before := m.runs[j-1]
			overlap = overlap || m.seq(before, before.end-1) > m.seq(m.runs[j], m.runs[j].start)
		}
		if overlap && cut == nil {
			cut = append(make([]run, 0, len(m.runs)+j-i), m.runs[:i]...)
		}
		switch {
		case overlap:
			for _, r := range m.runs[i:j] {
				for row := r.start; row < r.end; row++ {
					cut = append(cut, run{batch: r.batch, frame: r.frame, start: row, end: row + 1})
				}
			}
		case cut != nil:
			cut = append(cut, m.runs[i:j]...)
		}
		i = j
	}
	if cut == nil {
		return false
	}
	m.runs = cut
	return true
}

// whole reports whether the one frame stays exactly as it is.
func (m *merger) whole() bool {
	next := 0
	for _, r := range m.runs {
		if r.start != next {
			return false
		}
		next = r.end
	}
	return next == m.frames[0].Len
}

func (m *merger) merge() *Frame {
	out := &Frame{Len: m.rows, Batch: make([]uint32, m.rows)}
	for _, r := range m.runs {
		if n := len(out.Batches); n == 0 || out.Batches[n-1] != r.batch {
			out.Batches = append(out.Batches, r.batch)
		}
		fill(out.Batch[r.to:r.to+r.end-r.start], uint32(len(out.Batches)-1))
	}
	out.Seq = gather(m, func(f *Frame) []uint32 { return f.Seq })
	out.EventID = gather(m, func(f *Frame) []ID { return f.EventID })
	out.Millis = gather(m, func(f *Frame) []int64 { return f.Millis })
	out.User = gather(m, func(f *Frame) []uint64 { return f.User })
	out.Client = gather(m, func(f *Frame) []uint64 { return f.Client })
	out.Session = gather(m, func(f *Frame) []uint64 { return f.Session })
	out.Flags = gather(m, func(f *Frame) []uint8 { return f.Flags })
	out.Engaged = gather(m, func(f *Frame) []int64 { return f.Engaged })
	out.Value = gather(m, func(f *Frame) []int64 { return f.Value })
	m.texts(m.rows, m.runs, out.Text[:], func(f *Frame, c int) *Strings { return &f.Text[c] })
	m.params(out)
	m.items(out)
	return out
}

// gather copies a column's runs to their places.
func gather[T any](m *merger, column func(*Frame) []T) []T {
	for _, f := range m.frames {
		if column(f) == nil {
			return nil
		}
	}
	out := make([]T, m.rows)
	for _, r := range m.runs {
		copy(out[r.to:], column(m.frames[r.frame])[r.start:r.end])
	}
	return out
}

// texts joins text columns of n rows. A dictionary is in order of first
// appearance, as a Builder's is, so that merging in any grouping gives equal
// frames. It walks frame by frame, not column by column: many frames of few
// rows are read from memory once.
func (m *merger) texts(n int, runs []run, out []Strings, column func(*Frame, int) *Strings) {
	// known has the new code of each old one, zero where it was not met yet;
	// first is where each frame's and column's codes begin in it.
	first := make([]int, len(m.frames)*len(out))
	total := 0
	for k, f := range m.frames {
		for c := range out {
			first[k*len(out)+c] = total
			if s := column(f, c); s != nil {
				total += len(s.Dict)
			}
		}
	}
	known := make([]uint32, total)
	dicts := make([]dictionary, len(out))
	for _, r := range runs {
		f := m.frames[r.frame]
		for c := range out {
			s := column(f, c)
			if s == nil || s.Code == nil {
				continue
			}
			o := &out[c]
			if o.Code == nil {
				o.Code = make([]uint32, n)
			}
			known, to := known[first[r.frame*len(out)+c]:], o.Code[r.to:]
			for i, code := range s.Code[r.start:r.end] {
				if code == 0 {
					continue
				}
				if known[code] == 0 {
					known[code] = dicts[c].code(o, s.Dict[code])
				}
				to[i] = known[code]
			}
		}
	}
	for c := range out {
		if out[c].Dict == nil {
			out[c] = Strings{}
		}
	}
}

func (m *merger) params(out *Frame) {
	var keys []string
	seen := map[string]bool{}
	for _, f := range m.frames {
		for key := range f.Params {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	columns := make([]Strings, len(keys))
	const atOnce = 32 // bounds the memory that many frames of many keys take
	for from := 0; from < len(keys); from += atOnce {
		part := columns[from:min(from+atOnce, len(keys))]
		m.texts(m.rows, m.runs, part, func(f *Frame, c int) *Strings { return f.Params[keys[from+c]] })
	}
	for c := range columns {
		if columns[c].Code == nil {
			continue
		}
		if out.Params == nil {
			out.Params = map[string]*Strings{}
		}
		out.Params[keys[c]] = &columns[c]
	}
}

// items joins the items of the rows that stay.
func (m *merger) items(out *Frame) {
	var runs []run
	n := 0
	for _, r := range m.runs {
		rows := m.frames[r.frame].Items.Row
		start, _ := slices.BinarySearch(rows, uint32(r.start))
		end, _ := slices.BinarySearch(rows, uint32(r.end))
		if start == end {
			continue
		}
		runs = append(runs, run{frame: r.frame, start: start, end: end, to: n})
		n += end - start
		for _, row := range rows[start:end] {
			out.Items.Row = append(out.Items.Row, row-uint32(r.start)+uint32(r.to))
		}
	}
	if n == 0 {
		return
	}
	items := &out.Items
	items.Len = n
	items.Price, items.Quantity = make([]int64, n), make([]int64, n)
	for _, r := range runs {
		from := &m.frames[r.frame].Items
		copy(items.Price[r.to:], from.Price[r.start:r.end])
		copy(items.Quantity[r.to:], from.Quantity[r.start:r.end])
	}
	m.texts(n, runs, items.Text[:], func(f *Frame, c int) *Strings { return &f.Items.Text[c] })
}
