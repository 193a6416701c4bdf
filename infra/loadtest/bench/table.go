package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/loadtest/footprint"
)

// budget is a row's part of DESIGN.md, section 6, in the row's unit. The zero
// value is of a row that has none.
type budget struct {
	First float64 `json:"first_target,omitempty"`
	Goal  float64 `json:"goal,omitempty"`
	More  bool    `json:"more_is_better,omitempty"`
}

func (b budget) verdict(v float64) string {
	met := func(bound float64) bool { return v <= bound && !b.More || v >= bound && b.More }
	switch {
	case b.First == 0:
		return ""
	case met(b.Goal):
		return "goal met"
	case met(b.First):
		return "target met"
	}
	return "MISSED"
}

// row is one line of the table. Where it has a budget, Value is what is held
// against it.
type row struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit,omitempty"` // of Value and of the budget
	Value   float64 `json:"value,omitempty"`
	Here    string  `json:"here"` // as the table shows it
	Verdict string  `json:"verdict,omitempty"`
	budget
}

// table is what is printed at the end.
type table struct {
	Machine string    `json:"machine"`
	At      time.Time `json:"at"`
	Plan    string    `json:"plan"`
	Rows    []row     `json:"rows"`
}

func newTable(plan string) *table {
	return &table{Machine: footprint.Machine(), At: time.Now().UTC().Truncate(time.Second), Plan: plan}
}

// note adds a row that has no budget, as it is to be shown.
func (t *table) note(what, here string) { t.put(row{What: what, Here: here}) }

// measured adds a row that is held against a budget; note says the rest.
func (t *table) measured(what, unit string, b budget, value float64, note string) {
	here := show(value, unit)
	if note != "" {
		here += "; " + note
	}
	t.put(row{What: what, Unit: unit, Value: value, Here: here, Verdict: b.verdict(value), budget: b})
}

func (t *table) put(r row) {
	fmt.Fprintf(os.Stderr, "%s: %s %s\n", r.What, r.Here, r.Verdict)
	t.Rows = append(t.Rows, r)
}

// show writes a number to three digits, with its unit.
func show(v float64, unit string) string {
	var digits string
	switch {
	case v >= 1000 || v == float64(int64(v)):
		digits = fmt.Sprintf("%.0f", v)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
	case v >= 100:
		digits = fmt.Sprintf("%.0f", v)
	case v >= 10:
		digits = fmt.Sprintf("%.1f", v)
	default:
		digits = fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSpace(digits + " " + unit)
}

// print writes the table as Markdown.
func (t *table) print(out io.Writer) {
	fmt.Fprintf(out, "%s, %s, %s\n\n", t.At.Format("2006-01-02 15:04 UTC"), t.Machine, t.Plan)
	fmt.Fprintln(out, "| what | first target | goal | here | |\n|---|---|---|---|---|")
	for _, r := range t.Rows {
		first, goal := "", ""
		if r.First != 0 {
			first, goal = show(r.First, r.Unit), show(r.Goal, r.Unit)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", r.What, first, goal, r.Here, r.Verdict)
	}
}

// save writes it for programs.
func (t *table) save(path string) error {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
