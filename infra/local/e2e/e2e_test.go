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

// waitCounted waits until what a test has made by hand is counted.
func waitCounted(t *testing.T, p *loadtest.Process, m loadtest.Merchant, want loadtest.Counts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.WaitTotals(ctx, m, want, day, day.AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
}

// views are page views that a test has made by hand.
func views(n int64) loadtest.Counts {
	return loadtest.Counts{Accepted: uint32(n), Counted: uint32(n), Events: uint32(n), Views: uint32(n)}
}

// traffic is a mix of some merchants' visits, made as time goes on from noon, and
// what it must come to.
type traffic struct {
	p         *loadtest.Process
	merchants []loadtest.Merchant
	mix       *loadtest.Mix
	truth     *loadtest.Truths
	at        time.Time
	again     bool // requests were sent more than once
}

func newTraffic(t *testing.T, p *loadtest.Process, seed uint64, merchants int) *traffic {
	t.Helper()
	v := &traffic{p: p, truth: loadtest.NewTruths(), at: noon}
	for i := range merchants {
		m, err := p.CreateMerchant(t.Context(), fmt.Sprintf("%s %d", t.Name(), i))
		if err != nil {
			t.Fatal(err)
		}
		v.merchants = append(v.merchants, m)
	}
	o := loadtest.DefaultMix(seed, loadtest.StreamsOf(v.merchants))
	o.Late, o.LateUpTo = 0.2, 12*time.Hour
	v.mix = loadtest.NewMix(o, v.truth)
	return v
}

// requests are the next ones, of n events each.
func (v *traffic) requests(many, n int) chan loadtest.Request {
	queue := make(chan loadtest.Request, many)
	for range many {
		v.at = v.at.Add(10 * time.Second)
		queue <- v.mix.Request(nil, v.at, n)
	}
	close(queue)
	return queue
}

func (v *traffic) send(t *testing.T, many, n int) {
	t.Helper()
	if err := loadtest.NewSender(v.p.URL, 1).PostAll(t.Context(), v.requests(many, n)); err != nil {
		t.Fatal(err)
	}
}

// check compares what was sent with what is counted, hour by hour.
func (v *traffic) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var said strings.Builder
	a, err := v.p.Audit(ctx, v.merchants, v.truth, 0, 0, v.again, &said)
	if err != nil || a.Differences > 0 {
		t.Fatalf("%d differences, %v:\n%s", a.Differences, err, said.String())
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
	visits := newTraffic(t, p, 7, 1)
	visits.send(t, 5, 50)
	visits.check(t)
	before, err := os.ReadFile(filepath.Join(dir, "first-merchant.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("expected a clean stop, got %v", err)
	}
	visits.p = start(t, dir)
	visits.check(t)
	visits.send(t, 5, 50)
	visits.check(t)
	after, err := os.ReadFile(filepath.Join(dir, "first-merchant.json"))
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the first merchant changed over a restart: %s, %s, %v", before, after, err)
	}
}

// Killed five times under load: what was accepted is counted, to the unit.
func TestKilledUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	visits := newTraffic(t, p, 8, 3)
	for cycle := range 5 {
		// Senders try again with the same ids until their events are accepted,
		// so after the last cycle every event has been.
		requests := visits.requests(400, 10)
		done := make(chan error, 1)
		addr := strings.TrimPrefix(p.URL, "http://")
		sender := loadtest.NewSender(p.URL, 16)
		go func() { done <- sender.PostAll(t.Context(), requests) }()
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
		// Kill in the thick of it: when a part of this cycle's requests has gone.
		for len(requests) > 300-40*cycle {
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
		visits.again = visits.again || sender.Outcome().SentAgain()
	}
	visits.p = p
	visits.check(t)
	if err := p.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	visits.check(t)
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
