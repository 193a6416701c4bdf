package summary

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// visit is an event on the way of one client through its sessions, with all
// that a session asks of it: rows of one client lie far apart in the frame.
type visit struct {
	ms      int64
	hour    event.Hour
	row     uint32
	engaged int32 // ms, the largest there is where it is more
	class   class
	sourced bool // names a source, medium or campaign
	paged   bool // has a page
}

// sessions follows the clients that have rows in the window.
//
// A session belongs to a pair of client and session id (0: none was given).
// The rows of a pair are brought together by a counting sort over a number
// given to each pair, which costs no comparison of rows.
func (r *resolver) sessions() {
	f := r.f
	if len(r.Rows) == 0 {
		return
	}
	pairs := newPairs(len(r.Rows))
	pair := make([]uint32, f.Len) // by row; 0 is none
	for _, row := range r.Rows {
		pair[row] = pairs.add(f.Client[row], f.Session[row])
	}
	starts := make([]uint32, pairs.len()+1)
	for row := range pair {
		p := pair[row]
		if p == 0 {
			if p = pairs.find(f.Client[row], f.Session[row]); p == 0 || r.filtered(uint32(row)) {
				continue
			}
			pair[row] = p
		}
		if repeat := r.repeat(uint32(row)); repeat != noHour && repeat == hourOf(f.Millis[row]) {
			pair[row] = 0 // seen from anywhere, its original is there too
			continue
		}
		starts[p]++
	}
	sum := uint32(0)
	for p := range starts {
		starts[p], sum = sum, sum+starts[p]
	}
	visits := make([]visit, sum)
	source, medium, campaign := f.Text[processed.ColSource].Code, f.Text[processed.ColMedium].Code, f.Text[processed.ColCampaign].Code
	path := f.Text[processed.ColPagePath].Code
	hour := Window{1, 0}
	h := event.Hour(0)
	for i := range f.Len {
		row := r.row(i)
		p := pair[row]
		if p == 0 {
			continue
		}
		ms := f.Millis[row]
		if ms < hour.From || ms >= hour.To {
			h = hourOf(ms)
			hour = Of(h, h+1)
		}
		v := &visits[starts[p]]
		starts[p]++
		v.ms, v.hour, v.row, v.class = ms, h, row, r.class(row)
		v.sourced = has(source, row) || has(medium, row) || has(campaign, row)
		v.paged = has(path, row)
		if f.Engaged != nil {
			v.engaged = int32(min(max(f.Engaged[row], 0), math.MaxInt32))
		}
	}
	r.walk(visits, starts[1:])
}

// manyVisits is how many of them are worth another goroutine.
const manyVisits = 1 << 16

// walk works out the sessions of all pairs, whose visits end where ends says. No
// pair's sessions have rows of another, so that they may be worked out side by
// side.
func (r *resolver) walk(visits []visit, ends []uint32) {
	parts := min(runtime.GOMAXPROCS(0), 1+len(visits)/manyVisits)
	var wait sync.WaitGroup
	for part := range parts {
		walk := func() {
			walk := walker{resolver: r}
			from, to := len(ends)*part/parts, len(ends)*(part+1)/parts
			begin := uint32(0)
			if from > 0 {
				begin = ends[from-1]
			}
			for _, end := range ends[from:to] {
				if begin < end { // a pair may have copies only, which are no visits
					r.client(&walk, visits[begin:end])
				}
				begin = end
			}
		}
		if part == parts-1 {
			walk() // here
		} else {
			wait.Go(walk)
		}
	}
	wait.Wait()
}

// client works out the sessions of one pair's visits.
func (r *resolver) client(walk *walker, visits []visit) {
	for i := 1; i < len(visits); i++ {
		// They came in resolver.order, which those of one instant keep.
		if visits[i].ms < visits[i-1].ms {
			slices.SortStableFunc(visits, func(a, b visit) int { return cmp.Compare(a.ms, b.ms) })
			break
		}
	}
	walk.inactivity = r.Settings.silence(r.f.Session[visits[0].row])
	repeats := false
	if r.repeats != nil {
		for _, v := range visits {
			repeats = repeats || r.repeats[v.row] != noHour
		}
	}
	if !repeats {
		walk.window = r.Window
		walk.all(visits)
		return
	}
	// An original that lies about Reach before its copy hides the copy from
	// some hours and not from others: each hour has its own view.
	view := walk.view[:0]
	for i := 0; i < len(visits); {
		at := visits[i].hour
		next := i
		for next < len(visits) && visits[next].hour == at {
			next++
		}
		if hour := Of(at, at+1); hour.To > r.Window.From && hour.From < r.Window.To {
			view = view[:0]
			for _, v := range visits {
				if v.hour >= at-Reach && v.hour <= at+Reach && !hidden(r.repeat(v.row), v.hour, at) {
					view = append(view, v)
				}
			}
			walk.window = Window{max(hour.From, r.Window.From), min(hour.To, r.Window.To)}
			walk.all(view)
		}
		i = next
	}
	walk.view = view
}

// walker cuts a list of visits into sessions and writes what they mean for the
// rows of its window.
type walker struct {
	*resolver
	window     Window
	inactivity int64 // ms
	view       []visit
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
	if v := visits[0]; v.ms >= w.window.From {
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
	w.SessionViews[row] = views
	after := EngagedAfter.Milliseconds()
	w.EngagedBegin[row] = views >= 2 || key || last-visits[0].ms > after || focus > after
}

// pairs numbers pairs of client and session from 1.
type pairs struct {
	bits   uint
	table  []uint32 // number, 0 = free
	client []uint64
	sess   []uint64
}

func newPairs(most int) *pairs {
	p := &pairs{bits: tableBits(min(most, 1<<10)), client: make([]uint64, 1, min(most, 1<<10)+1), sess: make([]uint64, 1, min(most, 1<<10)+1)}
	p.table = make([]uint32, 1<<p.bits)
	return p
}

func (p *pairs) len() int { return len(p.client) }

// slot is where a pair stands or would stand.
func (p *pairs) slot(client, session uint64) uint64 {
	mask := uint64(len(p.table) - 1)
	slot := mix(client+session*0x9e3779b97f4a7c15) >> (64 - p.bits)
	for {
		n := p.table[slot]
		if n == 0 || p.client[n] == client && p.sess[n] == session {
			return slot
		}
		slot = (slot + 1) & mask
	}
}

func (p *pairs) find(client, session uint64) uint32 { return p.table[p.slot(client, session)] }

// add is the number of a pair, the next one where it is new.
func (p *pairs) add(client, session uint64) uint32 {
	slot := p.slot(client, session)
	if n := p.table[slot]; n != 0 {
		return n
	}
	number := uint32(len(p.client))
	p.table[slot] = number
	p.client = append(p.client, client)
	p.sess = append(p.sess, session)
	if 2*len(p.client) > len(p.table) {
		p.bits++
		p.table = make([]uint32, 1<<p.bits)
		for n := 1; n < len(p.client); n++ {
			p.table[p.slot(p.client[n], p.sess[n])] = uint32(n)
		}
	}
	return number
}
