package etl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/functions/etl"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/transform"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func config() etl.Config {
	return etl.Config{Concurrency: 2}
}

func stores(t *testing.T) *embedded.Stores {
	t.Helper()
	s, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func service(t *testing.T, cfg etl.Config, s *embedded.Stores, registry store.Registry) function.Function {
	t.Helper()
	service, err := etl.New(cfg, rules(t, registry), s.Processed, s.Journal)
	if err != nil {
		t.Fatal(err)
	}
	return service.Function()
}

func rules(t testing.TB, registry store.Registry) *transform.Transform {
	t.Helper()
	made, err := transform.New(transform.Config{Refresh: time.Second, Streams: 100, Agents: 100}, registry, time.Now, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func merchant(id string, streams ...string) access.Merchant {
	m := access.Merchant{ID: id, Name: id, CreatedAt: noon, Settings: access.Settings{TimeZone: "UTC", Currency: "EUR"}}
	for _, s := range streams {
		m.Streams = append(m.Streams, access.Stream{MeasurementID: s})
	}
	return m
}

// batch is a delivery of page views, one for each stream, a second apart.
func batch(t *testing.T, n byte, streams ...string) cloudevents.Event {
	t.Helper()
	b := &event.Batch{ID: event.BatchID{0, n}, ReceivedAt: noon, Instance: "i"}
	for i, s := range streams {
		b.Events = append(b.Events, event.Event{
			ID: fmt.Sprintf("%d-%d", n, i), Stream: s, Name: "page_view", TimeMicros: noon.Add(time.Duration(i) * time.Second).UnixMicro(), ClientID: "c",
		})
	}
	data, err := event.EncodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	return delivery(t, b.ID.String(), data)
}

func delivery(t *testing.T, id string, data []byte) cloudevents.Event {
	t.Helper()
	e := cloudevents.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType(event.TypeBatchAccepted)
	if err := e.SetData(event.ContentTypeBatch, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// counted lists a merchant's event ids by document.
func counted(t *testing.T, s *embedded.Stores, id string) (seqs []uint32) {
	t.Helper()
	err := s.Processed.Scan(t.Context(), id, store.LiveRevision, 0, event.HourOf(noon)+100, func(d store.Doc) error {
		f, err := processed.Decode(d.Data, processed.Everything())
		if err != nil {
			return err
		}
		seqs = append(seqs, f.Seq...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seqs
}

func TestBatch(t *testing.T) {
	s := stores(t)
	for _, m := range []access.Merchant{merchant("m1", "G-1", "G-3"), merchant("m2", "G-2")} {
		if err := s.Registry.CreateMerchant(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	handle := service(t, config(), s, s.Registry).Events["/batches"]
	e := batch(t, 1, "G-1", "G-2", "G-404", "G-1", "G-3")
	if err := s.Journal.Append(t.Context(), []store.JournalRow{{Batch: event.BatchID{0, 1}, ReceivedAt: noon, Payload: e.Data(),
		Counts: []event.StreamHour{{Stream: "G-1", Hour: event.HourOf(noon), Events: 2}}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // delivered twice
		if err := handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if got := counted(t, s, "m1"); !slices.Equal(got, []uint32{0, 3, 4}) {
		t.Errorf("m1 has events %v", got)
	}
	if got := counted(t, s, "m2"); !slices.Equal(got, []uint32{1}) {
		t.Errorf("m2 has events %v", got)
	}
	hour := event.HourOf(noon)
	rejects, _, err := s.Processed.Rejects(t.Context(), "", nil, hour, hour+1, "", 10)
	if err != nil || len(rejects) != 1 || rejects[0].Reason != "unknown_stream" || rejects[0].Index != 2 || rejects[0].Stream != "G-404" {
		t.Errorf("rejects: %+v, %v", rejects, err)
	}
	rows, err := s.Journal.Unfinished(t.Context(), store.StageProcessed, time.Time{}, noon.Add(time.Hour), 10)
	if err != nil || len(rows) != 0 {
		t.Errorf("the journal still waits for %v, %v", rows, err)
	}
}

// TestJournalWasAway: the mark brings the counts of a batch that the journal
// does not know.
func TestJournalWasAway(t *testing.T) {
	s := stores(t)
	handle := service(t, config(), s, s.Registry).Events["/batches"]
	if err := handle(t.Context(), batch(t, 1, "G-1", "G-2", "G-1")); err != nil {
		t.Fatal(err)
	}
	hour := event.HourOf(noon)
	got, err := s.Journal.Counts(t.Context(), []string{"G-1", "G-2"}, hour, hour+1)
	want := []store.LedgerCount{{Stream: "G-1", Hour: hour, Accepted: 2}, {Stream: "G-2", Hour: hour, Accepted: 1}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestFaults(t *testing.T) {
	s := stores(t)
	handle := service(t, config(), s, s.Registry).Events["/batches"]
	if err := handle(t.Context(), delivery(t, "x", []byte("no container"))); !fault.Is(err, fault.Invalid) {
		t.Errorf("no batch: got %v, want Invalid", err)
	}
	e := batch(t, 1, "G-1")
	e.SetType("other")
	if err := handle(t.Context(), e); !fault.Is(err, fault.Invalid) {
		t.Errorf("another type: got %v, want Invalid", err)
	}
	if err := (&etl.Config{Concurrency: -1}).Validate(); err == nil {
		t.Error("a negative number of batches at once is taken")
	}
}

// flaky is a registry that fails while down, and counts questions.
type flaky struct {
	store.Registry
	mu    sync.Mutex
	down  bool
	asked map[string]int
}

func (f *flaky) set(down bool) { f.mu.Lock(); f.down = down; f.mu.Unlock() }

func (f *flaky) MerchantByStream(ctx context.Context, stream string) (access.Merchant, error) {
	f.mu.Lock()
	down := f.down
	if f.asked == nil {
		f.asked = map[string]int{}
	}
	f.asked[stream]++
	f.mu.Unlock()
	if down {
		return access.Merchant{}, errors.New("the registry is away")
	}
	return f.Registry.MerchantByStream(ctx, stream)
}

// TestRegistryAway: nobody's stream is no answer of a registry that is away.
func TestRegistryAway(t *testing.T) {
	s := stores(t)
	if err := s.Registry.CreateMerchant(t.Context(), merchant("m1", "G-1")); err != nil {
		t.Fatal(err)
	}
	registry := &flaky{Registry: s.Registry, down: true}
	handle := service(t, config(), s, registry).Events["/batches"]
	e := batch(t, 1, "G-1", "G-404")
	if err := handle(t.Context(), e); !fault.Is(err, fault.Transient) {
		t.Fatalf("got %v, want Transient", err)
	}
	if n, err := s.Processed.RejectCounts(t.Context(), "", nil, 0, event.HourOf(noon)+1); len(n) != 0 || err != nil {
		t.Fatalf("events were rejected: %v, %v", n, err)
	}
	registry.set(false)
	if err := handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := counted(t, s, "m1"); !slices.Equal(got, []uint32{0}) {
		t.Errorf("m1 has events %v", got)
	}
	// What is known needs no registry.
	registry.set(true)
	if err := handle(t.Context(), batch(t, 2, "G-1", "G-404")); err != nil {
		t.Errorf("known streams: %v", err)
	}
	if registry.asked["G-1"] != 2 || registry.asked["G-404"] > 2 {
		t.Errorf("asked %v", registry.asked)
	}
}

// TestBusy: with every slot taken a delivery waits, and gives up as Overloaded.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := &blocked{entered: make(chan struct{}, 1), release: make(chan struct{})}
		cfg := config()
		cfg.Concurrency = 1
		svc, err := etl.New(cfg, rules(t, block), nil, empty{})
		if err != nil {
			t.Fatal(err)
		}
		handle := svc.Function().Events["/batches"]
		e := batch(t, 1, "G-1")
		first := make(chan error)
		go func() { first <- handle(t.Context(), e) }()
		<-block.entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := handle(ctx, e); !fault.Is(err, fault.Overloaded) {
			t.Errorf("got %v, want Overloaded", err)
		}
		close(block.release)
		if err := <-first; !fault.Is(err, fault.Transient) {
			t.Errorf("got %v, want Transient", err)
		}
	})
}

// empty is a journal that knows no batch.
type empty struct{ store.Journal }

func (empty) Stages(context.Context, event.BatchID) (store.Stage, error) { return 0, nil }

// blocked is a registry that answers when told to, with an error.
type blocked struct {
	store.Registry
	entered, release chan struct{}
}

func (b *blocked) MerchantByStream(context.Context, string) (access.Merchant, error) {
	b.entered <- struct{}{}
	<-b.release
	return access.Merchant{}, errors.New("the registry is away")
}

// BenchmarkHandle takes batches from their delivery to their mark in the
// journal: one merchant's, and one of single events of many merchants, which
// becomes a document for every one or two of them.
func BenchmarkHandle(b *testing.B) {
	for _, c := range []struct{ events, merchants, hours int }{{300, 1, 1}, {64, 20, 2}} {
		b.Run(fmt.Sprintf("events=%d/merchants=%d", c.events, c.merchants), func(b *testing.B) {
			benchHandle(b, c.events, c.merchants, c.hours)
		})
	}
}

func benchHandle(b *testing.B, events, merchants, hours int) {
	s, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem(), NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range merchants {
		if err := s.Registry.CreateMerchant(b.Context(), merchant(fmt.Sprint("m", i), fmt.Sprint("G-", i))); err != nil {
			b.Fatal(err)
		}
	}
	svc, err := etl.New(config(), rules(b, s.Registry), s.Processed, s.Journal)
	if err != nil {
		b.Fatal(err)
	}
	batch := &event.Batch{ReceivedAt: noon, Instance: "i"}
	for i := range events {
		batch.Events = append(batch.Events, event.Event{
			ID: fmt.Sprint("e", i), Stream: fmt.Sprint("G-", i%merchants), Name: "page_view", ClientID: fmt.Sprint("c", i/5),
			TimeMicros:   noon.Add(-time.Duration(i/merchants%hours) * time.Hour).UnixMicro(),
			PageLocation: fmt.Sprint("https://shop.example.com/p/", i%40), PageTitle: "Shoes", Language: "de-DE", Screen: "1920x1080",
			UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
			Params: []event.Param{
				{Key: "theme", Kind: event.ParamText, Text: "dark"}, {Key: "scroll_depth", Kind: event.ParamInt, Int: int64(i % 100)},
			},
		})
	}
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		batch.ID = event.BatchID{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		data, err := event.EncodeBatch(batch)
		if err != nil {
			b.Fatal(err)
		}
		e := cloudevents.New()
		e.SetID(batch.ID.String())
		e.SetType(event.TypeBatchAccepted)
		e.DataEncoded = data
		if err := svc.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

// What a batch became is final: it comes again after its stream was disabled,
// and another whose stream nobody had after one has made it.
func TestABatchIsJudgedOnce(t *testing.T) {
	s := stores(t)
	m := merchant("m", "G-A")
	if err := s.Registry.CreateMerchant(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	deliver := func(e cloudevents.Event) {
		t.Helper()
		if err := service(t, config(), s, s.Registry).Events["/batches"](t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		n := len(counted(t, s, "m"))
		h := event.HourOf(noon)
		mine, err := s.Processed.RejectCounts(t.Context(), "m", nil, h, h+1)
		nobodys, err2 := s.Processed.RejectCounts(t.Context(), "", nil, h, h+1)
		if err != nil || err2 != nil || n != 1 || len(mine) != 0 || len(nobodys) != 1 || nobodys[0].Events != 1 {
			t.Fatalf("%s: %d events counted, rejected %v, of nobody %v (%v, %v)", when, n, mine, nobodys, err, err2)
		}
	}
	known, unknown := batch(t, 1, "G-A"), batch(t, 2, "G-B")
	deliver(known)
	deliver(unknown)
	check("first")
	m, err := s.Registry.Merchant(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	m.Streams = []access.Stream{{MeasurementID: "G-A", Disabled: true}, {MeasurementID: "G-B"}}
	if err := s.Registry.UpdateMerchant(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	deliver(known)
	deliver(unknown)
	check("again")
}
