package history

import (
	"math/bits"

	"github.com/footfall/footfall/shared/processed"
)

// filter is a set of hashes with a few more: of those that were not added, one in some
// tens of thousands is in it. It is a Bloom filter in blocks of a cache line, with one bit
// in each word of a block (after Putze, Sanders and Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007).
type filter []filterBlock

type filterBlock [8]uint64

// filterBits is how many bits a hash takes.
const filterBits = 32

func newFilter(hashes int) filter { return make(filter, hashes*filterBits/512+1) }

func (f filter) block(hash uint64) (*filterBlock, uint64) {
	at, _ := bits.Mul64(hash, uint64(len(f)))
	return &f[at], processed.Mix(hash)
}

func (f filter) add(hash uint64) {
	b, places := f.block(hash)
	for i := range b {
		b[i] |= 1 << (places & 63)
		places >>= 6
	}
}

func (f filter) has(hash uint64) bool {
	b, places := f.block(hash)
	for i := range b {
		if b[i]>>(places&63)&1 == 0 {
			return false
		}
		places >>= 6
	}
	return true
}

func (f filter) size() int64 { return int64(64 * len(f)) }
