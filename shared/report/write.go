package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/catalog"
)

// AppendJSON writes the answer of /v1/reports: rows are objects under the
// names that were asked for (shared/docs/reports.md).
func (r *Result) AppendJSON(b []byte) []byte {
	if f := r.frozen; f != nil {
		f.write.Do(func() { f.json = r.appendData(nil) })
		b = append(b, f.json...)
	} else {
		b = r.appendData(b)
	}
	b = append(b, `,"metadata":`...)
	b = r.appendMeta(b)
	return append(b, "}\n"...)
}

// appendData writes what comes before the metadata.
func (r *Result) appendData(b []byte) []byte {
	q, m := r.Query, &r.Meta
	b = append(b, `{"merchant_id":`...)
	b = appendText(b, q.Merchant)
	b = append(b, `,"from":"`...)
	b = append(b, q.DateRanges[0].From.String()...)
	b = append(b, `","to":"`...)
	b = append(b, q.DateRanges[0].To.String()...)
	b = append(b, '"')
	if q.Compare != CompareNone {
		b = append(b, `,"compare":{"with":`...)
		b = appendText(b, string(q.Compare))
		b = append(b, `,"from":"`...)
		b = append(b, q.DateRanges[1].From.String()...)
		b = append(b, `","to":"`...)
		b = append(b, q.DateRanges[1].To.String()...)
		b = append(b, `"}`...)
	}
	b = append(b, `,"time_zone":`...)
	b = appendText(b, m.TimeZone)
	b = append(b, `,"currency":`...)
	b = appendText(b, m.Currency)
	b = append(b, `,"dimensions":[`...)
	for i, d := range q.Dimensions {
		b = comma(b, i)
		b = appendText(b, d.Name)
	}
	b = append(b, `],"metrics":[`...)
	for i, c := range q.Metrics {
		b = comma(b, i)
		b = appendText(b, c.Name)
	}
	b = append(b, `],"rows":[`...)
	for i := range r.Rows {
		b = comma(b, i)
		b = append(b, '{')
		for j, d := range q.Dimensions {
			b = comma(b, j)
			b = appendText(b, d.Name)
			b = append(b, ':')
			b = appendText(b, r.Rows[i].Dimensions[j])
		}
		if len(q.Dimensions) > 0 {
			b = append(b, ',')
		}
		b = appendMetrics(b, q, &r.Rows[i])
		b = append(b, '}')
	}
	b = append(b, `],"row_count":`...)
	b = strconv.AppendInt(b, int64(r.RowCount), 10)
	if len(r.Totals) > 0 {
		b = append(b, `,"totals":{`...)
		b = appendMetrics(b, q, &r.Totals[0])
		b = append(b, '}')
	}
	return b
}

func appendMetrics(b []byte, q *Query, row *Row) []byte {
	for i, c := range q.Metrics {
		b = comma(b, i)
		b = appendText(b, c.Name)
		b = append(b, ':')
		b = row.Metrics[i].Append(b)
		if row.Before != nil {
			b = append(b, ',')
			b = appendText(b, c.Name+beforeSuffix)
			b = append(b, ':')
			b = row.Before[i].Append(b)
			b = append(b, ',')
			b = appendText(b, c.Name+differenceSuffix)
			b = append(b, ':')
			b = row.Metrics[i].Minus(row.Before[i]).Append(b)
		}
	}
	return b
}

func (r *Result) appendMeta(b []byte) []byte {
	m := &r.Meta
	b = append(b, `{"watermark":"`...)
	b = m.Watermark.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","revision":`...)
	b = strconv.AppendUint(b, uint64(m.Revision), 10)
	b = append(b, `,"pending":`...)
	b = strconv.AppendInt(b, m.Pending, 10)
	b = append(b, `,"waiting_hours":`...)
	b = strconv.AppendInt(b, m.Waiting, 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, m.Duplicates, 10)
	b = append(b, `,"bots":`...)
	b = strconv.AppendInt(b, m.Bots, 10)
	b = append(b, `,"rejected":`...)
	b = strconv.AppendInt(b, m.Rejected, 10)
	b = append(b, `,"methods":{`...)
	for i, c := range r.Query.Metrics {
		b = comma(b, i)
		b = appendText(b, c.Name)
		method := m.method(c.Of)
		b = append(b, `:{"method":"`...)
		b = append(b, method...)
		b = append(b, '"')
		if method == "sketch" {
			b = append(b, `,"error":`...)
			b = strconv.AppendFloat(b, c.Of.ErrorOf(m.UsersError), 'f', 4, 64)
		}
		b = append(b, '}')
	}
	b = append(b, `},"generated_from":{"day_records":`...)
	b = strconv.AppendInt(b, int64(m.Sources.DayRecords), 10)
	b = append(b, `,"hour_records":`...)
	b = strconv.AppendInt(b, int64(m.Sources.HourRecords), 10)
	b = append(b, `,"hours_from_documents":`...)
	b = strconv.AppendInt(b, int64(m.Sources.Hours), 10)
	b = append(b, `,"documents_events":`...)
	b = strconv.AppendInt(b, m.Sources.Events, 10)
	return append(b, "}}"...)
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// appendText writes a JSON string. Almost all text needs no escape, and is
// copied as it is.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...) // unreachable: every string has a JSON form
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// WriteCSV writes the rows as CSV (RFC 4180) below a header line.
func (r *Result) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	line := r.header()
	if err := out.Write(line); err != nil {
		return fmt.Errorf("cannot write the CSV header: %w", err)
	}
	for _, row := range r.Rows {
		line = line[:0]
		for _, d := range row.Dimensions {
			line = append(line, Harmless(d))
		}
		for i, v := range row.Metrics {
			line = append(line, v.String())
			if row.Before != nil {
				line = append(line, row.Before[i].String(), v.Minus(row.Before[i]).String())
			}
		}
		if err := out.Write(line); err != nil {
			return fmt.Errorf("cannot write a CSV row: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("cannot write the CSV: %w", err)
	}
	return nil
}

func (r *Result) header() []string {
	var names []string
	for _, d := range r.Query.Dimensions {
		names = append(names, d.Name)
	}
	for _, m := range r.Query.Metrics {
		names = append(names, m.Name)
		if r.Query.Compare != CompareNone {
			names = append(names, m.Name+beforeSuffix, m.Name+differenceSuffix)
		}
	}
	return names
}

// WriteText writes the rows as a table for a person to read, with the totals
// and the state of the numbers below.
func (r *Result) WriteText(w io.Writer) error {
	q := r.Query
	names := len(q.Dimensions)
	lines := make([][]string, 0, len(r.Rows)+2)
	lines = append(lines, r.header())
	add := func(dims []string, row *Row) {
		line := make([]string, names, names+3*len(row.Metrics))
		for i, d := range dims {
			line[i] = Plain(d)
		}
		lines = append(lines, r.cells(line, row))
	}
	for i := range r.Rows {
		add(r.Rows[i].Dimensions, &r.Rows[i])
	}
	if len(r.Totals) > 0 && names > 0 {
		add([]string{"total"}, &r.Totals[0])
	}
	var b strings.Builder
	b.WriteString(Align(lines, names))
	fmt.Fprintf(&b, "\n%d of %d rows, %s to %s (%s). Complete up to %s, %d events pending. Revision %d.\n",
		len(r.Rows), r.RowCount, q.DateRanges[0].From, q.DateRanges[0].To, r.Meta.TimeZone,
		r.Meta.Watermark.UTC().Format(time.RFC3339), r.Meta.Pending, r.Meta.Revision)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("cannot write the table: %w", err)
	}
	return nil
}

// cells appends values in the form that a person reads.
func (r *Result) cells(line []string, row *Row) []string {
	for i, v := range row.Metrics {
		m := r.Query.Metrics[i].Of
		line = append(line, readable(m, v))
		if row.Before != nil {
			line = append(line, readable(m, row.Before[i]), readable(m, v.Minus(row.Before[i])))
		}
	}
	return line
}

func readable(m *catalog.Metric, v catalog.Value) string {
	switch {
	case m.Type == catalog.Currency:
		return strconv.FormatFloat(v.Float(), 'f', 2, 64)
	case m.Unit == "fraction":
		return strconv.FormatFloat(100*v.Float(), 'f', 1, 64) + " %"
	case m.Type == catalog.Seconds:
		return time.Duration(v.Float() * float64(time.Second)).Round(time.Second).String()
	case v.D == 1:
		return strconv.FormatInt(v.N, 10)
	default:
		return strconv.FormatFloat(v.Float(), 'f', 2, 64)
	}
}
