package embedded

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Stages implements store.Journal.
func (j *journal) Stages(ctx context.Context, id event.BatchID) (stages store.Stage, err error) {
	err = j.e.read(ctx, "look up batch "+id.String(), func() error {
		first := func(v []byte) error {
			d := decoder{b: v} // the row's first field
			stages = store.Stage(d.byte())
			return d.err
		}
		data, known := j.young.find(id)
		switch {
		case !known:
			_, err := j.e.get(rowKey(id), first)
			return err
		case data == nil:
			return nil
		}
		return first(data)
	})
	return stages, err
}

// Payload implements store.Journal.
func (j *journal) Payload(ctx context.Context, id event.BatchID) (payload []byte, err error) {
	err = j.e.read(ctx, "read the payload of batch "+id.String(), func() error {
		whole := func() (bool, error) {
			return j.e.get(payloadKey(id), func(v []byte) error {
				payload = bytes.Clone(v)
				return nil
			})
		}
		found, err := whole()
		if err == nil && !found {
			payload, err = j.joined(ctx, id)
			found = payload != nil
		}
		if err == nil && !found {
			found, err = whole() // it may have taken the place of its parts meanwhile
		}
		if err == nil && !found {
			return fault.New(fault.NotFound, "the journal holds no payload of it")
		}
		return err
	})
	return payload, err
}

// Unfinished implements store.Journal.
func (j *journal) Unfinished(ctx context.Context, lacks store.Stage, from, before time.Time, limit int) (rows []store.JournalRow, err error) {
	err = j.e.read(ctx, "list unfinished batches", func() error {
		rows, err = j.unfinished(ctx, lacks, from, before, limit)
		return err
	})
	return rows, err
}

func (j *journal) unfinished(ctx context.Context, lacks store.Stage, from, before time.Time, limit int) (rows []store.JournalRow, err error) {
	var its []*pebble.Iterator
	defer func() {
		for _, it := range its {
			err = finish(it, err)
		}
	}()
	for _, s := range stages {
		if lacks&s == 0 {
			continue
		}
		prefix := []byte{tableStage, byte(s)}
		lower := prefix
		if !from.IsZero() {
			lower = appendInt64(bytes.Clone(prefix), from.UnixMicro())
		}
		it, err := j.e.span(ctx, lower, appendInt64(bytes.Clone(prefix), before.UnixMicro()))
		if err != nil {
			return nil, err
		}
		its = append(its, it)
		it.First()
	}
	for len(rows) < limit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// The oldest of the indexes' heads; each index holds a row once.
		var low []byte
		for _, it := range its {
			if it.Valid() && (low == nil || bytes.Compare(it.Key()[2:], low) < 0) {
				low = it.Key()[2:]
			}
		}
		if low == nil {
			break
		}
		p := position(low)
		for _, it := range its {
			if it.Valid() && bytes.Equal(it.Key()[2:], p[:]) {
				it.Next()
			}
		}
		id := event.BatchID(p[8:])
		r, err := j.row(id)
		if err != nil {
			return nil, err
		}
		if r == nil || r.stages&lacks == lacks {
			continue // finished while we looked
		}
		out := store.JournalRow{
			Batch: id, ReceivedAt: time.UnixMicro(r.received).UTC(), PartitionKey: r.key, Counts: r.counts, Stages: r.stages,
		}
		if r.published != 0 {
			out.PublishedAt = time.UnixMicro(r.published).UTC()
		}
		rows = append(rows, out)
	}
	return rows, nil
}

// Watermark implements store.Journal.
func (j *journal) Watermark(ctx context.Context, now time.Time) (t time.Time, err error) {
	t = now
	err = j.e.read(ctx, "read the watermark", func() error {
		from, mayRaise := j.floor.look()
		found := from
		if mayRaise {
			defer func() { j.floor.raise(found) }()
		}
		it, err := j.e.span(ctx, stageKey(store.StageProcessed, from), []byte{tableStage, byte(store.StageProcessed) + 1})
		if err != nil {
			return err
		}
		if it.First() {
			found = position(it.Key()[2:])
			d := decoder{b: found[:]}
			t = time.UnixMicro(d.int64()).UTC()
		} else if it.Error() == nil {
			found = endOfTime
		}
		return finish(it, nil)
	})
	return t, err
}

// Counts implements store.Journal.
func (j *journal) Counts(ctx context.Context, streams []string, from, to event.Hour) (counts []store.LedgerCount, err error) {
	err = j.e.read(ctx, "count the batches of the journal", func() error {
		streams = slices.Compact(slices.Sorted(slices.Values(streams)))
		for _, s := range streams {
			if counts, err = j.countStream(ctx, counts, s, from, to); err != nil {
				return err
			}
		}
		return nil
	})
	return counts, err
}

func (j *journal) countStream(ctx context.Context, counts []store.LedgerCount, stream string, from, to event.Hour) ([]store.LedgerCount, error) {
	if from >= to {
		return counts, nil
	}
	lower := sumsKey(nil, stream, from)
	it, err := j.e.span(ctx, lower, sumsKey(nil, stream, to))
	if err != nil {
		return nil, err
	}
	// NextPrefix goes to the next key by seeking: a busy hour has thousands
	// of operands in memory that Next would step over.
	for ok := it.First(); ok; ok = it.NextPrefix() {
		if err := ctx.Err(); err != nil {
			return nil, finish(it, err)
		}
		h := decoder{b: it.Key()[len(lower)-4:]}
		v := decoder{b: it.Value()}
		c := store.LedgerCount{Stream: strings.Clone(stream), Hour: h.hour(), Accepted: v.varint(), Pending: v.varint()}
		if err := errors.Join(h.err, v.err); err != nil {
			return nil, finish(it, err)
		}
		if c.Accepted != 0 || c.Pending != 0 {
			counts = append(counts, c)
		}
	}
	return counts, finish(it, nil)
}
