package loadtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Traffic makes tracking events from a seed. It is not safe for use by
// several goroutines at once.
type Traffic struct {
	rng     *rand.Rand
	streams []string
	zipf    *rand.Zipf // which stream
	pages   *rand.Zipf
	from    time.Time
	span    time.Duration
	prefix  string
	people  int
	n       int
	recent  []sentEvent // to be sent again now and then
}

type sentEvent struct {
	stream int
	body   []byte
	view   bool
}

// TrafficOptions shape the traffic.
type TrafficOptions struct {
	Seed       uint64
	Streams    []string      // measurement ids; the first ones are the busy ones
	From       time.Time     // event times lie in [From, From+Span)
	Span       time.Duration // 0: events carry no time
	Duplicates float64       // share of events that are sent again with the same id
	Visitors   int           // default 200,000
}

// NewTraffic makes a source of events.
func NewTraffic(o TrafficOptions) *Traffic {
	t := &Traffic{
		rng: rand.New(rand.NewPCG(o.Seed, 0x666f6f7466616c6c)), streams: o.Streams,
		from: o.From, span: o.Span, prefix: strconv.FormatUint(o.Seed, 36), people: o.Visitors,
	}
	if t.people == 0 {
		t.people = 200_000
	}
	t.zipf = rand.NewZipf(t.rng, 1.2, 1, uint64(len(o.Streams)-1))
	t.pages = rand.NewZipf(t.rng, 1.3, 2, 499)
	if o.Duplicates > 0 {
		t.recent = make([]sentEvent, 0, int(1/o.Duplicates))
	}
	return t
}

// Truth is what was sent of one stream.
type Truth struct {
	Sent   int64 // events, duplicates included
	Events int64 // distinct ids
	Views  int64 // distinct ids of page views
}

var agents = [...]string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15",
}

var referrers = [...]string{"", "", "", "https://www.google.com/", "https://www.bing.com/", "https://blog.example.org/post/17", "https://t.co/abc"}

// AppendBatch appends n events as the body of a CloudEvents batch request and
// adds them to truth, which is indexed as Streams.
func (t *Traffic) AppendBatch(dst []byte, n int, truth []Truth) []byte {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = t.AppendEvent(dst, truth)
	}
	return append(dst, ']')
}

// AppendEvent appends one event in structured form, about 600 bytes.
func (t *Traffic) AppendEvent(dst []byte, truth []Truth) []byte {
	if cap(t.recent) > 0 && len(t.recent) == cap(t.recent) {
		again := t.recent[t.rng.IntN(len(t.recent))]
		t.recent = t.recent[:0]
		truth[again.stream].Sent++
		return append(dst, again.body...)
	}
	t.n++
	stream := int(t.zipf.Uint64())
	visitor := t.rng.IntN(t.people)
	page := t.pages.Uint64()
	view := t.rng.IntN(10) < 7
	name := "page_view"
	if !view {
		name = "scroll"
	}
	start := len(dst)
	dst = fmt.Appendf(dst, `{"specversion":"1.0","type":"footfall.event.v1","source":"/site","id":"%s-%d","measurementid":%q,"datacontenttype":"application/json"`,
		t.prefix, t.n, t.streams[stream])
	if t.span > 0 {
		at := t.from.Add(time.Duration(t.rng.Int64N(int64(t.span))))
		dst = append(dst, `,"time":"`...)
		dst = at.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00")
		dst = append(dst, '"')
	}
	dst = fmt.Appendf(dst, `,"data":{"name":%q,"client_id":"c%d.%d","session_id":"s%d","page":{"location":"https://shop.example/p/%d?ref=%d","title":"Product %d of the shop","referrer":%q},`+
		`"params":{"scroll_depth":%d,"theme":"dark","experiment":"b%d"},"engagement_ms":%d,"language":"de-DE","screen":"1920x1080","user_agent":%q}}`,
		name, visitor, visitor*7919, visitor%97, page, t.rng.IntN(9), page, referrers[t.rng.IntN(len(referrers))],
		t.rng.IntN(100), t.rng.IntN(3), t.rng.IntN(20_000), agents[visitor%len(agents)])
	truth[stream].Sent++
	truth[stream].Events++
	if view {
		truth[stream].Views++
	}
	if cap(t.recent) > 0 {
		t.recent = append(t.recent, sentEvent{stream, append([]byte(nil), dst[start:]...), view})
	}
	return dst
}
