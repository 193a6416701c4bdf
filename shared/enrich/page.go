package enrich

import (
	"strings"
)

// Page is what the URL of a page says.
type Page struct {
	Host  string // lower case, without port
	Path  string // as it stands in the URL; "/" where it has none
	Query string // without "?", fragment and tracking parameters
}

// trackers are query parameters that say where a visitor came from and not
// which page it is; besides them everything that begins with "utm_".
var trackers = map[string]bool{
	"gclid": true, "gclsrc": true, "gbraid": true, "wbraid": true, "dclid": true, "gad_source": true,
	"gad_campaignid": true, "srsltid": true, "fbclid": true, "msclkid": true, "ttclid": true, "twclid": true,
	"li_fat_id": true, "yclid": true, "ysclid": true, "rdt_cid": true, "ScCid": true, "epik": true, "igsh": true,
	"igshid": true, "mc_cid": true, "mc_eid": true, "_ga": true, "_gl": true, "_hsenc": true, "_hsmi": true,
	"mkt_tok": true, "_openstat": true, "vero_id": true, "oly_enc_id": true, "oly_anon_id": true, "s_cid": true,
}

// splitURL cuts a URL into host (lower case, without user and port), path and
// query. It never fails: what has no host is taken as a path.
func splitURL(url string) (host, path, query string) {
	rest, _, _ := strings.Cut(url, "#")
	rest, query, _ = strings.Cut(rest, "?")
	if i := strings.Index(rest, "://"); i >= 0 && !strings.Contains(rest[:i], "/") {
		rest = rest[i+3:]
	} else if strings.HasPrefix(rest, "//") {
		rest = rest[2:]
	} else {
		return "", rest, query
	}
	path = ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest, path = rest[:i], rest[i:]
	}
	return hostOf(rest), path, query
}

// hostOf is the name in an authority "user@name:port".
func hostOf(authority string) string {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && strings.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	return strings.TrimSuffix(strings.ToLower(authority), ".")
}

// pageOf splits a page's URL, and hands each tracking parameter of its query
// to c, decoded.
func pageOf(location string, c *campaign) Page {
	if location == "" {
		return Page{}
	}
	host, path, query := splitURL(location)
	if path == "" {
		path = "/"
	}
	return Page{Host: host, Path: path, Query: cleanQuery(query, c)}
}

// cleanQuery is a query without its tracking parameters; the others stay as
// they are and in their order.
func cleanQuery(query string, c *campaign) string {
	kept, dropped := 0, false
	var clean []byte
	for rest := query; rest != ""; {
		pair, more, _ := strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(key, "utm_") || trackers[key] {
			c.found(key, unescape(value))
			if !dropped {
				dropped = true
				clean = append(clean, strings.TrimSuffix(query[:kept], "&")...)
			}
		} else if dropped && pair != "" {
			if len(clean) > 0 {
				clean = append(clean, '&')
			}
			clean = append(clean, pair...)
		}
		kept += len(rest) - len(more)
		rest = more
	}
	if !dropped {
		return query
	}
	return string(clean)
}

// unescape decodes %xx and "+"; what is no escape stays as it is, and bytes
// that are no UTF-8 are dropped.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s) && hex(s[i+1]) < 16 && hex(s[i+2]) < 16:
			b = append(b, hex(s[i+1])<<4|hex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return strings.ToValidUTF8(string(b), "")
}

func hex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	default:
		return 16
	}
}
