package enrich

import (
	"strings"

	"github.com/mileusna/useragent"
)

// Agent is what a user agent and client hints say about who sent an event. ""
// is unknown.
type Agent struct {
	Browser, BrowserVersion string
	OS, OSVersion           string
	Device                  string // desktop, mobile, tablet, smart tv, console
	Brand, Model            string // of a device that names its own
	Bot                     bool
}

// Agents reads user agents and remembers what it read.
type Agents struct {
	bots  *Bots
	known *cache[said, Agent]
}

// said is what a browser says of itself.
type said struct{ agent, hints string }

// NewAgents remembers at most limit agents, some 600 bytes each.
func NewAgents(bots *Bots, limit int) *Agents {
	return &Agents{bots: bots, known: newCache[said, Agent](limit, said.clone)}
}

// How much of an agent and of hints is looked at; browsers' take 80 to 250, and
// 100 to 500 bytes.
const (
	maxAgent = 1024
	maxHints = 4096
)

func (s said) clone() said { return said{strings.Clone(s.agent), strings.Clone(s.hints)} }

// Of reads an agent, and the client hints that came with it, as
// event.Event.Hints has them. Hints win where both say something.
func (a *Agents) Of(agent, hints string) Agent {
	if len(agent) > maxAgent {
		agent = agent[:maxAgent]
	}
	if len(hints) > maxHints {
		hints = hints[:maxHints]
	}
	if known, ok := a.known.get(said{agent, hints}); ok {
		return known
	}
	s := said{agent, hints}.clone()
	var read Agent
	if s.agent != "" || s.hints == "" {
		read = parseAgent(s.agent)
		read.Bot = a.bots.Is(s.agent)
	}
	if s.hints != "" {
		h := hintsOf(s.hints)
		h.apply(&read)
	}
	a.known.add(s, read)
	return read
}

// windows are the names by which people know the versions of Windows NT.
var windows = map[string]string{
	"5.0": "2000", "5.1": "XP", "5.2": "XP", "6.0": "Vista", "6.1": "7", "6.2": "8", "6.3": "8.1", "10.0": "10",
}

func parseAgent(agent string) Agent {
	ua := useragent.Parse(agent)
	a := Agent{Browser: ua.Name, BrowserVersion: ua.Version, OS: ua.OS, OSVersion: ua.OSVersion}
	switch {
	case strings.Contains(agent, "Trident/7.0"): // names itself by rv: only
		a.Browser, a.BrowserVersion = useragent.InternetExplorer, "11.0"
	case strings.HasPrefix(agent, "Opera/"): // Presto: the version stands apart
		a.Browser, a.BrowserVersion = useragent.Opera, after(agent, "Version/")
		if a.BrowserVersion == "" {
			a.BrowserVersion = after(agent, "Opera/")
		}
	case strings.Contains(agent, " Silk/"):
		a.Browser, a.BrowserVersion = "Silk", after(agent, " Silk/")
	case strings.Contains(agent, " YaBrowser/"):
		a.Browser, a.BrowserVersion = "Yandex Browser", after(agent, " YaBrowser/")
	case a.Browser == "Ubuntu Chromium":
		a.Browser = "Chromium"
	case a.Browser == "Headless Chrome":
		a.Browser, a.BrowserVersion = useragent.Chrome, after(agent, "HeadlessChrome/")
	}
	// The parser falls back to the agent's own words; those are no browser.
	if !nameLike(a.Browser) || a.Browser == agent || a.Browser == "Mozilla" || strings.HasPrefix(a.Browser, "Windows") {
		a.Browser, a.BrowserVersion = "", ""
	}
	if !versionLike(a.BrowserVersion) {
		a.BrowserVersion = ""
	}
	switch {
	case a.OS == useragent.Windows:
		if name := windows[a.OSVersion]; name != "" {
			a.OSVersion = name
		}
	case a.OS == useragent.Linux || a.OS == useragent.ChromeOS, !versionLike(a.OSVersion):
		a.OSVersion = "" // "x86_64" is no version
	}
	a.OSVersion = strings.ReplaceAll(a.OSVersion, "_", ".")
	a.Device = device(agent, &ua)
	a.Brand, a.Model = modelOf(agent)
	return a
}

// tvs and consoles are words that only such devices' agents hold.
var (
	tvs = []string{
		"smart-tv", "smarttv", "smart tv", "googletv", "android tv", "appletv", "apple tv", "hbbtv", "web0s", "netcast",
		"bravia", "crkey", "roku", "aft", "tv safari", "viera", "opera tv", "philipstv",
	}
	consoles = []string{"playstation", "xbox", "nintendo"}
)

func device(agent string, ua *useragent.UserAgent) string {
	lower := strings.ToLower(agent)
	for _, word := range tvs {
		if word == "aft" { // Fire TV: "; AFTMM Build/…"
			if ua.OS == useragent.Android && strings.Contains(agent, "; AFT") {
				return "smart tv"
			}
		} else if strings.Contains(lower, word) {
			return "smart tv"
		}
	}
	for _, word := range consoles {
		if strings.Contains(lower, word) {
			return "console"
		}
	}
	switch {
	case ua.Tablet || strings.Contains(lower, "tablet") || strings.Contains(lower, "kindle"):
		return "tablet"
	case ua.OS == useragent.Android && strings.HasPrefix(agent, "Mozilla/") && !strings.Contains(agent, "Mobile"):
		return "tablet" // Android browsers leave "Mobile" out on tablets
	case ua.Mobile:
		return "mobile"
	case ua.Desktop:
		return "desktop"
	case ua.OS != "" || strings.Contains(agent, "X11"):
		return "desktop"
	default:
		return ""
	}
}

// after is the word that follows a mark.
func after(agent, mark string) string {
	_, rest, ok := strings.Cut(agent, mark)
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, " ;)"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

func nameLike(s string) bool {
	return s != "" && len(s) <= 40 && !strings.ContainsAny(s, "/:;()[]{}")
}

func versionLike(s string) bool {
	return s != "" && len(s) <= 24 && s[0] >= '0' && s[0] <= '9'
}
