package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

func merchant(id string, streams ...string) access.Merchant {
	quota := int64(1000)
	m := access.Merchant{
		ID: id, Name: "Shop " + id, CreatedAt: noon, Generation: 3, Version: 1,
		Settings: access.Settings{TimeZone: "Europe/Berlin", Currency: "EUR", BotFilter: true, KeyEvents: []string{"purchase"},
			ChannelRules:  []channel.Rule{{Channel: "Partners", When: []channel.Condition{{Field: "source", Is: "partner.example"}}}},
			CurrencyRates: []access.CurrencyRate{{Currency: "USD", Rate: 910_000_000_001, From: "2026-03-01"}}, KeepIP: true, QuotaEventsPerMinute: &quota,
			CustomDefinitions: []access.CustomDefinition{{Parameter: "plan", Kind: access.UserDimension, Name: "Plan", Description: "What the customer pays for"}}},
		ReportTokens: []access.Hash{"h1", "h2"},
	}
	for _, s := range streams {
		m.Streams = append(m.Streams, access.Stream{MeasurementID: s, Name: "web", APISecrets: []access.Hash{"s"}, Disabled: true})
	}
	return m
}

// Registry is the suite of store.Registry.
func Registry(t *testing.T, open Opener[store.Registry]) {
	type R = store.Registry
	sub(t, open, "create and read", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		for i, id := range neighbours {
			if id == "" || id == "a\xff" {
				continue // no merchant has such an id
			}
			m := merchant(id, fmt.Sprintf("G-%d", i), "G-x"+id)
			ok(t, r.CreateMerchant(ctx, m))
			got, err := r.Merchant(ctx, id)
			ok(t, err)
			same(t, "merchant", got, m)
			got, err = r.MerchantByStream(ctx, "G-x"+id)
			ok(t, err)
			same(t, "merchant of a stream", got, m)
		}
		wantKind(t, second(r.Merchant(ctx, "none")), fault.NotFound)
		wantKind(t, second(r.MerchantByStream(ctx, "G-")), fault.NotFound)
	})
	sub(t, open, "what is taken conflicts", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		ok(t, r.CreateMerchant(ctx, merchant("m1", "G-1")))
		wantKind(t, r.CreateMerchant(ctx, merchant("m1", "G-2")), fault.Conflict)
		wantKind(t, r.CreateMerchant(ctx, merchant("m2", "G-2", "G-1")), fault.Conflict)
		// A conflict leaves nothing behind.
		wantKind(t, second(r.Merchant(ctx, "m2")), fault.NotFound)
		wantKind(t, second(r.MerchantByStream(ctx, "G-2")), fault.NotFound)
		ok(t, r.CreateMerchant(ctx, merchant("m2", "G-2")))
		m2 := merchant("m2", "G-2", "G-1")
		wantKind(t, r.UpdateMerchant(ctx, m2), fault.Conflict)
		got, err := r.MerchantByStream(ctx, "G-1")
		ok(t, err)
		same(t, "owner", got.ID, "m1")
	})
	sub(t, open, "create many", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		taken, err := r.CreateMerchants(ctx, nil)
		ok(t, err)
		same(t, "taken of none", taken, []int(nil))
		ok(t, r.CreateMerchant(ctx, merchant("m1", "G-1")))
		_, cursor, err := r.Changes(ctx, "", 10)
		ok(t, err)
		many := []access.Merchant{
			merchant("m2", "G-2", "G-3"), merchant("m1", "G-4"), merchant("m3", "G-5", "G-1"),
			merchant("m2", "G-6"), merchant("m4", "G-7", "G-3"), merchant("m5", "G-5"), merchant("m6", "G-8", "G-8"), merchant("m7"),
		}
		taken, err = r.CreateMerchants(ctx, many)
		ok(t, err)
		same(t, "taken", taken, []int{1, 2, 3, 4, 6})
		for _, i := range []int{0, 5, 7} {
			got, err := r.Merchant(ctx, many[i].ID)
			ok(t, err)
			same(t, "merchant", got, many[i])
			for _, s := range many[i].Streams {
				got, err := r.MerchantByStream(ctx, s.MeasurementID)
				ok(t, err)
				same(t, "owner", got.ID, many[i].ID)
			}
		}
		for _, s := range []string{"G-4", "G-6", "G-7", "G-8"} {
			wantKind(t, second(r.MerchantByStream(ctx, s)), fault.NotFound)
		}
		got, err := r.MerchantByStream(ctx, "G-1")
		ok(t, err)
		same(t, "owner", got.ID, "m1")
		changed, _, err := r.Changes(ctx, cursor, 10)
		ok(t, err)
		same(t, "changes", changed, []access.Merchant{many[0], many[5], many[7]})
		again, err := r.CreateMerchants(ctx, many)
		ok(t, err)
		same(t, "taken again", again, []int{0, 1, 2, 3, 4, 5, 6, 7})
		wantKind(t, second(r.CreateMerchants(ctx, make([]access.Merchant, store.MaxCreations+1))), fault.Invalid)
		wantKind(t, second(r.CreateMerchants(ctx, make([]access.Merchant, 1))), fault.Invalid)
	})
	sub(t, open, "update by version", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		wantKind(t, r.UpdateMerchant(ctx, merchant("m", "G-1")), fault.NotFound)
		ok(t, r.CreateMerchant(ctx, merchant("m", "G-1", "G-2")))
		m, err := r.Merchant(ctx, "m")
		ok(t, err)
		m.Name, m.Streams = "New", []access.Stream{m.Streams[1], {MeasurementID: "G-3"}}
		ok(t, r.UpdateMerchant(ctx, m))
		wantKind(t, r.UpdateMerchant(ctx, m), fault.Conflict)
		got, err := r.Merchant(ctx, "m")
		ok(t, err)
		m.Version++
		same(t, "merchant", got, m)
		ok(t, r.UpdateMerchant(ctx, m))
		wantKind(t, second(r.MerchantByStream(ctx, "G-1")), fault.NotFound)
		for _, s := range []string{"G-2", "G-3"} {
			ok(t, second(r.MerchantByStream(ctx, s)))
		}
		ok(t, r.CreateMerchant(ctx, merchant("m2", "G-1"))) // free again
	})
	sub(t, open, "changes", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		list := func(cursor string, limit int) (ids []string, next string) {
			t.Helper()
			ms, next, err := r.Changes(ctx, cursor, limit)
			ok(t, err)
			for _, m := range ms {
				ids = append(ids, m.ID)
			}
			return ids, next
		}
		none, cursor := list("", 10)
		same(t, "changes of an empty registry", none, []string{})
		for i := range 5 {
			ok(t, r.CreateMerchant(ctx, merchant(name(4-i), fmt.Sprintf("G-%d", i))))
		}
		ids, cursor := list(cursor, 3)
		same(t, "first changes", ids, []string{"m4", "m3", "m2"})
		m, err := r.Merchant(ctx, "m4")
		ok(t, err)
		ok(t, r.UpdateMerchant(ctx, m))
		ids, cursor = list(cursor, 100)
		same(t, "next changes", ids, []string{"m1", "m0", "m4"})
		ids, cursor = list(cursor, 100)
		same(t, "no more changes", ids, []string{})
		ids, _ = list("", 100)
		same(t, "all", ids, []string{"m3", "m2", "m1", "m0", "m4"})
		ok(t, r.CreateMerchant(ctx, merchant("m9")))
		ids, _ = list(cursor, 100)
		same(t, "changes since", ids, []string{"m9"})
		_, _, err = r.Changes(ctx, "no cursor", 1)
		wantKind(t, err, fault.Invalid)
	})
	sub(t, open, "secrets are made once", func(t *testing.T, r R, reopen func() R) {
		ctx := deadline(t)
		var made atomic.Int64
		got := make([]string, 16)
		parallel(t, len(got), func(i int) error {
			s, err := r.Secret(ctx, "salt", func() ([]byte, error) { return fmt.Append(nil, made.Add(1)), nil })
			got[i] = string(s)
			return err
		})
		for _, s := range got {
			same(t, "secret", s, got[0])
		}
		_, err := r.Secret(ctx, "other", func() ([]byte, error) { return nil, errors.New("no entropy") })
		if err == nil {
			t.Fatalf("a secret that could not be made has no error")
		}
		s, err := r.Secret(ctx, "other", func() ([]byte, error) { return []byte("x"), nil })
		ok(t, err)
		same(t, "other secret", string(s), "x")
		s, err = mustReopen(t, reopen).Secret(ctx, "salt", func() ([]byte, error) { return nil, errors.New("made already") })
		ok(t, err)
		same(t, "secret", string(s), got[0])
	})
	sub(t, open, "one of many wins", func(t *testing.T, r R, _ func() R) {
		ctx := deadline(t)
		ok(t, r.CreateMerchant(ctx, merchant("m")))
		var created, updated atomic.Int64
		count := func(n *atomic.Int64, err error) error {
			if err == nil {
				n.Add(1)
			} else if !fault.Is(err, fault.Conflict) {
				return err
			}
			return nil
		}
		parallel(t, 16, func(i int) error {
			if err := count(&updated, r.UpdateMerchant(ctx, merchant("m"))); err != nil {
				return err
			}
			return count(&created, r.CreateMerchant(ctx, merchant(name(i), "G-same")))
		})
		same(t, "winners", []int64{created.Load(), updated.Load()}, []int64{1, 1})
	})
	sub(t, open, "survives a crash", func(t *testing.T, r R, reopen func() R) {
		ctx := deadline(t)
		ok(t, r.CreateMerchant(ctx, merchant("m1", "G-1")))
		ok(t, r.CreateMerchant(ctx, merchant("m2", "G-2")))
		ok(t, r.UpdateMerchant(ctx, merchant("m1", "G-3")))
		r = mustReopen(t, reopen)
		m, err := r.MerchantByStream(ctx, "G-3")
		ok(t, err)
		same(t, "version", m.Version, uint64(2))
		ok(t, r.UpdateMerchant(ctx, merchant("m2", "G-2")))
		all, _, err := r.Changes(ctx, "", 10)
		ok(t, err)
		same(t, "last change", all[len(all)-1].ID, "m2")
	})
}
