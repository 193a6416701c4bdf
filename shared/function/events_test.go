package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/footfall/footfall/shared/fault"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testEvent(t testing.TB, data []byte) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID("b1")
	e.SetType("footfall.batch.accepted.v1")
	e.SetSource("/ingest/1")
	e.SetExtension("partitionkey", "m1")
	if err := e.SetData("application/octet-stream", data); err != nil {
		t.Fatal(err)
	}
	return e
}

// The official client's events arrive whole in both modes, and it sees success.
func TestEventsTakesBothModes(t *testing.T) {
	for _, mode := range []string{"binary", "structured"} {
		t.Run(mode, func(t *testing.T) {
			var got cloudevents.Event
			srv := httptest.NewServer(Events(func(_ context.Context, e cloudevents.Event) error {
				got = e
				return nil
			}, EventOptions{Log: quiet()}))
			defer srv.Close()
			protocol, err := cloudevents.NewHTTP(cehttp.WithTarget(srv.URL))
			if err != nil {
				t.Fatal(err)
			}
			client, err := cloudevents.NewClient(protocol)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			if mode == "structured" {
				ctx = cloudevents.WithEncodingStructured(ctx)
			}
			want := testEvent(t, []byte{0, 1, 2, 0xff})
			if result := client.Send(ctx, want); !cloudevents.IsACK(result) {
				t.Fatalf("sent: %v", result)
			}
			if got.ID() != want.ID() || got.Type() != want.Type() || !bytes.Equal(got.Data(), want.Data()) ||
				got.Extensions()["partitionkey"] != "m1" {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestEventsAnswers(t *testing.T) {
	binary := func(body string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/batches", strings.NewReader(body))
		r.Header.Set("Ce-Specversion", "1.0")
		r.Header.Set("Ce-Id", "1")
		r.Header.Set("Ce-Type", "t")
		r.Header.Set("Ce-Source", "s")
		r.Header.Set("Content-Type", "text/plain")
		return r
	}
	without := func(header string) *http.Request {
		r := binary("x")
		r.Header.Del(header)
		return r
	}
	unsized := binary(strings.Repeat("x", 101))
	unsized.ContentLength = -1
	get := binary("")
	get.Method = http.MethodGet
	broken := binary("x")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("x"), errReader{}))
	fail := func(err error) EventHandler {
		return func(context.Context, cloudevents.Event) error { return err }
	}
	tests := []struct {
		name   string
		r      *http.Request
		h      EventHandler
		status int
		kind   string
	}{
		{"ok", binary("x"), fail(nil), 202, ""},
		{"ok without data", binary(""), fail(nil), 202, ""},
		{"unknown errors are worth another try", binary("x"), fail(errors.New("store away")), 503, "transient"},
		{"overloaded", binary("x"), fail(fault.New(fault.Overloaded, "full")), 503, "overloaded"},
		{"invalid", binary("x"), fail(fault.Field("data.shard", "a number")), 422, "invalid"},
		{"a permanent fault is never 404", binary("x"), fail(fault.New(fault.NotFound, "no job")), 422, "not_found"},
		{"a permanent fault is never 409", binary("x"), fail(fault.New(fault.Conflict, "done")), 422, "conflict"},
		{"panic", binary("x"), func(context.Context, cloudevents.Event) error { panic("boom") }, 500, "transient"},
		{"no event", without("Ce-Specversion"), fail(nil), 400, "invalid"},
		{"no id", without("Ce-Id"), fail(nil), 400, "invalid"},
		{"too large", binary(strings.Repeat("x", 101)), fail(nil), 413, "too_large"},
		{"too large, unsized", unsized, fail(nil), 413, "too_large"},
		{"broken off", broken, fail(nil), 503, "transient"},
		{"GET", get, fail(nil), 405, "unsupported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Events(tt.h, EventOptions{MaxBytes: 100, Log: quiet()}).ServeHTTP(w, tt.r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status == 202 {
				if w.Body.Len() > 0 {
					t.Errorf("a 2xx must have no body, got %q", w.Body)
				}
				return
			}
			var body brokerError
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if body.Error.Kind != tt.kind || body.Error.Message == "" {
				t.Errorf("got %+v, want kind %q", body.Error, tt.kind)
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestEventsBoundsWhatIsUnderWay(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := Events(func(context.Context, cloudevents.Event) error {
		entered <- struct{}{}
		<-leave
		return nil
	}, EventOptions{MaxInFlight: 1, Log: quiet()})
	send := func() int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"specversion":"1.0","id":"1","type":"t","source":"s"}`))
		r.Header.Set("Content-Type", "application/cloudevents+json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	first := make(chan int)
	go func() { first <- send() }()
	<-entered
	if got := send(); got != 503 {
		t.Errorf("second delivery: %d, want 503", got)
	}
	close(leave)
	if got := <-first; got != 202 {
		t.Errorf("first delivery: %d, want 202", got)
	}
}

func BenchmarkEvents(b *testing.B) {
	h := Events(func(context.Context, cloudevents.Event) error { return nil }, EventOptions{Log: quiet()})
	body := bytes.Repeat([]byte("x"), 30<<10)
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": "t", "Ce-Source": "s", "Content-Type": "a/b"} {
		r.Header.Set(k, v)
	}
	r.ContentLength = int64(len(body))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		r.Body = io.NopCloser(bytes.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 202 {
			b.Fatal(w.Code)
		}
	}
}

// A path's own deadline is the one that its handler sees.
func TestDeadlinesByPath(t *testing.T) {
	left := map[string]time.Duration{}
	handle := func(path string) EventHandler {
		return func(ctx context.Context, _ cloudevents.Event) error {
			at, ok := ctx.Deadline()
			if !ok {
				t.Error("expected a deadline")
			}
			left[path] = time.Until(at)
			return nil
		}
	}
	f := Function{Name: "f", Events: map[string]EventHandler{"/quick": handle("/quick"), "/long": handle("/long")},
		Deadlines: map[string]time.Duration{"/long": 4 * time.Minute}}
	h := f.Subscribers(EventOptions{Log: quiet()})
	for path, want := range map[string]time.Duration{"/quick": f.Deadline("/quick"), "/long": 4 * time.Minute} {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"specversion":"1.0","type":"t","source":"/s","id":"1"}`))
		r.Header.Set("Content-Type", "application/cloudevents+json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted || left[path] > want || left[path] < want-10*time.Second {
			t.Errorf("%s: status %d, %s left of %s", path, w.Code, left[path], want)
		}
	}
}
