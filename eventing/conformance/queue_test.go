package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/util/intstr"
	netheader "knative.dev/networking/pkg/http/header"
	"knative.dev/serving/pkg/networking"
	"knative.dev/serving/pkg/queue"
	"knative.dev/serving/pkg/queue/readiness"
	"knative.dev/serving/pkg/queue/sharedmain"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// playRole names what this test program is to be instead of a test: the two
// containers of a Knative pod.
const (
	playRole       = "CONFORMANCE_ROLE"
	roleQueueProxy = "queue-proxy" // Knative's own
	roleFunction   = "function"    // a small one, on shared/function as all of ours
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(playRole); role {
	case "":
		os.Exit(m.Run())
	case roleQueueProxy:
		if err := sharedmain.Main(); err != nil {
			os.Exit(1)
		}
	case roleFunction:
		function.Main(buildSmall)
	default:
		fmt.Fprintf(os.Stderr, "no role %q\n", role)
		os.Exit(2)
	}
}

// buildSmall makes a function that is ready when it is told so, answers at once
// or when it is let go, and takes events.
func buildSmall(context.Context, *function.Process) ([]function.Function, error) {
	var ready, held atomic.Bool
	held.Store(true)
	var waiting atomic.Int64
	letGo := make(chan struct{})
	return []function.Function{{
		Name: "small",
		Routes: func(mux *http.ServeMux) {
			mux.HandleFunc("POST /ready", func(http.ResponseWriter, *http.Request) { ready.Store(true) })
			mux.HandleFunc("GET /seen", func(w http.ResponseWriter, r *http.Request) {
				function.WriteJSON(w, http.StatusOK, seen{r.RemoteAddr, r.Header.Get("X-Forwarded-For"), r.Host})
			})
			mux.HandleFunc("POST /held", func(w http.ResponseWriter, r *http.Request) {
				waiting.Add(1)
				select {
				case <-letGo:
				case <-r.Context().Done():
				}
				w.WriteHeader(http.StatusNoContent)
			})
			mux.HandleFunc("GET /waiting", func(w http.ResponseWriter, _ *http.Request) { function.WriteJSON(w, http.StatusOK, waiting.Load()) })
			mux.HandleFunc("POST /let-go", func(http.ResponseWriter, *http.Request) {
				if held.CompareAndSwap(true, false) {
					close(letGo)
				}
			})
		},
		Events: map[string]function.EventHandler{"/batches": func(_ context.Context, e cloudevents.Event) error {
			if e.ID() == "bad" {
				return fault.New(fault.Invalid, "cannot take event %q", e.ID())
			}
			return nil
		}},
		Ready: func(context.Context) error {
			if !ready.Load() {
				return fault.New(fault.Transient, "cannot work: not told to")
			}
			return nil
		},
	}}, nil
}

// seen is what a function sees of a request.
type seen struct {
	RemoteAddr, ForwardedFor, Host string
}

// pod is a function behind Knative's queue-proxy, as in a pod.
type pod struct {
	queueProxy, function *process
	outside, inside      string // URLs of the two
	client               *http.Client
}

// startPod starts both with the settings of a Service, but for its program.
func startPod(t *testing.T, service string, concurrency int) *pod {
	t.Helper()
	if testing.Short() {
		t.Skip("drains for half a minute")
	}
	for _, port := range []int{networking.QueueAdminPort, networking.AutoscalingQueueMetricsPort} {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			t.Skipf("Knative's queue-proxy has fixed ports, and one is taken: %v", err)
		}
		_ = l.Close()
	}
	s := services(t)[service]
	user, serving := freePort(t), freePort(t)
	// As Serving's controller fills it in.
	probe := s.Spec.Template.Spec.Containers[0].ReadinessProbe.DeepCopy()
	probe.HTTPGet.Host, probe.HTTPGet.Port, probe.HTTPGet.Scheme = "127.0.0.1", intstr.FromInt32(int32(user)), "HTTP"
	encoded, err := readiness.EncodeSingleProbe(probe)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &pod{
		function: start(t, []string{
			playRole + "=" + roleFunction, "PORT=" + strconv.Itoa(user),
			"FOOTFALL_GRACE=" + plain(s, "FOOTFALL_GRACE"), "FOOTFALL_DRAIN_QUIET=" + plain(s, "FOOTFALL_DRAIN_QUIET"), "FOOTFALL_LOG_FORMAT=json",
		}, self),
		queueProxy: start(t, []string{
			playRole + "=" + roleQueueProxy,
			"CONTAINER_CONCURRENCY=" + strconv.Itoa(concurrency), "REVISION_TIMEOUT_SECONDS=" + strconv.FormatInt(*s.Spec.Template.Spec.TimeoutSeconds, 10),
			"QUEUE_SERVING_PORT=" + strconv.Itoa(serving), "QUEUE_SERVING_TLS_PORT=" + strconv.Itoa(networking.BackendHTTPSPort), "USER_PORT=" + strconv.Itoa(user),
			"SERVING_READINESS_PROBE=" + encoded, "SERVING_LOGGING_CONFIG=", "SERVING_LOGGING_LEVEL=info",
			"SERVING_NAMESPACE=footfall", "SERVING_SERVICE=" + service, "SERVING_CONFIGURATION=" + service, "SERVING_REVISION=" + service + "-00001",
			"SERVING_POD=" + service + "-00001-deployment-0", "SERVING_POD_IP=127.0.0.1", "SYSTEM_NAMESPACE=knative-serving",
		}, self),
		outside: "http://127.0.0.1:" + strconv.Itoa(serving), inside: "http://127.0.0.1:" + strconv.Itoa(user),
		client: client(t),
	}
}

// must sends a request to the function itself.
func (p *pod) must(t *testing.T, method, path string) string {
	t.Helper()
	status, body, err := ask(p.client, method, p.inside+path, "")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s: status %d, error %v", method, path, status, err)
	}
	return body
}

// kubeletProbe are the headers of the probe that the queue-proxy's container gets.
func kubeletProbe() []string {
	return []string{"User-Agent", netheader.KubeProbeUAPrefix + "1.37", netheader.ProbeKey, queue.Name}
}

// A function behind Knative's own queue-proxy: probed, sent requests and events,
// sent more than it may take, and drained as a pod that is deleted.
func TestFunctionBehindTheQueueProxy(t *testing.T) {
	const concurrency = 2
	p := startPod(t, "collect", concurrency)
	probe := kubeletProbe()

	// The queue-proxy is as ready as the function says it is.
	await(t, p.client, p.inside+"/health/liveness", http.StatusOK, p.function)
	await(t, p.client, p.outside+"/", http.StatusServiceUnavailable, p.queueProxy, probe...)
	p.must(t, http.MethodPost, "/ready")
	await(t, p.client, p.outside+"/", http.StatusOK, p.queueProxy, probe...)

	// An event's answer comes through as the Broker wants it.
	event := []string{"Ce-Specversion", "1.0", "Ce-Type", "a", "Ce-Source", "/test", "Ce-Id", "good"}
	if status, body, err := ask(p.client, http.MethodPost, p.outside+"/batches", "", event...); status != http.StatusAccepted || body != "" || err != nil {
		t.Errorf("a good event: status %d, body %q, error %v", status, body, err)
	}
	event[len(event)-1] = "bad"
	if status, body, err := ask(p.client, http.MethodPost, p.outside+"/batches", "", event...); status != http.StatusUnprocessableEntity || !strings.Contains(body, "bad") || err != nil {
		t.Errorf("a bad event: status %d, body %q, error %v", status, body, err)
	}

	// A request comes from the queue-proxy, in the pod itself; who sent it stands
	// at the end of X-Forwarded-For. That is why 127.0.0.1 is a trusted proxy.
	_, body, err := ask(p.client, http.MethodGet, p.outside+"/seen", "", "X-Forwarded-For", "203.0.113.7")
	var got seen
	if err := errors.Join(err, json.Unmarshal([]byte(body), &got)); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if host, _, err := net.SplitHostPort(got.RemoteAddr); err != nil || host != "127.0.0.1" || got.ForwardedFor != "203.0.113.7, 127.0.0.1" || "http://"+got.Host != p.outside {
		t.Errorf("the function sees %+v", got)
	}

	p.overflow(t, concurrency)
	p.drain(t)
}

// overflow sends more than containerConcurrency lets through and the
// queue-proxy lets wait: the rest is told to come again.
func (p *pod) overflow(t *testing.T, concurrency int) {
	t.Helper()
	const sent = 40
	room := concurrency + 10*concurrency // under way, and waiting for a place
	answers := make(chan int, sent)
	for range sent {
		go func() {
			status, _, _ := ask(p.client, http.MethodPost, p.outside+"/held", "") // 0 where it failed
			answers <- status
		}()
	}
	counts := make(map[int]int)
	for range sent - room { // those without room are answered while the others wait
		counts[<-answers]++
	}
	if counts[http.StatusServiceUnavailable] != sent-room {
		t.Errorf("of %d beyond the room for %d: %v", sent-room, room, counts)
	}
	// The queue-proxy turns some away before others, that it let through, have
	// reached the function.
	within := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(p.must(t, http.MethodGet, "/waiting")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); within() < concurrency && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // between two questions
	}
	if n := within(); n != concurrency {
		t.Errorf("%d requests in the function, want %d", n, concurrency)
	}
	p.must(t, http.MethodPost, "/let-go")
	for range room {
		counts[<-answers]++
	}
	if counts[http.StatusNoContent] != room || counts[http.StatusServiceUnavailable] != sent-room {
		t.Errorf("answers to %d requests: %v", sent, counts)
	}
}

// drain deletes the pod as the kubelet does: the queue-proxy gets its SIGTERM,
// the function's preStop hook asks the queue-proxy when it has drained, and only
// then the function gets its own. Clients that have not heard of it yet are
// still answered.
func (p *pod) drain(t *testing.T) {
	t.Helper()
	var answered atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, _, err := ask(p.client, http.MethodGet, p.outside+"/seen", "")
				if status != http.StatusOK || err != nil {
					t.Errorf("while draining: status %d, error %v", status, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	began := time.Now()
	p.queueProxy.terminate(t)
	hook := make(chan error, 1)
	go func() {
		status, _, err := ask(p.client, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", networking.QueueAdminPort, queue.RequestQueueDrainPath), "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		hook <- err
	}()
	// The ingress sees that the pod is not ready any more, and turns away.
	await(t, p.client, p.outside+"/", http.StatusServiceUnavailable, p.queueProxy, kubeletProbe()...)
	before := answered.Load()
	for answered.Load() < before+100 {
		time.Sleep(10 * time.Millisecond)
		if time.Since(began) > queueProxyQuiet {
			t.Fatal("no requests are answered while the pod drains")
		}
	}
	close(stop)
	clients.Wait()

	if err := <-hook; err != nil {
		t.Errorf("the preStop hook: %v", err)
	}
	quiet := time.Since(began)
	p.function.terminate(t)
	if err := p.function.end(25 * time.Second); err != nil {
		t.Errorf("the function: %v", err)
	}
	if err := p.queueProxy.end(time.Minute); err != nil {
		t.Errorf("the queue-proxy: %v", err)
	}
	total := time.Since(began)
	t.Logf("%d requests answered while draining; quiet after %.0f s, all ended after %.0f s", answered.Load(), quiet.Seconds(), total.Seconds())
	if total > queueProxyQuiet+25*time.Second {
		t.Errorf("the pod takes %s to end: longer than a grace period of a minute gives it", total)
	}
	if quiet < queueProxyQuiet {
		t.Errorf("the queue-proxy waits %s now, less than the %s that services count with", quiet, queueProxyQuiet)
	}
}
