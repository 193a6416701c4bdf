package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/footfall/footfall/shared/access"
)

// A disk that fails while the database writes its options, which it does last of all when it
// is opened, is told of, whatever becomes of the process.
func TestOpenOnAFailingDisk(t *testing.T) {
	const place = "FOOTFALL_TEST_FAILING_WRITE"
	if n, err := strconv.Atoi(os.Getenv(place)); err == nil {
		openOnAFailingDisk(t, int32(n))
		return
	}
	for n := 1; ; n++ {
		child := exec.Command(os.Args[0], "-test.run=^TestOpenOnAFailingDisk$")
		child.Env = append(os.Environ(), fmt.Sprint(place, "=", n))
		said, err := child.CombinedOutput()
		if err == nil && n > 3 && strings.Contains(string(said), "opened") {
			return
		}
		if !strings.Contains(string(said), "the disk has failed") || !strings.Contains(string(said), syscall.EIO.Error()) {
			t.Fatalf("write %d: expected what has failed, got %v\n%s", n, err, said)
		}
	}
}

func openOnAFailingDisk(t *testing.T, n int32) {
	ctx := context.Background()
	killed := vfs.NewCrashableMem()
	s, err := Open("/data", Options{FS: killed})
	if err != nil {
		t.Fatal(err)
	}
	users, at := make([]uint64, 500), make([]int64, 500)
	for i := range users {
		users[i], at[i] = uint64(i+1), 5
	}
	for i := range 20 {
		if _, err := s.Visitors.See(ctx, fmt.Sprint("m", i), 1, users, at, nil); err != nil {
			t.Fatal(err)
		}
		// Of a table with deleted keys the database looks for how much they cover.
		if err := s.engine.db.DeleteRange([]byte{tableVisitor, 0, byte(i)}, []byte{tableVisitor, 0, byte(i + 1)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	// What is acknowledged has all before it on the disk, too.
	if err := s.Registry.CreateMerchant(ctx, access.Merchant{ID: "m"}); err != nil {
		t.Fatal(err)
	}
	var count atomic.Int32
	var synced atomic.Bool
	failing := errorfs.Wrap(killed.CrashClone(vfs.CrashCloneCfg{}), errorfs.InjectorFunc(func(op errorfs.Op) error {
		options := strings.HasSuffix(op.Path, ".dbtmp") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		folder := op.Path == "/data/store" && op.Kind == errorfs.OpFileSync && count.Load() > 0 && !synced.Swap(true)
		if (options || folder) && count.Add(1) == n {
			return fmt.Errorf("at %s: %w", op.Path, syscall.EIO)
		}
		return nil
	}))
	s, err = Open("/data", Options{FS: failing, MemTableBytes: 64 << 10, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("opened")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
