package loadtest

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	var l Latencies
	l.Note(time.Hour)
	w := NewWindow(&l)
	if n := w.Next().TotalCount(); n != 0 {
		t.Errorf("%d before anything was noted", n)
	}
	for i := range 100 {
		l.Note(time.Duration(i+1) * time.Millisecond)
	}
	h := w.Next()
	if p50 := h.ValueAtQuantile(50); h.TotalCount() != 100 || p50 < 49_900 || p50 > 50_100 {
		t.Errorf("%d noted, median %d µs", h.TotalCount(), p50)
	}
	l.Note(time.Second)
	if h := w.Next(); h.TotalCount() != 1 || h.Max() < 990_000 {
		t.Errorf("%d noted, the greatest %d µs", h.TotalCount(), h.Max())
	}
}
