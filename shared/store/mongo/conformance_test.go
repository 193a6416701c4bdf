package mongo

import (
	"context"
	"encoding/hex"
	"flag"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

const testURI = "FOOTFALL_TEST_MONGODB_URI"

// server is the address of the MongoDB that the tests may use; they skip
// where none is named.
func server(t interface{ Skipf(string, ...any) }) string {
	uri := os.Getenv(testURI)
	if uri == "" {
		t.Skipf("%s is not set: name a MongoDB to run this, such as mongodb://127.0.0.1:27017/?directConnection=true", testURI)
	}
	return uri
}

// testConfig names a database that nobody else has.
func testConfig(uri string) Config {
	c := DefaultConfig(uri)
	b := make([]byte, 6)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	c.Database = "footfall_test_" + hex.EncodeToString(b)
	return c
}

// mustOpen opens stores on a database of their own, which goes with the test.
func mustOpen(t storetest.TB, cfg Config, more ...*options.ClientOptions) *Stores {
	t.Helper()
	s, err := open(cfg, slog.New(slog.DiscardHandler), more...)
	if err != nil {
		t.Fatalf("cannot open: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("cannot close: %v", err)
		}
	})
	return s
}

// mustPrepare opens stores with their indexes, and drops their database in the end.
func mustPrepare(t storetest.TB, cfg Config, more ...*options.ClientOptions) *Stores {
	t.Helper()
	s := mustOpen(t, cfg, more...)
	t.Cleanup(func() {
		if err := s.db.Drop(context.Background()); err != nil {
			t.Errorf("cannot drop the database: %v", err)
		}
	})
	if err := s.prepare(context.Background()); err != nil {
		t.Fatalf("cannot prepare: %v", err)
	}
	return s
}

// opener opens stores on a database of their own. reopen is nil where the
// server is not ours to crash: to connect again is no crash. What a crash of
// our own process leaves is tried in interrupt_test.go.
func opener[P any](uri string, crash func(), port func(*Stores) P) storetest.Opener[P] {
	return func(t storetest.TB) (P, func() P) {
		cfg := testConfig(uri)
		s := mustPrepare(t, cfg)
		if crash == nil {
			return port(s), nil
		}
		return port(s), func() P {
			crash()
			return port(mustOpen(t, cfg))
		}
	}
}

func TestConformance(t *testing.T) { conform(t, server(t), nil) }

// The same suites on a server that is killed and started again wherever they
// ask for a crash.
func TestConformanceKilled(t *testing.T) {
	m := ownServer(t)
	conform(t, m.URI(), func() {
		must(t, m.Kill())
		must(t, m.Start(soon(t)))
	})
}

func conform(t *testing.T, uri string, crash func()) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		// Each check is some thousand round trips.
		if err := f.Value.Set("10"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	t.Run("journal", func(t *testing.T) {
		storetest.Journal(t, opener(uri, crash, func(s *Stores) store.Journal { return s.Journal }))
	})
	t.Run("processed", func(t *testing.T) {
		storetest.Processed(t, opener(uri, crash, func(s *Stores) store.Processed { return s.Processed }))
	})
	t.Run("visitors", func(t *testing.T) {
		storetest.Visitors(t, opener(uri, crash, func(s *Stores) store.Visitors { return s.Visitors }))
	})
	t.Run("revisions", func(t *testing.T) {
		storetest.Revisions(t, opener(uri, crash, func(s *Stores) store.Revisions { return s.Revisions }))
	})
	t.Run("erasures", func(t *testing.T) {
		storetest.Erasures(t, opener(uri, crash, func(s *Stores) store.Erasures { return s.Erasures }))
	})
	t.Run("registry", func(t *testing.T) {
		storetest.Registry(t, opener(uri, crash, func(s *Stores) store.Registry { return s.Registry }))
	})
}
