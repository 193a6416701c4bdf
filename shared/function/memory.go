package function

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// BoundMemory has the garbage collector keep the process within nine tenths of what
// its container may take, where the environment does not say otherwise (GOMEMLIMIT):
// else a heap that is about to be collected could be the end of it.
func BoundMemory() {
	_, _ = memlimit.Set() // without a bound that can be read it is as before
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
