// Command coldstart measures how each function's process starts, what it takes
// while it idles and how it ends, and prints one table against the budgets.
//
//	go run ./infra/loadtest/coldstart
//
// It builds the processes as an image holds them. Kafka runs in this process
// unless FOOTFALL_TEST_KAFKA_BROKERS names one; a function that needs another
// server to be ready shows when it serves, and is ready where that server is
// named by FOOTFALL_TEST_MONGODB_URI, …_REDIS_ADDR, …_HDFS_NAMENODE.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/function"
)

func main() {
	runs := flag.Int("runs", 5, "starts of each function; the table has the medians")
	idle := flag.Duration("idle", 2*time.Second, "how long a process idles before its memory is read")
	bin := flag.String("bin", "", "folder of processes that are built already, each by its function's name")
	asJSON := flag.Bool("json", false, "print what programs read: of each function its name, the time until it was ready (0: it was not) and its resident memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *runs, *idle, *bin, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

// process is one function with the servers that it is given, and what it must
// have to be ready.
type process struct {
	name  string
	given []string
	needs string // "" where the in-process Kafka is enough
}

var processes = []process{
	{"ingest", []string{"mongodb", "redis", "kafka"}, ""},
	{"archive", []string{"hdfs", "mongodb"}, "hdfs"},
	{"etl", []string{"mongodb"}, "mongodb"},
	{"summary", []string{"mongodb", "redis", "kafka"}, "mongodb"},
	{"report", []string{"mongodb", "redis"}, "mongodb"},
	{"merchant", []string{"mongodb"}, "mongodb"},
	{"reprocess", []string{"hdfs", "mongodb", "redis", "kafka"}, "mongodb"},
}

const topicBatches, topicControl = "footfall.batches.v1", "footfall.control.v1"

// nowhere is where nobody listens.
const nowhere = "127.0.0.1:1"

func run(ctx context.Context, runs int, idle time.Duration, bin string, asJSON bool) error {
	if runs < 1 {
		return errors.New("expected at least one run")
	}
	if bin == "" {
		dir, err := os.MkdirTemp("", "footfall-coldstart-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		bin = dir
		for _, p := range processes {
			build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(bin, p.name), "./functions/"+p.name+"/cmd")
			build.Stderr = os.Stderr
			if err := build.Run(); err != nil {
				return fmt.Errorf("cannot build %q: %w", p.name, err)
			}
		}
	}
	servers, stop, err := open(ctx)
	if err != nil {
		return err
	}
	defer stop()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "function\tbinary MB\tserves ms\tready ms\tCPU ms\tidle RSS MB\tof these its own MB\tends ms\t")
	fmt.Fprintln(table, "budget (goal)\t\t\t100 (30)\t\t40 (20)\t\t\t")
	missing := map[string]bool{}
	type taken struct {
		Function  string
		ReadyMS   float64
		IdleBytes int64
	}
	var told []taken
	for _, p := range processes {
		var all []sample
		for range runs {
			s, err := measure(ctx, filepath.Join(bin, p.name), servers.environ(p), p.needs == "" || servers.named[p.needs], idle)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			all = append(all, s)
		}
		info, err := os.Stat(filepath.Join(bin, p.name))
		if err != nil {
			return err
		}
		ready := "-"
		if p.needs == "" || servers.named[p.needs] {
			ready = millis(median(all, func(s sample) int64 { return int64(s.ready) }))
		} else {
			missing[variables[p.needs]] = true
		}
		told = append(told, taken{
			p.name, float64(median(all, func(s sample) int64 { return int64(s.ready) })) / 1e6, median(all, func(s sample) int64 { return s.resident }),
		})
		fmt.Fprintf(table, "%s\t%.1f\t%s\t%s\t%s\t%.1f\t%.1f\t%s\t\n", p.name, float64(info.Size())/1e6,
			millis(median(all, func(s sample) int64 { return int64(s.serves) })), ready,
			millis(median(all, func(s sample) int64 { return int64(s.cpu) })),
			float64(median(all, func(s sample) int64 { return s.resident }))/1e6,
			float64(median(all, func(s sample) int64 { return s.private }))/1e6,
			millis(median(all, func(s sample) int64 { return int64(s.ends) })))
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(told)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, v := range slices.Sorted(maps.Keys(missing)) {
		fmt.Printf("Not measured until ready for want of a server: set %s.\n", v)
	}
	return nil
}

// servers are the addresses that processes are given.
type servers struct {
	address map[string]string
	named   map[string]bool // whether it is a real one
}

var variables = map[string]string{
	"mongodb": "FOOTFALL_TEST_MONGODB_URI", "redis": "FOOTFALL_TEST_REDIS_ADDR",
	"hdfs": "FOOTFALL_TEST_HDFS_NAMENODE", "kafka": "FOOTFALL_TEST_KAFKA_BROKERS",
}

// open finds the servers and sees that there is a Kafka with the topics.
func open(ctx context.Context) (*servers, func(), error) {
	s := &servers{address: map[string]string{"mongodb": "mongodb://" + nowhere + "/?directConnection=true", "redis": nowhere, "hdfs": nowhere}, named: map[string]bool{}}
	for name, variable := range variables {
		if v := os.Getenv(variable); v != "" {
			s.address[name], s.named[name] = v, true
		}
	}
	stop := func() {}
	if !s.named["kafka"] {
		k, err := local.StartKafka(local.KafkaConfig{})
		if err != nil {
			return nil, nil, err
		}
		s.address["kafka"], stop = strings.Join(k.Brokers(), ","), k.Close
	}
	client, err := kafka.New(kafka.Config{Brokers: strings.Split(s.address["kafka"], ",")})
	if err != nil {
		stop()
		return nil, nil, err
	}
	defer client.Close()
	if err := client.EnsureTopics(ctx, kafka.Topic{Name: topicBatches, Partitions: 4, ReplicationFactor: 1}, kafka.Topic{Name: topicControl, Partitions: 4, ReplicationFactor: 1}); err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

func (s *servers) environ(p process) []string {
	environ := []string{"FOOTFALL_ADDR=127.0.0.1:0", "FOOTFALL_LOG_FORMAT=json"}
	for _, given := range p.given {
		switch given {
		case "mongodb":
			environ = append(environ, "FOOTFALL_MONGODB_URI="+s.address[given], "FOOTFALL_MONGODB_DATABASE=footfall_coldstart")
		case "redis":
			environ = append(environ, "FOOTFALL_REDIS_ADDRS="+s.address[given])
		case "hdfs":
			environ = append(environ, "FOOTFALL_HDFS_NAMENODES="+s.address[given], "FOOTFALL_HDFS_ROOT=/footfall-coldstart")
		case "kafka":
			environ = append(environ, "FOOTFALL_KAFKA_BROKERS="+s.address[given])
		}
	}
	return environ
}

// sample is one life of a process.
type sample struct {
	serves, ready, cpu, ends time.Duration
	resident, private        int64 // bytes
}

// measure starts a process, waits until it is ready (or only until it serves),
// lets it idle, and ends it.
func measure(ctx context.Context, binary string, environ []string, untilReady bool, idle time.Duration) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+idle)
	defer cancel() // kills it where it has not ended
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = environ
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return s, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	said := &strings.Builder{}
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		listen(stderr, address, said)
	}()
	// The pipe is drained before Wait, which closes it.
	wait := func() error { <-drained; return cmd.Wait() }
	var url string
	select {
	case a := <-address:
		url, s.serves = "http://"+a, time.Since(begin)
	case <-drained:
		return s, fmt.Errorf("it does not serve: %w\n%s", cmp.Or(wait(), ctx.Err()), said)
	}
	if untilReady {
		if err := awaitReady(ctx, url); err != nil {
			cancel()
			_ = wait()
			return s, fmt.Errorf("%w\n%s", err, said)
		}
		s.ready = time.Since(begin)
	}
	s.cpu = cpuOf(cmd.Process.Pid)
	pause := time.NewTimer(idle)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	s.resident, s.private = memoryOf(cmd.Process.Pid)
	begin = time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return s, err
	}
	if err := wait(); err != nil {
		return s, fmt.Errorf("it did not end cleanly: %w\n%s", err, said)
	}
	s.ends = time.Since(begin)
	return s, nil
}

// listen finds the address in a process's log.
func listen(r io.Reader, address chan<- string, said *strings.Builder) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fmt.Fprintln(said, lines.Text())
		var line struct{ Msg, Addr string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			address <- line.Addr // once in a process's life
		}
	}
}

func awaitReady(ctx context.Context, url string) error {
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+function.ReadinessPath, nil)
		if err != nil {
			return err
		}
		req.Close = true // an idle connection would be waited for in the end
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not become ready: %w", ctx.Err())
		case <-pause.C:
		}
	}
}

// cpuOf is the CPU time that a process has used; 0 where /proc does not tell.
func cpuOf(pid int) time.Duration {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0
	}
	var total time.Duration
	for _, t := range threads {
		if stat, err := os.ReadFile(t); err == nil { // a thread may have ended
			if fields := strings.Fields(string(stat)); len(fields) > 0 {
				ns, _ := strconv.ParseInt(fields[0], 10, 64)
				total += time.Duration(ns)
			}
		}
	}
	return total
}

// memoryOf is a process's resident memory, and the part of it that is not of
// its file, which all instances on a node share.
func memoryOf(pid int) (resident, private int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[0], 10, 64)
		switch name {
		case "VmRSS":
			resident = kib << 10
		case "RssAnon":
			private = kib << 10
		}
	}
	return resident, private
}

func median(all []sample, of func(sample) int64) int64 {
	values := make([]int64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func millis(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(ns)/1e6)
}
