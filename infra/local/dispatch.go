package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/footfall/footfall/eventing"
	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// DispatchConfig is the configuration of a dispatcher that is a process of its
// own.
type DispatchConfig struct {
	KafkaBrokers []string `env:"KAFKA_BROKERS"` // host:port
	Security     kafka.Security
	// Services are the functions that Triggers name, with their URLs:
	// archive=http://127.0.0.1:8081,etl=…
	Services   map[string]string `env:"SERVICES" envKeyValSeparator:"="`
	AdminToken function.Secret   `env:"ADMIN_TOKEN"` // for events from elsewhere than this machine
	// Cron fires the PingSources, which several dispatchers would each do.
	Cron bool `env:"CRON" envDefault:"true"`
}

// Validate reports all faults.
func (c *DispatchConfig) Validate() error {
	var errs []error
	if len(c.KafkaBrokers) == 0 {
		errs = append(errs, fmt.Errorf("%sKAFKA_BROKERS: expected at least one host:port", function.Prefix))
	}
	for _, b := range c.KafkaBrokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("%sKAFKA_BROKERS: expected host:port, got %q", function.Prefix, b))
		}
	}
	errs = append(errs, c.Security.Validate())
	wiring, err := eventing.Parse(eventing.Files)
	if err != nil {
		return err
	}
	for _, name := range wiring.Services() {
		if c.Services[name] == "" {
			errs = append(errs, fmt.Errorf("%sSERVICES: expected %s=URL, for a Trigger names it", function.Prefix, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if !slices.Contains(wiring.Services(), name) {
			errs = append(errs, fmt.Errorf("%sSERVICES: no Trigger names %q", function.Prefix, name))
		}
	}
	return errors.Join(errs...)
}

// Dispatch delivers what stands in the Brokers' topics to functions that run
// elsewhere, until ctx is done: what Knative's dispatcher, receiver and
// PingSources do in a cluster, by the same YAML. Several may run at once and
// share the partitions.
func Dispatch(ctx context.Context, environ []string, log io.Writer) error {
	var process function.Config
	var cfg DispatchConfig
	if err := function.Load(environ, nil, &process, &cfg); err != nil {
		return err
	}
	p, err := function.NewProcess(ctx, process, log)
	if err != nil {
		return err
	}
	b, client, err := newDispatch(&cfg, p)
	if err != nil {
		return err
	}
	return p.Serve(ctx, b.function(), function.Function{Name: "kafka", Close: func(context.Context) error { return client.Close() }})
}

// deliveries is how many connections to one function are kept open: all that
// the Triggers which name it may have under way.
const deliveries = 256

func newDispatch(cfg *DispatchConfig, p *function.Process) (*brokerFunction, *kafka.Client, error) {
	wiring, err := eventing.Parse(eventing.Files)
	if err != nil {
		return nil, nil, err
	}
	client, err := kafka.New(kafka.Config{Brokers: cfg.KafkaBrokers, ClientID: "footfall-dispatch", Security: cfg.Security})
	if err != nil {
		return nil, nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, deliveries
	transport.DisableCompression = true // an answer has no body, or an event
	dispatcher, err := broker.NewDispatcher(broker.DispatcherConfig{
		Wiring: wiring, Kafka: client, HTTP: transport, Services: broker.URLMap{URLs: cfg.Services, Transport: transport},
		Meter: p.Telemetry.Meter("broker"), Log: p.Log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	b, err := newBrokerFunction(brokerParts{
		wiring: wiring, dispatcher: dispatcher, kafka: client, publisher: kafka.NewPublisher(client, topics(wiring)),
		admin: access.NewAuthorizer(cfg.AdminToken.Reveal(), nobody{}), clock: function.SystemClock(), cron: cfg.Cron, log: p.Log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	b.patient = true
	return b, client, nil
}

// nobody is a registry without merchants: at a dispatcher only the operator
// has business.
type nobody struct{}

func (nobody) Merchant(_ context.Context, id string) (access.Merchant, error) {
	return access.Merchant{}, fault.New(fault.NotFound, "cannot find merchant %q here", id)
}
