package embedded

import (
	"bytes"
	"context"
	"errors"

	"github.com/footfall/footfall/shared/store"
)

// summaries are plain records. Puts do not wait for the disk: marks are taken
// off later through the same log, so a crash that loses a record has lost the
// taking-off, too.
type summaries struct{ e *engine }

func appendSummaryKey(b []byte, k store.SummaryKey) []byte {
	b = appendUint32(appendName(append(b, tableSummary), k.Merchant), k.Generation)
	return appendInt64(append(b, byte(k.Grain)), k.Start)
}

// Get implements store.Summaries.
func (s *summaries) Get(ctx context.Context, keys []store.SummaryKey) (records [][]byte, err error) {
	err = s.e.read(ctx, "read summaries", func() error {
		records, err = s.get(ctx, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

func (s *summaries) get(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	// Callers ask for neighbours in order: each look-up starts where the last
	// one ended, and bounds leave out the tables of everybody else. Filters
	// are not asked: most records are there, and a filter is a block to read.
	var low, high, key, arena []byte
	for _, k := range keys {
		key = appendSummaryKey(key[:0], k)
		if low == nil || bytes.Compare(key, low) < 0 {
			low = append(low[:0], key...)
		}
		if bytes.Compare(key, high) > 0 {
			high = append(high[:0], key...)
		}
	}
	it, err := s.e.span(ctx, low, append(high, 0))
	if err != nil {
		return nil, err
	}
	records := make([][]byte, len(keys))
	for i, k := range keys {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, finish(it, ctx.Err())
		}
		key = appendSummaryKey(key[:0], k)
		if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, finish(it, err)
		}
		if cap(arena)-len(arena) < len(v) {
			arena = make([]byte, 0, max(len(v), min(len(v)*(len(keys)-i), 64<<10)))
		}
		at := len(arena)
		arena = append(arena, v...)
		records[i] = arena[at:len(arena):len(arena)]
	}
	return records, finish(it, nil)
}

// Put implements store.Summaries.
func (s *summaries) Put(ctx context.Context, entries []store.SummaryEntry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.e.write(ctx, "write summaries", func() error {
		b := s.e.db.NewBatch()
		var key []byte
		for i := range entries {
			key = appendSummaryKey(key[:0], entries[i].Key)
			if err := b.Set(key, entries[i].Data, nil); err != nil {
				return errors.Join(err, b.Close())
			}
		}
		return s.e.commitLater(b, func() {})
	})
}

// Delete implements store.Summaries.
func (s *summaries) Delete(ctx context.Context, keys []store.SummaryKey) error {
	if len(keys) == 0 {
		return nil
	}
	return s.e.write(ctx, "delete summaries", func() error {
		b := s.e.db.NewBatch()
		var key []byte
		for _, k := range keys {
			key = appendSummaryKey(key[:0], k)
			if err := b.Delete(key, nil); err != nil {
				return errors.Join(err, b.Close())
			}
		}
		return s.e.commit(b, func() {})
	})
}

// Drop implements store.Summaries.
func (s *summaries) Drop(ctx context.Context, merchant string, generation uint32) error {
	return s.e.write(ctx, "drop a merchant's summaries", func() error {
		prefix := appendUint32(appendName([]byte{tableSummary}, merchant), generation)
		b := s.e.db.NewBatch()
		if err := b.DeleteRange(prefix, successor(prefix), nil); err != nil {
			return errors.Join(err, b.Close())
		}
		return s.e.commit(b, func() {})
	})
}
