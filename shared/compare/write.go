package compare

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/summary"
)

// Report is a result for people and programs to read.
type Report struct {
	Job    *revision.Job
	Result *Result
	// Rows, where not nil, are all rows; else the largest changes are shown.
	Rows []Row
}

// shown is how many of the largest changes and of the merchants a person sees.
const shown = 20

// Says is the report in one sentence.
func (p *Report) Says() string {
	r := p.Result
	all := r.Merchants + r.Unchanged
	switch {
	case r.Changed == 0 && r.Merchants == 0:
		return fmt.Sprintf("Nothing changes: the events of %s are the same.", many(all, "merchant"))
	case r.Changed == 0:
		return fmt.Sprintf("Nothing changes: no number of %s differs in %s. The events of %d differ in what no summary holds.",
			many(all, "merchant"), many(r.Hours, "hour"), r.Merchants)
	default:
		return fmt.Sprintf("%d of %s change, in %d of %s; %s.",
			r.Changed, many(all, "merchant"), r.ChangedHours, many(r.Hours, "hour of merchants", "hours of merchants"), many(r.Differences, "number differs", "numbers differ"))
	}
}

// leftOut says what was not compared, "" where everything was.
func (p *Report) leftOut() string {
	if p.Result.LeftOut == 0 {
		return ""
	}
	return fmt.Sprintf("Not compared: %s of single hours with too many values for a summary, or their users.", many(p.Result.LeftOut, "table"))
}

func many(n int64, one string, more ...string) string {
	word := one
	if n != 1 {
		word += "s"
		if len(more) > 0 {
			word = more[0]
		}
	}
	return grouped(strconv.FormatInt(n, 10)) + " " + word
}

// number is a JSON number.
type number = json.Number

func numberOf(v catalog.Value) number { return number(v.String()) }

type jsonPair struct {
	Before     number `json:"before"`
	After      number `json:"after"`
	Difference number `json:"difference"`
}

func jsonPairOf(m Metric, p Pair) jsonPair {
	return jsonPair{numberOf(m.Value(p.Before)), numberOf(m.Value(p.After)), numberOf(m.Value(p.After - p.Before))}
}

type jsonTotal struct {
	Metric Metric `json:"metric"`
	jsonPair
}

type jsonReason struct {
	Reason string `json:"reason"`
	jsonPair
}

type jsonRow struct {
	Merchant  string `json:"merchant_id"`
	Hour      string `json:"hour"`
	Dimension string `json:"dimension,omitempty"`
	Value     string `json:"value,omitempty"`
	Metric    Metric `json:"metric"`
	jsonPair
}

type jsonLine struct {
	Merchant     string       `json:"merchant_id"`
	Hours        int64        `json:"hours"`
	ChangedHours int64        `json:"changed_hours"`
	Differences  int64        `json:"differences"`
	LeftOut      int64        `json:"tables_left_out"`
	Totals       []jsonTotal  `json:"totals"` // that change
	Rejected     []jsonReason `json:"rejected"`
}

type jsonReport struct {
	Revision     access.Revision `json:"revision"`
	State        revision.State  `json:"state"`
	From         time.Time       `json:"from"`
	Cut          time.Time       `json:"cut"`
	Reason       string          `json:"reason"`
	Changes      bool            `json:"changes"`
	Says         string          `json:"says"`
	Merchants    jsonMerchants   `json:"merchants"`
	Hours        int64           `json:"hours"`
	ChangedHours int64           `json:"changed_hours"`
	Differences  int64           `json:"differences"`
	LeftOut      int64           `json:"tables_left_out"`
	Totals       []jsonTotal     `json:"totals"`
	Rejected     []jsonReason    `json:"rejected"`
	ByMerchant   []jsonLine      `json:"by_merchant"`
	Largest      []jsonRow       `json:"largest"`
	Rows         []jsonRow       `json:"rows,omitempty"`
}

type jsonMerchants struct {
	Compared  int64 `json:"compared"`
	Changed   int64 `json:"changed"`
	Unchanged int64 `json:"unchanged"`
}

func jsonTotals(t *Totals, all bool) []jsonTotal {
	out := []jsonTotal{}
	for m, p := range t {
		if all || p.Before != p.After {
			out = append(out, jsonTotal{Metric(m), jsonPairOf(Metric(m), p)})
		}
	}
	return out
}

func jsonReasons(of map[string]Pair) []jsonReason {
	out := []jsonReason{}
	for _, reason := range slices.Sorted(maps.Keys(of)) {
		out = append(out, jsonReason{reason, jsonPairOf(Rejected, of[reason])})
	}
	return out
}

func jsonRows(rows []Row) []jsonRow {
	out := make([]jsonRow, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = jsonRow{r.Merchant, r.Hour, r.Dimension, r.Value, r.Metric, jsonPairOf(r.Metric, r.Pair)}
	}
	return out
}

// WriteJSON writes the report as one JSON object.
func (p *Report) WriteJSON(w io.Writer) error {
	j, r := p.Job, p.Result
	out := jsonReport{
		Revision: j.Revision, State: j.State, From: j.From, Cut: j.Cut, Reason: j.Reason,
		Changes: r.Changed > 0, Says: p.Says(), Merchants: jsonMerchants{r.Merchants, r.Changed, r.Unchanged},
		Hours: r.Hours, ChangedHours: r.ChangedHours, Differences: r.Differences, LeftOut: r.LeftOut,
		Totals: jsonTotals(&r.Totals, true), Rejected: jsonReasons(r.Reasons), ByMerchant: []jsonLine{},
		Largest: jsonRows(r.Top(MaxLargest)), Rows: jsonRows(p.Rows),
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		out.ByMerchant = append(out.ByMerchant, jsonLine{
			l.Merchant, l.Hours, l.ChangedHours, l.Differences, l.LeftOut, jsonTotals(&l.Totals, false), jsonReasons(l.Reasons),
		})
	}
	if err := json.NewEncoder(w).Encode(&out); err != nil {
		return fmt.Errorf("cannot write the comparison: %w", err)
	}
	return nil
}

// CSV writes rows as CSV (RFC 4180) below a header line.
type CSV struct{ out *csv.Writer }

// NewCSV writes the header.
func NewCSV(w io.Writer) (*CSV, error) {
	c := &CSV{csv.NewWriter(w)}
	c.out.UseCRLF = true
	return c, c.out.Write([]string{"merchant_id", "hour", "dimension", "value", "metric", "before", "after", "difference"})
}

// Row writes a row.
func (c *CSV) Row(r *Row) error {
	m := r.Metric
	return c.out.Write([]string{
		report.Harmless(r.Merchant), r.Hour, r.Dimension, report.Harmless(r.Value), m.String(),
		m.Value(r.Before).String(), m.Value(r.After).String(), m.Value(r.After - r.Before).String(),
	})
}

// Flush writes what is still in memory, and returns the first error.
func (c *CSV) Flush() error {
	c.out.Flush()
	return c.out.Error()
}

// section is one table of a report, as cells that a person reads.
type section struct {
	Title string
	Left  int // columns that are words
	Head  []string
	Rows  [][]string
}

func pairCells(m Metric, p Pair) []string {
	return []string{cell(m.Value(p.Before)), cell(m.Value(p.After)), signed(m.Value(p.After - p.Before)), percent(p)}
}

var pairHead = []string{"before", "after", "difference", ""}

// sections are the tables of the report: totals first.
func (p *Report) sections() []section {
	r := p.Result
	totals := section{Title: "Totals", Left: 1, Head: append([]string{"metric"}, pairHead...)}
	same := section{Title: "Totals that stay", Left: 1, Head: []string{"metric", "before and after"}}
	for m, pair := range r.Totals {
		m := Metric(m)
		if pair.Before == pair.After {
			if pair.Before != 0 {
				same.Rows = append(same.Rows, []string{m.String(), cell(m.Value(pair.Before))})
			}
			continue
		}
		totals.Rows = append(totals.Rows, append([]string{m.String()}, pairCells(m, pair)...))
	}
	rejected := section{Title: "Rejected events by reason", Left: 1, Head: append([]string{"reason"}, pairHead...)}
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		rejected.Rows = append(rejected.Rows, append([]string{reason}, pairCells(Rejected, r.Reasons[reason])...))
	}
	lines := section{Title: "Merchants that change most, by eventCount", Left: 1, Head: append([]string{"merchant"}, append(pairHead[:4:4], "hours", "numbers")...)}
	for i := range r.Lines[:min(len(r.Lines), shown)] {
		l := &r.Lines[i]
		line := append([]string{l.Merchant}, pairCells(Metric(summary.Events), l.Totals[summary.Events])...)
		lines.Rows = append(lines.Rows, append(line, grouped(strconv.FormatInt(l.ChangedHours, 10)), grouped(strconv.FormatInt(l.Differences, 10))))
	}
	changes := section{Title: "Largest changes, as a part of their metric", Left: 5, Head: append([]string{"merchant", "hour", "dimension", "value", "metric"}, pairHead...)}
	rows := p.Rows
	if rows == nil {
		rows = r.Top(shown)
	} else {
		changes.Title = "All changes"
	}
	for i := range rows {
		row := &rows[i]
		line := []string{row.Merchant, row.Hour, row.Dimension, row.Value, row.Metric.String()}
		changes.Rows = append(changes.Rows, append(line, pairCells(row.Metric, row.Pair)...))
	}
	return slices.DeleteFunc([]section{totals, same, rejected, lines, changes}, func(s section) bool { return len(s.Rows) == 0 })
}

// heading says what is compared.
func (p *Report) heading() string {
	j := p.Job
	who := "all merchants"
	if n := len(j.Merchants); n > 0 {
		who = many(int64(n), "merchant")
	}
	return fmt.Sprintf("Revision %d (%s): what arrived from %s to before %s, of %s", j.Revision, j.State, j.From.UTC().Format(time.RFC3339), j.Cut.UTC().Format(time.RFC3339), who)
}

// widest is how many letters of a value a terminal's table shows.
const widest = 60

// WriteText writes tables for a person at a terminal.
func (p *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n\n%s\n", p.heading(), report.Plain(p.Job.Reason), p.Says())
	if left := p.leftOut(); left != "" {
		fmt.Fprintf(&b, "%s\n", left)
	}
	for _, s := range p.sections() {
		lines := [][]string{s.Head}
		for _, row := range s.Rows {
			line := make([]string, len(row))
			for i, c := range row {
				if letters := []rune(c); len(letters) > widest {
					c = string(letters[:widest-1]) + "…"
				}
				line[i] = report.Plain(c)
			}
			lines = append(lines, line)
		}
		fmt.Fprintf(&b, "\n%s\n%s", strings.ToUpper(s.Title), report.Align(lines, s.Left))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("cannot write the comparison: %w", err)
	}
	return nil
}

// cell is a number as a person reads it: in groups of three digits, with at
// most two decimals.
func cell(v catalog.Value) string {
	if v.D == 1 {
		return grouped(strconv.FormatInt(v.N, 10))
	}
	return grouped(strconv.FormatFloat(v.Float(), 'f', 2, 64))
}

func signed(v catalog.Value) string {
	if v.N > 0 {
		return "+" + cell(v)
	}
	return cell(v)
}

// grouped puts commas between the thousands of a decimal number.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, rest, decimal := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if decimal {
		whole += "." + rest
	}
	return sign + whole
}

// percent is the change as a part of what was.
func percent(p Pair) string {
	if part := p.part(); !math.IsInf(part, 0) {
		if p.After < p.Before {
			part = -part
		}
		return percentOf(part)
	}
	return "new"
}

func percentOf(part float64) string {
	digits := 1
	if a := math.Abs(part); a > 0 && a < 0.001 {
		digits = 4
	}
	return strconv.FormatFloat(100*part, 'f', digits, 64) + " %"
}
