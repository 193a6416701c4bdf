package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// System is a running Footfall.
type System struct {
	URL        string
	AdminToken string
	// SetClock moves the system's clock; nil where that cannot be done.
	SetClock func(time.Time)
	// Places: it knows the stories' places and data centres, and believes what
	// requests say of the address that they come from and its place.
	Places bool
	// Patience is how long an expectation may take to come true.
	Patience time.Duration
}

// PlacesEnviron is what a Footfall is started with to be a system of Places. dir
// holds the stories.
func PlacesEnviron(dir string) []string {
	return []string{
		"FOOTFALL_GEO_FILE=" + filepath.Join(dir, "places.mmdb"), "FOOTFALL_DATA_CENTRE_FILE=" + filepath.Join(dir, "data-centres.txt"),
		"FOOTFALL_STREAMS_REFRESH=10ms", // ingest marks a merchant's own networks
		"FOOTFALL_TRUSTED_PROXIES=127.0.0.0/8", "FOOTFALL_COUNTRY_HEADER=X-Country", "FOOTFALL_REGION_HEADER=X-Region", "FOOTFALL_CITY_HEADER=X-City",
	}
}

// ErrNeedsClock is returned by Run for a story that says "needs clock", on a
// system whose clock cannot be moved.
var ErrNeedsClock = errors.New("the story needs a clock that can be moved")

// ErrNeedsPlaces is the same for "needs places".
var ErrNeedsPlaces = errors.New("the story needs a system that knows its places")

// Run plays a story. Its error names the line that did not come true.
func Run(ctx context.Context, sys System, steps []Step) error {
	p := &player{sys: sys, merchants: map[string]*merchant{}, sent: map[string][]byte{}}
	err := p.eventually(ctx, func() error {
		return p.do(ctx, http.MethodGet, "/health/readiness", "", "", nil, http.StatusOK, nil)
	})
	if err != nil {
		return err
	}
	for i := 0; i < len(steps); i++ {
		step := steps[i]
		var err error
		if step.Verb == "send" || step.Verb == "resend" {
			// A block of send lines is one batch, as a page would send it.
			block := []Step{step}
			for i+1 < len(steps) && (steps[i+1].Verb == "send" || steps[i+1].Verb == "resend") && steps[i+1].Line == steps[i].Line+1 {
				i++
				block = append(block, steps[i])
			}
			err = p.send(ctx, block)
		} else {
			err = p.play(ctx, step)
		}
		if errors.Is(err, ErrNeedsClock) || errors.Is(err, ErrNeedsPlaces) {
			return err
		}
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", step.Line, step.Verb, err)
		}
	}
	return nil
}

// merchant is what the story knows of one merchant.
type merchant struct {
	id, stream, secret, token string
	zone                      *time.Location
	first, last               time.Time // of the events sent
}

type player struct {
	sys       System
	merchants map[string]*merchant
	current   *merchant
	now       time.Time
	sent      map[string][]byte // event id → CloudEvent
	events    int
}

func (p *player) play(ctx context.Context, s Step) error {
	if s.Verb != "merchant" && s.Verb != "needs" && s.Verb != "clock" && p.current == nil {
		return fmt.Errorf("expected a merchant before this step")
	}
	switch s.Verb {
	case "needs":
		switch what := word(s, 0); {
		case what == "places" && !p.sys.Places:
			return ErrNeedsPlaces
		case what == "clock" && p.sys.SetClock == nil:
			return ErrNeedsClock
		case what != "clock" && what != "places":
			return fmt.Errorf("expected clock or places, got %q", what)
		}
		return nil
	case "merchant":
		return p.createMerchant(ctx, s)
	case "use":
		m, ok := p.merchants[word(s, 0)]
		if !ok {
			return fmt.Errorf("unknown merchant %q", word(s, 0))
		}
		p.current = m
		return nil
	case "settings":
		return p.changeSettings(ctx, s)
	case "clock":
		t, err := parseTime(strings.Join(s.Words, "T"), time.UTC)
		if err != nil {
			return err
		}
		p.now = t
		if p.sys.SetClock != nil {
			p.sys.SetClock(t)
		}
		return nil
	case "advance":
		d, err := time.ParseDuration(word(s, 0))
		if err != nil {
			return fmt.Errorf("expected a duration such as 2h or 90m: %w", err)
		}
		p.now = p.now.Add(d)
		if p.sys.SetClock != nil {
			p.sys.SetClock(p.now)
		}
		return p.settle(ctx)
	case "report":
		return p.report(ctx, s)
	case "google":
		return p.google(ctx, s)
	case "ledger":
		return p.ledger(ctx, s)
	case "rejected":
		return p.rejected(ctx, s)
	}
	return fmt.Errorf("unknown step")
}

func word(s Step, i int) string {
	if i < len(s.Words) {
		return s.Words[i]
	}
	return ""
}

// settings turns options into the members of the merchant API.
func settings(s Step) (map[string]any, error) {
	body := map[string]any{}
	for _, o := range s.Options {
		switch o.Key {
		case "zone":
			body["time_zone"] = o.Value
		case "bot_filter", "internal_filter":
			on, err := strconv.ParseBool(o.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: expected true or false", o.Key)
			}
			body[o.Key] = on
		case "internal_networks":
			body[o.Key] = strings.Split(o.Value, ",")
		case "session_timeout_minutes":
			body[o.Key] = number(o.Value)
		case "key_events":
			body["key_events"] = strings.Split(o.Value, ",")
		case "rates":
			rates, err := currencyRates(o.Value)
			if err != nil {
				return nil, err
			}
			body["currency_rates"] = rates
		case "definitions":
			var list []map[string]string
			for one := range strings.SplitSeq(o.Value, ",") {
				kind, rest, _ := strings.Cut(strings.TrimSpace(one), " ")
				parameter, name, named := strings.Cut(rest, " ")
				if !named {
					return nil, fmt.Errorf("definitions: expected KIND PARAMETER NAME, …, got %q", o.Value)
				}
				list = append(list, map[string]string{"kind": kind, "parameter": parameter, "name": name})
			}
			body["custom_definitions"] = list
		case "channel_rules":
			rules, err := channelRules(o.Value)
			if err != nil {
				return nil, err
			}
			body["channel_rules"] = rules
		default:
			body[o.Key] = o.Value
		}
	}
	return body, nil
}

// currencyRates reads "USD 0.9, USD 0.95 2026-03-11": currency, rate, and the day
// from which it holds.
func currencyRates(text string) ([]any, error) {
	rates := []any{}
	for one := range strings.SplitSeq(text, ",") {
		f := strings.Fields(one)
		if len(f) < 2 || len(f) > 3 {
			return nil, fmt.Errorf("rates: expected CURRENCY RATE [DAY], …, got %q", one)
		}
		rate := map[string]any{"currency": f[0], "rate": json.Number(f[1])}
		if len(f) == 3 {
			rate["from"] = f[2]
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

// channelRules reads "Partners: source is partner.example; Brand: medium begins cp & campaign contains brand".
func channelRules(text string) ([]any, error) {
	rules := []any{}
	for line := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, when, _ := strings.Cut(line, ":")
		var conditions []any
		for one := range strings.SplitSeq(when, "&") {
			words := strings.SplitN(strings.TrimSpace(one), " ", 3)
			if len(words) != 3 {
				return nil, fmt.Errorf("channel_rules: expected CHANNEL: FIELD is|contains|begins|regexp TEXT & …; …, got %q", line)
			}
			conditions = append(conditions, map[string]any{"field": words[0], words[1]: words[2]})
		}
		rules = append(rules, map[string]any{"channel": strings.TrimSpace(name), "when": conditions})
	}
	return rules, nil
}

func (p *player) createMerchant(ctx context.Context, s Step) error {
	body, err := settings(s)
	if err != nil {
		return err
	}
	name := word(s, 0)
	body["name"] = strings.TrimSpace("scenario " + name)
	if body["time_zone"] == nil {
		body["time_zone"] = "UTC"
	}
	if body["currency"] == nil {
		body["currency"] = "EUR"
	}
	var created struct {
		MerchantID string `json:"merchant_id"`
		Streams    []struct {
			MeasurementID string `json:"measurement_id"`
			APISecret     string `json:"api_secret"`
		} `json:"streams"`
		ReportToken string `json:"report_token"`
	}
	if err := p.call(ctx, "POST", "/v1/merchants", p.sys.AdminToken, body, http.StatusCreated, &created); err != nil {
		return err
	}
	zone, err := time.LoadLocation(body["time_zone"].(string))
	if err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	if len(created.Streams) == 0 {
		return fmt.Errorf("the new merchant has no stream")
	}
	p.current = &merchant{
		id: created.MerchantID, stream: created.Streams[0].MeasurementID, secret: created.Streams[0].APISecret,
		token: created.ReportToken, zone: zone,
	}
	p.merchants[name] = p.current
	return nil
}

func (p *player) changeSettings(ctx context.Context, s Step) error {
	body, err := settings(s)
	if err != nil {
		return err
	}
	if err := p.call(ctx, "PATCH", "/v1/merchants/"+p.current.id, p.sys.AdminToken, body, http.StatusOK, nil); err != nil {
		return err
	}
	if zone := s.Get("zone"); zone != "" {
		if p.current.zone, err = time.LoadLocation(zone); err != nil {
			return err
		}
	}
	// Reports show them when all that was sent is counted by them.
	return p.eventually(ctx, func() error {
		var m struct {
			CountingAnew json.RawMessage `json:"counting_anew"`
		}
		if err := p.call(ctx, "GET", "/v1/merchants/"+p.current.id, p.sys.AdminToken, nil, http.StatusOK, &m); err != nil {
			return err
		}
		if m.CountingAnew == nil {
			return nil
		}
		return errors.Join(p.tick(ctx), fmt.Errorf("the settings are not shown yet: %s", m.CountingAnew))
	})
}

// receipt is the answer to POST /events.
type receipt struct {
	Accepted int `json:"accepted"`
	Rejected []struct {
		Index  int    `json:"index"`
		ID     string `json:"id"`
		Field  string `json:"field"`
		Reason string `json:"reason"`
	} `json:"rejected"`
}

func (p *player) send(ctx context.Context, block []Step) error {
	if p.current == nil {
		return fmt.Errorf("expected a merchant before this step")
	}
	var events []json.RawMessage
	var headers []Option
	reject := map[int]string{}
	for _, s := range block {
		if s.Verb == "resend" {
			for _, id := range s.Words {
				e, ok := p.sent[id]
				if !ok {
					return fmt.Errorf("no event %q was sent", id)
				}
				events = append(events, e)
			}
			continue
		}
		e, id, err := p.event(s)
		if err != nil {
			return fmt.Errorf("line %d: %w", s.Line, err)
		}
		if field := s.Get("reject"); field != "" {
			reject[len(events)] = field
		}
		for _, o := range s.Options {
			if name, ok := strings.CutPrefix(o.Key, "header."); ok {
				headers = append(headers, Option{name, strings.ReplaceAll(o.Value, "'", "\"")})
			}
		}
		p.sent[id] = e
		events = append(events, e)
	}
	body, err := json.Marshal(events)
	if err != nil {
		return err
	}
	want := http.StatusAccepted
	if len(reject) == len(events) {
		want = http.StatusUnprocessableEntity
	}
	var got receipt
	secret := p.current.secret
	if headers != nil {
		secret = "" // as a browser sends it
	}
	if err := p.do(ctx, "POST", "/events", secret, "application/cloudevents-batch+json", body, want, &got, headers...); err != nil {
		return err
	}
	if got.Accepted != len(events)-len(reject) || len(got.Rejected) != len(reject) {
		return fmt.Errorf("expected %d accepted and %d rejected, got %+v", len(events)-len(reject), len(reject), got)
	}
	for _, r := range got.Rejected {
		if reject[r.Index] != r.Field {
			return fmt.Errorf("event %d: expected the fault at %q, got %+v", r.Index, reject[r.Index], r)
		}
	}
	return nil
}

// event makes the CloudEvent of a send line.
func (p *player) event(s Step) (e []byte, id string, err error) {
	if len(s.Words) != 2 {
		return nil, "", fmt.Errorf("expected a time and an event name before the options, got %q", s.Words)
	}
	p.events++
	id = fmt.Sprintf("event-%d", p.events)
	data := map[string]any{"name": s.Words[1]}
	page, params, properties, hints := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	var items []any
	stream := p.current.stream
	for _, o := range s.Options {
		switch o.Key {
		case "id":
			id = o.Value
		case "stream":
			stream = o.Value
		case "client", "user", "session":
			data[o.Key+"_id"] = o.Value
		case "page":
			page["location"] = o.Value
		case "title", "referrer":
			page[o.Key] = o.Value
		case "agent":
			data["user_agent"] = o.Value
		case "ip", "language", "screen", "currency":
			data[o.Key] = o.Value
		case "value":
			data["value"] = number(o.Value)
		case "engaged":
			data["engagement_ms"] = number(o.Value)
		case "item":
			f := strings.Split(o.Value, ",")
			if len(f) < 4 {
				return nil, "", fmt.Errorf("item: expected id,name,price,quantity and then member:value, got %q", o.Value)
			}
			item := map[string]any{"item_id": f[0], "item_name": f[1], "price": number(f[2]), "quantity": number(f[3])}
			for _, more := range f[4:] {
				member, value, _ := strings.Cut(more, ":")
				item[member] = number(value)
			}
			items = append(items, item)
		case "reject":
		default:
			if name, ok := strings.CutPrefix(o.Key, "property."); ok {
				properties[name] = number(o.Value)
				continue
			}
			if name, ok := strings.CutPrefix(o.Key, "hint."); ok {
				hints["sec-ch-"+name] = strings.ReplaceAll(o.Value, "'", "\"")
				continue
			}
			if strings.HasPrefix(o.Key, "header.") {
				continue // of the request
			}
			params[strings.TrimPrefix(o.Key, "param.")] = number(o.Value)
		}
	}
	if len(page) > 0 {
		data["page"] = page
	}
	if len(hints) > 0 {
		data["client_hints"] = hints
	}
	if len(params) > 0 {
		data["params"] = params
	}
	if len(properties) > 0 {
		data["user_properties"] = properties
	}
	if items != nil {
		data["items"] = items
	}
	ce := map[string]any{
		"specversion": "1.0", "type": "footfall.event.v1", "source": "/scenario", "id": id,
		"measurementid": stream, "datacontenttype": "application/json", "data": data,
	}
	if s.Words[0] != "now" {
		t, err := parseTime(s.Words[0], p.current.zone)
		if err != nil {
			return nil, "", err
		}
		ce["time"] = t.UTC().Format(time.RFC3339Nano)
		if s.Get("reject") == "" {
			p.current.spans(t)
		}
	} else {
		p.current.spans(p.now)
	}
	e, err = json.Marshal(ce)
	return e, id, err
}

// spans remembers the first and last instant of a merchant's events.
func (m *merchant) spans(t time.Time) {
	if m.first.IsZero() || t.Before(m.first) {
		m.first = t
	}
	if t.After(m.last) {
		m.last = t
	}
}

// number is the JSON number that s spells, or s itself as text.
func number(s string) any {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return json.Number(s)
	}
	return s
}

// settle waits until every event that was sent is counted, fires the ticks, as
// the PingSources do, and waits until all is summarised. A tick that came before
// an event was counted would leave it to the next one.
func (p *player) settle(ctx context.Context) error {
	if err := p.everywhere(ctx, "events are pending", func(a *answer) bool { return a.Metadata.Pending == 0 }); err != nil {
		return err
	}
	if err := p.tick(ctx); err != nil {
		return err
	}
	// Reports over all that was sent then come from summaries alone.
	return p.everywhere(ctx, "the ticks have not summarised all", func(a *answer) bool {
		return a.Metadata.Pending == 0 && a.Metadata.Generated.HoursFromDocuments == 0
	})
}

// tick fires the ticks, as the PingSources do.
func (p *player) tick(ctx context.Context) error {
	for _, tick := range []string{"journal", "archive", "summary"} {
		ping := map[string]any{
			"specversion": "1.0", "type": "dev.knative.sources.ping", "source": "/scenario", "tick": tick,
			"id": fmt.Sprintf("%s-%d-%d", tick, p.events, time.Now().UnixNano()), "datacontenttype": "application/json", "data": map[string]any{"late": tick == "summary"},
		}
		body, err := json.Marshal(ping)
		if err != nil {
			return err
		}
		if err := p.do(ctx, "POST", "/brokers/control", "", "application/cloudevents+json", body, http.StatusAccepted, nil); err != nil {
			return err
		}
	}
	return nil
}

// eventually asks until check is content or patience ends.
func (p *player) eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, p.sys.Patience)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-pause.C:
		}
	}
}

func (p *player) call(ctx context.Context, method, path, token string, body any, want int, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.do(ctx, method, path, token, "application/json", data, want, into)
}

func (p *player) do(ctx context.Context, method, path, token, contentType string, body []byte, want int, into any, headers ...Option) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.sys.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for _, h := range headers {
		req.Header.Set(h.Key, h.Value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: expected status %d, got %d: %s", method, path, want, resp.StatusCode, bytes.TrimSpace(answer))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: cannot read the answer %q: %w", method, path, answer, err)
	}
	return nil
}

// query is the URL query of a report or ledger step.
func query(s Step, keys ...string) string {
	q := url.Values{}
	for _, o := range s.Options {
		if slices.Contains(keys, o.Key) {
			q.Set(o.Key, o.Value)
		}
	}
	return q.Encode()
}
