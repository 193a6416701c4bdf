// Package functiontest runs a function's own process in tests: the test's
// binary starts itself again and is the process then, so that nothing has to
// be built and what is tested is what main does.
package functiontest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/function"
)

// marker makes the test's binary be the process.
const marker = "FUNCTIONTEST_RUN_MAIN=1"

// Main is for a package's TestMain: it runs main where Process has started
// this binary, else the tests.
func Main(m *testing.M, main func()) {
	name, _, _ := strings.Cut(marker, "=")
	if os.Getenv(name) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Process is a function's process.
type Process struct {
	URL string

	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // how
	mu    sync.Mutex
	log   bytes.Buffer
}

// Start starts the process with variables in the form NAME=value, on a free
// port of the loopback interface, and waits until it serves. Of the test's own
// environment it has none of Footfall's variables.
func Start(t testing.TB, environ ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0]), ended: make(chan struct{})}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, function.Prefix) {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, marker, "FOOTFALL_ADDR=127.0.0.1:0", "FOOTFALL_LOG_FORMAT=json")
	p.cmd.Env = append(p.cmd.Env, environ...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		if t.Failed() {
			t.Logf("the process said:\n%s", p.Log())
		}
	})
	serving := make(chan string, 1)
	go func() {
		p.read(stderr, serving)
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case addr := <-serving:
		p.URL = "http://" + addr
	case <-p.ended:
		t.Fatalf("the process ended at once: %v\n%s", p.err, p.Log())
	case <-ctx.Done():
		t.Fatalf("the process does not serve\n%s", p.Log())
	}
	return p
}

// read keeps the process's log and finds the address in it.
func (p *Process) read(stderr io.Reader, serving chan<- string) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.log.Write(append(lines.Bytes(), '\n'))
		p.mu.Unlock()
		var line struct{ Msg, Addr string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			select {
			case serving <- line.Addr:
			default:
			}
		}
	}
}

// Log is what the process has said.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Get asks a path as the kubelet does and returns status and body.
func (p *Process) Get(path string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.URL+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "kube-probe/1.34")
	req.Close = true
	res, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// Await waits until readiness answers with a status.
func (p *Process) Await(status int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		got, body := p.Get(function.ReadinessPath)
		if got == status {
			return
		}
		select {
		case <-pause.C:
		case <-p.ended:
			p.t.Fatalf("the process ended: %v", p.err)
		case <-ctx.Done():
			p.t.Fatalf("readiness is %d, expected %d: %s", got, status, body)
		}
	}
}

// Terminate sends SIGTERM, as the kubelet does.
func (p *Process) Terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the process's end, at most so long, and returns its fault.
func (p *Process) Wait(most time.Duration) error {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return errors.New("the process has not ended within " + fmt.Sprint(most))
	}
}

// Life starts the process, expects it to be alive and its readiness to come to
// a status with says in its body, and ends it as the kubelet does.
func Life(t *testing.T, status int, says string, environ ...string) {
	t.Helper()
	p := Start(t, environ...)
	if got, body := p.Get(function.LivenessPath); got != http.StatusOK {
		t.Errorf("liveness is %d: %s", got, body)
	}
	p.Await(status)
	if got, body := p.Get(function.ReadinessPath); got != status || !strings.Contains(body, says) {
		t.Errorf("readiness is %d: %s, expected %d with %s", got, body, status, says)
	}
	p.Terminate()
	if err := p.Wait(30 * time.Second); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

// Servers are the real servers that the environment names, by the variables
// of a function; it skips the test, saying which variable is missing, unless
// all of those asked for are there.
func Servers(t *testing.T, variables ...string) (environ []string) {
	t.Helper()
	for _, v := range variables {
		named := map[string]string{
			"FOOTFALL_MONGODB_URI":    "FOOTFALL_TEST_MONGODB_URI",
			"FOOTFALL_REDIS_ADDRS":    "FOOTFALL_TEST_REDIS_ADDR",
			"FOOTFALL_HDFS_NAMENODES": "FOOTFALL_TEST_HDFS_NAMENODE",
			"FOOTFALL_KAFKA_BROKERS":  "FOOTFALL_TEST_KAFKA_BROKERS",
		}[v]
		value := os.Getenv(named)
		if value == "" {
			t.Skipf("set %s to run this on a real server", named)
		}
		environ = append(environ, v+"="+value)
		if v == "FOOTFALL_MONGODB_URI" {
			environ = append(environ, fmt.Sprintf("FOOTFALL_MONGODB_DATABASE=footfall-test-%d", time.Now().UnixNano()))
		}
	}
	return environ
}
