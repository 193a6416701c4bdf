package storetest

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Summaries is the suite of store.Summaries.
func Summaries(t *testing.T, open Opener[store.Summaries]) {
	type S = store.Summaries
	key := func(m string, start int64) store.SummaryKey {
		return store.SummaryKey{Merchant: m, Generation: 2, Grain: store.GrainHour, Start: start}
	}
	sub(t, open, "get in the order of keys", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		var entries []store.SummaryEntry
		for _, start := range []int64{-3600, 0, 3600, math.MinInt64, math.MaxInt64} {
			entries = append(entries, store.SummaryEntry{Key: key("m", start), Data: fmt.Appendf(nil, "of %d", start)})
		}
		ok(t, s.Put(ctx, entries))
		got, err := s.Get(ctx, []store.SummaryKey{
			key("m", 3600), key("m", 7200), key("m", -3600), key("m", 3600), key("m", math.MaxInt64), key("m", math.MinInt64), key("other", 0),
		})
		ok(t, err)
		same(t, "records", got, [][]byte{
			[]byte("of 3600"), nil, []byte("of -3600"), []byte("of 3600"), fmt.Appendf(nil, "of %d", math.MaxInt64), fmt.Appendf(nil, "of %d", math.MinInt64), nil,
		})
		if got[1] != nil {
			t.Fatalf("a missing record is %v, expected nil", got[1])
		}
		got, err = s.Get(ctx, nil)
		ok(t, err)
		same(t, "records", len(got), 0)
	})
	sub(t, open, "every part of a key counts", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		var keys []store.SummaryKey
		for _, m := range neighbours {
			for _, g := range []uint32{0, 1, math.MaxUint32} {
				for _, grain := range []store.Grain{store.GrainHour, store.GrainDay, store.GrainNote} {
					keys = append(keys, store.SummaryKey{Merchant: m, Generation: g, Grain: grain, Start: 5})
				}
			}
		}
		for i, k := range keys {
			ok(t, s.Put(ctx, []store.SummaryEntry{{Key: k, Data: []byte("old")}, {Key: k, Data: fmt.Append(nil, i)}}))
		}
		got, err := s.Get(ctx, keys)
		ok(t, err)
		for i := range keys {
			same(t, fmt.Sprintf("record of %+v", keys[i]), string(got[i]), fmt.Sprint(i))
		}
	})
	sub(t, open, "a day that is like one of its hours", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		hour, day := key("m", 7200), key("m", 0)
		day.Grain = store.GrainDay
		keys := []store.SummaryKey{day, hour}
		alike := func(version byte) []byte { return bytes.Repeat([]byte{version}, 70) }
		for _, version := range []byte{1, 0} { // a record may begin with any byte
			ok(t, s.Put(ctx, []store.SummaryEntry{{Key: hour, Data: alike(version)}, {Key: day, Data: alike(version)}}))
			got, err := s.Get(ctx, keys)
			ok(t, err)
			same(t, "records", got, [][]byte{alike(version), alike(version)})
		}
		got, err := s.Get(ctx, keys[:1])
		ok(t, err)
		same(t, "the day alone", got, [][]byte{alike(0)})
		ok(t, s.Put(ctx, []store.SummaryEntry{{Key: hour, Data: alike(3)}, {Key: day, Data: alike(3)}, {Key: hour, Data: alike(4)}}))
		got, err = s.Get(ctx, keys)
		ok(t, err)
		same(t, "the hour put twice and the day", got, [][]byte{alike(3), alike(4)})
		ok(t, s.Put(ctx, []store.SummaryEntry{{Key: day, Data: alike(5)}}))
		got, err = s.Get(ctx, keys)
		ok(t, err)
		same(t, "the day put alone", got, [][]byte{alike(5), alike(4)})
		// Callers write a day with its hours; a store may keep the two as one.
		// What it must not do is answer with another record.
		ok(t, s.Put(ctx, []store.SummaryEntry{{Key: hour, Data: alike(6)}, {Key: day, Data: alike(6)}}))
		ok(t, s.Put(ctx, []store.SummaryEntry{{Key: hour, Data: alike(7)}}))
		got, err = s.Get(ctx, keys)
		ok(t, err)
		same(t, "the hour put alone", got[1], alike(7))
		if got[0] != nil {
			same(t, "its day", got[0], alike(6))
		}
	})
	sub(t, open, "records of all sizes, many at once", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		var entries []store.SummaryEntry
		var keys []store.SummaryKey
		var want [][]byte
		for i := range 6000 {
			size := i % 300
			if i%1500 == 0 {
				size = 600 << 10
			}
			k := key(name(i%7), int64(i)*900-2_000_000)
			if i%3 == 0 {
				k.Grain = store.GrainDay
			}
			data := bytes.Repeat([]byte{byte(i)}, size)
			entries, keys, want = append(entries, store.SummaryEntry{Key: k, Data: data}), append(keys, k), append(want, data)
		}
		ok(t, s.Put(ctx, entries))
		got, err := s.Get(ctx, keys)
		ok(t, err)
		for i := range keys {
			if got[i] == nil || !bytes.Equal(got[i], want[i]) {
				t.Fatalf("record of %+v has %d bytes, expected %d", keys[i], len(got[i]), len(want[i]))
			}
		}
	})
	sub(t, open, "delete", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		ok(t, s.Put(ctx, []store.SummaryEntry{{Key: key("m", 1), Data: []byte("1")}, {Key: key("m", 2), Data: []byte("2")}}))
		ok(t, s.Delete(ctx, []store.SummaryKey{key("m", 1), key("m", 3)}))
		ok(t, s.Delete(ctx, nil))
		got, err := s.Get(ctx, []store.SummaryKey{key("m", 1), key("m", 2)})
		ok(t, err)
		same(t, "records", got, [][]byte{nil, []byte("2")})
	})
	sub(t, open, "drop one generation of one merchant", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		var keys []store.SummaryKey
		for _, m := range neighbours {
			for g := range uint32(4) {
				k := store.SummaryKey{Merchant: m, Generation: g, Grain: store.GrainDay, Start: -1}
				keys = append(keys, k)
				ok(t, s.Put(ctx, []store.SummaryEntry{{Key: k, Data: []byte("x")}}))
			}
		}
		ok(t, s.Drop(ctx, "a", 2))
		ok(t, s.Drop(ctx, "a", 7)) // which has none
		got, err := s.Get(ctx, keys)
		ok(t, err)
		for i, k := range keys {
			if gone := k.Merchant == "a" && k.Generation == 2; gone != (got[i] == nil) {
				t.Fatalf("record of %+v is %q", k, got[i])
			}
		}
	})
	sub(t, open, "an ended context", func(t *testing.T, s S, _ func() S) {
		wantKind(t, s.Put(ended(), []store.SummaryEntry{{Key: key("m", 1)}}), fault.Transient)
		wantKind(t, second(s.Get(ended(), []store.SummaryKey{key("m", 1)})), fault.Transient)
	})
	sub(t, open, "many at once", func(t *testing.T, s S, _ func() S) {
		ctx := deadline(t)
		parallel(t, 16, func(i int) error {
			k := key(name(i%4), int64(i))
			for range 20 {
				if err := s.Put(ctx, []store.SummaryEntry{{Key: k, Data: fmt.Append(nil, i)}}); err != nil {
					return err
				}
				if got, err := s.Get(ctx, []store.SummaryKey{k}); err != nil || string(got[0]) != fmt.Sprint(i) {
					return fmt.Errorf("record is %q: %w", got, err)
				}
			}
			return nil
		})
	})
}
