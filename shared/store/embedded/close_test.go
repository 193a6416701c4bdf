package embedded

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whoever closes stores that are closed is not kept waiting.
func TestCloseTwice(t *testing.T) {
	s, err := Open("/data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
