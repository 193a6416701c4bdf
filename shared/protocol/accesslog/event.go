package accesslog

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
)

// What ingest takes at most of a URL and of any other text, in bytes. Longer
// ones are cut: an odd agent is no reason to lose a view.
const (
	maxURL  = 4 << 10
	maxText = 1 << 10
)

func hashLine(line []byte) [2]uint64 {
	h := xxh3.Hash128(line)
	return [2]uint64{h.Hi, h.Lo}
}

// Key names the line by its content: equal lines have equal keys. The importer
// counts with it which occurrence of a line it reads.
func (l *Line) Key() [2]uint64 { return l.hash }

// EventID is the id of the event that the line becomes as the n-th (from 0)
// equal line of its file. Reading a file again gives the same ids, so that its
// events count once; two equal lines of one file are two events.
func (l *Line) EventID(occurrence int) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], l.hash[0])
	binary.BigEndian.PutUint64(b[8:], l.hash[1])
	return hex.EncodeToString(b[:]) + "-" + strconv.Itoa(occurrence)
}

// AppendCloudEvent appends the line as a structured CloudEvent in JSON, a
// page_view of a stream:
//
//	{"specversion":"1.0","type":"footfall.event.v1","source":"/import/access-log","id":"…-0",
//	 "time":"2026-11-23T18:05:03Z","measurementid":"G-…","datacontenttype":"application/json",
//	 "data":{"name":"page_view","page":{"location":"https://…","referrer":"…"},"user_agent":"…","ip":"…"}}
//
// base is what stands before the path in the site's URLs, "https://example.com".
// Agent and address count only where the sender holds the stream's API secret.
// An agent that the client did not send stays "-", which counts as a bot.
func (l *Line) AppendCloudEvent(dst []byte, stream, base string, occurrence int) []byte {
	path, query := l.path()
	location := strings.TrimSuffix(base, "/") + path
	if query != "" {
		location += "?" + query
	}
	dst = append(dst, `{"specversion":"1.0","type":"`+event.TypeEvent+`","source":"/import/access-log","id":"`...)
	dst = append(dst, l.EventID(occurrence)...)
	dst = append(dst, `","time":"`...)
	dst = l.Time.AppendFormat(dst, time.RFC3339)
	dst = append(dst, `","measurementid":`...)
	dst = appendString(dst, stream)
	dst = append(dst, `,"datacontenttype":"application/json","data":{"name":"page_view","page":{"location":`...)
	dst = appendString(dst, cut(location, maxURL))
	if l.Referrer != "" {
		dst = append(dst, `,"referrer":`...)
		dst = appendString(dst, cut(l.Referrer, maxURL))
	}
	dst = append(dst, `},"user_agent":`...)
	dst = appendString(dst, cut(l.Agent, maxText))
	if addr, err := netip.ParseAddr(l.Address); err == nil {
		dst = append(dst, `,"ip":"`...)
		dst = addr.WithZone("").AppendTo(dst)
		dst = append(dst, '"')
	}
	return append(dst, "}}"...)
}

// cut shortens a text to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

const hexDigits = "0123456789abcdef"

// appendString appends s, which is UTF-8, as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		if c < 0x20 {
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}
