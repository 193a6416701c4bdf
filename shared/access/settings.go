package access

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a container from scratch has no zone files, and a merchant's zone must load everywhere
	"unicode"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
)

// Limits of what a merchant may set.
const (
	MaxName      = 200 // letters of a merchant's or stream's name
	MaxKeyEvents = 30  // Google Analytics 4's, support.google.com/analytics/answer/9267744
	MaxEventName = 100 // bytes of a key event's name
	MaxStreams   = 100 // of one merchant
	MaxTokens    = 20  // API secrets of one stream, report tokens of one merchant

	// Google Analytics 4's, support.google.com/analytics/answer/12131703.
	MinSessionTimeout     = 5 // minutes
	MaxSessionTimeout     = 7*60 + 55
	DefaultSessionTimeout = 30
	// SessionTimeouts says so to who asks for another.
	SessionTimeouts     = "a whole number of minutes from 5 to 475"
	MaxInternalNetworks = 50

	MaxQuota = 1_000_000_000 // events a minute
)

// DefaultSettings are those of a merchant that says nothing.
func DefaultSettings() Settings {
	return Settings{TimeZone: "UTC", Currency: "USD", BotFilter: true, InternalFilter: true, KeyEvents: []string{"purchase"}, SessionTimeoutMinutes: DefaultSessionTimeout}
}

// Normal returns settings with key events sorted and unique and rates sorted, as
// they are kept and compared.
func (s Settings) Normal() Settings {
	s.KeyEvents = slices.Compact(slices.Sorted(slices.Values(s.KeyEvents)))
	if s.KeyEvents == nil {
		s.KeyEvents = []string{}
	}
	s.CurrencyRates = sortedRates(s.CurrencyRates)
	return s
}

// Validate returns the first fault as an Invalid error that names the field.
func (s *Settings) Validate() error {
	if _, err := s.Location(); err != nil {
		return err
	}
	if !KnownCurrency(s.Currency) {
		return fault.Field("currency", `an ISO 4217 code such as "EUR"`)
	}
	if len(s.KeyEvents) > MaxKeyEvents {
		return fault.Field("key_events", fmt.Sprintf("at most %d names", MaxKeyEvents))
	}
	for i, name := range s.KeyEvents {
		if name == "" || len(name) > MaxEventName || !printable(name) {
			return fault.Field(fmt.Sprintf("key_events[%d]", i), fmt.Sprintf("an event's name of 1 to %d bytes", MaxEventName))
		}
	}
	if m := s.SessionTimeoutMinutes; m != 0 && (m < MinSessionTimeout || m > MaxSessionTimeout) {
		return fault.Field("session_timeout_minutes", SessionTimeouts)
	}
	if err := s.validateRates(); err != nil {
		return err
	}
	if err := channel.Validate("channel_rules", s.ChannelRules); err != nil {
		return err
	}
	if err := s.validateDefinitions(); err != nil {
		return err
	}
	if len(s.InternalNetworks) > MaxInternalNetworks {
		return fault.Field("internal_networks", fmt.Sprintf("at most %d networks", MaxInternalNetworks))
	}
	for i, text := range s.InternalNetworks {
		if _, err := ParseNetwork(text); err != nil {
			return fault.Field(fmt.Sprintf("internal_networks[%d]", i), "a network such as 203.0.113.0/24, or an address")
		}
	}
	if q := s.QuotaEventsPerMinute; q != nil && (*q < 0 || *q > MaxQuota) {
		return fault.Field("quota_events_per_minute", fmt.Sprintf("0 (no limit) to %d, or null for the operator's default", int64(MaxQuota)))
	}
	return nil
}

// SessionTimeout is the silence that ends a session.
func (s *Settings) SessionTimeout() time.Duration {
	return time.Duration(cmp.Or(s.SessionTimeoutMinutes, DefaultSessionTimeout)) * time.Minute
}

// ParseNetwork reads a network, or an address as the network of it alone.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("cannot read network %q: %w", text, err)
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("cannot read network %q: expected an IPv4 network or an IPv6 one", text)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// SameQuota reports whether s and o hold the merchant to the same.
func (s *Settings) SameQuota(o *Settings) bool {
	a, b := s.QuotaEventsPerMinute, o.QuotaEventsPerMinute
	return a == b || a != nil && b != nil && *a == *b
}

// Location is the merchant's time zone.
func (s *Settings) Location() (*time.Location, error) {
	// time.LoadLocation takes an empty name and "Local" for the machine's ideas
	// of a zone. Names of the database begin with a capital; others, such as
	// "localtime" and "right/UTC", are files that only some machines have.
	if z := s.TimeZone; z != "" && z != "Local" && z[0] >= 'A' && z[0] <= 'Z' {
		if loc, err := time.LoadLocation(s.TimeZone); err == nil {
			return loc, nil
		}
	}
	return nil, fault.Field("time_zone", `a name of the IANA time zone database such as "Europe/Berlin"`)
}

// ValidateName checks the name of a merchant or stream at a field.
func ValidateName(field, name string) error {
	n := utf8.RuneCountInString(name)
	if n == 0 || n > MaxName || !printable(name) {
		return fault.Field(field, fmt.Sprintf("a name of 1 to %d letters", MaxName))
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

// AltersNumbers reports whether numbers under s differ from those under o:
// what was summarised under the one must be summarised again under the other.
// Keeping whole addresses shapes only what is collected from now on.
func (s Settings) AltersNumbers(o Settings) bool {
	return s.TimeZone != o.TimeZone || s.Currency != o.Currency || s.BotFilter != o.BotFilter || s.InternalFilter != o.InternalFilter ||
		s.SessionTimeout() != o.SessionTimeout() ||
		!slices.Equal(s.Normal().KeyEvents, o.Normal().KeyEvents) || !channel.Equal(s.ChannelRules, o.ChannelRules) ||
		!slices.Equal(sortedRates(s.CurrencyRates), sortedRates(o.CurrencyRates))
}

// Stream returns the merchant's stream of a measurement id, nil for none. It
// points into m.
func (m *Merchant) Stream(measurementID string) *Stream {
	for i := range m.Streams {
		if m.Streams[i].MeasurementID == measurementID {
			return &m.Streams[i]
		}
	}
	return nil
}
