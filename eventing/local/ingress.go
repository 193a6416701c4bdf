package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
)

const defaultEventBytes = 1 << 20

// IngressConfig is what the Brokers' ingress works with. Zero values mean the
// defaults.
type IngressConfig struct {
	Brokers   []string // names that it answers to
	Publisher broker.Publisher
	MaxBytes  int64                 // of an event's body; default 1 MiB
	Timeout   time.Duration         // of a publish; default 10 s
	Status    func() []BrokerStatus // for the listing; nil: no listing
	Log       *slog.Logger          // default: none
}

// Ingress takes events for the Brokers as Knative's receiver does:
//
//	POST /brokers/{name}   one event in binary or structured mode: 202 with an
//	                       empty body when it is durable in the Broker's topic,
//	                       400 no CloudEvent (nor is a batch), 404 no such
//	                       Broker, 503 not durable (with Retry-After) or too
//	                       large (without)
//	GET  /brokers          the Brokers and Triggers with their lag, as JSON
//
// Knative's receiver has no 413 either: it finds out from Kafka that an event
// is too large, so that whoever publishes has to mind the size beforehand.
//
// All but 202 say in plain text what was wrong.
type Ingress struct {
	cfg   IngressConfig
	known map[string]bool
	mux   *http.ServeMux
}

// NewIngress makes the ingress.
func NewIngress(cfg IngressConfig) *Ingress {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultEventBytes
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	in := &Ingress{cfg: cfg, known: make(map[string]bool, len(cfg.Brokers)), mux: http.NewServeMux()}
	for _, name := range cfg.Brokers {
		in.known[name] = true
	}
	in.mux.HandleFunc("POST /brokers/{name}", in.post) // another method is a 405 by the mux
	if cfg.Status != nil {
		in.mux.HandleFunc("GET /brokers", in.list)
	}
	return in
}

// ServeHTTP implements http.Handler.
func (in *Ingress) ServeHTTP(w http.ResponseWriter, r *http.Request) { in.mux.ServeHTTP(w, r) }

func (in *Ingress) post(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !in.known[name] {
		http.Error(w, "there is no broker "+strconv.Quote(name), http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, in.cfg.MaxBytes))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			in.fail(w, name, fault.New(fault.TooLarge, "the event is over %d bytes", in.cfg.MaxBytes))
			return
		}
		http.Error(w, "cannot read the event: "+err.Error(), http.StatusBadRequest)
		return
	}
	e, err := broker.ReadHTTP(r.Header, body)
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), in.cfg.Timeout)
		defer cancel()
		err = in.cfg.Publisher.Publish(ctx, name, e)
	}
	if err != nil {
		in.fail(w, name, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (in *Ingress) fail(w http.ResponseWriter, name string, err error) {
	status := fault.KindOf(err).Status()
	switch status {
	case http.StatusUnsupportedMediaType:
		status = http.StatusBadRequest
	case http.StatusRequestEntityTooLarge:
		http.Error(w, err.Error()+"; trying again will not help", http.StatusServiceUnavailable)
		return
	}
	if status >= 500 {
		in.cfg.Log.Warn("cannot take an event", "broker", name, "err", err)
		after := time.Second
		var f *fault.Error
		if errors.As(err, &f) && f.RetryAfter > 0 {
			after = f.RetryAfter
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	http.Error(w, err.Error(), status)
}

func (in *Ingress) list(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(struct {
		Brokers []BrokerStatus `json:"brokers"`
	}{in.cfg.Status()}, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the client is gone if it fails
}
