package access

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/currency"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/money"
)

func TestTokensHaveTheirForm(t *testing.T) {
	forms := map[string]struct {
		make func() string
		form string
	}{
		"merchant":     {NewMerchantID, `^m[a-z2-7]{10}$`},
		"measurement":  {NewMeasurementID, `^G-[A-Z0-9]{10}$`},
		"admin token":  {NewAdminToken, `^ffa_[a-z2-7]{32}$`},
		"api secret":   {NewAPISecret, `^ffs_[a-z2-7]{32}$`},
		"report token": {func() string { return NewReportToken("mabc") }, `^ffr_mabc_[a-z2-7]{32}$`},
	}
	for name, f := range forms {
		re, seen := regexp.MustCompile(f.form), map[string]bool{}
		for range 1000 {
			s := f.make()
			if !re.MatchString(s) || seen[s] {
				t.Fatalf("%s: %q is malformed or came twice", name, s)
			}
			seen[s] = true
		}
	}
	if a, b := MerchantIDFor("k1"), MerchantIDFor("k1"); a != b || a == MerchantIDFor("k2") {
		t.Error("an idempotency key must name one merchant")
	}
}

func TestHash(t *testing.T) {
	secret := NewAPISecret()
	s := Stream{APISecrets: []Hash{HashOf(NewAPISecret()), HashOf(secret)}}
	if !s.HasSecret(secret) || s.HasSecret(secret+"x") || s.HasSecret("") || (&Stream{}).HasSecret("") {
		t.Error("a stream knows exactly its own secrets")
	}
	// printf ffs | sha256sum
	if got := HashOf("ffs"); got != "4119d174abaea7502d2cca5b6b26f2cb65c5fddcd27aeb54991c0d1fbd338aec" {
		t.Errorf("hash %s", got)
	}
}

func TestSettingsValidate(t *testing.T) {
	tests := []struct {
		change func(*Settings)
		field  string
	}{
		{func(*Settings) {}, ""},
		{func(s *Settings) { s.TimeZone = "America/New_York" }, ""},
		{func(s *Settings) { s.TimeZone = "" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "Local" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "Mars/Olympus" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "localtime" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "posixrules" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "right/UTC" }, "time_zone"},
		{func(s *Settings) { s.TimeZone = "../../etc/passwd" }, "time_zone"},
		{func(s *Settings) { s.Currency = "eur" }, "currency"},
		{func(s *Settings) { s.Currency = "XXX" }, "currency"},
		{func(s *Settings) { s.Currency = "D A" }, "currency"},
		{func(s *Settings) { s.KeyEvents = make([]string, 31) }, "key_events"},
		{func(s *Settings) { s.KeyEvents = []string{"ok", ""} }, "key_events[1]"},
		{func(s *Settings) { s.KeyEvents = []string{"a\nb"} }, "key_events[0]"},
		{func(s *Settings) {
			s.CustomDefinitions = []CustomDefinition{{"plan", UserDimension, "Plan", ""}, {"plan", EventDimension, "Plan", "Of the event"}}
		}, ""},
		{func(s *Settings) { s.CustomDefinitions = []CustomDefinition{{"", UserDimension, "Plan", ""}} }, "custom_definitions[0].parameter"},
		{func(s *Settings) { s.CustomDefinitions = []CustomDefinition{{"user:plan", EventDimension, "Plan", ""}} }, "custom_definitions[0].parameter"},
		{func(s *Settings) { s.CustomDefinitions = []CustomDefinition{{"plan", "item", "Plan", ""}} }, "custom_definitions[0].kind"},
		{func(s *Settings) { s.CustomDefinitions = []CustomDefinition{{"plan", EventMetric, "", ""}} }, "custom_definitions[0].name"},
		{func(s *Settings) { s.CustomDefinitions = []CustomDefinition{{"plan", EventMetric, "Plan", "a\nb"}} }, "custom_definitions[0].description"},
		{func(s *Settings) {
			s.CustomDefinitions = []CustomDefinition{{"plan", EventMetric, "Plan", ""}, {"plan", EventMetric, "Plan", ""}}
		}, "custom_definitions[1].parameter"},
		{func(s *Settings) { s.CustomDefinitions = make([]CustomDefinition, MaxDefinitions+1) }, "custom_definitions"},
		{func(s *Settings) { s.ChannelRules = []channel.Rule{{Channel: "A"}} }, "channel_rules[0].when"},
		{func(s *Settings) { s.KeyEvents = nil }, ""},
		{func(s *Settings) { s.SessionTimeoutMinutes = 5 }, ""},
		{func(s *Settings) { s.SessionTimeoutMinutes = 475 }, ""},
		{func(s *Settings) { s.SessionTimeoutMinutes = 0 }, ""}, // of before there was the setting
		{func(s *Settings) { s.SessionTimeoutMinutes = 4 }, "session_timeout_minutes"},
		{func(s *Settings) { s.SessionTimeoutMinutes = 476 }, "session_timeout_minutes"},
		{func(s *Settings) {
			s.CurrencyRates = []CurrencyRate{{"EUR", money.One, ""}, {"EUR", money.One, "2026-03-01"}, {"GBP", 1, ""}}
		}, ""},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"EURO", money.One, ""}} }, "currency_rates[0].currency"},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"USD", money.One, ""}} }, "currency_rates[0].currency"},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"EUR", money.One, ""}, {"GBP", 0, ""}} }, "currency_rates[1].rate"},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"EUR", money.MaxRate + 1, ""}} }, "currency_rates[0].rate"},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"EUR", 1, "1.3.2026"}} }, "currency_rates[0].from"},
		{func(s *Settings) { s.CurrencyRates = []CurrencyRate{{"EUR", 1, ""}, {"EUR", 2, ""}} }, "currency_rates[1].from"},
		{func(s *Settings) { s.CurrencyRates = make([]CurrencyRate, MaxCurrencyRates+1) }, "currency_rates"},
	}
	for _, tt := range tests {
		s := DefaultSettings()
		tt.change(&s)
		err := s.Validate()
		var f *fault.Error
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%+v: %v", s, err)
		case tt.field != "" && (!errors.As(err, &f) || f.Field != tt.field || f.Kind != fault.Invalid):
			t.Errorf("%+v: got %v, want a fault of %s", s, err, tt.field)
		}
	}
	for name, ok := range map[string]bool{"Shop": true, "": false, " x": false, "a\x00": false, strings.Repeat("ü", 200): true, strings.Repeat("ü", 201): false} {
		if err := ValidateName("name", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCurrenciesAreKnownToOthers(t *testing.T) {
	newer := map[string]bool{"VED": true, "SLE": true, "XCG": true, "ZWG": true, "MRU": true, "VES": true} // later than CLDR in x/text
	codes := strings.Fields(currencies)
	if len(codes) < 150 || len(currencies) != 4*len(codes)-1 {
		t.Fatalf("%d codes in %d bytes", len(codes), len(currencies))
	}
	for _, c := range codes {
		if _, err := currency.ParseISO(c); err != nil && !newer[c] || !KnownCurrency(c) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// The generation grows exactly where numbers change, however settings are
// written.
func TestGeneration(t *testing.T) {
	settings := rapid.Custom(func(t *rapid.T) Settings {
		return Settings{
			TimeZone:  rapid.SampledFrom([]string{"UTC", "Asia/Tokyo"}).Draw(t, "zone"),
			Currency:  rapid.SampledFrom([]string{"EUR", "USD"}).Draw(t, "currency"),
			BotFilter: rapid.Bool().Draw(t, "bots"),
			KeyEvents: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 3).Draw(t, "key"),
			KeepIP:    rapid.Bool().Draw(t, "ip"),

			SessionTimeoutMinutes: rapid.SampledFrom([]int{0, 30, 45}).Draw(t, "timeout"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := settings.Draw(t, "a"), settings.Draw(t, "b")
		m := Merchant{Generation: 7}.WithSettings(a, time.Time{})
		again := m.WithSettings(a, time.Time{})
		if again.Generation != m.Generation {
			t.Fatal("the same settings made a new generation")
		}
		m = m.WithState(m.Generation, ViewReady, time.Time{})
		n, same := m.WithSettings(b, time.Time{}), a.Normal()
		same.KeepIP = b.KeepIP
		differs := !equalSettings(same, b.Normal())
		if (n.Generation != m.Generation) != differs {
			t.Fatalf("%+v to %+v: generation %d to %d", a, b, m.Generation, n.Generation)
		}
	})
}

func equalSettings(a, b Settings) bool {
	return a.TimeZone == b.TimeZone && a.Currency == b.Currency && a.BotFilter == b.BotFilter && a.KeepIP == b.KeepIP &&
		(a.SessionTimeoutMinutes == 45) == (b.SessionTimeoutMinutes == 45) && // 0 is 30
		strings.Join(a.KeyEvents, ",") == strings.Join(b.KeyEvents, ",")
}

type merchants map[string]Merchant

func (ms merchants) Merchant(_ context.Context, id string) (Merchant, error) {
	if id == "maway" {
		return Merchant{}, errors.New("store away")
	}
	m, ok := ms[id]
	if !ok {
		return m, fault.New(fault.NotFound, "cannot find merchant %q", id)
	}
	return m, nil
}

func TestAuthorize(t *testing.T) {
	tokenA, tokenB := NewReportToken("ma"), NewReportToken("mb")
	ms := merchants{
		"ma": {ID: "ma", ReportTokens: []Hash{HashOf(tokenA)}},
		"mb": {ID: "mb", ReportTokens: []Hash{HashOf(tokenB)}},
	}
	a := NewAuthorizer("operator", ms)
	const ok = fault.Kind(255)
	tests := []struct {
		header   string
		action   Action
		merchant string
		want     fault.Kind
	}{
		{"", ReadReport, "ma", fault.Unauthenticated},
		{"", CreateMerchant, "", fault.Unauthenticated},
		{"Basic b3BlcmF0b3I=", ReadReport, "ma", fault.Unauthenticated},
		{"Bearer ", ReadReport, "ma", fault.Unauthenticated},
		{"Bearer operator", CreateMerchant, "", ok},
		{"bearer operator", ReadReport, "ma", ok},
		{"Bearer operator", Operate, "", ok},
		{"Bearer Operator", Operate, "", fault.Unauthenticated},
		{"Bearer " + strings.Repeat("x", 300), Operate, "", fault.Unauthenticated},
		{"Bearer " + tokenA, ReadReport, "ma", ok},
		{"Bearer " + tokenA, ReadMerchant, "ma", ok},
		{"Bearer " + tokenA, AskWhoIAm, "", ok},
		{"Bearer " + tokenA, ChangeMerchant, "ma", fault.Forbidden},
		{"Bearer " + tokenA, CreateMerchant, "", fault.Forbidden},
		{"Bearer " + tokenA, ListMerchants, "", fault.Forbidden},
		{"Bearer " + tokenA, Operate, "ma", fault.Forbidden},
		{"Bearer " + tokenA, ReadReport, "", fault.Forbidden},
		{"Bearer " + tokenA, ReadReport, "mb", fault.Forbidden},    // foreign
		{"Bearer " + tokenA, ReadReport, "mnone", fault.Forbidden}, // unknown: the same
		{"Bearer " + strings.Replace(tokenB, "mb", "ma", 1), ReadReport, "ma", fault.Unauthenticated},
		{"Bearer " + NewReportToken("mnone"), ReadReport, "mnone", fault.Unauthenticated},
		{"Bearer " + NewReportToken("ma"), ReadReport, "ma", fault.Unauthenticated},
		{"Bearer ffr_", ReadReport, "", fault.Unauthenticated},
		{"Bearer ffr__x", ReadReport, "", fault.Unauthenticated},
		{"Bearer " + NewReportToken("maway"), ReadReport, "ma", fault.Transient},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if tt.header != "" {
			r.Header.Set("Authorization", tt.header)
		}
		_, err := a.Authorize(t.Context(), r, tt.action, tt.merchant)
		if tt.want == ok && err != nil || tt.want != ok && (err == nil || fault.KindOf(err) != tt.want) {
			t.Errorf("%.20q action %d merchant %q: got %v, want %v", tt.header, tt.action, tt.merchant, err, tt.want)
		}
	}
	nobody := NewAuthorizer("", ms)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer ")
	if _, err := nobody.Authorize(t.Context(), r, Operate, ""); err == nil {
		t.Error("an empty admin token must not make an empty credential the operator's")
	}
}
