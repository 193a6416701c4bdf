package accesslog

import (
	"net/http"
	"strings"
)

// Why a line is no view of a page.
const (
	SkipMethod = "method" // not a GET
	SkipStatus = "status" // neither 200 nor 304
	SkipFile   = "file"   // an image, style, script, font, download: anything whose name ends like a file's
	SkipFeed   = "feed"   // RSS, Atom
	SkipHidden = "hidden" // below /.well-known and the like
)

// pages are the name endings of what people read in a browser.
var pages = map[string]bool{
	"html": true, "htm": true, "xhtml": true, "shtml": true, "phtml": true, "php": true, "php3": true, "php5": true,
	"asp": true, "aspx": true, "jsp": true, "jspx": true, "jsf": true, "do": true, "cfm": true, "cgi": true, "pl": true, "action": true,
}

// feeds are words that name a feed as a path's part or a query's value.
var feeds = map[string]bool{
	"feed": true, "feeds": true, "rss": true, "rss2": true, "rss20": true, "rdf": true, "atom": true, "atom10": true,
}

// IsPage reports whether the line is a view of a page.
func (l *Line) IsPage() bool { return l.Skip() == "" }

// Skip is why the line is no view of a page, "" where it is one.
func (l *Line) Skip() string {
	if l.Method != http.MethodGet {
		return SkipMethod
	}
	if l.Status != 200 && l.Status != 304 {
		return SkipStatus
	}
	path, query := l.path()
	path = strings.ToLower(path)
	if strings.Contains(path, "/.") {
		return SkipHidden
	}
	trimmed := strings.TrimSuffix(path, "/")
	last := trimmed[strings.LastIndexByte(trimmed, '/')+1:]
	if feeds[last] || feedQuery(query) {
		return SkipFeed
	}
	if trimmed == path && isFile(last) {
		return SkipFile
	}
	return ""
}

// path is the target's path and query, without the scheme and host that a
// proxy's client sends.
func (l *Line) path() (path, query string) {
	target := l.Target
	if !strings.HasPrefix(target, "/") {
		if i := strings.Index(target, "://"); i >= 0 {
			target = target[i+3:]
			if i := strings.IndexByte(target, '/'); i >= 0 {
				target = target[i:]
			} else {
				target = "/"
			}
		}
	}
	path, query, _ = strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	return path, query
}

// isFile reports whether a name (lower case) ends in a dot and a short word
// that begins with a letter, and is not a page's. "v1.2" is no file.
func isFile(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return false
	}
	end := name[dot+1:]
	if pages[end] || len(end) == 0 || end[0] < 'a' || end[0] > 'z' {
		return false
	}
	if end == "torrent" || end == "markdown" || end == "webmanifest" {
		return true
	}
	if len(end) > 5 {
		return false
	}
	for i := range len(end) {
		if c := end[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func feedQuery(query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		// A link in a feed that leads to a page says utm_source=feed.
		if key == "feed" || !strings.HasPrefix(key, "utm_") && feeds[strings.ToLower(value)] {
			return true
		}
	}
	return false
}
