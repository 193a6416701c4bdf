package enrich_test

import (
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/enrich"
)

// What real browsers send, and what becomes of it.
func TestClientHints(t *testing.T) {
	const (
		windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
		android = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
		mac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
		cros    = "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
		chrome  = `: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"`
		full    = `full-version-list: "Chromium";v="142.0.7444.59", "Google Chrome";v="142.0.7444.60", "Not_A Brand";v="99.0.0.0"`
	)
	agents := enrich.NewAgents(bots(t), 100)
	for _, c := range []struct {
		name, agent string
		hints       []string
		want        enrich.Agent
	}{
		{
			"only what every request has", windows, []string{chrome, "mobile: ?0", `platform: "Windows"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Windows", OSVersion: "10", Device: "desktop"},
		},
		{
			"Windows 11", windows, []string{chrome, "mobile: ?0", `platform: "Windows"`, `platform-version: "15.0.0"`, full},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.7444.60", OS: "Windows", OSVersion: "11", Device: "desktop"},
		},
		{
			"Windows 10", windows, []string{`platform: "Windows"`, `platform-version: "10.0.0"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Windows", OSVersion: "10", Device: "desktop"},
		},
		{
			"Windows 8.1", windows, []string{`platform: "Windows"`, `platform-version: "0.3.0"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Windows", OSVersion: "8.1", Device: "desktop"},
		},
		{
			"a phone's model", android, []string{chrome, "mobile: ?1", `platform: "Android"`, `platform-version: "16.0.0"`, `model: "Pixel 9 Pro"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Android", OSVersion: "16", Device: "mobile", Brand: "Google", Model: "Pixel 9 Pro"},
		},
		{
			"a tablet", android, []string{chrome, "mobile: ?0", `platform: "Android"`, `model: "SM-X910"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Android", OSVersion: "10", Device: "tablet", Brand: "Samsung", Model: "SM-X910"},
		},
		{
			"macOS", mac, []string{`: "Microsoft Edge";v="142", "Chromium";v="142", "Not(A:Brand";v="8"`, `platform: "macOS"`, `platform-version: "15.3.1"`},
			enrich.Agent{Browser: "Edge", BrowserVersion: "142", OS: "macOS", OSVersion: "15.3.1", Device: "desktop"},
		},
		{
			"Chrome OS has no version", cros, []string{chrome, `platform: "Chrome OS"`, `platform-version: "16328.55.0"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "ChromeOS", Device: "desktop"},
		},
		{
			"a browser that hides in its agent", windows, []string{`: "Brave";v="142", "Chromium";v="142", " Not A;Brand";v="24"`, "mobile: ?0"},
			enrich.Agent{Browser: "Brave", BrowserVersion: "142", OS: "Windows", OSVersion: "10", Device: "desktop"},
		},
		{
			"the engine alone", windows, []string{`: "Chromium";v="142", "Not;A=Brand";v="99"`},
			enrich.Agent{Browser: "Chromium", BrowserVersion: "142", OS: "Windows", OSVersion: "10", Device: "desktop"},
		},
		{
			"headless", windows, []string{`: "HeadlessChrome";v="142", "Chromium";v="142", "Not_A Brand";v="99"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Windows", OSVersion: "10", Device: "desktop", Bot: true},
		},
		{
			"without an agent", "", []string{chrome, "mobile: ?1", `platform: "Android"`, `model: "2201117TG"`},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142", OS: "Android", Device: "mobile", Brand: "Xiaomi", Model: "2201117TG"},
		},
		{
			"quotes within", "", []string{`: "A \"B\" \\C";v="1"`, `platform: "Unknown"`},
			enrich.Agent{Browser: `A "B" \C`, BrowserVersion: "1"},
		},
		{
			"nonsense", windows, []string{`: "Chrom`, "mobile: yes", `platform: Windows`, `platform-version: "x"`, "model", "full-version-list: ;;,,\"\""},
			enrich.Agent{Browser: "Chrome", BrowserVersion: "142.0.0.0", OS: "Windows", OSVersion: "10", Device: "desktop"},
		},
	} {
		if got := agents.Of(c.agent, strings.Join(c.hints, "\n")); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func FuzzHints(f *testing.F) {
	f.Add(": \"Chromium\";v=\"142\"\nmobile: ?1\nmodel: \"\\\"\"")
	agents := enrich.NewAgents(bots(f), 4)
	f.Fuzz(func(_ *testing.T, hints string) { agents.Of("Mozilla/5.0", hints) })
}

func BenchmarkHintsKnown(b *testing.B) {
	agents := enrich.NewAgents(bots(b), 100)
	hints := ": \"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"\nmobile: ?0\nplatform: \"Windows\""
	b.ReportAllocs()
	for b.Loop() {
		agents.Of(chrome, hints)
	}
}
