package hdfs

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

const nameNodeVariable = "FOOTFALL_TEST_HDFS_NAMENODE"

// testConfig is an archive of its own in the HDFS of the environment.
func testConfig(t testing.TB) Config {
	t.Helper()
	address := os.Getenv(nameNodeVariable)
	if address == "" {
		t.Skipf("%s names no NameNode (host:port) to test against", nameNodeVariable)
	}
	return configFor(t, address)
}

func configFor(t testing.TB, nameNodes ...string) Config {
	t.Helper()
	id, err := event.NewBatchID()
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		NameNodes: nameNodes, User: "footfall", Root: "/footfall-test/" + id.String(),
		FolderMode: "750", FileMode: "640", BlockBytes: 8 << 20, OpenFiles: 4,
		DialTimeout: 3 * time.Second, CallTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
	}
}

func mustOpen(t storetest.TB, cfg Config) *Archive {
	t.Helper()
	a, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("cannot open: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("cannot close: %v", err)
		}
	})
	return a
}

// removeRoot removes what a test has written.
func removeRoot(t storetest.TB, cfg Config) {
	t.Cleanup(func() {
		if err := clientOf(t, cfg).RemoveAll(cfg.Root); err != nil && !isMissing(err) {
			t.Errorf("cannot remove %q: %v", cfg.Root, err)
		}
	})
}

// clientOf is a client of its own.
func clientOf(t storetest.TB, cfg Config) *hdfs.Client {
	t.Helper()
	s, err := (&sessions{cfg: cfg}).begin()
	if err != nil {
		t.Fatalf("cannot connect: %v", err)
	}
	t.Cleanup(s.close)
	return s.client
}

// crash ends an archive as the death of its process does: HDFS is told nothing.
func (a *Archive) crash() {
	a.close.Do(func() {
		a.mu.Lock()
		a.closed = true
		a.mu.Unlock()
		a.work.Wait()
		for _, l := range a.lanes {
			if l.file != nil {
				l.file.giveUp()
				l.file.session.close()
			}
		}
		for _, f := range a.left {
			f.session.close()
		}
		if a.me != nil {
			a.me.session.close()
		}
		if a.common != nil {
			a.common.close()
		}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	storetest.Archive(t, func(tb storetest.TB) (store.Archive, func() store.Archive) {
		cfg := cfg
		id, err := event.NewBatchID()
		if err != nil {
			tb.Fatalf("cannot make an id: %v", err)
		}
		cfg.Root += "/" + id.String()
		removeRoot(tb, cfg)
		a := mustOpen(tb, cfg)
		if testing.Short() {
			return a, nil // HDFS knows a minute later that a writer is dead
		}
		return a, func() store.Archive {
			a.crash()
			return mustOpen(tb, cfg)
		}
	})
}
