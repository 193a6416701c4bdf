package scenario_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/footfall/footfall/infra/local/scenario"
	"github.com/footfall/footfall/shared/catalog"
)

// Each dimension and each metric of the catalog is in a report of some story.
// Whoever adds a name tells what it means.
func TestStoriesTellOfEachName(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New()
	told := map[string]bool{}
	for _, file := range files {
		steps, err := scenario.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range steps {
			s := &steps[i]
			if s.Verb != "report" || s.Get("error") != "" || s.Get("metrics") == "" {
				continue
			}
			for name := range strings.SplitSeq(s.Get("dimensions"), ",") {
				if d, err := c.DimensionFor("", name); err == nil {
					told[d.Name] = true
				}
			}
			for name := range strings.SplitSeq(s.Get("metrics"), ",") {
				if m, err := c.MetricFor("", name); err == nil {
					told[m.Name] = true
				}
			}
		}
	}
	for _, d := range c.Dimensions() {
		if !told[d.Name] {
			t.Errorf("no story tells of dimension %s", d.Name)
		}
	}
	for _, m := range c.Metrics() {
		if !told[m.Name] {
			t.Errorf("no story tells of metric %s", m.Name)
		}
	}
}
