package embedded

import (
	"bytes"
	"context"
	"errors"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

var _ store.Gatherer = (*journal)(nil)

// Gather implements store.Gatherer.
func (j *journal) Gather(ctx context.Context, part store.JournalRow) error {
	return j.e.write(ctx, "add to a batch in the journal", func() error { return j.gather(&part) })
}

func (j *journal) gather(part *store.JournalRow) error {
	var batch stripeSet
	batch.add(part.Batch[:])
	unlock := j.locks.lock(batch)
	c := j.change(len(part.Payload) + 256 + 64*len(part.Counts))
	if err := j.addPart(c, part); err != nil {
		unlock()
		return errors.Join(err, c.Close())
	}
	return j.apply(c, unlock, j.e.commit)
}

func (j *journal) addPart(c *change, part *store.JournalRow) error {
	old, err := j.row(part.Batch)
	if err != nil {
		return err
	}
	r := newRow(part)
	if old == nil {
		j.open.Store(part.Batch, true)
	} else {
		if old.parts == 0 {
			return fault.New(fault.Conflict, "batch %q takes no more parts", part.Batch)
		}
		*r = *old
		r.counts = plus(old.counts, part.Counts, 1)
	}
	r.parts++
	return errors.Join(c.Set(payloadPartKey(part.Batch, r.parts), part.Payload, nil), c.put(part.Batch, old, r))
}

// dropParts deletes a batch's parts.
func (c *change) dropParts(id event.BatchID, n int) error {
	for i := range n {
		if err := c.Delete(payloadPartKey(id, i+1), nil); err != nil {
			return err
		}
	}
	return nil
}

// joined is the payload of a batch that another process left in parts; nil where
// there is none.
func (j *journal) joined(ctx context.Context, id event.BatchID) (payload []byte, err error) {
	if _, open := j.open.Load(id); open {
		return nil, nil
	}
	it, err := j.e.span(ctx, payloadPartKey(id, 0), successor(payloadKey(id)))
	if err != nil {
		return nil, err
	}
	var parts [][]byte
	for ok := it.First(); ok; ok = it.Next() {
		parts = append(parts, bytes.Clone(it.Value()))
	}
	if err := finish(it, nil); err != nil || len(parts) == 0 {
		return nil, err
	}
	return event.JoinParts(parts)
}

// plus is a with sign times b added.
func plus(a, b []event.StreamHour, sign int64) []event.StreamHour {
	all := append(make([]event.StreamHour, 0, len(a)+len(b)), a...)
	for _, n := range b {
		n.Events *= sign
		all = append(all, n)
	}
	return event.SumCounts(all)
}
