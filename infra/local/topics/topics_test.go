package topics_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/local/topics"
	"github.com/footfall/footfall/shared/broker/kafka"
)

// The topics have fixed names, so the tests have a Kafka of their own.
func start(t *testing.T) (environ []string, c *kafka.Client) {
	t.Helper()
	k, err := local.StartKafka(local.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if c, err = kafka.New(kafka.Config{Brokers: k.Brokers()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return []string{"FOOTFALL_KAFKA_BROKERS=" + strings.Join(k.Brokers(), ","), "FOOTFALL_DATA=./data"}, c
}

func run(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out strings.Builder
	err := topics.Run(ctx, args, environ, &out, io.Discard)
	return out.String(), err
}

func TestEnsureMakesWhatTheWiringNames(t *testing.T) {
	environ, c := start(t)
	out, err := run(t, environ, "check", "-replication", "1")
	if err == nil || strings.Count(out, "missing") != 4 {
		t.Errorf("check of nothing: %v\n%s", err, out)
	}
	if _, err := run(t, environ, "ensure"); err == nil || !strings.Contains(err.Error(), "-replication 1") {
		t.Errorf("three replicas on one node: %v", err)
	}
	for range 2 {
		if out, err := run(t, environ, "ensure", "-replication", "1"); err != nil || strings.Count(out, " ok") != 4 {
			t.Fatalf("ensure: %v\n%s", err, out)
		}
	}
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range w.Topics() {
		states, _, err := c.DescribeTopics(context.Background(), want.Name)
		if err != nil {
			t.Fatal(err)
		}
		s := states[want.Name]
		if s.Partitions != want.Partitions || s.Config[kafka.SettingMaxMessageBytes] != "1048588" ||
			s.Config[kafka.SettingRetention] != "604800000" || s.Config[kafka.SettingCleanup] != "delete" {
			t.Errorf("%+v", s)
		}
	}
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	environ, c := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.EnsureTopics(ctx, kafka.Topic{Name: "footfall.batches.v1", Partitions: 2, ReplicationFactor: 1, Config: map[string]string{
		kafka.SettingMaxMessageBytes: "1000", kafka.SettingRetention: "60000", kafka.SettingCleanup: "compact"}}); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, environ, "ensure", "-replication", "1")
	if err == nil {
		t.Error("no error")
	}
	for _, want := range []string{"expected 24 partitions", "max.message.bytes is 1000, expected at least 1048576", "retention.ms is 60000, expected at least", "cleanup.policy is compact, expected delete"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, err := run(t, environ, "ensure", "-replication", "1", "-alter"); err != nil || strings.Count(out, " ok") != 4 {
		t.Errorf("ensure -alter: %v\n%s", err, out)
	}
	if out, err := run(t, environ, "check", "-replication", "1", "-retention", "24h"); err != nil {
		t.Errorf("a longer retention is as good: %v\n%s", err, out)
	}
}

func TestUsage(t *testing.T) {
	environ := []string{"FOOTFALL_KAFKA_BROKERS=127.0.0.1:1"}
	for _, args := range [][]string{nil, {"make"}, {"check", "x"}, {"check", "-partitions", "-1"}} {
		if _, err := run(t, environ, args...); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if _, err := run(t, environ, "-h"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
	if _, err := run(t, nil, "check"); err == nil || !strings.Contains(err.Error(), "FOOTFALL_KAFKA_BROKERS") {
		t.Errorf("no Kafka: %v", err)
	}
}
