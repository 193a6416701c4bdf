package broker

import (
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/footfall/footfall/shared/fault"
)

// ExtensionPartitionKey is the CloudEvents extension that becomes the key of
// the Kafka record: events of one key keep their order.
const ExtensionPartitionKey = "partitionkey"

// Names of the binding's headers; every other attribute is "ce_" + its name.
const (
	headerPrefix      = "ce_"
	headerContentType = "content-type"
	structuredType    = "application/cloudevents"
)

// Message is a Kafka record without its place: what the binding reads and
// writes, and what an adapter carries.
type Message struct {
	Key     []byte // nil: any partition
	Value   []byte // nil: the event has no data
	Headers []Header
}

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Size is about how many bytes the message takes in a record batch.
func (m *Message) Size() int {
	const perRecord, perHeader = 32, 4 // lengths and deltas as varints, rounded up
	n := perRecord + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += perHeader + len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}

// Encode puts an event into a message in binary mode: attributes as ce_
// headers in UTF-8, datacontenttype as content-type, data as the value, and
// the partitionkey extension, which stays a header too, as the key. An event
// that is no valid CloudEvent is fault.Invalid. The value is the event's own
// data, not a copy.
func Encode(e *cloudevents.Event) (Message, error) {
	c, err := contextOf(e)
	if err != nil {
		return Message{}, err
	}
	m := Message{Value: e.DataEncoded, Headers: make([]Header, 0, 8+len(c.Extensions))}
	add := func(name, value string) {
		m.Headers = append(m.Headers, Header{Key: headerPrefix + name, Value: []byte(value)})
	}
	err = eachAttribute(c, func(name, value string) {
		switch name {
		case "datacontenttype":
			m.Headers = append(m.Headers, Header{Key: headerContentType, Value: []byte(value)})
		case ExtensionPartitionKey:
			m.Key = []byte(value)
			add(name, value)
		default:
			add(name, value)
		}
	})
	return m, err
}

// Decode reads the event that a message holds, in binary or in structured
// mode. Anything else is fault.Invalid, naming the header at fault. The
// event's data is the message's value, not a copy.
func Decode(m *Message) (cloudevents.Event, error) {
	var contentType string
	for i := range m.Headers {
		if m.Headers[i].Key == headerContentType {
			contentType = string(m.Headers[i].Value)
		}
	}
	if isStructured(contentType) {
		return decodeStructured(contentType, m.Value)
	}
	b := newBuilder(m.Value)
	for i := range m.Headers {
		h := &m.Headers[i]
		if name, ok := strings.CutPrefix(h.Key, headerPrefix); ok {
			if err := b.set(name, string(h.Value)); err != nil {
				return cloudevents.Event{}, err
			}
		}
	}
	if contentType != "" {
		b.c.DataContentType = &contentType
	}
	return b.event(headerPrefix)
}

// contextOf is the event's attributes in version 1.0, checked.
func contextOf(e *cloudevents.Event) (*cloudevents.EventContextV1, error) {
	if e.Context == nil {
		return nil, fault.Field("specversion", `"1.0"`)
	}
	c, ok := e.Context.(*cloudevents.EventContextV1)
	if !ok {
		c = e.Context.AsV1()
	}
	switch {
	case c.ID == "":
		return nil, fault.Field("id", "a non-empty string")
	case c.Type == "":
		return nil, fault.Field("type", "a non-empty string")
	case c.Source.URL == (url.URL{}):
		return nil, fault.Field("source", "a non-empty URI reference")
	}
	for name := range c.Extensions {
		if !validName(name) {
			return nil, fault.Field(name, "an attribute name of lower-case letters and digits")
		}
	}
	return c, nil
}

// eachAttribute calls f with every attribute of an event in its canonical
// string form.
func eachAttribute(c *cloudevents.EventContextV1, f func(name, value string)) error {
	f("specversion", cloudevents.CloudEventsVersionV1)
	f("id", c.ID)
	f("source", c.Source.String())
	f("type", c.Type)
	if c.Time != nil && !c.Time.IsZero() {
		f("time", types.FormatTime(c.Time.Time))
	}
	if c.Subject != nil && *c.Subject != "" {
		f("subject", *c.Subject)
	}
	if c.DataSchema != nil && c.DataSchema.URL != (url.URL{}) {
		f("dataschema", c.DataSchema.String())
	}
	if c.DataContentType != nil && *c.DataContentType != "" {
		f("datacontenttype", *c.DataContentType)
	}
	for name, v := range c.Extensions {
		s, ok := v.(string)
		if !ok {
			var err error
			if s, err = types.Format(v); err != nil {
				return &fault.Error{Kind: fault.Invalid, Field: name, Expected: "a value of a CloudEvents type", Err: err}
			}
		}
		f(name, s)
	}
	return nil
}

// builder gathers an event's attributes from headers.
type builder struct {
	c       *cloudevents.EventContextV1
	version string
	source  bool
	data    []byte
}

func newBuilder(data []byte) *builder {
	return &builder{c: &cloudevents.EventContextV1{}, data: data}
}

func (b *builder) set(name, value string) error {
	switch name {
	case "specversion":
		b.version = value
	case "id":
		b.c.ID = value
	case "type":
		b.c.Type = value
	case "source":
		u, err := parseURI(value)
		if err != nil || *u == (url.URL{}) { // "#" is as empty as "": net/url does not keep a bare fragment
			return &fault.Error{Kind: fault.Invalid, Field: "source", Expected: "a non-empty URI reference", Err: err}
		}
		b.c.Source, b.source = types.URIRef{URL: *u}, true
	case "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return &fault.Error{Kind: fault.Invalid, Field: "time", Expected: "an RFC 3339 instant", Err: err}
		}
		b.c.Time = &types.Timestamp{Time: t.UTC()}
	case "subject":
		b.c.Subject = &value
	case "dataschema":
		u, err := parseURI(value)
		if err != nil {
			return &fault.Error{Kind: fault.Invalid, Field: "dataschema", Expected: "a URI", Err: err}
		}
		b.c.DataSchema = &types.URI{URL: *u}
	case "datacontenttype", "data", "data_base64":
		return fault.Field(name, "no header of this name: the content type travels as content-type, data as the body")
	default:
		if !validName(name) {
			return fault.Field(name, "an attribute name of lower-case letters and digits")
		}
		if b.c.Extensions == nil {
			b.c.Extensions = make(map[string]any, 8)
		}
		b.c.Extensions[name] = value
	}
	return nil
}

func (b *builder) event(prefix string) (cloudevents.Event, error) {
	switch {
	case b.version != cloudevents.CloudEventsVersionV1:
		return cloudevents.Event{}, fault.Field(prefix+"specversion", `"1.0"`)
	case b.c.ID == "":
		return cloudevents.Event{}, fault.Field(prefix+"id", "a non-empty string")
	case b.c.Type == "":
		return cloudevents.Event{}, fault.Field(prefix+"type", "a non-empty string")
	case !b.source:
		return cloudevents.Event{}, fault.Field(prefix+"source", "a non-empty URI reference")
	}
	return cloudevents.Event{Context: b.c, DataEncoded: b.data}, nil
}

func isStructured(contentType string) bool {
	return len(contentType) >= len(structuredType) && strings.EqualFold(contentType[:len(structuredType)], structuredType)
}

func decodeStructured(contentType string, body []byte) (cloudevents.Event, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != structuredType+"+json" {
		return cloudevents.Event{}, &fault.Error{Kind: fault.Unsupported, Field: headerContentType, Expected: structuredType + "+json", Err: err}
	}
	var e cloudevents.Event
	if err := e.UnmarshalJSON(body); err != nil {
		return cloudevents.Event{}, fault.New(fault.Invalid, "cannot read structured event: %w", err)
	}
	members, err := structuredMembers(body)
	if err != nil {
		return cloudevents.Event{}, err
	}
	c, err := contextOf(&e)
	if err != nil {
		return cloudevents.Event{}, err
	}
	// In this mode data is JSON where nothing else is said; in binary mode,
	// which the event may leave in, nothing said means nothing known.
	if _, ok := members["data"]; ok && (c.DataContentType == nil || *c.DataContentType == "") {
		c.DataContentType = new(string)
		*c.DataContentType = cloudevents.ApplicationJSON
	}
	return cloudevents.Event{Context: c, DataEncoded: e.DataEncoded, DataBase64: e.DataBase64}, nil
}

// structuredMembers gives a structured event's members, and refuses what the
// SDK lets pass although it is wrong and Knative's receiver refuses it: data
// given twice, a URI that is none, and a number with a fraction, which would
// become another number.
func structuredMembers(body []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fault.New(fault.Invalid, "cannot read structured event: %w", err)
	}
	_, data := members["data"]
	if _, twice := members["data_base64"]; data && twice {
		return nil, fault.Field("data_base64", "either data or data_base64")
	}
	for name, raw := range members {
		switch name {
		case "data", "data_base64":
		case "source", "dataschema":
			var text string
			if json.Unmarshal(raw, &text) == nil { // the SDK has seen what is no string
				if _, err := parseURI(text); err != nil {
					return nil, &fault.Error{Kind: fault.Invalid, Field: name, Expected: "a URI", Err: err}
				}
			}
		default:
			if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
				if _, err := strconv.ParseInt(string(raw), 10, 32); err != nil {
					return nil, &fault.Error{Kind: fault.Invalid, Field: name, Expected: "a whole number of 32 bits, or a string", Err: err}
				}
			}
		}
	}
	return members, nil
}

var errNoURI = errors.New("it has a character that a URI cannot have")

// parseURI refuses what net/url would silently escape, as Knative refuses it.
func parseURI(s string) (*url.URL, error) {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return nil, errNoURI
		}
	}
	return url.Parse(s)
}

func validName(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
