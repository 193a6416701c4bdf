package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running Footfall that a test or benchmark has started.
type Process struct {
	URL        string
	AdminToken string
	Data       string
	// Pause is how long the Wait methods wait between two looks; default 20 ms.
	Pause time.Duration
	// Patience is how long comparisons wait for events that are neither counted
	// nor pending, which a journal that was away learns of a little later, and for
	// reports that say that they are older than the question; default 30 s.
	Patience time.Duration
	// PIDs are the processes of a system that is more than one.
	PIDs func() []int

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	how   error         // how it ended, as Wait says it
}

// Start starts the binary on a free port with its data in dir and waits until
// it is ready. Its output goes to <dir>/footfall.log.
func Start(ctx context.Context, binary, dir string, environ ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "footfall.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	defer log.Close() // the child has its own descriptor
	p := &Process{Data: dir, AdminToken: "loadtest-admin-token", cmd: exec.Command(binary, "run")}
	address := filepath.Join(dir, "address")
	if err := os.Remove(address); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	p.cmd.Env = append(os.Environ(), append([]string{
		"FOOTFALL_ADDR=127.0.0.1:0", "FOOTFALL_DATA=" + dir, "FOOTFALL_ADMIN_TOKEN=" + p.AdminToken,
	}, environ...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithUs()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", binary, err)
	}
	p.ended = make(chan struct{})
	go func() {
		p.how = p.cmd.Wait()
		close(p.ended)
	}()
	for pause := time.NewTicker(2 * time.Millisecond); ; {
		if where, err := os.ReadFile(address); err == nil && len(where) > 0 {
			p.URL = "http://" + strings.TrimSpace(string(where))
			if resp, err := http.Get(p.URL + "/health/readiness"); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					pause.Stop()
					return p, nil
				}
			}
		}
		select {
		case <-p.ended:
			pause.Stop()
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("footfall ended before it was ready: %w\n%s", p.how, said)
		case <-ctx.Done():
			pause.Stop()
			_ = p.Kill()
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("footfall did not become ready: %w\n%s", ctx.Err(), said)
		case <-pause.C:
		}
	}
}

// Stop asks the process to end, as Ctrl-C does, and waits.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.ended
	return p.how
}

// Kill ends the process with SIGKILL, as a crash does. One that is gone already
// is no error.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// Ended is closed when the process is gone, by itself or not.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// StandStill stops the process from running for a while, as a machine does that
// stands still.
func (p *Process) StandStill(d time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(d)
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

// CPU is the user and system time that the process has used; of several, all
// of them together.
func (p *Process) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids() {
		d, err := CPUOf(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// Memory is the resident memory of the process, or of all, in bytes.
func (p *Process) Memory() (int64, error) {
	var sum int64
	for _, pid := range p.pids() {
		n, err := MemoryOf(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (p *Process) pids() []int {
	if p.PIDs != nil {
		return p.PIDs()
	}
	return []int{p.cmd.Process.Pid}
}

// CPUOf is the user and system time that a process has used.
func CPUOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// After the command in parentheses, utime and stime are fields 14 and 15
	// of proc(5), in clock ticks of which Linux shows 100 a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// MemoryOf is the resident memory of a process, in bytes.
func MemoryOf(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Merchant is what the creation of a merchant answered.
type Merchant struct {
	MerchantID  string   `json:"merchant_id"`
	Streams     []Stream `json:"streams"`
	ReportToken string   `json:"report_token"`
}

// Stream is one of the merchant's streams.
type Stream struct {
	MeasurementID string `json:"measurement_id"`
	APISecret     string `json:"api_secret"`
}

// CreateMerchant makes a merchant in UTC and EUR.
func (p *Process) CreateMerchant(ctx context.Context, name string) (Merchant, error) {
	var m Merchant
	body, err := json.Marshal(map[string]any{"name": name, "time_zone": "UTC", "currency": "EUR"})
	if err != nil {
		return m, err
	}
	err = p.Do(ctx, "POST", "/v1/merchants", p.AdminToken, "application/json", body, http.StatusCreated, &m)
	return m, err
}

// Tick fires the ticks as the PingSources do every minute, but for late events,
// which need not wait.
func (p *Process) Tick(ctx context.Context) error {
	for _, tick := range []string{"journal", "archive", "summary", "reprocess"} {
		body := fmt.Appendf(nil, `{"specversion":"1.0","type":"dev.knative.sources.ping","source":"/loadtest","tick":%q,"id":"%s-%d","datacontenttype":"application/json","data":{"late":true}}`,
			tick, tick, time.Now().UnixNano())
		if err := p.Do(ctx, "POST", "/brokers/control", "", "application/cloudevents+json", body, http.StatusAccepted, nil); err != nil {
			return err
		}
	}
	return nil
}

// askers keep the connections of many goroutines open, and wait for no answer for
// good.
var askers = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// ErrRefused is of a request that was refused for a time: whoever asks again gets
// an answer.
var ErrRefused = errors.New("refused for a time")

// Get reads what stands at a URL.
func Get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := askers.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d: %.300s", url, resp.StatusCode, answer)
	}
	return answer, nil
}

// Metric is the value of a metric that the process serves, by its name with its
// labels; 0 where it has not come up yet.
func (p *Process) Metric(ctx context.Context, name string) (float64, error) {
	all, err := Get(ctx, p.URL+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(all)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, nil
}

// Do sends a request and reads the JSON answer into into, where not nil.
func (p *Process) Do(ctx context.Context, method, path, token, contentType string, body []byte, want int, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := askers.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want {
		err := fmt.Errorf("%s %s: expected status %d, got %d: %s", method, path, want, resp.StatusCode, bytes.TrimSpace(answer))
		if resp.StatusCode == http.StatusServiceUnavailable {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return err
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: cannot read the answer: %w", method, path, err)
	}
	return nil
}
