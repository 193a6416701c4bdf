package catalog

import (
	"fmt"
	"math"
	"strings"

	"github.com/footfall/footfall/shared/summary"
)

// Markdown is the page that lists the catalog, shared/docs/catalog.md.
func (c *Catalog) Markdown() []byte {
	var b strings.Builder
	b.WriteString(`# The catalog: every dimension and metric

Made from ` + "`shared/catalog`" + ` by ` + "`go generate ./shared/catalog`" + `; a test fails where the two differ. ` + "`GET /v1/catalog`" + ` says the same as JSON, and
` + "`GET /v1beta/properties/{merchant_id}/metadata`" + ` in the Data API's form.

- **Name** is that of Google Analytics' Data API, and is what ` + "`:runReport`" + ` takes; where **Own** is marked it is Footfall's, and Google has none like it.
  ` + "`/v1/reports`" + ` takes it too, and the short names beside it.
- **Scope** says what has the value: an event, the session that it belongs to, its user, an item in it, or the instant.
- **Since** is the version of processed documents from which on they hold what the number is made of (` + "[processed](formats/processed.md)" + `). Events that were
  processed into an older one have no value there, until a reprocess reads them from the archive again. Summaries of another version than
  the running one are never read: they are made again from documents.
- **Method**: *exact*, or a *sketch*: `)
	for i := range c.metrics {
		if m := c.metrics[i].Method(); m.Name == "sketch" {
			fmt.Fprintf(&b, "exact up to %d distinct users in a row, beyond that HyperLogLog with a relative standard error of %.2f %%\n  (%.2f %% at most where the formula has two such sets).\n", m.ExactUpTo, 100*m.Error, 100*math.Sqrt2*m.Error)
			break
		}
	}
	fmt.Fprintf(&b, "  Where the rows of one of an hour's or a day's tables hold more than %d users in sum, as the pages of very busy merchants do, their\n  sets are coarser: exact up to 255 or 127 users, and off by %.1f or %.1f %%.\n",
		summary.MaxTableUsers, 104.0/64, 104.0/32)
	b.WriteString("  Each answer says of each metric which of the two it is, and how far off.\n- **Formula** is over what is counted of events; `distinct(users)` is the number of different users.\n\n## Dimensions\n")
	heading := ""
	for i := range c.dimensions {
		d := &c.dimensions[i]
		if d.Category != heading {
			heading = d.Category
			b.WriteString("\n### " + heading + "\n\n| name | short names | own | scope | absent reads | since | meaning |\n|---|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %d | %s |\n", d.Name, codes(d.Aliases), own(d.Origin), d.Scope, d.Fill, d.Since, cell(d.Description))
	}
	b.WriteString("\n## Metrics\n")
	for _, category := range c.metricCategories() {
		b.WriteString("\n### " + category + "\n\n| name | short names | own | type, unit | scope | formula | method | since | meaning |\n|---|---|---|---|---|---|---|---|---|\n")
		for i := range c.metrics {
			m := &c.metrics[i]
			if m.Category != category {
				continue
			}
			kind := strings.ToLower(strings.TrimPrefix(string(m.Type), "TYPE_"))
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s, %s | %s | `%s` | %s | %d | %s |\n", m.Name, codes(m.Aliases), own(m.Origin), kind, m.Unit, m.Scope, cell(m.Formula), m.Method().Name, m.Since, cell(m.Description))
		}
	}
	b.WriteString(sketches)
	b.WriteString("\n## What Footfall does not have\n\nThe other names of the Data API. They are refused with the reason, and never answered with 0.\n\n| why | dimensions | metrics |\n|---|---|---|\n")
	for _, a := range c.absent {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(a.Reason), codes(a.Dimensions), codes(a.Metrics))
	}
	return []byte(b.String())
}

// sketches is what TestSketchErrors and TestSketchErrorsOfUnions of package
// summary measure.
const sketches = `
## How far sketches are off

Estimates against the truth, in percent of it: the root mean square over so many random sets, and the worst. The users of 28 days came in one to three of
their 672 hours each; their set is united from those of hours by way of days, and is to the byte the set that all users at once make, so that an error does
not grow with the number of hours or days. The tests fail past what is stated (` + "`shared/summary/sketch_test.go`" + `).

| users | one set | users of 28 days | of these, the share of the last day | stated |
|---|---|---|---|---|
| 1,000 | exact | exact | exact | exact |
| 10,000 | 0.57, worst 1.96 of 200 | 0.47, worst 0.82 of 20 | 0.47, worst 0.81 of 20 | 0.81; of the share 1.15 |
| 100,000 | 0.76, worst 1.84 of 60 | 1.00, worst 1.96 of 10 | 0.90, worst 2.00 of 10 | the same |
| 1,000,000 | 0.77, worst 1.48 of 12 | 0.19, worst 0.30 of 3 | 0.37, worst 0.49 of 3 | the same |
`

func (c *Catalog) metricCategories() []string {
	var list []string
	seen := map[string]bool{}
	for i := range c.metrics {
		if k := c.metrics[i].Category; !seen[k] {
			seen[k] = true
			list = append(list, k)
		}
	}
	return list
}

func codes(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

func own(o Origin) string {
	if o == Footfall {
		return "own"
	}
	return ""
}

// cell keeps a text within a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
