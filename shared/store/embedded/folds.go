package embedded

import (
	"bytes"
	"errors"
	"sync/atomic"
)

// foldAfter is how often a sum is added to before its operands are folded.
const foldAfter = 64

// folds keeps reads of busy sums short. Adding to a sum leaves an operand that
// every reader adds up until memory is flushed to a table: thousands for the
// busiest stream's hour. So every foldAfter-th time somebody writes the sum
// itself over them.
//
// Writers of operands share the key's stripe; who folds has it alone, or an
// operand that comes between its read and its write would be lost.
type folds struct {
	locks stripes
	// touched counts by hash. Where two keys share a count, the busier one is
	// the likelier to be the one that is folded.
	touched [4096]atomic.Uint32
}

// touch reports whether the key of a hash is to be folded now.
func (f *folds) touch(hash uint64) bool {
	return f.touched[hash%uint64(len(f.touched))].Add(1)%foldAfter == 0
}

// fold writes a sum in place of its operands. It changes no number, so it may
// be lost in a crash.
func (j *journal) fold(key []byte) error {
	var set stripeSet
	set.add(key)
	unlock := j.folds.locks.lock(set)
	var sum []byte
	found, err := j.e.get(key, func(v []byte) error {
		sum = bytes.Clone(v)
		return nil
	})
	if err != nil || !found {
		unlock()
		return err
	}
	b := j.e.db.NewBatch()
	if err := b.Set(key, sum, nil); err != nil {
		unlock()
		return errors.Join(err, b.Close())
	}
	return j.e.commitLater(b, unlock)
}
