package services

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// Kafka is one Kafka node, broker and controller in one process.
type Kafka struct{ *Server }

// kafkaProperties follow Kafka's defaults except where one node, a small
// machine and short tests ask for something else. Topics are not made by
// being named: a function that relied on it would fail on many a cluster.
const kafkaProperties = `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# After a crash the controller waits for the broker's old session to end.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
# Old tests' data goes soon: topics that say nothing keep an hour.
log.retention.ms=3600000
log.segment.bytes=67108864
log.retention.check.interval.ms=10000
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
background.threads=4
`

const log4j2Properties = `status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
`

// StartKafka starts Kafka on free ports with its data in opts.Dir and returns
// when it takes requests.
func StartKafka(ctx context.Context, opts Options) (*Kafka, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := choosePorts(opts.Dir, "broker", "controller")
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(opts.Dir, name) }
	properties := fmt.Sprintf(kafkaProperties, ports.address("broker"), ports.address("controller"), at("data"))
	if err := errors.Join(
		os.WriteFile(at("server.properties"), []byte(properties), 0o600),
		os.WriteFile(at("log4j2.properties"), []byte(log4j2Properties), 0o600),
	); err != nil {
		return nil, err
	}
	java := func(heap, class string, args ...string) program {
		return program{path: opts.Software.Java, args: append(append(opts.jvm(heap), "-Dlog4j2.configurationFile="+at("log4j2.properties"),
			"-cp", filepath.Join(opts.Software.KafkaJars, "*"), class), args...)}
	}
	k := &Kafka{&Server{name: "kafka", addr: ports.address("broker"), dir: opts.Dir, opts: opts,
		program: java("384m", "kafka.Kafka", at("server.properties"))}}
	k.probe = k.answers
	if formatted, err := exists(at("data/meta.properties")); err != nil {
		return nil, err
	} else if !formatted {
		err := k.once(ctx, "format Kafka's data folder", java("128m", "kafka.tools.StorageTool",
			"format", "--standalone", "-t", kafkaID(), "-c", at("server.properties")))
		if err != nil {
			return nil, err
		}
	}
	return k, startOrKill(ctx, k.Server)
}

// Brokers is the bootstrap list for clients.
func (k *Kafka) Brokers() []string { return []string{k.addr} }

// answers is Kafka's readiness: the broker is registered with the controller.
func (k *Kafka) answers(ctx context.Context) error {
	conn, err := kafka.DialContext(ctx, "tcp", k.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	brokers, err := conn.Brokers()
	if err == nil && len(brokers) == 0 {
		return errors.New("the broker is not registered yet")
	}
	return err
}

// kafkaID is a new cluster id as Kafka writes them: 16 random bytes in
// base64 for URLs, with no dash in front, which its tools take for an option.
func kafkaID() string {
	for {
		var id [16]byte
		_, _ = rand.Read(id[:]) // it never fails
		if s := base64.RawURLEncoding.EncodeToString(id[:]); !strings.HasPrefix(s, "-") {
			return s
		}
	}
}

// startOrKill starts servers for the first time: side by side, and if one
// fails none stays.
func startOrKill(ctx context.Context, servers ...*Server) error {
	err := startAll(ctx, servers...)
	if err != nil {
		for _, s := range servers {
			err = errors.Join(err, s.Kill())
		}
	}
	return err
}

// startAll starts servers side by side, so that each finds the others.
func startAll(ctx context.Context, servers ...*Server) error {
	for _, s := range servers {
		if err := s.spawn(); err != nil {
			return err
		}
	}
	return ready(ctx, servers...)
}

// ready waits for all servers, and no longer than for the first that fails.
func ready(ctx context.Context, servers ...*Server) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	errs := make(chan error, len(servers))
	for _, s := range servers {
		go func() { errs <- s.Ready(ctx) }()
	}
	var first error
	for range servers {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// each does something to all servers, in the order given.
func each(servers []*Server, do func(*Server) error) error {
	var errs []error
	for _, s := range servers {
		errs = append(errs, do(s))
	}
	return errors.Join(errs...)
}

// until waits for a condition that concerns several servers.
func until(ctx context.Context, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pause := time.NewTicker(probeEvery)
	defer pause.Stop()
	for {
		probe, end := context.WithTimeout(ctx, probeLimit)
		err := condition(probe)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}
