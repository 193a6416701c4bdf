// Package watched keeps what was read from a file that the operator may replace
// while the process runs: a list of places, of networks.
package watched

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// File is the value of a file as it stood when it was last read whole. Get may
// be called by many goroutines.
type File[T any] struct {
	path    string
	read    func(path string) (T, error)
	log     *slog.Logger
	reads   metric.Int64Counter
	current atomic.Pointer[T]

	// What the file looked like when Check last looked at it, and when it was
	// last read, well or not.
	seen, tried stamp
}

type stamp struct {
	modified time.Time
	size     int64
}

// Open reads a file for the first time; it must be readable then. read returns
// a value that stays valid when another takes its place.
func Open[T any](path string, read func(path string) (T, error), log *slog.Logger, meter metric.Meter) (*File[T], error) {
	reads, err := meter.Int64Counter("footfall.file.reads", metric.WithUnit("{read}"),
		metric.WithDescription("Changed files that were read anew, by file and outcome."))
	if err != nil {
		return nil, fmt.Errorf("cannot make the instruments of a watched file: %w", err)
	}
	f := &File[T]{path: path, read: read, log: log, reads: reads}
	if f.seen, err = stampOf(path); err != nil {
		return nil, err
	}
	f.tried = f.seen
	value, err := read(path)
	if err != nil {
		return nil, err
	}
	f.current.Store(&value)
	return f, nil
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, fmt.Errorf("cannot look at file %q: %w", path, err)
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// Get is the value of the file.
func (f *File[T]) Get() T { return *f.current.Load() }

// Check reads the file where it has changed, and reports whether the value did.
// A file that is still being written is left alone: it must look the same twice
// in a row, and while it is read. One that cannot be read leaves the value as it
// is, until the file changes once more. One goroutine checks.
func (f *File[T]) Check() bool {
	now, err := stampOf(f.path)
	if err != nil {
		// It may be on its way; what was read stays.
		if f.seen != (stamp{}) {
			f.log.Warn("a file is not there any more; going on with what was read", "file", f.path, "error", err)
		}
		f.seen = stamp{}
		return false
	}
	settled := now == f.seen
	f.seen = now
	if !settled || now == f.tried {
		return false
	}
	value, err := f.read(f.path)
	if after, gone := stampOf(f.path); gone != nil || after != now {
		return false // it changed while it was read
	}
	f.tried = now
	if err != nil {
		f.count("failed")
		f.log.Error("cannot read a changed file; going on with what it was before", "file", f.path, "error", err)
		return false
	}
	f.current.Store(&value)
	f.count("read")
	f.log.Info("read a changed file", "file", f.path, "bytes", now.size)
	return true
}

func (f *File[T]) count(outcome string) {
	f.reads.Add(context.Background(), 1, metric.WithAttributes(attribute.String("file", f.path), attribute.String("outcome", outcome)))
}

// Run checks the file again and again until ctx is done.
func (f *File[T]) Run(ctx context.Context, every time.Duration, changed func(T)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if f.Check() && changed != nil {
				changed(f.Get())
			}
		}
	}
}
