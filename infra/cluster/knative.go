package cluster

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/footfall/footfall/eventing"
	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/local"
)

// Knative says that a Knative which runs already delivers to the functions, in
// place of our dispatcher.
type Knative struct {
	// Ingress is the URL of its Brokers, without their names:
	// http://…/footfall.
	Ingress string
	// Apply gives it the wiring, a file with the addresses of this cluster, and
	// returns when it delivers by that.
	Apply func(ctx context.Context, wiring string) error
	// Ticks fires the PingSources from here, for a Knative that is no more than
	// receiver and dispatcher.
	Ticks bool
}

// NewKnative is the Knative at a URL, which gets the wiring by a shell command
// that finds its file in $WIRING; nil without a URL. Without a command, whoever
// starts the cluster gives it the wiring.
func NewKnative(ingress, apply string, ticks bool) *Knative {
	if ingress == "" {
		return nil
	}
	k := &Knative{Ingress: ingress, Ticks: ticks}
	if apply != "" {
		k.Apply = func(ctx context.Context, wiring string) error {
			cmd := exec.CommandContext(ctx, "sh", "-c", apply)
			cmd.Env = append(os.Environ(), "WIRING="+wiring)
			if said, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", apply, err, said)
			}
			return nil
		}
	}
	return k
}

// useKnative notes where its Brokers are.
func (c *Cluster) useKnative() error {
	ingress, err := url.Parse(c.options.Knative.Ingress)
	if err != nil || ingress.Host == "" {
		return fmt.Errorf("cannot use Knative: expected an absolute URL of its Brokers, got %q", c.options.Knative.Ingress)
	}
	c.ingress = strings.TrimSuffix(ingress.String(), "/")
	c.brokers = local.ForwardBrokers(ingress, c.admin)
	return nil
}

func (c *Cluster) wiringFile() string { return filepath.Join(c.options.Data, "wiring.yaml") }

// wire gives Knative the wiring, and starts the ticks where they are ours.
func (c *Cluster) wire(ctx context.Context) error {
	k := c.options.Knative
	wiring, err := eventing.Parse(eventing.Files)
	if err != nil {
		return err
	}
	at := eventing.Place{Kafka: c.Kafka.Addr(), Services: map[string]string{}}
	for _, name := range wiring.Services() {
		at.Services[name] = c.urls[name]
	}
	text, err := eventing.Manifest(eventing.Files, at)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.wiringFile(), text, 0o644); err != nil {
		return err
	}
	if k.Apply != nil {
		if err := k.Apply(ctx, c.wiringFile()); err != nil {
			return fmt.Errorf("cannot give Knative the wiring: %w", err)
		}
	}
	if !k.Ticks {
		return nil
	}
	for i := range wiring.Sources {
		if s := &wiring.Sources[i].Sink; s.Kind == eventing.TargetBroker {
			*s = eventing.Destination{Kind: eventing.TargetURL, URL: c.ingress + "/" + s.Name}
		}
	}
	cron, err := broker.NewCron(broker.CronConfig{Wiring: wiring, Log: c.options.Log})
	if err != nil {
		return err
	}
	ticking, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stopTicks = stop
	c.running.Go(func() { cron.Run(ticking) })
	return nil
}
