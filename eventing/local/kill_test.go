package local

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/footfall/footfall/shared/broker/kafka"
)

const childEnv = "FOOTFALL_TEST_BROKER_CHILD"

func balance(key string, partitions int) int {
	ids := make([]int, partitions)
	for i := range ids {
		ids[i] = i
	}
	return kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: []byte(key)}, ids...)
}

// runChild is the process that TestKill kills: it publishes without end, says
// on stdout what was acknowledged and what was delivered.
func runChild(dir string) {
	die := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	k, err := StartKafka(KafkaConfig{Dir: dir})
	die(err)
	client, err := kafka.New(kafka.Config{Brokers: k.Brokers()})
	die(err)
	w := bufio.NewWriterSize(os.Stdout, 1) // every line at once
	lines := make(chan string)
	go func() {
		for l := range lines {
			fmt.Fprintln(w, l)
			w.Flush()
		}
	}()
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		lines <- "got " + r.Header.Get("Ce-Id")
		rw.WriteHeader(202)
	})
	d, err := NewDispatcher(DispatcherConfig{
		Wiring: testWiring(4, trigger()), Kafka: client, CommitInterval: 5 * time.Millisecond,
		Services: NewInProcess("footfall", map[string]http.Handler{"sub": handler}, nil),
	})
	die(err)
	die(d.Start(context.Background()))
	if os.Getenv(childEnv+"_DRAIN") != "" {
		die(d.WaitIdle(context.Background()))
		die(d.Close())
		lines <- "drained"
		time.Sleep(time.Minute) // until the parent has read it and kills this process
		return
	}
	p := kafka.NewPublisher(client, map[string]string{"batches": "footfall.batches"})
	var n atomic.Int64
	for range 4 {
		go func() {
			for {
				id := fmt.Sprintf("%d-%d", os.Getpid(), n.Add(1))
				if p.Publish(context.Background(), "batches", event(id, "x")) == nil {
					lines <- "ack " + id
				}
			}
		}()
	}
	select {}
}

// What was acknowledged before kill -9 is delivered after it.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	acked, got := map[string]bool{}, map[string]int{}
	run := func(drain bool, until func() bool) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		if drain {
			cmd.Env = append(cmd.Env, childEnv+"_DRAIN=1")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(testTimeout, func() { _ = cmd.Process.Kill() })
		killed := false
		s := bufio.NewScanner(out)
		for s.Scan() { // to the end: what it said before it died counts
			switch verb, arg, _ := strings.Cut(s.Text(), " "); verb {
			case "ack":
				acked[arg] = true
			case "got":
				got[arg]++
			case "drained":
				drain = false
			default:
				t.Errorf("child says %q", s.Text())
			}
			if !killed && (until != nil && until() || until == nil && !drain) {
				killed = true
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait() // it was killed
		if !timer.Stop() || !killed {
			t.Fatalf("the child ended by itself, or never came so far: %d acknowledged, %d delivered", len(acked), len(got))
		}
	}
	for i := range 3 {
		before, seen := len(acked), len(got)
		run(false, func() bool { return len(acked) >= before+150*(i+1) && len(got) > seen+50 })
	}
	run(true, nil)
	again := 0
	for id := range acked {
		if got[id] == 0 {
			t.Errorf("event %s was acknowledged and never delivered", id)
		}
		again += max(got[id]-1, 0)
	}
	t.Logf("%d acknowledged, all delivered; %d deliveries came again", len(acked), again)
}
