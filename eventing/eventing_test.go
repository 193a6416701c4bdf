package eventing_test

import (
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
)

func files(t testing.TB) *eventing.Wiring {
	t.Helper()
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// consumer is a row of the table in the architecture document.
type consumer struct {
	Trigger, Broker, Function, Path string
	Order                           eventing.Order
	DeadLetter                      string
}

func TestEveryConsumerIsWired(t *testing.T) {
	w := files(t)
	var got []consumer
	for _, tr := range w.Triggers {
		got = append(got, consumer{tr.Name, tr.Broker, tr.Subscriber.Name, tr.Subscriber.Path, tr.Order, tr.Delivery.DeadLetter.Name})
	}
	want := []consumer{
		{"archive-batches", broker.Batches, "archive", "/batches", eventing.Unordered, "batches-dead"},
		{"archive-ticks", broker.Control, "archive", "/ticks", eventing.Ordered, "control-dead"},
		{"etl-batches", broker.Batches, "etl", "/batches", eventing.Unordered, "batches-dead"},
		{"ingest-dead", "batches-dead", "ingest", "/dead-letters", eventing.Unordered, "batches-dead"},
		{"ingest-ticks", broker.Control, "ingest", "/ticks", eventing.Ordered, "control-dead"},
		{"reprocess-requests", broker.Control, "reprocess", "/requests", eventing.Unordered, "control-dead"},
		{"reprocess-shards", broker.Control, "reprocess", "/shards", eventing.Unordered, "control-dead"},
		{"reprocess-ticks", broker.Control, "reprocess", "/ticks", eventing.Ordered, "control-dead"},
		{"summary-shards", broker.Control, "summary", "/shards", eventing.Unordered, "control-dead"},
		{"summary-ticks", broker.Control, "summary", "/ticks", eventing.Ordered, "control-dead"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consumers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"archive", "etl", "ingest", "reprocess", "summary"}, w.Services()); diff != "" {
		t.Errorf("functions reached (-want +got):\n%s", diff)
	}
}

func TestEveryTriggerSaysHowItDelivers(t *testing.T) {
	for _, tr := range files(t).Triggers {
		d := tr.Delivery
		switch {
		case tr.Subscriber.Kind != eventing.TargetService:
			t.Errorf("%s: subscriber %+v is no function", tr.Name, tr.Subscriber)
		case d.Retry < 1 || d.Timeout == eventing.DefaultTimeout:
			t.Errorf("%s: retry %d, timeout %s: the Trigger does not say", tr.Name, d.Retry, d.Timeout)
		case d.DeadLetter == nil || d.DeadLetter.Kind != eventing.TargetKafkaSink:
			t.Errorf("%s: dead letter %+v is no KafkaSink", tr.Name, d.DeadLetter)
		case tr.ConsumerGroup != "knative-trigger-footfall-"+tr.Name:
			t.Errorf("%s: consumer group %q", tr.Name, tr.ConsumerGroup)
		}
	}
}

// takers names the Triggers of a Broker that let an event through.
func takers(w *eventing.Wiring, broker string, e cloudevents.Event) []string {
	var names []string
	for _, tr := range w.Triggers {
		if tr.Broker == broker && tr.Filter.Match(&e) {
			names = append(names, tr.Name)
		}
	}
	return names
}

func TestEveryEventReachesItsConsumers(t *testing.T) {
	w := files(t)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for name, taker := range map[string]string{
		"tick-summary": "summary-ticks", "tick-journal": "ingest-ticks", "tick-archive": "archive-ticks", "tick-reprocess": "reprocess-ticks",
	} {
		i := slices.IndexFunc(w.Sources, func(s eventing.PingSource) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("no source %q", name)
		}
		s := w.Sources[i]
		e, err := s.Event("1", at)
		if err != nil {
			t.Fatal(err)
		}
		if s.Sink != (eventing.Destination{Kind: eventing.TargetBroker, Name: broker.Control}) {
			t.Errorf("%s: sink %+v", name, s.Sink)
		}
		if got := takers(w, broker.Control, e); !slices.Equal(got, []string{taker}) {
			t.Errorf("%s is taken by %v, want %s", name, got, taker)
		}
		if got, want := s.Schedule.Next(at.Add(time.Second)), at.Add(time.Minute); !got.Equal(want) {
			t.Errorf("%s: next at %s, want %s", name, got, want)
		}
		if want := "/apis/v1/namespaces/footfall/pingsources/" + name; e.Source() != want || e.Type() != event.TypePing || e.DataContentType() != "application/json" {
			t.Errorf("%s sends %v", name, e)
		}
	}
	for _, c := range []struct {
		broker, kind string
		want         []string
	}{
		{broker.Batches, event.TypeBatchAccepted, []string{"archive-batches", "etl-batches"}},
		{"batches-dead", event.TypeBatchAccepted, []string{"ingest-dead"}},
		{broker.Control, event.TypeSummaryShard, []string{"summary-shards"}},
		{broker.Control, event.TypeReprocessRequested, []string{"reprocess-requests"}},
		{broker.Control, event.TypeReprocessShard, []string{"reprocess-shards"}},
		{broker.Control, event.TypePing, nil}, // a ping that no tick names is nobody's
		{broker.Batches, event.TypeEvent, nil},
	} {
		e := cloudevents.New()
		e.SetType(c.kind)
		if got := takers(w, c.broker, e); !slices.Equal(got, c.want) {
			t.Errorf("%s on %s is taken by %v, want %v", c.kind, c.broker, got, c.want)
		}
	}
}

func TestTopics(t *testing.T) {
	var got []string
	for _, topic := range files(t).Topics() {
		got = append(got, topic.Name)
		if topic.Partitions < 1 || topic.ReplicationFactor < 1 {
			t.Errorf("%+v", topic)
		}
	}
	want := []string{"footfall.batches.dead.v1", "footfall.batches.v1", "footfall.control.dead.v1", "footfall.control.v1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
}

// A file that the kustomization does not list is applied nowhere.
func TestKustomizationListsEveryFile(t *testing.T) {
	list, err := fs.ReadFile(eventing.Files, "kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		names, err := fs.Glob(eventing.Files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != "kustomization.yaml" && !strings.Contains(string(list), "  - "+name+"\n") {
				t.Errorf("kustomization.yaml does not list %s", name)
			}
		}
	}
}

func TestCatalogueNamesEverything(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := files(t)
	var names []string
	for _, tr := range w.Triggers {
		names = append(names, tr.Name)
	}
	for _, s := range w.Sources {
		names = append(names, s.Name)
	}
	for _, topic := range w.Topics() {
		names = append(names, topic.Name)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

func TestPause(t *testing.T) {
	exponential := eventing.Delivery{BackoffDelay: 200 * time.Millisecond}
	linear := eventing.Delivery{BackoffDelay: 200 * time.Millisecond, Backoff: eventing.Linear}
	for _, c := range []struct {
		d    eventing.Delivery
		n    int
		want time.Duration
	}{
		{exponential, 1, 400 * time.Millisecond},
		{exponential, 2, 800 * time.Millisecond},
		{exponential, 10, 204800 * time.Millisecond},
		{exponential, math.MaxInt32, math.MaxInt64},
		{linear, 1, 200 * time.Millisecond},
		{linear, 10, 2 * time.Second},
	} {
		if got := c.d.Pause(c.n); got != c.want {
			t.Errorf("pause before retry %d of %+v = %s, want %s", c.n, c.d, got, c.want)
		}
	}
}
