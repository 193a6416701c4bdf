package parallel

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Crowded reports whether goroutines of this process have stood in line for a processor
// lately, half as many as there are processors or more: who takes events in and who
// answers is held up then, and more goroutines for one computation do not make it faster.
func Crowded() bool { return process.crowded() }

var process = crowd{line: newLine()}

// crowd looks at a line now and then, for all who ask.
type crowd struct {
	mu     sync.Mutex
	line   *line
	looked time.Time
	is     bool
}

// lookEvery is long beside the 10 ms that the scheduler leaves a processor to one goroutine
// while others wait: of such waits only some are counted.
const lookEvery = 500 * time.Millisecond

func (c *crowd) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if took := time.Since(c.looked); took >= lookEvery {
		waited := c.line.waited()
		// Who has waited for so long by turns, makes a line of so many (Little's law).
		c.looked, c.is = time.Now(), 2*waited.Seconds() > float64(runtime.GOMAXPROCS(0))*took.Seconds()
	}
	return c.is
}

// line is where goroutines of the process wait for a processor.
type line struct {
	sample []metrics.Sample
	before []uint64
}

func newLine() *line {
	l := &line{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
	l.waited()
	return l
}

// counted is of how many waits the runtime counts one (gTrackingPeriod in its proc.go).
const counted = 8

// waited is about how long all have waited in sum, of those whose wait has ended since it
// was last asked.
func (l *line) waited() time.Duration {
	metrics.Read(l.sample)
	if l.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0 // a runtime that does not say
	}
	h := l.sample[0].Value.Float64Histogram()
	if l.before == nil {
		l.before = make([]uint64, len(h.Counts))
	}
	sum := 0.0 // s
	for i, n := range h.Counts {
		if from, to := h.Buckets[i], h.Buckets[i+1]; n > l.before[i] && from > 0 {
			if !math.IsInf(to, 1) {
				from = (from + to) / 2
			}
			sum += from * float64(n-l.before[i])
		}
	}
	copy(l.before, h.Counts)
	return time.Duration(sum * counted * float64(time.Second))
}
