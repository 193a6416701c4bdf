package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
)

var update = flag.Bool("update", false, "write shared/docs/catalog.md anew")

// The page is made from the catalog: whoever changes one changes the other.
func TestDocs(t *testing.T) {
	page := filepath.Join("..", "docs", "catalog.md")
	want := New().Markdown()
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("shared/docs/catalog.md does not say what the catalog says: run go generate ./shared/catalog")
	}
}

// google lists the names of the Data API, by kind.
func google(t *testing.T) (dimensions, metrics map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "ga4.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string]map[string]bool{"dimension": {}, "metric": {}}
	for line := range strings.Lines(string(text)) {
		if kind, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && kind != "#" {
			lists[kind][name] = true
		}
	}
	return lists["dimension"], lists["metric"]
}

// A name that the catalog gives for Google's is Google's, and one that it gives
// for its own is not.
func TestOrigins(t *testing.T) {
	dimensions, metrics := google(t)
	c := New()
	for _, d := range c.Dimensions() {
		if dimensions[d.Name] != (d.Origin == GA4) {
			t.Errorf("dimension %s is said to be of %s", d.Name, d.Origin)
		}
		if d.Since < 1 || d.Since > processed.Version {
			t.Errorf("dimension %s: there is no version %d of documents", d.Name, d.Since)
		}
	}
	for _, m := range c.Metrics() {
		if metrics[m.Name] != (m.Origin == GA4) {
			t.Errorf("metric %s is said to be of %s", m.Name, m.Origin)
		}
		if m.Since < 1 || m.Since > processed.Version {
			t.Errorf("metric %s: there is no version %d of documents", m.Name, m.Since)
		}
	}
}

// Each of Google's names is in the catalog or refused with a reason.
func TestGooglesListIsCovered(t *testing.T) {
	dimensions, metrics := google(t)
	c := New()
	for name := range dimensions {
		if c.dimName[name] == nil && c.whyAbsent[name] == "" {
			t.Errorf("dimension %s is neither in the catalog nor said to be absent", name)
		}
	}
	for name := range metrics {
		if c.metName[name] == nil && c.whyAbsent[name] == "" {
			t.Errorf("metric %s is neither in the catalog nor said to be absent", name)
		}
	}
}

// What Footfall cannot know is refused with the reason, in both languages, and
// never taken for a slip of the finger.
func TestAbsentNamesAreRefusedWithTheReason(t *testing.T) {
	c := New()
	for name, find := range map[string]func(field, name string) error{
		"a dimension":            func(f, n string) error { _, err := c.Dimension(f, n); return err },
		"a person's dimension":   func(f, n string) error { _, err := c.DimensionFor(f, n); return err },
		"a metric":               func(f, n string) error { _, err := c.Metric(f, n); return err },
		"a person's metric":      func(f, n string) error { _, err := c.MetricFor(f, n); return err },
		"a person's other words": func(f, n string) error { _, err := c.DimensionFor(f, withSnake(n, []string{n})[0]); return err },
	} {
		for asked, want := range map[string]string{
			"sessionGoogleAdsCampaignName": "Google Ads", "userAgeBracket": "guess about a person", "cohort": "cohort report",
			"advertiserAdCost": "Google Ads", "organicGoogleSearchClicks": "Search Console", "publisherAdClicks": "AdMob", "firstUserSa360Query": "Search Ads 360",
		} {
			err := find("field", asked)
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != "field" || !errors.Is(err, ErrAbsent) ||
				!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "such as") {
				t.Errorf("%s as %s: %v", asked, name, err)
			}
		}
	}
	for _, a := range c.Absent() {
		for _, n := range append(a.Dimensions, a.Metrics...) {
			if c.dimName[n] != nil || c.metName[n] != nil {
				t.Errorf("%s is in the catalog and absent", n)
			}
		}
	}
}

func TestJSONSaysAll(t *testing.T) {
	var got struct {
		Dimensions []map[string]any
		Metrics    []map[string]any
		Absent     []map[string]any
	}
	c := New()
	if err := json.Unmarshal(c.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Dimensions) != len(c.Dimensions()) || len(got.Metrics) != len(c.Metrics()) || len(got.Absent) != len(c.Absent()) {
		t.Fatal("something is left out")
	}
	for _, list := range [][]map[string]any{got.Dimensions, got.Metrics} {
		for _, e := range list {
			for _, k := range []string{"api_name", "names", "origin", "type", "scope", "category", "since", "description"} {
				if e[k] == nil || e[k] == "" || e[k] == 0.0 {
					t.Errorf("%v has no %s", e["api_name"], k)
				}
			}
		}
	}
	for _, m := range got.Metrics {
		sketch := m["method"] == "sketch"
		if m["formula"] == "" || m["unit"] == "" || sketch != (m["error"] != nil) || sketch != strings.Contains(m["formula"].(string), "distinct") {
			t.Errorf("metric %v", m)
		}
	}
}
