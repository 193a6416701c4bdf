package redis

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
)

// A value is a record as it is, unless it begins with escape: then kindRecord
// and a record that itself begins so, or kindReference and
//
//	four bytes   the lower half of the XXH3 hash of the record that is meant
//	the rest     the start of the hour whose record it is, in base 36
//
// A day in which a quiet merchant had one active hour has that hour's record.
const (
	escape        = 0
	kindRecord    = 0
	kindReference = 1

	referenceHead = 2 + 4
	mostHours     = 26 // of a day

	// worthReferring is the length from which a reference is shorter.
	worthReferring = 24
)

func valueOf(record []byte) []byte {
	if len(record) == 0 || record[0] != escape {
		return record
	}
	return append([]byte{escape, kindRecord}, record...)
}

func referenceTo(hour int64, record []byte) []byte {
	v := append(make([]byte, 0, referenceHead+8), escape, kindReference)
	v = binary.BigEndian.AppendUint32(v, uint32(xxh3.Hash(record)))
	return strconv.AppendInt(v, hour, 36)
}

// reference takes a reference apart; ok is false for a record.
func reference(value string) (hour int64, sum uint32, ok bool) {
	if len(value) < referenceHead || value[0] != escape || value[1] != kindReference {
		return 0, 0, false
	}
	hour, err := strconv.ParseInt(value[referenceHead:], 36, 64)
	return hour, binary.BigEndian.Uint32([]byte(value[2:referenceHead])), err == nil
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

// sameHour finds the hour whose record is that of the day entries[day]. It
// stands shortly before it, where callers write hours before their days.
func sameHour(entries []store.SummaryEntry, day int) (hour int64, found bool) {
	d := &entries[day]
	if d.Key.Grain != store.GrainDay || len(d.Data) < worthReferring {
		return 0, false
	}
	for n := day - 1; n >= max(0, day-mostHours); n-- {
		h := entries[n].Key
		if h.Grain != store.GrainHour || h.Merchant != d.Key.Merchant || h.Generation != d.Key.Generation {
			return 0, false
		}
		if bytes.Equal(entries[n].Data, d.Data) {
			// Of two records of an hour the later one stays.
			return h.Start, !slices.ContainsFunc(entries[n+1:], func(e store.SummaryEntry) bool { return e.Key == h })
		}
	}
	return 0, false
}
