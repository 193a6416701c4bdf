package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	nethttp "net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/http"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// postsAtOnce is how many events of one publish are under way to a URL.
const postsAtOnce = 8

// Publisher publishes on the Brokers that it was opened for.
type Publisher struct {
	log   *slog.Logger
	ways  map[string]broker.Publisher
	needs []need            // topics that are written to
	urls  map[string]string // Brokers that take POSTs
	kafka *kafka.Client     // nil where no Broker has a topic
	posts *nethttp.Client   // nil where no Broker has a URL

	mu    sync.Mutex
	unfit error // what Kafka has said is wrong with the topics
}

var _ broker.Publisher = (*Publisher)(nil)

// Open makes a publisher for the Brokers named; it connects on first use.
func Open(cfg Config, log *slog.Logger, brokers ...string) (_ *Publisher, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Publisher{log: log, ways: make(map[string]broker.Publisher, len(brokers)), urls: map[string]string{}}
	topics := map[string]string{}
	for _, name := range brokers {
		n, err := cfg.need(name)
		if err != nil {
			return nil, err
		}
		if url := cfg.url(name); url != "" {
			p.urls[name] = url
			continue
		}
		if len(cfg.Brokers) == 0 {
			return nil, fault.New(fault.Invalid, "cannot reach broker %q: expected its URL in %sBROKER_…_URL, or %sKAFKA_BROKERS", name, function.Prefix, function.Prefix)
		}
		topics[name] = n.topic
		p.needs = append(p.needs, n)
	}
	if len(topics) > 0 {
		p.kafka, err = kafka.New(kafka.Config{
			Brokers: cfg.Brokers, Timeout: cfg.Timeout, MaxMessageBytes: cfg.MaxMessageBytes, Security: cfg.Security,
		})
		if err != nil {
			return nil, err
		}
		way := kafka.NewPublisher(p.kafka, topics)
		for name := range topics {
			p.ways[name] = way
		}
	}
	if len(p.urls) > 0 {
		transport := nethttp.DefaultTransport.(*nethttp.Transport).Clone()
		transport.MaxIdleConnsPerHost = postsAtOnce
		p.posts = &nethttp.Client{Transport: transport, Timeout: cfg.Timeout}
		way, err := http.New(http.Config{
			URLs: p.urls, Timeout: cfg.Timeout, Concurrency: postsAtOnce, MaxEventBytes: cfg.MaxMessageBytes, Transport: transport,
		})
		if err != nil {
			return nil, errors.Join(err, p.Close(context.Background()))
		}
		for name := range p.urls {
			p.ways[name] = way
		}
	}
	return p, nil
}

// Publish implements broker.Publisher.
func (p *Publisher) Publish(ctx context.Context, name string, events ...cloudevents.Event) error {
	way, ok := p.ways[name]
	if !ok {
		return fault.New(fault.Invalid, "cannot publish to broker %q: this process has no way to it", name)
	}
	return way.Publish(ctx, name, events...)
}

// Function is the publisher as a process runs it beside its function. It is
// not ready while a topic is not fit; that Kafka is away does not make it
// unready, for that is the function's own matter.
func (p *Publisher) Function() function.Function {
	return function.Function{Name: "broker", Run: p.Run, Ready: p.Fit, Close: p.Close}
}

// Pauses between looks at the topics.
const (
	firstLook = time.Second
	lastLook  = 15 * time.Second
)

// Run looks at the topics until they are fit, and tells what is wrong once for
// each time that it changes. It returns nil when they are, or when ctx is done.
func (p *Publisher) Run(ctx context.Context) error {
	if len(p.needs) == 0 {
		return nil
	}
	told := ""
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		unfit, err := p.look(ctx)
		p.mu.Lock()
		if err == nil {
			p.unfit = unfit
		}
		p.mu.Unlock()
		switch {
		case err != nil:
			if told == "" && ctx.Err() == nil {
				told = "away"
				p.log.Warn("cannot look at the topics yet", "error", err)
			}
		case unfit == nil:
			if told != "" {
				p.log.Info("the topics are as they must be")
			}
			return nil
		case told != unfit.Error():
			told = unfit.Error()
			p.log.Error("topics are not fit; this process is not ready until they are", "error", unfit)
		}
		// Instances that were started together do not ask together.
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Fit is nil unless Kafka has said that a topic is missing or too small.
func (p *Publisher) Fit(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unfit
}

// look asks Kafka. unfit is what is wrong; err that it could not be asked.
func (p *Publisher) look(ctx context.Context) (unfit, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	names := make([]string, len(p.needs))
	for i, n := range p.needs {
		names[i] = n.topic
	}
	topics, _, err := p.kafka.DescribeTopics(ctx, names...)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, n := range p.needs {
		state, ok := topics[n.topic]
		if !ok {
			errs = append(errs, fmt.Errorf("topic %q is missing: make it with: footfall topics ensure", n.topic))
			continue
		}
		if state.Partitions < n.partitions {
			errs = append(errs, fmt.Errorf("topic %q has %d partitions, expected at least %d", n.topic, state.Partitions, n.partitions))
		}
		// Who may not ask for settings finds out by a batch that is refused.
		if most, ok := state.Config[kafka.SettingMaxMessageBytes]; ok {
			if bytes, err := strconv.Atoi(most); err == nil && bytes < n.bytes {
				errs = append(errs, fmt.Errorf("topic %q takes %s of %d bytes, expected at least %d", n.topic, kafka.SettingMaxMessageBytes, bytes, n.bytes))
			}
		}
	}
	return errors.Join(errs...), nil
}

// Ready is nil when all Brokers can be published on now: the topics are fit
// and their leaders answer, and the Brokers with a URL do.
func (p *Publisher) Ready(ctx context.Context) error {
	if err := p.Fit(ctx); err != nil {
		return err
	}
	for _, n := range p.needs {
		if _, err := p.kafka.Ends(ctx, n.topic); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.urls)) {
		if err := p.reach(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// reach asks a Broker for an answer, of which only that it is one matters: by
// GET, which a receiver refuses without looking further.
func (p *Publisher) reach(ctx context.Context, name string) error {
	req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodGet, p.urls[name], nethttp.NoBody)
	if err != nil {
		return err
	}
	res, err := p.posts.Do(req)
	if err != nil {
		return fault.New(fault.Transient, "cannot reach broker %q: %w", name, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 500 || res.StatusCode == nethttp.StatusNotFound {
		return fault.New(fault.Transient, "cannot reach broker %q: it answered %s", name, res.Status)
	}
	return nil
}

// Close ends all connections; a publish under way fails.
func (p *Publisher) Close(context.Context) error {
	if p.posts != nil {
		p.posts.CloseIdleConnections()
	}
	if p.kafka == nil {
		return nil
	}
	return p.kafka.Close()
}
