package cluster_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/cluster"
	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/local/scenario"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/function"
)

// Variable has to be set for the tests of this package, which start real
// servers and take minutes.
const Variable = "FOOTFALL_TEST_CLUSTER"

var (
	outageTime = flag.Duration("outage", 15*time.Second, "how long a part of the cluster is away")
	loadRate   = flag.Float64("rate", 8, "requests a second under which that happens")
	loadEvents = flag.Int("events", 25, "events of each of these requests")
	post       = flag.Bool("post", false, "functions publish by POST to the Brokers' URLs, not to Kafka")
	knative    = flag.String("knative", "", "a Knative delivers, in place of our dispatcher: URL of its Brokers, without their names (http://…/footfall)")
	apply      = flag.String("apply", "", "of -knative: a shell command that gives it the wiring, whose file is $WIRING, and waits until it delivers by that")
	ticks      = flag.Bool("ticks", false, "of -knative: fire the PingSources from here, for receiver and dispatcher alone")
	kill       = flag.String("kill", "", "of -knative: a shell command that ends the dispatcher with SIGKILL while something starts it again, as a StatefulSet does")
	keep       = flag.String("keep", "", "folder for the cluster's data and logs, which is kept; default: a temporary one")
)

// running is the cluster that all tests share: starting one takes longer than
// most of them.
var running *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(Variable) == "" {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	code, err := withCluster(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withCluster(m *testing.M) (code int, err error) {
	ctx := context.Background()
	checkout, err := services.Checkout()
	if err != nil {
		return 1, err
	}
	cache, err := services.CacheDir()
	if err != nil {
		return 1, err
	}
	software, err := services.Fetch(ctx, cache, os.Stderr, services.KindKafka, services.KindHDFS, services.KindRedis, services.KindMongoDB)
	if err != nil {
		return 1, err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "footfall-cluster-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
	}
	began := time.Now()
	binaries := filepath.Join(dir, "bin")
	if err := cluster.Build(ctx, checkout, binaries); err != nil {
		return 1, err
	}
	built := time.Now()
	log, err := os.Create(filepath.Join(dir, "cluster.log"))
	if err != nil {
		return 1, err
	}
	defer log.Close()
	running, err = cluster.Start(ctx, cluster.Options{
		Software: software, Binaries: binaries, Data: dir, Environ: quick,
		Knative: cluster.NewKnative(*knative, *apply, *ticks), Post: *post, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	fmt.Fprintf(os.Stderr, "built in %.1f s, started in %.1f s\n", built.Sub(began).Seconds(), time.Since(built).Seconds())
	code = m.Run()
	if code != 0 {
		complaints(os.Stderr, dir)
	}
	return code, nil
}

// quick are the settings that let a test wait seconds where the defaults,
// which are for quiet nights, let hours pass. What is promised stays the same.
func quick(name string) []string {
	settings := map[string][]string{
		// Catching up takes about as long as an outage did.
		"ingest": {
			"JOURNAL_REPUBLISH_AFTER=3s", fmt.Sprint("JOURNAL_STALE_AFTER=", max(40*time.Second, 2**outageTime)),
			fmt.Sprint("JOURNAL_UNARCHIVED_AFTER=", max(90*time.Second, 2**outageTime)),
		},
		"archive":   {"ARCHIVE_FILE_AGE=8s", "ARCHIVE_FILE_IDLE=2s"},
		"reprocess": {"REPROCESS_CUT_MARGIN=2s", "REPROCESS_PUBLISH_DELAY=3s", "REPROCESS_REPUBLISH=5s", "REPROCESS_ERASE_KEEP=5s", "REPROCESS_ERASE_SETTLE=10s"},
	}[name]
	env := make([]string, len(settings))
	for i, s := range settings {
		env[i] = function.Prefix + s
	}
	return env
}

// complaints prints the last warnings of each process.
func complaints(w *os.File, dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log")) // the pattern is good
	for _, path := range append(logs, filepath.Join(dir, "cluster.log")) {
		said, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var lines [][]byte
		for line := range bytes.Lines(said) {
			if !bytes.Contains(line, []byte("level=INFO")) {
				lines = append(lines, line)
			}
		}
		fmt.Fprintf(w, "--- %s: the last of %d complaints\n%s", filepath.Base(path), len(lines), bytes.Join(lines[max(0, len(lines)-15):], nil))
	}
}

// system is the running cluster as the tools of loadtest know one.
func system(t *testing.T) *loadtest.Process {
	t.Helper()
	if running == nil {
		t.Skip("this test starts a cluster of real servers: set " + Variable + "=1, as make test-cluster does")
	}
	return &loadtest.Process{URL: running.URL(), AdminToken: running.AdminToken(), Pause: 200 * time.Millisecond}
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

func waitCounted(t *testing.T, p *loadtest.Process, m loadtest.Merchant, want loadtest.Counts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.WaitTotals(ctx, m, want, day, day.AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
}

// Every story comes true in the cluster, too, as `make scenarios TARGET=…`
// plays them against any running system.
func TestStories(t *testing.T) {
	p := system(t)
	files, err := filepath.Glob("../local/scenario/testdata/*.scenario")
	if err != nil || len(files) < 15 {
		t.Fatalf("expected at least fifteen stories, got %d (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			t.Parallel()
			story, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer story.Close()
			steps, err := scenario.Parse(story)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			err = scenario.Run(t.Context(), scenario.System{URL: p.URL, AdminToken: p.AdminToken, Patience: 60 * time.Second}, steps)
			if errors.Is(err, scenario.ErrNeedsClock) || errors.Is(err, scenario.ErrNeedsPlaces) {
				t.Skip("the story moves the clock, and a cluster's cannot be moved")
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		})
	}
}

// Each mode of CloudEvents over HTTP, as the official SDK's client sends it;
// what is sent twice, in whatever mode, counts once.
func TestCloudEventsModes(t *testing.T) {
	p := system(t)
	m := merchant(t, p)
	truth, err := loadtest.SendEachMode(t.Context(), p.URL, m.Streams[0].MeasurementID, noon)
	if err != nil {
		t.Fatal(err)
	}
	waitCounted(t, p, m, truth)
}

// An access log is read into the cluster by the tool that reads it into a
// runner, and a second time without effect.
func TestImport(t *testing.T) {
	p := system(t)
	m := merchant(t, p)
	const lines = 1000
	path := filepath.Join(t.TempDir(), "access.log.gz")
	var log bytes.Buffer
	zip := gzip.NewWriter(&log)
	for i := range lines {
		at := day.Add(time.Duration(i) * 80 * time.Second)
		fmt.Fprintf(zip, "192.0.2.%d - - [%s] \"GET /page/%d HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0\"\n",
			i%200, at.Format("02/Jan/2006:15:04:05 -0700"), i%17)
	}
	if err := errors.Join(zip.Close(), os.WriteFile(path, log.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	for n := range uint32(2) {
		cmd := exec.CommandContext(t.Context(), running.Program("footfall"), "import", "-url", p.URL, "-stream", m.Streams[0].MeasurementID,
			"-secret", m.Streams[0].APISecret, "-base", "https://shop.example", "-state", t.TempDir(), "-quiet", path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		waitCounted(t, p, m, loadtest.Counts{Accepted: (n + 1) * lines, Counted: lines, Events: lines, Views: lines})
	}
}

// The demo finds the cluster by its data folder, as it finds a runner.
func TestDemo(t *testing.T) {
	system(t)
	cmd := exec.CommandContext(t.Context(), running.Program("footfall"), "demo", "-days", "2")
	cmd.Env = append(os.Environ(), function.Prefix+"DATA="+running.Data())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("0 events pending")) {
		t.Fatalf("%v: %s", err, out)
	}
}
