package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func rejectPrefix(table byte, merchant string, h event.Hour) []byte {
	return appendHour(appendName([]byte{table}, merchant), h)
}

func rejectSumKey(r *store.Reject) []byte {
	return append(append(rejectPrefix(tableRejectSum, r.Merchant, r.Hour), byte(b2i(r.Refused))), r.Reason...)
}

// appendReject is the value of a reject; what its key holds is not repeated.
// What counting needs comes first.
func appendReject(b []byte, r *store.Reject) []byte {
	b = append(b, byte(b2i(r.Refused)))
	b = appendName(b, r.Reason)
	b = appendName(b, r.Stream)
	b = appendName(b, r.EventID)
	b = binary.AppendVarint(b, r.ReceivedAt.UnixMicro())
	b = appendName(b, r.Field)
	b = appendName(b, r.Detail)
	b = appendBytes(b, r.Data)
	if r.Events != 0 {
		b = binary.AppendVarint(b, r.Events)
	}
	return b
}

// eventsOf is how many events a reject counts as.
func eventsOf(r *store.Reject) int64 { return max(r.Events, 1) }

func decodeReject(v []byte, r *store.Reject) error {
	d := decoder{b: v}
	r.Refused = d.byte() != 0
	r.Reason, r.Stream, r.EventID = d.name(), d.name(), d.name()
	r.ReceivedAt = time.UnixMicro(d.varint()).UTC()
	r.Field, r.Detail = d.name(), d.name()
	r.Data = bytes.Clone(d.bytes())
	if d.err == nil && len(d.b) > 0 {
		r.Events = d.varint()
	}
	return d.err
}

// putRejects writes rejects and adds to the sums what is not counted yet. The
// caller has the batch's stripe.
func (p *processed) putRejects(b *pebble.Batch, rejects []store.Reject) error {
	delta := make(map[string]int64)
	seen := make(map[string]struct{}, len(rejects))
	for i := range rejects {
		r := &rejects[i]
		if r.Index < 0 || r.Index > math.MaxUint32 {
			return fault.Field("rejects.index", "a place in the batch, from 0")
		}
		key := rejectPrefix(tableReject, r.Merchant, r.Hour)
		key = appendUint32(append(key, r.Batch[:]...), uint32(r.Index))
		if _, again := seen[string(key)]; again {
			return fault.Field("rejects.index", "each place once")
		}
		seen[string(key)] = struct{}{}
		_, err := p.e.get(key, func(v []byte) error {
			old := store.Reject{Merchant: r.Merchant, Hour: r.Hour}
			if err := decodeReject(v, &old); err != nil {
				return err
			}
			delta[string(rejectSumKey(&old))] -= eventsOf(&old)
			return nil
		})
		if err != nil {
			return err
		}
		delta[string(rejectSumKey(r))] += eventsOf(r)
		if err := b.Set(key, appendReject(nil, r), nil); err != nil {
			return err
		}
	}
	for key, n := range delta {
		if n != 0 {
			if err := b.Merge([]byte(key), appendSums(nil, n), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rejects implements store.Processed. A cursor is the key's tail in hex: hour,
// batch and index of the last reject that was listed.
func (p *processed) Rejects(ctx context.Context, merchant string, from, to event.Hour, cursor string, limit int) (rejects []store.Reject, next string, err error) {
	if from >= to || limit <= 0 {
		return nil, "", nil
	}
	lower := rejectPrefix(tableReject, merchant, from)
	name := len(lower) - 4
	if cursor != "" {
		tail, err := hex.DecodeString(cursor)
		if err != nil || len(tail) != 24 {
			return nil, "", fault.Field("cursor", "what the last call returned as next")
		}
		if start := successor(append(lower[:name:name], tail...)); bytes.Compare(start, lower) > 0 {
			lower = start
		}
	}
	err = p.e.read(ctx, "list rejected events", func() error {
		upper := rejectPrefix(tableReject, merchant, to)
		if bytes.Compare(lower, upper) >= 0 {
			return nil
		}
		it, err := p.e.span(ctx, lower, upper)
		if err != nil {
			return err
		}
		ok := it.First()
		for ; ok && len(rejects) < limit && err == nil; ok = it.Next() {
			d := decoder{b: it.Key()[name:]}
			r := store.Reject{Merchant: merchant, Hour: d.hour(), Batch: d.batch(), Index: int(d.uint32())}
			err = errors.Join(d.err, ctx.Err(), decodeReject(it.Value(), &r))
			rejects = append(rejects, r)
			next = hex.EncodeToString(it.Key()[name:])
		}
		if !ok {
			next = ""
		}
		return finish(it, err)
	})
	if err != nil {
		return nil, "", err
	}
	return rejects, next, nil
}

// RejectCounts implements store.Processed.
func (p *processed) RejectCounts(ctx context.Context, merchant string, from, to event.Hour) (counts []store.RejectCount, err error) {
	if from >= to {
		return nil, nil
	}
	err = p.e.read(ctx, "count rejected events", func() error {
		lower := rejectPrefix(tableRejectSum, merchant, from)
		it, err := p.e.span(ctx, lower, rejectPrefix(tableRejectSum, merchant, to))
		if err != nil {
			return err
		}
		for ok := it.First(); ok && err == nil; ok = it.NextPrefix() {
			k, v := decoder{b: it.Key()[len(lower)-4:]}, decoder{b: it.Value()}
			c := store.RejectCount{Hour: k.hour(), Refused: k.byte() != 0, Reason: string(k.b), Events: v.varint()}
			err = errors.Join(k.err, v.err, ctx.Err())
			if c.Events != 0 {
				counts = append(counts, c)
			}
		}
		return finish(it, err)
	})
	return counts, err
}
