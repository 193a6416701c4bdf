package cloudevents

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/event"
)

// envelope is a CloudEvent's context attributes, as texts, and its data.
type envelope struct {
	specVersion, id, source, typ, time, stream, contentType string

	data   *fastjson.Value
	base64 string
}

// structured reads one event of a JSON document.
func (p *Parser) structured(index int, doc *fastjson.Value) {
	var env envelope
	p.problem = nil
	if doc.Type() != fastjson.TypeObject {
		p.fail("event", "a CloudEvent as a JSON object")
		p.refuse(index, &env, view(p.document(doc)))
		return
	}
	doc.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		var to *string
		switch string(key) {
		case "specversion":
			to = &env.specVersion
		case "id":
			to = &env.id
		case "source":
			to = &env.source
		case "type":
			to = &env.typ
		case "time":
			to = &env.time
		case "measurementid":
			to = &env.stream
		case "datacontenttype":
			to = &env.contentType
		case "data_base64":
			to = &env.base64
		case "data":
			env.data = v
			return
		default:
			return
		}
		switch v.Type() {
		case fastjson.TypeString:
			*to = text(v)
		case fastjson.TypeNull:
		default:
			p.fail(string(key), "a text")
		}
	})
	if env.contentType != "" && env.contentType != ce.ApplicationJSON {
		if m := mediaType(env.contentType); m != ce.ApplicationJSON && m != "text/json" && !strings.HasSuffix(m, "+json") {
			p.fail("datacontenttype", "application/json")
		}
	}
	if p.problem == nil && env.base64 != "" && env.data == nil {
		p.decodeBase64(&env)
	}
	p.add(index, &env, doc)
}

// decodeBase64 reads data that came as base64 of a JSON document.
func (p *Parser) decodeBase64(env *envelope) {
	raw, err := base64.StdEncoding.DecodeString(env.base64)
	if err != nil {
		p.fail("data_base64", "base64")
		return
	}
	if strings.Count(view(raw), ",") > MaxValues/MaxEvents*10 || !utf8.Valid(raw) {
		p.fail("data_base64", "a JSON object in UTF-8, with not too many values")
		return
	}
	// A parser of its own: the values live as long as the request's.
	var json fastjson.Parser
	if env.data, err = json.ParseBytes(raw); err != nil {
		p.fail("data_base64", "a JSON object")
	}
}

// add checks an event and appends it to the result, or to the refused.
// document is the whole event where there is one.
func (p *Parser) add(index int, env *envelope, document *fastjson.Value) {
	r := &p.result
	r.Events = append(r.Events, event.Event{})
	r.Claims = append(r.Claims, netip.Addr{})
	e, claim := &r.Events[len(r.Events)-1], &r.Claims[len(r.Claims)-1]
	params, items := len(p.params), len(p.items)
	if p.problem == nil {
		p.attributes(e, env)
	}
	if p.problem == nil {
		p.data(e, claim, env.data)
	}
	if p.problem == nil {
		r.Index = append(r.Index, index)
		r.Total++
		return
	}
	r.Events, r.Claims = r.Events[:len(r.Events)-1], r.Claims[:len(r.Claims)-1]
	p.params, p.items = p.params[:params], p.items[:items]
	if document == nil {
		document = env.data
	}
	p.refuse(index, env, view(p.document(document)))
}

// document is an event written as JSON again, best effort, for the record.
func (p *Parser) document(v *fastjson.Value) []byte {
	if v == nil {
		return nil
	}
	out, _ := appendJSON(nil, v, maxDepth)
	return out
}

// attributes checks the context attributes, in the order of the specification.
func (p *Parser) attributes(e *event.Event, env *envelope) {
	switch {
	case env.specVersion != ce.CloudEventsVersionV1:
		p.fail("specversion", ce.CloudEventsVersionV1)
	case env.id == "" || len(env.id) > MaxID:
		p.fail("id", "a text of 1 to 256 bytes, the same when an event is sent again")
	case env.source == "" || len(env.source) > MaxSource:
		p.fail("source", "a URI reference of 1 to 2048 bytes")
	case env.typ != event.TypeEvent:
		p.fail("type", event.TypeEvent)
	case !validStream(env.stream):
		p.fail("measurementid", "a stream's measurement id, such as G-XXXXXXXXXX")
	}
	e.ID, e.Source, e.Stream = env.id, env.source, env.stream
	if env.time == "" {
		e.TimeMicros, e.TimeAssigned = p.now.UnixMicro(), true
		return
	}
	t, err := time.Parse(time.RFC3339, env.time)
	switch {
	case err != nil:
		p.fail("time", "an instant as in RFC 3339, such as 2026-11-23T18:00:00Z")
	case t.Before(earliest) || t.After(p.now.Add(maxTimeAhead)):
		p.fail("time", "an instant from 2000-01-01 to at most 24 hours from now")
	}
	e.TimeMicros = t.UnixMicro()
}

func validStream(s string) bool {
	if len(s) < 3 || len(s) > MaxStream || s[0] != 'G' || s[1] != '-' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// quoteKey is a member's name within the path of a field.
func quoteKey(parent, key string) string {
	for i := range len(key) {
		if c := key[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '-' {
			return parent + "[" + strconv.Quote(clip(key, MaxKey)) + "]"
		}
	}
	return parent + "." + clip(key, MaxKey)
}
