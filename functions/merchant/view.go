package merchant

import (
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/channel"
)

// merchantView is a merchant as it is answered. Secrets and tokens stand in it
// only in the answer to their creation; afterwards their ids do, by which
// they are removed.
type merchantView struct {
	MerchantID string    `json:"merchant_id"`
	Version    uint64    `json:"version"`
	Name       string    `json:"name"`
	CreatedAt  time.Time `json:"created_at"`
	settingsView
	InternalNetworks []string                  `json:"internal_networks"`
	KeepIP           bool                      `json:"keep_ip"`
	Quota            *int64                    `json:"quota_events_per_minute"`
	Definitions      []access.CustomDefinition `json:"custom_definitions"`
	Streams          []streamView              `json:"streams"`
	ReportTokens     []string                  `json:"report_tokens"`          // ids
	ReportToken      string                    `json:"report_token,omitempty"` // shown once
	// CountingAnew is there while the settings above are those that were asked
	// for last and reports do not show them yet.
	CountingAnew *anewView `json:"counting_anew,omitempty"`
}

// anewView is a change of settings that is under way.
type anewView struct {
	Since time.Time    `json:"since"`
	Shown settingsView `json:"settings_shown"` // by reports, until all is counted
}

// settingsView are the settings that alter numbers.
type settingsView struct {
	TimeZone       string                `json:"time_zone"`
	Currency       string                `json:"currency"`
	BotFilter      bool                  `json:"bot_filter"`
	KeyEvents      []string              `json:"key_events"`
	Timeout        int                   `json:"session_timeout_minutes"`
	ChannelRules   []channel.Rule        `json:"channel_rules"`
	CurrencyRates  []access.CurrencyRate `json:"currency_rates"`
	InternalFilter bool                  `json:"internal_filter"`
}

type streamView struct {
	MeasurementID string   `json:"measurement_id"`
	Name          string   `json:"name"`
	Disabled      bool     `json:"disabled"`
	APISecrets    []string `json:"api_secrets"`          // ids
	APISecret     string   `json:"api_secret,omitempty"` // shown once
}

// tokenView answers the creation of a secret or token.
type tokenView struct {
	ID          string `json:"id"`
	APISecret   string `json:"api_secret,omitempty"`
	ReportToken string `json:"report_token,omitempty"`
}

// pageView is a page of the list.
type pageView struct {
	Merchants []merchantView `json:"merchants"`
	Next      string         `json:"next,omitempty"` // cursor of the next page
}

func viewOf(m access.Merchant, book access.Published) merchantView {
	v := merchantView{
		MerchantID: m.ID, Version: m.Version, Name: m.Name, CreatedAt: m.CreatedAt,
		settingsView:     viewOfSettings(m.Settings),
		InternalNetworks: listOf(m.Settings.InternalNetworks), KeepIP: m.Settings.KeepIP, Quota: m.Settings.QuotaEventsPerMinute,
		Definitions: listOf(m.Settings.CustomDefinitions),
		Streams:     make([]streamView, len(m.Streams)), ReportTokens: ids(m.ReportTokens),
	}
	for i, s := range m.Streams {
		v.Streams[i] = viewOfStream(s)
	}
	if shown := m.View(book); shown.Settings.AltersNumbers(m.Settings) {
		v.CountingAnew = &anewView{Shown: viewOfSettings(shown.Settings)}
		for _, next := range m.AllViews() {
			if next.Layers.Equal(shown.Layers) && !next.Settings.AltersNumbers(m.Settings) {
				v.CountingAnew.Since = next.Since
			}
		}
	}
	return v
}

func viewOfSettings(s access.Settings) settingsView {
	s = s.Normal()
	return settingsView{
		TimeZone: s.TimeZone, Currency: s.Currency, BotFilter: s.BotFilter, KeyEvents: s.KeyEvents,
		Timeout:      int(s.SessionTimeout() / time.Minute),
		ChannelRules: listOf(s.ChannelRules), CurrencyRates: listOf(s.CurrencyRates), InternalFilter: s.InternalFilter,
	}
}

// listOf is never nil, for a list is shown as a list.
func listOf[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func viewOfStream(s access.Stream) streamView {
	return streamView{MeasurementID: s.MeasurementID, Name: s.Name, Disabled: s.Disabled, APISecrets: ids(s.APISecrets)}
}

// idLetters of a hash name a secret or token: enough to be unique among the
// few of one stream, and too few to be of use to anyone.
const idLetters = 12

func idOf(h access.Hash) string { return string(h[:min(idLetters, len(h))]) }

func ids(hashes []access.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = idOf(h)
	}
	return out
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }
