package enrich

import (
	"strings"
	"testing"
	"unsafe"
)

func TestCacheIsBounded(t *testing.T) {
	c := newCache[string, int](10, strings.Clone)
	for i := range 1000 {
		key := strings.Repeat("x", i%37)
		if v, ok := c.get(key); ok && v != i%37 {
			t.Fatalf("key of %d is %d", i%37, v)
		}
		c.add(key, i%37)
		if c.len() > 10 {
			t.Fatalf("%d entries, limit 10", c.len())
		}
	}
}

// TestCacheOwnsItsKeys: what is asked for is part of a batch, whose memory may
// serve another one by the time the key moves.
func TestCacheOwnsItsKeys(t *testing.T) {
	c := newCache[string, int](2, strings.Clone)
	c.add("first", 1)
	c.add("second", 2) // the first is old now
	memory := []byte("first")
	if v, ok := c.get(unsafe.String(&memory[0], len(memory))); !ok || v != 1 {
		t.Fatalf("got %d, %v", v, ok)
	}
	copy(memory, "other")
	if v, ok := c.get("first"); !ok || v != 1 {
		t.Errorf("after its memory has changed: %d, %v", v, ok)
	}
}
