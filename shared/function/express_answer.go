package function

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// expressAnswer gathers an answer, so that it goes out in one write.
type expressAnswer struct {
	header http.Header
	status int
	body   []byte
	names  []string
}

// Header implements http.ResponseWriter.
func (a *expressAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *expressAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *expressAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if !hasBody(a.status) {
		return 0, http.ErrBodyNotAllowed
	}
	a.body = append(a.body, p...)
	return len(p), nil
}

func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func (a *expressAnswer) reset() {
	clear(a.header)
	a.status, a.body = 0, a.body[:0]
}

// trim gives back a body that has grown large.
func (a *expressAnswer) trim() {
	if cap(a.body) > expressKept {
		a.body = nil
	}
}

// append appends the answer as it goes over the connection.
func (a *expressAnswer) append(b []byte, last bool) []byte {
	a.WriteHeader(http.StatusOK)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, *httpDate()...)
	a.names = a.names[:0]
	for name := range a.header {
		a.names = append(a.names, name)
	}
	slices.Sort(a.names)
	for _, name := range a.names {
		switch name {
		case "Content-Length", "Connection", "Date", "Transfer-Encoding":
			continue // ours to say
		}
		for _, value := range a.header[name] {
			b = append(append(append(b, "\r\n"...), name...), ": "...)
			b = append(b, oneLine(value)...)
		}
	}
	if len(a.body) > 0 && a.header["Content-Type"] == nil {
		b = append(append(b, "\r\nContent-Type: "...), http.DetectContentType(a.body)...)
	}
	if hasBody(a.status) {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(a.body)), 10)
	}
	if last {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(append(b, headEnd...), a.body...)
}

var lineBreaks = strings.NewReplacer("\n", " ", "\r", " ")

// oneLine is a header's value without what would begin another line.
func oneLine(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return lineBreaks.Replace(value)
	}
	return value
}

var dates atomic.Pointer[date]

type date struct {
	second int64
	text   string
}

// httpDate is the time as a header, made once a second.
func httpDate() *string {
	now := time.Now()
	d := dates.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		dates.Store(d)
	}
	return &d.text
}
