package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

const realtimeExample = `{"dimensions": [{"name": "minutesAgo"}, {"name": "streamName"}, {"name": "customUser:plan"}], "metrics": [{"name": "activeUsers"}],
  "dimensionFilter": {"filter": {"fieldName": "country", "stringFilter": {"value": "Germany"}}}, "minuteRanges": [{"startMinutesAgo": 9, "name": "now"}, {"startMinutesAgo": "19", "endMinutesAgo": 10}]}`

var instant = time.Date(2026, 11, 23, 12, 0, 59, 0, time.UTC)

func parseRealtime(body string) (*Query, error) {
	return ParseRealtime(catalog.New().Realtime(map[string]string{"G-1": "Shop"}, RealtimeMinutes), "m1", []byte(body), instant)
}

func TestParseRealtime(t *testing.T) {
	q, err := parseRealtime(realtimeExample)
	if err != nil {
		t.Fatal(err)
	}
	minute := func(n int64) int64 { return instant.Truncate(time.Minute).UnixMilli() - n*minuteMillis }
	for i, want := range []struct {
		name     string
		from, to int64
	}{{"now", 9, -1}, {"date_range_1", 19, 9}} {
		if r := q.DateRanges[i]; r.Name != want.name || r.Minutes.From != minute(want.from) || r.Minutes.To != minute(want.to) {
			t.Errorf("expected %v, got %s %v", want, r.Name, *r.Minutes)
		}
	}
	for i, want := range []struct{ raw, shown string }{{"0029", "00"}, {"0000", "29"}} {
		if got := q.Dimensions[0].Of.Value([]string{want.raw}); got != want.shown {
			t.Errorf("%d: expected %s, got %s", i, want.shown, got)
		}
	}
	if a, b := q.Dimensions[1].Of.Value([]string{"G-1"}), q.Dimensions[1].Of.Value([]string{"G-2"}); a != "Shop" || b != catalog.NotSet {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestParseRealtimeFaults(t *testing.T) {
	users := func(more string) string { return `{"metrics":[{"name":"activeUsers"}]` + more + `}` }
	for body, want := range map[string]string{
		`{}`:                      "metrics: expected at least one",
		users(`,"dateRanges":[]`): `Unknown name "dateRanges"`,
		users(`,"dimensions":[{"name":"audienceName"}]`):                   "audiences are lists that Google Analytics keeps",
		users(`,"dimensions":[{"name":"sessionSource"}]`):                  "dimensions[0].name: expected a dimension of realtime reports",
		users(`,"dimensions":[{"name":"customEvent:plan"}]`):               "dimensions[0].name: expected a dimension of realtime reports",
		users(`,"dimensions":[{"name":"cuontry"}]`):                        "such as country",
		`{"metrics":[{"name":"sessions"}]}`:                                "metrics[0].name: expected a metric of realtime reports",
		users(`,"minuteRanges":[{"startMinutesAgo":30}]`):                  "minuteRanges[0].startMinutesAgo: expected 0 to 29",
		users(`,"minuteRanges":[{"startMinutesAgo":3,"endMinutesAgo":4}]`): "minuteRanges[0].endMinutesAgo: expected 0 to startMinutesAgo",
		users(`,"minuteRanges":[{},{},{}]`):                                "minuteRanges: expected at most 2",
		users(`,"minuteRanges":[{"name":"a"},{"name":"a"}]`):               "minuteRanges[1].name: expected a different name",
		users(`,"minuteRanges":[{"name":"RESERVED_a"}]`):                   "minuteRanges[0].name",
		users(`,"minuteRanges":[{"startMinutesAgo":1.5}]`):                 "64-bit integer",
		users(`,"limit":-1`):                                               "limit",
	} {
		if _, err := parseRealtime(body); fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: expected %q, got %v", body, want, err)
		}
	}
}

func FuzzParseRealtime(f *testing.F) {
	f.Add(realtimeExample)
	f.Add(`{"metrics":[{"name":"keyEvents"}],"minuteRanges":[{"startMinutesAgo":null}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		q, err := parseRealtime(body)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("expected a fault of the input, got %v", err)
			}
			return
		}
		answered(t, q, (*Result).AppendGoogle)
	})
}
