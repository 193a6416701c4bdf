package merchant

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/money"
)

// input is the body of a creation and of a change of a merchant. A member that
// is absent stays as it is; null sets the default.
type input struct {
	Name             optional[string]         `json:"name"`
	TimeZone         optional[string]         `json:"time_zone"`
	Currency         optional[string]         `json:"currency"`
	BotFilter        optional[bool]           `json:"bot_filter"`
	KeyEvents        optional[[]string]       `json:"key_events"`
	Timeout          optional[int]            `json:"session_timeout_minutes"`
	Channels         optional[[]channel.Rule] `json:"channel_rules"`
	Rates            optional[[]rateInput]    `json:"currency_rates"`
	InternalFilter   optional[bool]           `json:"internal_filter"`
	InternalNetworks optional[[]string]       `json:"internal_networks"`
	KeepIP           optional[bool]           `json:"keep_ip"`
	Quota            optional[*int64]         `json:"quota_events_per_minute"`
	Streams          optional[[]streamInput]  `json:"streams"` // of a creation only

	Definitions optional[[]access.CustomDefinition] `json:"custom_definitions"`
}

// streamInput is the body of a creation and of a change of a stream.
type streamInput struct {
	Name     optional[string] `json:"name"`
	Disabled optional[bool]   `json:"disabled"`
}

const (
	inputFields  = "name, time_zone, currency, bot_filter, key_events, session_timeout_minutes, channel_rules, currency_rates, internal_filter, internal_networks, keep_ip, quota_events_per_minute, custom_definitions, streams"
	streamFields = "name, disabled"
)

// settings returns s with the input's members in it.
func (in *input) settings(s access.Settings) (access.Settings, error) {
	d := access.DefaultSettings()
	s.SessionTimeoutMinutes = cmp.Or(s.SessionTimeoutMinutes, d.SessionTimeoutMinutes)
	var rates []rateInput
	err := errors.Join(
		set(&s.TimeZone, in.TimeZone, d.TimeZone, "time_zone", "a text"),
		set(&s.Currency, in.Currency, d.Currency, "currency", "a text"),
		set(&s.BotFilter, in.BotFilter, d.BotFilter, "bot_filter", "true or false"),
		set(&s.KeyEvents, in.KeyEvents, d.KeyEvents, "key_events", "an array of texts"),
		set(&s.SessionTimeoutMinutes, in.Timeout, d.SessionTimeoutMinutes, "session_timeout_minutes", access.SessionTimeouts),
		set(&s.ChannelRules, in.Channels, d.ChannelRules, "channel_rules", `an array of {"channel", "when": [{"field", "is" or "contains" or "begins" or "regexp"}]}`),
		set(&rates, in.Rates, nil, "currency_rates", `an array of {"currency", "rate", "from"}`),
		set(&s.InternalFilter, in.InternalFilter, d.InternalFilter, "internal_filter", "true or false"),
		set(&s.InternalNetworks, in.InternalNetworks, d.InternalNetworks, "internal_networks", "an array of texts"),
		set(&s.KeepIP, in.KeepIP, d.KeepIP, "keep_ip", "true or false"),
		set(&s.QuotaEventsPerMinute, in.Quota, d.QuotaEventsPerMinute, "quota_events_per_minute", "a whole number, 0 for no limit"),
		set(&s.CustomDefinitions, in.Definitions, d.CustomDefinitions, "custom_definitions", `an array of {"parameter", "kind", "name", "description"}`),
	)
	if err != nil {
		return s, err
	}
	if s.SessionTimeoutMinutes == 0 {
		return s, fault.Field("session_timeout_minutes", access.SessionTimeouts)
	}
	if in.Rates.given {
		s.CurrencyRates = make([]access.CurrencyRate, len(rates))
		for i, r := range rates {
			s.CurrencyRates[i] = access.CurrencyRate{Currency: r.Currency, Rate: r.rate(), From: r.From}
		}
	}
	if err := s.Validate(); err != nil { // before they are sorted: a fault names a place
		return s, err
	}
	return s.Normal(), nil
}

// rateInput is one of currency_rates. The rate is a number or a text that holds
// one, and is read from its digits.
type rateInput struct {
	Currency string          `json:"currency"`
	Rate     json.RawMessage `json:"rate"`
	From     string          `json:"from"`
}

// rate is 0, which Validate refuses by its place, where it is no rate.
func (in *rateInput) rate() money.Rate {
	var r money.Rate
	if err := json.Unmarshal(in.Rate, &r); err != nil {
		return 0
	}
	return r
}

// newStreams makes the streams of a creation, one where none is asked for,
// with their secrets in the same order.
func (in *input) newStreams() (streams []access.Stream, secrets []string, err error) {
	asked := []streamInput{{}}
	if err := set(&asked, in.Streams, asked, "streams", `an array of {"name"}`); err != nil {
		return nil, nil, err
	}
	if len(asked) == 0 || len(asked) > access.MaxStreams {
		return nil, nil, fault.Field("streams", fmt.Sprintf("1 to %d streams", access.MaxStreams))
	}
	for i, one := range asked {
		s, secret, err := one.newStream(fmt.Sprintf("streams[%d].", i))
		if err != nil {
			return nil, nil, err
		}
		streams, secrets = append(streams, s), append(secrets, secret)
	}
	return streams, secrets, nil
}

const defaultStreamName = "default"

func (in *streamInput) newStream(at string) (access.Stream, string, error) {
	secret := access.NewAPISecret()
	s := access.Stream{MeasurementID: access.NewMeasurementID(), Name: defaultStreamName, APISecrets: []access.Hash{access.HashOf(secret)}}
	return s, secret, in.apply(&s, at)
}

// apply changes s as the input says; at stands before names in faults.
func (in *streamInput) apply(s *access.Stream, at string) error {
	if err := errors.Join(
		set(&s.Name, in.Name, defaultStreamName, at+"name", "a text"),
		set(&s.Disabled, in.Disabled, false, at+"disabled", "true or false"),
	); err != nil {
		return err
	}
	return access.ValidateName(at+"name", s.Name)
}

// optional is a JSON member that may be absent or null.
type optional[T any] struct {
	given, null bool
	value       T
	err         error
}

// UnmarshalJSON never fails: set does, because it knows the member's name.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.given, o.null = true, string(data) == "null"
	o.err = strict(data, &o.value)
	return nil
}

// set gives *to the member's value, or the default for null.
func set[T any](to *T, o optional[T], def T, field, expected string) error {
	switch {
	case !o.given:
		return nil
	case o.err != nil:
		return fault.Field(field, expected)
	case o.null:
		*to = def
	default:
		*to = o.value
	}
	return nil
}

// readBody reads a JSON object strictly; an empty body is an empty object.
func readBody(r *http.Request, into any, fields string) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return fault.New(fault.TooLarge, "the body: expected at most %d bytes", tooLarge.Limit)
		}
		return fault.New(fault.Transient, "cannot read the body: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return object(data, into, fields)
}

// object decodes a JSON object strictly; fields are those it may have.
func object(data []byte, into any, fields string) error {
	err := strict(data, into)
	if err == nil {
		return nil
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.Field(strings.Trim(name, `"`), "one of the fields "+fields)
	}
	return fault.Field("body", "a JSON object")
}

// strict decodes exactly one JSON value and refuses unknown members.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
