package summary

import "github.com/footfall/footfall/shared/parallel"

// What is brought together by a hash (the rows of a client, of a user) would
// touch memory at random if it were looked up row by row in a table of all. So
// rows are dealt to parts by their hash first, each small enough for a
// processor's cache, and parts are worked on side by side.
const (
	partRows = 1 << 14      // of a part, about
	maxParts = 1 << 7       // more would not fit uint8 and the cache's write streams
	noPart   = 0xff         // of rows that are left out
	manyRows = 2 * partRows // worth another goroutine
)

// partsOf is how many parts n rows are dealt to, as a power of two.
func partsOf(n int) (bits uint) {
	for n>>bits > partRows && 1<<bits < maxParts {
		bits++
	}
	return bits
}

// partOf is the part of a hash, by its upper bits: tables of a part go by lower ones.
func partOf(hash uint64, bits uint) uint8 { return uint8(hash >> (64 - bits)) }

// workers is how many goroutines n rows are worth.
func workers(n int) int { return parallel.Workers(n, manyRows) }

// deal brings n rows into the order of parts, those of one part in their own
// order. choose says the parts of the rows [from, to); room is told how many were
// chosen; put writes the rows [from, to), the next row of a part to next[part].
// Both are called side by side for ranges of rows. The answer is by part where
// it ends.
func deal(n int, bits uint, choose func(from, to int, part []uint8), room func(int), put func(from, to int, part []uint8, next []uint32)) (ends []uint32) {
	ranges, parts := workers(n), 1<<bits
	part := make([]uint8, n)
	next := make([][]uint32, ranges)
	cut := func(i int) int { return n * i / ranges }
	parallel.Do(ranges, func(i int) {
		from, to := cut(i), cut(i+1)
		choose(from, to, part[from:to])
		var counts [noPart + 1]uint32
		for _, p := range part[from:to] {
			counts[p]++
		}
		next[i] = append([]uint32(nil), counts[:parts]...)
	})
	ends = make([]uint32, parts)
	sum := uint32(0)
	for p := range ends {
		for i := range next {
			next[i][p], sum = sum, sum+next[i][p]
		}
		ends[p] = sum
	}
	room(int(sum))
	parallel.Do(ranges, func(i int) {
		from, to := cut(i), cut(i+1)
		put(from, to, part[from:to], next[i])
	})
	return ends
}

// eachPart calls fn with the bounds of each part, on so many goroutines, of
// which it is told the number.
func eachPart(goroutines int, ends []uint32, fn func(goroutine int, from, to uint32)) {
	parallel.Share(goroutines, len(ends), func(g, p int) {
		from := uint32(0)
		if p > 0 {
			from = ends[p-1]
		}
		if from < ends[p] {
			fn(g, from, ends[p])
		}
	})
}
