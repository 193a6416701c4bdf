package processed

import (
	"github.com/zeebo/xxh3"
)

// The kinds of HashActor: the same text in two kinds is two actors.
const (
	ActorUser    byte = 'u' // a user id that the merchant gave
	ActorClient  byte = 'c' // a client id
	ActorVisitor byte = 'v' // a visitor hash, where there is neither
	ActorSession byte = 's' // a session id that the client gave
)

// HashID is the identity of an event: XXH3-128 over the stream, a zero byte
// and the event id. Two events with equal hashes count as one; among 10^12 ids
// of one merchant the odds of any chance collision are below 10^-14.
func HashID(stream, id string) ID {
	var room [256]byte
	b := append(room[:0], stream...)
	b = append(b, 0)
	b = append(b, id...)
	h := xxh3.Hash128(b)
	return ID{Hi: h.Hi, Lo: h.Lo}
}

// HashActor is the 64-bit identity of a user, client, visitor or session:
// XXH3-64 of s, seeded by the kind. It is never 0, which means "none".
func HashActor(kind byte, s string) uint64 {
	if h := xxh3.HashStringSeed(s, uint64(kind)); h != 0 {
		return h
	}
	return 1
}

// Mix spreads the bits of a hash: the finalizer of SplitMix64, by Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
