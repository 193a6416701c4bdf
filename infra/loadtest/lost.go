package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/footfall/footfall/shared/event"
)

// Disable has a merchant's first stream disabled, or enabled again.
func (p *Process) Disable(ctx context.Context, m Merchant, disabled bool) error {
	path := "/v1/merchants/" + m.MerchantID + "/streams/" + m.Streams[0].MeasurementID
	return p.Do(ctx, http.MethodPatch, path, p.AdminToken, "application/json", fmt.Appendf(nil, `{"disabled":%t}`, disabled), http.StatusOK, nil)
}

// PublishBatch puts a batch of n page views of a merchant's first stream on a
// Broker, as ingest does, but for the journal. prefix makes their ids; each is
// another client's.
func (p *Process) PublishBatch(ctx context.Context, broker string, m Merchant, at time.Time, prefix string, n int) error {
	return p.PublishBatchOf(ctx, broker, m, at, prefix, "", n)
}

// PublishBatchOf is PublishBatch of one client's page views.
func (p *Process) PublishBatchOf(ctx context.Context, broker string, m Merchant, at time.Time, prefix, client string, n int) error {
	now := time.Now().UTC()
	id, err := event.NewBatchIDAt(now)
	if err != nil {
		return err
	}
	b := &event.Batch{ID: id, ReceivedAt: now, Instance: "loadtest"}
	for i := range n {
		who := client
		if who == "" {
			who = fmt.Sprint("c", i)
		}
		b.Events = append(b.Events, event.Event{
			ID: fmt.Sprint(prefix, "-", i), Source: "/loadtest", Stream: m.Streams[0].MeasurementID, Name: "page_view", ClientID: who,
			TimeMicros: at.Add(time.Duration(i) * time.Second).UnixMicro(), PageLocation: "https://shop.example/",
		})
	}
	data, err := event.EncodeBatch(b)
	if err != nil {
		return err
	}
	e := cloudevents.NewEvent()
	e.SetID(id.String())
	e.SetType(event.TypeBatchAccepted)
	e.SetSource("/loadtest")
	e.SetTime(now)
	if err := e.SetData(event.ContentTypeBatch, data); err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return p.Do(ctx, http.MethodPost, "/brokers/"+broker, "", cloudevents.ApplicationCloudEventsJSON, body, http.StatusAccepted, nil)
}

// LoseEvents disables a merchant's stream, has batches of 10 events rejected for
// that, at least so many, and enables it again. It returns the ledger's totals:
// a few events may be counted, until the ETL knows.
func (p *Process) LoseEvents(ctx context.Context, m Merchant, at time.Time, batches int) (Ledger, error) {
	if err := p.Disable(ctx, m, true); err != nil {
		return Ledger{}, err
	}
	var l Ledger
	for n := 0; l.Totals.Rejected["disabled_stream"] < int64(10*batches); n++ {
		err := p.PublishBatch(ctx, "batches", m, at.Add(time.Duration(n)*time.Minute), fmt.Sprint("lost", n), 10)
		for done := int64(-1); err == nil && done < int64(10*(n+1)); {
			if l, err = p.Ledger(ctx, m, at.Add(-24*time.Hour).Truncate(time.Hour), at.Add(48*time.Hour).Truncate(time.Hour)); err == nil {
				done = l.Totals.Counted + l.Totals.Rejected["disabled_stream"]
			}
		}
		if err != nil {
			return l, err
		}
	}
	return l, p.Disable(ctx, m, false)
}
