package loadtest

import (
	"sync"
	"time"
)

// Counts are the exact truth of one merchant's hour.
type Counts struct {
	RevenueMicros int64
	Accepted      uint32 // duplicates included
	Counted       uint32 // distinct ids, bots included
	Bots          uint32 // of Counted
	Events        uint32 // as reports show them: without bots
	Views         uint32
	Sessions      uint32 // that began in the hour
	Purchases     uint32
}

func (c *Counts) add(o *Counts) {
	c.RevenueMicros += o.RevenueMicros
	c.Accepted += o.Accepted
	c.Counted += o.Counted
	c.Bots += o.Bots
	c.Events += o.Events
	c.Views += o.Views
	c.Sessions += o.Sessions
	c.Purchases += o.Purchases
}

// cellKey is a site's number and an hour since the epoch.
type cellKey uint64

func keyOf(site uint32, micros int64) cellKey {
	return cellKey(site)<<32 | cellKey(micros/3_600_000_000)
}

func (k cellKey) site() int       { return int(k >> 32) }
func (k cellKey) hour() time.Time { return time.Unix(int64(uint32(k))*3600, 0).UTC() }

// Truths is what was sent, by merchant and hour: some 75 bytes for each pair
// that has anything (see TestTruthsBytes).
type Truths struct {
	mu      sync.Mutex
	cells   map[cellKey]Counts
	refused map[int]int64 // malformed events by site: never accepted, and in the hour of their arrival
	all     int64         // accepted
	began   time.Time
}

// NewTruths makes an empty one, before anything is sent.
func NewTruths() *Truths {
	return &Truths{cells: map[cellKey]Counts{}, refused: map[int]int64{}, began: time.Now()}
}

// Add notes what was sent of a merchant, by its place in the list of merchants,
// for an hour.
func (t *Truths) Add(merchant int, hour time.Time, c Counts) {
	t.add(keyOf(uint32(merchant), hour.UnixMicro()), c)
}

func (t *Truths) add(k cellKey, c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cell := t.cells[k]
	cell.add(&c)
	t.cells[k] = cell
	t.all += int64(c.Accepted)
}

func (t *Truths) refuse(site uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused[int(site)]++
}

// Accepted is how many events were sent that are to be accepted.
func (t *Truths) Accepted() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// MerchantHours is how many pairs of merchant and hour have anything.
func (t *Truths) MerchantHours() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.cells)
}

// All is the sum of a merchant's hours.
func (t *Truths) All(merchant int) (sum Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, c := range t.cells {
		if k.site() == merchant {
			sum.add(&c)
		}
	}
	return sum
}

// site is the truth of one merchant.
type site struct {
	hours   map[time.Time]Counts
	refused int64
}

// sites are those of which anything was sent.
func (t *Truths) sites() map[int]*site {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[int]*site{}
	of := func(i int) *site {
		if out[i] == nil {
			out[i] = &site{hours: map[time.Time]Counts{}}
		}
		return out[i]
	}
	for k, c := range t.cells {
		of(k.site()).hours[k.hour()] = c
	}
	for i, n := range t.refused {
		of(i).refused = n
	}
	return out
}
