package processed

import (
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Sieve holds what rows share with others, to tell among many rows those that have
// some of it: ids of events, clients, transactions. It is a map of bits, so that one
// row in some hundreds passes that shares nothing.
type Sieve struct {
	drops                      uint8 // flags of rows whose client tells nothing
	ids, clients, transactions bitmap
}

// NewSieve makes a sieve with room for so many rows. A row with one of the flags
// passes by its id and its transaction only.
func NewSieve(rows int, drops uint8) *Sieve {
	return &Sieve{drops: drops, ids: newBitmap(rows), clients: newBitmap(rows), transactions: newBitmap(rows / 8)}
}

// AddID has the rows of an id pass.
func (s *Sieve) AddID(id ID) { s.ids.add(id.hash()) }

// AddClient has the rows of a client pass.
func (s *Sieve) AddClient(client uint64) { s.clients.add(Mix(client)) }

// AddTransaction has the rows of a transaction pass, of whichever stream.
func (s *Sieve) AddTransaction(id string) { s.transactions.add(xxh3.HashString(id)) }

// HasID reports whether the rows of an id pass.
func (s *Sieve) HasID(id ID) bool { return s.ids.has(id.hash()) }

// HasClient reports whether the rows of a client pass.
func (s *Sieve) HasClient(client uint64) bool { return s.clients.has(Mix(client)) }

// HasTransaction reports whether the rows of a transaction pass.
func (s *Sieve) HasTransaction(id string) bool { return s.transactions.has(xxh3.HashString(id)) }

// hash is of both halves, so that ids of equal or small ones differ in it, too.
func (id ID) hash() uint64 { return Mix(id.Hi*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(id.Lo, 32)) }

// bitmap is a set of hashes with some more: three bits of one word for each, which
// touch memory once.
type bitmap []uint64

// newBitmap has 32 bits or more for each of n hashes.
func newBitmap(n int) bitmap { return make(bitmap, 1<<bits.Len(uint(max(n, 64)/2))) }

func (b bitmap) at(hash uint64) (word int, mask uint64) {
	return int(hash >> 18 & uint64(len(b)-1)), 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63)
}

func (b bitmap) add(hash uint64) {
	word, mask := b.at(hash)
	b[word] |= mask
}

func (b bitmap) has(hash uint64) bool {
	word, mask := b.at(hash)
	return b[word]&mask == mask
}
