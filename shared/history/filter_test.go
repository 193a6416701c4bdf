package history

import (
	"math/rand/v2"
	"testing"
)

func TestFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 200_000
	f := newFilter(n)
	added := make([]uint64, n)
	for i := range added {
		added[i] = r.Uint64()
		f.add(added[i])
	}
	for _, hash := range added {
		if !f.has(hash) {
			t.Fatalf("expected %x to be there", hash)
		}
	}
	more := 0
	for range 1_000_000 {
		if f.has(r.Uint64()) {
			more++
		}
	}
	if t.Logf("%d of a million others are there", more); more > 100 {
		t.Errorf("expected at most 100 of a million others to be there, got %d", more)
	}
	if empty := newFilter(0); empty.has(1) {
		t.Error("expected nothing in an empty filter")
	}
}
