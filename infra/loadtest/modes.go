package loadtest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// SendEachMode sends events in each mode of CloudEvents over HTTP, as the
// official SDK's client sends them, and some of them a second time in another
// mode: what is sent twice counts once. It returns what reports must say then.
func SendEachMode(ctx context.Context, base, measurementID string, at time.Time) (Counts, error) {
	var events []cloudevents.Event
	for _, id := range []string{"binary", "structured", "batch-1", "batch-2"} {
		e := cloudevents.NewEvent()
		e.SetID(id)
		e.SetType("footfall.event.v1")
		e.SetSource("/loadtest/modes")
		e.SetTime(at)
		e.SetExtension("measurementid", measurementID)
		data := map[string]any{"name": "page_view", "client_id": "anna", "page": map[string]any{"location": "https://shop.example/"}}
		if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
			return Counts{}, err
		}
		events = append(events, e)
	}
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(base + "/events"))
	if err != nil {
		return Counts{}, err
	}
	send := func(ctx context.Context, e cloudevents.Event) error {
		if result := client.Send(ctx, e); !cloudevents.IsACK(result) {
			return fmt.Errorf("cannot send event %q: %w", e.ID(), result)
		}
		return nil
	}
	if err := send(cloudevents.WithEncodingBinary(ctx), events[0]); err != nil {
		return Counts{}, err
	}
	if err := send(cloudevents.WithEncodingStructured(ctx), events[1]); err != nil {
		return Counts{}, err
	}
	// The batch mode of the SDK makes a request rather than sending it.
	req, err := cloudevents.NewHTTPRequestFromEvents(ctx, base+"/events", []cloudevents.Event{events[2], events[3], events[2]})
	if err != nil {
		return Counts{}, err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return Counts{}, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return Counts{}, fmt.Errorf("cannot send a batch: status %d", resp.StatusCode)
	}
	if err := send(cloudevents.WithEncodingBinary(ctx), events[3]); err != nil {
		return Counts{}, err
	}
	return Counts{Accepted: 6, Counted: 4, Events: 4, Views: 4, Sessions: 1}, nil
}
