package mongo

import (
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/footfall/footfall/shared/event"
)

// text makes a string of ours fit for BSON, whose strings are UTF-8: a byte
// that is none, and the % itself, become % and two hex digits. Senders choose
// the names of streams and the texts of rejects.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, '%') < 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == '%' || r == utf8.RuneError && n == 1 {
			b.WriteByte('%')
			b.WriteByte(hex[s[0]>>4])
			b.WriteByte(hex[s[0]&15])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func texts(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = text(s)
	}
	return out
}

// untext is what text was made of.
func untext(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) byte {
	if c >= 'A' {
		return c - 'A' + 10
	}
	return c - '0'
}

// hashOf is the part of all merchants that a shard is made of, and the first
// field of the shard keys of what belongs to merchants.
func hashOf(merchant string) int32 { return int32(xxh3.HashString(merchant) >> 48) }

// hashes is how many there are.
const hashes = 1 << 16

func idOf(b event.BatchID) bson.Binary { return bson.Binary{Data: b[:]} }

func idsOf(all []event.BatchID) []bson.Binary {
	ids := make([]bson.Binary, len(all))
	for i := range all {
		ids[i] = bson.Binary{Data: all[i][:]}
	}
	return ids
}

func batchOf(b bson.Binary) (id event.BatchID) {
	copy(id[:], b.Data)
	return id
}
