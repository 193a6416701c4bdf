package e2e

import (
	"testing"
	"time"

	"github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/loadtest"
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
	m := merchant(t, p)
	truth := make([]loadtest.Truth, 1)
	traffic := loadtest.NewTraffic(loadtest.TrafficOptions{Seed: 11, Streams: []string{m.Streams[0].MeasurementID}, From: day, Span: 24 * time.Hour})
	for restart := range 2 {
		if err := loadtest.NewSender(p.URL, 1).Post(t.Context(), loadtest.ContentTypeBatch, traffic.AppendBatch(nil, 100, truth)); err != nil {
			t.Fatal(err)
		}
		waitCounted(t, p, m, truth[0])
		if restart == 0 {
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			p = start(t, dir, brokers)
		}
	}
}
