package function

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	knativemetrics "knative.dev/pkg/observability/metrics"

	"github.com/footfall/footfall/shared/fault"
)

// Telemetry measures a process. Instruments are made on Meter; what they
// measured is served by Handler as Prometheus text, beside the Go runtime and
// the process, and pushed by OTLP where the configuration says so.
//
// Knative's own Prometheus reader opens a second port, 9090, which in a pod is
// its queue-proxy's: hence a reader of our own, on the one port that we serve.
type Telemetry struct {
	provider metric.MeterProvider
	handler  http.Handler
	shutdown func(context.Context) error

	requests metric.Float64Histogram
	events   metric.Float64Histogram
	options  sync.Map // requestKey → metric.MeasurementOption; as many as routes times statuses
}

// NewTelemetry makes the instruments of a process.
func NewTelemetry(ctx context.Context, cfg Config) (*Telemetry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("cannot make the Prometheus exporter: %w", err)
	}
	t := &Telemetry{handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	if cfg.MetricsProtocol == knativemetrics.ProtocolNone {
		p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		t.provider, t.shutdown = p, p.Shutdown
	} else {
		p, err := knativemetrics.NewMeterProvider(ctx, knativemetrics.Config{
			Protocol: cfg.MetricsProtocol, Endpoint: cfg.MetricsEndpoint, ExportInterval: cfg.MetricsInterval,
		}, sdkmetric.WithReader(reader))
		if err != nil {
			return nil, fmt.Errorf("cannot push metrics to %q: %w", cfg.MetricsEndpoint, err)
		}
		t.provider, t.shutdown = p, p.Shutdown
	}
	meter := t.Meter("function")
	if t.requests, err = meter.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP requests."),
		metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)); err != nil {
		return nil, fmt.Errorf("cannot make instrument: %w", err)
	}
	if t.events, err = meter.Float64Histogram("footfall.event.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of the handling of events from a Broker, by outcome (ok or a fault's kind)."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)); err != nil {
		return nil, fmt.Errorf("cannot make instrument: %w", err)
	}
	return t, nil
}

// Meter makes instruments for a part of Footfall ("ingest", "broker").
func (t *Telemetry) Meter(part string) metric.Meter {
	return t.provider.Meter("github.com/footfall/footfall/" + part)
}

// Handler serves the metrics as Prometheus text.
func (t *Telemetry) Handler() http.Handler { return t.handler }

// Shutdown pushes what is left and releases the exporters.
func (t *Telemetry) Shutdown(ctx context.Context) error { return t.shutdown(ctx) }

// Instrument measures an event handler under its function's name.
func (t *Telemetry) Instrument(function string, h EventHandler) EventHandler {
	outcome := func(s string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("function", function), attribute.String("outcome", s)))
	}
	ok := outcome("ok")
	return func(ctx context.Context, e cloudevents.Event) error {
		start := time.Now()
		err := h(ctx, e)
		if err == nil {
			t.events.Record(ctx, time.Since(start).Seconds(), ok)
		} else {
			t.events.Record(ctx, time.Since(start).Seconds(), outcome(fault.KindOf(err).String()))
		}
		return err
	}
}

type requestKey struct {
	route  string
	status int
}

// request records one answered request. route is the mux's pattern, so that
// the number of series is bounded whatever is asked for.
func (t *Telemetry) request(ctx context.Context, route string, status int, d time.Duration) {
	key := requestKey{route, status}
	opt, ok := t.options.Load(key)
	if !ok {
		if route == "" {
			route = "none"
		}
		opt, _ = t.options.LoadOrStore(key, metric.WithAttributeSet(attribute.NewSet(
			attribute.String("http.route", route),
			attribute.String("http.response.status_code", strconv.Itoa(status)))))
	}
	t.requests.Record(ctx, d.Seconds(), opt.(metric.MeasurementOption))
}
