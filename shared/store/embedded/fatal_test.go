package embedded

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/footfall/footfall/shared/access"
)

// A log that cannot be written ends the process, even where a server would
// catch the panic that Pebble makes of it.
func TestALogThatCannotBeWritten(t *testing.T) {
	var full atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	}))
	ended := make(chan error, 16)
	s, err := Open("data", Options{FS: fs, Fatal: func(err error) {
		select {
		case ended <- err:
		default:
		}
		select {} // as a process that has ended
	}})
	if err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	go func() {
		for n := range 100 { // the first may be told the error
			_ = s.Registry.CreateMerchant(context.Background(), access.Merchant{ID: strings.Repeat("m", n+1)})
		}
	}()
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Errorf("it ended for another reason: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on without a log")
	}
}
