package catalog

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

func TestEveryNameMeansOneThing(t *testing.T) {
	c := New()
	word := regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)
	alias := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[string]string{}
	add := func(name, of string, form *regexp.Regexp) {
		if !form.MatchString(name) {
			t.Errorf("%q is not written as its kind is", name)
		}
		if was, ok := seen[name]; ok && was != of {
			// Few names of the Data API are also short ones of something else.
			if name != "source" && name != "medium" && name != "week" && name != "day" {
				t.Errorf("%q means %s and %s", name, was, of)
			}
		}
		seen[name] = of
	}
	for _, d := range c.Dimensions() {
		add(d.Name, d.Name, word)
		for _, a := range d.Aliases {
			add(a, d.Name, alias)
		}
		if d.Description == "" || d.Scope == "" || d.Category == "" || d.Fill == "" {
			t.Errorf("dimension %s is not fully described: %+v", d.Name, d)
		}
	}
	for _, m := range c.Metrics() {
		add(m.Name, m.Name, word)
		for _, a := range m.Aliases {
			add(a, m.Name, alias)
		}
		if m.Description == "" || m.Scope == "" || m.Category == "" || m.Unit == "" || m.Formula == "" || m.Per < 1 {
			t.Errorf("metric %s is not fully described: %+v", m.Name, m)
		}
	}
}

func TestEverySummaryDimensionIsOffered(t *testing.T) {
	offered := map[summary.Dimension]bool{}
	c := New()
	for _, d := range c.Dimensions() {
		offered[d.Dim] = true
	}
	for d := range summary.NumDimensions {
		if !offered[d] && d != summary.DimParam {
			t.Errorf("dimension %d of summary is in no report", d)
		}
	}
}

func TestShortNamesWinForPeopleOnly(t *testing.T) {
	c := New()
	d, err := c.DimensionFor("dimensions", "source")
	if err != nil || d.Name != "sessionSource" {
		t.Errorf("for a person source is %v, %v", d, err)
	}
	d, err = c.Dimension("dimensions", "source")
	if err != nil || d.Name != "source" {
		t.Errorf("for the Data API source is %v, %v", d, err)
	}
	if _, err := c.Metric("metrics", "views"); err == nil {
		t.Error("the Data API knows no views")
	}
	for _, name := range []string{"views", "screenPageViews", "screen_page_views"} {
		if m, err := c.MetricFor("metrics", name); err != nil || m.Name != "screenPageViews" {
			t.Errorf("%s is %v, %v", name, m, err)
		}
	}
}

func TestUnknownNamesSayWhatIsNear(t *testing.T) {
	c := New()
	for name, want := range map[string]string{"usrs": "users", "Sessions": "sessions", "pageviews2": "pageviews", "engaged": "engagedSessions"} {
		_, err := c.MetricFor("metrics", name)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != "metrics" || !strings.Contains(f.Expected, want) {
			t.Errorf("%s: expected a hint at %s, got %v", name, want, err)
		}
	}
	if _, err := c.DimensionFor("dimensions", strings.Repeat("x", 1<<20)); err == nil {
		t.Error("a megabyte is no dimension")
	}
}

func TestMetricValues(t *testing.T) {
	var c summary.Counters
	c[summary.Events], c[summary.Views], c[summary.Sessions], c[summary.EngagedSessions] = 10, 6, 4, 1
	c[summary.SessionMillis], c[summary.RevenueMicros], c[summary.Transactions] = 10_001, 59_970_000, 3
	want := map[string]string{
		"activeUsers": "7", "eventCount": "10", "engagementRate": "0.25", "bounceRate": "0.75",
		"averageSessionDuration": "2.50025", "purchaseRevenue": "59.97", "averagePurchaseRevenue": "19.99",
		"screenPageViewsPerSession": "1.5", "itemRevenue": "0", "keyEvents": "0",
	}
	cat := New()
	for name, v := range want {
		m, err := cat.Metric("metrics", name)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Of(&c, 7).String(); got != v {
			t.Errorf("%s: expected %s, got %s", name, v, got)
		}
	}
	for _, m := range cat.Metrics() {
		if got := m.Of(&summary.Counters{}, 0, make([]int64, len(m.Measures))...).String(); got != "0" {
			t.Errorf("%s of nothing: expected 0, got %s", m.Name, got)
		}
	}
}

func TestShownValues(t *testing.T) {
	c := New()
	for _, tc := range []struct{ dim, value, want string }{
		{"sessionSource", "", "(direct)"}, {"sessionMedium", "", "(none)"}, {"sessionCampaignName", "", "(not set)"},
		{"sessionSourceMedium", "", "(direct) / (none)"}, {"sessionSourceMedium", " / ", "(direct) / (none)"},
		{"sessionSourceMedium", "google / ", "google / (none)"}, {"sessionSourceMedium", "google / organic", "google / organic"},
		{"sourceMedium", " / ", "(not set)"}, {"sourceMedium", "google / ", "google / (not set)"},
		{"country", "", "(not set)"}, {"country", "DE", "DE"},
	} {
		d, err := c.Dimension("dimensions", tc.dim)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Show(tc.value); got != tc.want {
			t.Errorf("%s %q: expected %q, got %q", tc.dim, tc.value, tc.want, got)
		}
	}
}

func TestCustomDimensions(t *testing.T) {
	c := New()
	for name, want := range map[string]summary.Key{
		"customEvent:size":           {Dim: summary.DimParam, Param: "size"},
		"customUser:plan":            {Dim: summary.DimParam, Param: "user:plan"},
		"customEvent:transaction_id": {Dim: summary.DimTransactionID},
	} {
		d, err := c.Dimension("dimensions", name)
		if err != nil || d.Key() != want || d.Show("") != NotSet || d.Show("x") != "x" {
			t.Errorf("%s: got %+v, %v", name, d, err)
		}
		if p, err := c.DimensionFor("dimensions", name); err != nil || p.Key() != want {
			t.Errorf("%s for a person: got %+v, %v", name, p, err)
		}
	}
	// A user's property is no event's parameter.
	for _, name := range []string{"customEvent:", "customUser:", "customEvent:user:plan", "customEvent:a\nb", "customEvent:" + strings.Repeat("x", 101), "customItem:x"} {
		if d, err := c.Dimension("dimensions", name); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %+v, %v", name, d, err)
		}
	}
}

func TestMetricsOfAName(t *testing.T) {
	c := New()
	var counters summary.Counters
	counters[summary.Sessions] = 4
	for name, want := range map[string]string{
		"keyEvents:sign_up": "3", "userKeyEventRate:sign_up": "0.5", "sessionKeyEventRate:sign_up": "0.75",
		"customEvent:size": "0.000003", "countCustomEvent:size": "3", "averageCustomEvent:size": "0.0000015",
	} {
		m, err := c.Metric("metrics", name)
		if err != nil {
			t.Fatal(err)
		}
		measured := []int64{3, 2}[:len(m.Measures)]
		if got := m.Of(&counters, 6, measured...).String(); got != want || m.Formula == "" || m.Description == "" {
			t.Errorf("%s: got %s, want %s: %+v", name, got, want, m)
		}
		if p, err := c.MetricFor("metrics", name); err != nil || p.Name != name {
			t.Errorf("%s for a person: %+v, %v", name, p, err)
		}
	}
	for _, name := range []string{"keyEvents:", "customEvent:user:plan", "customUser:plan"} {
		if m, err := c.Metric("metrics", name); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %+v, %v", name, m, err)
		}
	}
}
