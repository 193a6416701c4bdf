package embedded

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/fault"
)

// maxWrites bounds the writes under way, those included whose callers have
// left because their deadline passed.
const maxWrites = 1024

var errClosed = errors.New("the store is closed")

// engine is what the ports of one folder share: the database, and the order
// in which calls and Close follow one another.
type engine struct {
	db     *pebble.DB
	noSync bool
	writes chan struct{}
	use    usage
	runs   runners
	says   pebbleLog
}

// usage counts the calls under way, so that Close can wait for them.
type usage struct {
	n    atomic.Int64 // calls; below zero once closed
	idle chan struct{}
}

func (u *usage) begin() error {
	if u.n.Add(1) <= 0 {
		u.end()
		return errClosed
	}
	return nil
}

func (u *usage) end() {
	if u.n.Add(-1) == math.MinInt64 {
		select {
		case u.idle <- struct{}{}:
		default:
		}
	}
}

// close refuses new calls and waits for those under way; it may be called once.
func (u *usage) close() {
	if u.n.Add(math.MinInt64) != math.MinInt64 {
		<-u.idle
	}
}

// failed states what could not be done. Faults keep their kind; all else is
// transient.
func failed(what string, err error) error {
	kind := fault.Transient
	var f *fault.Error
	if errors.As(err, &f) {
		kind = f.Kind
	}
	return fault.New(kind, "cannot %s: %w", what, err)
}

// write runs fn and returns by the deadline of ctx at the latest. The disk
// knows no deadlines: a write that is overtaken by one goes on by itself.
func (e *engine) write(ctx context.Context, what string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return failed(what, err)
	}
	if err := e.use.begin(); err != nil {
		return failed(what, err)
	}
	select {
	case e.writes <- struct{}{}:
	case <-ctx.Done():
		e.use.end()
		return failed(what, ctx.Err())
	}
	err := within(ctx, e.runs.run, func() error {
		defer e.use.end()
		defer func() { <-e.writes }()
		return fn()
	})
	if err != nil {
		return failed(what, err)
	}
	return nil
}

// runners run what its callers may leave, and keep some goroutines for the next:
// the stack of a new one has to grow first, which was a tenth of closing a quiet
// merchant's hour.
type runners struct {
	next chan func() // taken by one that waits
	idle atomic.Int32
	stop chan struct{}
}

// mostIdle is how many goroutines wait for the next write.
const mostIdle = 16

func newRunners() runners { return runners{next: make(chan func()), stop: make(chan struct{})} }

// apart runs fn in a goroutine of its own.
func apart(fn func()) { go fn() }

func (r *runners) run(fn func()) {
	select {
	case r.next <- fn:
	default:
		go r.loop(fn)
	}
}

func (r *runners) loop(fn func()) {
	for {
		fn()
		if r.idle.Add(1) > mostIdle {
			r.idle.Add(-1)
			return
		}
		select {
		case fn = <-r.next:
			r.idle.Add(-1)
		case <-r.stop:
			return
		}
	}
}

// within runs fn to its end and waits for it as long as ctx allows.
func within(ctx context.Context, run func(func()), fn func() error) error {
	if ctx.Done() == nil {
		return fn()
	}
	done := make(chan error, 1)
	run(func() { done <- fn() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read runs fn, which looks at ctx in its loops.
func (e *engine) read(ctx context.Context, what string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return failed(what, err)
	}
	if err := e.use.begin(); err != nil {
		return failed(what, err)
	}
	defer e.use.end()
	if err := fn(); err != nil {
		return failed(what, err)
	}
	return nil
}

// commit writes b durably and closes it. applied is called once b is visible
// to readers and ordered before every later write, which is before it is
// durable: locks need not be held while the disk turns, and concurrent
// commits share one sync.
func (e *engine) commit(b *pebble.Batch, applied func()) error {
	defer e.endOnPanic()
	if e.noSync {
		return e.commitLater(b, applied)
	}
	err := e.db.ApplyNoSyncWait(b, pebble.Sync)
	applied()
	if err != nil {
		return err
	}
	if err := b.SyncWait(); err != nil {
		return err
	}
	return b.Close()
}

// commitLater is commit without waiting for the disk: a crash may take b
// away, and then everything that was written after it, too.
func (e *engine) commitLater(b *pebble.Batch, applied func()) error {
	defer e.endOnPanic()
	err := e.db.Apply(b, pebble.NoSync)
	applied()
	if err != nil {
		return err
	}
	return b.Close()
}

// settle makes durable what is visible. A call that finds its work done by
// another that may still be waiting for the disk needs it before it returns.
func (e *engine) settle() error {
	defer e.endOnPanic()
	if e.noSync {
		return nil
	}
	return e.db.LogData(nil, pebble.Sync)
}

// endOnPanic ends the process where Pebble gives up, which it does by a panic
// when its log cannot be written: a server that catches panics of its handlers
// would go on with a store whose locks are held for good.
func (e *engine) endOnPanic() {
	if r := recover(); r != nil {
		e.says.Fatalf("%v", r)
		panic(r) // a Fatal that returns must not have it taken for a write
	}
}

// get calls fn with the value of key, valid until fn returns.
func (e *engine) get(key []byte, fn func([]byte) error) (found bool, err error) {
	v, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = fn(v)
	if cerr := closer.Close(); err == nil {
		err = cerr
	}
	return true, err
}

// exists reports whether key is there.
func (e *engine) exists(key []byte) (bool, error) {
	return e.get(key, func([]byte) error { return nil })
}

// span iterates over keys in [lower, upper); upper nil = to the end. The
// iterator sees the database as it is now.
func (e *engine) span(ctx context.Context, lower, upper []byte) (*pebble.Iterator, error) {
	return e.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

// finish closes an iterator and returns its error, where err is nil.
func finish(it *pebble.Iterator, err error) error {
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// stripes are locks shared by hash: a set of keys locks at most 256.
type stripes struct {
	locks [256]sync.RWMutex
}

// stripeSet is a set of stripes, taken in ascending order so that two callers
// never wait for each other.
type stripeSet [4]uint64

// add adds the stripe of a key and returns the key's hash.
func (s *stripeSet) add(key []byte) (hash uint64) { return s.addHash(xxh3.Hash(key)) }

// addName is add for a string.
func (s *stripeSet) addName(name string) (hash uint64) { return s.addHash(xxh3.HashString(name)) }

func (s *stripeSet) addHash(h uint64) uint64 {
	s[h>>62] |= 1 << (h >> 56 & 63)
	return h
}

func (s stripeSet) each(fn func(i int)) {
	for w, set := range s {
		for set != 0 {
			fn(w*64 + bits.TrailingZeros64(set))
			set &= set - 1
		}
	}
}

// lock takes every stripe of a set for itself and returns how to let go.
func (l *stripes) lock(set stripeSet) (unlock func()) {
	set.each(func(i int) { l.locks[i].Lock() })
	return func() { set.each(func(i int) { l.locks[i].Unlock() }) }
}

// share takes every stripe of a set together with other sharers.
func (l *stripes) share(set stripeSet) (unlock func()) {
	set.each(func(i int) { l.locks[i].RLock() })
	return func() { set.each(func(i int) { l.locks[i].RUnlock() }) }
}
