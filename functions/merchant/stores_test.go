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
	revisions store.Revisions
	erasures  store.Erasures
	race      func(*access.Merchant) // another request's change, just before ours
	away      error                  // of the next Mark
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
	return &stores{Registry: s.Registry, processed: s.Processed, revisions: s.Revisions, erasures: s.Erasures}
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

func (s *stores) Mark(ctx context.Context, marks []store.Mark) error {
	if s.away != nil {
		return s.away
	}
	return s.processed.Mark(ctx, marks)
}

// hold gives a merchant a document in each hour.
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
}

// marks are those of one view.
func (s *stores) marks(t *testing.T, merchant string, generation uint32) []store.Mark {
	t.Helper()
	marks, err := s.processed.Marks(t.Context(), merchant, []store.Queue{store.Queue(generation)}, -1<<30, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return marks
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
