package embedded

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

// opener opens stores on a disk in memory. A crash loses all that was not
// synced, at that very moment: what a suite finds after it was durable.
func opener[P any](port func(*Stores) P) storetest.Opener[P] {
	return func(t storetest.TB) (P, func() P) {
		fs := vfs.NewCrashableMem()
		s := mustOpen(t, fs)
		return port(s), func() P { return port(mustOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}))) }
	}
}

func mustOpen(t storetest.TB, fs vfs.FS) *Stores {
	t.Helper()
	s, err := Open("/data", Options{FS: fs, ArchiveFiles: 4, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatalf("cannot open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("cannot close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("journal", func(t *testing.T) {
		storetest.Journal(t, opener(func(s *Stores) store.Journal { return s.Journal }))
	})
	t.Run("gatherer", func(t *testing.T) {
		storetest.Gatherer(t, opener(func(s *Stores) store.Gatherer { return s.Journal }))
	})
	t.Run("processed", func(t *testing.T) {
		storetest.Processed(t, opener(func(s *Stores) store.Processed { return s.Processed }))
	})
	t.Run("visitors", func(t *testing.T) {
		storetest.Visitors(t, opener(func(s *Stores) store.Visitors { return s.Visitors }))
	})
	t.Run("summaries", func(t *testing.T) {
		storetest.Summaries(t, opener(func(s *Stores) store.Summaries { return s.Summaries }))
	})
	t.Run("quotas", func(t *testing.T) {
		storetest.Quotas(t, opener(func(s *Stores) store.Quotas { return s.Quotas }))
	})
	t.Run("registry", func(t *testing.T) {
		storetest.Registry(t, opener(func(s *Stores) store.Registry { return s.Registry }))
	})
	t.Run("revisions", func(t *testing.T) {
		storetest.Revisions(t, opener(func(s *Stores) store.Revisions { return s.Revisions }))
	})
	t.Run("erasures", func(t *testing.T) {
		storetest.Erasures(t, opener(func(s *Stores) store.Erasures { return s.Erasures }))
	})
	t.Run("archive", func(t *testing.T) {
		storetest.Archive(t, opener(func(s *Stores) store.Archive { return s.Archive }))
	})
}
