package local_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/local"
)

// A dispatcher of its own, on a Kafka outside, delivers over HTTP to the
// functions that the Triggers name.
func TestDispatch(t *testing.T) {
	server, err := broker.StartKafka(broker.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	heard := make(chan string, 16)
	fn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.URL.Path + " " + r.Header.Get("Ce-Tick")
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(fn.Close)
	var services []string
	for _, name := range []string{"archive", "etl", "ingest", "reprocess", "summary"} {
		services = append(services, name+"="+fn.URL+"/"+name)
	}
	said, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- local.Dispatch(ctx, []string{
			"FOOTFALL_ADDR=127.0.0.1:0", "FOOTFALL_KAFKA_BROKERS=" + server.Brokers()[0], "FOOTFALL_CRON=false",
			"FOOTFALL_ADMIN_TOKEN=secret", "FOOTFALL_SERVICES=" + strings.Join(services, ","),
		}, said)
	}()
	url := "http://" + address(t, said.Name())
	// Not before its Triggers have their first offsets is it ready.
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get(url + "/health/readiness")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("it never became ready")
		}
	}
	body := `{"specversion":"1.0","type":"dev.knative.sources.ping","source":"/test","tick":"archive","id":"1"}`
	resp, err := http.Post(url+"/brokers/control", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("expected 202, got %d", resp.StatusCode)
	}
	select {
	case got := <-heard:
		if got != "/archive/ticks archive" {
			t.Fatalf("expected the archive's tick, got %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was delivered")
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// address waits for the line in which a process says where it listens.
func address(t *testing.T, log string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		said, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if _, after, ok := bytes.Cut(said, []byte("addr=")); ok {
			if addr, _, ok := bytes.Cut(after, []byte("\n")); ok {
				return string(addr)
			}
		}
	}
	t.Fatal("it never said where it listens")
	return ""
}

// What is missing or superfluous stops the start, all of it told at once.
func TestDispatchConfiguration(t *testing.T) {
	err := local.Dispatch(t.Context(), []string{"FOOTFALL_SERVICES=etl=http://127.0.0.1:1,report=http://127.0.0.1:2"}, io.Discard)
	if err == nil {
		t.Fatal("expected an error")
	}
	for _, want := range []string{"KAFKA_BROKERS", "archive=URL", "ingest=URL", "summary=URL", `"report"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("expected %s in:\n%v", want, err)
		}
	}
}

// Events for Brokers elsewhere go through as they came, from whom the Broker of
// a runner hears, and without the operator's token.
func TestForwardBrokers(t *testing.T) {
	var heard *http.Request
	var body []byte
	knative := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer knative.Close()
	ingress, err := url.Parse(knative.URL + "/footfall/")
	if err != nil {
		t.Fatal(err)
	}
	h := local.ForwardBrokers(ingress, "secret")
	for _, c := range []struct {
		method, path, peer, token string
		want                      int
	}{
		{"POST", "/brokers/control", "127.0.0.1:1", "", http.StatusAccepted},
		{"POST", "/brokers/control", "198.51.100.7:1", "", http.StatusUnauthorized},
		{"POST", "/brokers/control", "198.51.100.7:1", "secret", http.StatusAccepted},
		{"GET", "/brokers/control", "127.0.0.1:1", "", http.StatusMethodNotAllowed},
		{"POST", "/brokers/control/more", "127.0.0.1:1", "", http.StatusNotFound},
	} {
		heard = nil
		r := httptest.NewRequest(c.method, c.path, strings.NewReader("{}"))
		r.RemoteAddr = c.peer
		r.Header.Set("Ce-Id", "1")
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (heard != nil) != (c.want == http.StatusAccepted) {
			t.Errorf("%+v: got %d, handed on: %v", c, w.Code, heard != nil)
			continue
		}
		if heard != nil && (heard.URL.Path != "/footfall/control" || "http://"+heard.Host != knative.URL || heard.Header.Get("Ce-Id") != "1" || heard.Header.Get("Authorization") != "" || string(body) != "{}") {
			t.Errorf("%+v: handed on %s %s %v %q", c, heard.Host, heard.URL, heard.Header, body)
		}
	}
	knative.Close()
	r := httptest.NewRequest("POST", "/brokers/control", nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusServiceUnavailable {
		t.Errorf("expected 503 while the Brokers are away, got %d", w.Code)
	}
}
