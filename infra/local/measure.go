package local

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/footfall/footfall/shared/store/embedded"
)

// measureStores tells with the metrics what the embedded stores take, so that
// what grows is seen before the disk is full.
func measureStores(meter metric.Meter, s *embedded.Stores) error {
	disk, err := meter.Int64ObservableGauge("footfall.store.disk", metric.WithUnit("By"),
		metric.WithDescription("Bytes of the embedded store's files by table (estimated), its log, and files that are about to go"))
	if err != nil {
		return err
	}
	memory, err := meter.Int64ObservableGauge("footfall.store.memory", metric.WithUnit("By"),
		metric.WithDescription("Bytes of memory for blocks that were read, and for writes not in tables yet"))
	if err != nil {
		return err
	}
	part := func(name string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("part", name)))
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		u, err := s.Usage(ctx)
		if err != nil {
			return err
		}
		for _, t := range u.Tables {
			o.ObserveInt64(disk, t.Disk, part(t.Name))
		}
		o.ObserveInt64(disk, u.Log, part("log"))
		o.ObserveInt64(disk, u.Dead, part("dead files"))
		o.ObserveInt64(memory, u.Cache, part("cache"))
		o.ObserveInt64(memory, u.Memory, part("writes"))
		return nil
	}, disk, memory)
	return err
}
