package e2e

import (
	"testing"

	"github.com/footfall/footfall/eventing/local"
)

// A Kafka outside the process serves as well as the one inside, and what was
// delivered before a restart is not delivered anew.
func TestKafkaOutside(t *testing.T) {
	kafka, err := local.StartKafka(local.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	dir := t.TempDir()
	brokers := "FOOTFALL_KAFKA_BROKERS=" + kafka.Brokers()[0]
	p := start(t, dir, brokers)
	visits := newTraffic(t, p, 11, 1)
	for restart := range 2 {
		visits.send(t, 1, 100)
		visits.check(t)
		if restart == 0 {
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			p = start(t, dir, brokers)
			visits.p = p
		}
	}
}
