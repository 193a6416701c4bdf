package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/footfall/footfall/shared/function"
)

// FirstMerchant is what a newcomer needs to send a first event and to read a
// first report.
type FirstMerchant struct {
	MerchantID    string `json:"merchant_id"`
	MeasurementID string `json:"measurement_id"`
	APISecret     string `json:"api_secret"`
	ReportToken   string `json:"report_token"`
}

// KeptFirst is the first merchant kept in the data folder, or a new one, made
// as any operator would make it: by asking what serves the merchant function.
func KeptFirst(ctx context.Context, data string, merchants http.Handler, admin function.Secret) (FirstMerchant, error) {
	var first FirstMerchant
	path := filepath.Join(data, "first-merchant.json")
	kept, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(kept, &first); err != nil {
			return first, fmt.Errorf("cannot read %q: %w", path, err)
		}
		return first, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return first, err
	}
	body, err := json.Marshal(map[string]any{"name": "First merchant", "time_zone": "UTC", "currency": "EUR"})
	if err != nil {
		return first, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/merchants", bytes.NewReader(body))
	if err != nil {
		return first, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+admin.Reveal())
	var answer memoryAnswer
	merchants.ServeHTTP(&answer, req)
	if answer.status != http.StatusCreated {
		return first, fmt.Errorf("cannot make the first merchant: status %d: %s", answer.status, answer.body.Bytes())
	}
	var created struct {
		MerchantID string `json:"merchant_id"`
		Streams    []struct {
			MeasurementID string `json:"measurement_id"`
			APISecret     string `json:"api_secret"`
		} `json:"streams"`
		ReportToken string `json:"report_token"`
	}
	if err := json.Unmarshal(answer.body.Bytes(), &created); err != nil {
		return first, err
	}
	if len(created.Streams) == 0 {
		return first, errors.New("cannot make the first merchant: it has no stream")
	}
	first = FirstMerchant{created.MerchantID, created.Streams[0].MeasurementID, created.Streams[0].APISecret, created.ReportToken}
	kept, err = json.MarshalIndent(first, "", "  ")
	if err != nil {
		return first, err
	}
	return first, writeFile(path, append(kept, '\n'), 0o600)
}

// memoryAnswer keeps an answer of a handler that is called directly.
type memoryAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *memoryAnswer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *memoryAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *memoryAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Greet prints what a newcomer wants to know. Both curl lines work as they
// stand; the event's id is new each time the line is run.
func Greet(w io.Writer, url, data string, first FirstMerchant) {
	fmt.Fprintf(w, `Footfall is running at %[1]s, with its data in %[2]s. Ctrl-C stops it.

  merchant         %[3]s
  measurement id   %[4]s
  api secret       %[5]s
  report token     %[6]s
  admin token      in %[2]s/admin-token

A first event:
  curl -sS %[1]s/events -H 'Content-Type: application/cloudevents+json' -d '{"specversion":"1.0","type":"footfall.event.v1","source":"/readme","id":"'$(date +%%s%%N)'","measurementid":"%[4]s","data":{"name":"page_view","client_id":"anna","page":{"location":"https://shop.example/shoes"}}}'

A first report:
  curl -sS '%[1]s/v1/reports/%[3]s?metrics=users,sessions,views&dimensions=page&from=today&to=today' -H 'Authorization: Bearer %[6]s' -H 'Accept: text/plain'

`, url, data, first.MerchantID, first.MeasurementID, first.APISecret, first.ReportToken)
}
