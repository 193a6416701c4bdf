package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/revision"
)

// On real stores, with both instances killed while they work: a reprocess counts
// what a disabled stream had lost, shows it when it is published, and hides it
// when it is rolled back.
func TestReprocess(t *testing.T) {
	p := system(t)
	m := merchant(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	lost, err := p.LoseEvents(ctx, m, noon, 5)
	if err != nil {
		t.Fatal(err)
	}
	before := lost.Totals.Counted
	total := before + lost.Totals.Rejected["disabled_stream"]
	body := fmt.Appendf(nil, `{"from":%q,"merchants":[%q],"reason":"a stream was disabled by mistake","by":"test"}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), m.MerchantID)
	var job revision.Job
	if err := p.Do(ctx, http.MethodPost, "/v1/reprocess", p.AdminToken, "application/json", body, http.StatusAccepted, &job); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/v1/reprocess/%d", job.Revision)
	killed := 0
	for s := (revision.Status{}); s.State != revision.Compared; {
		if err := p.Tick(ctx); err != nil {
			t.Fatal(err)
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			t.Fatalf("the job never came to be compared: %+v", s)
		}
		if err := p.Do(ctx, http.MethodGet, path, p.AdminToken, "", nil, http.StatusOK, &s); err != nil {
			continue // both are away
		}
		if s.State == revision.Failed || s.ProblemCount > 0 {
			t.Fatalf("the job has problems: %+v", s)
		}
		if units := running.Functions["reprocess"]; s.State != revision.Planned && killed < len(units) {
			if err := units[killed].Kill(); err != nil {
				t.Fatal(err)
			}
			killed++
		}
	}
	if err := running.AwaitBack(ctx, "reprocess"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		action string
		events int64
	}{{"publish", total}, {"rollback", before}, {"publish", total}} {
		if err := p.Do(ctx, http.MethodPost, path+"/"+step.action, p.AdminToken, "application/json", []byte(`{"by":"test"}`), http.StatusOK, nil); err != nil {
			t.Fatal(err)
		}
		for got := int64(-1); got != step.events; {
			row, err := p.Totals(ctx, m, "eventCount", day, day.AddDate(0, 0, 1))
			if err != nil {
				t.Fatal(err)
			}
			if got = int64(row[0]); got != before && got != total {
				t.Fatalf("%s: a report has %d events, neither %d nor %d", step.action, got, before, total)
			}
		}
		l, err := p.Ledger(ctx, m, day, day.AddDate(0, 0, 2))
		if err != nil {
			t.Fatal(err)
		}
		if l.Totals.Counted != step.events || !l.AddsUp {
			t.Fatalf("%s: the ledger has %+v, expected %d counted", step.action, l, step.events)
		}
	}
	t.Logf("%d of %d events were lost, %d instances killed", total-before, total, killed)
}
