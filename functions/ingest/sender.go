package ingest

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/protocol/cloudevents"
)

// sender is what a request says of who sent it.
type sender struct {
	addr     netip.Addr // whole: for this request only
	cut      string     // addr's network
	agent    string
	language string
	country  string
	region   string
	city     string
	hints    string
	purpose  string
}

// maxForwarded is how many addresses of X-Forwarded-For are looked at.
const maxForwarded = 32

func (c *Config) senderOf(r *http.Request) sender {
	s := sender{
		agent:    headerText(r.Header, "User-Agent", cloudevents.MaxText),
		language: firstLanguage(headerText(r.Header, "Accept-Language", 256)),
		hints:    clientHints(r.Header),
		purpose:  purpose(r.Header),
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return s // a test's or a Unix socket's: no address is known
	}
	s.addr = peer.Addr().Unmap().WithZone("")
	if c.trusts(s.addr) {
		s.addr = c.forwarded(s.addr, r.Header["X-Forwarded-For"])
		if c.CountryHeader != "" {
			s.country = countryCode(r.Header.Get(c.CountryHeader))
		}
		if c.RegionHeader != "" {
			s.region = placeName(headerText(r.Header, c.RegionHeader, cloudevents.MaxText))
		}
		if c.CityHeader != "" {
			s.city = placeName(headerText(r.Header, c.CityHeader, cloudevents.MaxText))
		}
	}
	s.cut = cloudevents.TruncateAddr(s.addr).String()
	return s
}

func (c *Config) trusts(a netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// forwarded is the last address that no trusted proxy stands for: what stands
// before it, its sender may have made up.
func (c *Config) forwarded(peer netip.Addr, headers []string) netip.Addr {
	last := peer
	seen := 0
	for i := len(headers) - 1; i >= 0; i-- {
		rest := headers[i]
		for rest != "" {
			var word string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, word = rest[:at], rest[at+1:]
			} else {
				rest, word = "", rest
			}
			a, ok := parseForwarded(strings.TrimSpace(word))
			if seen++; !ok || seen > maxForwarded {
				return last
			}
			if last = a; !c.trusts(a) {
				return last
			}
		}
	}
	return last
}

func parseForwarded(word string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(word); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(word); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// headerText is a header as text of at most limit bytes.
func headerText(h http.Header, key string, limit int) string {
	values := h[key]
	if len(values) == 0 {
		return ""
	}
	s := values[0]
	if len(s) > limit {
		s = s[:limit]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "")
	}
	return s
}

// firstLanguage is the first tag of Accept-Language: what its sender wants most.
func firstLanguage(accept string) string {
	tag := accept
	if at := strings.IndexAny(accept, ",;"); at >= 0 {
		tag = accept[:at]
	}
	tag = strings.TrimSpace(tag)
	if len(tag) > cloudevents.MaxKey || tag == "*" {
		return ""
	}
	return tag
}

// countryCode is a code of two letters, else nothing.
func countryCode(s string) string {
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' || s == "XX" {
		return ""
	}
	return s
}

// placeName is a place's name as ingresses write it: percent-encoded or not,
// "?" or nothing where they do not know it.
func placeName(s string) string {
	if name, err := url.PathUnescape(s); err == nil && utf8.ValidString(name) {
		s = name
	}
	s = strings.TrimSpace(s)
	if s == "?" || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// hintHeaders are the client hints that are kept.
var hintHeaders = [...]struct{ header, name string }{
	{"Sec-Ch-Ua", ""},
	{"Sec-Ch-Ua-Mobile", "mobile"},
	{"Sec-Ch-Ua-Platform", "platform"},
	{"Sec-Ch-Ua-Platform-Version", "platform-version"},
	{"Sec-Ch-Ua-Full-Version-List", "full-version-list"},
	{"Sec-Ch-Ua-Model", "model"},
}

// clientHints are the request's, as event.Event.Hints has them.
func clientHints(h http.Header) string {
	size := 0
	for i := range hintHeaders {
		if v := h[hintHeaders[i].header]; len(v) > 0 {
			size += len(hintHeaders[i].name) + len(v[0]) + 3
		}
	}
	if size == 0 {
		return ""
	}
	lines := make([]byte, 0, size)
	for i := range hintHeaders {
		lines = cloudevents.AppendHint(lines, 0, hintHeaders[i].name, headerText(h, hintHeaders[i].header, cloudevents.MaxText))
	}
	return string(lines)
}

// purposeHeaders say that a browser asks ahead of its visitor, newest first.
var purposeHeaders = [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"}

func purpose(h http.Header) string {
	for _, name := range purposeHeaders {
		if s := headerText(h, name, cloudevents.MaxKey); s != "" {
			return s
		}
	}
	return ""
}
