package cloudevents

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// Mode is how a request carries its events.
type Mode uint8

// The modes of the HTTP binding.
const (
	Binary     Mode = iota // attributes in ce- headers, the body is data
	Structured             // the body is one event
	Batch                  // the body is an array of events
)

// Result is what a request holds. Events, claims and refusals share memory
// with the parser and the body: they are valid until the next call of Parse.
type Result struct {
	Mode   Mode
	Events []event.Event // in the order of the request; request context (agent, address, auth) is not filled in
	Claims []netip.Addr  // of each event: the visitor's whole address as data.ip states it; zero where absent. Never to be stored
	Index  []int         // of each event: its place in the request
	// Refused are the others, with their place in the request.
	Refused []Refusal
	Total   int // events and refusals
}

// Refusal is an event that was not taken.
type Refusal struct {
	Index int
	event.Refused
}

// Parser reads requests one after another and keeps its memory between them.
// The zero value is ready. It is not safe for concurrent use.
type Parser struct {
	json    fastjson.Parser
	now     time.Time
	result  Result
	params  []event.Param
	items   []event.Item
	texts   []byte // texts made here, behind strings of events
	extra   []byte // members of the event under way without a field of their own
	problem *fault.Error
}

// Parse reads a request: its header, and its body after any content encoding
// was taken off. now is the time of arrival. An error concerns the request as
// a whole: Unsupported (media type), TooLarge (events, values) or Invalid (no
// JSON); all else is said event by event in Result.Refused.
func (p *Parser) Parse(header http.Header, body []byte, now time.Time) (*Result, error) {
	p.now = now
	p.params, p.items, p.texts = p.params[:0], p.items[:0], p.texts[:0]
	r := &p.result
	*r = Result{Events: r.Events[:0], Claims: r.Claims[:0], Index: r.Index[:0], Refused: r.Refused[:0]}
	mode, err := modeOf(header, body)
	if err != nil {
		return nil, err
	}
	r.Mode = mode
	if n := 1 + bytes.Count(body, []byte{','}) + bytes.Count(body, []byte{'['}) + bytes.Count(body, []byte{'{'}); n > MaxValues {
		return nil, &fault.Error{Kind: fault.TooLarge, Field: "body", Expected: fmt.Sprintf("at most %d JSON values", MaxValues)}
	}
	if !utf8.Valid(body) {
		// One event's bytes must not cost its neighbours their place.
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	if mode == Binary {
		p.binary(header, body)
		return r, nil
	}
	doc, err := p.json.ParseBytes(body)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Field: "body", Expected: "a JSON document"}
	}
	if mode == Structured {
		p.structured(0, doc)
		return r, nil
	}
	if doc.Type() != fastjson.TypeArray {
		return nil, fault.Field("body", "a JSON array of events, for that is what the content type says")
	}
	all := doc.GetArray()
	if len(all) > MaxEvents {
		return nil, &fault.Error{Kind: fault.TooLarge, Field: "body", Expected: fmt.Sprintf("at most %d events", MaxEvents)}
	}
	for i, v := range all {
		p.structured(i, v)
	}
	return r, nil
}

// Release gives up memory that an unusually large request has left behind.
func (p *Parser) Release() {
	const keepTexts, keepParams = 64 << 10, 4096
	if cap(p.texts) > keepTexts || cap(p.params) > keepParams || cap(p.result.Events) > MaxEvents {
		*p = Parser{}
	}
}

// modeOf finds the mode by content type, headers, and for the content types
// that browsers' beacons send, the body's first byte.
func modeOf(header http.Header, body []byte) (Mode, error) {
	contentType := header.Get("Content-Type")
	media := mediaType(contentType)
	switch media {
	case ce.ApplicationCloudEventsJSON:
		return Structured, nil
	case ce.ApplicationCloudEventsBatchJSON:
		return Batch, nil
	}
	if len(header["Ce-Specversion"]) > 0 || len(header["Ce-Id"]) > 0 || len(header["Ce-Type"]) > 0 {
		if media == "" || media == ce.ApplicationJSON || media == "text/json" || media == ce.TextPlain || strings.HasSuffix(media, "+json") {
			return Binary, nil
		}
		return 0, unsupported()
	}
	switch media {
	case "", ce.TextPlain, ce.ApplicationJSON:
		switch trimmed := bytes.TrimLeft(body, " \t\r\n"); {
		case len(trimmed) > 0 && trimmed[0] == '{':
			return Structured, nil
		case len(trimmed) > 0 && trimmed[0] == '[':
			return Batch, nil
		case media != "":
			return 0, fault.Field("body", "a CloudEvent as JSON, or an array of them")
		}
	}
	return 0, unsupported()
}

func unsupported() error {
	return &fault.Error{Kind: fault.Unsupported, Field: "content-type",
		Expected: ce.ApplicationCloudEventsJSON + ", " + ce.ApplicationCloudEventsBatchJSON + ", or application/json with ce- headers"}
}

// mediaType is a content type without parameters, in lower case.
func mediaType(contentType string) string {
	switch contentType {
	case "", ce.ApplicationCloudEventsJSON, ce.ApplicationCloudEventsBatchJSON, ce.ApplicationJSON:
		return contentType
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media
}

// binary reads the event whose attributes are in the headers.
func (p *Parser) binary(header http.Header, body []byte) {
	env := envelope{
		specVersion: attribute(header, "Ce-Specversion"),
		id:          attribute(header, "Ce-Id"),
		source:      attribute(header, "Ce-Source"),
		typ:         attribute(header, "Ce-Type"),
		time:        attribute(header, "Ce-Time"),
		stream:      attribute(header, "Ce-Measurementid"),
	}
	p.problem = nil
	data, err := p.json.ParseBytes(body)
	if err != nil {
		p.fail("data", "a JSON object")
		p.refuse(0, &env, view(body))
		return
	}
	env.data = data
	p.add(0, &env, nil)
}

// attribute is a context attribute from a header, percent-decoded (section
// 3.1.3.2 of the binding).
func attribute(header http.Header, key string) string {
	values := header[key]
	if len(values) == 0 {
		return ""
	}
	s := values[0]
	if strings.IndexByte(s, '%') >= 0 {
		if decoded, err := url.PathUnescape(s); err == nil {
			s = decoded
		}
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// refuse records the event under way as refused for p.problem. Its bytes are
// kept, without addresses.
func (p *Parser) refuse(index int, env *envelope, document string) {
	if len(document) > 2*MaxRefused {
		document = clip(document, 2*MaxRefused)
		for document != "" && addressClass[document[len(document)-1]] {
			document = document[:len(document)-1] // half an address is not seen as one
		}
	}
	data := appendCutAddresses(make([]byte, 0, len(document)+64), document)
	data = data[:len(clip(view(data), MaxRefused))]
	p.result.Total++
	p.result.Refused = append(p.result.Refused, Refusal{Index: index, Refused: event.Refused{
		Stream: clip(env.stream, MaxStream), ID: clip(env.id, MaxID),
		Field: clip(p.problem.Field, 2*MaxKey+32), Reason: p.problem.Kind.String(), Detail: p.problem.Expected, Data: data,
	}})
}

// clip is s cut to at most n bytes, not within a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// fail notes what is wrong with the event under way; the first fault stands.
func (p *Parser) fail(field, expected string) {
	if p.problem == nil {
		p.problem = &fault.Error{Kind: fault.Invalid, Field: field, Expected: expected}
	}
}
