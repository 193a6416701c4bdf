package hdfs

import (
	"bytes"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Streams break, again and again: each time the append under way fails, the
// next one goes into a new file, and no goroutine of the client stays behind.
// Not in parallel: it looks at the goroutines of the whole process.
func TestBrokenStreams(t *testing.T) {
	cfg := testConfig(t)
	removeRoot(t, cfg)
	a := mustOpen(t, cfg)
	lane := func() *file {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, l := range a.lanes {
			return l.file
		}
		return nil
	}
	for range 5 {
		for range 3 {
			b, err := newBlock(noon, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Append(t.Context(), []store.Block{b}); err != nil {
				t.Fatal(err)
			}
		}
		if err := lane().session.dataConn().Conn.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := newBlock(noon, 200_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Append(t.Context(), []store.Block{b}); err == nil || !fault.Is(err, fault.Transient) {
			t.Fatalf("a broken stream has taken a block: %v", err)
		}
	}
	ids, err := a.Complete(t.Context(), time.Now(), store.ClosePolicy{})
	if err != nil || len(ids) > 0 {
		t.Errorf("told %d batches whose files are still leased: %v", len(ids), err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "goroutines of the client stay behind", func() bool {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			t.Fatal(err)
		}
		return !bytes.Contains(stacks.Bytes(), []byte("colinmarc/hdfs"))
	})
}
