package redis

import (
	"encoding/binary"
	"strconv"

	"github.com/footfall/footfall/shared/store"
)

// bucketSeconds is the time whose hours and days stand in one hash: 64 days,
// counted from the Unix epoch. A report of 28 days reads one or two, and the
// price of a key is shared by all of a quiet merchant's records of two months.
const bucketSeconds = 64 * 24 * 3600

// Places of records in a hash. As small numbers they take two or three bytes.
const (
	firstDay     = bucketSeconds / 3600          // whole hours come before
	firstQuarter = firstDay + bucketSeconds/3600 // days that begin at whole hours come before
	oddPlace     = "#"                           // begins the place of a record that no number names
)

// bucket names a hash.
type bucket struct {
	merchant   string
	generation uint32
	revision   store.Revision
	queries    bool  // precomputed answers
	number     int64 // of bucketSeconds since the Unix epoch; 0 of queries
}

// placeOf tells in which hash a record stands, and where in it.
func placeOf(k store.SummaryKey) (bucket, string) {
	b := bucket{merchant: k.Merchant, generation: k.Generation, revision: k.Revision}
	if k.Grain == store.GrainQuery {
		b.queries = true
		return b, string(binary.BigEndian.AppendUint64(nil, uint64(k.Start)))
	}
	b.number = k.Start / bucketSeconds
	second := k.Start % bucketSeconds
	if second < 0 {
		b.number, second = b.number-1, second+bucketSeconds
	}
	day := int64(0)
	if k.Grain == store.GrainDay {
		day = 1
	}
	switch {
	case k.Grain != store.GrainHour && k.Grain != store.GrainDay, second%900 != 0:
		odd := append([]byte(oddPlace), byte(k.Grain))
		return b, string(binary.BigEndian.AppendUint64(odd, uint64(k.Start)))
	case second%3600 == 0:
		return b, strconv.FormatInt(second/3600+day*firstDay, 10)
	default: // where clocks are half an hour or a quarter off
		return b, strconv.FormatInt(firstQuarter+second/900*2+day, 10)
	}
}

// suffix is what tells a merchant's hashes apart, and how the index names them.
func (b *bucket) suffix() string {
	s := make([]byte, 0, 24)
	s = append(strconv.AppendUint(s, uint64(b.generation), 36), '.')
	s = append(strconv.AppendUint(s, uint64(b.revision), 36), '.')
	if b.queries {
		return string(append(s, '?'))
	}
	return string(strconv.AppendInt(s, b.number, 36))
}

// summaryKey is the key of a merchant's hash. Between the braces stands the
// merchant alone: a Cluster keeps all that is one merchant's on one node.
func (c *client) summaryKey(merchant, suffix string) string {
	return string(append(appendMerchant(append([]byte(c.prefix), 's'), merchant), suffix...))
}

// indexKey is the key of the set of a merchant's hashes, by generation.
func (c *client) indexKey(merchant string) string {
	return string(appendMerchant(append([]byte(c.prefix), 'i'), merchant))
}

// appendMerchant appends a merchant's id as a hash tag. Ids that Footfall makes
// stand as they are; other bytes, which could end the tag, are written as %XX,
// and no id at all as %, for an empty tag is none.
func appendMerchant(b []byte, merchant string) []byte {
	const digits = "0123456789ABCDEF"
	b = append(b, '{')
	if merchant == "" {
		b = append(b, '%')
	}
	for i := range len(merchant) {
		switch c := merchant[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return append(b, '}')
}
