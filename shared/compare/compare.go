package compare

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/summary"
)

// Pair is a number as it is shown and as it would be.
type Pair struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

func (p *Pair) add(o Pair) { p.Before, p.After = p.Before+o.Before, p.After+o.After }

// size is how much a number changes.
func (p Pair) size() uint64 {
	if p.After > p.Before {
		return uint64(p.After) - uint64(p.Before)
	}
	return uint64(p.Before) - uint64(p.After)
}

// Row is one number that changes.
type Row struct {
	Merchant  string `json:"merchant"`
	Hour      string `json:"hour"`                // its first instant on the merchant's clock, RFC 3339
	Dimension string `json:"dimension,omitempty"` // "": the hour in all
	Value     string `json:"value,omitempty"`
	Metric    Metric `json:"metric"`
	Pair
}

// Reject is how many events of an hour were rejected for a reason.
type Reject struct {
	Hour   event.Hour
	Reason string
	Events int64
}

// Comparison compares a merchant's hours in two views, one after the other, each
// once.
type Comparison struct {
	merchant string
	loc      *time.Location
	emit     func(*Row) error

	hours   map[string]bool // by hour: whether it changes
	users   [2]summary.Users
	line    Line
	largest largest
}

// New begins the comparison of a merchant with a clock. emit takes every row
// that changes and must not keep it; nil takes none. An error of it ends the
// comparison.
func New(merchant string, loc *time.Location, emit func(*Row) error) *Comparison {
	return &Comparison{
		merchant: merchant, loc: loc, emit: emit, hours: map[string]bool{},
		line: Line{Merchant: merchant, Reasons: map[string]Pair{}},
	}
}

// Hour compares the encoded records of an hour, which begins start seconds
// after the Unix epoch. No bytes are an hour without events.
func (c *Comparison) Hour(start int64, before, after []byte) error {
	if len(before) == 0 && len(after) == 0 {
		return nil
	}
	b, err := decode(before)
	if err != nil {
		return err
	}
	a := b
	if !bytes.Equal(before, after) {
		if a, err = decode(after); err != nil {
			return err
		}
	}
	return c.Records(start, b, a)
}

func decode(data []byte) (*summary.Record, error) {
	if len(data) == 0 {
		return nil, nil
	}
	return summary.DecodeRecord(data, summary.WantAll())
}

// Records is Hour for records that are decoded; nil is an hour without events.
func (c *Comparison) Records(start int64, before, after *summary.Record) error {
	if before == nil && after == nil {
		return nil
	}
	hour := c.hour(start)
	c.hours[hour] = c.hours[hour] || false
	b, a := numbers(before), numbers(after)
	for m := range b {
		c.line.Totals[m].add(Pair{b[m], a[m]})
	}
	for i, r := range []*summary.Record{before, after} {
		if r != nil {
			c.users[i] = c.users[i].Union(r.Users)
		}
	}
	if before == after {
		for id := range summary.NumTables {
			if t := before.Tables[id]; t == nil || t.Users == nil {
				c.line.LeftOut++
			}
		}
		return nil
	}
	for m := range NumMetrics {
		if m == Counted {
			continue // it repeats the events and the bots
		}
		if err := c.number(Row{Hour: hour, Metric: m, Pair: Pair{b[m], a[m]}}); err != nil {
			return err
		}
	}
	for id := range summary.NumTables {
		if err := c.tables(hour, id, tableOf(before, id), tableOf(after, id)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Comparison) hour(start int64) string {
	return time.Unix(start, 0).In(c.loc).Format(time.RFC3339)
}

// numbers are those of an hour in all.
func numbers(r *summary.Record) (n [NumMetrics]int64) {
	if r == nil {
		return n
	}
	copy(n[:], r.Total[:])
	n[Users] = r.Users.Estimate()
	n[Counted], n[Filtered], n[Duplicates] = r.Total[summary.Events]+r.Filtered, r.Filtered, r.Duplicates
	return n
}

// tableOf is a table of a record; that of no record is empty.
func tableOf(r *summary.Record, id summary.TableID) *summary.Table {
	if r == nil {
		return &summary.Table{Values: make([][]string, len(id.Keys())), Users: []summary.Users{}}
	}
	return r.Tables[id]
}

// tables compares what two tables have by the values of their rows, which are
// in order.
func (c *Comparison) tables(hour string, id summary.TableID, before, after *summary.Table) error {
	if before == nil || after == nil {
		c.line.LeftOut++
		return nil
	}
	users := before.Users != nil && after.Users != nil
	if !users {
		c.line.LeftOut++
	}
	for i, k := 0, 0; i < before.Len() || k < after.Len(); {
		order := compareRows(before, i, after, k)
		var b, a [NumMetrics]int64
		values, at := before.Values, i
		if order <= 0 {
			copy(b[:], before.Counters[i][:])
			if users {
				b[Users] = before.Users[i].Estimate()
			}
			i++
		}
		if order >= 0 {
			values, at = after.Values, k
			copy(a[:], after.Counters[k][:])
			if users {
				a[Users] = after.Users[k].Estimate()
			}
			k++
		}
		if a == b {
			continue
		}
		row := Row{Hour: hour, Dimension: dimensions[id], Value: values[0][at]}
		for _, v := range values[1:] {
			row.Value += joint + v[at]
		}
		for m := range Users + 1 {
			row.Metric, row.Pair = m, Pair{b[m], a[m]}
			if err := c.number(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareRows orders row i of one table and row k of the other; a table that is
// at its end comes last.
func compareRows(a *summary.Table, i int, b *summary.Table, k int) int {
	switch {
	case i == a.Len():
		return 1
	case k == b.Len():
		return -1
	}
	for v := range a.Values {
		if order := strings.Compare(a.Values[v][i], b.Values[v][k]); order != 0 {
			return order
		}
	}
	return 0
}

// number takes a row if it changes.
func (c *Comparison) number(row Row) error {
	if row.Before == row.After {
		return nil
	}
	row.Merchant = c.merchant
	c.hours[row.Hour] = true
	c.line.Differences++
	c.largest.add(&row)
	if c.emit == nil {
		return nil
	}
	return c.emit(&row)
}

// Rejects compares what was rejected; each hour and reason may stand there more
// than once.
func (c *Comparison) Rejects(before, after []Reject) error {
	type key struct {
		hour   event.Hour
		reason string
	}
	all := map[key]Pair{}
	for i, side := range [][]Reject{before, after} {
		for _, r := range side {
			k := key{r.Hour, r.Reason}
			p := all[k]
			if i == 0 {
				p.Before += r.Events
			} else {
				p.After += r.Events
			}
			all[k] = p
		}
	}
	keys := slices.SortedFunc(maps.Keys(all), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), strings.Compare(a.reason, b.reason))
	})
	for _, k := range keys {
		p := all[k]
		c.line.Totals[Rejected].add(p)
		of := c.line.Reasons[k.reason]
		of.add(p)
		c.line.Reasons[k.reason] = of
		row := Row{Hour: c.hour(k.hour.Start().Unix()), Dimension: DimensionReason, Value: k.reason, Metric: Rejected, Pair: p}
		if err := c.number(row); err != nil {
			return err
		}
	}
	return nil
}

// Line is what was found so far of the merchant in all.
func (c *Comparison) Line() Line {
	l := c.line
	l.Totals[Users] = Pair{c.users[0].Estimate(), c.users[1].Estimate()}
	l.Reasons = maps.Clone(l.Reasons)
	l.Hours, l.ChangedHours = int64(len(c.hours)), 0
	for _, changes := range c.hours {
		if changes {
			l.ChangedHours++
		}
	}
	return l
}

// Result is what was found so far, ready to be merged with others.
func (c *Comparison) Result() *Result {
	l := c.Line()
	r := &Result{
		Merchants: 1, Hours: l.Hours, ChangedHours: l.ChangedHours, Differences: l.Differences, LeftOut: l.LeftOut,
		Totals: l.Totals, Reasons: maps.Clone(l.Reasons), Largest: c.largest.clone(),
	}
	if l.Changed() {
		r.Changed = 1
		r.Lines = []Line{l}
		r.Worst = worst{l.Merchant, l.Totals[summary.Events]}
	}
	return r
}
