package embedded

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// knownHours remembers which hours have their key in the table of dirty hours,
// by a 128-bit hash of it. Without it each batch would write its hours' keys
// again: one version more for a reader to step over once the hour is clean,
// and asking the database first costs as much as all the rest of a put. It may
// forget, which costs a needless write, but must never know what is not there.
type knownHours struct {
	parts [64]struct {
		mu    sync.Mutex
		hours map[xxh3.Uint128]struct{}
	}
}

// maxKnown bounds the hours of one part: 65,536 in all, some 3 MB.
const maxKnown = 1024

func (k *knownHours) has(h xxh3.Uint128) bool {
	p := &k.parts[h.Lo%uint64(len(k.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.hours[h]
	return known
}

// add is called when the keys are in the database and before their merchants'
// stripes are let go.
func (k *knownHours) add(hours []xxh3.Uint128) {
	for _, h := range hours {
		p := &k.parts[h.Lo%uint64(len(k.parts))]
		p.mu.Lock()
		if p.hours == nil || len(p.hours) >= maxKnown {
			p.hours = make(map[xxh3.Uint128]struct{})
		}
		p.hours[h] = struct{}{}
		p.mu.Unlock()
	}
}

// remove is called before a key is deleted, with its merchant's stripe held
// alone.
func (k *knownHours) remove(h xxh3.Uint128) {
	p := &k.parts[h.Lo%uint64(len(k.parts))]
	p.mu.Lock()
	delete(p.hours, h)
	p.mu.Unlock()
}
