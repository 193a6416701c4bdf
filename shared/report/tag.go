package report

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/catalog"
)

// Tag is the answer's entity tag in a form of it ("json", "csv", …; RFC 9110,
// 8.8.3). It is made of the numbers and what they say, and of nothing that
// changes while they stay the same: not of the watermark, of what is pending, or
// of where the numbers were read. So it is a weak one, and the same on every
// instance.
func (r *Result) Tag(form string) string {
	if f := r.frozen; f != nil && form == "json" {
		f.hash.Do(func() { f.tag = r.tag(form) })
		return f.tag
	}
	return r.tag(form)
}

func (r *Result) tag(form string) string {
	h := tagger{buffer: make([]byte, 0, tagBuffer)}
	q, m := r.Query, &r.Meta
	h.text(form, q.Merchant, string(q.Compare), m.TimeZone, m.Currency)
	h.number(int64(m.Revision), m.Duplicates, m.Bots, m.Rejected, int64(r.RowCount), int64(len(q.DateRanges)), int64(len(q.Dimensions)), int64(len(q.Metrics)))
	for _, d := range q.DateRanges {
		h.text(d.Name)
		h.number(int64(d.From), int64(d.To))
	}
	for _, d := range q.Dimensions {
		h.text(d.Name)
	}
	for _, c := range q.Metrics {
		h.text(c.Name, m.method(c.Of))
	}
	for _, list := range [][]Row{r.Rows, r.Totals, r.Minimums, r.Maximums} {
		h.number(int64(len(list)))
		for i := range list {
			row := &list[i]
			h.number(int64(row.Range))
			h.text(row.Dimensions...)
			for _, v := range row.Metrics {
				h.value(v)
			}
			for _, v := range row.Before {
				h.value(v)
			}
		}
	}
	sum := h.sum()
	return `W/"` + hex.EncodeToString(sum[:]) + `"`
}

// tagger hashes texts and numbers so that different lists differ.
type tagger struct {
	hash   xxh3.Hasher
	buffer []byte
}

const tagBuffer = 8 << 10

func (t *tagger) text(list ...string) {
	for _, s := range list {
		t.number(int64(len(s)))
		if len(t.buffer)+len(s) > tagBuffer {
			t.flush()
		}
		t.buffer = append(t.buffer, s...)
	}
}

func (t *tagger) number(list ...int64) {
	for _, n := range list {
		if len(t.buffer)+binary.MaxVarintLen64 > tagBuffer {
			t.flush()
		}
		t.buffer = binary.AppendVarint(t.buffer, n)
	}
}

func (t *tagger) value(v catalog.Value) {
	t.number(v.N, v.D)
	if v.D == 0 {
		t.text(v.String())
	}
}

func (t *tagger) flush() {
	_, _ = t.hash.Write(t.buffer) // it never fails
	t.buffer = t.buffer[:0]
}

func (t *tagger) sum() [16]byte {
	t.flush()
	return t.hash.Sum128().Bytes()
}

// Headers say in an answer's header how fresh and how complete it is, under
// names that begin with Footfall-.
func (m *Meta) Headers(set func(name, value string)) {
	set("Footfall-Revision", strconv.FormatUint(uint64(m.Revision), 10))
	set("Footfall-Watermark", m.Watermark.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))
	set("Footfall-Currency", m.Currency)
	for _, n := range []struct {
		name  string
		value int64
	}{{"Pending", m.Pending}, {"Waiting-Hours", m.Waiting}, {"Duplicates", m.Duplicates}, {"Bots", m.Bots}, {"Rejected", m.Rejected}} {
		set("Footfall-"+n.name, strconv.FormatInt(n.value, 10))
	}
}
