package hdfs

import (
	"io"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// A file may go between Open, which does not ask where its blocks are, and the
// first read. Who reads is told what Open would have told.
func TestGoneBeforeItIsRead(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	removeRoot(t, cfg)
	a := mustOpen(t, cfg)
	b, err := newBlock(noon, 1000)
	if err == nil {
		err = a.Append(t.Context(), []store.Block{b})
	}
	if err == nil {
		_, err = a.Complete(t.Context(), time.Now(), store.ClosePolicy{})
	}
	if err != nil {
		t.Fatal(err)
	}
	hour := event.HourOf(noon)
	files, err := a.List(t.Context(), hour, hour+1)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v: %v", files, err)
	}
	in, err := a.Open(t.Context(), files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Drop(t.Context(), hour); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(in); !fault.Is(err, fault.NotFound) || !isMissing(err) {
		t.Errorf("error is %v, expected that there is no such file", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}
