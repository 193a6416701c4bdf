package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/redis/redistest"
)

func entry(merchant string, start int64, data string) store.SummaryEntry {
	return store.SummaryEntry{Key: store.SummaryKey{Merchant: merchant, Generation: 1, Grain: store.GrainHour, Start: start}, Data: []byte(data)}
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually tries until fn works.
func eventually(t testing.TB, what string, fn func(ctx context.Context) error) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := fn(ctx)
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// A server that is killed and started again is found again by the same stores;
// while it is away calls fail within their time, and so does Ready.
func TestReconnection(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	cfg := testConfig(ModeSingle, server.Addr)
	cfg.Timeout, cfg.Retries = 2*time.Second, 2
	s, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	first := entry("m", 3600, "a record of an hour that stays")
	for round := range 3 {
		eventually(t, "put", func(ctx context.Context) error { return s.Summaries.Put(ctx, []store.SummaryEntry{first}) })
		if err := s.Ready(within(t, time.Minute)); err != nil {
			t.Fatalf("round %d: not ready: %v", round, err)
		}
		server.Kill()
		begin := time.Now()
		if err := s.Summaries.Put(within(t, time.Minute), []store.SummaryEntry{first}); err == nil {
			t.Fatal("a write to a server that is gone works")
		}
		if err := s.Ready(within(t, time.Minute)); err == nil {
			t.Fatal("ready without a server")
		}
		if _, err := s.Quotas.Add(within(t, time.Minute), []store.Usage{{Tenant: "m", Events: 1}}, time.Minute); err == nil {
			t.Fatal("a count on a server that is gone works")
		}
		if took := time.Since(begin); took > 4*cfg.Timeout {
			t.Errorf("three calls took %s to fail, expected at most %s each", took, cfg.Timeout)
		}
		server.Restart()
		eventually(t, "read after a restart", func(ctx context.Context) error {
			got, err := s.Summaries.Get(ctx, []store.SummaryKey{first.Key})
			if err == nil && !bytes.Equal(got[0], first.Data) {
				t.Fatalf("the record is %q", got[0])
			}
			return err
		})
	}
}

// One call outlasts a restart.
func TestACallWaitsForARestart(t *testing.T) {
	server := redistest.Start(t)
	cfg := testConfig(ModeSingle, server.Addr)
	cfg.Retries, cfg.Timeout = 20, 20*time.Second
	s := mustOpen(t, cfg)
	if err := s.Ready(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	done := make(chan error, 1)
	go func() {
		done <- s.Summaries.Put(within(t, time.Minute), []store.SummaryEntry{entry("m", 0, "x")})
	}()
	server.Restart()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// sentinels is a master with a replica and a Sentinel.
func sentinels(t testing.TB) (cfg Config, master, replica *redistest.Server) {
	t.Helper()
	master = redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica = redistest.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	sentinel := redistest.StartSentinel(t, "footfall", master)
	c := master.Client()
	defer c.Close()
	eventually(t, "replicate", func(ctx context.Context) error {
		info, err := c.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "state=online") {
			err = fmt.Errorf("no replica: %s", info)
		}
		return err
	})
	sc := sentinel.Client()
	defer sc.Close()
	eventually(t, "watch the replica", func(ctx context.Context) error {
		list, err := sc.Do(ctx, "SENTINEL", "REPLICAS", "footfall").Slice()
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("the Sentinel knows no replica")
		}
		return err
	})
	cfg = testConfig(ModeSentinel, sentinel.Addr)
	cfg.Master = "footfall"
	return cfg, master, replica
}

func TestConformanceSentinel(t *testing.T) {
	cfg, _, _ := sentinels(t)
	conformance(t, func() Config {
		own := testConfig(ModeSentinel, cfg.Addrs...)
		own.Master = cfg.Master
		return own
	})
}

// The master dies: the same stores go on with the one that follows it.
func TestFailover(t *testing.T) {
	cfg, master, replica := sentinels(t)
	cfg.Timeout, cfg.Retries = 2*time.Second, 2
	s := mustOpen(t, cfg)
	before := entry("m", 3600, "written to the first master")
	if err := s.Summaries.Put(within(t, time.Minute), []store.SummaryEntry{before}); err != nil {
		t.Fatal(err)
	}
	r := replica.Client()
	defer r.Close()
	eventually(t, "replicate the record", func(ctx context.Context) error {
		n, err := r.DBSize(ctx).Result()
		if err == nil && n < 2 {
			err = fmt.Errorf("the replica has %d keys", n)
		}
		return err
	})
	master.Kill()
	after := entry("m", 7200, "written to the second master")
	eventually(t, "write after the failover", func(ctx context.Context) error {
		return s.Summaries.Put(ctx, []store.SummaryEntry{after})
	})
	got, err := s.Summaries.Get(within(t, time.Minute), []store.SummaryKey{before.Key, after.Key})
	if err != nil || !bytes.Equal(got[0], before.Data) || !bytes.Equal(got[1], after.Data) {
		t.Fatalf("records are %q: %v", got, err)
	}
	if err := s.Ready(within(t, time.Minute)); err != nil {
		t.Error(err)
	}
	if n, err := r.DBSize(within(t, time.Minute)).Result(); err != nil || n < 2 {
		t.Errorf("the second master has %d keys: %v", n, err)
	}
}
