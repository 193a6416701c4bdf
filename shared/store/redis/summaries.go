package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
)

// summaries keeps a merchant's records of some days in one hash, so that records
// of some tens of bytes do not cost a key of a hundred each, and beside them a
// set of each merchant's hashes, so that nobody has to search for them.
type summaries struct{ *client }

// What one round trip carries at most; a larger record has one of its own.
const (
	maxPipeBytes  = 1 << 20
	maxPipeFields = 2000
	maxDrop       = 500 // hashes
)

// Get implements store.Summaries.
func (s *summaries) Get(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	records := make([][]byte, len(keys))
	var asked hashes
	for i, k := range keys {
		b, place := placeOf(k)
		asked.add(b, place, i)
	}
	type ref struct {
		at  int // in records
		sum uint32
	}
	var referred hashes
	var refs []ref
	err := s.read(ctx, &asked, func(b bucket, at int, value string) {
		if hour, sum, ok := reference(value); ok {
			b, place := placeOf(store.SummaryKey{Merchant: b.merchant, Generation: b.generation, Grain: store.GrainHour, Start: hour})
			referred.add(b, place, len(refs))
			refs = append(refs, ref{at, sum})
			return
		}
		records[at] = recordOf(value)
	})
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, &referred, func(_ bucket, at int, value string) {
		// The hour may have been written anew, without its day: then the day's
		// record is gone.
		if r := recordOf(value); uint32(xxh3.Hash(r)) == refs[at].sum {
			records[refs[at].at] = r
		}
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// read calls fn with each value that is there.
func (s *summaries) read(ctx context.Context, h *hashes, fn func(b bucket, at int, value string)) error {
	return h.pipes(maxPipeFields, func(part []hash) error {
		return s.within(ctx, "read summaries", func(ctx context.Context) error {
			pipe := s.Pipeline()
			answers := make([]*redis.SliceCmd, len(part))
			for i := range part {
				answers[i] = pipe.HMGet(ctx, s.summaryKey(part[i].bucket.merchant, part[i].bucket.suffix()), part[i].fields...)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			for i := range part {
				values := answers[i].Val()
				if len(values) != len(part[i].fields) {
					return fmt.Errorf("expected %d values, got %d", len(part[i].fields), len(values))
				}
				for n, v := range values {
					if text, ok := v.(string); ok {
						fn(part[i].bucket, part[i].at[n], text)
					}
				}
			}
			return nil
		})
	})
}

// Put implements store.Summaries.
func (s *summaries) Put(ctx context.Context, entries []store.SummaryEntry) error {
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && n < maxPipeFields && (n == 0 || bytes+len(entries[n].Data) <= maxPipeBytes) {
			bytes += len(entries[n].Data)
			n++
		}
		if err := s.put(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (s *summaries) put(ctx context.Context, entries []store.SummaryEntry) error {
	var h hashes
	for i := range entries {
		b, place := placeOf(entries[i].Key)
		h.add(b, place, i)
	}
	return s.within(ctx, fmt.Sprintf("write %d summaries", len(entries)), func(ctx context.Context) error {
		pipe := s.Pipeline()
		for i := range h.list {
			one := &h.list[i]
			values := make([]any, 0, 2*len(one.fields))
			for n, at := range one.at {
				value := valueOf(entries[at].Data)
				if hour, same := sameHour(entries, at); same {
					value = referenceTo(hour, entries[at].Data)
				}
				values = append(values, one.fields[n], value)
			}
			suffix := one.bucket.suffix()
			pipe.HSet(ctx, s.summaryKey(one.bucket.merchant, suffix), values...)
			// The index comes after what it names: Drop removes both in
			// one step, and what is written around it is either gone or named.
			pipe.ZAddNX(ctx, s.indexKey(one.bucket.merchant), redis.Z{Score: float64(one.bucket.generation), Member: suffix})
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// Delete implements store.Summaries.
func (s *summaries) Delete(ctx context.Context, keys []store.SummaryKey) error {
	var h hashes
	for i, k := range keys {
		b, place := placeOf(k)
		h.add(b, place, i)
	}
	return h.pipes(maxPipeFields, func(part []hash) error {
		return s.within(ctx, "delete summaries", func(ctx context.Context) error {
			pipe := s.Pipeline()
			for i := range part {
				pipe.HDel(ctx, s.summaryKey(part[i].bucket.merchant, part[i].bucket.suffix()), part[i].fields...)
			}
			_, err := pipe.Exec(ctx)
			return err
		})
	})
}

// Drop implements store.Summaries.
func (s *summaries) Drop(ctx context.Context, merchant string, generation uint32) error {
	index, score := s.indexKey(merchant), strconv.FormatUint(uint64(generation), 10)
	for {
		more := false
		err := s.within(ctx, fmt.Sprintf("drop summaries of merchant %q", merchant), func(ctx context.Context) error {
			old, err := s.ZRangeByScore(ctx, index, &redis.ZRangeBy{Min: score, Max: score, Count: maxDrop}).Result()
			if err != nil || len(old) == 0 {
				return err
			}
			keys, names := make([]string, len(old)), make([]any, len(old))
			for i, suffix := range old {
				keys[i], names[i] = s.summaryKey(merchant, suffix), suffix
			}
			pipe := s.TxPipeline()
			pipe.Unlink(ctx, keys...) // their memory is freed beside the commands of others
			pipe.ZRem(ctx, index, names...)
			_, err = pipe.Exec(ctx)
			more = len(old) == maxDrop
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}
