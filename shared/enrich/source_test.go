package enrich

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/channel"
)

func TestPage(t *testing.T) {
	for location, want := range map[string]Page{
		"":                                    {},
		"https://shop.example.com":            {"shop.example.com", "/", ""},
		"https://Shop.Example.com:8443/A?b=c": {"shop.example.com", "/A", "b=c"},
		"https://u:p@shop.example.com./a#x?y": {"shop.example.com", "/a", ""},
		"http://[2001:db8::1]:80/a":           {"[2001:db8::1]", "/a", ""},
		"//cdn.example.com/x":                 {"cdn.example.com", "/x", ""},
		"/only/a/path?q=1":                    {"", "/only/a/path", "q=1"},
		"https://a.example/?utm_source=x":     {"a.example", "/", ""},
		"https://a.example/?gclid=1&p=2&utm_medium=m&q=%20&fbclid=2": {"a.example", "/", "p=2&q=%20"},
		"https://a.example/?p=2&utm_medium=m":                        {"a.example", "/", "p=2"},
		"https://a.example/?&&p":                                     {"a.example", "/", "&&p"},
		"https://a.example/?u=https://b.example/":                    {"a.example", "/", "u=https://b.example/"},
	} {
		if got := pageOf(location, &campaign{}); got != want {
			t.Errorf("%q: got %+v, want %+v", location, got, want)
		}
	}
}

func TestSource(t *testing.T) {
	known := channel.Known()
	for _, c := range []struct {
		location, referrer string
		want               Source
	}{
		{"https://a.example/", "", Source{}},
		{"https://a.example/", "https://a.example/other", Source{}},
		{"https://a.example/", "https://www.a.example/other", Source{}},
		{"https://www.a.example/", "http://a.example:81/", Source{}},
		{"https://a.example/", "-", Source{}},
		{"https://a.example/", "about:blank", Source{}},
		{"https://a.example/", "https://blog.example/post?x", Source{Source: "blog.example", Medium: "referral"}},
		{"https://a.example/", "https://sub.a.example/", Source{Source: "sub.a.example", Medium: "referral"}},
		{"https://a.example/", "https://www.google.com/", Source{Source: "google", Medium: "organic"}},
		{"https://a.example/", "http://www.google.co.uk/url?q=x", Source{Source: "google", Medium: "organic"}},
		{"https://a.example/", "https://google.de", Source{Source: "google", Medium: "organic"}},
		{"https://a.example/", "https://mail.google.com/", Source{Source: "mail.google.com", Medium: "referral"}},
		{"https://a.example/", "https://google.evil.example.com/", Source{Source: "google.evil.example.com", Medium: "referral"}},
		{"https://a.example/", "https://notgoogle.com/", Source{Source: "notgoogle.com", Medium: "referral"}},
		{"https://a.example/", "android-app://com.google.android.googlequicksearchbox/", Source{Source: "google", Medium: "organic"}},
		{"https://a.example/", "https://www.bing.com/search?q=x", Source{Source: "bing", Medium: "organic"}},
		{"https://a.example/", "https://de.search.yahoo.com/", Source{Source: "yahoo", Medium: "organic"}},
		{"https://a.example/", "https://duckduckgo.com/", Source{Source: "duckduckgo", Medium: "organic"}},
		{"https://a.example/", "https://l.facebook.com/l.php", Source{Source: "facebook", Medium: "social"}},
		{"https://a.example/", "https://t.co/x", Source{Source: "twitter", Medium: "social"}},
		{"https://a.example/", "https://www.youtube.com/", Source{Source: "youtube", Medium: "referral"}},
		{"https://a.example/", "https://www.amazon.de/dp/1", Source{Source: "amazon", Medium: "referral"}},
		{"https://a.example/", "https://chatgpt.com/", Source{Source: "chatgpt.com", Medium: "ai-assistant"}},
		{"https://a.example/", "https://gemini.google.com/app", Source{Source: "gemini.google.com", Medium: "ai-assistant"}},
		{"https://a.example/?utm_source=chatgpt.com", "https://chatgpt.com/", Source{Source: "chatgpt.com", Medium: notSet}},
		{"https://a.example/?gclid=1", "https://www.google.com/", Source{Source: "google", Medium: "cpc"}},
		{"https://a.example/?fbclid=1", "", Source{Source: "facebook", Medium: "social"}},
		{"https://a.example/?fbclid=1&gclid=2", "", Source{Source: "google", Medium: "cpc"}},
		{"https://a.example/?gclid=1&utm_campaign=spring", "", Source{Source: "google", Medium: "cpc", Campaign: "spring"}},
		{"https://a.example/?gclid=1&utm_source=news&utm_medium=email", "", Source{Source: "news", Medium: "email"}},
		{
			"https://a.example/?utm_source=news%20letter&utm_medium=e+mail&utm_campaign=c&utm_term=t&utm_content=x", "https://t.co/",
			Source{"news letter", "e mail", "c", "t", "x"},
		},
		{"https://a.example/?utm_source=news", "https://t.co/", Source{Source: "news", Medium: notSet}},
		{"https://a.example/?utm_campaign=c", "", Source{Source: notSet, Medium: notSet, Campaign: "c"}},
		{"https://a.example/?utm_id=7&utm_source=s&utm_medium=m", "", Source{Source: "s", Medium: "m", Campaign: "7"}},
		{"https://a.example/?utm_source=", "https://t.co/", Source{Source: "twitter", Medium: "social"}},
		{"https://a.example/?utm_source=%ff%zz", "", Source{Source: "%zz", Medium: notSet}},
	} {
		var found campaign
		page := pageOf(c.location, &found)
		if got := sourceOf(known, &found, page.Host, c.referrer); got != c.want {
			t.Errorf("%s from %q: got %+v, want %+v", c.location, c.referrer, got, c.want)
		}
	}
}

// TestQueryLaws: what is no tracking parameter stays, in order, and cleaning
// twice changes nothing.
func TestQueryLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all, kept []string
		for range rapid.IntRange(0, 6).Draw(t, "pairs") {
			key := rapid.SampledFrom([]string{"a", "b", "utm_x", "gclid", "p"}).Draw(t, "key")
			pair := key + "=" + rapid.StringMatching(`[a-z%=+]{0,4}`).Draw(t, "value")
			all = append(all, pair)
			if key != "utm_x" && key != "gclid" {
				kept = append(kept, pair)
			}
		}
		got := cleanQuery(strings.Join(all, "&"), &campaign{})
		if want := strings.Join(kept, "&"); got != want {
			t.Fatalf("%q: got %q, want %q", all, got, want)
		}
		if again := cleanQuery(got, &campaign{}); again != got {
			t.Fatalf("cleaned again: %q", again)
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add("https://u@a.example:80/p?utm_source=%4a&x#y", "https://www.google.com/")
	f.Fuzz(func(_ *testing.T, location, referrer string) {
		var c campaign
		page := pageOf(location, &c)
		sourceOf(channel.Known(), &c, page.Host, referrer)
	})
}

func BenchmarkPageAndSource(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var c campaign
		page := pageOf("https://shop.example.com/products/shoes?color=red&utm_source=news&utm_medium=email", &c)
		sourceOf(channel.Known(), &c, page.Host, "https://www.google.com/")
	}
}
