package report

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/footfall/footfall/shared/fault"
)

// AppendGoogleBatch writes answers as the response of batchRunReports.
func AppendGoogleBatch(b []byte, results []*Result) []byte {
	b = append(b, `{"reports":[`...)
	for i, r := range results {
		b = comma(b, i)
		b = r.AppendGoogle(b)
	}
	return append(b, `],"kind":"analyticsData#batchRunReports"}`+"\n"...)
}

// AppendGoogle writes the answer as the response of runReport, or of
// runRealtimeReport. Fields with default
// values are left out, as Google's JSON leaves them out.
func (r *Result) AppendGoogle(b []byte) []byte {
	q := r.Query
	ranges := len(q.DateRanges) > 1
	b = append(b, '{')
	if len(q.Dimensions) > 0 || ranges {
		b = append(b, `"dimensionHeaders":[`...)
		for i, d := range q.Dimensions {
			b = comma(b, i)
			b = append(b, `{"name":`...)
			b = appendText(b, d.Name)
			b = append(b, '}')
		}
		if ranges {
			b = comma(b, len(q.Dimensions))
			b = append(b, `{"name":"`+rangeDimension+`"}`...)
		}
		b = append(b, "],"...)
	}
	b = r.appendMetricHeaders(b)
	b = r.appendRows(b, "rows", r.Rows, "")
	b = r.appendRows(b, "totals", r.Totals, "RESERVED_TOTAL")
	b = r.appendRows(b, "maximums", r.Maximums, "RESERVED_MAX")
	b = r.appendRows(b, "minimums", r.Minimums, "RESERVED_MIN")
	if r.RowCount > 0 {
		b = append(b, `"rowCount":`...)
		b = strconv.AppendInt(b, int64(r.RowCount), 10)
		b = append(b, ',')
	}
	kind := "analyticsData#runReport"
	if q.Realtime {
		kind = "analyticsData#runRealtimeReport"
	}
	return r.appendGoogleEnd(b, kind)
}

func (r *Result) appendMetricHeaders(b []byte) []byte {
	list := r.Query.visible()
	if len(list) == 0 {
		return b
	}
	b = append(b, `"metricHeaders":[`...)
	for i, m := range list {
		b = comma(b, i)
		b = append(b, `{"name":`...)
		b = appendText(b, m.Name)
		b = append(b, `,"type":"`...)
		b = append(b, m.Of.Type...)
		b = append(b, `"}`...)
	}
	return append(b, "],"...)
}

// appendMetricValues writes the columns of a row that are metrics, behind others
// or alone.
func (r *Result) appendMetricValues(b []byte, row *Row, behind bool) []byte {
	n := len(r.Query.visible())
	if n == 0 {
		return b
	}
	if behind {
		b = append(b, ',')
	}
	b = append(b, `"metricValues":[`...)
	for j, v := range row.Metrics[:n] {
		b = comma(b, j)
		b = append(b, `{"value":"`...)
		b = v.Append(b)
		b = append(b, `"}`...)
	}
	return append(b, ']')
}

// appendGoogleEnd writes what all reports end with.
func (r *Result) appendGoogleEnd(b []byte, kind string) []byte {
	if !r.Query.Realtime { // whose answer has none
		b = append(b, `"metadata":{"currencyCode":`...)
		b = appendText(b, r.Meta.Currency)
		b = append(b, `,"timeZone":`...)
		b = appendText(b, r.Meta.TimeZone)
		b = append(b, "},"...)
	}
	if r.Query.Quota {
		// Footfall counts no tokens: a budget bounds each report by itself.
		b = append(b, `"propertyQuota":{},`...)
	}
	b = append(b, `"kind":"`...)
	b = append(b, kind...)
	return append(b, "\"}\n"...)
}

// appendRows writes a list of rows under a name; in rows about all rows, mark
// stands for the values of dimensions.
func (r *Result) appendRows(b []byte, name string, rows []Row, mark string) []byte {
	if len(rows) == 0 {
		return b
	}
	q := r.Query
	ranges := len(q.DateRanges) > 1
	value := func(i int, text string) {
		b = comma(b, i)
		b = append(b, `{"value":`...)
		b = appendText(b, text)
		b = append(b, '}')
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":[`...)
	for i, row := range rows {
		b = comma(b, i)
		b = append(b, '{')
		if len(q.Dimensions) > 0 || ranges {
			b = append(b, `"dimensionValues":[`...)
			for j := range q.Dimensions {
				if mark != "" {
					value(j, mark)
				} else {
					value(j, row.Dimensions[j])
				}
			}
			if ranges {
				value(len(q.Dimensions), q.DateRanges[row.Range].Name)
			}
			b = append(b, ']')
		}
		b = r.appendMetricValues(b, &rows[i], len(q.Dimensions) > 0 || ranges)
		b = append(b, '}')
	}
	return append(b, "],"...)
}

// googleStatus is the canonical code of a kind of fault, with its HTTP status
// (google.rpc.Code).
func googleStatus(k fault.Kind) (int, string) {
	switch k {
	case fault.Invalid, fault.TooLarge, fault.Unsupported, fault.Conflict:
		return http.StatusBadRequest, "INVALID_ARGUMENT"
	case fault.Unauthenticated:
		return http.StatusUnauthorized, "UNAUTHENTICATED"
	case fault.Forbidden:
		return http.StatusForbidden, "PERMISSION_DENIED"
	case fault.NotFound:
		return http.StatusNotFound, "NOT_FOUND"
	case fault.Overloaded:
		return http.StatusTooManyRequests, "RESOURCE_EXHAUSTED"
	default:
		return http.StatusServiceUnavailable, "UNAVAILABLE"
	}
}

// GoogleError is an error in the form of Google's APIs, with its status. What
// a transient error says about stores is not for strangers.
func GoogleError(err error) (status int, body []byte) {
	type detail struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	code, name := googleStatus(fault.KindOf(err))
	message := err.Error()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind == fault.Transient {
		message = "The service is currently unavailable."
	}
	body, merr := json.Marshal(map[string]detail{"error": {code, message, name}})
	if merr != nil {
		return code, []byte(`{"error":{}}`) // unreachable: strings and a number
	}
	return code, append(body, '\n')
}
