package local

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/footfall/footfall/shared/function"
)

// Memory is given back to the machine when a burst is over: the garbage
// collector runs by what is allocated, so that a process at rest would hold
// what it held at its busiest for as long as it rests.
const (
	restEvery = 5 * time.Second
	// restBytes is the most that a process at rest allocates between two looks.
	restBytes = 4 << 20
	// burstBytes is what must have been allocated since memory was last given
	// back: a collection of the whole heap for less would be for nothing.
	burstBytes = 64 << 20
)

// rest tells when memory is to be given back.
type rest struct {
	allocated uint64 // in all, at the last look
	freed     uint64 // in all, when memory was last given back
}

// due takes what was allocated in all since the start.
func (r *rest) due(allocated uint64) bool {
	atRest := allocated-r.allocated <= restBytes
	r.allocated = allocated
	if !atRest || allocated-r.freed < burstBytes {
		return false
	}
	r.freed = allocated
	return true
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// memory gives memory back for as long as the process runs.
func memory() function.Function {
	return function.Function{Name: "memory", Run: func(ctx context.Context) error {
		tick := time.NewTicker(restEvery)
		defer tick.Stop()
		r := rest{allocated: allocatedBytes()}
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			if r.due(allocatedBytes()) {
				debug.FreeOSMemory()
			}
		}
	}}
}
