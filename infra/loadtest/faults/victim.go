package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/local"
)

// victim is a Footfall in which what FAULTS_KIND says goes wrong.
func victim(ctx context.Context) error {
	kind := os.Getenv("FAULTS_KIND")
	seed, err := strconv.ParseUint(os.Getenv("FAULTS_SEED"), 10, 64)
	if err != nil {
		return fmt.Errorf("FAULTS_SEED: expected a number: %w", err)
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	o := local.Options{NoCron: true, Faults: broker.Faults{
		Seed: seed, Duplicate: 0.1, LoseAck: 0.03, Delay: 0.1, MaxDelay: 30 * time.Millisecond, Reorder: true,
	}}
	switch kind {
	case clockBack:
		o.Clock = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	case clockAhead:
		o.Clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	case consumers:
		o.Faults.Fail = 0.3
	case slow:
		o.Faults.Delay, o.Faults.MaxDelay = 0.5, 500*time.Millisecond
	case diskFull:
		o.FS = errorfs.Wrap(vfs.Default, &fullDisk{after: int64(20 + rng.IntN(300))})
	case syncFailed:
		o.FS = errorfs.Wrap(vfs.Default, &badSync{after: int64(5 + rng.IntN(60))})
	}
	r, err := local.New(ctx, os.Environ(), o)
	if err != nil {
		return err
	}
	return r.Serve(ctx)
}

// fullDisk has no room for half a second from its n-th write on.
type fullDisk struct {
	after  int64
	writes atomic.Int64
	once   sync.Once
	until  atomic.Int64 // ns of the machine's clock
}

// MaybeError implements errorfs.Injector.
func (d *fullDisk) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate, errorfs.OpCreate:
	default:
		return nil
	}
	if d.writes.Add(1) < d.after {
		return nil
	}
	d.once.Do(func() { d.until.Store(time.Now().Add(500 * time.Millisecond).UnixNano()) })
	if time.Now().UnixNano() < d.until.Load() {
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

// String implements errorfs.Injector.
func (d *fullDisk) String() string { return "disk full" }

// badSync fails the n-th time that a file is to be made durable.
type badSync struct {
	after int64
	syncs atomic.Int64
}

// MaybeError implements errorfs.Injector.
func (s *badSync) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if s.syncs.Add(1) == s.after {
			return &os.PathError{Op: "fsync", Path: op.Path, Err: syscall.EIO}
		}
	}
	return nil
}

// String implements errorfs.Injector.
func (s *badSync) String() string { return "fsync failed" }
