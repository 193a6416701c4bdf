package local

import (
	"context"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/function"
)

func TestConfigurationsFitEachOther(t *testing.T) {
	if _, err := load(nil); err != nil {
		t.Fatal(err)
	}
	_, err := load([]string{"FOOTFALL_ARCHIVE_FILE_AGE=4h", "FOOTFALL_ARCHIVE_MERGE_AFTER=5h"})
	if err == nil || !strings.Contains(err.Error(), "FOOTFALL_JOURNAL_UNARCHIVED_AFTER") {
		t.Fatalf("expected an error about files that fill longer than the journal waits, got %v", err)
	}
}

// Every Trigger finds its subscriber, and waits longer than that works.
func TestWiringAndFunctionsAgree(t *testing.T) {
	wiring, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	handle := func(context.Context, cloudevents.Event) error { return nil }
	functions := func(shards time.Duration) []function.Function {
		return []function.Function{
			{Name: "ingest", Events: map[string]function.EventHandler{"/ticks": handle, "/dead-letters": handle}},
			{Name: "archive", Events: map[string]function.EventHandler{"/ticks": handle, "/batches": handle}},
			{Name: "etl", Events: map[string]function.EventHandler{"/batches": handle}},
			{Name: "reprocess", Events: map[string]function.EventHandler{"/requests": handle, "/ticks": handle, "/shards": handle}},
			{Name: "summary", Events: map[string]function.EventHandler{"/ticks": handle, "/shards": handle},
				Deadlines: map[string]time.Duration{"/shards": shards}},
		}
	}
	if err := agree(wiring, functions(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := agree(wiring, functions(time.Hour)); err == nil || !strings.Contains(err.Error(), "summary-shards") {
		t.Fatalf("expected an error about a shard that works longer than its Trigger waits, got %v", err)
	}
	if err := agree(wiring, functions(time.Minute)[:3]); err == nil || !strings.Contains(err.Error(), "/shards") {
		t.Fatalf("expected an error about a subscriber that is missing, got %v", err)
	}
}
