package report

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/summary"
)

// property is a call of the Data API about one property.
type property struct {
	s        *Service
	w        http.ResponseWriter
	merchant access.Merchant
	cal      *summary.Calendar
	body     []byte
}

// methods are those of the Data API that are POSTed.
var methods = map[string]func(p *property, ctx context.Context) ([]byte, error){
	"runReport":            (*property).runReport,
	"batchRunReports":      (*property).batchRunReports,
	"runPivotReport":       (*property).runPivotReport,
	"batchRunPivotReports": (*property).batchRunPivotReports,
	"runRealtimeReport":    (*property).runRealtimeReport,
	"checkCompatibility":   (*property).checkCompatibility,
}

const methodNames = "runReport, batchRunReports, runPivotReport, batchRunPivotReports, runRealtimeReport or checkCompatibility"

// postProperty answers the Data API's methods of one property.
func (s *Service) postProperty(w http.ResponseWriter, r *http.Request) {
	id, method, _ := strings.Cut(r.PathValue("call"), ":")
	s.google(w, r, id, func(ctx context.Context, a asking) ([]byte, error) {
		call := methods[method]
		if call == nil {
			return nil, fault.New(fault.NotFound, "cannot find method %q: expected %s", method, methodNames)
		}
		m, cal, err := s.merchant(ctx, a)
		if err != nil {
			return nil, err
		}
		tellRevision(w, &m)
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return nil, fault.New(fault.TooLarge, "cannot read the request: expected at most %d bytes of JSON", maxBody)
		}
		return call(&property{s, w, m, cal, body}, ctx)
	})
}

// getMetadata answers the catalog, and what the merchant has defined of its
// own, in the Data API's form.
func (s *Service) getMetadata(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("merchant_id")
	s.google(w, r, id, func(ctx context.Context, _ asking) ([]byte, error) {
		m, err := s.merchants.Merchant(ctx, id)
		if err != nil {
			return nil, err
		}
		return report.GoogleMetadata(s.catalog, id, m.Settings.CustomDefinitions)
	})
}

// google authorises a call, bounds it and writes its answer or its error as
// Google does.
func (s *Service) google(w http.ResponseWriter, r *http.Request, id string, answer func(ctx context.Context, a asking) ([]byte, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Deadline)
	defer cancel()
	private(w)
	a := asking{merchant: id, revision: r.URL.Query().Get("revision")}
	var body []byte
	var err error
	if a.who, err = s.authorize.Authorize(ctx, r, access.ReadReport, id); err == nil {
		body, err = answer(ctx, a)
	}
	if r.Context().Err() != nil {
		return // a reader who is gone needs no answer
	}
	if err != nil {
		err = s.deadline(ctx, err)
		var f *fault.Error
		if errors.As(err, &f) && f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
		}
		status, body := report.GoogleError(err)
		send(w, status, "application/json; charset=UTF-8", body)
		return
	}
	send(w, http.StatusOK, "application/json; charset=UTF-8", body)
}

func (p *property) today() report.Day { return p.s.today(p.cal) }

func (p *property) run(ctx context.Context, q *report.Query, question string) (*report.Result, error) {
	result, _, err := p.s.run(ctx, p.merchant, p.cal, q, question)
	return result, err
}

// parser reads a question out of a body; today is the day on the merchant's clock.
type parser[Q any] func(c *catalog.Catalog, merchant string, currencies report.Currencies, body []byte, today report.Day) (Q, error)

func parse[Q any](p *property, parse parser[Q]) (Q, error) {
	return parse(p.s.catalog, p.merchant.ID, currenciesOf(&p.merchant, p.cal), p.body, p.today())
}

func (p *property) runReport(ctx context.Context) ([]byte, error) {
	return p.one(ctx, "google ", report.ParseGoogle, (*report.Result).AppendGoogle)
}

func (p *property) runPivotReport(ctx context.Context) ([]byte, error) {
	return p.one(ctx, "pivot ", report.ParsePivot, (*report.Result).AppendPivot)
}

func (p *property) runRealtimeReport(ctx context.Context) ([]byte, error) {
	streams := map[string]string{}
	for _, s := range p.merchant.Streams {
		streams[s.MeasurementID] = s.Name
	}
	read := func(c *catalog.Catalog, merchant string, _ report.Currencies, body []byte, _ report.Day) (*report.Query, error) {
		return report.ParseRealtime(c.Realtime(streams, report.RealtimeMinutes), merchant, body, p.s.clock())
	}
	return p.one(ctx, "realtime ", read, (*report.Result).AppendGoogle)
}

// one answers a question; its form and its text name it.
func (p *property) one(ctx context.Context, form string, read parser[*report.Query], write func(*report.Result, []byte) []byte) ([]byte, error) {
	q, err := parse(p, read)
	if err != nil {
		return nil, err
	}
	result, err := p.run(ctx, q, form+string(p.body))
	if err != nil {
		return nil, err
	}
	result.Meta.Headers(p.w.Header().Set)
	return write(result, make([]byte, 0, 1024+len(result.Rows)*256)), nil
}

func (p *property) batchRunReports(ctx context.Context) ([]byte, error) {
	return p.batch(ctx, "batch ", report.ParseGoogleBatch, report.AppendGoogleBatch)
}

func (p *property) batchRunPivotReports(ctx context.Context) ([]byte, error) {
	return p.batch(ctx, "pivot batch ", report.ParsePivotBatch, report.AppendPivotBatch)
}

// batch answers several questions, one after the other: a merchant's batch has
// no more of the machine than its single reports.
func (p *property) batch(ctx context.Context, form string, read parser[[]*report.Query], write func([]byte, []*report.Result) []byte) ([]byte, error) {
	queries, err := parse(p, read)
	if err != nil {
		return nil, err
	}
	results := make([]*report.Result, len(queries))
	for i, q := range queries {
		// The question is the batch's, by place: its text is read once.
		if results[i], err = p.run(ctx, q, form+strconv.Itoa(i)+" "+string(p.body)); err != nil {
			return nil, err
		}
	}
	return write(nil, results), nil
}

func (p *property) checkCompatibility(context.Context) ([]byte, error) {
	return report.GoogleCompatibility(p.s.catalog, p.merchant.ID, p.body)
}
