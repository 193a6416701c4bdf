package local

import "testing"

func TestMemoryIsGivenBackWhenABurstIsOver(t *testing.T) {
	var r rest
	for i, step := range []struct {
		allocated uint64 // since the step before
		due       bool
	}{
		{1 << 20, false}, // nothing has happened yet
		{200 << 20, false},
		{100 << 20, false},
		{1 << 20, true},
		{1 << 20, false}, // once is enough
		{20 << 20, false},
		{0, false}, // too little to be worth it
		{50 << 20, false},
		{restBytes, true},
	} {
		if due := r.due(r.allocated + step.allocated); due != step.due {
			t.Errorf("step %d: due is %v", i, due)
		}
	}
	if n := allocatedBytes(); n == 0 {
		t.Error("nothing was ever allocated")
	}
}
