// Package storetest holds one conformance suite per port of package store.
// Every adapter passes it: the embedded one always, those of real servers
// wherever the server is up.
package storetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// TB is what an opener may use: *testing.T, *testing.B and *rapid.T have it.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Opener opens an empty store that TB's Cleanup closes. reopen, where it is
// not nil, crashes the store — what is not durable may go — and opens what is
// left of it; the suite then uses the new store only.
type Opener[P any] func(t TB) (port P, reopen func() P)

// sub runs a test on a store of its own.
func sub[P any](t *testing.T, open Opener[P], name string, fn func(t *testing.T, p P, reopen func() P)) {
	t.Run(name, func(t *testing.T) {
		p, reopen := open(t)
		fn(t, p, reopen)
	})
}

// mustReopen skips the test where a store cannot be crashed.
func mustReopen[P any](t *testing.T, reopen func() P) P {
	t.Helper()
	if reopen == nil {
		t.Skip("this store cannot be crashed by a test")
	}
	return reopen()
}

func deadline(t TB) context.Context { return within(t, time.Minute) }

func within(t TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// ended is a context whose time is over.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// batchID is the n-th id of a test; ids sort as their numbers do.
func batchID(n int) (id event.BatchID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// layerOf is a layer over all of time.
func layerOf(rev store.Revision) access.Layers {
	if rev == store.LiveRevision {
		return nil
	}
	return access.Layers{{Revision: rev, From: math.MinInt64, To: math.MaxInt64}}
}

// noon is a time with the precision that every store keeps.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// at is noon and some milliseconds.
func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func ok(t TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func wantKind(t TB, err error, kind fault.Kind) {
	t.Helper()
	if err == nil || !fault.Is(err, kind) {
		t.Fatalf("error is %v, expected one of kind %s", err, kind)
	}
}

func same(t TB, what string, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) { // by far the quickest way to say yes
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (- expected, + found):\n%s", what, diff)
	}
}

// parallel runs fn n times at once and fails with the first error.
func parallel(t TB, n int, fn func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("goroutine %d: %v", i, err)
		}
	}
}

// neighbours are names that begin like one another: a scan of one must not
// meet another's.
var neighbours = []string{"a", "ab", "a\x00", "a\xff", "b", "aa", "", "A"}

func name(i int) string { return fmt.Sprintf("m%d", i) }
