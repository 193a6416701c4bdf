package cloudevents

import (
	"unsafe"

	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/money"
)

// text is a view of a JSON string's bytes, valid as long as its document.
func text(v *fastjson.Value) string {
	b, err := v.StringBytes()
	if err != nil {
		return ""
	}
	return view(b)
}

// view is bytes as a string without a copy. The bytes must not change while
// the string is in use.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// appendJSON appends v as strict JSON. False where it holds a number that is
// none, or is nested deeper than depth. (The parser's own writer copies what
// it was lenient about.)
func appendJSON(dst []byte, v *fastjson.Value, depth int) ([]byte, bool) {
	if depth == 0 {
		return dst, false
	}
	ok := true
	switch v.Type() {
	case fastjson.TypeObject:
		dst = append(dst, '{')
		first := true
		v.GetObject().Visit(func(key []byte, member *fastjson.Value) {
			if !ok {
				return
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendQuoted(dst, view(key)), ':')
			dst, ok = appendJSON(dst, member, depth-1)
		})
		return append(dst, '}'), ok
	case fastjson.TypeArray:
		dst = append(dst, '[')
		for i, e := range v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, ok = appendJSON(dst, e, depth-1); !ok {
				return dst, false
			}
		}
		return append(dst, ']'), true
	case fastjson.TypeString:
		return appendQuoted(dst, text(v)), true
	case fastjson.TypeNumber:
		start := len(dst)
		dst = v.MarshalTo(dst)
		_, ok = money.ValidNumber(view(dst[start:]))
		return dst, ok
	default:
		return v.MarshalTo(dst), true
	}
}

// appendQuoted appends s, which is UTF-8, as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
