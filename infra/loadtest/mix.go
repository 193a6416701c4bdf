package loadtest

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// MixOptions shape traffic as a million sites see it.
type MixOptions struct {
	Seed       uint64
	Streams    []string // measurement ids; the first ones are the busy ones
	Skew       float64  // of Zipf's law over the streams, above 1; default 1.1
	Each       bool     // the first visits are of each stream once, in turn
	Hot        float64  // share of all sessions that the first stream has besides
	Duplicates float64  // share of events that are sent again with the same id
	Late       float64  // share of sessions that are sent minutes to days after they happened
	Malformed  float64  // share of events that no protocol allows
	Bots       float64  // share of requests that come from bots
	Purchases  float64  // share of sessions that end with one
	// LateUpTo is how late the latest sessions are; default three days.
	LateUpTo time.Duration
}

// DefaultMix are the shares that issue and budgets speak of.
func DefaultMix(seed uint64, streams []string) MixOptions {
	return MixOptions{
		Seed: seed, Streams: streams, Skew: 1.1, Duplicates: 0.03, Late: 0.02, Malformed: 0.01, Bots: 0.02, Purchases: 0.02,
		LateUpTo: 3 * 24 * time.Hour,
	}
}

// Mix makes visits: sessions of several events with gaps between them, each
// event sent when it happens. Requests carry one agent each, as browsers'
// do, so that visits are kept by agent. The same options and instants make the
// same requests. It is not safe for use by several goroutines at once.
type Mix struct {
	o       MixOptions
	rng     *rand.Rand
	sites   *rand.Zipf
	pages   *rand.Zipf
	truth   *Truths
	classes []class
	weights int
	prefix  string
	events  uint64 // made, which numbers them
	visits  uint64
}

// class are the visitors with one agent.
type class struct {
	agent  string
	weight int
	bot    bool
	open   visits
	recent [64][]byte // events that may be sent again, with their cells
	cells  [64]cellKey
	n      int // sent
}

// maxOpen bounds the visits of a class that are under way: beyond them visits
// go on before their time.
const maxOpen = 1 << 18

// visit is a session that goes on.
type visit struct {
	due      int64 // µs since the epoch at which the next event is sent
	late     int64 // µs by which it was sent after it happened
	id       uint64
	visitor  uint32
	site     uint32
	page     uint16
	left     uint8 // events to come
	n        uint8 // events sent
	purchase bool
}

type visits []visit

func (v visits) Len() int           { return len(v) }
func (v visits) Less(i, j int) bool { return v[i].due < v[j].due }
func (v visits) Swap(i, j int)      { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)        { *v = append(*v, x.(visit)) }
func (v *visits) Pop() any {
	last := (*v)[len(*v)-1]
	*v = (*v)[:len(*v)-1]
	return last
}

// NewMix makes a source of requests that adds to truth what it makes.
func NewMix(o MixOptions, truth *Truths) *Mix {
	m := &Mix{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6d6978)), truth: truth, prefix: strconv.FormatUint(o.Seed, 36)}
	if m.o.Skew <= 1 {
		m.o.Skew = 1.1
	}
	if m.o.LateUpTo <= 0 {
		m.o.LateUpTo = 3 * 24 * time.Hour
	}
	m.sites = rand.NewZipf(m.rng, m.o.Skew, 1, uint64(len(o.Streams)-1))
	m.pages = rand.NewZipf(m.rng, 1.3, 2, 499)
	for i, agent := range agents {
		m.classes = append(m.classes, class{agent: agent, weight: len(agents) - i})
		m.weights += len(agents) - i
	}
	m.classes = append(m.classes, class{agent: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", bot: true})
	return m
}

// Request makes a request with n events that is due at an instant: a batch, or,
// where n is 0, a single event. Its body is appended to dst.
func (m *Mix) Request(dst []byte, at time.Time, n int) Request {
	c := m.class()
	r := Request{Body: dst, Agent: c.agent, Single: n == 0, Due: at}
	if cap(r.Body) == 0 {
		r.Body = make([]byte, 0, 700*max(n, 1))
	}
	if r.Single {
		m.append(&r, c, at)
		return r
	}
	r.Body = append(r.Body, '[')
	for i := range n {
		if i > 0 {
			r.Body = append(r.Body, ',')
		}
		m.append(&r, c, at)
	}
	r.Body = append(r.Body, ']')
	return r
}

func (m *Mix) append(r *Request, c *class, at time.Time) {
	var ok bool
	if r.Body, ok = m.event(r.Body, c, at.UnixMicro()); ok {
		r.Valid++
	}
}

// Visits is how many have begun.
func (m *Mix) Visits() int { return int(m.visits) }

// class chooses who sends.
func (m *Mix) class() *class {
	last := len(m.classes) - 1
	if m.rng.Float64() < m.o.Bots {
		return &m.classes[last]
	}
	x := m.rng.IntN(m.weights)
	for i := range last {
		if x -= m.classes[i].weight; x < 0 {
			return &m.classes[i]
		}
	}
	return &m.classes[0]
}

// event appends the event that c sends next; ok is false for a malformed one.
func (m *Mix) event(dst []byte, c *class, now int64) (_ []byte, ok bool) {
	x := m.rng.Float64()
	if x < m.o.Duplicates && c.n > 0 {
		i := m.rng.IntN(min(c.n, len(c.recent)))
		m.truth.add(c.cells[i], Counts{Accepted: 1})
		return append(dst, c.recent[i]...), true
	}
	if x -= m.o.Duplicates; x >= 0 && x < m.o.Malformed {
		return m.malformed(dst, now), false
	}
	start := len(dst)
	var key cellKey
	if c.open.Len() > 0 && (c.open[0].due <= now || c.open.Len() >= maxOpen) {
		v := &c.open[0]
		dst, key = m.step(dst, c, v, now)
		if v.left == 0 {
			heap.Pop(&c.open)
		} else {
			heap.Fix(&c.open, 0)
		}
	} else {
		v := m.arrive(c)
		dst, key = m.step(dst, c, &v, now)
		if v.left > 0 {
			heap.Push(&c.open, v)
		}
	}
	i := c.n % len(c.recent)
	c.recent[i], c.cells[i] = append(c.recent[i][:0], dst[start:]...), key
	c.n++
	return dst, true
}

// arrive begins a visit.
func (m *Mix) arrive(c *class) visit {
	m.visits++
	v := visit{id: m.visits, site: uint32(m.sites.Uint64()), page: uint16(m.pages.Uint64())}
	if m.o.Each && m.visits <= uint64(len(m.o.Streams)) {
		v.site = uint32(m.visits - 1)
	} else if m.o.Hot > 0 && m.rng.Float64() < m.o.Hot {
		v.site = 0
	}
	// Of a site's visitors some come often: half of all visits are of a hundred.
	v.visitor = uint32(m.rng.IntN(100))
	if m.rng.IntN(2) == 0 {
		v.visitor = uint32(m.rng.IntN(1_000_000))
	}
	for v.left = 1; v.left < 30 && m.rng.IntN(4) > 0; v.left++ {
	}
	v.purchase = !c.bot && m.rng.Float64() < m.o.Purchases
	if m.rng.Float64() < m.o.Late {
		// From two minutes on, as many between 2 and 20 minutes as between 2 and 20 hours.
		const least = 2 * 60e6
		v.late = int64(least * math.Pow(float64(m.o.LateUpTo.Microseconds())/least, m.rng.Float64()))
	}
	return v
}

var agents = [...]string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15",
}

var referrers = [...]string{"", "", "", "https://www.google.com/", "https://www.bing.com/", "https://blog.example.org/post/17", "https://t.co/abc"}

const maxGap = 20 * 60 * 1_000_000 // µs: below the silence that ends a session

// step appends a visit's next event and notes it.
func (m *Mix) step(dst []byte, c *class, v *visit, now int64) ([]byte, cellKey) {
	happened := now - v.late
	name := "page_view"
	switch x := m.rng.IntN(100); {
	case v.n == 0:
	case v.left == 1 && v.purchase:
		name = "purchase"
	case x < 50:
	case x < 75:
		name = "scroll"
	case x < 85:
		name = "view_item"
	case x < 92:
		name = "add_to_cart"
	default:
		name = "click"
	}
	dst = m.head(dst, v.site, happened)
	dst = append(dst, `,"data":{"name":"`...)
	dst = append(dst, name...)
	dst = append(dst, `","client_id":"c`...)
	dst = strconv.AppendUint(dst, uint64(v.visitor)*7919, 10)
	dst = append(dst, `","session_id":"`...)
	dst = append(dst, m.prefix...)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, v.id, 10)
	dst = append(dst, `","page":{"location":"https://shop.example/p/`...)
	dst = strconv.AppendUint(dst, uint64(v.page), 10)
	if v.n == 0 && v.id%5 == 0 {
		dst = append(dst, `?utm_source=newsletter&utm_medium=email&utm_campaign=c`...)
		dst = strconv.AppendUint(dst, v.id%7, 10)
	}
	dst = append(dst, `","title":"Product `...)
	dst = strconv.AppendUint(dst, uint64(v.page), 10)
	dst = append(dst, ` of the shop","referrer":"`...)
	if v.n == 0 {
		dst = append(dst, referrers[v.id%uint64(len(referrers))]...)
	} else {
		dst = append(dst, `https://shop.example/`...)
	}
	dst = append(dst, `"},"params":{"theme":"dark","scroll_depth":`...)
	dst = strconv.AppendUint(dst, uint64(m.rng.IntN(100)), 10)
	counts := Counts{Accepted: 1, Counted: 1}
	if c.bot {
		counts.Bots = 1
	} else {
		counts.Events = 1
	}
	if name == "purchase" {
		var cents int64
		dst, cents = m.purchase(dst, v)
		counts.Purchases, counts.RevenueMicros = 1, cents*10_000
	} else {
		dst = append(dst, '}')
	}
	dst = append(dst, `,"engagement_ms":`...)
	dst = strconv.AppendUint(dst, uint64(m.rng.IntN(20_000)), 10)
	dst = append(dst, `,"language":"de-DE","screen":"1920x1080"}}`...)
	if name == "page_view" && !c.bot {
		counts.Views = 1
	}
	if v.n == 0 && !c.bot {
		counts.Sessions = 1
	}
	key := keyOf(v.site, happened)
	m.truth.add(key, counts)
	v.n++
	v.left--
	if name == "page_view" {
		v.page = uint16(m.pages.Uint64())
	}
	gap := int64(m.rng.ExpFloat64() * 25e6)
	v.due = now + min(max(gap, 500_000), maxGap)
	return dst, key
}

// purchase appends the rest of the parameters, value and items.
func (m *Mix) purchase(dst []byte, v *visit) ([]byte, int64) {
	dst = append(dst, `,"transaction_id":"t`...)
	dst = append(dst, m.prefix...)
	dst = strconv.AppendUint(dst, v.id, 10)
	dst = append(dst, `"},"currency":"EUR","items":[`...)
	var cents int64
	for i := range 1 + m.rng.IntN(4) {
		if i > 0 {
			dst = append(dst, ',')
		}
		item, price, quantity := m.rng.IntN(500), int64(100+m.rng.IntN(20_000)), int64(1+m.rng.IntN(3))
		cents += price * quantity
		dst = append(dst, `{"item_id":"sku-`...)
		dst = strconv.AppendUint(dst, uint64(item), 10)
		dst = append(dst, `","item_name":"Product `...)
		dst = strconv.AppendUint(dst, uint64(item), 10)
		dst = append(dst, `","price":`...)
		dst = appendCents(dst, price)
		dst = append(dst, `,"quantity":`...)
		dst = strconv.AppendInt(dst, quantity, 10)
		dst = append(dst, '}')
	}
	dst = append(dst, `],"value":`...)
	return appendCents(dst, cents), cents
}

func appendCents(dst []byte, cents int64) []byte {
	dst = strconv.AppendInt(dst, cents/100, 10)
	dst = append(dst, '.', byte('0'+cents/10%10), byte('0'+cents%10))
	return dst
}

// head appends the attributes of the next event.
func (m *Mix) head(dst []byte, site uint32, micros int64) []byte {
	m.events++
	dst = append(dst, `{"specversion":"1.0","type":"footfall.event.v1","source":"/site","id":"`...)
	dst = append(dst, m.prefix...)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, m.events, 10)
	dst = append(dst, `","measurementid":"`...)
	dst = append(dst, m.o.Streams[site]...)
	dst = append(dst, `","datacontenttype":"application/json","time":"`...)
	dst = time.UnixMicro(micros).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	return append(dst, '"')
}

// malformed appends an event that is refused for one of several reasons.
func (m *Mix) malformed(dst []byte, now int64) []byte {
	site := uint32(m.sites.Uint64())
	dst = m.head(dst, site, now)
	switch m.rng.IntN(4) {
	case 0:
		dst = append(dst, `,"data":{"client_id":"c1"}}`...) // no name
	case 1:
		dst = append(dst, `,"data":{"name":"page_view","client_id":"c1","session_id":[1]}}`...)
	case 2:
		dst = append(dst, `,"data":"page_view"}`...)
	default:
		dst = append(dst, `,"data":{"name":"purchase","client_id":"c1","value":"much"}}`...)
	}
	m.truth.refuse(site)
	return dst
}
