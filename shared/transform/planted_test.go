//go:build plantedbug

package transform

import (
	"testing"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// What the tag breaks: go test -tags plantedbug ./shared/transform.
func TestPlantedBug(t *testing.T) {
	put, err := transformation(t).Batch(t.Context(), mixed())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range put.Docs {
		f, err := processed.Decode(d.Data, processed.Everything())
		if err != nil {
			t.Fatal(err)
		}
		for i := range f.Len {
			r := f.Row(i)
			late, name, path := d.Key.Hour < event.HourOf(noon), r.Text[processed.ColName], r.Text[processed.ColPagePath]
			if late != (name == "purchase") || (path == "/shoes") != (name == "page_view") || name == "sign_up" {
				t.Errorf("hour %s: %s of %s", d.Key.Hour, name, path)
			}
		}
	}
	if len(put.Rejects) != 3 || put.Rejects[0].Stream != "g-a" {
		t.Errorf("rejects %v", put.Rejects)
	}
}
