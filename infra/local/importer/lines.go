package importer

import "github.com/footfall/footfall/shared/protocol/accesslog"

// maxRemembered bounds how many different page lines are remembered at once
// (about 40 bytes each, in two halves).
const maxRemembered = 1 << 20

// logConverter turns lines of an access log into page views of a stream.
type logConverter struct {
	stream, base string
	seen         occurrences
}

func newConverter(stream, base string) converter {
	return &logConverter{stream: stream, base: base, seen: occurrences{half: maxRemembered / 2}}
}

func (c *logConverter) convert(line []byte) (event []byte, skipped string) {
	l, err := accesslog.Parse(line)
	if err != nil {
		return nil, "malformed"
	}
	if skipped = l.Skip(); skipped != "" {
		return nil, skipped
	}
	return l.AppendCloudEvent(nil, c.stream, c.base, c.seen.next(l.Key())), ""
}

// occurrences counts equal lines, which are requests of their own: their ids
// differ by how many came before. A line holds its second, so equal ones stand
// close together and the oldest lines can be forgotten; what is remembered
// depends on the lines alone, so that a log gives the same ids each time.
type occurrences struct {
	half        int // lines in each
	young, aged map[[2]uint64]int
}

func (o *occurrences) next(key [2]uint64) int {
	n, ok := o.young[key]
	if !ok {
		n = o.aged[key]
	}
	if len(o.young) >= o.half {
		o.aged, o.young = o.young, nil
	}
	if o.young == nil {
		o.young = map[[2]uint64]int{}
	}
	o.young[key] = n + 1
	return n
}
