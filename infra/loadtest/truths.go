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
	Refused       uint32 // malformed: never accepted
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
	c.Refused += o.Refused
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
	mu    sync.Mutex
	cells map[cellKey]Counts
	all   int64 // accepted
}

// NewTruths makes an empty one.
func NewTruths() *Truths { return &Truths{cells: map[cellKey]Counts{}} }

func (t *Truths) add(k cellKey, c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cell := t.cells[k]
	cell.add(&c)
	t.cells[k] = cell
	t.all += int64(c.Accepted)
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

// sites are the hours of each site that has any.
func (t *Truths) sites() map[int]map[time.Time]Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[int]map[time.Time]Counts{}
	for k, c := range t.cells {
		hours := out[k.site()]
		if hours == nil {
			hours = map[time.Time]Counts{}
			out[k.site()] = hours
		}
		hours[k.hour()] = c
	}
	return out
}
