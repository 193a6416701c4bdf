package summary

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// visit is an event on the way of one client through its sessions, with all
// that a session asks of it: rows of one client lie far apart in the frame.
type visit struct {
	client, session uint64
	ms              int64
	hash            uint32 // lower bits of the pair's
	hour            event.Hour
	row             uint32
	engaged         int32 // ms, the largest there is where it is more
	class           class
	sourced         bool // names a source, medium or campaign
	paged           bool // has a page
	counts          bool // in the window
}

// sessions follows the clients that have rows in the window.
//
// A session belongs to a pair of client and session id (0: none was given).
// Visits are dealt to parts by their pair, and in each part those of a pair are
// brought together.
func (r *resolver) sessions() {
	f := r.f
	if len(r.Rows) == 0 {
		return
	}
	bits, near := partsOf(f.Len), r.nearWindow()
	choose := func(from, to int, part []uint8) {
		for i := range part {
			row := r.row(from + i)
			part[i] = noPart
			if r.filtered(row) {
				continue
			}
			if repeat := r.repeat(row); repeat != noHour && repeat == hourOf(f.Millis[row]) {
				continue // seen from anywhere, its original is there too
			}
			if hash := pairHash(f.Client[row], f.Session[row]); near.has(hash) {
				part[i] = partOf(hash, bits)
			}
		}
	}
	visits := visitPool.Get().(*[]visit)
	defer visitPool.Put(visits)
	room := func(n int) { *visits = slices.Grow((*visits)[:0], n)[:n] }
	ends := deal(f.Len, bits, choose, room, func(from, to int, part []uint8, next []uint32) {
		r.visits(*visits, from, part, next)
	})
	desks := make([]*walker, workers(len(*visits)))
	eachPart(len(desks), ends, func(g int, from, to uint32) {
		if desks[g] == nil {
			desks[g] = walkerPool.Get().(*walker)
			desks[g].resolver = r
		}
		desks[g].part((*visits)[from:to])
	})
	for _, w := range desks {
		if w != nil {
			w.resolver = nil
			walkerPool.Put(w)
		}
	}
}

var (
	visitPool  = sync.Pool{New: func() any { return new([]visit) }}
	walkerPool = sync.Pool{New: func() any { return new(walker) }}
)

// visits writes those of the rows from from on (in the order of r.row).
func (r *resolver) visits(to []visit, from int, part []uint8, next []uint32) {
	f := r.f
	source, medium, campaign := f.Text[processed.ColSource].Code, f.Text[processed.ColMedium].Code, f.Text[processed.ColCampaign].Code
	path := f.Text[processed.ColPagePath].Code
	hour := Window{1, 0}
	h := event.Hour(0)
	for i, p := range part {
		if p == noPart {
			continue
		}
		row := r.row(from + i)
		ms := f.Millis[row]
		if ms < hour.From || ms >= hour.To {
			h = hourOf(ms)
			hour = Of(h, h+1)
		}
		v := &to[next[p]]
		next[p]++
		client, session := f.Client[row], f.Session[row]
		v.client, v.session, v.ms, v.hash = client, session, ms, uint32(pairHash(client, session))
		v.hour, v.row, v.engaged, v.class = h, row, 0, r.class(row)
		if f.Engaged != nil {
			v.engaged = int32(min(max(f.Engaged[row], 0), math.MaxInt32))
		}
		if r.Session != nil {
			v.sourced = has(source, row) || has(medium, row) || has(campaign, row)
			v.paged = has(path, row)
		}
		v.counts = ms >= r.Window.From && ms < r.Window.To && !hidden(r.repeat(row), h, h)
	}
}

func pairHash(client, session uint64) uint64 { return mix(client + session*0x9e3779b97f4a7c15) }

// sieve holds hashes, and some more.
type sieve []uint64

func (s sieve) has(hash uint64) bool {
	return s == nil || s[hash>>6&uint64(len(s)-1)]>>(hash&63)&1 != 0
}

// nearWindow holds the pairs that have rows in the window, where most rows of
// the frame lie outside it; else nil.
func (r *resolver) nearWindow() sieve {
	if 2*len(r.Rows) > r.f.Len {
		return nil
	}
	s := make(sieve, 1<<max(0, bits.Len(uint(len(r.Rows)/4))))
	for _, row := range r.Rows {
		hash := pairHash(r.f.Client[row], r.f.Session[row])
		s[hash>>6&uint64(len(s)-1)] |= 1 << (hash & 63)
	}
	return s
}

// part works out the sessions of a part's pairs: those that have a visit in the
// window. Visits of a pair are brought together by a counting sort over a number
// given to each pair, which costs no comparison of visits.
func (w *walker) part(visits []visit) {
	w.pairs.reset(len(visits))
	w.numbers = slices.Grow(w.numbers[:0], len(visits))[:len(visits)]
	others := false
	for i := range visits {
		v := &visits[i]
		if v.counts {
			w.numbers[i] = w.pairs.addHashed(uint64(v.hash), v.client, v.session)
		} else {
			others = true
		}
	}
	if others {
		for i := range visits {
			if v := &visits[i]; !v.counts {
				w.numbers[i] = w.pairs.table[w.pairs.slot(uint64(v.hash), v.client, v.session)]
			}
		}
	}
	ends := slices.Grow(w.ends[:0], w.pairs.len()+1)[:w.pairs.len()+1]
	clear(ends)
	for _, number := range w.numbers {
		ends[number+1]++
	}
	ends[1] = 0 // of visits whose pair has none in the window
	for n := 1; n < len(ends); n++ {
		ends[n] += ends[n-1]
	}
	w.sorted = slices.Grow(w.sorted[:0], len(visits))[:ends[len(ends)-1]]
	for i, number := range w.numbers {
		if number != 0 {
			w.sorted[ends[number]] = visits[i]
			ends[number]++
		}
	}
	w.ends = ends
	begin := uint32(0)
	for _, end := range ends[1:w.pairs.len()] {
		w.client(w.sorted[begin:end])
		begin = end
	}
}

// client works out the sessions of one pair's visits.
func (w *walker) client(visits []visit) {
	for i := 1; i < len(visits); i++ {
		// They came in resolver.order, which those of one instant keep.
		if visits[i].ms < visits[i-1].ms {
			slices.SortStableFunc(visits, func(a, b visit) int { return cmp.Compare(a.ms, b.ms) })
			break
		}
	}
	w.inactivity = w.Settings.silence(visits[0].session)
	repeats := false
	if w.repeats != nil {
		for _, v := range visits {
			repeats = repeats || w.repeats[v.row] != noHour
		}
	}
	if !repeats {
		w.window = w.Window
		w.all(visits)
		return
	}
	// An original that lies about Reach before its copy hides the copy from
	// some hours and not from others: each hour has its own view.
	view := w.view[:0]
	for i := 0; i < len(visits); {
		at := visits[i].hour
		next := i
		for next < len(visits) && visits[next].hour == at {
			next++
		}
		if hour := Of(at, at+1); hour.To > w.Window.From && hour.From < w.Window.To {
			view = view[:0]
			for _, v := range visits {
				if v.hour >= at-Reach && v.hour <= at+Reach && !hidden(w.repeat(v.row), v.hour, at) {
					view = append(view, v)
				}
			}
			w.window = Window{max(hour.From, w.Window.From), min(hour.To, w.Window.To)}
			w.all(view)
		}
		i = next
	}
	w.view = view
}

// walker cuts a list of visits into sessions and writes what they mean for the
// rows of its window.
type walker struct {
	*resolver
	window     Window
	inactivity int64 // ms
	// Memory that serves one part after the other.
	pairs   pairs
	numbers []uint32 // by visit: its pair's
	ends    []uint32 // by pair: where its visits end in sorted
	sorted  []visit
	view    []visit
}

func (w *walker) all(visits []visit) {
	for begin := 0; begin < len(visits); {
		end := begin + 1
		for end < len(visits) && visits[end].ms-visits[end-1].ms < w.inactivity {
			end++
		}
		if visits[end-1].ms >= w.window.From && visits[begin].ms < w.window.To {
			w.session(visits[begin:end])
		}
		begin = end
	}
}

func (w *walker) session(visits []visit) {
	if visits[0].ms >= w.window.From {
		w.begin(visits)
	}
	if w.Session == nil {
		return
	}
	// All of these only move on: hours grow along the list.
	first, sourced, paged, next, last := 0, 0, 0, 0, -1
	for i := range visits {
		v := &visits[i]
		if v.ms < w.window.From {
			continue
		}
		if v.ms >= w.window.To {
			return
		}
		for visits[first].hour < v.hour-Reach {
			first++
		}
		until := visits[first].hour + Reach
		sourced, paged = max(sourced, first), max(paged, first)
		for sourced < len(visits) && !visits[sourced].sourced {
			sourced++
		}
		for paged < len(visits) && !visits[paged].paged {
			paged++
		}
		for next < len(visits) && visits[next].hour <= until {
			if visits[next].paged {
				last = next
			}
			next++
		}
		w.Session[v.row] = SessionRows{
			AttributionRow: visits[within(visits, sourced, first, until)].row,
			LandingRow:     visits[within(visits, paged, first, until)].row,
			ExitRow:        visits[max(last, first)].row,
			StartRow:       visits[first].row,
		}
	}
}

func has(codes []uint32, row uint32) bool { return codes != nil && codes[row] != 0 }

// within is i where that visit is there and not after hour until, else first.
func within(visits []visit, i, first int, until event.Hour) int {
	if i < len(visits) && visits[i].hour <= until {
		return i
	}
	return first
}

// begin writes the facts of a whole session on its first row.
func (w *walker) begin(visits []visit) {
	until := visits[0].hour + Reach
	var views int32
	var focus int64
	key := false
	last := visits[0].ms
	for i := range visits {
		v := &visits[i]
		if v.hour > until {
			break
		}
		last = v.ms
		focus += int64(v.engaged)
		if v.class&isView != 0 {
			views++
		}
		key = key || v.class&isKeyEvent != 0
	}
	row := visits[0].row
	if w.match != nil {
		for i := 0; i < len(visits) && visits[i].hour <= until; i++ {
			w.marked[row] = w.marked[row] || w.match(visits[i].row)
		}
	}
	w.Begins[row] = true
	w.SessionMillis[row] = last - visits[0].ms
	if w.Session != nil {
		w.SessionViews[row] = views
	}
	after := EngagedAfter.Milliseconds()
	w.EngagedBegin[row] = views >= 2 || key || last-visits[0].ms > after || focus > after
}

// pairs numbers pairs of client and session, or of anything, from 1. The zero
// value is ready after reset.
type pairs struct {
	table []uint32 // number, 0 = free; by the hash's lower bits
	pair  [][2]uint64
}

func newPairs(most int) *pairs {
	p := new(pairs)
	p.reset(min(most, 1<<10))
	return p
}

// reset forgets all and has room for so many.
func (p *pairs) reset(room int) {
	size := 1 << tableBits(room)
	p.table = slices.Grow(p.table[:0], size)[:size]
	clear(p.table)
	p.pair = append(p.pair[:0], [2]uint64{})
}

func (p *pairs) len() int { return len(p.pair) }

// slot is where a pair stands or would stand.
func (p *pairs) slot(hash, a, b uint64) uint64 {
	mask := uint64(len(p.table) - 1)
	for slot := hash & mask; ; slot = (slot + 1) & mask {
		if n := p.table[slot]; n == 0 || p.pair[n] == [2]uint64{a, b} {
			return slot
		}
	}
}

func (p *pairs) find(a, b uint64) uint32 { return p.table[p.slot(pairHash(a, b), a, b)] }

// add is the number of a pair, the next one where it is new.
func (p *pairs) add(a, b uint64) uint32 { return p.addHashed(pairHash(a, b), a, b) }

func (p *pairs) addHashed(hash, a, b uint64) uint32 {
	slot := p.slot(hash, a, b)
	if n := p.table[slot]; n != 0 {
		return n
	}
	number := uint32(len(p.pair))
	p.table[slot] = number
	p.pair = append(p.pair, [2]uint64{a, b})
	if 2*len(p.pair) > len(p.table) {
		p.table = make([]uint32, 2*len(p.table))
		for n := 1; n < len(p.pair); n++ {
			a, b := p.pair[n][0], p.pair[n][1]
			p.table[p.slot(pairHash(a, b), a, b)] = uint32(n)
		}
	}
	return number
}
