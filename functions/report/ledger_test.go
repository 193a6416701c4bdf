package report

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// busyJournal is one whose every reading is followed by something.
type busyJournal struct {
	store.Journal
	then func()
}

func (j busyJournal) Counts(ctx context.Context, streams []string, from, to event.Hour) ([]store.LedgerCount, error) {
	counts, err := j.Journal.Counts(ctx, streams, from, to)
	j.then()
	return counts, err
}

// The ledger adds up while batches are processed between its readings, and
// does not where an event was lost or counted twice.
func TestLedgerUnderLoad(t *testing.T) {
	for name, c := range map[string]struct {
		wrong func(w *world)
		adds  bool
	}{
		"steady load": {func(*world) {}, true},
		"counted twice": {func(w *world) { // by no batch that the journal knows
			b := &processed.Builder{}
			batch := event.BatchID{0xee}
			r := row("twice", "bob", "/", midday)
			r.Batch = batch
			b.Add(r)
			key := store.DocKey{Merchant: w.merchant.ID, Hour: event.HourOf(midday), Revision: store.LiveRevision, Batch: batch}
			w.must(w.stores.Processed.Put(t.Context(), store.Put{Batch: batch, Docs: []store.Doc{{Key: key, Events: 1, Data: b.Encode()}}}))
		}, false},
		"lost": {func(w *world) { // marked as processed without documents
			w.must(w.stores.Journal.Mark(t.Context(), store.StageProcessed, []store.JournalRow{{Batch: event.BatchID{0xee}, ReceivedAt: midday,
				Counts: []event.StreamHour{{Stream: w.merchant.Streams[0].MeasurementID, Hour: event.HourOf(midday), Events: 5}}}}))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			n := 0
			w.service.ports.Journal = busyJournal{w.stores.Journal, func() {
				n++
				w.put(row(fmt.Sprint(n), "anna", "/", midday))
			}}
			c.wrong(w)
			_, body := w.get("/v1/ledger/"+w.merchant.ID+"?from=2026-03-12&to=2026-03-12", w.token, "")
			var a ledgerAnswer
			w.must(json.Unmarshal([]byte(body), &a))
			if a.AddsUp != c.adds {
				t.Errorf("adds up: %v, expected %v: %s", a.AddsUp, c.adds, body)
			}
		})
	}
}
