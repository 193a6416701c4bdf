package storetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Visitors is the suite of store.Visitors.
func Visitors(t *testing.T, open Opener[store.Visitors]) {
	type V = store.Visitors
	const never = int64(math.MaxInt64)
	sub(t, open, "first seen is the earliest", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		users := []uint64{math.MaxUint64, 0, 7}
		for _, step := range []struct{ millis, before []int64 }{
			{[]int64{50, -5, 70}, []int64{never, never, never}},
			{[]int64{60, -6, 70}, []int64{50, -5, 70}},
			{[]int64{40, 0, 10}, []int64{50, -6, 70}},
			{[]int64{math.MinInt64, 0, math.MaxInt64}, []int64{40, -6, 10}},
		} {
			before, err := v.See(ctx, "m", 1, users, step.millis, step.before)
			ok(t, err)
			same(t, "what stood there", before, step.before)
		}
		got, err := v.FirstSeen(ctx, "m", 1, []uint64{7, 8, 0, 7, math.MaxUint64})
		ok(t, err)
		same(t, "first seen", got, []int64{10, never, -6, 10, math.MinInt64})
	})
	sub(t, open, "what is not as known stays", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		_, err := v.See(ctx, "m", 1, []uint64{1, 2, 3, 4}, []int64{50, 50, 50, never}, nil)
		ok(t, err)
		before, err := v.See(ctx, "m", 1, []uint64{1, 2, 3, 4, 5}, []int64{40, 40, 60, 40, 40}, []int64{50, 45, 70, 80, 80})
		ok(t, err)
		same(t, "what stood there", before, []int64{50, 50, 50, never, never})
		before, err = v.See(ctx, "m", 1, []uint64{1, 2, 3, 4, 5}, []int64{10, 10, 10, 10, 10}, nil)
		ok(t, err)
		same(t, "what stood there where none is known", before, []int64{40, 50, 50, never, never})
		got, err := v.FirstSeen(ctx, "m", 1, []uint64{1, 2, 3, 4, 5})
		ok(t, err)
		same(t, "first seen", got, []int64{40, 50, 50, 10, 10})
	})
	sub(t, open, "a user twice in one call", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		_, err := v.See(ctx, "m", 1, []uint64{1, 2, 1, 1}, []int64{50, 9, 30, 40}, nil)
		ok(t, err)
		got, err := v.FirstSeen(ctx, "m", 1, []uint64{1, 2})
		ok(t, err)
		same(t, "first seen", got, []int64{30, 9})
	})
	sub(t, open, "forget some", func(t *testing.T, v V, reopen func() V) {
		ctx := deadline(t)
		ok(t, v.Forget(ctx, "m", 1, []uint64{1}))
		ok(t, v.Forget(ctx, "m", 1, nil))
		for _, m := range []string{"m", "n"} {
			_, err := v.See(ctx, m, 1, []uint64{1, 2, math.MaxUint64}, []int64{10, 20, 30}, nil)
			ok(t, err)
		}
		_, err := v.See(ctx, "m", 2, []uint64{1}, []int64{10}, nil)
		ok(t, err)
		ok(t, v.Forget(ctx, "m", 1, []uint64{math.MaxUint64, 1, 9, 1}))
		v = mustReopen(t, reopen)
		for _, of := range []struct {
			merchant   string
			generation uint32
			want       []int64
		}{{"m", 1, []int64{never, 20, never}}, {"n", 1, []int64{10, 20, 30}}, {"m", 2, []int64{10, never, never}}} {
			got, err := v.FirstSeen(ctx, of.merchant, of.generation, []uint64{1, 2, math.MaxUint64})
			ok(t, err)
			same(t, fmt.Sprintf("first seen of %s %d", of.merchant, of.generation), got, of.want)
		}
		before, err := v.See(ctx, "m", 1, []uint64{1}, []int64{50}, nil)
		ok(t, err)
		same(t, "what stood there", before, []int64{never})
	})
	sub(t, open, "merchants and generations are apart", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		for i, m := range neighbours {
			for g := range uint32(2) {
				_, err := v.See(ctx, m, g, []uint64{1}, []int64{int64(10*i) + int64(g)}, nil)
				ok(t, err)
			}
		}
		for i, m := range neighbours {
			for g := range uint32(2) {
				got, err := v.FirstSeen(ctx, m, g, []uint64{1, 2})
				ok(t, err)
				same(t, fmt.Sprintf("first seen of merchant %q generation %d", m, g), got, []int64{int64(10*i) + int64(g), never})
			}
		}
	})
	sub(t, open, "a generation that is dropped", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		users := []uint64{0, math.MaxUint64}
		for i := range uint64(4500) {
			users = append(users, (i+1)*0x9E3779B97F4A7C15)
		}
		for _, m := range neighbours {
			for g := range uint32(3) {
				some := users[:2]
				if m == "a" && g == 1 {
					some = users
				}
				_, err := v.See(ctx, m, g, some, make([]int64, len(some)), nil)
				ok(t, err)
			}
		}
		ok(t, v.Drop(ctx, "a", 1))
		ok(t, v.Drop(ctx, "a", 9)) // which has none
		for _, m := range neighbours {
			for g := range uint32(3) {
				got, err := v.FirstSeen(ctx, m, g, users[:2])
				ok(t, err)
				want := []int64{0, 0}
				if m == "a" && g == 1 {
					want = []int64{never, never}
				}
				same(t, fmt.Sprintf("first seen of merchant %q generation %d", m, g), got, want)
			}
		}
		got, err := v.FirstSeen(ctx, "a", 1, users)
		ok(t, err)
		if i := slices.IndexFunc(got, func(at int64) bool { return at != never }); i >= 0 {
			t.Fatalf("user %d was seen at %d", i, got[i])
		}
	})
	sub(t, open, "nothing, and too little", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		got, err := v.See(ctx, "m", 1, nil, nil, nil)
		ok(t, err)
		same(t, "answer", got, []int64{})
		_, err = v.See(ctx, "m", 1, []uint64{1}, nil, nil)
		wantKind(t, err, fault.Invalid)
		_, err = v.See(ctx, "m", 1, []uint64{1}, []int64{1}, []int64{})
		wantKind(t, err, fault.Invalid)
		_, err = v.See(ended(), "m", 1, []uint64{1}, []int64{1}, nil)
		wantKind(t, err, fault.Transient)
	})
	sub(t, open, "no two lower the same", func(t *testing.T, v V, _ func() V) {
		ctx := deadline(t)
		users := []uint64{1, 2, 3}
		var mu sync.Mutex
		lowered := make([][][2]int64, len(users)) // by user: from, to
		parallel(t, 16, func(i int) error {
			at := []int64{int64(i), int64(i), int64(i)}
			for known := []int64{never, never, never}; ; {
				before, err := v.See(ctx, "m", 1, users, at, known)
				if err != nil {
					return err
				}
				mu.Lock()
				for n := range users {
					if before[n] == known[n] && at[n] < known[n] {
						lowered[n] = append(lowered[n], [2]int64{known[n], at[n]})
					}
				}
				mu.Unlock()
				if slices.Equal(before, known) {
					return nil
				}
				for n := range users { // who was lowered stands there now
					if before[n] == known[n] {
						before[n] = min(before[n], at[n])
					}
				}
				known = before
			}
		})
		// No two lower the same. One whose instant another has lowered in turn before it
		// was told may hear of that only.
		for n, of := range lowered {
			slices.SortFunc(of, func(a, b [2]int64) int { return cmp.Compare(b[0], a[0]) })
			var at int64
			for i, step := range of {
				if i > 0 && step[0] > at {
					t.Fatalf("user %d: %v were lowered, two of them from the same", users[n], of)
				}
				at = step[1]
			}
		}
		got, err := v.FirstSeen(ctx, "m", 1, users)
		ok(t, err)
		same(t, "first seen", got, []int64{0, 0, 0})
	})
	sub(t, open, "a crash leaves a call or nothing of it", func(t *testing.T, v V, reopen func() V) {
		ctx := deadline(t)
		_, err := v.See(ctx, "m", 1, []uint64{1, 2}, []int64{5, 5}, nil)
		ok(t, err)
		v = mustReopen(t, reopen)
		got, err := v.FirstSeen(ctx, "m", 1, []uint64{1, 2})
		ok(t, err)
		if got[0] != got[1] || got[0] != 5 && got[0] != never {
			t.Fatalf("first seen are %v, expected twice 5 or twice never", got)
		}
	})
	t.Run("agrees with a simple model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v, _ := open(t)
			ctx := deadline(t)
			model := map[uint64]int64{}
			for range rapid.IntRange(1, 8).Draw(t, "calls") {
				users := rapid.SliceOfN(rapid.Uint64Range(0, 20), 0, 20).Draw(t, "users")
				millis := rapid.SliceOfN(rapid.Int64Range(-3, 30), len(users), len(users)).Draw(t, "millis")
				want := make([]int64, len(users))
				for i, u := range users {
					want[i] = never
					if m, there := model[u]; there {
						want[i] = m
					}
				}
				known := slices.Clone(want)
				outdated := map[uint64]bool{}
				for i, u := range users {
					if outdated[u] = u%3 == 0 && want[i] != 31; outdated[u] {
						known[i] = 31
					}
				}
				got, err := v.See(ctx, "m", 1, users, millis, known)
				ok(t, err)
				same(t, "what stood there", got, want)
				for i, u := range users {
					if m, there := model[u]; !outdated[u] && (!there || millis[i] < m) {
						model[u] = millis[i]
					}
				}
			}
		})
	})
}
