package laws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/local/localtest"
)

// system is a Footfall in this process with one merchant.
type system struct {
	t          testing.TB
	runner     *local.Runner
	client     *http.Client
	clock      atomic.Int64 // µs
	merchantID string
	token      string
	streams    []string
	secret     map[string]string // by stream
	first      string            // day before the first event
	pings      int
	batches    map[string]bool
}

// newSystem starts one whose Broker delivers twice, late, out of order, and
// loses answers.
func newSystem(t testing.TB, seed uint64, s settings, now time.Time) *system {
	t.Helper()
	sys := &system{t: t, client: &http.Client{Timeout: time.Minute}, secret: map[string]string{}, batches: map[string]bool{}}
	sys.setClock(now)
	// Reports wait for what has come: a reader of a busy merchant may have the
	// count of a moment ago else, which says that nothing was pending then.
	sys.runner = localtest.Start(t, local.Options{
		Clock: func() time.Time { return time.UnixMicro(sys.clock.Load()).UTC() }, NoCron: true,
		Faults: broker.Faults{Seed: seed, Duplicate: 0.2, LoseAck: 0.1, Delay: 0.2, MaxDelay: 20 * time.Millisecond, Reorder: true},
	}, "FOOTFALL_REPORT_SETTINGS_AGE=0s", "FOOTFALL_REPORT_LIVE_AGE=0s")
	t.Cleanup(sys.client.CloseIdleConnections)
	sys.eventually(func() error {
		_, err := sys.call("GET", "/health/readiness", "", nil, http.StatusOK)
		return err
	})
	var created struct {
		MerchantID string `json:"merchant_id"`
		Streams    []struct {
			MeasurementID string `json:"measurement_id"`
			APISecret     string `json:"api_secret"`
		} `json:"streams"`
		ReportToken string `json:"report_token"`
	}
	body := struct {
		settings
		Name    string `json:"name"`
		Streams []name `json:"streams"`
	}{s, "Shop", []name{{"Web"}, {"App"}, {"Till"}}}
	sys.must("POST", "/v1/merchants", sys.runner.AdminToken(), body, http.StatusCreated, &created)
	sys.merchantID, sys.token = created.MerchantID, created.ReportToken
	for _, one := range created.Streams {
		sys.streams = append(sys.streams, one.MeasurementID)
		sys.secret[one.MeasurementID] = one.APISecret
	}
	return sys
}

func (s *system) setClock(t time.Time) { s.clock.Store(t.UnixMicro()) }

func (s *system) now() time.Time { return time.UnixMicro(s.clock.Load()).UTC() }

// send sends events of one stream in one request, and says how they arrived.
func (s *system) send(events []cloudEvent) []received {
	s.t.Helper()
	body, err := json.Marshal(events)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.runner.URL()+"/events", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Authorization", "Bearer "+s.secret[events[0].Stream])
	answer, status, err := s.do(req)
	if err != nil || status != http.StatusAccepted {
		s.t.Fatalf("cannot send events: %d %s %v", status, answer, err)
	}
	var receipt struct {
		BatchIDs []string          `json:"batch_ids"`
		Accepted int               `json:"accepted"`
		Rejected []json.RawMessage `json:"rejected"`
	}
	if err := json.Unmarshal(answer, &receipt); err != nil {
		s.t.Fatal(err)
	}
	if len(receipt.BatchIDs) != 1 || receipt.Accepted != len(events) || s.batches[receipt.BatchIDs[0]] {
		s.t.Fatalf("expected %d events in a batch of their own, got %s", len(events), answer)
	}
	s.batches[receipt.BatchIDs[0]] = true
	var out []received
	for i := range events {
		raw, err := json.Marshal(events[i])
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, received{raw: raw, at: s.now(), batch: receipt.BatchIDs[0], place: i})
	}
	return out
}

// counted waits until all that was sent is processed.
func (s *system) counted() {
	s.t.Helper()
	s.eventually(func() error {
		if m := s.overview(); m.Pending > 0 {
			return fmt.Errorf("%d events are pending", m.Pending)
		}
		return nil
	})
}

// closed fires the ticks, as the PingSources do, until everything is answered
// from summaries: one that comes while another is at work may find nothing to do.
func (s *system) closed() {
	s.t.Helper()
	s.counted()
	tries := 0
	s.eventually(func() error {
		if tries++; tries%50 == 1 {
			s.tick()
		}
		if m := s.overview(); m.Generated.Hours > 0 {
			return fmt.Errorf("%d hours are open", m.Generated.Hours)
		}
		return nil
	})
}

type metadata struct {
	Pending   int `json:"pending"`
	Generated struct {
		Hours int `json:"hours_from_documents"`
		Days  int `json:"day_records"`
	} `json:"generated_from"`
}

// overview is what a report over everything says of itself.
func (s *system) overview() metadata {
	s.t.Helper()
	var a struct {
		Metadata metadata `json:"metadata"`
	}
	s.must("GET", "/v1/reports/"+s.merchantID+"?metrics=events&from="+s.first+"&to=today", s.token, nil, http.StatusOK, &a)
	return a.Metadata
}

func (s *system) tick() {
	s.t.Helper()
	for _, tick := range []string{"journal", "archive", "summary"} {
		s.pings++
		ping := map[string]any{
			"specversion": "1.0", "type": "dev.knative.sources.ping", "source": "/laws", "tick": tick,
			"id": fmt.Sprintf("%s-%d", tick, s.pings), "datacontenttype": "application/json", "data": map[string]any{"late": tick == "summary"},
		}
		body, err := json.Marshal(ping)
		if err != nil {
			s.t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.runner.URL()+"/brokers/control", bytes.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		if answer, status, err := s.do(req); err != nil || status != http.StatusAccepted {
			s.t.Fatalf("cannot fire a tick: %d %s %v", status, answer, err)
		}
	}
}

// change changes settings, and waits until reports show them.
func (s *system) change(to settings) {
	s.t.Helper()
	s.must("PATCH", "/v1/merchants/"+s.merchantID, s.runner.AdminToken(), to, http.StatusOK, nil)
	s.eventually(func() error {
		var m struct {
			CountingAnew json.RawMessage `json:"counting_anew"`
		}
		s.must("GET", "/v1/merchants/"+s.merchantID, s.runner.AdminToken(), nil, http.StatusOK, &m)
		if m.CountingAnew == nil {
			return nil
		}
		s.tick()
		return fmt.Errorf("the settings are not shown yet: %s", m.CountingAnew)
	})
}

// ask asks runReport.
func (s *system) ask(q query) answer {
	s.t.Helper()
	body, err := s.call("POST", "/v1beta/properties/"+s.merchantID+":runReport", s.token, q, http.StatusOK)
	if err != nil {
		s.t.Fatalf("%s: %v", pretty(q), err)
	}
	return readAnswer(s.t, body)
}

func pretty(q query) string {
	b, err := json.Marshal(q)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s *system) must(method, path, token string, body any, status int, into any) {
	s.t.Helper()
	answer, err := s.call(method, path, token, body, status)
	if err == nil && into != nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) call(method, path, token string, body any, want int) ([]byte, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.runner.URL()+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, status, err := s.do(req)
	if err == nil && status != want {
		err = fmt.Errorf("%s %s: expected status %d, got %d: %s", method, path, want, status, bytes.TrimSpace(answer))
	}
	return answer, err
}

func (s *system) do(req *http.Request) ([]byte, int, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return answer, resp.StatusCode, err
}

// eventually asks until check is content or patience ends.
func (s *system) eventually(check func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatal(err)
		case <-pause.C:
		}
	}
}
