package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// A reject's key ends with its place: batch and index.
const placeLen = 20

func rejectKey(r *store.Reject) []byte {
	key := hourPrefix(tableReject, r.Merchant, uint32(revisionOf(r)), r.Hour)
	return appendUint32(append(key, r.Batch[:]...), uint32(r.Index))
}

// revisionOf is the revision that a reject stands under.
func revisionOf(r *store.Reject) store.Revision { return max(r.Revision, store.LiveRevision) }

func rejectSumKey(r *store.Reject) []byte {
	key := hourPrefix(tableRejectSum, r.Merchant, uint32(revisionOf(r)), r.Hour)
	return append(append(key, byte(b2i(r.Refused))), r.Reason...)
}

const (
	rejectRefused byte = 1 << iota
	rejectMany         // how many events it stands for follows
)

// appendReject is the value of a reject; what its key holds is not repeated.
// What counting needs comes first.
func appendReject(b []byte, r *store.Reject) []byte {
	flags := rejectRefused * byte(b2i(r.Refused))
	if r.Events != 0 {
		b = binary.AppendVarint(append(b, flags|rejectMany), r.Events)
	} else {
		b = append(b, flags)
	}
	b = appendName(b, r.Reason)
	b = appendName(b, r.Stream)
	b = appendName(b, r.EventID)
	b = binary.AppendVarint(b, r.ReceivedAt.UnixMicro())
	b = appendName(b, r.Field)
	b = appendName(b, r.Detail)
	return appendBytes(b, r.Data)
}

// eventsOf is how many events a reject counts as.
func eventsOf(r *store.Reject) int64 { return max(r.Events, 1) }

func decodeReject(v []byte, r *store.Reject) error {
	d := decoder{b: v}
	reason := d.counted(r)
	r.Reason, r.Stream, r.EventID = string(reason), d.name(), d.name()
	r.ReceivedAt = time.UnixMicro(d.varint()).UTC()
	r.Field, r.Detail = d.name(), d.name()
	r.Data = bytes.Clone(d.bytes())
	return d.err
}

// counted reads what counting needs of a reject but for the reason, which it
// returns.
func (d *decoder) counted(r *store.Reject) (reason []byte) {
	flags := d.byte()
	r.Refused = flags&rejectRefused != 0
	if flags&rejectMany != 0 {
		r.Events = d.varint()
	}
	return d.bytes()
}

// writeRejects writes rejects, removes others, and adds to the sums what is
// not counted there. The caller has the stripes of their batches, and shares
// those of their merchants.
func (p *processed) writeRejects(b *pebble.Batch, w *writing) error {
	if len(w.rejects) == 0 && len(w.gone) == 0 {
		return nil
	}
	delta := make(map[string]int64)
	seen := make(map[string]struct{}, len(w.rejects)+len(w.gone))
	// place is a reject's key; what stands there is not counted any more.
	place := func(r *store.Reject) (key []byte, there bool, err error) {
		if r.Index < 0 || r.Index > math.MaxUint32 {
			return nil, false, fault.Field("rejects.index", "a place in the batch, from 0")
		}
		key = rejectKey(r)
		if _, again := seen[string(key)]; again {
			return nil, false, fault.Field("rejects.index", "each place once")
		}
		seen[string(key)] = struct{}{}
		there, err = p.e.get(key, func(v []byte) error {
			old := store.Reject{Merchant: r.Merchant, Revision: r.Revision, Hour: r.Hour}
			if err := decodeReject(v, &old); err != nil {
				return err
			}
			delta[string(rejectSumKey(&old))] -= eventsOf(&old)
			return nil
		})
		return key, there, err
	}
	for i := range w.rejects {
		r := &w.rejects[i]
		if r.Revision == 0 && w.rev != store.LiveRevision {
			of := *r
			of.Revision = w.rev
			r = &of
		}
		key, _, err := place(r)
		if err != nil {
			return err
		}
		delta[string(rejectSumKey(r))] += eventsOf(r)
		if err := b.Set(key, appendReject(nil, r), nil); err != nil {
			return err
		}
	}
	for i := range w.gone {
		if _, again := seen[string(rejectKey(&w.gone[i]))]; again {
			continue
		}
		key, there, err := place(&w.gone[i])
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := b.Delete(key, nil); err != nil {
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
func (p *processed) Rejects(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour, cursor string, limit int) (rejects []store.Reject, next string, err error) {
	if from >= to || limit <= 0 {
		return nil, "", nil
	}
	start := appendHour(nil, from)
	if cursor != "" {
		tail, err := hex.DecodeString(cursor)
		if err != nil || len(tail) != 4+placeLen {
			return nil, "", fault.Field("cursor", "what the last call returned as next")
		}
		if after := successor(tail); bytes.Compare(after, start) > 0 {
			start = after
		}
	}
	end := appendHour(nil, to)
	if bytes.Compare(start, end) >= 0 {
		return nil, "", nil
	}
	err = p.e.read(ctx, "list rejected events", func() error {
		walks := make([]rejectWalk, 0, 1+len(layers))
		for _, rev := range layers.Revisions() {
			w := rejectWalk{rev: rev, layers: layers, prefix: appendUint32(appendName([]byte{tableReject}, merchant), uint32(rev))}
			if w.it, err = p.e.span(ctx, append(w.prefix[:len(w.prefix):len(w.prefix)], start...), append(w.prefix[:len(w.prefix):len(w.prefix)], end...)); err != nil {
				break
			}
			walks = append(walks, w)
			walks[len(walks)-1].next((*pebble.Iterator).First)
		}
		for err == nil {
			// A batch is of one revision: no two walks stand at the same place.
			var first *rejectWalk
			for i := range walks {
				if w := &walks[i]; w.tail != nil && (first == nil || bytes.Compare(w.tail, first.tail) < 0) {
					first = w
				}
			}
			if first == nil {
				next = ""
				break
			}
			if len(rejects) == limit {
				break
			}
			d := decoder{b: first.tail}
			r := store.Reject{Merchant: merchant, Revision: first.rev, Hour: d.hour(), Batch: d.batch(), Index: int(d.uint32())}
			err = errors.Join(d.err, ctx.Err(), decodeReject(first.it.Value(), &r))
			rejects = append(rejects, r)
			next = hex.EncodeToString(first.tail)
			first.next((*pebble.Iterator).Next)
		}
		for i := range walks {
			err = finish(walks[i].it, err)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return rejects, next, nil
}

// rejectWalk goes along a revision's rejects of a merchant.
type rejectWalk struct {
	rev    store.Revision
	layers access.Layers
	prefix []byte
	it     *pebble.Iterator
	tail   []byte // of the key that it stands at: hour, batch, index; nil at the end
}

// next goes on to a reject of a batch that the revision owns.
func (w *rejectWalk) next(move func(*pebble.Iterator) bool) {
	for ok := move(w.it); ok; ok = w.it.Next() {
		w.tail = w.it.Key()[len(w.prefix):]
		d := decoder{b: w.tail[4:]}
		if id := d.batch(); d.err != nil || w.layers.Owner(id.Millis()) == w.rev {
			return
		}
	}
	w.tail = nil
}

// RejectCounts implements store.Processed: the sums of all revisions, but for
// the rejects of batches that others own.
func (p *processed) RejectCounts(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour) (counts []store.RejectCount, err error) {
	if from >= to {
		return nil, nil
	}
	err = p.e.read(ctx, "count rejected events", func() error {
		if len(layers) == 0 {
			return rejectSums(ctx, p.e.db, merchant, store.LiveRevision, from, to, func(tail []byte, n int64) error {
				return appendCount(&counts, tail, n)
			})
		}
		sums := make(map[string]int64) // by what ends the key of a sum
		// Sums and rejects are looked at as they are at one instant.
		now := p.e.db.NewSnapshot()
		for _, rev := range layers.Revisions() {
			err = errors.Join(err,
				rejectSums(ctx, now, merchant, rev, from, to, func(tail []byte, n int64) error {
					sums[string(tail)] += n
					return nil
				}),
				eachOfOthers(ctx, now, merchant, rev, layers, from, to, func(tail []byte, n int64) { sums[string(tail)] -= n }))
		}
		for _, tail := range slices.Sorted(maps.Keys(sums)) {
			err = errors.Join(err, appendCount(&counts, []byte(tail), sums[tail]))
		}
		return errors.Join(err, now.Close())
	})
	return counts, err
}

// appendCount appends a sum that is not zero; tail ends its key: hour, refused,
// reason.
func appendCount(counts *[]store.RejectCount, tail []byte, n int64) error {
	d := decoder{b: tail}
	c := store.RejectCount{Hour: d.hour(), Refused: d.byte() != 0, Reason: string(d.b), Events: n}
	if n != 0 && d.err == nil {
		*counts = append(*counts, c)
	}
	return d.err
}

// rejectSums calls fn with the end of each sum's key, and the sum.
func rejectSums(ctx context.Context, db pebble.Reader, merchant string, rev store.Revision, from, to event.Hour, fn func(tail []byte, n int64) error) error {
	lower := hourPrefix(tableRejectSum, merchant, uint32(rev), from)
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: hourPrefix(tableRejectSum, merchant, uint32(rev), to)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.NextPrefix() {
		d := decoder{b: it.Value()}
		n := d.varint()
		if err = errors.Join(d.err, ctx.Err()); err == nil {
			err = fn(it.Key()[len(lower)-4:], n)
		}
	}
	return finish(it, err)
}

// eachOfOthers calls fn with the rejects of a revision whose batches others own,
// by what would end the keys of their sums. It steps over those that it owns.
func eachOfOthers(ctx context.Context, db pebble.Reader, merchant string, rev store.Revision, layers access.Layers, from, to event.Hour, fn func(tail []byte, n int64)) error {
	lower := hourPrefix(tableReject, merchant, uint32(rev), from)
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: hourPrefix(tableReject, merchant, uint32(rev), to)})
	if err != nil {
		return err
	}
	spans := layers.Spans(rev)
	name := len(lower) - 4
	var edge []byte
	for ok := it.First(); ok && err == nil; {
		d := decoder{b: it.Key()[name:]}
		h := d.hour()
		millis := d.batch().Millis()
		owned := slices.IndexFunc(spans, func(s access.Span) bool { return millis >= s.From && millis < s.To })
		if owned >= 0 {
			edge = appendHour(append(edge[:0], lower[:name]...), h)
			if first := event.FirstBatchID(spans[owned].To); first.Millis() == spans[owned].To {
				edge = append(edge, first[:]...)
			} else {
				edge = successor(edge) // no id is later
			}
			ok = it.SeekGE(edge)
			err = errors.Join(d.err, ctx.Err())
			continue
		}
		tail := it.Key()[name : name+4 : name+4]
		v := decoder{b: it.Value()}
		var r store.Reject
		reason := v.counted(&r)
		fn(append(append(tail, byte(b2i(r.Refused))), reason...), eventsOf(&r))
		err = errors.Join(d.err, v.err, ctx.Err())
		ok = it.Next()
	}
	return finish(it, err)
}
