package accesslog

import (
	"bytes"
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// Line is one line of a log: one request.
type Line struct {
	Address  string // of the client; a name where the server looks names up
	Time     time.Time
	Method   string
	Target   string // of the request: path and query, seldom a whole URL
	Status   int
	Referrer string // "" where the log has "-"
	Agent    string // "-" where the client sent none

	hash [2]uint64 // of the whole line
}

// MaxLine is how long a line may be. Servers take requests of some 8 KiB.
const MaxLine = 32 << 10

// Parse reads a line, with or without its line end:
//
//	address ident user [time] "request" status bytes "referrer" "agent"
//
// Fields that a server's configuration adds behind these are ignored, and a
// line of the common format, without referrer and agent, is read too. Any
// other line gives an Invalid error that names the field.
func Parse(line []byte) (Line, error) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) > MaxLine {
		return Line{}, fault.Field("line", "at most "+strconv.Itoa(MaxLine)+" bytes")
	}
	l := Line{Agent: "-", hash: hashLine(line)}
	s := scanner{rest: line}
	address, ok := s.word()
	if !ok {
		return Line{}, fault.Field("address", "the client's address at the beginning of the line")
	}
	l.Address = text(address)
	if !s.to(" [") { // ident and user, the latter perhaps with spaces
		return Line{}, fault.Field("time", "a time in brackets")
	}
	stamp, ok := s.until(']')
	if !ok {
		return Line{}, fault.Field("time", "a time in brackets")
	}
	var err error
	if l.Time, err = time.Parse("02/Jan/2006:15:04:05 -0700", string(stamp)); err != nil {
		return Line{}, fault.Field("time", `a time such as "23/Nov/2026:18:05:03 +0000"`)
	}
	l.Time = l.Time.UTC()
	request, ok := s.quoted()
	if !ok {
		return Line{}, fault.Field("request", "a request in quotes")
	}
	status, ok := s.word()
	if l.Status, err = strconv.Atoi(string(status)); !ok || err != nil || len(status) != 3 || l.Status < 100 {
		return Line{}, fault.Field("status", "a status of three digits")
	}
	size, ok := s.word()
	if _, err := strconv.ParseUint(string(size), 10, 63); !ok || err != nil && string(size) != "-" {
		return Line{}, fault.Field("bytes", `a number or "-"`)
	}
	l.request(request)
	if s.blank() { // the common format ends here
		return l, nil
	}
	referrer, ok := s.quoted()
	if !ok {
		return Line{}, fault.Field("referrer", "a referrer in quotes")
	}
	agent, ok := s.quoted()
	if !ok {
		return Line{}, fault.Field("agent", "a user agent in quotes")
	}
	if string(referrer) != "-" {
		l.Referrer = text(referrer)
	}
	if len(agent) > 0 {
		l.Agent = text(agent)
	}
	return l, nil
}

// request splits "GET /path HTTP/1.1". What a broken client sent instead is no
// fault of the log: the line then has no method.
func (l *Line) request(request []byte) {
	method, rest, ok := bytes.Cut(request, []byte(" "))
	if !ok {
		return
	}
	target := rest
	if i := bytes.LastIndex(rest, []byte(" HTTP/")); i >= 0 {
		target = rest[:i]
	}
	l.Method, l.Target = text(method), text(target)
}

// scanner walks a line.
type scanner struct{ rest []byte }

func (s *scanner) blank() bool { return len(bytes.TrimLeft(s.rest, " ")) == 0 }

// word is the next word; false where there is none.
func (s *scanner) word() ([]byte, bool) {
	s.rest = bytes.TrimLeft(s.rest, " ")
	word, rest, _ := bytes.Cut(s.rest, []byte(" "))
	s.rest = rest
	return word, len(word) > 0
}

// to goes behind the next mark.
func (s *scanner) to(mark string) bool {
	_, rest, ok := bytes.Cut(s.rest, []byte(mark))
	s.rest = rest
	return ok
}

func (s *scanner) until(end byte) ([]byte, bool) {
	i := bytes.IndexByte(s.rest, end)
	if i < 0 {
		return nil, false
	}
	found := s.rest[:i]
	s.rest = s.rest[i+1:]
	return found, true
}

// quoted is the next field in quotes, with its escapes as they are.
func (s *scanner) quoted() ([]byte, bool) {
	s.rest = bytes.TrimLeft(s.rest, " ")
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false
	}
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '"':
			found := s.rest[1:i]
			s.rest = s.rest[i+1:]
			return found, true
		}
	}
	return nil, false
}

// text undoes the escapes of a log (\" \\ \n \t \xhh) and makes UTF-8 of it.
func text(b []byte) string {
	if bytes.IndexByte(b, '\\') >= 0 {
		plain := make([]byte, 0, len(b))
		for i := 0; i < len(b); i++ {
			if b[i] != '\\' || i+1 == len(b) {
				plain = append(plain, b[i])
				continue
			}
			i++
			switch c := b[i]; c {
			case 'n':
				plain = append(plain, '\n')
			case 't':
				plain = append(plain, '\t')
			case 'r':
				plain = append(plain, '\r')
			case 'x':
				if i+2 < len(b) {
					if v, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
						plain = append(plain, byte(v))
						i += 2
						continue
					}
				}
				plain = append(plain, '\\', 'x')
			default:
				plain = append(plain, c)
			}
		}
		b = plain
	}
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
