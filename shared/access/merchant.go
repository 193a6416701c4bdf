// Package access knows who owns what and who may do what: merchants, their
// streams and settings, API secrets and report tokens, and the one place where
// authorisation is decided.
package access

import (
	"time"

	"github.com/footfall/footfall/shared/channel"
)

// Merchant is the tenant: it owns streams, settings and report access.
type Merchant struct {
	ID        string    `json:"merchant_id"`
	Version   uint64    `json:"version"` // for optimistic updates
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	// Settings are those that were asked for last. Where they alter numbers,
	// reports show them when the view that has them is ready.
	Settings Settings `json:"settings"`
	// Generation is the highest that a view was given; of Merchant.In, that of
	// the view.
	Generation uint32 `json:"generation"`
	// Views are all ways to count the history that are kept, oldest first;
	// empty where there is one.
	Views        []View   `json:"views,omitempty"`
	Layers       Layers   `json:"-"` // of Merchant.In: those of the view
	Streams      []Stream `json:"streams"`
	ReportTokens []Hash   `json:"report_tokens"`
}

// Settings shape a merchant's numbers; changing one is retroactive.
type Settings struct {
	TimeZone  string   `json:"time_zone"`  // IANA name
	Currency  string   `json:"currency"`   // ISO 4217
	BotFilter bool     `json:"bot_filter"` // leave bots out of reports
	KeyEvents []string `json:"key_events"` // event names that count as key events
	// SessionTimeoutMinutes of silence end a session that the client has not
	// named; 0, in merchants older than the setting, is DefaultSessionTimeout.
	SessionTimeoutMinutes int `json:"session_timeout_minutes,omitempty"`
	// ChannelRules stand before the default channel group, first one first, in
	// the primary channel group.
	ChannelRules []channel.Rule `json:"channel_rules,omitempty"`
	// CurrencyRates convert money that is not in Currency; what has no rate is
	// in no sum.
	CurrencyRates []CurrencyRate `json:"currency_rates,omitempty"`
	// InternalFilter leaves out of reports what is internal: events whose
	// parameter traffic_type is "internal", and those that came from one of
	// InternalNetworks. The networks mark what is collected from now on.
	InternalFilter   bool     `json:"internal_filter"`
	InternalNetworks []string `json:"internal_networks,omitempty"`
	KeepIP           bool     `json:"keep_ip"` // keep whole addresses (the merchant asked)
	// QuotaEventsPerMinute is how many events the merchant may send in a
	// minute: 0 is no limit, nil what the operator lets everyone.
	QuotaEventsPerMinute *int64 `json:"quota_events_per_minute"`
	// CustomDefinitions say what the merchant's own parameters mean.
	CustomDefinitions []CustomDefinition `json:"custom_definitions,omitempty"`
}

// Stream is one source of a merchant's events.
type Stream struct {
	MeasurementID string `json:"measurement_id"` // "G-…"
	Name          string `json:"name"`
	APISecrets    []Hash `json:"api_secrets"`
	Disabled      bool   `json:"disabled"`
}

// Hash is the SHA-256 of a random token, hex. The token itself is shown once.
type Hash string
