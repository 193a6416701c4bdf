package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// quotas are a hash for each window and each of quotaParts parts of all
// tenants: a field for each tenant, and one expiry for all of them. The parts
// spread over a Cluster's nodes.
type quotas struct{ *client }

const (
	quotaParts = 16
	quotaBatch = 5000 // uses in one round trip
)

func (q *quotas) key(tenant string, window int64) string {
	part := xxh3.HashString(tenant) % quotaParts
	return q.prefix + "q{q" + strconv.FormatUint(part, 16) + "}" + strconv.FormatInt(window, 36)
}

// Add implements store.Quotas.
func (q *quotas) Add(ctx context.Context, uses []store.Usage, keep time.Duration) ([]int64, error) {
	for i := range uses {
		if uses[i].Events < 0 {
			return nil, fault.Field("uses.events", "zero or more")
		}
	}
	totals := make([]int64, 0, len(uses))
	for len(uses) > 0 {
		n := min(len(uses), quotaBatch)
		err := q.within(ctx, fmt.Sprintf("add what %d tenants have used", n), func(ctx context.Context) (err error) {
			totals, err = q.add(ctx, uses[:n], keep, totals)
			return err
		})
		if err != nil {
			return nil, err
		}
		uses = uses[n:]
	}
	return totals, nil
}

func (q *quotas) add(ctx context.Context, uses []store.Usage, keep time.Duration, totals []int64) ([]int64, error) {
	pipe := q.Pipeline()
	counts := make([]*redis.IntCmd, len(uses))
	keys := map[string]struct{}{}
	for i := range uses {
		key := q.key(uses[i].Tenant, uses[i].Window)
		counts[i] = pipe.HIncrBy(ctx, key, uses[i].Tenant, uses[i].Events)
		keys[key] = struct{}{}
	}
	for key := range keys {
		pipe.PExpire(ctx, key, keep)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for _, c := range counts {
		totals = append(totals, c.Val())
	}
	return totals, nil
}
