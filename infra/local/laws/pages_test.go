package laws

import (
	"net/url"
	"strings"
	"testing"
)

// pageParts is what a page's address says.
type pageParts struct {
	host, path, query string
	tracking          url.Values // the parameters that say where a visitor came from
}

// tracking parameters, besides those that begin with utm_.
var tracking = map[string]bool{"gclid": true, "fbclid": true, "msclkid": true, "mc_eid": true, "_ga": true}

func partsOf(t testing.TB, location string) pageParts {
	t.Helper()
	if location == "" {
		return pageParts{}
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	p := pageParts{host: strings.ToLower(u.Hostname()), path: u.EscapedPath(), tracking: url.Values{}}
	if p.path == "" {
		p.path = "/"
	}
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(key, "utm_") && !tracking[key] {
			kept = append(kept, pair)
		} else if value, err = url.QueryUnescape(value); err != nil {
			t.Fatal(err)
		} else if value != "" {
			p.tracking.Set(key, value)
		}
	}
	p.query = strings.Join(kept, "&")
	return p
}

// source is where an event says that its visitor came from.
type source struct{ source, medium, campaign, term, content string }

// links are queries of links from elsewhere, referrers pages that link.
var (
	links = []string{
		"utm_source=google&utm_medium=cpc&utm_campaign=spring&utm_term=red+shoes&utm_content=banner", "utm_source=newsletter&utm_medium=email&utm_campaign=spring%20sale",
		"utm_source=facebook&utm_medium=social", "utm_source=partner", "utm_medium=affiliate", "utm_campaign=lonely", "gclid=Cj0abc", "fbclid=IwAR0",
		"msclkid=f00", "utm_source=google&gclid=Cj0abc", "utm_campaign=brand&gclid=Cj0abc", "utm_source=&utm_medium=", "mc_eid=1", "utm_source=bing&utm_medium=organic&q=hats",
		"utm_source=google&utm_medium=cpc&utm_campaign=cross-network%207", "utm_source=instagram&utm_medium=paid_social&utm_campaign=teens",
		"utm_source=adnet&utm_medium=banner&utm_campaign=Summer%20eShop", "utm_source=leaflet&utm_medium=qr&utm_campaign=workshop",
		"utm_source=leaflet&utm_medium=qr&utm_campaign=Pop-up+shop", "utm_source=app&utm_medium=web%20push&utm_campaign=come+back",
	}
	referrers = []string{
		"https://www.google.com/", "https://www.google.co.uk/search?q=hats", "https://duckduckgo.com/", "https://www.facebook.com/", "https://t.co/xyz",
		"https://shop.example/", "https://www.shop.example/hats", "https://news.example.org/a?b=c", "https://www.other.example/", "about:blank", "",
	}
	engines = map[string]source{
		"www.google.com": {source: "google", medium: "organic"}, "www.google.co.uk": {source: "google", medium: "organic"},
		"duckduckgo.com": {source: "duckduckgo", medium: "organic"}, "www.facebook.com": {source: "facebook", medium: "social"},
		"t.co": {source: "twitter", medium: "social"},
	}
	clicks = map[string]source{
		"gclid": {source: "google", medium: "cpc"}, "fbclid": {source: "facebook", medium: "social"}, "msclkid": {source: "bing", medium: "cpc"},
	}
)

// sourceOf: the page's own parameters, then the referrer where it is another
// site.
func sourceOf(t testing.TB, p pageParts, referrer string) source {
	t.Helper()
	get := p.tracking.Get
	s := source{get("utm_source"), get("utm_medium"), get("utm_campaign"), get("utm_term"), get("utm_content")}
	for _, key := range []string{"gclid", "msclkid", "fbclid"} {
		if s.source == "" && get(key) != "" {
			s.source = clicks[key].source
			if s.medium == "" {
				s.medium = clicks[key].medium
			}
			return s
		}
	}
	if s != (source{}) {
		// A link that names the one and not the other.
		if s.source == "" {
			s.source = "(not set)"
		}
		if s.medium == "" {
			s.medium = "(not set)"
		}
		return s
	}
	u, err := url.Parse(referrer)
	if err != nil {
		t.Fatal(err)
	}
	bare := func(host string) string { return strings.TrimPrefix(strings.ToLower(host), "www.") }
	host := u.Hostname()
	if host == "" || bare(host) == bare(p.host) {
		return s
	}
	if known, ok := engines[host]; ok {
		return known
	}
	return source{source: bare(host), medium: "referral"}
}
