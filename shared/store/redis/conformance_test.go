package redis

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

// The servers that tests use; a test without its variable is skipped.
const (
	envSingle  = "FOOTFALL_TEST_REDIS_ADDR"
	envCluster = "FOOTFALL_TEST_REDIS_CLUSTER_ADDRS"
)

// testConfig is a configuration with a key prefix of its own.
func testConfig(mode string, addrs ...string) Config {
	return Config{
		Mode: mode, Addrs: addrs, KeyPrefix: "test-" + uuid.NewString() + ":",
		Timeout: 10 * time.Second, DialTimeout: 2 * time.Second, Retries: 6, PoolSize: 16,
	}
}

// single is the configuration of the test's server.
func single(t testing.TB) Config {
	t.Helper()
	addr := os.Getenv(envSingle)
	if addr == "" {
		t.Skipf("%s is not set: host:port of a Redis to test against", envSingle)
	}
	return testConfig(ModeSingle, addr)
}

func cluster(t testing.TB) Config {
	t.Helper()
	addrs := os.Getenv(envCluster)
	if addrs == "" {
		t.Skipf("%s is not set: host:port of some nodes of a Redis Cluster to test against, with commas between", envCluster)
	}
	return testConfig(ModeCluster, strings.Split(addrs, ",")...)
}

// mustOpen opens stores and, in the end, removes what stands under their
// prefix and closes them.
func mustOpen(t storetest.TB, cfg Config) *Stores {
	t.Helper()
	s, err := Open(cfg, nil)
	if err != nil {
		t.Fatalf("cannot open: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := sweep(ctx, s); err != nil {
			t.Errorf("cannot remove the test's keys: %v", err)
		}
		if err := s.Close(ctx); err != nil {
			t.Errorf("cannot close: %v", err)
		}
	})
	return s
}

// sweep removes all keys under a prefix.
func sweep(ctx context.Context, s *Stores) error {
	node := func(ctx context.Context, c *redis.Client) error {
		var errs error
		for it := c.Scan(ctx, 0, s.client.prefix+"*", 1000).Iterator(); it.Next(ctx); errs = it.Err() {
			if err := c.Unlink(ctx, it.Val()).Err(); err != nil {
				return err
			}
		}
		return errs
	}
	switch c := s.client.UniversalClient.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, node)
	case *redis.Client:
		return node(ctx, c)
	}
	return nil
}

// opener opens stores under a prefix of their own. A crash of the server is
// not theirs to survive: Redis is a cache.
func opener[P any](cfg func() Config, port func(*Stores) P) storetest.Opener[P] {
	return func(t storetest.TB) (P, func() P) { return port(mustOpen(t, cfg())), nil }
}

func conformance(t *testing.T, cfg func() Config) {
	t.Run("summaries", func(t *testing.T) {
		storetest.Summaries(t, opener(cfg, func(s *Stores) store.Summaries { return s.Summaries }))
	})
	t.Run("quotas", func(t *testing.T) {
		storetest.Quotas(t, opener(cfg, func(s *Stores) store.Quotas { return s.Quotas }))
	})
}

func TestConformanceSingle(t *testing.T) {
	single(t)
	conformance(t, func() Config { return single(t) })
}

func TestConformanceCluster(t *testing.T) {
	cluster(t)
	conformance(t, func() Config { return cluster(t) })
}
