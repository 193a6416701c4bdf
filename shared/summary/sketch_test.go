package summary_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/footfall/footfall/shared/summary"
)

// errors are relative errors of estimates whose truth is known.
type errors []float64

func (e *errors) add(estimate, truth float64) { *e = append(*e, estimate/truth-1) }

// worst is the largest deviation, rms the root of the mean square.
func (e errors) worst() (w float64) {
	for _, x := range e {
		w = max(w, math.Abs(x))
	}
	return w
}

func (e errors) rms() float64 {
	sum := 0.0
	for _, x := range e {
		sum += x * x
	}
	return math.Sqrt(sum / float64(len(e)))
}

func (e errors) mean() float64 {
	sum := 0.0
	for _, x := range e {
		sum += x
	}
	return sum / float64(len(e))
}

// within fails where the errors are larger than a standard error s allows.
// An estimate is nearly normal around the truth: of n estimates
//   - the worst is beyond 4 s in n of 15,800 cases,
//   - the root mean square is beyond s (1 + 3/√(2n)) about once in 740 (n times
//     the square of rms/s has a χ² distribution, whose root is nearly normal
//     with the deviation √½),
//   - the mean is beyond 3 s/√n once in 370.
//
// The numbers are drawn from a seed, so that what holds once holds always: a
// failure says that the sketch or its estimator has changed.
func (e errors) within(t *testing.T, what string, s float64) {
	t.Helper()
	n := float64(len(e))
	t.Logf("%-40s %4d sets: mean %+.2f %%, root mean square %.2f %%, worst %.2f %%; stated %.2f %%", what, len(e), 100*e.mean(), 100*e.rms(), 100*e.worst(), 100*s)
	if e.worst() > 4*s {
		t.Errorf("%s: an error of %.4f, 4 × %.4f allowed", what, e.worst(), s)
	}
	if most := s * (1 + 3/math.Sqrt(2*n)); e.rms() > most {
		t.Errorf("%s: a root mean square of %.4f, %.4f allowed", what, e.rms(), most)
	}
	if most := 3 * s / math.Sqrt(n); math.Abs(e.mean()) > most {
		t.Errorf("%s: a mean of %+.4f, ±%.4f allowed: the estimate is biased", what, e.mean(), most)
	}
}

func draw(rng *rand.Rand, n int) []uint64 {
	users := make([]uint64, n)
	for i := range users {
		users[i] = rng.Uint64()
	}
	return users
}

var sketchSizes = []struct {
	users, sets, unions int
	name                string
}{
	{1_000, 20, 5, "1,000"}, {10_000, 200, 20, "10,000"}, {100_000, 60, 10, "100,000"}, {1_000_000, 12, 3, "1,000,000"},
}

// TestSketchErrors measures what the catalog states of numbers of users.
func TestSketchErrors(t *testing.T) {
	for i, size := range sketchSizes {
		if testing.Short() && size.users > 100_000 {
			continue
		}
		rng := rand.New(rand.NewPCG(3, uint64(i)))
		var single errors
		for range size.sets {
			set := summary.UsersOf(draw(rng, size.users)...)
			if set.Exact() != (size.users <= summary.UsersExact) {
				t.Fatalf("%d users: exact %t", size.users, set.Exact())
			}
			single.add(float64(set.Estimate()), float64(size.users))
		}
		stated := summary.UsersError
		if size.users <= summary.UsersExact {
			stated = 0
		}
		single.within(t, size.name+" users", stated)
	}
}

// TestSketchErrorsOfUnions: the users of 28 days, each of whom came in a few of
// their 672 hours, put together from sets of hours by way of days and of four
// weeks. The union is the set that all at once would have made, to the byte, so
// that its error does not grow with the number of its parts.
func TestSketchErrorsOfUnions(t *testing.T) {
	const days, hours = 28, 28 * 24
	for i, size := range sketchSizes {
		if testing.Short() && size.users > 100_000 {
			continue
		}
		rng := rand.New(rand.NewPCG(5, uint64(i)))
		var month, share errors
		for range size.unions {
			users := draw(rng, size.users)
			byHour := make([][]uint64, hours)
			last := 0 // users of the last day
			for _, u := range users {
				there := false
				for range 1 + rng.IntN(3) {
					// A fifth of all visits are on the last day.
					h := rng.IntN(hours)
					if rng.IntN(5) == 0 {
						h = hours - 1 - rng.IntN(24)
					}
					byHour[h] = append(byHour[h], u)
					there = there || h >= hours-24
				}
				if there {
					last++
				}
			}
			sets := make([]summary.Users, days)
			for d := range sets {
				of := make([]summary.Users, 24)
				for h := range of {
					of[h] = summary.UsersOf(byHour[24*d+h]...)
				}
				sets[d] = summary.UnionAll(of)
			}
			all := summary.UnionAll(sets)
			if !bytes.Equal(bytesOf(all), bytesOf(summary.UsersOf(users...))) {
				t.Fatalf("%d users: the union of %d hours is another set than all at once", size.users, hours)
			}
			month.add(float64(all.Estimate()), float64(size.users))
			share.add(float64(sets[days-1].Estimate())/float64(all.Estimate()), float64(last)/float64(size.users))
		}
		stated := summary.UsersError
		if size.users <= summary.UsersExact {
			stated = 0
		}
		month.within(t, size.name+" users of 672 hours", stated)
		// Of a quotient of two sets both errors matter: they would add up to
		// √2 of one if they had nothing to do with each other, and to less as
		// the one set is a part of the other.
		share.within(t, size.name+" users, share of the last day", stated*math.Sqrt2)
	}
}
