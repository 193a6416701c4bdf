package report

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

var today = DayOf(time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC))

func values(t testing.TB, s string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseURL(t *testing.T) {
	q, err := ParseURL(catalog.New(), "m1", values(t, "metrics=users,views&dimensions=date,source&from=7daysAgo&to=today&order=-views,date&limit=5&offset=2&empty=true"), today)
	if err != nil {
		t.Fatal(err)
	}
	if q.Metrics[0].Of.Name != "activeUsers" || q.Metrics[0].Name != "users" || q.Dimensions[1].Of.Name != "sessionSource" {
		t.Errorf("columns: %+v %+v", q.Metrics, q.Dimensions)
	}
	if r := q.DateRanges[0]; r.From.String() != "2026-11-16" || r.To.String() != "2026-11-23" {
		t.Errorf("days: %s to %s", r.From, r.To)
	}
	if len(q.OrderBys) != 2 || q.OrderBys[0] != (OrderBy{Dimension: -1, Metric: 1, Desc: true}) || q.OrderBys[1] != (OrderBy{Dimension: 0, Metric: -1}) {
		t.Errorf("order: %+v", q.OrderBys)
	}
	if q.Limit != 5 || q.Offset != 2 || !q.KeepEmpty {
		t.Errorf("paging: %+v", q)
	}
}

func TestParseURLDays(t *testing.T) {
	for query, want := range map[string]string{
		"":                               "2026-10-26 2026-11-22",
		"from=2026-11-01":                "2026-11-01 2026-11-23",
		"to=yesterday":                   "2026-11-22 2026-11-22",
		"from=2026-02-28&to=2026-03-01":  "2026-02-28 2026-03-01",
		"from=0daysAgo&to=0daysAgo":      "2026-11-23 2026-11-23",
		"from=yesterday&to=2026-11-22":   "2026-11-22 2026-11-22",
		"from=3daysAgo&to=yesterday":     "2026-11-20 2026-11-22",
		"from=2024-02-29&to=2024-02-29":  "2024-02-29 2024-02-29",
		"from=2026-11-23&to=2026-12-24&": "2026-11-23 2026-12-24",
	} {
		r, err := ParseDays(values(t, query), today)
		if got := r.From.String() + " " + r.To.String(); err != nil || got != want {
			t.Errorf("%q: expected %s, got %s, %v", query, want, got, err)
		}
	}
}

func TestParseURLFaultsNameTheField(t *testing.T) {
	for query, want := range map[string]string{
		"":                                             "metrics: expected names of metrics",
		"metrics=usrs":                                 "metrics: expected the name of a metric, such as users",
		"metrics=users,users":                          "metrics: expected each name once",
		"metrics=users&dimensions=pages":               "dimensions: expected the name of a dimension, such as page",
		"metrics=users&from=2026-03-99":                "from: expected a date",
		"metrics=users&to=tomorrow":                    "to: expected a date",
		"metrics=users&from=99999999999daysAgo":        "from: expected a date",
		"metrics=users&from=2026-03-02&to=2026-03-01":  "from: expected a day that is not after to",
		"metrics=users&limit=0":                        "limit: expected 1 to 250000",
		"metrics=users&limit=ten":                      "limit: expected a whole number",
		"metrics=users&offset=-1":                      "offset: expected 0 or more",
		"metrics=users&order=views":                    "order: expected names out of this report",
		"metrics=users&empty=yes":                      "empty: expected true or false",
		"metrics=users&metric=views":                   "metric: expected no such parameter",
		"metrics=users&metrics=views":                  "metrics: expected the parameter once",
		"metrics=users&filter=page":                    "filter: expected one of == != =~ !~ *= !* ^= $= > >= < <= =in= =out= =between= =empty= after a dimension, or == != > >= < <= =in= =out= =between= after a metric, at position 5",
		"metrics=users&filter=page==/a%3B":             "filter: expected the name of a dimension or metric, at position 10",
		"metrics=users&filter=pge==/a":                 "filter: expected the name of a dimension or metric, such as page, not pge, at position 1",
		"metrics=users&filter=%C3%A4==/a":              "filter: expected the name of a dimension or metric, at position 1",
		"metrics=users&filter=page==%C3%A4%3Busers=~a": "filter: expected one of == != > >= < <= =in= =out= =between= after the metric users, at position 14",
		"metrics=users&filter=users>many":              "filter: expected a number after users>, at position 7",
		"metrics=users&filter=page>a":                  "filter: expected a number after page>, at position 6",
		"metrics=users&filter=(page==/a":               "filter: expected a closing parenthesis to that of position 1, at position 10",
		"metrics=users&filter=page==/a)":               "",
		"metrics=users&filter=(page==/a))":             "filter: expected no closing parenthesis without an opening one, at position 11",
		"metrics=users&filter=!(page==/a%3Busers>3)":   "filter: expected dimensions or metrics in what commas join or ! denies, not both, at position 1",
		"metrics=users&filter=page=in=/a":              "filter: expected a list in parentheses after page=in=, such as (a,b), at position 9",
		"metrics=users&filter=page=in=(/a":             "filter: expected a closing parenthesis after the list of page=in=, at position 12",
		"metrics=users&filter=users=in=(1,x)":          "filter: expected a number after users=in=, at position 10",
		"metrics=users&filter=users=between=(3,1)":     "filter: expected two numbers after users=between=, the lower one first, at position 15",
		"metrics=users&filter=page=empty=no":           "filter: expected true or false after page=empty=, at position 12",
		"metrics=users&filter=users=empty=":            "filter: expected one of == != > >= < <= =in= =out= =between= after the metric users, at position 6",
		"metrics=users&filter=userGender==x":           "filter: expected a dimension that Footfall has",
		"metrics=users&filter=page==/a,users>3":        "filter: expected dimensions or metrics in what commas join or ! denies, not both, at position 1",
		"metrics=users&filter=page=~(":                 "filter: expected a regular expression",
	} {
		_, err := ParseURL(catalog.New(), "m1", values(t, query), today)
		var f *fault.Error
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", query, err)
			}
			continue
		}
		if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: expected %q, got %v", query, want, err)
		}
	}
}

// verdict decides a filter over shown values and metrics by name.
func verdict(f *Filter, text map[string]string, numbers map[string]float64) bool {
	return f.Eval(func(l *Filter) bool {
		if l.Metric != nil {
			return l.Test.MatchNumber(numbers[l.Metric.Name])
		}
		return l.Test.MatchText(text[l.Dimension.Name])
	})
}

func TestFilterLanguage(t *testing.T) {
	text := map[string]string{"pagePath": "/shop/a,b;c.html", "country": "DE", "sessionSource": "(direct)", "hour": "09", "region": "(not set)"}
	numbers := map[string]float64{"screenPageViews": 10}
	for filter, want := range map[string]bool{
		`country==DE`: true, `country==de`: false, `country!=DE`: false, `country==AT,country==DE`: true,
		`country==AT,country==CH`: false, `country==DE;source==(direct)`: true, `country==DE;source==google`: false,
		`country==AT;source==google,country==DE`: false, `country==DE,country==AT;source==google,source==(direct)`: true,
		`page*=SHOP`: true, `page!*shop`: false, `page^=/shop/`: true, `page$=.html`: true, `page$=.htm`: false,
		`page==/shop/a\,b\;c.html`: true, `page=~^/shop/\w\,`: true, `page!~^/shop`: false, `page=~b\;c\.html$`: true,
		`views>9`: true, `views>10`: false, `views>=10`: true, `views<=10`: true, `views<10`: false, `views==10`: true, `views!=10`: false,
		`views>=10;country==DE`: true, `views>3,views<1`: true, `page!=`: true, `page==`: false,
		`(country==AT;source==google),country==DE`: true, `(country==AT;source==google),(country==DE;source==google)`: false,
		`(country==DE;source==(direct))`: true, `!(country==DE;source==(direct))`: false, `!(country==AT,source==google);hour==09`: true,
		`((country==AT,country==DE);!(hour==10))`: true, `(page=~^/(shop|x)/;country==DE)`: true, `(page=~\w\(?;country==AT)`: false,
		`(source==\(direct\))`: true, `(source==\(direct),country==DE`: true, `(country==DE;views>9)`: true, `(country==DE;views>10)`: false,
		`country=in=(AT,DE)`: true, `country=in=(AT)`: false, `country=out=(AT,CH)`: true, `country=out=(DE)`: false,
		`source=in=(google,(direct))`: true, `page=in=(/,/shop/a\,b\;c.html)`: true, `views=in=(9,10)`: true, `views=out=(9,10)`: false,
		`views=between=(10,11)`: true, `views=between=(11,12)`: false, `hour=between=(8,10)`: true, `hour>8`: true, `hour<9`: false, `page>8`: false,
		`region=empty=`: true, `region=empty=true`: true, `country=empty=`: false, `country=empty=false`: true, `(region=empty=;country==DE)`: true,
	} {
		dims, mets, err := ParseFilter(catalog.New(), filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got := verdict(dims, text, numbers) && verdict(mets, text, numbers); got != want {
			t.Errorf("%s: expected %t, got %t", filter, want, got)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"page==/a;views>3", `page=~^/(a|b)$,country!=DE`, `a\`, "page", ";", "views>", `page==\,\;\\`, "!(page==/,(views>3))", "page=in=(/a,(b))", "hour=between=(1,2)", "page=empty=false", "((((", "!("} {
		f.Add(s)
	}
	c := catalog.New()
	f.Fuzz(func(t *testing.T, s string) {
		dims, mets, err := ParseFilter(c, s)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%q: expected a fault of the input, got %v", s, err)
			}
			return
		}
		if dims == nil && mets == nil {
			t.Fatalf("%q: read as no filter at all", s)
		}
		verdict(dims, nil, nil)
		verdict(mets, nil, nil)
	})
}
