package report

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// countedSummaries and countedDocuments count the reads of what answers are
// made of.
type countedSummaries struct {
	store.Summaries
	reads *atomic.Int64
}

func (c countedSummaries) Get(ctx context.Context, keys []store.SummaryKey) ([][]byte, error) {
	c.reads.Add(1)
	return c.Summaries.Get(ctx, keys)
}

type countedDocuments struct {
	store.Processed
	reads *atomic.Int64
}

func (c countedDocuments) Extent(ctx context.Context, m string, revs ...store.Revision) (event.Hour, event.Hour, bool, error) {
	c.reads.Add(1)
	return c.Processed.Extent(ctx, m, revs...)
}

// conditional asks with a tag, and tells what came.
func (w *world) conditional(query, accept, tag string) (status int, header http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "GET", w.server.URL+"/v1/reports/"+w.merchant.ID+"?"+encode(query), http.NoBody)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Accept", accept)
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := w.server.Client().Do(req)
	w.must(err)
	w.must(resp.Body.Close())
	return resp.StatusCode, resp.Header
}

func TestTagsChangeOnlyWhenNumbersCan(t *testing.T) {
	w := newWorld(t, nil)
	day := midday.AddDate(0, 0, -2)
	w.put(row("1", "anna", "/a", day), row("2", "ben", "/b", day.Add(time.Hour)), row("2", "ben", "/b", day.Add(time.Hour)))
	var reads atomic.Int64
	w.service.ports.Summaries = countedSummaries{w.service.ports.Summaries, &reads}
	w.service.ports.Processed = countedDocuments{w.service.ports.Processed, &reads}
	questions := map[string]string{
		"records":   "metrics=users,views&dimensions=page&from=2026-03-10&to=2026-03-10",
		"documents": "metrics=users,views&dimensions=page,country&from=2026-03-10&to=2026-03-10",
		"compared":  "metrics=users,views&dimensions=page&from=2026-03-10&to=2026-03-10&compare=previous_period",
	}
	tags := map[string]string{}
	step := func(what string, changes bool) {
		t.Helper()
		for name, question := range questions {
			for _, accept := range []string{"application/json", "text/csv"} {
				key := name + accept
				status, header := w.conditional(question, accept, tags[key])
				same := header.Get("ETag") == tags[key]
				if same == changes || (status == http.StatusNotModified) != same || !strings.HasPrefix(header.Get("ETag"), `W/"`) {
					t.Errorf("%s: %s: got %d %s, had %s", what, key, status, header.Get("ETag"), tags[key])
				}
				if header.Get("Cache-Control") != "private, no-cache" || header.Get("Footfall-Watermark") == "" || header.Get("Footfall-Duplicates") != "1" {
					t.Errorf("%s: %s: header %v", what, key, header)
				}
				tags[key] = header.Get("ETag")
			}
		}
	}
	step("first", true)
	step("again", false)
	w.summarise()
	step("closed", false)
	w.put(row("3", "cleo", "/a", midday.Add(-time.Hour)))
	step("an event of today", false)
	w.summarise()
	step("today closed", false)
	w.now = w.now.Add(time.Hour)
	step("an hour later", false)
	w.put(row("4", "anna", "/late", day.Add(2*time.Hour)))
	step("a late event", true)
	w.summarise()
	step("the late event closed", false)
	bot := row("5", "crawler", "/a", day)
	bot.Flags = processed.FlagBot
	w.put(bot)
	step("a bot that is left out", true) // the answer says how many
	m := w.merchant
	m.Settings.BotFilter = false
	w.must(w.stores.Registry.UpdateMerchant(context.Background(), m))
	step("settings", true)

	// While nothing is written, nothing is read.
	before := reads.Load()
	step("once more", false)
	if n := reads.Load() - before; n != 0 {
		t.Errorf("expected no read, got %d", n)
	}
	if a, b := tags["recordsapplication/json"], tags["recordstext/csv"]; a == b {
		t.Error("two forms of an answer have one tag")
	}
	if status, _ := w.conditional(questions["records"], "application/json", `"other", `+tags["recordsapplication/json"]); status != http.StatusNotModified {
		t.Errorf("one tag of a list: got %d", status)
	}
	if status, _ := w.conditional(questions["records"]+"&limit=1", "application/json", tags["recordsapplication/json"]); status != http.StatusOK {
		t.Errorf("another question: got %d", status)
	}
}
