package transform

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

func TestConfig(t *testing.T) {
	if err := (&Config{}).Validate(); strings.Count(fmt.Sprint(err), "expected") != 3 {
		t.Errorf("not all faults are reported: %v", err)
	}
}

var noon = time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)

// mixed is a batch of two merchants' events in two hours, of a stream of
// nobody, and of each kind that an older version got wrong.
func mixed() *event.Batch {
	b := &event.Batch{ID: event.BatchID{1}, ReceivedAt: noon, Instance: "i"}
	for i, name := range []string{"page_view", "purchase", "sign_up", "page_view", "scroll", "page_view"} {
		b.Events = append(b.Events, event.Event{
			ID: fmt.Sprint(i), Stream: []string{"G-A", "G-A", "G-A", "G-B", "G-B", "G-404"}[i], Name: name, ClientID: "c",
			TimeMicros: noon.Add(time.Duration(i) * 10 * time.Minute).UnixMicro(), PageLocation: "https://shop.example/shoes/red?size=42",
		})
	}
	b.Refused = []event.Refused{{Stream: "G-A", Reason: "invalid", Field: "name"}}
	return b
}

func transformation(t *testing.T) *Transform {
	t.Helper()
	f := newFixture(t, 100)
	f.create("a", "G-A")
	f.create("b", "G-B")
	made, err := New(Config{Refresh: time.Second, Streams: 100, Agents: 100}, f.registry, time.Now, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Rows that a caller packs are those of the documents that the ETL writes.
func TestRowsAreTheBatch(t *testing.T) {
	made := transformation(t)
	put, err := made.Batch(t.Context(), mixed())
	if err != nil {
		t.Fatal(err)
	}
	builders := map[store.DocKey]*processed.Builder{}
	rejects, err := made.Rows(t.Context(), []*event.Batch{mixed()}, func(merchant string, hour event.Hour, batch event.BatchID) *processed.Builder {
		if merchant == "b" {
			return nil
		}
		b := new(processed.Builder)
		builders[store.DocKey{Merchant: merchant, Hour: hour, Revision: store.LiveRevision, Batch: batch}] = b
		return b
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(put.Rejects, rejects); diff != "" {
		t.Errorf("rejects (-batch +rows)\n%s", diff)
	}
	wanted := 0
	for _, d := range put.Docs {
		if d.Key.Merchant == "b" {
			continue
		}
		wanted++
		if b := builders[d.Key]; b == nil || b.Len() != d.Events || string(b.Encode()) != string(d.Data) {
			t.Errorf("%v differs", d.Key)
		}
	}
	if wanted != len(builders) {
		t.Errorf("%d documents, want %d", len(builders), wanted)
	}
}

// A place file that the operator replaces is used from then on; a broken one
// changes nothing.
func TestPlaceFileIsReadAgain(t *testing.T) {
	f := newFixture(t, 100)
	f.create("a", "G-A")
	path := filepath.Join(t.TempDir(), "places.mmdb")
	at := noon
	replace := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Minute)
		if err := os.Chtimes(path+".new", at, at); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cfg := Config{Refresh: time.Second, Streams: 100, Agents: 100, GeoFile: path, GeoRefresh: 10 * time.Millisecond}
	said := make(lines, 100)
	open := func() (*Transform, error) {
		return New(cfg, f.registry, time.Now, slog.New(slog.NewTextHandler(said, nil)), noop.Meter{})
	}
	replace([]byte("no places"))
	if _, err := open(); err == nil {
		t.Error("a broken place file was opened")
	}
	replace(read("places.mmdb"))
	made, err := open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- made.Function().Run(ctx) }()
	city := func() string {
		t.Helper()
		put, err := made.Batch(t.Context(), &event.Batch{Events: []event.Event{{ID: "1", Stream: "G-A", Name: "page_view", IP: "192.0.2.0"}}})
		if err != nil {
			t.Fatal(err)
		}
		frame, err := processed.Decode(put.Docs[0].Data, processed.Everything())
		if err != nil {
			t.Fatal(err)
		}
		return frame.Text[processed.ColCity].At(0) + " " + frame.Text[processed.ColCityID].At(0)
	}
	if got := city(); got != "Berlin 2950159" {
		t.Errorf("got %q", got)
	}
	whole := read("places-moved.mmdb")
	replace(whole)
	for city() != "Potsdam 2852458" {
		runtime.Gosched() // until the file is read; the test's own deadline ends it
	}
	// Its tree is damaged; what says so at its end is whole.
	broken := append([]byte{}, whole...)
	for i := range 60 {
		broken[i] = 0x7f
	}
	replace(broken)
	for !strings.Contains(<-said, "cannot read a changed file") {
	}
	if got := city(); got != "Potsdam 2852458" {
		t.Errorf("after a broken file: got %q", got)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// lines takes what a log says, a line at a time.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}
