package ingest

import (
	"math"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/fault"
)

// Values of headers that are the same in every answer; nobody writes to them.
var (
	anyOrigin      = []string{"*"}
	exposed        = []string{"Retry-After"}
	allowedMethods = []string{"POST, OPTIONS"}
	oneDay         = []string{"86400"}
	jsonType       = []string{"application/json"}
	noSniff        = []string{"nosniff"}
)

// allowOrigins lets any page send events: there is no cookie and no other
// credential of a browser that it could misuse.
func allowOrigins(h http.Header) {
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Access-Control-Expose-Headers"] = exposed
}

// preflight answers a browser's question before a request with headers that
// a form could not send.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Access-Control-Allow-Methods"] = allowedMethods
	h["Access-Control-Max-Age"] = oneDay
	// The asked-for headers are allowed as they are: a star would leave out
	// Authorization, and older browsers take it for a header's name.
	const asked = "Access-Control-Request-Headers"
	if v := r.Header[asked]; len(v) == 1 && len(v[0]) <= 1024 {
		h["Access-Control-Allow-Headers"] = v
		h["Vary"] = []string{asked}
	}
	h["Allow"] = allowedMethods
	w.WriteHeader(http.StatusNoContent)
}

// writeReceipt answers a request whose events were judged one by one:
//
//	{"batch_ids": ["…"], "accepted": 2, "rejected":
//	  [{"index": 1, "id": "…", "field": "data.name", "reason": "invalid", "expected": "…"}]}
//
// 202 where at least one was accepted or none was sent; else 422, 401 where all
// that is wrong is the API secret, or 429 where some would be accepted later.
// index is the event's place in the request; -1 stands for the request as a
// whole. With events over a quota comes Retry-After.
func writeReceipt(w http.ResponseWriter, rq *request) {
	status := http.StatusAccepted
	if len(rq.over) > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(rq.retry.Seconds())))))
	}
	switch {
	case rq.sub.events() > 0 || len(rq.refused) == 0:
	case len(rq.over) > 0:
		status = http.StatusTooManyRequests
	default:
		status = http.StatusUnauthorized
		for i := range rq.refused {
			if rq.refused[i].Reason != fault.Unauthenticated.String() {
				status = http.StatusUnprocessableEntity
				break
			}
		}
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="footfall"`)
	}
	b := append(rq.answer[:0], `{"batch_ids":[`...)
	for i := range rq.sub.batches {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = appendHex(b, rq.sub.batches[i][:])
		b = append(b, '"')
	}
	b = append(b, `],"accepted":`...)
	b = strconv.AppendInt(b, int64(rq.sub.events()), 10)
	b = append(b, `,"rejected":[`...)
	for i := range rq.refused {
		if i > 0 {
			b = append(b, ',')
		}
		r := &rq.refused[i]
		b = appendRejected(b, r.Index, r.ID, r.Field, r.Reason, r.Detail)
	}
	rq.answer = append(b, "]}\n"...)
	write(w, status, rq.answer)
}

// writeWhole answers a request that is wrong as a whole, in a receipt's shape.
func writeWhole(w http.ResponseWriter, status int, f *fault.Error) {
	if f.Kind == fault.Unsupported && f.Field == "content-encoding" {
		w.Header().Set("Accept-Encoding", "gzip, zstd")
	}
	b := append(make([]byte, 0, 256), `{"batch_ids":[],"accepted":0,"rejected":[`...)
	b = appendRejected(b, -1, "", f.Field, f.Kind.String(), f.Expected)
	write(w, status, append(b, "]}\n"...))
}

func appendRejected(b []byte, index int, id, field, reason, expected string) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(index), 10)
	b = appendMember(b, "id", id)
	b = appendMember(b, "field", field)
	b = appendMember(b, "reason", reason)
	b = appendMember(b, "expected", expected)
	return append(b, '}')
}

// appendMember appends a text member of an object that has others before it.
func appendMember(b []byte, key, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":"`...)
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == '<' || r == '>' || r == '&' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0')
			b = appendHex(b, []byte{byte(r)})
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

func appendHex(dst, src []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range src {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Content-Type-Options"] = noSniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	// The sender may be gone; nothing is left to tell it.
	_, _ = w.Write(body)
}
