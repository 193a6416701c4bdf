package local

import (
	"os"
	"runtime"
)

// mostProcs is how many more goroutines than there are cores may run at most.
const mostProcs = 8

// moreProcs lets twice as many goroutines run at once as there are cores, where
// neither GOMAXPROCS nor the container's limit says how many. While all that may run
// do, Go looks at the network each 10 ms only, and lets each of them run as long: a
// report would wait for documents that are merged. With some to spare, that is left to
// the system, which lets him run first who has waited. Under a limit it would hold up
// the whole process instead.
func moreProcs() {
	if cores := runtime.NumCPU(); os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == cores {
		runtime.GOMAXPROCS(cores + min(cores, mostProcs))
	}
}
