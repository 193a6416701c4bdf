package merchant

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// stores are the embedded ones, which fail or are overtaken where a test says.
type stores struct {
	store.Registry
	processed store.Processed
	race      func(*access.Merchant) // another request's change, just before ours
	away      error                  // of the next MarkDirty
}

func newStores(t *testing.T) *stores {
	t.Helper()
	s, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &stores{Registry: s.Registry, processed: s.Processed}
}

func (s *stores) UpdateMerchant(ctx context.Context, m access.Merchant) error {
	if s.race != nil {
		other, err := s.Merchant(ctx, m.ID)
		if err != nil {
			return err
		}
		s.race(&other)
		s.race = nil
		if err := s.Registry.UpdateMerchant(ctx, other); err != nil {
			return err
		}
	}
	return s.Registry.UpdateMerchant(ctx, m)
}

func (s *stores) Extent(ctx context.Context, merchant string, revs ...store.Revision) (first, last event.Hour, ok bool, err error) {
	return s.processed.Extent(ctx, merchant, revs...)
}

func (s *stores) MarkDirty(ctx context.Context, merchant string, queue store.Queue, revs []store.Revision, from, to event.Hour) error {
	if s.away != nil {
		return s.away
	}
	return s.processed.MarkDirty(ctx, merchant, queue, revs, from, to)
}

// hold gives a merchant a document in each hour, which a summary holds.
func (s *stores) hold(t *testing.T, merchant string, hours ...event.Hour) {
	t.Helper()
	for _, h := range hours {
		id, err := event.NewBatchID()
		if err != nil {
			t.Fatal(err)
		}
		key := store.DocKey{Merchant: merchant, Hour: h, Revision: store.LiveRevision, Batch: id}
		if err := s.processed.Put(t.Context(), store.Put{Batch: id, Docs: []store.Doc{{Key: key, Events: 1, Data: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
	}
	s.clean(t, merchant)
}

// dirty lists the merchant's dirty hours.
func (s *stores) dirty(t *testing.T, merchant string) []event.Hour {
	t.Helper()
	hours, err := s.processed.DirtyOf(t.Context(), merchant, []store.Queue{store.LiveQueue}, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return hours
}

// clean takes all marks off, as a summary does.
func (s *stores) clean(t *testing.T, merchant string) {
	t.Helper()
	for _, h := range s.dirty(t, merchant) {
		marks, err := s.processed.Marks(t.Context(), merchant, []store.Queue{store.LiveQueue}, h, h+1)
		if err == nil {
			err = s.processed.Clean(t.Context(), marks)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// kept is a merchant as the registry has it.
func (s *stores) kept(t *testing.T, id string) access.Merchant {
	t.Helper()
	m, err := s.Merchant(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
