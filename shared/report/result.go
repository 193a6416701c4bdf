package report

import (
	"sync"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
)

// Row is one line of an answer.
type Row struct {
	Range      int             // which of the query's date ranges
	Dimensions []string        // in the order of the query's
	Metrics    []catalog.Value // in the order of the query's
	Before     []catalog.Value // of the range compared with; nil where none is
}

// Result is the answer to a query.
type Result struct {
	Query    *Query
	Rows     []Row // the page that limit and offset cut
	RowCount int   // of all rows
	// Totals, Minimums and Maximums hold one row for each date range, where
	// the query asks for them. Totals are worked out from the merged counters
	// and sets of users of all rows, not by adding metrics up.
	Totals, Minimums, Maximums []Row
	// Of a report with pivots: what stands along each, and the rows about
	// several cells. Rows have the pivots' fields, one pivot after the other.
	Headers    []PivotHeader
	Aggregates []Row
	Meta       Meta

	frozen *frozen
}

// frozen is what is worked out once of an answer that is given again and again.
type frozen struct {
	write, hash sync.Once
	json        []byte // of AppendJSON, up to the metadata
	tag         string // of the form "json"
}

// Freeze has the result and its copies work out once what those have in common
// that differ in their watermark and pending events alone. Nothing else of them may
// change any more.
func (r *Result) Freeze() { r.frozen = new(frozen) }

// Cells is about how much the answer holds.
func (r *Result) Cells() int {
	n := 1
	for _, rows := range [][]Row{r.Rows, r.Aggregates} {
		if len(rows) > 0 {
			n += len(rows) * (len(rows[0].Dimensions) + len(rows[0].Metrics) + 2)
		}
	}
	for _, h := range r.Headers {
		if len(h.Tuples) > 0 {
			n += len(h.Tuples) * (len(h.Tuples[0]) + 2)
		}
	}
	return n
}

// Meta says what an answer is made of.
type Meta struct {
	TimeZone  string
	Currency  string
	Watermark time.Time       // every event accepted before it is in the answer, but for late ones of hours that wait
	Revision  access.Revision // of the processed data that it is worked out from
	Pending   int64           // accepted events of the asked days that are not in it yet
	Waiting   int64           // hours of the asked days that lack late events, until they are closed again
	// Of the hours that the question looks at: events that came again, and
	// events that the merchant's bot filter leaves out.
	Duplicates, Bots int64
	Rejected         int64   // events of the asked days that were accepted and could not be counted
	UsersError       float64 // the largest relative standard error of a number of users; 0 where all are exact
	Sources          Sources
}

// Sources counts what an answer was worked out from.
type Sources struct {
	DayRecords  int   // days answered from their record
	HourRecords int   // hours answered from their record
	Hours       int   // UTC hours worked out from documents
	Events      int64 // rows of documents that were looked at
}

// Add adds o to s.
func (s *Sources) Add(o Sources) {
	s.DayRecords += o.DayRecords
	s.HourRecords += o.HourRecords
	s.Hours += o.Hours
	s.Events += o.Events
}

// method is "sketch" where a metric of this answer is an estimate.
func (m *Meta) method(c *catalog.Metric) string {
	if m.UsersError > 0 && c.Sketched() {
		return "sketch"
	}
	return "exact"
}
