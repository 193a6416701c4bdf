package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

func parse(t testing.TB, query string) *Query {
	t.Helper()
	q, err := ParseURL(catalog.New(), "m1", values(t, query), today)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func calendar(t testing.TB, zone string) *summary.Calendar {
	t.Helper()
	cal, err := summary.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	return cal
}

// recordOf is a record with a table of pages: views and users of each.
func recordOf(pages map[string][]uint64) *summary.Record {
	r := &summary.Record{}
	t := &summary.Table{Keys: summary.Keys(summary.DimPagePath), Values: [][]string{{}}, Users: []summary.Users{}}
	for page, users := range pages {
		var c summary.Counters
		c[summary.Views], c[summary.Events] = int64(len(users)), int64(len(users))
		r.Total.Add(&c)
		r.Users = r.Users.Union(summary.UsersOf(users...))
		t.Values[0] = append(t.Values[0], page)
		t.Counters = append(t.Counters, c)
		t.Users = append(t.Users, summary.UsersOf(users...))
	}
	// Rows of a table stand in order of their values.
	r.Tables[summary.TablePage] = t.Project(t.Keys, nil, nil)
	return r
}

func lines(r *Result) string {
	var b strings.Builder
	for _, row := range r.Rows {
		fmt.Fprintln(&b, row.Dimensions, row.Metrics)
	}
	for _, row := range r.Totals {
		fmt.Fprintln(&b, "total", row.Metrics)
	}
	return b.String()
}

func TestFinish(t *testing.T) {
	records := []*summary.Record{
		recordOf(map[string][]uint64{"/": {1, 2, 2}, "/b": {1}, "": {3}}),
		recordOf(map[string][]uint64{"/": {2}, "/a": {4, 5}}),
	}
	for query, want := range map[string]string{
		"metrics=views,users":                                            "[] [8 5]\ntotal [8 5]\n",
		"metrics=views,users&dimensions=page":                            "[/] [4 2]\n[/a] [2 2]\n[(not set)] [1 1]\n[/b] [1 1]\ntotal [8 5]\n",
		"metrics=views,users&dimensions=page&order=page&limit=2":         "[(not set)] [1 1]\n[/] [4 2]\ntotal [8 5]\n",
		"metrics=views,users&dimensions=page&limit=2&offset=3":           "[/b] [1 1]\ntotal [8 5]\n",
		"metrics=views,users&dimensions=page&limit=2&offset=9":           "total [8 5]\n",
		"metrics=users,views&dimensions=page&filter=views>1":             "[/] [2 4]\n[/a] [2 2]\ntotal [4 6]\n",
		"metrics=users&dimensions=page&filter=views>1;page!=/":           "[/a] [2]\ntotal [2]\n",
		"metrics=views&dimensions=date":                                  "[20261121] [5]\n[20261122] [3]\ntotal [8]\n",
		"metrics=views&dimensions=date,page&filter=page==/":              "[20261121 /] [3]\n[20261122 /] [1]\ntotal [4]\n",
		"metrics=views&filter=page==/,date==20261122":                    "[] [6]\ntotal [6]\n",
		"metrics=views,users&filter=page==(not set)":                     "[] [1 1]\ntotal [1 1]\n",
		"metrics=views&filter=date==20261121":                            "[] [5]\ntotal [5]\n",
		"metrics=sessions&dimensions=page":                               "total [0]\n",
		"metrics=views&dimensions=nthDay,sunday_week,dayOfWeekName":      "[0001 47 Saturday] [5]\n[0002 48 Sunday] [3]\ntotal [8]\n",
		"metrics=views&dimensions=nthDay&filter=nthWeek==0001":           "[0002] [3]\ntotal [3]\n",
		"metrics=sessions&dimensions=date&empty=true":                    "[20261120] [0]\n[20261121] [0]\n[20261122] [0]\ntotal [0]\n",
		"metrics=views&dimensions=date&empty=true&filter=date!=20261120": "[20261121] [5]\n[20261122] [3]\ntotal [8]\n",
	} {
		query := strings.ReplaceAll(query, ";", "%3B")
		q := parse(t, query+"&from=2026-11-20&to=2026-11-22")
		p, cal := NewPlan(q), calendar(t, "Europe/Berlin")
		b := NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 100)
		days := p.Windows(cal, q.DateRanges[0], -1<<60, 1<<60)
		if q.KeepEmpty {
			if err := b.AddEmpty(q.DateRanges[0], 1<<60); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range days {
			for i, r := range records {
				if cal.TimeValue(summary.DimDate, w.From) == fmt.Sprint(20261121+i) {
					if !p.Holds(r) {
						t.Fatalf("%s: the record holds the answer", query)
					}
					if err := b.AddRecord(w, r); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if diff := cmp.Diff(want, lines(Finish(q, []*Builder{b}, Meta{}))); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
}

func TestMinimumAndMaximum(t *testing.T) {
	q := parse(t, "metrics=views,users&dimensions=page&from=yesterday&to=yesterday")
	q.Aggregations = []Aggregation{Minimum, Maximum, Count}
	p, cal := NewPlan(q), calendar(t, "UTC")
	b := NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 100)
	for _, w := range p.Windows(cal, q.DateRanges[0], -1<<60, 1<<60) {
		if err := b.AddRecord(w, recordOf(map[string][]uint64{"/": {1, 1, 1}, "/b": {1, 2}})); err != nil {
			t.Fatal(err)
		}
	}
	r := Finish(q, []*Builder{b}, Meta{})
	if got := fmt.Sprint(r.Minimums[0].Metrics, r.Maximums[0].Metrics, r.Totals); got != "[2 1] [3 2] []" {
		t.Errorf("got %s", got)
	}
	r = Finish(q, []*Builder{NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 100)}, Meta{})
	if got := fmt.Sprint(r.Minimums[0].Metrics, r.Maximums[0].Metrics, r.Rows); got != "[0 0] [0 0] []" {
		t.Errorf("of nothing: got %s", got)
	}
}

func TestPlan(t *testing.T) {
	const f = "&filter="
	for query, want := range map[string]string{
		"metrics=views":                                                   "days totals",
		"metrics=views&dimensions=date,month":                             "days totals",
		"metrics=views&dimensions=hour":                                   "hours totals",
		"metrics=views" + f + "hour==09":                                  "hours totals",
		"metrics=views&dimensions=page":                                   "days table 1",
		"metrics=users&dimensions=source_medium,date":                     "days table 4 users",
		"metrics=views&dimensions=campaign" + f + "source==x,medium==y":   "days table 4",
		"metrics=users,itemRevenue&dimensions=item" + f + "item_id==1":    "days table 10 users",
		"metrics=views&dimensions=page,country":                           "days documents",
		"metrics=views&dimensions=page" + f + "country==DE":               "days documents",
		"metrics=views&dimensions=city":                                   "days documents",
		"metrics=new_users,sessions":                                      "days totals first",
		"metrics=sessions&dimensions=new_or_returning":                    "days documents first",
		"metrics=sessions&dimensions=date" + f + "views_per_user>1":       "days totals users",
		"metrics=itemRevenue&dimensions=item,country":                     "days documents",
		"metrics=sessions&dimensions=browser,dateHour" + f + "browser*=x": "hours table 7",
	} {
		p := NewPlan(parse(t, query))
		got := "days"
		if p.Hourly {
			got = "hours"
		}
		switch {
		case !p.Records:
			got += " documents"
		case p.ByTable:
			got += fmt.Sprint(" table ", p.Table)
		default:
			got += " totals"
		}
		if p.Users {
			got += " users"
		}
		if p.FirstSeen {
			got += " first"
		}
		if got != want {
			t.Errorf("%s: expected %s, got %s", query, want, got)
		}
	}
}

func TestWindowsFollowTheMerchantsClock(t *testing.T) {
	cal := calendar(t, "America/New_York")
	q := parse(t, "metrics=views&dimensions=hour&from=2026-03-08&to=2026-03-08") // the clock goes forward
	if n := len(NewPlan(q).Windows(cal, q.DateRanges[0], -1<<60, 1<<60)); n != 23 {
		t.Errorf("expected 23 hours, got %d", n)
	}
	q = parse(t, "metrics=views&dimensions=date&from=2026-03-07&to=2026-03-09&filter=date!=20260308")
	w := NewPlan(q).Windows(cal, q.DateRanges[0], -1<<60, 1<<60)
	if len(w) != 2 || cal.TimeValue(summary.DimDate, w[1].From) != "20260309" {
		t.Errorf("a day that the filter leaves out is not read: %v", w)
	}
	span := Span(cal, q.DateRanges[0])
	if w := NewPlan(q).Windows(cal, q.DateRanges[0], span.To, 1<<60); len(w) != 0 {
		t.Errorf("nothing is read where no document is: %v", w)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	q := parse(t, "metrics=views&dimensions=page&from=yesterday&to=yesterday")
	p, cal := NewPlan(q), calendar(t, "UTC")
	b := NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 1)
	err := b.AddRecord(p.Windows(cal, q.DateRanges[0], -1<<60, 1<<60)[0], recordOf(map[string][]uint64{"/": {1}, "/b": {2}}))
	if !fault.Is(err, fault.TooLarge) {
		t.Errorf("expected TooLarge, got %v", err)
	}
}

// TestPagesCoverAllRows holds that pages of any size are the whole answer cut
// up, whatever the order.
func TestPagesCoverAllRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "rows")
		rows := make([]Row, n)
		for i := range rows {
			rows[i] = Row{Dimensions: []string{fmt.Sprint(i), rapid.SampledFrom([]string{"a", "B", "1", "10", "9"}).Draw(t, "value")},
				Metrics: []catalog.Value{{N: rapid.Int64Range(0, 3).Draw(t, "n"), D: rapid.Int64Range(1, 3).Draw(t, "d")}}}
		}
		order := []OrderBy{{Dimension: 1, Order: DimensionOrder(rapid.IntRange(0, 2).Draw(t, "order")), Desc: rapid.Bool().Draw(t, "desc")}, {Dimension: -1, Metric: 0}}
		a := append([]Row{}, rows...)
		b := make([]Row, 0, n)
		for _, i := range rapid.Permutation(index(n)).Draw(t, "permutation") {
			b = append(b, rows[i])
		}
		sortRows(a, order)
		sortRows(b, order)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("the order depends on where rows come from:\n%s", diff)
		}
	})
}

func index(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func BenchmarkMonthByDay(b *testing.B) {
	q := parse(b, "metrics=users,new_users,sessions,engaged_sessions,bounceRate,averageSessionDuration,views,events,key_events,revenue&dimensions=date")
	cal := calendar(b, "Europe/Berlin")
	users := make([]uint64, 300)
	for i := range users {
		users[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	data := recordOf(map[string][]uint64{"/": users, "/a": users[:100], "/b": users[:50]}).Encode()
	b.ReportAllocs()
	for b.Loop() {
		p := NewPlan(q)
		build := NewBuilder(p, cal, q.DateRanges[0], summary.Settings{}, 1000)
		for _, w := range p.Windows(cal, q.DateRanges[0], -1<<60, 1<<60) {
			r, err := summary.DecodeRecord(data, summary.Want{Users: true})
			if err != nil {
				b.Fatal(err)
			}
			if err := build.AddRecord(w, r); err != nil {
				b.Fatal(err)
			}
		}
		Finish(q, []*Builder{build}, Meta{}).AppendJSON(nil)
	}
}
