// Package e2e tests the binary as its users meet it: a process that is
// started, talked to over HTTP, stopped, killed, and started again.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
)

// binary is Footfall as `make build` makes it, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "footfall-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "footfall")
	build := exec.Command("go", "build", "-o", binary, "../cmd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the binary:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// start starts Footfall with its data in dir and stops it with the test.
func start(t *testing.T, dir string, environ ...string) *loadtest.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := loadtest.Start(ctx, binary, dir, environ...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("brokers: %s", brokers(p))
		}
		_ = p.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "footfall.log"))
			t.Logf("footfall said:\n%s", log)
		}
	})
	return p
}

// brokers is what the local broker says of its Triggers.
func brokers(p *loadtest.Process) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var said json.RawMessage
	if err := p.Do(ctx, http.MethodGet, "/brokers", p.AdminToken, "", nil, http.StatusOK, &said); err != nil {
		return []byte(err.Error())
	}
	return said
}

func merchant(t *testing.T, p *loadtest.Process) loadtest.Merchant {
	t.Helper()
	m, err := p.CreateMerchant(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The instants of these tests' events: hours that are long closed.
var (
	day  = time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	noon = day.Add(12 * time.Hour)
)

func waitCounted(t *testing.T, p *loadtest.Process, m loadtest.Merchant, truth loadtest.Truth) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.WaitCounted(ctx, []loadtest.Merchant{m}, []loadtest.Truth{truth}, day, day.AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckReports(ctx, []loadtest.Merchant{m}, []loadtest.Truth{truth}, day, day); err != nil {
		t.Fatal(err)
	}
}

// A new user starts the binary and pastes what it prints.
func TestFirstMinute(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine: the printed lines are curl lines")
	}
	dir := t.TempDir()
	start(t, dir)
	said, err := os.ReadFile(filepath.Join(dir, "footfall.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\s*curl .*$`).FindAllString(string(said), -1)
	if len(lines) != 2 {
		t.Fatalf("expected a curl line for an event and one for a report, got %q in:\n%s", lines, said)
	}
	sh := func(line string) string {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v: %s", line, err, out)
		}
		return string(out)
	}
	if out := sh(lines[0]); !strings.Contains(out, `"accepted":1`) {
		t.Fatalf("%s\nanswered %s", lines[0], out)
	}
	seen := regexp.MustCompile(`(?m)^/\S*\s+1\s+1\s+1\s*$`)
	deadline := time.Now().Add(10 * time.Second)
	for out := sh(lines[1]); !seen.MatchString(out); out = sh(lines[1]) {
		if time.Now().After(deadline) {
			t.Fatalf("%s\nnever showed the event:\n%s", lines[1], out)
		}
	}
}

// Each mode of CloudEvents over HTTP, as the official SDK's client sends it.
func TestCloudEventsModes(t *testing.T) {
	p := start(t, t.TempDir())
	m := merchant(t, p)
	truth, err := loadtest.SendEachMode(t.Context(), p.URL, m.Streams[0].MeasurementID, noon)
	if err != nil {
		t.Fatal(err)
	}
	waitCounted(t, p, m, truth)
}

// What was stored is there after a stop and a start, open files and all.
func TestRestartFindsItsData(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	m := merchant(t, p)
	truth := make([]loadtest.Truth, 1)
	traffic := loadtest.NewTraffic(loadtest.TrafficOptions{Seed: 7, Streams: []string{m.Streams[0].MeasurementID}, From: day, Span: 24 * time.Hour, Duplicates: 0.05})
	send := func() {
		t.Helper()
		if err := loadtest.NewSender(p.URL, 1).Post(t.Context(), loadtest.ContentTypeBatch, traffic.AppendBatch(nil, 200, truth)); err != nil {
			t.Fatal(err)
		}
	}
	send()
	waitCounted(t, p, m, truth[0])
	before, err := os.ReadFile(filepath.Join(dir, "first-merchant.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("expected a clean stop, got %v", err)
	}
	p = start(t, dir)
	waitCounted(t, p, m, truth[0])
	send()
	waitCounted(t, p, m, truth[0])
	after, err := os.ReadFile(filepath.Join(dir, "first-merchant.json"))
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the first merchant changed over a restart: %s, %s, %v", before, after, err)
	}
}

// Killed five times under load: what was accepted is counted, to the unit.
func TestKilledUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	var merchants []loadtest.Merchant
	var streams []string
	for i := range 3 {
		m, err := p.CreateMerchant(t.Context(), fmt.Sprintf("%s %d", t.Name(), i))
		if err != nil {
			t.Fatal(err)
		}
		merchants, streams = append(merchants, m), append(streams, m.Streams[0].MeasurementID)
	}
	truth := make([]loadtest.Truth, len(merchants))
	traffic := loadtest.NewTraffic(loadtest.TrafficOptions{Seed: 8, Streams: streams, From: day, Span: 24 * time.Hour, Duplicates: 0.03})
	for cycle := range 5 {
		// Senders try again with the same ids until their events are accepted,
		// so after the last cycle every event has been.
		bodies := make(chan []byte, 400)
		for range cap(bodies) {
			bodies <- traffic.AppendBatch(nil, 10, truth)
		}
		close(bodies)
		done := make(chan error, 1)
		url := p.URL
		addr := strings.TrimPrefix(url, "http://")
		go func() {
			done <- loadtest.NewSender(url, 16).PostAll(t.Context(), loadtest.ContentTypeBatch, bodies)
		}()
		// Ticks come all the while, so that hours close, and their documents
		// are merged, while more events of them arrive.
		ticking, stopTicks := context.WithCancel(t.Context())
		ticked := make(chan struct{})
		go func(p *loadtest.Process) {
			defer close(ticked)
			for ticking.Err() == nil {
				_ = p.Tick(ticking) // it fails when the process is killed
			}
		}(p)
		// Kill in the thick of it: when a part of this cycle's bodies has gone.
		for len(bodies) > 300-40*cycle {
			select {
			case err := <-done:
				t.Fatalf("the load ended before the kill: %v", err)
			default:
			}
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		stopTicks()
		<-ticked
		p = start(t, dir, "FOOTFALL_ADDR="+addr)
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("the senders did not get their events accepted")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check := func() {
		t.Helper()
		for i, m := range merchants {
			// Events of unanswered requests may have been accepted and were sent
			// again, so more may have been accepted than sent, and none less.
			if err := p.WaitCounted(ctx, merchants[i:i+1], truth[i:i+1], day, day.AddDate(0, 0, 1)); err != nil {
				t.Fatal(err)
			}
			l, err := p.Ledger(ctx, m, day, day.AddDate(0, 0, 1))
			if err != nil {
				t.Fatal(err)
			}
			if l.Totals.Accepted != l.Totals.Counted+l.Totals.Duplicate || l.Totals.Accepted < truth[i].Sent {
				t.Fatalf("the ledger does not add up: %+v, sent %+v", l, truth[i])
			}
		}
		if err := p.CheckReports(ctx, merchants, truth, day, day); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if err := p.Tick(ctx); err != nil {
		t.Fatal(err)
	}
	check()
}

// A wrong request is told what is wrong and stores nothing.
func TestClearErrors(t *testing.T) {
	p := start(t, t.TempDir())
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		says              string
	}{
		"no JSON":          {"application/cloudevents+json", "{", 400, "JSON"},
		"no stream":        {"application/cloudevents+json", `{"specversion":"1.0","type":"footfall.event.v1","source":"/x","id":"1","data":{"name":"a"}}`, 422, "measurementid"},
		"other media":      {"image/png", "x", 415, "application/cloudevents"},
		"a bad time":       {"application/cloudevents+json", `{"specversion":"1.0","type":"footfall.event.v1","source":"/x","id":"1","measurementid":"G-AAAAAAAAAA","time":"noon","data":{"name":"a"}}`, 422, "time"},
		"a foreign type":   {"application/cloudevents+json", `{"specversion":"1.0","type":"com.example.x","source":"/x","id":"1","measurementid":"G-AAAAAAAAAA","data":{"name":"a"}}`, 422, "type"},
		"too large a body": {"application/cloudevents-batch+json", "[" + strings.Repeat(" ", 8<<20) + "]", 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Post(p.URL+"/events", c.contentType, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var answer json.RawMessage
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Fatalf("expected JSON: %v", err)
			}
			if resp.StatusCode != c.status || !strings.Contains(string(answer), c.says) {
				t.Fatalf("expected %d and %q, got %d %s", c.status, c.says, resp.StatusCode, answer)
			}
		})
	}
}
