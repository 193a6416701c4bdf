package function

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// BoundMemory has the garbage collector keep the process within nine tenths of what
// its container may take, where the environment does not say otherwise (GOMEMLIMIT):
// else a heap that is about to be collected could be the end of it. And it has the
// collector come less often where it would come again and again, unless the environment
// says how often (GOGC).
func BoundMemory() {
	_, _ = memlimit.Set() // without a bound that can be read it is as before
	if os.Getenv("GOGC") == "" {
		spaced.Do(func() { go spaceCollections(Memory() / roomShare) })
	}
}

const (
	roomShare   = 128             // one part in so many of the memory may be room for garbage, beyond what GOGC says
	apart       = 2 * time.Second // collections are, as far as that room goes
	spaceEvery  = time.Second
	mostPercent = 1000 // for heaps of which next to nothing is live
)

var spaced sync.Once

// spaceCollections gives the heap room for the garbage of some time. A collection stops
// everything twice and takes whole cores while it marks: where a small heap has several a
// second, most of the slowest answers are those that fell into one. What is asked
// little keeps little.
func spaceCollections(most int64) {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	var least, set, before int64
	for range time.Tick(spaceEvery) {
		metrics.Read(samples)
		percent, live, made := int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64()), int64(samples[2].Value.Uint64())
		room := min(most, (made-before)*int64(apart/spaceEvery))
		before = made
		if percent != set {
			least, set = percent, percent // that is what others want, who set it after us
			continue
		}
		// To set it stops everything, too.
		if percent = percentFor(least, live, room); 8*max(percent-set, set-percent) > set {
			debug.SetGCPercent(int(percent))
			set = percent
		}
	}
}

// percentFor is the GOGC that leaves room beside what is live, and at least what it was.
func percentFor(least, live, room int64) int64 {
	if least <= 0 || live <= 0 { // the collector is off, or has not come yet
		return least
	}
	return max(least, min(100*room/live, mostPercent))
}

// Memory is how many bytes the process may take: the least of what the collector
// keeps to, what the container may take and what the machine has.
func Memory() int64 {
	least := debug.SetMemoryLimit(-1)
	for _, limit := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := limit(); err == nil && n < uint64(math.MaxInt64) {
			least = min(least, int64(n))
		}
	}
	return least
}
