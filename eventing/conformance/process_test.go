package conformance

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing"
)

// process is a program that a test started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended, after ended

	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps what the process prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs a program with an environment and nothing else in it, until the
// test ends.
func start(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // no matter if it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(program), p.printed())
		}
	})
	return p
}

// end waits for the end of a process and reports how it was.
func (p *process) end(within time.Duration) error {
	select {
	case <-p.ended:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("still running after %s", within)
	}
}

// terminate is what the kubelet sends.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// client opens a connection for each request, so that none outlives its server.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

// ask sends a request and returns the status and the body.
func ask(c *http.Client, method, url, body string, header ...string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// await asks until the answer has a status, or a process has ended.
func await(t *testing.T, c *http.Client, url string, want int, p *process, header ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		status, body, err := ask(c, http.MethodGet, url, "", header...)
		if err == nil && status == want {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("%s: the process ended: %v", url, p.err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: status %d, want %d; body %q, error %v", url, status, want, body, err)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

// freePort is one that nobody listens on at this moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// programs builds functions' programs as ko does, each once.
type programs struct {
	dir   string
	built map[string]string
}

// of returns the program of a Service, from its ko:// image.
func (b *programs) of(t *testing.T, image string) string {
	t.Helper()
	pkg, ok := strings.CutPrefix(image, "ko://github.com/footfall/footfall/")
	if !ok {
		t.Fatalf("image %q is not of this repository", image)
	}
	if path := b.built[pkg]; path != "" {
		return path
	}
	path := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-"))
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "./"+pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %q: %v\n%s", pkg, err, out)
	}
	b.built[pkg] = path
	return path
}

var (
	placeholder = regexp.MustCompile(`@[A-Z_]+@`)
	storeHost   = regexp.MustCompile(`[a-z][a-z0-9.-]*:[0-9]+`)
	ourVariable = regexp.MustCompile(`FOOTFALL_[A-Z0-9_]+`)
)

// environment resolves what a Service of an overlay tells its process. The
// stores' addresses become ones of this machine at which nobody listens, so
// that no test asks a name server.
func environment(t *testing.T, list []rendered, o rendered) map[string]string {
	t.Helper()
	values := make(map[string]string)
	for _, o := range of(list, "v1", "ConfigMap") {
		data, _ := o.Content["data"].(map[string]any)
		for key, value := range data {
			values["config/"+o.Name+"/"+key] = value.(string)
		}
	}
	for _, o := range of(readObjects(t, "infra/kind/secrets.yaml.tmpl"), "v1", "Secret") {
		for key, value := range o.Content["stringData"].(map[string]any) {
			values["secret/"+o.Name+"/"+key] = placeholder.ReplaceAllString(value.(string), "0a1b2c")
		}
	}
	env := make(map[string]string)
	for _, e := range service(t, o).Spec.Template.Spec.Containers[0].Env {
		value, ok := e.Value, true
		if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
			value, ok = values["config/"+e.ValueFrom.ConfigMapKeyRef.Name+"/"+e.ValueFrom.ConfigMapKeyRef.Key]
		} else if e.ValueFrom != nil {
			value, ok = values["secret/"+e.ValueFrom.SecretKeyRef.Name+"/"+e.ValueFrom.SecretKeyRef.Key]
		}
		if ok { // else it is optional: another test resolves the references
			env[e.Name] = storeHost.ReplaceAllString(value, "127.0.0.1:1")
		}
	}
	return env
}

func list(env map[string]string) []string {
	var out []string
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// Each Service's program is built as ko builds it, takes exactly the environment
// that its service.yaml gives it, starts without any store, serves the paths that
// Triggers name and no others, and ends in time.
func TestFunctionsRunAsTheirServicesSay(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts every function")
	}
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	build := &programs{dir: t.TempDir(), built: make(map[string]string)}
	objects := render(t, "infra/kind")
	everywhere := make(map[string]string)     // name → a value, of all Services
	named := make(map[string]map[string]bool) // Service → names, optional ones too
	for _, o := range of(objects, "serving.knative.dev/v1", "Service") {
		named[o.Name] = make(map[string]bool)
		for _, e := range service(t, o).Spec.Template.Spec.Containers[0].Env {
			if ourVariable.MatchString(e.Name) {
				named[o.Name][e.Name] = true
				everywhere[e.Name] = e.Value
			}
		}
	}
	for _, o := range of(objects, "serving.knative.dev/v1", "Service") {
		t.Run(o.Name, func(t *testing.T) {
			s := service(t, o)
			program := build.of(t, s.Spec.Template.Spec.Containers[0].Image)
			static(t, program)

			// A variable that a program does not read stops it, and it says
			// which: so one that nobody knows tells all that it does not read.
			strange := maps.Clone(everywhere)
			strange["FOOTFALL_NOBODY_READS_THIS"] = "1"
			p := start(t, list(strange), program)
			var exit *exec.ExitError
			if err := p.end(time.Minute); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("with an unknown variable it ended with %v, want exit status 1", err)
			}
			unread := make(map[string]bool)
			for _, line := range strings.Split(p.printed(), "\n") {
				if strings.Contains(line, "no such variable") {
					unread[ourVariable.FindString(line)] = true
				}
			}
			for name := range strange {
				switch {
				case unread[name] && named[o.Name][name]:
					t.Errorf("is told %s and does not read it", name)
				case !unread[name] && !named[o.Name][name] && name != "FOOTFALL_PUBLIC" && !strings.HasSuffix(name, "_PARTITIONS"):
					t.Errorf("reads %s, and is not told it", name)
				}
			}
			if !unread["FOOTFALL_NOBODY_READS_THIS"] {
				t.Errorf("a misspelt variable goes unnoticed")
			}

			env := environment(t, objects, o)
			port := freePort(t)
			env["PORT"] = strconv.Itoa(port)
			env["K_SERVICE"], env["K_CONFIGURATION"], env["K_REVISION"] = o.Name, o.Name, o.Name+"-00001"
			p = start(t, list(env), program)
			c, url := client(t), fmt.Sprintf("http://127.0.0.1:%d", port)
			await(t, c, url+"/health/liveness", http.StatusOK, p)

			public := env["FOOTFALL_PUBLIC"] == "true"
			status, _, err := ask(c, http.MethodGet, url+"/metrics", "")
			if want := map[bool]int{true: http.StatusNotFound, false: http.StatusOK}[public]; status != want {
				t.Errorf("/metrics: status %d, want %d; error %v", status, want, err)
			}
			served := make(map[string]bool)
			for _, trigger := range w.Triggers {
				served[trigger.Subscriber.Path] = served[trigger.Subscriber.Path] || trigger.Subscriber.Name == o.Name
			}
			for path, ours := range served {
				status, body, err := ask(c, http.MethodPost, url+path, "no event")
				// 400 says: that is no CloudEvent.
				if want := map[bool]int{true: http.StatusBadRequest, false: http.StatusNotFound}[ours]; status != want {
					t.Errorf("POST %s: status %d, want %d; body %q, error %v", path, status, want, body, err)
				}
			}

			grace, err := time.ParseDuration(env["FOOTFALL_GRACE"])
			if err != nil {
				t.Fatal(err)
			}
			p.terminate(t)
			err = p.end(grace + 5*time.Second)
			// Here no store is there to be told what it has to be told at the end.
			if errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(p.printed(), "cannot close function") {
				err = nil
			}
			if err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		})
	}
}

// static checks that a program runs on an image without a C library.
func static(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Logf("not looked at: %v", err) // another system's programs
		return
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s needs a dynamic linker", program)
	}
}
