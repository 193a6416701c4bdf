package delivery

import (
	"bytes"
	_ "embed"
	"flag"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/footfall/footfall/eventing"
)

//go:embed testdata/wiring.yaml
var wiringYAML []byte

// What stands in the YAML for the addresses of a place.
const (
	subscriberAddress = "http://subscriber.example:8080"
	kafkaAddress      = "kafka-kafka-bootstrap.kafka:9092"
	brokerName        = "delivery"
	sinkName          = "dead"
)

var (
	write     = flag.String("write", "", "write the wiring for kubectl to this file (absolute path), with -advertise and -bootstrap filled in, and do no more")
	bootstrap = flag.String("bootstrap", kafkaAddress, "of -write: Kafka as the Broker reaches it, host:port")
)

// wiringText is the YAML with the addresses of a place.
func wiringText(subscriber, kafka string) []byte {
	text := bytes.ReplaceAll(wiringYAML, []byte(subscriberAddress), []byte(subscriber))
	return bytes.ReplaceAll(text, []byte(kafkaAddress), []byte(kafka))
}

func parseWiring(subscriber string) (*eventing.Wiring, error) {
	return eventing.Parse(fstest.MapFS{"wiring.yaml": {Data: wiringText(subscriber, kafkaAddress)}})
}

// own gives topics and groups a suffix, for a Kafka that others use too, and
// keeps the Triggers that are wanted.
func own(w *eventing.Wiring, suffix string, want func(trigger string) bool) {
	for i := range w.Brokers {
		w.Brokers[i].Topic.Name += suffix
	}
	for i := range w.Sinks {
		w.Sinks[i].Topic.Name += suffix
	}
	for i := range w.Triggers {
		w.Triggers[i].ConsumerGroup += suffix
	}
	w.Triggers = slices.DeleteFunc(w.Triggers, func(t eventing.Trigger) bool { return !want(t.Name) })
}

func TestWiring(t *testing.T) {
	if *write != "" {
		if *advertise == "" {
			t.Fatal("-write needs -advertise, the URL at which the Broker reaches this test")
		}
		if err := os.WriteFile(*write, wiringText(*advertise, *bootstrap), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("written to %s", *write)
		return
	}
	w, err := parseWiring("http://127.0.0.1:9999")
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range w.Triggers {
		if got := tr.Subscriber.URL; got[:len("http://127.0.0.1:9999/")] != "http://127.0.0.1:9999/" {
			t.Errorf("trigger %s goes to %s", tr.Name, got)
		}
	}
}
