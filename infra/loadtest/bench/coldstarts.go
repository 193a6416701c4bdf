package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// coldStarts measures the functions' own processes where the servers are at
// hand that they need to be ready.
func coldStarts(ctx context.Context, t *table) error {
	for _, v := range []string{"FOOTFALL_TEST_MONGODB_URI", "FOOTFALL_TEST_REDIS_ADDR", "FOOTFALL_TEST_HDFS_NAMENODE"} {
		if os.Getenv(v) == "" {
			t.note("function start to ready (cold start); resident memory idle", "needs real servers: `make coldstart`")
			return nil
		}
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./infra/loadtest/coldstart", "-json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot measure cold starts: %w", err)
	}
	var functions []struct {
		Function  string
		ReadyMS   float64
		IdleBytes float64
	}
	if err := json.Unmarshal(out, &functions); err != nil {
		return fmt.Errorf("cannot read what cold starts took: %w", err)
	}
	var ready, idle float64
	var all []string
	for _, f := range functions {
		ready, idle = max(ready, f.ReadyMS), max(idle, f.IdleBytes/1e6)
		all = append(all, fmt.Sprintf("%s %s, %s", f.Function, show(f.ReadyMS, "ms"), show(f.IdleBytes/1e6, "MB")))
	}
	t.measured("function start to ready (cold start), the slowest", "ms", budget{First: 100, Goal: 30}, ready, strings.Join(all, "; "))
	t.measured("function's resident memory idle, the largest", "MB", budget{First: 40, Goal: 20}, idle, "")
	return nil
}
