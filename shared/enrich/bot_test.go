package enrich_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/enrich"
)

var update = flag.Bool("update", false, "write derived and golden files anew")

func bots(tb testing.TB) *enrich.Bots {
	tb.Helper()
	b, err := enrich.NewBots()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestCrawlers checks that the compiled list is the vendored one, and that it
// knows every agent that the vendored one gives as an instance.
func TestCrawlers(t *testing.T) {
	data, err := os.ReadFile("data/crawlers/crawler-user-agents.json")
	if err != nil {
		t.Fatal(err)
	}
	var crawlers []struct {
		Pattern   string
		Instances []string
	}
	if err := json.Unmarshal(data, &crawlers); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, c := range crawlers {
		list.WriteString(c.Pattern + "\n")
	}
	const derived = "data/crawlers/crawlers.txt"
	if *update {
		if err := os.WriteFile(derived, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(derived); err != nil || string(got) != list.String() {
		t.Errorf("%s is not what the JSON says (%v): run with -update", derived, err)
	}
	b := bots(t)
	for _, c := range crawlers {
		for _, agent := range c.Instances {
			if !b.Is(agent) {
				t.Errorf("%q of %q counts as a person", agent, c.Pattern)
			}
		}
	}
}

func TestPrograms(t *testing.T) {
	b := bots(t)
	for _, agent := range []string{
		"", "-", "curl/8.5.0", "Wget/1.21", "python-requests/2.31.0", "Python-urllib/3.11", "Go-http-client/2.0", "okhttp/4.12.0",
		"Java/17.0.1", "Ruby", "PostmanRuntime/7.36", "axios/1.6.2", "node", "GuzzleHttp/7", "Tiny Tiny RSS/1.11 (http://tt-rss.org/)",
		"UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/", "FeedBurner/1.0 (http://www.FeedBurner.com)", "Feedbin - 1 subscribers",
		"Chef Client/10.18.2 (ruby-1.9.3-p327; ohai-6.16.0; x86_64-linux; +http://opscode.com)", "Jakarta Commons-HttpClient/3.1",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
	} {
		if !b.Is(agent) {
			t.Errorf("%q counts as a person", agent)
		}
	}
}

func BenchmarkBots(b *testing.B) {
	list := bots(b)
	b.ReportAllocs()
	for b.Loop() {
		list.Is("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36")
	}
}
