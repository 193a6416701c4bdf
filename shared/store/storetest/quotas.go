package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Quotas is the suite of store.Quotas.
func Quotas(t *testing.T, open Opener[store.Quotas]) {
	type Q = store.Quotas
	minute := noon.Unix()
	sub(t, open, "instances see one another's", func(t *testing.T, q Q, _ func() Q) {
		ctx := deadline(t)
		got, err := q.Add(ctx, []store.Usage{{Tenant: "a", Window: minute, Events: 5}, {Tenant: "b", Window: minute, Events: 7}}, time.Minute)
		ok(t, err)
		same(t, "totals", got, []int64{5, 7})
		got, err = q.Add(ctx, []store.Usage{{Tenant: "b", Window: minute, Events: 1}, {Tenant: "a", Window: minute}, {Tenant: "b", Window: minute, Events: 1}}, time.Minute)
		ok(t, err)
		same(t, "totals", got, []int64{8, 5, 9})
		got, err = q.Add(ctx, nil, time.Minute)
		ok(t, err)
		same(t, "totals of nobody", len(got), 0)
	})
	sub(t, open, "tenants and windows are apart", func(t *testing.T, q Q, _ func() Q) {
		ctx := deadline(t)
		var uses []store.Usage
		for i, tenant := range neighbours {
			for _, w := range []int64{minute, minute + 60, 0, -60, math.MaxInt64} {
				uses = append(uses, store.Usage{Tenant: tenant, Window: w, Events: int64(i + 1)})
			}
		}
		for n := range int64(3) {
			got, err := q.Add(ctx, uses, time.Minute)
			ok(t, err)
			for i := range uses {
				if got[i] != (n+1)*uses[i].Events {
					t.Fatalf("%+v: %d after %d calls", uses[i], got[i], n+1)
				}
			}
		}
	})
	sub(t, open, "windows are forgotten", func(t *testing.T, q Q, _ func() Q) {
		ctx := deadline(t)
		const keep = 20 * time.Millisecond
		// A use of nothing keeps a window, too: look seldom enough.
		for pause := 2 * keep; ; pause *= 2 {
			got, err := q.Add(ctx, []store.Usage{{Tenant: "a", Window: minute, Events: 1}}, keep)
			ok(t, err)
			if pause > 4*keep && got[0] == 1 {
				return
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				t.Fatalf("the window is kept: %d uses", got[0])
			}
		}
	})
	sub(t, open, "many tenants in one call", func(t *testing.T, q Q, _ func() Q) {
		ctx := deadline(t)
		uses := make([]store.Usage, 12_345)
		for i := range uses {
			uses[i] = store.Usage{Tenant: name(i), Window: minute, Events: int64(i)}
		}
		got, err := q.Add(ctx, uses, time.Minute)
		ok(t, err)
		for i := range uses {
			if got[i] != int64(i) {
				t.Fatalf("total of %s is %d, expected %d", uses[i].Tenant, got[i], i)
			}
		}
	})
	sub(t, open, "many at once", func(t *testing.T, q Q, _ func() Q) {
		ctx := deadline(t)
		const instances, times = 8, 25
		parallel(t, instances, func(int) error {
			for range times {
				if _, err := q.Add(ctx, []store.Usage{{Tenant: "a", Window: minute, Events: 2}}, time.Minute); err != nil {
					return err
				}
			}
			return nil
		})
		got, err := q.Add(ctx, []store.Usage{{Tenant: "a", Window: minute}}, time.Minute)
		ok(t, err)
		same(t, "total", got, []int64{2 * instances * times})
	})
	sub(t, open, "what is wrong", func(t *testing.T, q Q, _ func() Q) {
		wantKind(t, second(q.Add(deadline(t), []store.Usage{{Tenant: "a", Window: minute, Events: -1}}, time.Minute)), fault.Invalid)
		wantKind(t, second(q.Add(ended(), []store.Usage{{Tenant: "a", Window: minute, Events: 1}}, time.Minute)), fault.Transient)
	})
}
