package merchant

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/view"
)

// Config is the function's configuration from the environment.
type Config struct {
	// AdminToken is the operator's. With an empty one nobody is.
	AdminToken function.Secret `env:"ADMIN_TOKEN"`
}

// Processed is what the function needs of processed data: whether there is any
// of a merchant, and that a change of settings that alters numbers is counted.
// store.Processed is one.
type Processed interface {
	Extent(ctx context.Context, merchant string, revs ...store.Revision) (first, last event.Hour, ok bool, err error)
	Mark(ctx context.Context, marks []store.Mark) error
}

// Limits of a request.
const (
	maxBody      = 64 << 10
	timeout      = 10 * time.Second // for all that a request asks of the stores
	maxConflicts = 5                // tries of a change that others overtake
	maxKey       = 255              // bytes of an idempotency key
	maxPage      = 1000
	defaultPage  = 100
)

// Service answers requests about merchants.
type Service struct {
	registry  store.Registry
	processed Processed
	views     view.Keeper
	published *view.Published
	erasures  store.Erasures
	authorize *access.Authorizer
	clock     function.Clock
}

// publishedAge is how old may be what is known to be published.
const publishedAge = time.Second

// New makes the service. The authorizer is the process's one.
func New(registry store.Registry, processed Processed, published view.Publications, erasures store.Erasures, authorize *access.Authorizer, clock function.Clock) *Service {
	return &Service{
		registry: registry, processed: processed, views: view.Keeper{Registry: registry, Marks: processed},
		published: view.NewPublished(published, publishedAge, clock), erasures: erasures, authorize: authorize, clock: clock,
	}
}

// Function is the service as its runner serves it.
func (s *Service) Function() function.Function {
	return function.Function{Name: "merchant", Routes: s.routes}
}

func (s *Service) routes(mux *http.ServeMux) {
	mux.Handle("POST /v1/merchants", s.handle(access.CreateMerchant, s.create))
	mux.Handle("POST /v1/merchants:batchCreate", s.handleUpTo(maxCreationsBody, creationsTimeout, access.CreateMerchant, s.createMany))
	mux.Handle("GET /v1/merchants", s.handle(access.ListMerchants, s.list))
	mux.Handle("GET /v1/merchants/{id}", s.handle(access.ReadMerchant, s.get))
	mux.Handle("PATCH /v1/merchants/{id}", s.handle(access.ChangeMerchant, s.patch))
	mux.Handle("POST /v1/merchants/{id}/streams", s.handle(access.ChangeMerchant, s.addStream))
	mux.Handle("PATCH /v1/merchants/{id}/streams/{stream}", s.handle(access.ChangeMerchant, s.patchStream))
	mux.Handle("POST /v1/merchants/{id}/streams/{stream}/secrets", s.handle(access.ChangeMerchant, s.addSecret))
	mux.Handle("DELETE /v1/merchants/{id}/streams/{stream}/secrets/{secret}", s.handle(access.ChangeMerchant, s.removeSecret))
	mux.Handle("POST /v1/merchants/{id}/report-tokens", s.handle(access.ChangeMerchant, s.addReportToken))
	mux.Handle("DELETE /v1/merchants/{id}/report-tokens/{token}", s.handle(access.ChangeMerchant, s.removeReportToken))
	mux.Handle("POST /v1/merchants/{id}/erasures", s.handle(access.ChangeMerchant, s.eraseSomebody))
	mux.Handle("GET /v1/merchants/{id}/erasures", s.handle(access.ChangeMerchant, s.listErasures))
	mux.Handle("GET /v1/merchants/{id}/erasures/{erasure}", s.handle(access.ChangeMerchant, s.getErasure))
}

// answer is what a handler made of a request.
type answer struct {
	status   int
	body     any // nil: none
	version  uint64
	location string
}

// handle authorises a request, bounds it, and writes what h answers.
func (s *Service) handle(action access.Action, h func(ctx context.Context, r *http.Request) (answer, error)) http.Handler {
	return s.handleUpTo(maxBody, timeout, action, h)
}

// handleUpTo is handle with bounds of its own.
func (s *Service) handleUpTo(maxBody int64, timeout time.Duration, action access.Action, h func(ctx context.Context, r *http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// Answers hold credentials or are about one asker: nobody keeps them.
		w.Header().Set("Cache-Control", "no-store")
		if _, err := s.authorize.Authorize(ctx, r, action, r.PathValue("id")); err != nil {
			function.WriteError(w, err)
			return
		}
		a, err := h(ctx, r)
		if a.location != "" {
			w.Header().Set("Location", a.location)
		}
		if err != nil {
			function.WriteError(w, err)
			return
		}
		if a.version > 0 {
			w.Header().Set("ETag", etag(a.version))
		}
		if a.body == nil {
			w.WriteHeader(a.status)
			return
		}
		function.WriteJSON(w, a.status, a.body)
	})
}

// change reads a merchant, lets f change it and writes it back, again where
// somebody else came between. f reports whether anything changed. A request
// with If-Match is tried once and meets Conflict instead.
func (s *Service) change(ctx context.Context, r *http.Request, f func(m *access.Merchant) (bool, error)) (access.Merchant, error) {
	id, match := r.PathValue("id"), r.Header.Get("If-Match")
	for try := 1; ; try++ {
		m, err := s.registry.Merchant(ctx, id)
		if err != nil {
			return m, err
		}
		if match != "" && match != "*" && match != etag(m.Version) {
			return m, fault.New(fault.Conflict, "cannot change merchant %q: its version is %s now", id, etag(m.Version))
		}
		before := m
		changed, err := f(&m)
		if err != nil || !changed {
			return m, err
		}
		err = s.views.Update(ctx, &before, &m)
		if err == nil {
			m.Version++
			return m, nil
		}
		if !fault.Is(err, fault.Conflict) || match != "" || try == maxConflicts {
			return m, err
		}
	}
}

// hasEvents reports whether there is anything of a merchant to be counted.
func (s *Service) hasEvents(ctx context.Context, m *access.Merchant) (bool, error) {
	var revs []store.Revision
	for _, v := range m.AllViews() {
		revs = append(revs, v.Layers.Revisions()...)
	}
	slices.Sort(revs)
	_, _, some, err := s.processed.Extent(ctx, m.ID, slices.Compact(revs)...)
	if err != nil {
		return false, fmt.Errorf("cannot find the events of merchant %q: %w", m.ID, err)
	}
	return some, nil
}
