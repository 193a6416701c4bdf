package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/erasure"
)

// On real stores, with both instances killed while they work: a client is erased
// from documents, summaries and files of the archive, and nobody else is.
func TestErasure(t *testing.T) {
	p := system(t)
	m := merchant(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	const batches, hers, others = 6, 7, 5
	for i := range batches {
		at := noon.Add(time.Duration(i) * time.Hour)
		for client, n := range map[string]int{"client-anna-4711": hers, "client-berta": others} {
			if err := p.PublishBatchOf(ctx, "batches", m, at, fmt.Sprint(client, i), client, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := func() int64 {
		l, err := p.Ledger(ctx, m, day, day.AddDate(0, 0, 2))
		if err != nil {
			t.Fatal(err)
		}
		if l.Totals.Pending == 0 && !l.AddsUp {
			t.Fatalf("the ledger does not add up: %+v", l)
		}
		return l.Totals.Counted
	}
	for counted() != batches*(hers+others) {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	// Summaries that have her are there before she is erased.
	for n := -1; n != 0; {
		if err := p.Tick(ctx); err != nil {
			t.Fatal(err)
		}
		var err error
		if n, err = p.HoursFromDocuments(ctx, m, day, day.AddDate(0, 0, 1)); err != nil {
			t.Fatal(err)
		}
	}

	var e erasure.Erasure
	path := "/v1/merchants/" + m.MerchantID + "/erasures"
	if err := p.Do(ctx, http.MethodPost, path, p.AdminToken, "application/json", []byte(`{"client_id":"client-anna-4711","reason":"a test"}`), http.StatusAccepted, &e); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for path += "/" + e.ID; e.State != erasure.Done; {
		if err := p.Tick(ctx); err != nil {
			t.Fatal(err)
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			t.Fatalf("the erasure does not end: %+v", e)
		}
		if err := p.Do(ctx, http.MethodGet, path, p.AdminToken, "", nil, http.StatusOK, &e); err != nil {
			t.Fatal(err)
		}
		if units := running.Functions["reprocess"]; e.State != erasure.Waiting && killed < len(units) {
			if err := units[killed].Kill(); err != nil {
				t.Fatal(err)
			}
			killed++
		}
	}
	if err := running.AwaitBack(ctx, "reprocess"); err != nil {
		t.Fatal(err)
	}
	first, last := e.Proof.Passes[0], e.Proof.Passes[len(e.Proof.Passes)-1]
	if len(e.Problems) > 0 || first.Rows != batches*hers || first.Archived != batches*hers || !last.Nothing() || len(e.Proof.Files) == 0 || e.Proof.SweptAt.IsZero() {
		t.Errorf("the proof: %+v, problems %v", e.Proof, e.Problems)
	}
	row, err := p.Totals(ctx, m, "eventCount,activeUsers,newUsers", day, day.AddDate(0, 0, 1))
	if err != nil || fmt.Sprint(row) != fmt.Sprint([]float64{batches * others, 1, 1}) {
		t.Errorf("%v: reports have %v", err, row)
	}
	if n := counted(); n != batches*others {
		t.Errorf("the ledger has %d counted", n)
	}
	t.Logf("%d files written anew, %d instances killed", len(e.Proof.Files), killed)
}
