//go:build unix

package hdfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// noise does not compress, as a batch does not any more.
func noise(n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// processCPU is what this process has used.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend appends blocks of 30 KB, some hundreds of events each. CPU is
// that of this process; the servers' is not in it.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.BlockBytes = 128 << 20
			removeRoot(b, cfg)
			a := mustOpen(b, cfg)
			data, now := noise(30<<10), time.Now()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.SetBytes(int64(len(data)))
			b.ResetTimer()
			before := processCPU(b)
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						id, err := event.NewBatchID()
						if err == nil {
							err = a.Append(context.Background(), []store.Block{{Batch: id, ReceivedAt: now, Data: data}})
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64((processCPU(b)-before).Microseconds())/float64(b.N), "cpu-µs/batch")
			if _, err := a.Complete(context.Background(), now, store.ClosePolicy{}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
