package cloudevents

import (
	"strings"

	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/event"
)

// hintPrefix begins the names of the headers that hold client hints.
const hintPrefix = "sec-ch-ua"

// hintNames are the client hints that are kept, as event.Event.Hints names
// them.
var hintNames = [...]string{"", "mobile", "platform", "platform-version", "full-version-list", "model"}

// AppendHint appends a client hint to those from start on, as event.Event.Hints
// has them; nothing where it is empty. What would break the line is left out.
func AppendHint(lines []byte, start int, name, value string) []byte {
	if value == "" {
		return lines
	}
	if len(lines) > start {
		lines = append(lines, '\n')
	}
	lines = append(append(lines, name...), ": "...)
	for i := range len(value) {
		if c := value[i]; c >= ' ' && c != 0x7f {
			lines = append(lines, c)
		}
	}
	return lines
}

// clientHints reads data.client_hints: what the visitor's browser says of
// itself, under the names of the headers in which it would.
func (p *Parser) clientHints(e *event.Event, v *fastjson.Value) {
	const field = "data.client_hints"
	if v.Type() != fastjson.TypeObject {
		p.fail(field, `an object such as {"sec-ch-ua-platform": "\"Windows\""}`)
		return
	}
	var values [len(hintNames)]string
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if p.problem != nil || v.Type() == fastjson.TypeNull {
			return
		}
		name, ok := strings.CutPrefix(strings.ToLower(view(key)), hintPrefix)
		name = strings.TrimPrefix(name, "-")
		for i := range hintNames {
			if ok && hintNames[i] == name {
				values[i] = p.str(quoteKey(field, view(key)), v, MaxText)
				return
			}
		}
		if !ok {
			p.fail(quoteKey(field, view(key)), "the name of a header such as sec-ch-ua-platform")
		}
		// Other hints are none of what is kept.
	})
	if p.problem != nil {
		return
	}
	start := len(p.texts)
	for i, value := range values {
		p.texts = AppendHint(p.texts, start, hintNames[i], value)
	}
	e.Hints = view(p.texts[start:])
}
