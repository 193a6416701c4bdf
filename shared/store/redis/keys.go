package redis

import (
	"encoding/binary"
	"strconv"

	"github.com/footfall/footfall/shared/store"
)

// Hours of 8 days and days of 64 days, counted from the Unix epoch, stand in
// one hash each. That shares the price of a key, and a hash is so short that
// Redis keeps it packed; a report of 28 days reads one or two.
const (
	hourSeconds = 8 * 24 * 3600
	daySeconds  = 64 * 24 * 3600
)

// oddPlace begins the place of a record that does not begin with a quarter of
// an hour; others are that quarter's number in the hash, which takes two or
// three bytes.
const oddPlace = "#"

// Kinds of hashes.
const (
	kindHours  = 'h'
	kindDays   = 'd'
	kindOthers = 'o'
)

// bucket names a hash.
type bucket struct {
	merchant   string
	generation uint32
	kind       byte
	number     int64 // of hourSeconds or daySeconds since the Unix epoch; else 0
}

// placeOf tells in which hash a record stands, and where in it.
func placeOf(k store.SummaryKey) (bucket, string) {
	b := bucket{merchant: k.Merchant, generation: k.Generation}
	var length int64
	switch k.Grain {
	case store.GrainHour:
		b.kind, length = kindHours, hourSeconds
	case store.GrainDay:
		b.kind, length = kindDays, daySeconds
	default:
		b.kind = kindOthers
		return b, string(binary.BigEndian.AppendUint64([]byte{byte(k.Grain)}, uint64(k.Start)))
	}
	second := k.Start % length
	b.number = k.Start / length
	if second < 0 {
		b.number, second = b.number-1, second+length
	}
	if second%900 != 0 {
		return b, oddPlace + strconv.FormatInt(second, 10)
	}
	return b, strconv.FormatInt(second/900, 10)
}

// suffix is what tells a merchant's hashes apart, and how the index names them.
func (b *bucket) suffix() string {
	s := make([]byte, 0, 24)
	s = append(strconv.AppendUint(s, uint64(b.generation), 36), '.', b.kind)
	if b.number == 0 && b.kind != kindHours && b.kind != kindDays {
		return string(s)
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
