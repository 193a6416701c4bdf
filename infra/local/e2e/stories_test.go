package e2e

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/local/scenario"
)

// Every story comes true in the binary, too, whose clock nobody moves: as
// `make scenarios TARGET=…` plays them against any running system.
func TestStoriesAgainstTheBinary(t *testing.T) {
	p := start(t, t.TempDir(), scenario.PlacesEnviron("../scenario/testdata")...)
	files, err := filepath.Glob("../scenario/testdata/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	played := 0
	for _, file := range files {
		steps, err := scenario.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sys := scenario.System{URL: p.URL, AdminToken: p.AdminToken, Places: true, Patience: 20 * time.Second}
		switch err := scenario.Run(t.Context(), sys, steps); {
		case errors.Is(err, scenario.ErrNeedsClock):
		case err != nil:
			t.Errorf("%s: %v", file, err)
		default:
			played++
		}
	}
	if played < 50 {
		t.Errorf("expected at least fifty stories to be played, got %d", played)
	}
}
