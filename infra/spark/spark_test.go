package spark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/functions/ingest"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/store/hdfs"
)

// delivered is a Broker that delivers each batch to the archive at once, and
// some twice, as a Broker may.
type delivered struct {
	archive *archive.Service

	mu      sync.Mutex
	events  map[string]int // of each batch, by its id
	doubled int
}

func (d *delivered) Publish(ctx context.Context, _ string, events ...cloudevents.Event) error {
	for _, e := range events {
		b, err := event.DecodeBatch(e.Data())
		if err != nil {
			return err
		}
		if err := d.archive.Append(ctx, e); err != nil {
			return err
		}
		d.mu.Lock()
		again := len(d.events)%3 == 1 && d.events[e.ID()] == 0
		d.events[e.ID()] = len(b.Events)
		if again {
			d.doubled++
		}
		d.mu.Unlock()
		if again {
			if err := d.archive.Append(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func configured[C any](t *testing.T) C {
	t.Helper()
	c, err := env.ParseAsWithOptions[C](env.Options{Environment: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestArchiveForOthers has real events collected into an archive in a real
// HDFS, and lets Spark count them. Its counts are those of the ledger.
func TestArchiveForOthers(t *testing.T) {
	address := os.Getenv(services.HDFSVariable)
	if address == "" || testing.Short() {
		t.Skipf("fetches Spark (269 MB, once) and reads an archive in HDFS: runs where %s names a NameNode (host:port), without -short", services.HDFSVariable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cache, err := services.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	spark, err := Fetch(ctx, cache, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}

	log := slog.New(slog.DiscardHandler)
	stores, err := embedded.Open(t.TempDir(), embedded.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stores.Close() }()
	cfg := configured[hdfs.Config](t)
	cfg.NameNodes, cfg.Root = []string{address}, "/footfall-test/spark-"+fmt.Sprint(time.Now().UnixNano())
	cfg.BlockBytes = 8 << 20
	files, err := hdfs.Open(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}()
	keep, err := archive.New(configured[archive.Config](t), files, stores.Journal, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	broker := &delivered{archive: keep, events: map[string]int{}}
	collect, err := ingest.New(configured[ingest.Config](t), ingest.Ports{
		Journal: stores.Journal, Publisher: broker, Registry: stores.Registry, Clock: time.Now, Log: log, Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	collected := sync.OnceValue(func() error { return collect.Close(ctx) })
	defer func() { _ = collected() }()

	streams := []string{"G-SHOP000001", "G-SHOP000002", "G-APP0000001"}
	start := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	mux := http.NewServeMux()
	collect.Function().Routes(mux)
	want := map[string]int64{} // by stream and hour, as it was sent
	var revenue int64
	for request := range 40 {
		var batch []map[string]any
		for i := range 50 + request {
			stream := streams[(request+i)%len(streams)]
			at := start.Add(time.Duration(request*311+i*7) * time.Second)
			data := map[string]any{"name": "page_view", "client_id": fmt.Sprint("c", i%17), "page": map[string]any{"location": "https://shop.example/" + fmt.Sprint(i%5)}}
			if i%10 == 0 {
				data["name"], data["value"], data["currency"] = "purchase", 19.99, "EUR"
				data["params"] = map[string]any{"transaction_id": fmt.Sprint(request, "-", i)}
				revenue += 19_990_000
			}
			batch = append(batch, map[string]any{"specversion": "1.0", "type": "footfall.event.v1", "source": "/spark", "id": fmt.Sprint(request, "-", i),
				"measurementid": stream, "time": at.Format(time.RFC3339), "data": data})
			want[stream+" "+at.Format("2006-01-02T15")]++
		}
		body, err := json.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/events", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/cloudevents-batch+json")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	if err := collected(); err != nil { // what is under way is published
		t.Fatal(err)
	}
	if err := keep.Function().Close(ctx); err != nil { // completes its files
		t.Fatal(err)
	}
	// One more file is being written: nobody must read it.
	open := event.Batch{ID: event.BatchID{15: 1}, ReceivedAt: start, Events: []event.Event{{ID: "x", Stream: streams[0], Name: "page_view", ClientID: "c", TimeMicros: start.UnixMicro()}}}
	container, err := event.EncodeBatch(&open)
	if err != nil {
		t.Fatal(err)
	}
	data, err := event.BlockOf(container)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Append(ctx, []store.Block{{Batch: open.ID, ReceivedAt: start, Data: data}}); err != nil {
		t.Fatal(err)
	}

	rows, err := spark.Query(ctx, "hdfs://"+address+cfg.Root,
		"SELECT stream, date_format(time, \"yyyy-MM-dd'T'HH\") AS hour, count(*) AS events FROM events GROUP BY ALL ORDER BY ALL",
		"SELECT lower(hex(id)) AS batch, size(events) AS events FROM batches ORDER BY batch",
		"SELECT (SELECT count(*) FROM blocks) AS blocks, count(*) AS purchases, sum(value_micros) AS micros FROM events WHERE name = 'purchase'",
		"SELECT name, params[0].value.member0 AS transaction FROM events WHERE name = 'purchase' AND id = '7-10'",
	)
	if err != nil {
		t.Fatal(err)
	}
	// What the ledger says was accepted is what the journal counts.
	ledger, err := stores.Journal.Counts(ctx, streams, event.HourOf(start), event.HourOf(time.Now())+1)
	if err != nil {
		t.Fatal(err)
	}
	var hours []string
	accepted := int64(0)
	slices.SortFunc(ledger, func(a, b store.LedgerCount) int {
		return strings.Compare(a.Stream+a.Hour.Start().String(), b.Stream+b.Hour.Start().String())
	})
	for _, c := range ledger {
		hour := c.Hour.Start().Format("2006-01-02T15")
		if want[c.Stream+" "+hour] != c.Accepted {
			t.Errorf("the ledger has %d events of stream %s in hour %s, %d were sent", c.Accepted, c.Stream, hour, want[c.Stream+" "+hour])
		}
		hours = append(hours, fmt.Sprintf(`{"stream":%q,"hour":%q,"events":%d}`, c.Stream, hour, c.Accepted))
		accepted += c.Accepted
	}
	if len(hours) != len(want) || !slices.Equal(rows[0], hours) {
		t.Errorf("Spark counts\n%s\nand the ledger\n%s", strings.Join(rows[0], "\n"), strings.Join(hours, "\n"))
	}
	var batches []string
	for id, n := range broker.events {
		batches = append(batches, fmt.Sprintf(`{"batch":%q,"events":%d}`, id, n))
	}
	slices.Sort(batches)
	if !slices.Equal(rows[1], batches) {
		t.Errorf("Spark finds batches\n%s\nand these were archived\n%s", strings.Join(rows[1], "\n"), strings.Join(batches, "\n"))
	}
	sums := fmt.Sprintf(`{"blocks":%d,"purchases":%d,"micros":%d}`, len(batches)+broker.doubled, revenue/19_990_000, revenue)
	if len(rows[2]) != 1 || rows[2][0] != sums {
		t.Errorf("Spark sums up %s, expected %s", rows[2], sums)
	}
	if got := strings.Join(rows[3], ""); got != `{"name":"purchase","transaction":"7-10"}` {
		t.Errorf("Spark finds transaction %s", got)
	}
	t.Logf("Spark: %d batches in %d blocks, %d events in %d hours of streams, as the ledger has it", len(batches), len(batches)+broker.doubled, accepted, len(hours))
}
