package channel

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/fault"
)

// Each rule of https://support.google.com/analytics/answer/9756891, each
// alternative of it, and what decides between two that hold.
func TestDefaultChannelGroup(t *testing.T) {
	for _, c := range []struct {
		source, medium, campaign, want string
	}{
		{"", "", "", Direct},
		{"(direct)", "(none)", "", Direct},
		{"(direct)", "(not set)", "", Direct},
		{"(direct)", "(none)", "cross-network", Direct},
		{"(direct)", "email", "", Email},
		{"(not set)", "(not set)", "spring", Unassigned},

		{"google", "cpc", "cross-network", CrossNetwork},
		{"google", "organic", "PMax Cross-Network 2026", CrossNetwork},

		{"amazon", "cpc", "", PaidShopping},
		{"ebay.co.uk", "paid", "", PaidShopping},
		{"google", "cpc", "eshop spring", PaidShopping},
		{"google", "ppc", "Shop", PaidShopping},
		{"google", "ppc", "2026_shopping", PaidShopping},
		{"newsletter", "retargeting", "window-shopping", PaidShopping},

		{"google", "cpc", "", PaidSearch},
		{"google", "cpc", "bishop", PaidSearch}, // "shop" behind a letter that is no e
		{"Bing", "PPC", "", PaidSearch},
		{"duckduckgo", "paid-search", "", PaidSearch},
		{"www.google.de", "ecpc", "", PaidSearch},
		{"yahoo", "retargeting", "", PaidSearch},

		{"facebook", "cpc", "", PaidSocial},
		{"fb", "paid_social", "", PaidSocial},
		{"l.instagram.com", "paid", "", PaidSocial},
		{"tiktok", "cpm", "", PaidSocial}, // "cpm" is paid before it is display

		{"youtube", "cpv", "", PaidVideo},
		{"m.youtube.com", "paid", "", PaidVideo},
		{"vimeo", "retargeting", "", PaidVideo},

		{"news.example", "display", "", Display},
		{"news.example", "banner", "", Display},
		{"news.example", "expandable", "", Display},
		{"news.example", "interstitial", "", Display},
		{"google", "display", "", Display},
		{"news.example", "cpm", "", Display}, // and display before it is another paid one

		{"partner.example", "cpa", "", PaidOther},
		{"partner.example", "ppc", "", PaidOther},
		{"partner.example", "retargeting", "", PaidOther},
		{"partner.example", "paid-partner", "", PaidOther},
		{"partner.example", "unpaid", "", Unassigned},

		{"chatgpt.com", "ai-assistant", "(ai-assistant)", AIAssistant},
		{"claude.ai", "AI-Assistant", "", AIAssistant},
		{"chatgpt.com", "referral", "", Referral},

		{"etsy.com", "referral", "", OrganicShopping},
		{"amazon.co.jp", "(not set)", "", OrganicShopping},
		{"newsletter", "email", "shop the look", OrganicShopping},

		{"reddit.com", "referral", "", OrganicSocial},
		{"partner.example", "social", "", OrganicSocial},
		{"partner.example", "social-network", "", OrganicSocial},
		{"partner.example", "social-media", "", OrganicSocial},
		{"partner.example", "sm", "", OrganicSocial},
		{"partner.example", "social network", "", OrganicSocial},
		{"partner.example", "Social Media", "", OrganicSocial},
		{"t.co", "(not set)", "", OrganicSocial},

		{"youtube.com", "referral", "", OrganicVideo},
		{"partner.example", "product-video", "", OrganicVideo},

		{"google", "organic", "", OrganicSearch},
		{"partner.example", "organic", "", OrganicSearch},
		{"ecosia.org", "referral", "", OrganicSearch},

		{"partner.example", "referral", "", Referral},
		{"partner.example", "app", "", Referral},
		{"partner.example", "link", "", Referral},
		{"mail.google.com", "referral", "", Referral},

		{"newsletter", "email", "", Email},
		{"newsletter", "e-mail", "", Email},
		{"newsletter", "e_mail", "", Email},
		{"newsletter", "E Mail", "", Email},
		{"email", "newsletter", "", Email},
		{"e-mail", "(not set)", "", Email},
		{"e_mail", "(not set)", "", Email},
		{"e mail", "(not set)", "", Email},

		{"partner.example", "affiliate", "", Affiliates},
		{"partner.example", "affiliates", "", Affiliates},

		{"podcast", "audio", "", Audio},

		{"sms", "(not set)", "", SMS},
		{"crm", "sms", "", SMS},

		{"crm", "web-push", "", MobilePush},
		{"crm", "mobile", "", MobilePush},
		{"crm", "app-notification", "", MobilePush},
		{"firebase", "(not set)", "", MobilePush},

		{"partner.example", "newsletter", "", Unassigned},
		{"partner.example", "(not set)", "", Unassigned},
	} {
		if got := Default(c.source, c.medium, c.campaign); got != c.want {
			t.Errorf("%q / %q, campaign %q: got %q, want %q", c.source, c.medium, c.campaign, got, c.want)
		}
	}
	seen := map[string]bool{Unassigned: true}
	for _, r := range defaults {
		if seen[r.channel] {
			t.Errorf("two rules for %q", r.channel)
		}
		seen[r.channel] = true
	}
}

// The regular expressions of Google's page mean what we made of them.
func TestDefaultsKeepGooglesExpressions(t *testing.T) {
	paid := regexp.MustCompile(`^(.*cp.*|ppc|retargeting|paid.*)$`)
	shop := regexp.MustCompile(`^(.*(([^a-df-z]|^)shop|shopping).*)$`)
	words := rapid.SampledFrom([]string{"cp", "c", "ppc", "paid", "un", "retargeting", "shop", "ping", "e", "b", "-", "ü", "1", "sho", "p", " "})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(words, 0, 6).Draw(t, "words"), "")
		got := trafficOf("", text, text)
		if text != "" && (got.paid != paid.MatchString(text) || got.shop != shop.MatchString(text)) {
			t.Fatalf("%q: paid %t, shop %t", text, got.paid, got.shop)
		}
	})
}

func TestSources(t *testing.T) {
	s := Known()
	for host, want := range map[string]Service{
		"google.com": {"google", Search}, "news.google.co.uk": {"google", Search}, "mail.google.com": {"mail.google.com", Site},
		"google.evil.example.com": {}, "notgoogle.com": {}, "m.facebook.com": {"facebook", Social}, "x.com": {"twitter", Social},
		"de.search.yahoo.com": {"yahoo", Search}, "smile.amazon.de": {"amazon", Shopping}, "chatgpt.com": {"chatgpt.com", AI},
		"gemini.google.com": {"gemini.google.com", AI}, "music.youtube.com": {"youtube", Video}, "blog.example": {}, "": {},
		"stackoverflow.com": {"stackoverflow", Social},
	} {
		if got, ok := s.Host(host); got != want || ok != (want != Service{}) {
			t.Errorf("%q: got %+v, want %+v", host, got, want)
		}
	}
	for source, want := range map[string]Kind{
		"google": Search, "fb": Social, "yt": Video, "amazon": Shopping, "www.bing.com": Search, "example": Unknown, "shop.example": Unknown, "": Unknown,
	} {
		if got := s.Kind(source); got != want {
			t.Errorf("%q: got %d, want %d", source, got, want)
		}
	}
	for _, list := range []string{"organic google google.*", "search", "search a b\nsocial b"} {
		if _, err := parseSources(list); err == nil {
			t.Errorf("list %q: no error", list)
		}
	}
}

func TestRules(t *testing.T) {
	g := NewGroup([]Rule{
		{"Partners", []Condition{{Field: "source", Is: "Partner.example"}}},
		{"Brand", []Condition{{Field: "medium", Begins: "CP"}, {Field: "campaign", Contains: "brand"}}},
		{"Codes", []Condition{{Field: "campaign", Regexp: `^q[1-4]-\d+$`}}},
		{"Typed", []Condition{{Field: "source", Is: "(direct)"}, {Field: "medium", Is: "(none)"}}},
		{"Never", []Condition{{Field: "campaign", Regexp: "("}}},
		{"Nothing", nil},
	})
	for _, c := range []struct{ source, medium, campaign, want string }{
		{"partner.example", "cpc", "brand", "Partners"},
		{"google", "cpc", "My Brand", "Brand"},
		{"google", "organic", "My Brand", OrganicSearch},
		{"crm", "email", "Q3-17", "Codes"},
		{"", "", "", "Typed"},
		{"google", "cpc", "", PaidSearch},
	} {
		if got := g.Of(c.source, c.medium, c.campaign); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
	if got := NewGroup(nil).Of("google", "organic", ""); got != OrganicSearch {
		t.Errorf("no rules: got %q", got)
	}
}

func TestValidate(t *testing.T) {
	is := []Condition{{Field: "source", Is: "a"}}
	if err := Validate("channel_rules", []Rule{{"A", is}, {"A", []Condition{{Field: "campaign", Regexp: "a|b"}}}}); err != nil {
		t.Error(err)
	}
	for field, rules := range map[string][]Rule{
		"channel_rules":                   make([]Rule, MaxRules+1),
		"channel_rules[0].channel":        {{"", is}},
		"channel_rules[1].channel":        {{"A", is}, {" B", is}},
		"channel_rules[0].when":           {{"A", nil}},
		"channel_rules[0].when[0].field":  {{"A", []Condition{{Field: "term", Is: "a"}}}},
		"channel_rules[0].when[1]":        {{"A", []Condition{is[0], {Field: "medium"}}}},
		"channel_rules[0].when[0]":        {{"A", []Condition{{Field: "medium", Is: "a", Begins: "b"}}}},
		"channel_rules[0].when[0].is":     {{"A", []Condition{{Field: "medium", Is: strings.Repeat("a", MaxText+1)}}}},
		"channel_rules[0].when[0].regexp": {{"A", []Condition{{Field: "medium", Regexp: "("}}}},
	} {
		err := Validate("channel_rules", rules)
		if fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("expected a fault at %q, got %v", field, err)
		}
	}
	if Equal([]Rule{{"A", is}}, nil) || !Equal([]Rule{{"A", is}}, []Rule{{"A", is}}) || Equal([]Rule{{"A", is}}, []Rule{{"A", []Condition{{Field: "source", Begins: "a"}}}}) {
		t.Error("Equal")
	}
}

func BenchmarkDefault(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Default("blog.example.org", "referral", "spring")
		Default("google", "cpc", "brand")
	}
}
