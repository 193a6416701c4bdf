package enrich

import (
	"strconv"
	"strings"

	"github.com/mileusna/useragent"
)

// hints are a browser's client hints, unquoted
// (https://wicg.github.io/ua-client-hints/). "" is absent.
type hints struct {
	brands, full              string // lists of brands with versions, as they came
	mobile                    string // "?1" or "?0"
	platform, platformVersion string
	model                     string
}

// hintsOf reads event.Event.Hints.
func hintsOf(lines string) hints {
	var h hints
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "":
			h.brands = value
		case "mobile":
			h.mobile = value
		case "platform":
			h.platform = unquote(value)
		case "platform-version":
			h.platformVersion = unquote(value)
		case "full-version-list":
			h.full = value
		case "model":
			h.model = unquote(value)
		}
	}
	return h
}

// unquote is the text of a structured field's string (RFC 8941, section 3.3.3).
func unquote(s string) string {
	text, _ := cutString(s)
	return text
}

// cutString takes a string off the front of a structured field.
func cutString(s string) (text, rest string) {
	if s == "" || s[0] != '"' {
		return "", s
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			text = s[1:i]
			if strings.IndexByte(text, '\\') >= 0 {
				text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(text)
			}
			return text, s[i+1:]
		}
	}
	return "", ""
}

// brandNames are what browsers call themselves, by their brands; others keep
// theirs.
var brandNames = map[string]string{
	"Google Chrome": useragent.Chrome, "HeadlessChrome": useragent.Chrome, "Microsoft Edge": useragent.Edge,
	"Microsoft Edge WebView2": useragent.Edge, "Samsung Internet": useragent.SamsungBrowser, "Opera GX": useragent.Opera,
	"Opera Mobile": useragent.Opera, "OperaMobile": useragent.Opera, "Yandex": "Yandex Browser", "YaBrowser": "Yandex Browser",
}

const (
	chromium    = "Chromium"
	webView     = "Android WebView"
	headless    = "HeadlessChrome"
	maxBrandLen = 40
)

// brand finds the browser in a list of brands: the one that is neither the
// engine nor made up to keep readers of the list on their toes ("GREASE").
func brand(list string) (name, version string) {
	for rest := list; ; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return name, version
		}
		var one, params string
		if one, rest = cutString(rest); one == "" && rest == "" {
			return name, version
		}
		params, rest = cutParams(rest)
		switch {
		case one == "" || len(one) > maxBrandLen || madeUp(one):
		case one == chromium:
			if name == "" {
				name, version = one, params
			}
		case name == "" || name == chromium:
			name, version = one, params
		}
	}
}

// cutParams takes a member's parameters off the front of a list, up to the
// comma that ends it: the value of v is what counts.
func cutParams(s string) (version, rest string) {
	for s != "" && s[0] != ',' {
		if v, ok := strings.CutPrefix(s, `;v="`); ok {
			version, s = cutString(`"` + v)
			continue
		}
		s = s[1:]
	}
	return version, s
}

// madeUp reports whether a brand is GREASE: "Not A;Brand" with any marks
// between the words.
func madeUp(brand string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return -1
	}, brand)
	return strings.HasPrefix(letters, "not") && strings.HasSuffix(letters, "brand")
}

// apply puts what the hints say over what the agent says: agents of browsers
// that send hints are frozen, and say Windows 10 and Android 10 of all later
// versions, and no model.
func (h *hints) apply(a *Agent) {
	name, version := brand(h.brands)
	fullName, full := brand(h.full)
	if name == "" {
		name = fullName
	}
	if name == headless || fullName == headless {
		a.Bot = true
	}
	// An app that shows pages in a web view names itself in its agent alone.
	if name != "" && (name != webView || a.Browser == "" || a.Browser == useragent.Chrome) {
		known := name
		if as := brandNames[name]; as != "" {
			known = as
		}
		switch {
		case fullName == name && versionLike(full):
			a.BrowserVersion = full
		case known == a.Browser && major(a.BrowserVersion) == version: // the agent says more
		case versionLike(version):
			a.BrowserVersion = version
		}
		a.Browser = known
	}
	h.applySystem(a)
	if h.model != "" && h.model != "K" {
		a.Model = clip(h.model)
		a.Brand = makerOf(h.model)
	}
	switch {
	case a.Device == "smart tv" || a.Device == "console":
	case h.mobile == "?1":
		if a.Device != "tablet" {
			a.Device = "mobile"
		}
	case h.mobile == "?0" && a.OS == useragent.Android:
		a.Device = "tablet"
	case h.mobile == "?0" && (a.Device == "" || a.Device == "mobile"):
		a.Device = "desktop"
	}
}

// platforms are the systems by the names that hints have for them.
var platforms = map[string]string{
	"Windows": useragent.Windows, "macOS": useragent.MacOS, "Mac OS X": useragent.MacOS, "Android": useragent.Android, "iOS": useragent.IOS,
	"Linux": useragent.Linux, "Chrome OS": useragent.ChromeOS, "Chromium OS": useragent.ChromeOS,
}

func (h *hints) applySystem(a *Agent) {
	system := platforms[h.platform]
	if system == "" {
		return // "Unknown", or none that we know
	}
	if a.OS != system {
		a.OS, a.OSVersion = system, ""
	}
	version := h.platformVersion
	if !versionLike(version) {
		return
	}
	switch system {
	case useragent.Windows:
		a.OSVersion = windowsVersion(version)
	case useragent.Linux, useragent.ChromeOS:
		// It is the kernel's, or a build's.
	default:
		for strings.HasSuffix(version, ".0") {
			version = version[:len(version)-2]
		}
		a.OSVersion = version
	}
}

// windowsVersion tells versions of Windows apart by those of its API
// (https://learn.microsoft.com/microsoft-edge/web-platform/how-to-detect-win11).
func windowsVersion(version string) string {
	n, err := strconv.Atoi(major(version))
	switch {
	case err != nil:
		return ""
	case n >= 13:
		return "11"
	case n >= 1:
		return "10"
	case strings.HasPrefix(version, "0.1"):
		return "7"
	case strings.HasPrefix(version, "0.2"):
		return "8"
	case strings.HasPrefix(version, "0.3"):
		return "8.1"
	default:
		return "" // 7, 8 or 8.1 of before these were told apart
	}
}

func major(version string) string {
	first, _, _ := strings.Cut(version, ".")
	return first
}
