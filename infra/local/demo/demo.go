// Package demo shows a running Footfall at work: it sends it the traffic of a
// small shop, or an access log, and prints the reports.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/footfall/footfall/infra/local/importer"
)

// Merchant is the first merchant, as the runner keeps it in its data folder.
type Merchant struct {
	MerchantID    string `json:"merchant_id"`
	MeasurementID string `json:"measurement_id"`
	APISecret     string `json:"api_secret"`
	ReportToken   string `json:"report_token"`
}

// Run sends and prints. data is the runner's data folder, from which it takes
// the address and the first merchant.
func Run(ctx context.Context, args []string, data string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("footfall demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	log := flags.String("log", "", "an access log in combined format to import instead of generated traffic")
	base := flags.String("base", "https://www.example.com", "the site that the access log is of")
	days := flags.Int("days", 14, "days of generated traffic, up to now")
	seed := flags.Uint64("seed", 1, "what the generated traffic is made from")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *days < 1 || *days > 366 {
		return fmt.Errorf("-days: expected 1 to 366, got %d", *days)
	}
	address, err := os.ReadFile(filepath.Join(data, "address"))
	if err != nil {
		return fmt.Errorf("cannot find a running Footfall (start it with make run): %w", err)
	}
	var m Merchant
	kept, err := os.ReadFile(filepath.Join(data, "first-merchant.json"))
	if err != nil {
		return fmt.Errorf("cannot read the first merchant: %w", err)
	}
	if err := json.Unmarshal(kept, &m); err != nil {
		return fmt.Errorf("cannot read the first merchant: %w", err)
	}
	d := demo{url: "http://" + string(bytes.TrimSpace(address)), m: m, out: stdout}
	from := time.Now().AddDate(0, 0, -*days)
	if *log != "" {
		from = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		err := importer.Run(ctx, []string{"-url", d.url, "-stream", m.MeasurementID, "-secret", m.APISecret, "-base", *base, *log}, stdin, stdout, stderr)
		if err != nil {
			return err
		}
	} else if err := d.shop(ctx, from, time.Now(), *seed); err != nil {
		return err
	}
	if err := d.counted(ctx); err != nil {
		return err
	}
	for _, q := range []struct{ title, dimensions, metrics string }{
		{"By day", "date", "users,new_users,sessions,engagementRate,views,revenue"},
		{"Where visitors come from", "source,medium", "users,sessions,engagementRate,transactions,revenue"},
		{"Pages", "page", "views,users"},
		{"Devices", "device", "users,sessions,views"},
		{"Items", "item", "itemsPurchased,itemRevenue"},
	} {
		if err := d.report(ctx, q.title, q.dimensions, q.metrics, from); err != nil {
			return err
		}
	}
	return nil
}

type demo struct {
	url string
	m   Merchant
	out io.Writer
}

// The shop: what visitors of it do.
var (
	paths = []struct{ path, title string }{
		{"/", "Shoes and more"}, {"/shoes", "Shoes"}, {"/hats", "Hats"}, {"/shoes/runner", "Runner"}, {"/blog/wide-feet", "Shoes for wide feet"}, {"/cart", "Your cart"},
	}
	arrivals = []struct{ query, referrer string }{
		{"", ""}, {"", ""}, {"", "https://www.google.com/"}, {"", "https://www.google.com/"}, {"", "https://duckduckgo.com/"},
		{"", "https://www.reddit.com/r/running"}, {"?utm_source=newsletter&utm_medium=email&utm_campaign=autumn", ""}, {"?gclid=abc", "https://www.google.com/"},
	}
	agents = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (iPad; CPU OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
	}
	items = []struct {
		id, name string
		price    float64
	}{{"sku-1", "Runner", 89.90}, {"sku-2", "Socks", 7.50}, {"sku-3", "Bucket hat", 24}}
)

// shop sends visits between two instants: some 60 a day, a third of the
// visitors seen before.
func (d demo) shop(ctx context.Context, from, to time.Time, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 0x73686f70))
	visits := int(to.Sub(from).Hours() / 24 * 60)
	var batch []map[string]any
	sent := 0
	flush := func() error {
		body, err := json.Marshal(batch)
		if err != nil {
			return err
		}
		sent += len(batch)
		batch = batch[:0]
		return d.do(ctx, http.MethodPost, "/events", d.m.APISecret, map[string]string{"Content-Type": "application/cloudevents-batch+json"}, body, http.StatusAccepted, io.Discard)
	}
	for visit := range visits {
		visitor := rng.IntN(max(1, visits*2/3))
		at := from.Add(time.Duration(rng.Int64N(int64(to.Sub(from)))))
		agent := agents[visitor%len(agents)]
		arrival := arrivals[rng.IntN(len(arrivals))]
		send := func(n int, name string, more map[string]any) {
			data := map[string]any{"name": name, "client_id": fmt.Sprintf("visitor-%d", visitor), "user_agent": agent}
			for k, v := range more {
				data[k] = v
			}
			batch = append(batch, map[string]any{
				"specversion": "1.0", "type": "footfall.event.v1", "source": "/demo", "id": fmt.Sprintf("demo-%d-%d-%d-%d", seed, from.Unix()/86400, visit, n),
				"time": at.UTC().Format(time.RFC3339Nano), "measurementid": d.m.MeasurementID, "datacontenttype": "application/json", "data": data,
			})
		}
		steps := 1 + rng.IntN(8)/2
		for n := range steps {
			if at.After(to) {
				break
			}
			p := paths[rng.IntN(len(paths))]
			location, referrer := "https://shop.example"+p.path, "https://shop.example/"
			if n == 0 {
				location, referrer = location+arrival.query, arrival.referrer
			}
			send(n, "page_view", map[string]any{
				"page":          map[string]any{"location": location, "title": p.title, "referrer": referrer},
				"engagement_ms": 500 + rng.IntN(12_000),
			})
			at = at.Add(time.Duration(5+rng.IntN(120)) * time.Second)
		}
		if steps == 4 && rng.IntN(3) == 0 && at.Before(to) {
			item := items[rng.IntN(len(items))]
			send(steps, "purchase", map[string]any{
				"value": item.price, "currency": "EUR", "params": map[string]any{"transaction_id": fmt.Sprintf("order-%d-%d", seed, visit)},
				"items": []map[string]any{{"item_id": item.id, "item_name": item.name, "price": item.price, "quantity": 1}},
				"page":  map[string]any{"location": "https://shop.example/thanks", "title": "Thank you"},
			})
		}
		if len(batch) >= 400 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "Sent %d events of %d visits.\n", sent, visits)
	return nil
}

// counted waits until nothing of what was accepted is pending.
func (d demo) counted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		var answer bytes.Buffer
		if err := d.do(ctx, http.MethodGet, "/v1/ledger/"+d.m.MerchantID+"?from=2000-01-01&to=today", d.m.ReportToken, nil, nil, http.StatusOK, &answer); err != nil {
			return err
		}
		var ledger struct {
			Totals struct{ Pending int64 }
		}
		if err := json.Unmarshal(answer.Bytes(), &ledger); err != nil {
			return err
		}
		if ledger.Totals.Pending == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events are still pending: %w", ledger.Totals.Pending, ctx.Err())
		case <-pause.C:
		}
	}
}

func (d demo) report(ctx context.Context, title, dimensions, metrics string, from time.Time) error {
	q := url.Values{"metrics": {metrics}, "dimensions": {dimensions}, "from": {from.Format(time.DateOnly)}, "to": {"today"}, "limit": {"15"}}
	fmt.Fprintf(d.out, "\n%s\n", title)
	return d.do(ctx, http.MethodGet, "/v1/reports/"+d.m.MerchantID+"?"+q.Encode(), d.m.ReportToken, map[string]string{"Accept": "text/plain"}, nil, http.StatusOK, d.out)
}

func (d demo) do(ctx context.Context, method, path, token string, headers map[string]string, body []byte, want int, into io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach Footfall at %s (start it with make run): %w", d.url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, said)
	}
	_, err = io.Copy(into, resp.Body)
	return err
}
