package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/summary"
)

const adminToken = "operator"

var midday = time.Date(2026, 3, 12, 12, 0, 0, 0, time.UTC)

// world is a report service over embedded stores, with one merchant.
type world struct {
	t        testing.TB
	stores   *embedded.Stores
	service  *Service
	server   *httptest.Server
	merchant access.Merchant
	token    string
	now      time.Time
	batches  uint64
}

func newWorld(t testing.TB, change func(*access.Settings, *Config)) *world {
	t.Helper()
	stores, err := embedded.Open(t.TempDir(), embedded.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	})
	var config Config
	if err := function.Load([]string{"FOOTFALL_ADMIN_TOKEN=" + adminToken, "FOOTFALL_REPORT_SETTINGS_AGE=0s"}, nil, &config); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, stores: stores, now: midday}
	settings := access.DefaultSettings()
	settings.TimeZone, settings.Currency, settings.BotFilter, settings.KeyEvents = "UTC", "EUR", true, []string{"sign_up"}
	if change != nil {
		change(&settings, &config)
	}
	w.merchant, w.token = w.create(settings)
	loader := history.New(stores.Processed, stores.Visitors, history.Options{CacheBytes: 64 << 20})
	w.service = New(config, Ports{Registry: stores.Registry, Revisions: stores.Revisions, Journal: stores.Journal, Processed: stores.Processed,
		Summaries: stores.Summaries, History: loader}, func() time.Time { return w.now })
	w.service.live.patience = forever // what is put is seen, however slow the machine
	mux := http.NewServeMux()
	if err := function.Mount(mux, function.EventOptions{}, w.service.Function()); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(mux)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) create(settings access.Settings) (access.Merchant, string) {
	w.t.Helper()
	id := access.NewMerchantID()
	token := access.NewReportToken(id)
	m := access.Merchant{ID: id, Version: 1, Name: "Shop", CreatedAt: w.now, Settings: settings, Generation: 1,
		Streams: []access.Stream{{MeasurementID: access.NewMeasurementID(), Name: "Web"}}, ReportTokens: []access.Hash{access.HashOf(token)}}
	if err := w.stores.Registry.CreateMerchant(context.Background(), m); err != nil {
		w.t.Fatal(err)
	}
	return m, token
}

// put writes rows as one batch: accepted, journalled and processed.
func (w *world) put(rows ...processed.Row) {
	w.t.Helper()
	w.batches++
	var batch event.BatchID
	for i := range 8 {
		batch[i] = byte(w.batches >> (56 - 8*i))
	}
	byHour := map[event.Hour]*processed.Builder{}
	var counts []event.StreamHour
	for i, r := range rows {
		r.Batch, r.Seq = batch, uint32(i)
		h := event.HourOfMicros(r.Millis * 1000)
		if byHour[h] == nil {
			byHour[h] = &processed.Builder{}
		}
		byHour[h].Add(r)
		counts = append(counts, event.StreamHour{Stream: w.merchant.Streams[0].MeasurementID, Hour: h, Events: 1})
	}
	p := store.Put{Batch: batch}
	for h, b := range byHour {
		n := b.Len()
		p.Docs = append(p.Docs, store.Doc{Key: store.DocKey{Merchant: w.merchant.ID, Hour: h, Revision: store.LiveRevision, Batch: batch}, Events: n, Data: b.Encode()})
	}
	row := store.JournalRow{Batch: batch, ReceivedAt: w.now, Counts: merged(counts), Payload: []byte("batch")}
	w.must(w.stores.Journal.Append(context.Background(), []store.JournalRow{row}))
	w.must(w.stores.Processed.Put(context.Background(), p))
	w.must(w.stores.Journal.Mark(context.Background(), store.StageProcessed, []store.JournalRow{row}))
}

func merged(list []event.StreamHour) []event.StreamHour {
	var out []event.StreamHour
next:
	for _, c := range list {
		for i := range out {
			if out[i].Hour == c.Hour {
				out[i].Events += c.Events
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// summarise closes every hour, as the summary function does, in its plainest
// form: all hours anew.
func (w *world) summarise() {
	w.t.Helper()
	ctx := context.Background()
	first, last, ok, err := w.stores.Processed.Extent(ctx, w.merchant.ID, store.LiveRevision)
	w.must(err)
	if !ok {
		return
	}
	m := &w.merchant
	cal, err := summary.NewCalendar(m.Settings.TimeZone)
	w.must(err)
	loader := history.New(w.stores.Processed, w.stores.Visitors, history.Options{})
	dirty, err := w.stores.Processed.DirtyOf(ctx, m.ID, history.Queues(m), first, last+1)
	w.must(err)
	facts, err := loader.Facts(ctx, m, summary.Of(first, last+1), summary.Needs(summary.RecordKeys()), false, nil)
	w.must(err)
	users, millis := facts.Firsts()
	known, err := w.stores.Visitors.FirstSeen(ctx, m.ID, m.Generation, users)
	w.must(err)
	_, err = w.stores.Visitors.See(ctx, m.ID, m.Generation, users, millis, known)
	w.must(err)
	claim, err := w.stores.Processed.Claimed(ctx, m.ID)
	w.must(err)
	_, err = w.stores.Processed.Claim(ctx, m.ID, claim)
	w.must(err)
	for _, day := range cal.Days(first.Start().UnixMilli(), last.End().UnixMilli()) {
		var records []*summary.Record
		for i, hour := range cal.Hours(day.From, day.To) {
			facts, err := loader.Facts(ctx, m, hour, summary.Needs(summary.RecordKeys()), true, nil)
			w.must(err)
			r := summary.NewRecord(facts, i)
			records = append(records, r)
			if !r.Empty() {
				w.record(store.GrainHour, hour, r)
			}
		}
		w.record(store.GrainDay, day, summary.MergeRecords(records...))
	}
	for _, h := range dirty {
		marks, err := w.stores.Processed.Marks(ctx, m.ID, history.Queues(m), h, h+1)
		w.must(err)
		w.must(w.stores.Processed.Clean(ctx, marks))
	}
}

func (w *world) record(grain store.Grain, window summary.Window, r *summary.Record) {
	w.t.Helper()
	w.must(w.stores.Summaries.Put(context.Background(), []store.SummaryEntry{{Data: r.Encode(), Key: store.SummaryKey{
		Merchant: w.merchant.ID, Generation: w.merchant.Generation, Grain: grain, Start: window.From / 1000}}}))
}

// row is a plain page view of a client.
func row(id, client, page string, at time.Time) processed.Row {
	r := processed.Row{EventID: processed.HashID("G-1", id), Millis: at.UnixMilli(), User: processed.HashActor(processed.ActorClient, client)}
	r.Client = r.User
	r.Text[processed.ColName], r.Text[processed.ColPagePath], r.Text[processed.ColHostname] = "page_view", page, "shop.example"
	return r
}

// answer is /v1/reports' JSON.
type answer struct {
	Rows     []map[string]any `json:"rows"`
	RowCount int              `json:"row_count"`
	Totals   map[string]any   `json:"totals"`
	Metadata struct {
		Watermark     time.Time      `json:"watermark"`
		Pending       int64          `json:"pending"`
		Waiting       int            `json:"waiting_hours"`
		Methods       map[string]any `json:"methods"`
		GeneratedFrom struct {
			Days   int `json:"day_records"`
			Hours  int `json:"hour_records"`
			FromDo int `json:"hours_from_documents"`
			Events int `json:"documents_events"`
		} `json:"generated_from"`
	} `json:"metadata"`
}

func (w *world) report(query string) answer {
	w.t.Helper()
	status, body := w.get("/v1/reports/"+w.merchant.ID+"?"+encode(query), w.token, "")
	if status != http.StatusOK {
		w.t.Fatalf("%s: status %d: %s", query, status, body)
	}
	var a answer
	w.must(json.Unmarshal([]byte(body), &a))
	return a
}

// encode escapes the values of a query that is written plainly.
func encode(query string) string {
	v := url.Values{}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		v.Set(name, value)
	}
	return v.Encode()
}

func (w *world) get(path, token, accept string) (status int, body string) {
	w.t.Helper()
	return w.do("GET", path, token, accept, "")
}

func (w *world) do(method, path, token, accept, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.server.URL+path, strings.NewReader(body))
	w.must(err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := w.server.Client().Do(req)
	w.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, string(b)
}

// lines shows rows as "value value | metric metric" in the order asked for.
func (a answer) lines(columns ...string) string {
	var b strings.Builder
	for _, r := range a.Rows {
		for i, c := range columns {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprint(&b, r[c])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
