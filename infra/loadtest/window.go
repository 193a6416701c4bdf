package loadtest

import (
	"github.com/HdrHistogram/hdrhistogram-go"
)

// Window tells latencies from one look to the next, where Latencies tell all.
type Window struct {
	of   *Latencies
	seen *hdrhistogram.Snapshot
}

// NewWindow begins with what is noted from now on.
func NewWindow(of *Latencies) *Window {
	w := &Window{of: of}
	w.Next()
	return w
}

// Next ends the window and begins another. The histogram holds µs.
func (w *Window) Next() *hdrhistogram.Histogram {
	now := w.of.snapshot()
	fresh := *now
	fresh.Counts = make([]int64, len(now.Counts))
	for i, n := range now.Counts {
		fresh.Counts[i] = n
		if w.seen != nil {
			fresh.Counts[i] -= w.seen.Counts[i]
		}
	}
	w.seen = now
	return hdrhistogram.Import(&fresh)
}

func (l *Latencies) snapshot() *hdrhistogram.Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		l.h = hdrhistogram.New(1, maxLatency.Microseconds(), 3)
	}
	return l.h.Export()
}
