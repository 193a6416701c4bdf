package event

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// The first id of an instant stands between those of before and those from
// then on.
func TestFirstBatchID(t *testing.T) {
	at := time.Date(2026, 11, 26, 6, 0, 0, int(7*time.Millisecond), time.UTC)
	first := FirstBatchID(at.UnixMilli())
	if first.Millis() != at.UnixMilli() {
		t.Errorf("the first id of %d is of %d", at.UnixMilli(), first.Millis())
	}
	for range 100 {
		before, err := NewBatchIDAt(at.Add(-time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		after, err := NewBatchIDAt(at)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Compare(before[:], first[:]) >= 0 || bytes.Compare(first[:], after[:]) >= 0 {
			t.Errorf("%s, %s, %s are not in order", before, first, after)
		}
	}
	for ms, want := range map[int64]int64{math.MinInt64: 0, -1: 0, 0: 0, 1<<48 - 1: 1<<48 - 1, 1 << 48: 1<<48 - 1, math.MaxInt64: 1<<48 - 1} {
		if got := FirstBatchID(ms).Millis(); got != want {
			t.Errorf("the first id of %d is of %d, expected %d", ms, got, want)
		}
	}
}
