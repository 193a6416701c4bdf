package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	broker "github.com/footfall/footfall/eventing/local"
	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/local/localtest"
	"github.com/footfall/footfall/shared/event"
)

// inProcess starts Footfall in this process, where a test may break what lies
// between its functions, and waits until it is ready.
func inProcess(t *testing.T, faults broker.Faults, environ ...string) *loadtest.Process {
	t.Helper()
	p, _ := launch(t, faults, environ...)
	for {
		err := p.Do(t.Context(), http.MethodGet, "/health/readiness", "", "", nil, http.StatusOK, nil)
		if err == nil {
			return p
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// launch is inProcess without waiting.
func launch(t *testing.T, faults broker.Faults, environ ...string) (*loadtest.Process, loadtest.Merchant) {
	t.Helper()
	runner := localtest.Start(t, local.Options{NoCron: true, Faults: faults}, environ...)
	f := runner.First
	return &loadtest.Process{URL: runner.URL(), AdminToken: runner.AdminToken()}, loadtest.Merchant{
		MerchantID: f.MerchantID, ReportToken: f.ReportToken, Streams: []loadtest.Stream{{MeasurementID: f.MeasurementID, APISecret: f.APISecret}},
	}
}

// questions are asked of both systems below; their answers must be the same.
var questions = []string{
	"metrics=activeUsers,newUsers,sessions,engagedSessions,screenPageViews,eventCount",
	"metrics=activeUsers,newUsers,sessions,eventCount&dimensions=date",
	"metrics=activeUsers,sessions,eventCount&dimensions=dateHour&limit=1000",
	"metrics=sessions,screenPageViews&dimensions=pagePath&limit=1000",
	"metrics=sessions,newUsers&dimensions=sessionSource,sessionMedium",
	"metrics=eventCount,activeUsers&dimensions=browser,deviceCategory",
}

func ask(t *testing.T, p *loadtest.Process, m loadtest.Merchant, question string) string {
	t.Helper()
	var answer struct {
		Rows   json.RawMessage `json:"rows"`
		Totals json.RawMessage `json:"totals"`
	}
	path := "/v1/reports/" + m.MerchantID + "?from=2026-03-09&to=2026-03-12&" + question
	if err := p.Do(t.Context(), http.MethodGet, path, m.ReportToken, "", nil, http.StatusOK, &answer); err != nil {
		t.Fatal(err)
	}
	return string(answer.Rows) + string(answer.Totals)
}

// Deliveries come twice, late and in any order, and their answers get lost,
// while hours are closed, documents merged and a merchant moves to another time
// zone: reports are those of a system where all goes well, and the ledger adds
// up at every moment.
func TestFaultsChangeNoNumber(t *testing.T) {
	const requests, perRequest = 60, 50
	faulty := inProcess(t, broker.Faults{Seed: 1, Duplicate: 0.3, LoseAck: 0.05, Delay: 0.5, MaxDelay: 40 * time.Millisecond, Reorder: true})
	calm := inProcess(t, broker.Faults{})

	systems := [2]*traffic{newTraffic(t, faulty, 11, 3), newTraffic(t, calm, 11, 3)}
	ledgerRange := url.Values{"from": {day.Format(time.RFC3339)}, "to": {day.AddDate(0, 0, 2).Format(time.RFC3339)}}
	const moves = 2 // the merchant who does
	for n, s := range systems {
		var done atomic.Bool
		var watching sync.WaitGroup
		if n == 0 {
			watching.Go(func() {
				for looks := 0; !done.Load(); looks++ {
					m := s.merchants[looks%len(s.merchants)]
					var l loadtest.Ledger
					if err := s.p.Do(t.Context(), http.MethodGet, "/v1/ledger/"+m.MerchantID+"?"+ledgerRange.Encode(), m.ReportToken, "", nil, http.StatusOK, &l); err != nil {
						t.Error(err)
						return
					}
					if !l.AddsUp {
						t.Errorf("the ledger does not add up: %+v", l.Totals)
					}
				}
			})
		}
		for i := range requests {
			s.send(t, 1, perRequest)
			if n == 0 && i == requests/2 || n == 1 && i == 0 {
				body := []byte(`{"time_zone":"Asia/Kolkata"}`)
				if err := s.p.Do(t.Context(), http.MethodPatch, "/v1/merchants/"+s.merchants[moves].MerchantID, s.p.AdminToken, "application/json", body, http.StatusOK, nil); err != nil {
					t.Fatal(err)
				}
			}
			if n == 0 && i%20 == 10 {
				if err := s.p.Tick(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for range 2 { // from documents, then from summaries
			err := s.p.WaitDelivered(ctx)
			if err == nil { // hours that are not UTC's
				err = s.p.WaitTotals(ctx, s.merchants[moves], s.truth.All(moves), day.AddDate(0, 0, -1), day.AddDate(0, 0, 2))
			}
			if err == nil {
				stay := *s
				stay.merchants = s.merchants[:moves]
				stay.check(t)
				err = s.p.Tick(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		done.Store(true)
		watching.Wait()
	}
	for i := range systems[0].merchants {
		for _, q := range questions {
			got, want := ask(t, faulty, systems[0].merchants[i], q), ask(t, calm, systems[1].merchants[i], q)
			if got != want {
				t.Errorf("merchant %d, %s:\nwith faults    %s\nwithout faults %s", i, q, got, want)
			}
		}
	}
}

// A batch that only the dead letter topic still has is counted after all.
func TestADeadLetterIsCountedInTheEnd(t *testing.T) {
	p := inProcess(t, broker.Faults{}, "FOOTFALL_JOURNAL_REPUBLISH_AFTER=1ms")
	m := merchant(t, p)
	id, err := event.NewBatchID()
	if err != nil {
		t.Fatal(err)
	}
	b := &event.Batch{ID: id, ReceivedAt: noon, Instance: "lost", Events: []event.Event{
		{ID: "1", Source: "/x", Stream: m.Streams[0].MeasurementID, Name: "page_view", ClientID: "anna", TimeMicros: noon.UnixMicro()},
	}}
	data, err := event.EncodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	letter := cloudevents.NewEvent()
	letter.SetID(id.String())
	letter.SetType(event.TypeBatchAccepted)
	letter.SetSource("/ingest/lost")
	if err := letter.SetData(event.ContentTypeBatch, data); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(letter)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), http.MethodPost, "/brokers/batches-dead", "", cloudevents.ApplicationCloudEventsJSON, body, http.StatusAccepted, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.WaitDelivered(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Tick(ctx); err != nil {
		t.Fatal(err)
	}
	waitCounted(t, p, m, views(1))
}

// What is sent to a new Footfall before it is ready is counted as soon as it
// is, and not when the journal finds that nobody has read it.
func TestEventsBeforeItIsReady(t *testing.T) {
	p, m := launch(t, broker.Faults{})
	visits := &traffic{p: p, merchants: []loadtest.Merchant{m}, truth: loadtest.NewTruths(), at: noon}
	visits.mix = loadtest.NewMix(loadtest.DefaultMix(5, loadtest.StreamsOf(visits.merchants)), visits.truth)
	sender := loadtest.NewSender(p.URL, 4)
	if err := sender.PostAll(t.Context(), visits.requests(300, 1)); err != nil {
		t.Fatal(err)
	}
	visits.again = sender.Outcome().SentAgain()
	visits.check(t)
}
