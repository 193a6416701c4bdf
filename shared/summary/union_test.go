package summary

import (
	"maps"
	"math/rand/v2"
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

// TestUsersAreRemembered: a set that users are put into and taken out of is, as it is
// given out, that of the users who are left, on both sides of the bound of exactness.
func TestUsersAreRemembered(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	in := map[uint64]bool{}
	setOf := func(hashes map[uint64]bool) Users {
		return remembered(slices.Sorted(maps.Keys(hashes)))
	}
	set := setOf(in)
	sizes := map[bool]int{}
	for step := range 60 {
		less, more := map[uint64]bool{}, map[uint64]bool{}
		grow := step/20%2 == 0
		for h := range in {
			if len(less) < 600 && !grow || len(less) < 3 {
				less[h] = true
			}
		}
		for h := range less {
			if rng.IntN(3) == 0 {
				more[h] = true // out and in again
			}
		}
		for range 500 {
			if h := rng.Uint64() >> (64 - hashBits); grow && !in[h] {
				more[h] = true
			}
		}
		for h := range less {
			delete(in, h)
		}
		maps.Copy(in, more)
		sizes[len(in) > UsersExact]++
		var ok bool
		if set, ok = set.exchange(setOf(less), setOf(more), Users{}, &leaving{}); !ok {
			t.Fatalf("step %d: expected users to be taken out of %d", step, len(in))
		}
		want, got := sortedUsers(slices.Sorted(maps.Keys(in))), set.forget()
		if !slices.Equal(got.exact, want.exact) || !slices.Equal(got.ranks, want.ranks) {
			t.Fatalf("step %d: expected the set of %d users, got one of about %d", step, len(in), got.Estimate())
		}
	}
	if over, under := sizes[true], sizes[false]; over < 15 || under < 15 {
		t.Fatalf("expected sets on both sides of the bound, got %d and %d", over, under)
	}
}

// A sketch that does not know its users any more is what it would be without those who
// are taken out, once it is told who else stands where they stood.
func TestTakingOutOfSketches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	in := map[uint64]bool{}
	for len(in) < 3*fewest {
		in[rng.Uint64()>>(64-hashBits)] = true
	}
	list := func(set map[uint64]bool) []uint64 { return slices.Sorted(maps.Keys(set)) }
	set, asked := sortedUsers(list(in)).forget(), 0
	for step := range 200 {
		less, more := map[uint64]bool{}, map[uint64]bool{}
		for h := range in {
			if less[h] = true; len(less) == 40 {
				break
			}
		}
		for range rng.IntN(80) {
			more[rng.Uint64()>>(64-hashBits)] = true
		}
		for h := range less {
			delete(in, h)
		}
		maps.Copy(in, more)
		var round leaving
		next, ok := set.exchange(Users{exact: list(less)}, Users{exact: list(more)}, Users{}, &round)
		if ok && round.from.some {
			asked++
			round.left = true
			left := map[uint64]bool{}
			for h := range in {
				if register, _ := standing(h, finest); round.from.bits[register>>6]>>(register&63)&1 != 0 {
					left[h] = true
				}
			}
			next, ok = set.exchange(Users{exact: list(less)}, Users{exact: list(more)}, Users{exact: list(left)}, &round)
		}
		if !ok {
			t.Fatalf("step %d: expected users to be taken out of %d", step, len(in))
		}
		if set = next; !slices.Equal(set.ranks, sortedUsers(list(in)).ranks) {
			t.Fatalf("step %d: expected the sketch of %d users, got one of about %d", step, len(in), set.Estimate())
		}
	}
	if asked < 150 {
		t.Errorf("expected most steps to ask who is left, got %d", asked)
	}
	if _, ok := sortedUsers(list(in)[:fewest/2]).forget().exchange(Users{exact: list(in)[:1]}, Users{}, Users{}, &leaving{}); ok {
		t.Error("expected nobody to be taken out of a sketch that may soon be none")
	}
}

// TestCoarseSets: a sketch that was made coarser is the one that a coarse set of the
// same users is, and sets of several grades unite in any order.
func TestCoarseSets(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var sets []Users
	var all []uint64
	for _, n := range []int{10, 5000, 300, 20_000, 150, 9000} {
		users := make([]uint64, n)
		for i := range users {
			users[i] = rng.Uint64()
		}
		sets, all = append(sets, UsersOf(users...)), append(all, users...)
	}
	same := func(what string, got, want Users) {
		t.Helper()
		if !slices.Equal(got.exact, want.exact) || !slices.Equal(got.ranks, want.ranks) {
			t.Fatalf("%s: got another set, of about %d users, than that of all %d", what, got.Estimate(), want.Estimate())
		}
	}
	fine := UsersOf(all...)
	for g := range coarsest + 1 {
		want := fine.in(g)
		hashes := make([]uint64, len(all))
		for i, u := range all {
			hashes[i] = userHash(u)
		}
		same("folded", want, Users{ranks: sketch(grades[g].precision, hashes)})
		if off := float64(want.Estimate())/float64(len(all)) - 1; off*off > 9*want.Error()*want.Error() {
			t.Errorf("grade %d: an error of %.4f, 3 × %.4f allowed", g, off, want.Error())
		}
		for range 20 {
			rng.Shuffle(len(sets), func(i, k int) { sets[i], sets[k] = sets[k], sets[i] })
			some := slices.Clone(sets)
			for range 3 {
				k := rng.IntN(len(some))
				some[k] = some[k].in(Grade(rng.IntN(int(g) + 1)))
			}
			one := Users{}
			for _, u := range some {
				one = one.Union(u)
			}
			same("one by one", one.in(g), want)
			same("together", UnionAll(some).in(g), want)
		}
	}
}
