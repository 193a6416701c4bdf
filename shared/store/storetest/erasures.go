package storetest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func wish(merchant, id string) erasure.Erasure {
	return erasure.Erasure{
		ID: id, Merchant: merchant, Person: erasure.Person{User: "anna \"%\" @example"}, Subject: "salt:hash", Reason: "asked for", By: "operator",
		RequestedAt: noon, State: erasure.Waiting, Since: noon,
	}
}

func ids(list []erasure.Erasure) string {
	var all []string
	for i := range list {
		all = append(all, list[i].Merchant+"/"+list[i].ID)
	}
	return strings.Join(all, " ")
}

// Erasures is the suite of store.Erasures.
func Erasures(t *testing.T, open Opener[store.Erasures]) {
	type E = store.Erasures
	sub(t, open, "create, read and update", func(t *testing.T, s E, reopen func() E) {
		ctx := deadline(t)
		_, err := s.Erasure(ctx, "m", "1")
		wantKind(t, err, fault.NotFound)
		e := wish("m", "1")
		ok(t, s.CreateErasure(ctx, e))
		wantKind(t, s.CreateErasure(ctx, e), fault.Conflict)
		e.Version = 1
		got, err := s.Erasure(ctx, "m", "1")
		ok(t, err)
		same(t, "created", got, e)
		_, err = s.Erasure(ctx, "other", "1")
		wantKind(t, err, fault.NotFound)

		e.State, e.Since = erasure.Erasing, at(7)
		e.Work = erasure.Work{
			Step: erasure.Rejects, Found: true, Revision: 3, Hour: -5, Cursor: "abc", Touched: []event.Hour{3}, Arrivals: []event.Hour{-1, 400_000},
			Users: []uint64{1, 1<<64 - 1}, Pass: erasure.Pass{Began: noon, Rows: 5, Rejects: 1, Archived: 6},
		}
		e.Proof = erasure.Proof{
			Passes: []erasure.Pass{{Began: noon, Ended: at(9), Rows: 1}}, ErasedAt: noon,
			Files: []erasure.File{{Before: erasure.Digest{Path: "a", Bytes: 1, SHA256: "x"}, After: erasure.Digest{Path: "b"}, Batches: 2, Hour: 9, At: noon}},
		}
		e.Problems = []string{"a file"}
		ok(t, s.UpdateErasure(ctx, e))
		wantKind(t, s.UpdateErasure(ctx, e), fault.Conflict)
		e.Version = 2
		s = mustReopen(t, reopen)
		got, err = s.Erasure(ctx, "m", "1")
		ok(t, err)
		same(t, "updated", got, e)
		wantKind(t, s.UpdateErasure(ctx, wish("m", "2")), fault.NotFound)
	})
	sub(t, open, "lists", func(t *testing.T, s E, _ func() E) {
		ctx := deadline(t)
		for i, m := range []string{"b", "a", "b", "bb", "a"} {
			ok(t, s.CreateErasure(ctx, wish(m, fmt.Sprint(i))))
		}
		list := func(l []erasure.Erasure, err error) string { ok(t, err); return ids(l) }
		same(t, "of b", list(s.Erasures(ctx, "b", "", 10)), "b/0 b/2")
		same(t, "of a after one", list(s.Erasures(ctx, "a", "1", 10)), "a/4")
		same(t, "of nobody", list(s.Erasures(ctx, "c", "", 10)), "")
		same(t, "open", list(s.OpenErasures(ctx, "", 3)), "b/0 a/1 b/2")
		same(t, "open after one", list(s.OpenErasures(ctx, "2", 3)), "bb/3 a/4")
		e, err := s.Erasure(ctx, "bb", "3")
		ok(t, err)
		e.State, e.Person = erasure.Done, erasure.Person{}
		ok(t, s.UpdateErasure(ctx, e))
		same(t, "still open", list(s.OpenErasures(ctx, "", 10)), "b/0 a/1 b/2 a/4")
		same(t, "done and listed", list(s.Erasures(ctx, "bb", "", 10)), "bb/3")
		same(t, "none asked for", list(s.Erasures(ctx, "b", "", 0)), "")
	})
	sub(t, open, "one of many updates wins", func(t *testing.T, s E, _ func() E) {
		ctx := deadline(t)
		ok(t, s.CreateErasure(ctx, wish("m", "1")))
		var won atomic.Int32
		parallel(t, 8, func(i int) error {
			e := wish("m", "1")
			e.Version, e.Reason = 1, fmt.Sprint(i)
			err := s.UpdateErasure(ctx, e)
			if fault.Is(err, fault.Conflict) {
				return nil
			}
			won.Add(1)
			return err
		})
		same(t, "winners", won.Load(), int32(1))
	})
}
