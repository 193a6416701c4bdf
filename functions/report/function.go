package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
	"github.com/footfall/footfall/shared/view"
)

// Config is the function's configuration from the environment.
type Config struct {
	// AdminToken is the operator's. With an empty one nobody is.
	AdminToken function.Secret `env:"ADMIN_TOKEN"`

	Deadline    time.Duration `env:"REPORT_DEADLINE" envDefault:"20s"`         // for one answer
	Concurrency int           `env:"REPORT_CONCURRENCY" envDefault:"0"`        // reports that read documents at once; 0: one for each core
	PerMerchant int           `env:"REPORT_PER_MERCHANT" envDefault:"2"`       // of these, of one merchant
	Queue       int           `env:"REPORT_QUEUE" envDefault:"64"`             // of one merchant, waiting
	QueueWait   time.Duration `env:"REPORT_QUEUE_WAIT" envDefault:"5s"`        // then 503
	MaxEvents   int64         `env:"REPORT_MAX_EVENTS" envDefault:"20000000"`  // rows of documents that one report may look at
	MaxGroups   int           `env:"REPORT_MAX_GROUPS" envDefault:"1000000"`   // rows that one report may group into
	CacheBytes  int           `env:"REPORT_CACHE_BYTES" envDefault:"33554432"` // memory for decoded records; 0 keeps none
	LiveAge     time.Duration `env:"REPORT_LIVE_AGE" envDefault:"1500ms"`      // of what is worked out of open hours, while events keep coming
	LiveEvents  int64         `env:"REPORT_LIVE_EVENTS" envDefault:"4000000"`  // that it is worked out of once for all readers, with what lies around, some 300 B each meanwhile; of more, what is around is not held
	LiveBytes   int           `env:"REPORT_LIVE_BYTES" envDefault:"-1"`        // memory for it; -1 is a sixteenth of what the process may take
	TallyBytes  int           `env:"REPORT_TALLY_BYTES" envDefault:"-1"`       // memory for counting on from there; 0 counts all anew, -1 is a sixth of what the process may take
	SettingsAge time.Duration `env:"REPORT_SETTINGS_AGE" envDefault:"1s"`      // how long a merchant's settings are kept
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		v     int64
		least int64
	}{
		{"REPORT_DEADLINE", int64(c.Deadline), 1}, {"REPORT_CONCURRENCY", int64(c.Concurrency), 0}, {"REPORT_PER_MERCHANT", int64(c.PerMerchant), 1},
		{"REPORT_QUEUE", int64(c.Queue), 0}, {"REPORT_QUEUE_WAIT", int64(c.QueueWait), 1}, {"REPORT_MAX_EVENTS", c.MaxEvents, 1},
		{"REPORT_MAX_GROUPS", int64(c.MaxGroups), 1}, {"REPORT_SETTINGS_AGE", int64(c.SettingsAge), 0},
		{"REPORT_CACHE_BYTES", int64(c.CacheBytes), 0}, {"REPORT_LIVE_AGE", int64(c.LiveAge), 0}, {"REPORT_LIVE_EVENTS", c.LiveEvents, 1}, {"REPORT_LIVE_BYTES", int64(c.LiveBytes), -1},
		{"REPORT_TALLY_BYTES", int64(c.TallyBytes), -1},
	} {
		if f.v < f.least {
			errs = append(errs, fmt.Errorf("%s%s: expected at least %d, got %d", function.Prefix, f.name, f.least, f.v))
		}
	}
	if c.SettingsAge > 10*time.Second {
		errs = append(errs, fmt.Errorf("%sREPORT_SETTINGS_AGE: expected at most 10s, got %s", function.Prefix, c.SettingsAge))
	}
	return errors.Join(errs...)
}

// publishedAge is how old may be what is known to be published, at most.
const publishedAge = time.Second

// registryTimeout is for one question to the registry.
const registryTimeout = 5 * time.Second

// maxBody bounds the body of runReport.
const maxBody = 256 << 10

// Service answers merchants' questions.
type Service struct {
	config    Config
	ports     Ports
	clock     function.Clock
	catalog   *catalog.Catalog
	catalogJS []byte
	merchants *merchants
	published *view.Published
	authorize *access.Authorizer
	gate      *gate
	records   *records
	live      *live
	repairs   *repairs
	tags      *tags
}

// Ports are the stores that reports read.
type Ports struct {
	Registry  store.Registry
	Revisions store.Revisions
	Journal   store.Journal
	Processed store.Processed
	Summaries store.Summaries
	History   *history.Loader
	Log       *slog.Logger // nil: no log
}

// New makes the service.
func New(config Config, ports Ports, clock function.Clock) *Service {
	if config.Concurrency == 0 {
		config.Concurrency = runtime.GOMAXPROCS(0)
	}
	if ports.Log == nil {
		ports.Log = slog.New(slog.DiscardHandler)
	}
	cat := catalog.New()
	known := newMerchants(ports.Registry, config.SettingsAge, clock)
	return &Service{
		config: config, ports: ports, clock: clock, catalog: cat, catalogJS: cat.JSON(), merchants: known,
		published: view.NewPublished(ports.Revisions, min(config.SettingsAge, publishedAge), clock),
		authorize: access.NewAuthorizer(string(config.AdminToken), known),
		gate:      newGate(config.Concurrency, config.PerMerchant, config.Queue, config.QueueWait),
		records:   newRecords(config.CacheBytes),
		live:      newLive(&config, &ports, clock),
		repairs:   newRepairs(ports.Processed, clock, ports.Log),
		tags:      newTags(),
	}
}

// Function is the service as its runner serves it.
func (s *Service) Function() function.Function {
	return function.Function{Name: "report", Routes: s.routes, Run: s.repairs.run, Express: map[string]http.HandlerFunc{
		reportsOf: s.handle(access.ReadReport, s.getReport).ServeHTTP,
	}}
}

const reportsOf = "GET /v1/reports/{merchant_id}"

func (s *Service) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/catalog", s.getCatalog)
	mux.Handle(reportsOf, s.handle(access.ReadReport, s.getReport))
	mux.Handle("GET /v1/ledger/{merchant_id}", s.handle(access.ReadReport, s.getLedger))
	mux.Handle("GET /v1/rejected/{merchant_id}", s.handle(access.ReadReport, s.getRejected))
	mux.Handle("GET /v1/rejected", s.handle(access.Operate, s.getRejected))
	// A pattern's wildcard takes a whole segment; the verb behind the colon
	// is cut off here.
	mux.HandleFunc("POST /v1beta/properties/{call}", s.postProperty)
	mux.HandleFunc("GET /v1beta/properties/{merchant_id}/metadata", s.getMetadata)
}

// asking is who asks about a merchant, and as of which revision.
type asking struct {
	who      access.Principal
	merchant string // "": about none
	revision string // "": what is shown
}

// handle authorises a request, bounds it and writes its error.
func (s *Service) handle(action access.Action, h func(ctx context.Context, w http.ResponseWriter, r *http.Request, a asking) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.config.Deadline)
		defer cancel()
		private(w)
		a := asking{merchant: r.PathValue("merchant_id")}
		var err error
		if a.who, err = s.authorize.Authorize(ctx, r, action, a.merchant); err == nil {
			err = h(ctx, w, r, a)
		}
		if err != nil && r.Context().Err() == nil { // a reader who is gone needs no answer
			function.WriteError(w, s.deadline(ctx, err))
		}
	})
}

// deadline says of a report that took too long what to do about it: its reader
// can narrow it, while our stores may be well.
func (s *Service) deadline(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && fault.KindOf(err) == fault.Transient {
		return &fault.Error{Kind: fault.Overloaded, RetryAfter: s.config.QueueWait,
			Err: fmt.Errorf("cannot finish this report within %s: ask for fewer days, or without a filter or second dimension", s.config.Deadline)}
	}
	return err
}

func private(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Vary", "Accept, Authorization")
}

func (s *Service) getCatalog(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(s.catalogJS) // the client may be gone; nothing is left to tell it
}

// merchant finds the merchant, in the view that an answer is given from, with
// its calendar.
func (s *Service) merchant(ctx context.Context, a asking) (access.Merchant, *summary.Calendar, error) {
	m, err := s.merchants.Merchant(ctx, a.merchant)
	if err != nil {
		return m, nil, err
	}
	v, err := s.view(ctx, &m, a)
	if err != nil {
		return m, nil, err
	}
	m = m.In(v)
	cal, err := summary.NewCalendar(m.Settings.TimeZone)
	if err != nil {
		return m, nil, fmt.Errorf("cannot use the settings of merchant %q: %w", a.merchant, err)
	}
	return m, cal, nil
}

// tellRevision says in an answer's header what stands in few of their bodies.
func tellRevision(w http.ResponseWriter, m *access.Merchant) {
	w.Header().Set("Footfall-Revision", strconv.FormatUint(uint64(m.Layers.Top()), 10))
}

func (s *Service) today(cal *summary.Calendar) report.Day {
	return report.Day(cal.CivilDay(s.clock().UnixMilli()))
}

func (s *Service) getReport(ctx context.Context, w http.ResponseWriter, r *http.Request, a asking) error {
	form, write, err := format(r.Header.Get("Accept"))
	if err != nil {
		return err
	}
	v, err := query(r)
	if err != nil {
		return err
	}
	a.revision = v.Get("revision")
	m, cal, err := s.merchant(ctx, a)
	if err != nil {
		return err
	}
	tellRevision(w, &m)
	q, err := report.ParseURL(s.catalog, m.ID, v, s.today(cal))
	if err != nil {
		return err
	}
	if err := q.Convert("currency", v.Get("currency"), currenciesOf(&m, cal)); err != nil {
		return err
	}
	// A reader may keep the answer and must ask whether it is still right.
	w.Header().Set("Cache-Control", "private, no-cache")
	question := "url " + r.URL.RawQuery
	key, has := s.tagKey(&m, cal, form, question), r.Header.Get("If-None-Match")
	if has != "" {
		if kept, same := s.unchanged(ctx, &m, cal, q, key, has); same {
			tell(w, kept.tag, &kept.meta)
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	result, version, err := s.run(ctx, m, cal, q, question)
	if err != nil {
		return err
	}
	tag := result.Tag(form)
	s.remember(ctx, key, result, version, tag)
	tell(w, tag, &result.Meta)
	if has != "" && matches(has, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return write(w, result)
}

// query reads a request's parameters. One that cannot be read is an error and
// not passed over: without a filter that holds a bare semicolon the report
// would answer another question.
func query(r *http.Request) (url.Values, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Field: "query", Expected: "parameters that are percent-encoded (%3B for a semicolon)", Err: err}
	}
	return v, nil
}

// format picks the form of the answer by an Accept header: the first of its
// media types that Footfall writes, JSON where it is open.
func format(accept string) (form string, write func(http.ResponseWriter, *report.Result) error, err error) {
	if accept == "" {
		return "json", writeJSON, nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "application/json", "*/*", "application/*":
			return "json", writeJSON, nil
		case "text/csv":
			return "csv", writeCSV, nil
		case "text/plain", "text/*":
			return "text", writeText, nil
		}
	}
	return "", nil, fault.Field("Accept", "application/json, text/csv or text/plain")
}

func writeJSON(w http.ResponseWriter, result *report.Result) error {
	send(w, http.StatusOK, "application/json", result.AppendJSON(make([]byte, 0, 1024+len(result.Rows)*192)))
	return nil
}

func writeCSV(w http.ResponseWriter, result *report.Result) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	_ = result.WriteCSV(w) // the client may be gone; nothing is left to tell it
	return nil
}

func writeText(w http.ResponseWriter, result *report.Result) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = result.WriteText(w) // as above
	return nil
}

func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; nothing is left to tell it
}
