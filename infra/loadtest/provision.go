package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"
)

// creations is how many merchants are asked for in one request.
const creations = 1000

// CreateMerchants makes n merchants in UTC and EUR that a name and their numbers
// name, or finds those that an earlier run has made. Those have no secrets and
// tokens.
func (p *Process) CreateMerchants(ctx context.Context, name string, n int) ([]Merchant, error) {
	all := make([]Merchant, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for from := 0; from < n; from += creations {
		group.Go(func() error { return p.createSome(ctx, name, from, all[from:min(from+creations, n)]) })
	}
	return all, group.Wait()
}

func (p *Process) createSome(ctx context.Context, name string, from int, into []Merchant) error {
	type keyed struct {
		Key      string `json:"idempotency_key"`
		Name     string `json:"name"`
		TimeZone string `json:"time_zone"`
		Currency string `json:"currency"`
	}
	ask := struct {
		Merchants []keyed `json:"merchants"`
	}{make([]keyed, len(into))}
	for i := range into {
		of := fmt.Sprintf("%s %d", name, from+i)
		ask.Merchants[i] = keyed{of, of, "UTC", "EUR"}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	var answer struct {
		Refused int `json:"refused"`
		Results []struct {
			Status   string   `json:"status"`
			Merchant Merchant `json:"merchant"`
		} `json:"results"`
	}
	if err := p.Do(ctx, http.MethodPost, "/v1/merchants:batchCreate", p.AdminToken, "application/json", body, http.StatusOK, &answer); err != nil {
		return err
	}
	if answer.Refused > 0 || len(answer.Results) != len(into) {
		return fmt.Errorf("expected %d merchants, %d of %d were refused", len(into), answer.Refused, len(answer.Results))
	}
	for i := range into {
		into[i] = answer.Results[i].Merchant
	}
	return nil
}

// StreamsOf are the first streams of merchants.
func StreamsOf(merchants []Merchant) []string {
	ids := make([]string, len(merchants))
	for i := range merchants {
		ids[i] = merchants[i].Streams[0].MeasurementID
	}
	return ids
}
