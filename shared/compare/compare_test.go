package compare_test

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/compare"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/summary"
)

const firstHour = 480_000 // hours since the Unix epoch

// some is small sums, mostly nothing.
func some(rng *rand.Rand) (c summary.Counters) {
	for i := range c {
		if rng.IntN(4) == 0 {
			c[i] = rng.Int64N(50)
		}
	}
	return c
}

func users(rng *rand.Rand) summary.Users {
	of := make([]uint64, rng.IntN(6))
	for i := range of {
		of[i] = rng.Uint64N(30)
	}
	return summary.UsersOf(of...)
}

// drawEncoded is a record as it is stored, whose tables have few values, so that
// two of them share some; nil for an hour without one.
func drawEncoded(t *rapid.T) []byte {
	seed := rapid.Uint64().Draw(t, "record")
	if seed%5 == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &summary.Record{Total: some(rng), Users: users(rng), Duplicates: rng.Int64N(3), Filtered: rng.Int64N(3)}
	for id := range summary.NumTables {
		keys := id.Keys()
		table := &summary.Table{Keys: keys, Values: make([][]string, len(keys)), Users: []summary.Users{}}
		rows := map[string]bool{}
		for range rng.IntN(4) {
			row := make([]string, len(keys))
			for k := range row {
				row[k] = []string{"", "a", "b", "=c", "ä"}[rng.IntN(5)]
			}
			rows[strings.Join(row, "\x00")] = true
		}
		for _, joined := range slices.Sorted(maps.Keys(rows)) {
			for k, v := range strings.Split(joined, "\x00") {
				table.Values[k] = append(table.Values[k], v)
			}
			u := users(rng)
			table.Counters, table.Users = append(table.Counters, some(rng)), append(table.Users, u)
			r.Users = r.Users.Union(u)
		}
		r.Tables[id] = table
	}
	return r.Encode()
}

type place struct {
	dimension, value string
	metric           compare.Metric
}

// flatten is a record as a list of numbers, worked out without the comparison.
func flatten(t interface{ Fatal(...any) }, data []byte) map[place]int64 {
	out := map[place]int64{}
	if data == nil {
		return out
	}
	r, err := summary.DecodeRecord(data, summary.WantAll())
	if err != nil {
		t.Fatal(err)
	}
	put := func(dimension, value string, c *summary.Counters, u summary.Users) {
		for i, n := range c {
			out[place{dimension: dimension, value: value, metric: compare.Metric(i)}] = n
		}
		out[place{dimension: dimension, value: value, metric: compare.Users}] = u.Estimate()
	}
	put("", "", &r.Total, r.Users)
	out[place{metric: compare.Filtered}] = r.Filtered
	out[place{metric: compare.Duplicates}] = r.Duplicates
	names := map[summary.Dimension]string{}
	dimensions := catalog.New().Dimensions()
	for i := range dimensions {
		if _, there := names[dimensions[i].Dim]; !there {
			names[dimensions[i].Dim] = dimensions[i].Name
		}
	}
	for id, table := range r.Tables {
		var dims []string
		for _, k := range summary.TableID(id).Keys() {
			dims = append(dims, names[k.Dim])
		}
		for i := range table.Len() {
			put(strings.Join(dims, " / "), strings.Join(table.Row(i), " / "), &table.Counters[i], table.Users[i])
		}
	}
	maps.DeleteFunc(out, func(_ place, n int64) bool { return n == 0 })
	return out
}

// What is added to the numbers of before makes those of after, and nothing
// else is said.
func TestDifferencesLeadFromBeforeToAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawEncoded(t), drawEncoded(t)
		numbers := flatten(t, before)
		rows := 0
		c := compare.New("m", time.UTC, func(r *compare.Row) error {
			rows++
			p := place{dimension: r.Dimension, value: r.Value, metric: r.Metric}
			if numbers[p] != r.Before || r.Before == r.After || r.Merchant != "m" || r.Hour != "2024-10-04T00:00:00Z" {
				t.Fatalf("row %+v, where before is %d", r, numbers[p])
			}
			numbers[p] += r.After - r.Before
			return nil
		})
		if err := c.Hour(firstHour*3600, before, after); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(numbers, func(_ place, n int64) bool { return n == 0 })
		if diff := gocmp.Diff(flatten(t, after), numbers); diff != "" {
			t.Fatalf("numbers (- after, + before and differences):\n%s", diff)
		}
		if l := c.Line(); l.Differences != int64(rows) || l.Changed() != (rows > 0) {
			t.Fatalf("%d differences, %d rows", l.Differences, rows)
		}
	})
}

// drawComparison compares some hours and rejects of a merchant.
func drawComparison(t *rapid.T, merchant string) *compare.Comparison {
	c := compare.New(merchant, time.UTC, nil)
	for i := range rapid.IntRange(0, 3).Draw(t, "hours") {
		before := drawEncoded(t)
		after := before
		if rapid.Bool().Draw(t, "changes") {
			after = drawEncoded(t)
		}
		if err := c.Hour(firstHour*3600+int64(i)*3600, before, after); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Rejects(drawRejects(t), drawRejects(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func drawRejects(t *rapid.T) (all []compare.Reject) {
	for range rapid.IntRange(0, 3).Draw(t, "rejects") {
		all = append(all, compare.Reject{
			Hour:   event.Hour(firstHour + rapid.IntRange(0, 2).Draw(t, "hour")),
			Reason: rapid.SampledFrom([]string{"invalid", "too_old"}).Draw(t, "reason"), Events: rapid.Int64Range(1, 4).Draw(t, "events"),
		})
	}
	return all
}

func TestEqualViewsHaveNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := compare.New("m", time.UTC, func(r *compare.Row) error { return fmt.Errorf("unexpected row %+v", r) })
		for i := range 3 {
			r := drawEncoded(t)
			again := bytes.Clone(r)
			if err := c.Hour(int64(i)*3600, r, again); err != nil {
				t.Fatal(err)
			}
		}
		rejects := drawRejects(t)
		if err := c.Rejects(rejects, slices.Clone(rejects)); err != nil {
			t.Fatal(err)
		}
		r := c.Result()
		if r.Changed != 0 || r.Differences != 0 || r.ChangedHours != 0 || len(r.Lines) != 0 || len(r.Top(10)) != 0 || len(r.Exceeds(revision.Bounds{Merchants: 1})) != 0 {
			t.Fatalf("result %+v", r)
		}
		for m, p := range r.Totals {
			if p.Before != p.After {
				t.Fatalf("%s is %+v", compare.Metric(m), p)
			}
		}
		report := &compare.Report{Job: new(revision.Job), Result: r}
		if !strings.HasPrefix(report.Says(), "Nothing changes") {
			t.Fatal(report.Says())
		}
	})
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []*compare.Result
		for i := range rapid.IntRange(0, 6).Draw(t, "merchants") {
			parts = append(parts, drawComparison(t, fmt.Sprint("m", i)).Result())
		}
		want := &compare.Result{}
		for _, p := range parts {
			want.Merge(p)
		}
		parts = append(parts, &compare.Result{})
		// In any order and grouping, and by way of bytes.
		for len(parts) > 1 {
			i := rapid.IntRange(0, len(parts)-2).Draw(t, "which")
			a, b := parts[i], parts[i+1]
			if rapid.Bool().Draw(t, "swap") {
				a, b = b, a
			}
			sum := &compare.Result{}
			sum.Merge(a)
			sum.Merge(b)
			parts = slices.Replace(parts, i, i+2, stored(t, sum))
			if k := rapid.IntRange(0, len(parts)-1).Draw(t, "with"); true {
				parts[0], parts[k] = parts[k], parts[0]
			}
		}
		if diff := gocmp.Diff(want, parts[0], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("results (- in order, + otherwise):\n%s", diff)
		}
	})
}

func stored(t interface{ Fatal(...any) }, r *compare.Result) *compare.Result {
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := compare.DecodeResult(data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What is kept of the changes are the largest of each metric.
func TestLargest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []compare.Row
		sum := &compare.Result{}
		for i := range rapid.IntRange(1, 12).Draw(t, "merchants") {
			c := compare.New(fmt.Sprint("m", i), time.UTC, func(r *compare.Row) error {
				if r.Metric == compare.Metric(summary.Events) {
					rows = append(rows, *r)
				}
				return nil
			})
			for h := range int64(3) {
				if err := c.Hour(h*3600, drawEncoded(t), drawEncoded(t)); err != nil {
					t.Fatal(err)
				}
			}
			sum.Merge(c.Result())
		}
		size := func(r compare.Row) int64 { return max(r.After-r.Before, r.Before-r.After) }
		slices.SortFunc(rows, func(a, b compare.Row) int {
			return cmp.Or(cmp.Compare(size(b), size(a)), cmp.Compare(a.Merchant, b.Merchant), cmp.Compare(a.Hour, b.Hour),
				cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Value, b.Value))
		})
		if diff := gocmp.Diff(rows[:min(len(rows), compare.MaxLargest)], sum.Largest[summary.Events], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changes of eventCount (- expected, + found):\n%s", diff)
		}
	})
}

// record has some events in countries, each with a user of its own.
func record(of map[string]int64) []byte {
	r := &summary.Record{}
	for id := range summary.NumTables {
		r.Tables[id] = &summary.Table{Keys: id.Keys(), Values: make([][]string, len(id.Keys())), Users: []summary.Users{}}
	}
	countries := r.Tables[summary.TableCountry]
	for i, country := range slices.Sorted(maps.Keys(of)) {
		n := of[country]
		u := summary.UsersOf(uint64(i))
		countries.Values[0] = append(countries.Values[0], country)
		countries.Counters = append(countries.Counters, summary.Counters{summary.Events: n, summary.RevenueMicros: n * 1_500_000})
		countries.Users = append(countries.Users, u)
		r.Total[summary.Events] += n
		r.Total[summary.RevenueMicros] += n * 1_500_000
		r.Users = r.Users.Union(u)
	}
	return r.Encode()
}

// example is two merchants, of which one changes.
func example(t *testing.T, emit func(*compare.Row) error) *compare.Result {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	a := compare.New("m1", berlin, emit)
	for i, pair := range [][2]map[string]int64{
		{{"DE": 2000, "FR": 10}, {"DE": 1900, "FR": 10}},
		{{"DE": 7}, {"=1+1": 3, "<b>\x1b[2J": 4}},
		{{"DE": 5}, {"DE": 5}},
	} {
		if err := a.Hour(firstHour*3600+int64(i)*3600, record(pair[0]), record(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Rejects(nil, []compare.Reject{{Hour: firstHour, Reason: "invalid", Events: 100}}); err != nil {
		t.Fatal(err)
	}
	b := compare.New("m2", berlin, emit)
	if err := b.Hour(0, record(map[string]int64{"DE": 1}), record(map[string]int64{"DE": 1})); err != nil {
		t.Fatal(err)
	}
	r := a.Result()
	r.Merge(b.Result())
	r.Unchanged = 3
	return r
}

var job = &revision.Job{
	Revision: 7, State: revision.Compared,
	Request: revision.Request{From: time.Date(2024, 10, 1, 0, 0, 0, 0, time.UTC), Reason: "bots <script>alert(1)</script>\x1b"},
	Cut:     time.Date(2024, 11, 1, 0, 0, 0, 0, time.UTC),
}

func TestWriteText(t *testing.T) {
	var b strings.Builder
	if err := (&compare.Report{Job: job, Result: example(t, nil)}).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	for _, line := range []string{
		"Revision 7 (compared): what arrived from 2024-10-01T00:00:00Z to before 2024-11-01T00:00:00Z, of all merchants",
		"1 of 5 merchants change, in 2 of 4 hours of merchants; 15 numbers differ.",
		"TOTALS\nmetric                  before     after  difference        \n",
		"eventCount               2,023     1,923        -100  -4.9 %\n",
		"grossPurchaseRevenue  3,034.50  2,884.50     -150.00  -4.9 %\n",
		"rejected                     0       100        +100     new\n",
		"REJECTED EVENTS BY REASON",
		"m1         2,022  1,922        -100  -4.9 %      2       15\n",
		"m1        2024-10-04T02:00:00+02:00  countryId  DE",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the text lacks %q", line)
		}
	}
	if strings.ContainsRune(b.String(), '\x1b') {
		t.Error("the text has a visitor's control characters")
	}
	if totals, changes := strings.Index(b.String(), "TOTALS\n"), strings.Index(b.String(), "LARGEST CHANGES"); totals < 0 || changes < totals {
		t.Error("the totals do not come first")
	}
}

func TestWriteHTML(t *testing.T) {
	var b strings.Builder
	if err := (&compare.Report{Job: job, Result: example(t, nil)}).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"&lt;script&gt;", "&lt;b&gt;", "1 of 5 merchants change", "<td>-100</td>", "<h2>Totals</h2>"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if strings.Contains(b.String(), "<script") || strings.Contains(b.String(), "<b>") {
		t.Error("the page has a visitor's markup")
	}
}

func TestWriteCSV(t *testing.T) {
	var b strings.Builder
	out, err := compare.NewCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	r := example(t, out.Row)
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(lines)) != 1+r.Differences {
		t.Errorf("%d lines for %d differences", len(lines), r.Differences)
	}
	for _, want := range [][]string{
		{"merchant_id", "hour", "dimension", "value", "metric", "before", "after", "difference"},
		{"m1", "2024-10-04T02:00:00+02:00", "", "", "grossPurchaseRevenue", "3015", "2865", "-150"},
		{"m1", "2024-10-04T03:00:00+02:00", "countryId", "'=1+1", "eventCount", "0", "3", "3"},
		{"m1", "2024-10-04T02:00:00+02:00", "reason", "invalid", "rejected", "0", "100", "100"},
	} {
		if !slices.ContainsFunc(lines, func(line []string) bool { return slices.Equal(line, want) }) {
			t.Errorf("there is no line %q in\n%s", want, b.String())
		}
	}
}

func TestWriteJSON(t *testing.T) {
	var rows []compare.Row
	r := example(t, func(row *compare.Row) error {
		rows = append(rows, *row)
		return nil
	})
	var b bytes.Buffer
	if err := (&compare.Report{Job: job, Result: r, Rows: rows}).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	type change struct {
		Merchant, Hour, Dimension, Value, Metric, Reason string
		Before, After, Difference                        float64
	}
	var got struct {
		Revision  int
		Changes   bool
		Says      string
		Merchants struct{ Compared, Changed, Unchanged int }
		Totals    []change
		Rejected  []change
		Merchant  []struct {
			ID     string   `json:"merchant_id"`
			Totals []change `json:"totals"`
		} `json:"by_merchant"`
		Largest, Rows []change
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Revision != 7 || !got.Changes || got.Merchants != struct{ Compared, Changed, Unchanged int }{2, 1, 3} || len(got.Rows) != len(rows) || len(got.Largest) == 0 {
		t.Errorf("answer %+v", got)
	}
	if len(got.Totals) != int(compare.NumMetrics) || len(got.Merchant) != 1 || got.Merchant[0].ID != "m1" {
		t.Errorf("totals %+v, merchants %+v", got.Totals, got.Merchant)
	}
	i := slices.IndexFunc(got.Totals, func(c change) bool { return c.Metric == "grossPurchaseRevenue" })
	if c := got.Totals[i]; c.Before != 3034.5 || c.After != 2884.5 || c.Difference != -150 {
		t.Errorf("revenue is %+v", c)
	}
	if len(got.Rejected) != 1 || got.Rejected[0].Reason != "invalid" || got.Rejected[0].After != 100 {
		t.Errorf("rejected are %+v", got.Rejected)
	}
}

func TestNothingChanges(t *testing.T) {
	for _, c := range []struct {
		r    compare.Result
		want string
	}{
		{compare.Result{Unchanged: 2}, "Nothing changes: the events of 2 merchants are the same."},
		{compare.Result{Merchants: 1, Hours: 24}, "Nothing changes: no number of 1 merchant differs in 24 hours. The events of 1 differ in what no summary holds."},
	} {
		var b strings.Builder
		if err := (&compare.Report{Job: job, Result: &c.r}).WriteText(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("the text lacks %q:\n%s", c.want, b.String())
		}
	}
}

func TestExceeds(t *testing.T) {
	r := example(t, nil) // 2,023 → 1,923 events, m1 2,022 → 1,922
	for _, c := range []struct {
		bounds revision.Bounds
		want   int
	}{
		{revision.Bounds{Events: 0.05}, 0}, {revision.Bounds{Events: 0.049}, 2}, {revision.Bounds{Events: 0.04945}, 1},
		{revision.Bounds{}, 2}, {revision.Bounds{Events: 1, Merchants: 1}, 0},
	} {
		if why := r.Exceeds(c.bounds); len(why) != c.want {
			t.Errorf("bounds %+v: %q, expected %d", c.bounds, why, c.want)
		}
	}
	r.Changed = 2
	if why := r.Exceeds(revision.Bounds{Events: 1, Merchants: 1}); len(why) != 1 {
		t.Errorf("two merchants where one may change: %q", why)
	}
	appears := compare.New("m", time.UTC, nil)
	if err := appears.Hour(0, nil, record(map[string]int64{"DE": 1})); err != nil {
		t.Fatal(err)
	}
	if why := appears.Result().Exceeds(revision.Bounds{Events: 1e6}); len(why) != 2 {
		t.Errorf("from nothing to something: %q", why)
	}
}

// Tables that no record holds are told of, whether the rest is equal or not.
func TestLeftOut(t *testing.T) {
	few, err := summary.DecodeRecord(record(map[string]int64{"DE": 1}), summary.WantAll())
	if err != nil {
		t.Fatal(err)
	}
	cut := *few
	cut.Tables[summary.TablePage] = nil
	cut.Tables[summary.TableCountry] = &summary.Table{Keys: summary.TableCountry.Keys(), Values: [][]string{{"DE"}}, Counters: []summary.Counters{{summary.Events: 2}}}
	for _, c := range []struct {
		before, after *summary.Record
		left, rows    int64
	}{{few, few, 0, 0}, {&cut, &cut, 2, 0}, {few, &cut, 2, 2}, {nil, &cut, 2, 4}} {
		cmp := compare.New("m", time.UTC, nil)
		var encoded [2][]byte
		for i, r := range []*summary.Record{c.before, c.after} {
			if r != nil {
				encoded[i] = r.Encode()
			}
		}
		if err := cmp.Hour(0, encoded[0], encoded[1]); err != nil {
			t.Fatal(err)
		}
		if l := cmp.Line(); l.LeftOut != c.left || l.Differences != c.rows {
			t.Errorf("left out %d, %d rows; expected %d, %d", l.LeftOut, l.Differences, c.left, c.rows)
		}
	}
}

// The largest results fit into a part.
func TestPartsAreBounded(t *testing.T) {
	sum := &compare.Result{}
	var lines []compare.Line
	for i := range 1000 {
		c := compare.New(fmt.Sprintf("m%09d", i*7919), time.UTC, nil)
		if err := c.Hour(0, record(map[string]int64{"DE": int64(i)}), record(map[string]int64{strings.Repeat(fmt.Sprint(i, "ä"), 300): int64(2*i + 1), "DE": 1})); err != nil {
			t.Fatal(err)
		}
		sum.Merge(c.Result())
		lines = append(lines, c.Line())
	}
	if len(sum.Lines) != compare.MaxLines || sum.Merchants != 1000 {
		t.Errorf("%d lines of %d merchants", len(sum.Lines), sum.Merchants)
	}
	data, err := sum.Encode()
	if err != nil || len(data) > 1<<20 {
		t.Errorf("a result has %d bytes: %v", len(data), err)
	}
	all, lerr := compare.EncodeLines(lines)
	if lerr != nil || len(all) > 1<<20 {
		t.Errorf("lines have %d bytes: %v", len(all), lerr)
	}
	t.Logf("%d and %d bytes", len(data), len(all))
	got, err := compare.DecodeLines(all)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(lines, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("lines (- before, + after):\n%s", diff)
	}
	for _, bad := range [][]byte{nil, []byte("x"), data[:len(data)/2]} {
		if _, err := compare.DecodeResult(bad); err == nil {
			t.Errorf("%d bytes are a result", len(bad))
		}
	}
}

func TestErrorsEndIt(t *testing.T) {
	c := compare.New("m", time.UTC, nil)
	if err := c.Hour(0, []byte("no record"), record(nil)); err == nil {
		t.Error("bytes that are no record are compared")
	}
	stop := errors.New("stop")
	c = compare.New("m", time.UTC, func(*compare.Row) error { return stop })
	if err := c.Hour(0, nil, record(map[string]int64{"DE": 1})); !errors.Is(err, stop) {
		t.Errorf("error is %v", err)
	}
	if err := c.Rejects([]compare.Reject{{Reason: "r", Events: 1}}, nil); !errors.Is(err, stop) {
		t.Errorf("error is %v", err)
	}
}

// The metrics have the catalog's names and units, where it has them.
func TestMetricsAreTheCatalogs(t *testing.T) {
	metrics := catalog.New().Metrics()
	named := map[string]bool{}
	for m := range compare.NumMetrics {
		if named[m.String()] || m.String() == "" {
			t.Errorf("metric %d is named %q", m, m)
		}
		named[m.String()] = true
		i := slices.IndexFunc(metrics, func(c catalog.Metric) bool { return c.Name == m.String() })
		if i < 0 {
			continue
		}
		c := &metrics[i]
		if c.Num != catalog.Term(m) || c.Den != catalog.None || c.Less != catalog.None || m.Value(c.Per).String() != "1" {
			t.Errorf("%s is another number in the catalog", m)
		}
		var back compare.Metric
		if err := back.UnmarshalText([]byte(m.String())); err != nil || back != m {
			t.Errorf("%s is read as %s: %v", m, back, err)
		}
	}
}
