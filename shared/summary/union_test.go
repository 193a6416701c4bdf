package summary

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRaiseIsTheGreaterOfEach(t *testing.T) {
	rank := rapid.Uint8Range(0, 127)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rank, 64, 64).Draw(t, "a")
		b := rapid.SliceOfN(rank, 64, 64).Draw(t, "b")
		want := make([]uint8, len(a))
		for i := range a {
			want[i] = max(a[i], b[i])
		}
		if raise(a, b); !slices.Equal(a, want) {
			t.Fatalf("expected %v, got %v", want, a)
		}
	})
}

// TestUnionAllIsUnion holds for sets on both sides of the bound of exactness.
func TestUnionAllIsUnion(t *testing.T) {
	var sets []Users
	one := Users{}
	n := uint64(0)
	for i, size := range []uint64{3000, 10, 5000, 0, 1500, 4096, 4097, 1} {
		users := make([]uint64, size)
		for k := range users {
			users[k] = n*2654435761 + uint64(k)*uint64(i+1)
			n += uint64(k % 2)
		}
		sets = append(sets, UsersOf(users...))
		one = one.Union(sets[i])
		all := UnionAll(slices.Clone(sets))
		if !slices.Equal(all.exact, one.exact) || !slices.Equal(all.ranks, one.ranks) {
			t.Fatalf("after %d sets the union of all differs from one by one: %d and %d users", i+1, all.Estimate(), one.Estimate())
		}
	}
}
