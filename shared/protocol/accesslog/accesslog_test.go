package accesslog_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/protocol/accesslog"
)

const sample = `203.0.113.9 - frank [17/May/2015:10:05:03 +0200] "GET /shop/shoes?page=2 HTTP/1.1" 200 2326 "http://www.google.de/search?q=\"shoes\"" "Mozilla/5.0 (X11; Linux x86_64)"`

func TestParse(t *testing.T) {
	got, err := accesslog.Parse([]byte(sample + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := accesslog.Line{
		Address: "203.0.113.9", Time: time.Date(2015, 5, 17, 8, 5, 3, 0, time.UTC), Method: "GET", Target: "/shop/shoes?page=2",
		Status: 200, Referrer: `http://www.google.de/search?q="shoes"`, Agent: "Mozilla/5.0 (X11; Linux x86_64)",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(accesslog.Line{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, line := range map[string]string{
		"without referrer and agent": `203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 304 -`,
		"with more behind":           sample + ` "example.com" 0.003`,
		"user with spaces":           strings.Replace(sample, "frank", "frank the tank", 1),
		"a name for an address":      strings.Replace(sample, "203.0.113.9", "host.example.net", 1),
	} {
		if l, err := accesslog.Parse([]byte(line)); err != nil || !l.IsPage() {
			t.Errorf("%s: got %+v, %v, want a page", name, l, err)
		}
	}
}

func TestParseFaults(t *testing.T) {
	for line, field := range map[string]string{
		"":                  "address",
		"203.0.113.9":       "time",
		"203.0.113.9 - - [": "time",
		`203.0.113.9 - - [17/Mai/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`: "time",
		`203.0.113.9 - - [17/May/2015:10:05:03 +0000] GET / HTTP/1.1`:                 "request",
		`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" ok 1 "-" "-"`:  "status",
		`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 x "-" "-"`: "bytes",
		`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 - -`:     "referrer",
		`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "Mo`: "agent",
		strings.Repeat("x", accesslog.MaxLine+1):                                      "line",
	} {
		_, err := accesslog.Parse([]byte(line))
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Invalid || e.Field != field {
			t.Errorf("%.90s: got %v, want a fault of field %q", line, err, field)
		}
	}
}

func TestSkip(t *testing.T) {
	for request, want := range map[string]string{
		`"GET / HTTP/1.1" 200`:                                "",
		`"GET /shop HTTP/1.1" 304`:                            "",
		`"GET /blog/a.b/ HTTP/1.1" 200`:                       "",
		`"GET /docs/v1.2 HTTP/1.1" 200`:                       "",
		`"GET /index.PHP?x=y.png HTTP/1.1" 200`:               "",
		`"GET /wiki/Dr.Strange HTTP/1.1" 200`:                 "",
		`"GET http://example.com HTTP/1.1" 200`:               "",
		`"GET http://example.com/a/ HTTP/1.1" 200`:            "",
		`"GET /a b HTTP/1.1" 200`:                             "",
		`"POST / HTTP/1.1" 200`:                               accesslog.SkipMethod,
		`"HEAD / HTTP/1.1" 200`:                               accesslog.SkipMethod,
		`"-" 408`:                                             accesslog.SkipMethod,
		`"GET /gone HTTP/1.1" 404`:                            accesslog.SkipStatus,
		`"GET /a HTTP/1.1" 301`:                               accesslog.SkipStatus,
		`"GET /big.iso HTTP/1.1" 206`:                         accesslog.SkipStatus,
		`"GET /logo.PNG HTTP/1.1" 200`:                        accesslog.SkipFile,
		`"GET /style.css?v=3 HTTP/1.1" 200`:                   accesslog.SkipFile,
		`"GET /app.min.js HTTP/1.1" 304`:                      accesslog.SkipFile,
		`"GET /f.woff2 HTTP/1.1" 200`:                         accesslog.SkipFile,
		`"GET /favicon.ico HTTP/1.1" 200`:                     accesslog.SkipFile,
		`"GET /robots.txt HTTP/1.1" 200`:                      accesslog.SkipFile,
		`"GET /a.tar.gz HTTP/1.1" 200`:                        accesslog.SkipFile,
		`"GET /feed/ HTTP/1.1" 200`:                           accesslog.SkipFeed,
		`"GET /blog/tags/puppet?flav=rss20 HTTP/1.1" 200`:     accesslog.SkipFeed,
		`"GET /?feed=comments HTTP/1.1" 200`:                  accesslog.SkipFeed,
		`"GET /.well-known/security HTTP/1.1" 200`:            accesslog.SkipHidden,
		`"GET /atom HTTP/1.1" 200`:                            accesslog.SkipFeed,
		`"GET /atomic HTTP/1.1" 200`:                          "",
		`"GET /blog/tags/puppet?utm_source=rss HTTP/1.1" 200`: "",
	} {
		l, err := accesslog.Parse([]byte(`203.0.113.9 - - [17/May/2015:10:05:03 +0000] ` + request + ` 1 "-" "-"`))
		if err != nil {
			t.Errorf("%s: %v", request, err)
		} else if got := l.Skip(); got != want || l.IsPage() != (want == "") {
			t.Errorf("%s: skipped for %q, want %q", request, got, want)
		}
	}
}

func TestCloudEvent(t *testing.T) {
	l, err := accesslog.Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	got := string(l.AppendCloudEvent(nil, "G-1", "https://shop.example.com/", 2))
	want := `{"specversion":"1.0","type":"footfall.event.v1","source":"/import/access-log","id":"` + l.EventID(2) +
		`","time":"2015-05-17T08:05:03Z","measurementid":"G-1","datacontenttype":"application/json","data":{"name":"page_view",` +
		`"page":{"location":"https://shop.example.com/shop/shoes?page=2","referrer":"http://www.google.de/search?q=\"shoes\""},` +
		`"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","ip":"203.0.113.9"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	again, _ := accesslog.Parse([]byte(sample + "\n"))
	if again.EventID(2) != l.EventID(2) || again.EventID(0) == l.EventID(1) || again.Key() != l.Key() {
		t.Error("ids must be those of the line and its occurrence")
	}
}

// TestRealLog reads a real log where it is at hand.
func TestRealLog(t *testing.T) {
	file, err := os.Open("../../../../shared/data/access.log.gz")
	if err != nil {
		t.Skip("the real log is not here")
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for lines := bufio.NewScanner(plain); lines.Scan(); {
		l, err := accesslog.Parse(lines.Bytes())
		if err != nil {
			counts["malformed"]++
			continue
		}
		counts[l.Skip()]++
		if e := l.AppendCloudEvent(nil, "G-1", "http://semicomplete.com", 0); !json.Valid(e) {
			t.Errorf("no JSON: %s", e)
		}
	}
	want := map[string]int{
		"": 2876, accesslog.SkipFeed: 904, accesslog.SkipFile: 5755, accesslog.SkipMethod: 48, accesslog.SkipStatus: 416,
		"malformed": 1, // its last quote is missing
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`::1 - - [17/May/2015:10:05:03 +0000] "GET http://a/\x22\\ HTTP/1.1" 200 - "-" "\xff"`))
	f.Add([]byte(`host - - [17/May/2015:10:05:03 +0000] "-" 408 -`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := accesslog.Parse(line)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, want an Invalid error", err)
			}
			return
		}
		l.Skip()
		var e struct {
			Data struct{ Page struct{ Location string } }
		}
		if err := json.Unmarshal(l.AppendCloudEvent(nil, "G-\"1", "https://example.com", 0), &e); err != nil {
			t.Fatalf("no JSON: %v", err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	line := []byte(sample)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		l, err := accesslog.Parse(line)
		if err != nil || !l.IsPage() {
			b.Fatal(err)
		}
		dst = l.AppendCloudEvent(dst[:0], "G-1", "https://example.com", 0)
	}
}
