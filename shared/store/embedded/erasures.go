package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/fault"
)

// erasures keeps them as JSON by merchant and id, and a key for each open one.
// Writes are rare: one lock orders them.
type erasures struct {
	e  *engine
	mu sync.Mutex
}

func erasureKey(merchant, id string) []byte {
	return append(appendName([]byte{tableErasure}, merchant), id...)
}

func openErasureKey(id string) []byte { return append([]byte{tableOpenErasure}, id...) }

// CreateErasure implements store.Erasures.
func (s *erasures) CreateErasure(ctx context.Context, e erasure.Erasure) error {
	return s.put(ctx, "create an erasure", e, func(_ erasure.Erasure, found bool) error {
		if found {
			return fault.New(fault.Conflict, "there is an erasure %q", e.ID)
		}
		return nil
	}, 1)
}

// UpdateErasure implements store.Erasures.
func (s *erasures) UpdateErasure(ctx context.Context, e erasure.Erasure) error {
	return s.put(ctx, "update an erasure", e, func(old erasure.Erasure, found bool) error {
		switch {
		case !found:
			return noErasure(e.ID)
		case old.Version != e.Version:
			return fault.New(fault.Conflict, "it has changed: expected version %d, found %d", e.Version, old.Version)
		}
		return nil
	}, e.Version+1)
}

func noErasure(id string) error { return fault.New(fault.NotFound, "there is no erasure %q", id) }

// put writes an erasure under a version, where may allows it.
func (s *erasures) put(ctx context.Context, what string, e erasure.Erasure, may func(old erasure.Erasure, found bool) error, version uint64) error {
	return s.e.write(ctx, what, func() error {
		s.mu.Lock()
		old, found, err := s.load(e.Merchant, e.ID)
		if err == nil {
			err = may(old, found)
		}
		if err != nil {
			s.mu.Unlock()
			return err
		}
		e.Version = version
		b := s.e.db.NewBatch()
		err = set(b, erasureKey(e.Merchant, e.ID), &e)
		if open := openErasureKey(e.ID); e.Open() {
			err = errors.Join(err, b.Set(open, []byte(e.Merchant), nil))
		} else {
			err = errors.Join(err, b.Delete(open, nil))
		}
		if err != nil {
			s.mu.Unlock()
			return errors.Join(err, b.Close())
		}
		return s.e.commit(b, s.mu.Unlock)
	})
}

func (s *erasures) load(merchant, id string) (e erasure.Erasure, found bool, err error) {
	found, err = s.e.get(erasureKey(merchant, id), func(v []byte) error { return json.Unmarshal(v, &e) })
	return e, found, err
}

// Erasure implements store.Erasures.
func (s *erasures) Erasure(ctx context.Context, merchant, id string) (e erasure.Erasure, err error) {
	err = s.e.read(ctx, "read an erasure", func() error {
		var found bool
		if e, found, err = s.load(merchant, id); err == nil && !found {
			err = noErasure(id)
		}
		return err
	})
	return e, err
}

// Erasures implements store.Erasures.
func (s *erasures) Erasures(ctx context.Context, merchant, after string, limit int) (list []erasure.Erasure, err error) {
	err = s.e.read(ctx, "list erasures", func() error {
		prefix := erasureKey(merchant, "")
		return s.each(ctx, prefix, erasureKey(merchant, after), after != "", limit, func(_, v []byte) error {
			var e erasure.Erasure
			err := json.Unmarshal(v, &e)
			list = append(list, e)
			return err
		})
	})
	return list, err
}

// OpenErasures implements store.Erasures.
func (s *erasures) OpenErasures(ctx context.Context, after string, limit int) (list []erasure.Erasure, err error) {
	err = s.e.read(ctx, "list open erasures", func() error {
		return s.each(ctx, []byte{tableOpenErasure}, openErasureKey(after), after != "", limit, func(id, merchant []byte) error {
			e, found, err := s.load(string(merchant), string(id))
			if err == nil && found && e.Open() { // another may have finished it meanwhile
				list = append(list, e)
			}
			return err
		})
	})
	return list, err
}

// each calls fn with what follows a prefix in keys from one on (not of it, where
// beyond says so), and with their values, at most limit times.
func (s *erasures) each(ctx context.Context, prefix, from []byte, beyond bool, limit int, fn func(tail, v []byte) error) error {
	if beyond {
		from = append(from[:len(from):len(from)], 0)
	}
	it, err := s.e.span(ctx, from, successor(prefix))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil && limit > 0; ok = it.Next() {
		err = errors.Join(ctx.Err(), fn(it.Key()[len(prefix):], it.Value()))
		limit--
	}
	return finish(it, err)
}
