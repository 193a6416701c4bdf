package redis

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
)

// A value is a record as it is, unless it begins with escape: then kindRecord
// and a record that itself begins so, or kindReference and
//
//	four bytes   the lower half of the XXH3 hash of the record that is meant
//	the rest     its place in the same hash
//
// A day in which a quiet merchant had one active hour has that hour's record.
const (
	escape        = 0
	kindRecord    = 0
	kindReference = 1

	referenceHead = 2 + 4
	// worthReferring is the length from which a reference is shorter.
	worthReferring = 24
)

func valueOf(record []byte) []byte {
	if len(record) == 0 || record[0] != escape {
		return record
	}
	return append([]byte{escape, kindRecord}, record...)
}

func referenceTo(place string, record []byte) []byte {
	v := append(make([]byte, 0, referenceHead+len(place)), escape, kindReference)
	v = binary.BigEndian.AppendUint32(v, uint32(xxh3.Hash(record)))
	return append(v, place...)
}

// reference takes a reference apart; ok is false for a record.
func reference(value string) (place string, sum uint32, ok bool) {
	if len(value) < referenceHead || value[0] != escape || value[1] != kindReference {
		return "", 0, false
	}
	return value[referenceHead:], binary.BigEndian.Uint32([]byte(value[2:referenceHead])), true
}

// recordOf is a value's record; nil where it is of a kind that we do not know.
func recordOf(value string) []byte {
	if len(value) == 0 || value[0] != escape {
		return []byte(value)
	}
	if len(value) < 2 || value[1] != kindRecord {
		return nil
	}
	return []byte(value[2:])
}

// sameHour finds the hour among entries whose record is this day's.
func sameHour(day *store.SummaryEntry, entries []store.SummaryEntry, at []int) (int, bool) {
	if day.Key.Grain != store.GrainDay || len(day.Data) < worthReferring {
		return 0, false
	}
	// From the end, for of two records of an hour the later one stays.
	for n := len(at) - 1; n >= 0; n-- {
		if e := &entries[at[n]]; e.Key.Grain == store.GrainHour && bytes.Equal(e.Data, day.Data) {
			later := slices.ContainsFunc(at[n+1:], func(i int) bool { return entries[i].Key == e.Key })
			return at[n], !later
		}
	}
	return 0, false
}
