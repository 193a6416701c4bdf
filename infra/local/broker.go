package local

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/eventing"
	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// brokerFunction is the local broker as a process serves it: dispatcher, cron
// and ingress. It stops before the functions that it delivers to, and after
// those that publish.
type brokerFunction struct {
	dispatcher *broker.Dispatcher
	server     *broker.Kafka // nil: it is not ours
	cron       *broker.Cron  // nil: none
	ingress    http.Handler
	started    atomic.Bool
	patient    bool // Kafka may be away when it starts
	log        *slog.Logger
}

// brokerParts are what a brokerFunction is made of.
type brokerParts struct {
	wiring     *eventing.Wiring
	dispatcher *broker.Dispatcher
	server     *broker.Kafka
	kafka      *kafka.Client
	publisher  *kafka.Publisher
	admin      *access.Authorizer
	clock      function.Clock
	cron       bool
	log        *slog.Logger
}

func newBrokerFunction(p brokerParts) (*brokerFunction, error) {
	b := &brokerFunction{dispatcher: p.dispatcher, server: p.server, log: p.log}
	names := make([]string, 0, len(p.wiring.Brokers))
	for _, w := range p.wiring.Brokers {
		names = append(names, w.Name)
	}
	b.ingress = trusted(broker.NewIngress(broker.IngressConfig{Brokers: names, Publisher: p.publisher, Status: p.dispatcher.Status, Log: p.log}), p.admin)
	if p.cron {
		var err error
		if b.cron, err = broker.NewCron(broker.CronConfig{Wiring: p.wiring, Kafka: p.kafka, Now: p.clock, Log: p.log}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *brokerFunction) function() function.Function {
	return function.Function{
		Name: "broker",
		Routes: func(mux *http.ServeMux) {
			mux.Handle("/brokers", b.ingress)
			mux.Handle("/brokers/{name}", b.ingress)
		},
		Ready: func(context.Context) error {
			if !b.started.Load() {
				return errors.New("the dispatcher has not started")
			}
			return nil
		},
		Run: func(ctx context.Context) error {
			if err := b.start(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			b.started.Store(true)
			var running sync.WaitGroup
			if b.cron != nil {
				running.Go(func() { b.cron.Run(ctx) })
			}
			b.release(ctx)
			running.Wait()
			return nil
		},
		Close: func(context.Context) error { return b.dispatcher.Close() },
	}
}

// releaseEvery is how often the Kafka in this process lets go of what every
// Trigger has settled. All of it is in the journal, too.
const releaseEvery = 30 * time.Second

// release does so until ctx ends.
func (b *brokerFunction) release(ctx context.Context) {
	beat := time.NewTicker(releaseEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		if b.server == nil {
			continue
		}
		b.dispatcher.Settled(func(topic string, partition int, offset int64) {
			if err := b.server.Release(topic, partition, offset); err != nil {
				b.log.Warn("the in-process Kafka keeps what is delivered", "error", err)
			}
		})
	}
}

// start starts the dispatcher; told to stop before it had started, it returns
// nil.
func (b *brokerFunction) start(ctx context.Context) error {
	for {
		starting, cancel := context.WithTimeout(ctx, startTimeout)
		err := b.dispatcher.Start(starting)
		cancel()
		if err == nil || !b.patient && ctx.Err() == nil {
			return err
		}
		if ctx.Err() == nil {
			b.log.Warn("cannot start the dispatcher yet, trying again", "error", err)
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// ForwardBrokers serves /brokers/{name} where the Brokers are elsewhere: it
// hands what it may take on to name below their ingress, as it came.
func ForwardBrokers(ingress *url.URL, admin function.Secret) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /brokers/{name}", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = ingress.JoinPath(r.In.PathValue("name"))
			r.Out.Host = ""
			r.Out.Header.Del("Authorization") // it is for us
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			function.WriteError(w, fault.New(fault.Transient, "cannot reach the Brokers: %w", err))
		},
	})
	return trusted(mux, access.NewAuthorizer(admin.Reveal(), nobody{}))
}

// trusted lets through whom a Broker inside a cluster would hear: programs on
// this machine, or whoever holds the admin token. A request that a proxy on
// this machine hands on comes from elsewhere.
func trusted(next http.Handler, admin *access.Authorizer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		ip := net.ParseIP(host)
		here := err == nil && ip != nil && ip.IsLoopback() && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
		if !here {
			if _, err := admin.Authorize(r.Context(), r, access.Operate, ""); err != nil {
				function.WriteError(w, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
