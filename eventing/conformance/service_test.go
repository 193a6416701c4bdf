package conformance

import (
	"os"
	"path/filepath"
	"testing"

	servingcfg "knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/footfall/footfall/eventing"
)

// Every function that a Trigger reaches is a Knative Service of that name.
func TestServices(t *testing.T) {
	files, err := filepath.Glob("../../functions/*/service.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no function has a service.yaml yet")
	}
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	ctx = servingcfg.ToContext(ctx, servingcfg.FromContextOrDefaults(ctx))
	found := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := split(text)
		if err != nil || len(docs) != 1 {
			t.Errorf("%s: %d documents, error %v", file, len(docs), err)
			continue
		}
		var s servingv1.Service
		if err := decode(docs[0], &s); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		s.SetDefaults(ctx)
		if err := s.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if name := filepath.Base(filepath.Dir(file)); s.Name != name {
			t.Errorf("%s: name %q, want that of its folder", file, s.Name)
		}
		found[s.Name] = true
	}
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range w.Services() {
		if !found[name] {
			t.Errorf("a Trigger reaches %q, which has no service.yaml", name)
		}
	}
}
