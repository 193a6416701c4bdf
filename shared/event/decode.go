package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unsafe"
)

// Limits of what a decoder makes of untrusted bytes. A record's smallest form
// bounds how many of them a block can hold, so a count is never trusted
// further than the bytes behind it.
const (
	minEventBytes   = 30
	minRefusedBytes = 6
	minParamBytes   = 3
	minItemBytes    = 11
)

// DecodeEvent reads one event that AppendEvent wrote. The event's strings are
// parts of one copy of data.
func DecodeEvent(data []byte) (Event, error) {
	d := decoder{s: string(data)}
	var e Event
	d.event(&e)
	if d.err == nil && d.pos != len(d.s) {
		d.fail("end of the event")
	}
	if d.err != nil {
		return Event{}, fmt.Errorf("cannot decode an event: %w", d.err)
	}
	return e, nil
}

// decodeRaw reads a batch from a decompressed block. The batch's strings are
// parts of raw, which must not change afterwards.
func decodeRaw(raw []byte) (*Batch, error) {
	d := decoder{s: unsafe.String(unsafe.SliceData(raw), len(raw))}
	b := &Batch{}
	if err := d.batch(b); err != nil {
		return nil, err
	}
	return b, nil
}

// batch reads a batch, whose slices may have room from an earlier one.
func (d *decoder) batch(b *Batch) error {
	copy(b.ID[:], d.take(len(b.ID)))
	b.ReceivedAt = time.UnixMicro(d.long()).UTC()
	b.Instance = d.string()
	for d.more(minEventBytes) {
		if len(b.Events)+d.count > MaxBatchEvents {
			d.fail("at most 5000 events")
			break
		}
		if len(b.Events) == 0 && cap(b.Events) < d.count {
			b.Events = make([]Event, 0, d.count)
		}
		for range d.count {
			b.Events = append(b.Events, Event{})
			d.event(&b.Events[len(b.Events)-1])
			if d.err != nil {
				break
			}
		}
	}
	for d.more(minRefusedBytes) {
		for range d.count {
			var r Refused
			d.refused(&r)
			if d.err != nil {
				break
			}
			b.Refused = append(b.Refused, r)
		}
	}
	if d.err == nil && d.pos != len(d.s) {
		d.fail("end of the batch")
	}
	return d.err
}

// decoder reads Avro from s. After the first error it reads zeros.
type decoder struct {
	s     string
	pos   int
	count int // items of the array block that more found
	err   error

	// Blocks from which short slices are cut, so that a batch's parameters
	// cost a few allocations and not one per event.
	params []Param
	items  []Item
}

func (d *decoder) fail(expected string) {
	if d.err == nil {
		d.err = fmt.Errorf("at byte %d: expected %s", d.pos, expected)
	}
	d.pos = len(d.s)
}

func (d *decoder) take(n int) string {
	if n < 0 || n > len(d.s)-d.pos {
		d.fail("more bytes")
		return ""
	}
	s := d.s[d.pos : d.pos+n]
	d.pos += n
	return s
}

func (d *decoder) long() int64 {
	var u uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if d.pos >= len(d.s) {
			d.fail("a number")
			return 0
		}
		c := d.s[d.pos]
		d.pos++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	d.fail("a number of at most 64 bits")
	return 0
}

func (d *decoder) string() string {
	// The usual case: a length in one byte, and the text behind it.
	if d.pos < len(d.s) {
		if c := d.s[d.pos]; c < 0x80 && c&1 == 0 {
			n, start := int(c>>1), d.pos+1
			if n <= len(d.s)-start {
				d.pos = start + n
				return d.s[start : start+n]
			}
		}
	}
	n := d.long()
	if n < 0 || n > int64(len(d.s)-d.pos) {
		d.fail("a text within the data")
		return ""
	}
	return d.take(int(n))
}

func (d *decoder) bool() bool {
	switch d.take(1) {
	case "\x01":
		return true
	case "\x00":
	default:
		d.fail("a boolean")
	}
	return false
}

// more reads the head of an array's next block and sets count; false at the
// array's end. Each item takes at least minBytes.
func (d *decoder) more(minBytes int) bool {
	n := d.long()
	if n < 0 { // Avro: a negative count is followed by the block's bytes
		n = -n
		d.long()
	}
	if n < 0 || n > int64((len(d.s)-d.pos)/minBytes) {
		d.fail("an array within the data")
		return false
	}
	d.count = int(n)
	return n > 0 && d.err == nil
}

func (d *decoder) event(e *Event) {
	e.Stream = d.string()
	e.Source = d.string()
	auth := d.long()
	if auth < 0 || auth > int64(AuthUnknown) {
		d.fail("an auth of 0 to 2")
		return
	}
	e.Auth = Auth(auth)
	e.Credential = d.string()
	e.UserAgent = d.string()
	e.IP = d.string()
	e.Country = d.string()
	e.Language = d.string()
	e.Screen = d.string()
	e.ClaimedUserAgent = d.string()
	e.ClaimedIP = d.string()
	e.ClaimedVisitor = uint64(d.long())
	e.Visitor = uint64(d.long())
	e.ClientID = d.string()
	e.UserID = d.string()
	e.SessionID = d.string()
	e.UserProperties = d.paramArray()
	e.PageLocation = d.string()
	e.PageTitle = d.string()
	e.PageReferrer = d.string()
	e.Name = d.string()
	e.Params = d.paramArray()
	e.takeAdded()
	e.Items = d.itemArray()
	switch d.long() {
	case 0:
	case 1:
		e.HasValue = true
		e.ValueMicros = d.long()
	default:
		d.fail("a value or none")
	}
	e.Currency = d.string()
	e.EngagementMillis = d.long()
	e.Extra = d.string()
	e.ID = d.string()
	e.TimeMicros = d.long()
	e.TimeAssigned = d.bool()
}

func (d *decoder) paramArray() []Param {
	var out []Param
	for d.more(minParamBytes) {
		n := d.count
		if out == nil {
			out = cut(&d.params, n)
		}
		for range n {
			var p Param
			d.param(&p)
			if d.err != nil {
				return nil
			}
			out = append(out, p)
		}
	}
	return out
}

func (d *decoder) param(p *Param) {
	p.Key = d.string()
	kind := d.long()
	if kind < 0 || kind > int64(ParamBool) {
		d.fail("a parameter kind of 0 to 3")
		return
	}
	p.Kind = ParamKind(kind)
	switch p.Kind {
	case ParamInt:
		p.Int = d.long()
	case ParamDouble:
		if s := d.take(8); d.err == nil {
			p.Double = math.Float64frombits(binary.LittleEndian.Uint64([]byte(s)))
		}
	case ParamBool:
		p.Bool = d.bool()
	default:
		p.Text = d.string()
	}
}

func (d *decoder) itemArray() []Item {
	var out []Item
	for d.more(minItemBytes) {
		n := d.count
		if out == nil {
			out = cut(&d.items, n)
		}
		for range n {
			out = append(out, Item{})
			d.item(&out[len(out)-1])
			if d.err != nil {
				return nil
			}
		}
	}
	return out
}

func (d *decoder) item(it *Item) {
	it.ID = d.string()
	it.Name = d.string()
	it.Brand = d.string()
	it.Variant = d.string()
	place := 0
	for d.more(1) {
		if place+d.count > len(it.Categories) {
			d.fail("at most 5 categories")
			return
		}
		for range d.count {
			it.Categories[place] = d.string()
			place++
		}
	}
	it.ListID = d.string()
	it.ListName = d.string()
	it.Coupon = d.string()
	it.PriceMicros = d.long()
	it.Quantity = d.long()
	it.Params = d.paramArray()
}

func (d *decoder) refused(r *Refused) {
	r.Stream = d.string()
	r.ID = d.string()
	r.Field = d.string()
	r.Reason = d.string()
	r.Detail = d.string()
	if data := d.string(); data != "" {
		r.Data = []byte(data)
	}
}

// cut takes an empty slice with room for n from a block, which is made anew
// where it is used up.
func cut[T any](block *[]T, n int) []T {
	const blockItems = 256
	if n > blockItems/4 {
		return make([]T, 0, n)
	}
	if cap(*block)-len(*block) < n {
		*block = make([]T, 0, blockItems)
	}
	at := len(*block)
	*block = (*block)[:at+n]
	return (*block)[at : at : at+n]
}
