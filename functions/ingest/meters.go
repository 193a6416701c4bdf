package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/footfall/footfall/shared/store"
)

// meters counts what ingest does.
type meters struct {
	accepted, rejected, refusedLost metric.Int64Counter
	flushes, batches                metric.Int64Counter
	bytes                           metric.Int64Counter
	failures                        metric.Int64Counter
	republished                     metric.Int64Counter
	duration                        metric.Float64Histogram

	labels sync.Map // text → metric.MeasurementOption; kinds of faults and names of sinks, a handful
}

func newMeters(m metric.Meter) (*meters, error) {
	var errs []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.Int64Counter("footfall.ingest."+name, metric.WithUnit(unit), metric.WithDescription(description))
		if err != nil {
			errs = append(errs, err)
		}
		return c
	}
	ms := &meters{
		accepted:    counter("events.accepted", "{event}", "Events that were acknowledged."),
		rejected:    counter("events.rejected", "{event}", "Events that were answered with an error, by reason."),
		refusedLost: counter("events.refused.unrecorded", "{event}", "Refused events that were not kept, because the buffer for them was full."),
		flushes:     counter("flushes", "{flush}", "Flushes: one write to the journal each, and to the Broker one of its own or one with others."),
		batches:     counter("batches", "{batch}", "Batches that were made: of one flush, or of some."),
		bytes:       counter("batch.bytes", "By", "Bytes of batches, compressed."),
		failures:    counter("write.failures", "{write}", "Failed writes, by sink."),
		republished: counter("batches.republished", "{batch}", "Batches that a tick published again."),
	}
	var err error
	ms.duration, err = m.Float64Histogram("footfall.ingest.flush.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the closing of a flush until it was durable."),
		metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10))
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("cannot make the instruments of ingest: %w", errs[0])
	}
	return ms, nil
}

// flushed counts a flush that began at a time.
func (m *meters) flushed(begin time.Time) {
	m.duration.Record(context.Background(), time.Since(begin).Seconds())
	m.flushes.Add(context.Background(), 1)
}

// sealed counts batches.
func (m *meters) sealed(rows []store.JournalRow) {
	m.batches.Add(context.Background(), int64(len(rows)))
	m.bytes.Add(context.Background(), int64(bytesOf(rows)))
}

// add counts under one label.
func (m *meters) add(c metric.Int64Counter, n int64, key, value string) {
	opt, ok := m.labels.Load(value)
	if !ok {
		opt, _ = m.labels.LoadOrStore(value, metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value))))
	}
	c.Add(context.Background(), n, opt.(metric.MeasurementOption))
}
