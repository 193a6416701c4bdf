package delivery

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/broker/kafka"
)

var (
	brokerURL = flag.String("broker", "", "URL of Broker delivery of testdata/wiring.yaml, to play the scenarios against it as well")
	kafkaAddr = flag.String("kafka", "", "of -broker: its Kafka as this test reaches it, host:port, comma-separated")
	listen    = flag.String("listen", "", "of -broker: address to listen on for deliveries, host:port")
	advertise = flag.String("advertise", "", "of -broker: the URL of -listen as the Broker reaches it; default http://LISTEN")
	kill      = flag.String("kill", "", "of -broker: a shell command that ends the dispatcher with SIGKILL while something starts it again, as a StatefulSet does")
)

// system is a Broker to play on, with the subscriber that its Triggers name.
type system struct {
	url      string // of the Broker
	wiring   *eventing.Wiring
	brokers  []string // of Kafka
	client   *kafka.Client
	sub      *subscriber
	letters  *letters
	run      string        // begins the id of every event of this run
	patience time.Duration // how long anything may take
	noKill   string        // why killDispatcher cannot be called
	// killDispatcher ends the dispatcher of Trigger killed with SIGKILL and has
	// another one started.
	killDispatcher func(t *testing.T)
}

// prefix of the ids of one run: what an earlier run left is not ours.
func newRun() string { return fmt.Sprintf("%x", time.Now().UnixNano()) }

// The dispatchers of ours need not wait five seconds to commit, and there is
// one of its own for the Trigger under which it is killed.
const commitInterval = 100 * time.Millisecond

func isKilled(trigger string) bool    { return trigger == "killed" }
func isNotKilled(trigger string) bool { return trigger != "killed" }

// startLocal runs Kafka, dispatcher and ingress in this process.
func startLocal(t *testing.T) *system {
	k, err := local.StartKafka(local.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return startOurs(t, k.Brokers(), "", 3*time.Second, func(cfg childConfig) string {
		b, err := startBroker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.close)
		return b.url
	})
}

// startProcess runs dispatcher and ingress in a process, on a real Kafka.
func startProcess(t *testing.T) *system {
	brokers := os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS")
	if brokers == "" {
		t.Skip("FOOTFALL_TEST_KAFKA_BROKERS names a Kafka to run this on")
	}
	// Kafka's own group.min.session.timeout.ms is 6 s.
	return startOurs(t, strings.Split(brokers, ","), "-"+newRun(), 6*time.Second, func(cfg childConfig) string { return startChild(t, cfg).url })
}

// startOurs starts the Broker by start, and the dispatcher that is to be killed
// in a process of its own. Kafka misses that one after session.
func startOurs(t *testing.T, brokers []string, suffix string, session time.Duration, start func(childConfig) string) *system {
	t.Helper()
	sub := newSubscriber(t, "127.0.0.1:0", "")
	cfg := childConfig{Subscriber: sub.url, Kafka: brokers, Suffix: suffix}
	s := &system{brokers: brokers, sub: sub, run: newRun(), patience: 60 * time.Second, url: start(cfg)}
	cfg.Killed, cfg.Session = true, session
	victim := startChild(t, cfg)
	s.killDispatcher = func(t *testing.T) {
		victim.kill()
		victim = startChild(t, cfg)
	}
	s.attach(t, suffix)
	return s
}

// startByURL takes the Broker that runs somewhere, wired by testdata/wiring.yaml.
func startByURL(t *testing.T) *system {
	if *brokerURL == "" {
		t.Skip("-broker names a Broker to run this on")
	}
	if *kafkaAddr == "" || *listen == "" {
		t.Fatal("-broker needs -kafka and -listen as well")
	}
	s := &system{
		url: strings.TrimRight(*brokerURL, "/"), brokers: strings.Split(*kafkaAddr, ","),
		sub: newSubscriber(t, *listen, strings.TrimRight(*advertise, "/")), run: newRun(), patience: 2 * time.Minute,
		noKill: "-kill names no command; to see it by hand, end the dispatcher with SIGKILL while Trigger killed has a delivery under way",
	}
	if *kill != "" {
		s.noKill = ""
		s.killDispatcher = func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), s.patience)
			defer cancel()
			if out, err := exec.CommandContext(ctx, "sh", "-c", *kill).CombinedOutput(); err != nil {
				t.Fatalf("-kill: %v\n%s", err, out)
			}
		}
	}
	s.attach(t, "")
	return s
}

// attach reads the wiring as the Broker has it, and listens for dead letters.
func (s *system) attach(t *testing.T, suffix string) {
	t.Helper()
	var err error
	if s.wiring, err = parseWiring(s.sub.url); err != nil {
		t.Fatal(err)
	}
	own(s.wiring, suffix, func(string) bool { return true })
	if s.client, err = kafka.New(kafka.Config{Brokers: s.brokers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() })
	s.letters = readLetters(t, s.client, s.sinkTopic(), "footfall-delivery-letters-"+s.run)
}

func (s *system) topic() string {
	b, _ := s.wiring.Broker(brokerName)
	return b.Topic.Name
}

func (s *system) sinkTopic() string {
	sink, _ := s.wiring.Sink(sinkName)
	return sink.Topic.Name
}

func (s *system) trigger(t *testing.T, name string) eventing.Trigger {
	t.Helper()
	for _, tr := range s.wiring.Triggers {
		if tr.Name == name {
			return tr
		}
	}
	t.Fatalf("the wiring has no trigger %q", name)
	return eventing.Trigger{}
}

// broker is our own Broker: dispatcher and ingress.
type broker struct {
	url    string
	client *kafka.Client
	disp   *local.Dispatcher
	server *http.Server
}

// childConfig says what a broker of ours serves, in this process or another.
type childConfig struct {
	Subscriber string
	Kafka      []string
	Suffix     string // of topics and groups
	Killed     bool   // only the Trigger killed, instead of all but it
	Session    time.Duration
}

func startBroker(cfg childConfig) (*broker, error) {
	wiring, err := parseWiring(cfg.Subscriber)
	if err != nil {
		return nil, err
	}
	want := isNotKilled
	if cfg.Killed {
		want = isKilled
	}
	own(wiring, cfg.Suffix, want)
	b := &broker{}
	if b.client, err = kafka.New(kafka.Config{Brokers: cfg.Kafka}); err != nil {
		return nil, err
	}
	b.disp, err = local.NewDispatcher(local.DispatcherConfig{Wiring: wiring, Kafka: b.client, CommitInterval: commitInterval, SessionTimeout: cfg.Session})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.disp.Start(ctx); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	topics := make(map[string]string)
	var names []string
	for _, b := range wiring.Brokers {
		topics[b.Name] = b.Topic.Name
		names = append(names, b.Name)
	}
	b.server = &http.Server{
		Handler:           local.NewIngress(local.IngressConfig{Brokers: names, Publisher: kafka.NewPublisher(b.client, topics)}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = b.server.Serve(l) }() // until close
	b.url = "http://" + l.Addr().String() + "/brokers/" + brokerName
	return b, nil
}

func (b *broker) close() {
	_ = b.server.Close()
	_ = b.disp.Close()
	_ = b.client.Close()
}

const childEnv = "FOOTFALL_TEST_DELIVERY_CHILD"

// child is a process of this test binary that runs a broker.
type child struct {
	url string
	cmd *exec.Cmd
}

func startChild(t *testing.T, cfg childConfig) *child {
	t.Helper()
	config, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	c.cmd.Stderr = os.Stderr
	// It ends when its standard input does, so that none outlives this process.
	if _, err := c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the dispatcher does not start: %v", err)
	}
	c.url = strings.TrimSpace(line)
	return c
}

// kill is SIGKILL; again it does nothing.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed
}

// runChild is the process: it says its Broker's URL and serves until its
// standard input ends.
func runChild(config string) int {
	var cfg childConfig
	err := json.Unmarshal([]byte(config), &cfg)
	if err == nil {
		var b *broker
		if b, err = startBroker(cfg); err == nil {
			fmt.Println(b.url)
			_, err = io.Copy(io.Discard, os.Stdin)
			b.close()
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
