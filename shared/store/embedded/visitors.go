package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/fault"
)

// visitors keeps one small value per user. See tells its caller what stood
// there before, so it reads, compares and writes with the merchant's stripe
// held; a plain Set is then right, and cheaper to read than merged operands.
//
// Like summaries it does not wait for the disk: a crash that takes a write away
// takes away what came after it in the log, the taking-off of marks included,
// and the hour is worked out again. So an hour in which a million merchants
// were active is closed without a million syncs.
type visitors struct {
	e         *engine
	merchants stripes
}

func visitorPrefix(merchant string, generation uint32) []byte {
	b := make([]byte, 0, 32+len(merchant))
	return appendUint32(appendName(append(b, tableVisitor), merchant), generation)
}

// FirstSeen implements store.Visitors.
func (v *visitors) FirstSeen(ctx context.Context, merchant string, generation uint32, users []uint64) (millis []int64, err error) {
	err = v.e.read(ctx, "look up visitors", func() error {
		millis, err = v.firstSeen(ctx, merchant, generation, users)
		return err
	})
	return millis, err
}

func (v *visitors) firstSeen(ctx context.Context, merchant string, generation uint32, users []uint64) ([]int64, error) {
	millis := make([]int64, len(users))
	if len(users) == 0 {
		return millis, nil
	}
	order := make([]int, len(users))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(users[a], users[b]) })
	prefix := visitorPrefix(merchant, generation)
	it, err := v.e.span(ctx, prefix, successor(prefix))
	if err != nil {
		return nil, err
	}
	look := lookup{it: it}
	n := len(prefix)
	for at, i := range order {
		if at%1024 == 0 && ctx.Err() != nil {
			return nil, finish(it, ctx.Err())
		}
		millis[i] = math.MaxInt64
		prefix = appendUint64(prefix[:n], users[i])
		if look.find(prefix, len(users) > few) {
			d := decoder{b: it.Value()}
			millis[i] = d.int64()
			if d.err != nil {
				return nil, finish(it, d.err)
			}
		}
	}
	if err := finish(it, nil); err != nil {
		return nil, err
	}
	return millis, nil
}

const (
	// few users are asked for one by one, and the filters of the tables answer
	// for most of those who are not there. For more it is cheaper to walk along
	// their keys: a filter is read whole for each question.
	few = 32
	// stride is how many keys a walk steps over before it jumps.
	stride = 8
)

// lookup finds keys that are asked for in ascending order.
type lookup struct {
	it    *pebble.Iterator
	begun bool
	valid bool // the iterator stands on a key
}

// find reports whether a key is there; the iterator then stands on it.
func (l *lookup) find(key []byte, walk bool) bool {
	if !walk {
		return l.it.SeekPrefixGE(key)
	}
	if !l.begun {
		l.begun, l.valid = true, l.it.SeekGE(key)
	}
	for steps := 0; l.valid && bytes.Compare(l.it.Key(), key) < 0; steps++ {
		if steps == stride {
			l.valid = l.it.SeekGE(key)
			break
		}
		l.valid = l.it.Next()
	}
	return l.valid && bytes.Equal(l.it.Key(), key)
}

// See implements store.Visitors.
func (v *visitors) See(ctx context.Context, merchant string, generation uint32, users []uint64, millis, known []int64) ([]int64, error) {
	if len(users) != len(millis) {
		return nil, fault.Field("millis", "as many as users")
	}
	if known != nil && len(known) != len(users) {
		return nil, fault.Field("known", "as many as users, or none")
	}
	var before []int64
	err := v.e.write(ctx, "remember visitors", func() error {
		seen, err := v.see(ctx, merchant, generation, users, millis, known)
		if err == nil {
			before = seen
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return before, nil
}

func (v *visitors) see(ctx context.Context, merchant string, generation uint32, users []uint64, millis, known []int64) ([]int64, error) {
	var set stripeSet
	set.addName(merchant)
	unlock := v.merchants.lock(set)
	before, err := v.firstSeen(ctx, merchant, generation, users)
	if err != nil {
		unlock()
		return nil, err
	}
	b := v.e.db.NewBatchWithSize(len(users) * (len(merchant) + 32))
	if err := setEarlier(b, visitorPrefix(merchant, generation), users, millis, before, known); err != nil {
		unlock()
		return nil, errors.Join(err, b.Close())
	}
	if b.Empty() {
		unlock()
		return before, b.Close()
	}
	return before, v.e.commitLater(b, unlock)
}

// Forget implements store.Visitors.
func (v *visitors) Forget(ctx context.Context, merchant string, generation uint32, users []uint64) error {
	return v.e.write(ctx, "forget some visitors", func() error {
		var set stripeSet
		set.addName(merchant)
		unlock := v.merchants.lock(set)
		prefix := visitorPrefix(merchant, generation)
		b := v.e.db.NewBatch()
		for _, u := range users {
			if err := b.Delete(appendUint64(prefix[:len(prefix):len(prefix)], u), nil); err != nil {
				unlock()
				return errors.Join(err, b.Close())
			}
		}
		return v.e.commit(b, unlock)
	})
}

// Drop implements store.Visitors.
func (v *visitors) Drop(ctx context.Context, merchant string, generation uint32) error {
	return v.e.write(ctx, "forget visitors", func() error {
		var set stripeSet
		set.addName(merchant)
		unlock := v.merchants.lock(set)
		prefix := visitorPrefix(merchant, generation)
		b := v.e.db.NewBatch()
		if err := b.DeleteRange(prefix, successor(prefix), nil); err != nil {
			unlock()
			return errors.Join(err, b.Close())
		}
		return v.e.commit(b, unlock)
	})
}

// setEarlier writes the earlier instants of users of whom is known what was
// there before. A user that occurs twice in one call ends with the earlier of both,
// and before tells what the call found.
func setEarlier(b *pebble.Batch, prefix []byte, users []uint64, millis, before, known []int64) error {
	lowest := make(map[uint64]int64, len(users))
	n := len(prefix)
	for i, u := range users {
		if is := int64(math.MaxInt64); known != nil && before[i] != known[i] || known == nil && before[i] != is {
			continue
		}
		now, again := lowest[u]
		if !again {
			now = before[i]
		}
		if millis[i] >= now {
			lowest[u] = now
			continue
		}
		lowest[u] = millis[i]
		var value [8]byte
		binary.BigEndian.PutUint64(value[:], uint64(millis[i])^1<<63)
		prefix = appendUint64(prefix[:n], u)
		if err := b.Set(prefix, value[:], nil); err != nil {
			return err
		}
	}
	return nil
}
