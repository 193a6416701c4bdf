package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/summary"
)

// Bounds of a Result, whatever is merged into it.
const (
	MaxLargest = 20  // changes of each metric
	MaxLines   = 100 // merchants
	maxValue   = 256 // bytes of a dimension's value
	maxPart    = 64 << 20
)

// Totals are the numbers of a merchant or of many, by metric. Of many, users
// are those of each merchant, added up.
type Totals [NumMetrics]Pair

func (t *Totals) add(o *Totals) {
	for m := range t {
		t[m].add(o[m])
	}
}

// MarshalJSON writes what is not zero, by name.
func (t Totals) MarshalJSON() ([]byte, error) {
	out := map[Metric]Pair{}
	for m, p := range t {
		if p != (Pair{}) {
			out[Metric(m)] = p
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Totals) UnmarshalJSON(data []byte) error {
	in := map[Metric]Pair{}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*t = Totals{}
	for m, p := range in {
		t[m] = p
	}
	return nil
}

// Line is the comparison of one merchant in all.
type Line struct {
	Merchant     string          `json:"merchant"`
	Hours        int64           `json:"hours"` // compared
	ChangedHours int64           `json:"changed_hours"`
	Differences  int64           `json:"differences"` // rows
	LeftOut      int64           `json:"left_out"`    // tables of hours that no record holds, and users of such
	Totals       Totals          `json:"totals"`
	Reasons      map[string]Pair `json:"reasons,omitempty"` // rejected events
}

// Changed reports whether any number changes.
func (l *Line) Changed() bool {
	return l.Differences > 0 || l.Totals[Users].Before != l.Totals[Users].After
}

// compareLines puts first what changes most.
func compareLines(a, b *Line) int {
	return cmp.Or(
		cmp.Compare(b.Totals[summary.Events].size(), a.Totals[summary.Events].size()),
		cmp.Compare(b.Differences, a.Differences), strings.Compare(a.Merchant, b.Merchant))
}

// Result is the comparison of any number of merchants. The zero value is that
// of none.
type Result struct {
	Merchants    int64           `json:"merchants"` // compared
	Changed      int64           `json:"changed"`   // of them
	Unchanged    int64           `json:"unchanged"` // merchants that had nothing to compare: their events are the same
	Hours        int64           `json:"hours"`     // of merchants, compared
	ChangedHours int64           `json:"changed_hours"`
	Differences  int64           `json:"differences"`
	LeftOut      int64           `json:"left_out"`
	Totals       Totals          `json:"totals"`
	Reasons      map[string]Pair `json:"reasons,omitempty"`
	Lines        []Line          `json:"lines,omitempty"` // those that change most
	Worst        worst           `json:"worst,omitzero"`
	Largest      largest         `json:"largest,omitzero"`
}

// Merge adds the result of other merchants.
func (r *Result) Merge(o *Result) {
	r.Merchants += o.Merchants
	r.Changed += o.Changed
	r.Unchanged += o.Unchanged
	r.Hours += o.Hours
	r.ChangedHours += o.ChangedHours
	r.Differences += o.Differences
	r.LeftOut += o.LeftOut
	r.Totals.add(&o.Totals)
	for reason, p := range o.Reasons {
		if r.Reasons == nil {
			r.Reasons = map[string]Pair{}
		}
		sum := r.Reasons[reason]
		sum.add(p)
		r.Reasons[reason] = sum
	}
	lines := slices.Concat(r.Lines, o.Lines)
	slices.SortFunc(lines, func(a, b Line) int { return compareLines(&a, &b) })
	r.Lines = lines[:min(len(lines), MaxLines)]
	if o.Worst.worse(r.Worst) {
		r.Worst = o.Worst
	}
	for m := range o.Largest {
		for i := range o.Largest[m] {
			r.Largest.add(&o.Largest[m][i])
		}
	}
}

// worst is the merchant whose events change most as a part of what they were.
type worst struct {
	Merchant string `json:"merchant"`
	Events   Pair   `json:"events"`
}

// part is how much of what was changes; from nothing to something is without
// bound.
func (p Pair) part() float64 {
	switch size := p.size(); {
	case size == 0:
		return 0
	case p.Before <= 0:
		return math.Inf(1)
	default:
		return float64(size) / float64(p.Before)
	}
}

func (w worst) worse(o worst) bool {
	if w.Merchant == "" || o.Merchant == "" {
		return w.Merchant != ""
	}
	return cmp.Or(cmp.Compare(w.Events.part(), o.Events.part()), strings.Compare(o.Merchant, w.Merchant)) > 0
}

// Exceeds says by what the result is not within bounds; nothing where it is.
func (r *Result) Exceeds(b revision.Bounds) (why []string) {
	part := func(of string, p Pair) {
		if p.part() > b.Events {
			why = append(why, fmt.Sprintf("eventCount of %s changes by %s, and may by %s", of, percent(p), percentOf(b.Events)))
		}
	}
	part("all merchants", r.Totals[summary.Events])
	if r.Worst.Merchant != "" {
		part("merchant "+r.Worst.Merchant, r.Worst.Events)
	}
	if b.Merchants > 0 && r.Changed > b.Merchants {
		why = append(why, fmt.Sprintf("%d merchants change, and %d may", r.Changed, b.Merchants))
	}
	return why
}

// largest are the largest changes of each metric, the largest first.
type largest [NumMetrics][]Row

// IsZero reports whether there are none.
func (l largest) IsZero() bool {
	for m := range l {
		if len(l[m]) > 0 {
			return false
		}
	}
	return true
}

func (l *largest) clone() (out largest) {
	for m := range l {
		out[m] = slices.Clone(l[m])
	}
	return out
}

func (l *largest) add(row *Row) {
	rows := l[row.Metric]
	if len(rows) == MaxLargest && rows[len(rows)-1].size() > row.size() {
		return
	}
	own := *row
	own.Value = clip(own.Value)
	at, _ := slices.BinarySearchFunc(rows, &own, func(a Row, b *Row) int { return compareSizes(&a, b) })
	if at == MaxLargest {
		return
	}
	if len(rows) == MaxLargest {
		rows = rows[:MaxLargest-1]
	}
	l[row.Metric] = slices.Insert(rows, at, own)
}

// clip cuts a value that is too long to be kept.
func clip(s string) string {
	if len(s) <= maxValue {
		return s
	}
	end := maxValue
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// compareSizes puts the larger of two changes of a metric first.
func compareSizes(a, b *Row) int {
	return cmp.Or(
		cmp.Compare(b.size(), a.size()), strings.Compare(a.Merchant, b.Merchant), strings.Compare(a.Hour, b.Hour),
		strings.Compare(a.Dimension, b.Dimension), strings.Compare(a.Value, b.Value),
		cmp.Compare(a.Before, b.Before), cmp.Compare(a.After, b.After))
}

// Top are the n largest changes of all metrics: each is measured by what its
// metric is in all. n is at most MaxLargest, beyond which the order within a
// metric is not known.
func (r *Result) Top(n int) []Row {
	type scored struct {
		row   *Row
		score float64
	}
	var all []scored
	for m := range r.Largest {
		of := r.Totals[m]
		for i := range r.Largest[m] {
			row := &r.Largest[m][i]
			size := float64(row.size())
			all = append(all, scored{row, size / max(math.Abs(float64(of.Before)), math.Abs(float64(of.After)), size)})
		}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	rows := make([]Row, 0, min(n, len(all)))
	for _, s := range all[:cap(rows)] {
		rows = append(rows, *s.row)
	}
	return rows
}

var packer = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithLowerEncoderMem(true))
})

var unpacker = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPart))
})

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a comparison: %w", err)
	}
	w, err := packer()
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(data, nil), nil
}

func decodePart(data []byte, v any) error {
	r, err := unpacker()
	if err != nil {
		return err
	}
	data, err = r.DecodeAll(data, nil)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("cannot decode a comparison: %w", err)
	}
	return nil
}

// Encode is the result as bytes, below 1 MiB: JSON in a zstd frame.
func (r *Result) Encode() ([]byte, error) { return encode(r) }

// DecodeResult reads what Encode wrote.
func DecodeResult(data []byte) (*Result, error) {
	r := new(Result)
	return r, decodePart(data, r)
}

// EncodeLines are lines as bytes, below 1 MiB for a thousand of them.
func EncodeLines(lines []Line) ([]byte, error) { return encode(lines) }

// DecodeLines reads what EncodeLines wrote.
func DecodeLines(data []byte) (lines []Line, err error) { return lines, decodePart(data, &lines) }
