package broker

import (
	"net/http"
	"net/textproto"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

const (
	httpPrefix      = "Ce-"
	httpContentType = "Content-Type"
)

// WriteHTTP sets the headers that carry an event over HTTP in binary mode; the
// body is the event's data. Bytes that no HTTP header can hold are
// percent-encoded; all others go as they are, as Knative's own sender and the
// Go SDK write them.
func WriteHTTP(h http.Header, e *cloudevents.Event) error {
	c, err := contextOf(e)
	if err != nil {
		return err
	}
	return eachAttribute(c, func(name, value string) {
		h[httpName(name)] = []string{headerValue(value)}
	})
}

// httpNames saves the work of making the names that every event has.
var httpNames = map[string]string{
	"datacontenttype": httpContentType,
	"specversion":     "Ce-Specversion", "id": "Ce-Id", "source": "Ce-Source", "type": "Ce-Type",
	"time": "Ce-Time", "subject": "Ce-Subject", "dataschema": "Ce-Dataschema",
	"partitionkey": "Ce-Partitionkey", "tick": "Ce-Tick",
	"knativekafkapartition": "Ce-Knativekafkapartition", "knativekafkaoffset": "Ce-Knativekafkaoffset",
}

func httpName(attribute string) string {
	if n, ok := httpNames[attribute]; ok {
		return n
	}
	return textproto.CanonicalMIMEHeaderKey(httpPrefix + attribute)
}

func headerValue(v string) string {
	bad := 0
	for i := range len(v) {
		if isControl(v[i]) {
			bad++
		}
	}
	if bad == 0 {
		return v
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(v)+2*bad)
	for i := range len(v) {
		if c := v[i]; isControl(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

// IsHTTPEvent reports whether headers say that an HTTP message is a
// CloudEvent, in binary or structured mode.
func IsHTTPEvent(h http.Header) bool {
	return len(h["Ce-Specversion"]) > 0 || isStructured(h.Get(httpContentType))
}

// ReadHTTP reads the event of an HTTP message in binary or structured mode.
// Anything else is fault.Invalid. The event's data is body, not a copy.
func ReadHTTP(h http.Header, body []byte) (cloudevents.Event, error) {
	contentType := h.Get(httpContentType)
	if isStructured(contentType) {
		return decodeStructured(contentType, body)
	}
	if len(h["Ce-Specversion"]) == 0 {
		return cloudevents.Event{}, fault.Field("ce-specversion", `"1.0" (binary mode), or Content-Type application/cloudevents+json (structured mode)`)
	}
	if len(body) == 0 {
		body = nil
	}
	b := newBuilder(body)
	for name, values := range h {
		if !strings.HasPrefix(name, httpPrefix) || len(values) == 0 {
			continue
		}
		if err := b.set(strings.ToLower(name[len(httpPrefix):]), values[0]); err != nil {
			return cloudevents.Event{}, err
		}
	}
	if contentType != "" {
		b.c.DataContentType = &contentType
	}
	return b.event("ce-")
}
