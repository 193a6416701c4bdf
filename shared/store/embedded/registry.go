package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// registry keeps a merchant as JSON twice: under its id, behind the sequence
// number of its last change, and under that number, so that whoever reads all
// merchants reads one run of keys. In folders that version 2 wrote the number
// has the id instead, until the merchant is changed. Writes are rare: one lock
// orders them, and is let go before the disk turns.
type registry struct {
	e  *engine
	mu sync.Mutex
}

func nameKey(table byte, name string) []byte { return append([]byte{table}, name...) }

func changeKey(seq uint64) []byte { return appendUint64([]byte{tableChange}, seq) }

// merchant reads a merchant and the sequence number of its last change.
func (r *registry) merchant(id string) (m access.Merchant, seq uint64, err error) {
	found, err := r.e.get(nameKey(tableMerchant, id), func(v []byte) error {
		d := decoder{b: v}
		seq = d.uint64()
		return errors.Join(d.err, json.Unmarshal(d.b, &m))
	})
	if err == nil && !found {
		err = fault.New(fault.NotFound, "there is no merchant %q", id)
	}
	return m, seq, err
}

// owner is the merchant id of a stream; "" where it has none.
func (r *registry) owner(stream string) (id string, err error) {
	_, err = r.e.get(nameKey(tableStream, stream), func(v []byte) error {
		id = string(v)
		return nil
	})
	return id, err
}

// lastChange is the highest sequence number given so far.
func (r *registry) lastChange() (seq uint64, err error) {
	it, err := r.e.span(context.Background(), []byte{tableChange}, []byte{tableChange + 1})
	if err != nil {
		return 0, err
	}
	if it.Last() {
		seq = binary.BigEndian.Uint64(it.Key()[1:])
	}
	return seq, finish(it, nil)
}

// put writes m as the next change, in place of old (nil where m is new). The
// caller holds the lock; put lets it go.
func (r *registry) put(m, old *access.Merchant, oldSeq uint64) error {
	b := r.e.db.NewBatch()
	seq, err := r.lastChange()
	if err == nil {
		err = r.change(b, max(seq, oldSeq)+1, m, old, oldSeq)
	}
	if err != nil {
		r.mu.Unlock()
		return errors.Join(err, b.Close())
	}
	return r.e.commit(b, r.mu.Unlock)
}

// change writes m into b as change seq. Where a measurement id is taken it
// leaves b as it was.
func (r *registry) change(b *pebble.Batch, seq uint64, m, old *access.Merchant, oldSeq uint64) error {
	for i, s := range m.Streams {
		owner, err := r.owner(s.MeasurementID)
		if err != nil {
			return err
		}
		twice := slices.ContainsFunc(m.Streams[:i], func(o access.Stream) bool { return o.MeasurementID == s.MeasurementID })
		if twice || owner != "" && owner != m.ID {
			return fault.New(fault.Conflict, "measurement id %q is taken", s.MeasurementID)
		}
	}
	var err error
	if old != nil {
		for _, s := range old.Streams {
			err = errors.Join(err, b.Delete(nameKey(tableStream, s.MeasurementID), nil))
		}
		err = errors.Join(err, b.Delete(changeKey(oldSeq), nil))
	}
	for _, s := range m.Streams {
		err = errors.Join(err, b.Set(nameKey(tableStream, s.MeasurementID), []byte(m.ID), nil))
	}
	doc, jerr := json.Marshal(m)
	return errors.Join(err, jerr,
		b.Set(changeKey(seq), doc, nil),
		b.Set(nameKey(tableMerchant, m.ID), append(appendUint64(nil, seq), doc...), nil))
}

// CreateMerchant implements store.Registry.
func (r *registry) CreateMerchant(ctx context.Context, m access.Merchant) error {
	if m.ID == "" {
		return fault.Field("merchant_id", "an id")
	}
	return r.e.write(ctx, fmt.Sprintf("create merchant %q", m.ID), func() error {
		r.mu.Lock()
		_, _, err := r.merchant(m.ID)
		if err == nil {
			err = fault.New(fault.Conflict, "its id is taken")
		}
		if !fault.Is(err, fault.NotFound) {
			r.mu.Unlock()
			return err
		}
		return r.put(&m, nil, 0)
	})
}

// CreateMerchants implements store.Registry.
func (r *registry) CreateMerchants(ctx context.Context, ms []access.Merchant) (taken []int, err error) {
	if err := store.CheckCreations(ms); err != nil {
		return nil, err
	}
	err = r.e.write(ctx, fmt.Sprintf("create %d merchants", len(ms)), func() error {
		r.mu.Lock()
		b := r.e.db.NewBatch()
		if taken, err = r.createAll(b, ms); err != nil {
			r.mu.Unlock()
			return errors.Join(err, b.Close())
		}
		return r.e.commit(b, r.mu.Unlock)
	})
	return taken, err
}

// createAll writes those of ms into b that nothing stands in the way of.
func (r *registry) createAll(b *pebble.Batch, ms []access.Merchant) (taken []int, err error) {
	seq, err := r.lastChange()
	if err != nil {
		return nil, err
	}
	ids, streams := map[string]bool{}, map[string]bool{} // of this call
	for i := range ms {
		m := &ms[i]
		there := ids[m.ID] || slices.ContainsFunc(m.Streams, func(s access.Stream) bool { return streams[s.MeasurementID] })
		if !there {
			if there, err = r.e.get(nameKey(tableMerchant, m.ID), func([]byte) error { return nil }); err != nil {
				return nil, err
			}
		}
		if !there {
			err := r.change(b, seq+1, m, nil, 0)
			if there = fault.Is(err, fault.Conflict); err != nil && !there {
				return nil, err
			}
		}
		if there {
			taken = append(taken, i)
			continue
		}
		seq++
		ids[m.ID] = true
		for _, s := range m.Streams {
			streams[s.MeasurementID] = true
		}
	}
	return taken, nil
}

// Merchant implements store.Registry.
func (r *registry) Merchant(ctx context.Context, id string) (m access.Merchant, err error) {
	err = r.e.read(ctx, fmt.Sprintf("read merchant %q", id), func() error {
		m, _, err = r.merchant(id)
		return err
	})
	return m, err
}

// MerchantByStream implements store.Registry.
func (r *registry) MerchantByStream(ctx context.Context, measurementID string) (m access.Merchant, err error) {
	err = r.e.read(ctx, fmt.Sprintf("find the merchant of stream %q", measurementID), func() error {
		id, err := r.owner(measurementID)
		if err != nil {
			return err
		}
		if id == "" {
			return fault.New(fault.NotFound, "there is no such stream")
		}
		m, _, err = r.merchant(id)
		return err
	})
	return m, err
}

// UpdateMerchant implements store.Registry.
func (r *registry) UpdateMerchant(ctx context.Context, m access.Merchant) error {
	return r.e.write(ctx, fmt.Sprintf("update merchant %q", m.ID), func() error {
		r.mu.Lock()
		old, seq, err := r.merchant(m.ID)
		if err == nil && old.Version != m.Version {
			err = fault.New(fault.Conflict, "it has changed: expected version %d, found %d", m.Version, old.Version)
		}
		if err != nil {
			r.mu.Unlock()
			return err
		}
		m.Version++
		return r.put(&m, &old, seq)
	})
}

// Changes implements store.Registry. A cursor is the sequence number of the
// last change that was listed.
func (r *registry) Changes(ctx context.Context, cursor string, limit int) (changed []access.Merchant, next string, err error) {
	var seq uint64
	if cursor != "" {
		if seq, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return nil, "", fault.Field("cursor", "what the last call returned as next")
		}
	}
	next = cursor
	err = r.e.read(ctx, "list changed merchants", func() error {
		it, err := r.e.span(ctx, changeKey(seq+1), []byte{tableChange + 1})
		if err != nil {
			return err
		}
		for ok := it.First(); ok && len(changed) < limit && err == nil; ok = it.Next() {
			var m access.Merchant
			if v := it.Value(); len(v) > 0 && v[0] == '{' {
				err = json.Unmarshal(v, &m)
			} else {
				// Of version 2: an id. The merchant may be of a later
				// change, which is listed again then.
				m, _, err = r.merchant(string(v))
			}
			if err == nil {
				changed = append(changed, m)
				next = strconv.FormatUint(binary.BigEndian.Uint64(it.Key()[1:]), 10)
				err = ctx.Err()
			}
		}
		return finish(it, err)
	})
	if err != nil {
		return nil, cursor, err
	}
	return changed, next, nil
}

// Secret implements store.Registry.
func (r *registry) Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	var secret []byte
	key := nameKey(tableSecret, name)
	what := fmt.Sprintf("read secret %q", name)
	keep := func(v []byte) error {
		secret = bytes.Clone(v)
		return nil
	}
	var found bool
	err := r.e.read(ctx, what, func() (err error) {
		found, err = r.e.get(key, keep)
		return err
	})
	if err != nil || found {
		return secret, err
	}
	made := new([]byte)
	err = r.e.write(ctx, what, func() error {
		// The lock is held until the disk has it: no caller may get bytes that
		// a crash could take away.
		r.mu.Lock()
		defer r.mu.Unlock()
		found, err := r.e.get(key, func(v []byte) error {
			*made = bytes.Clone(v)
			return nil
		})
		if err != nil || found {
			return err
		}
		if *made, err = make(); err != nil {
			return err
		}
		b := r.e.db.NewBatch()
		if err := b.Set(key, *made, nil); err != nil {
			return errors.Join(err, b.Close())
		}
		return r.e.commit(b, func() {})
	})
	if err != nil {
		return nil, err
	}
	return bytes.Clone(*made), nil
}
