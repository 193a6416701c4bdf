package scenario_test

import (
	"errors"
	"flag"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/local/localtest"
	"github.com/footfall/footfall/infra/local/scenario"
)

var (
	target     = flag.String("target", "", "URL of a running Footfall to play the stories against, instead of one in this process")
	adminToken = flag.String("admin-token", "", "the admin token of -target")
)

// TestScenarios plays every story, against -target or each on a system of its
// own in this process.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil || len(files) < 60 {
		t.Fatalf("expected at least sixty stories, got %d (%v)", len(files), err)
	}
	var sys func(t *testing.T) scenario.System
	if *target != "" {
		sys = func(*testing.T) scenario.System {
			return scenario.System{URL: strings.TrimRight(*target, "/"), AdminToken: *adminToken, Patience: 30 * time.Second}
		}
	} else {
		sys = inProcess
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			t.Parallel()
			steps, err := scenario.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			err = scenario.Run(t.Context(), sys(t), steps)
			if *target != "" && (errors.Is(err, scenario.ErrNeedsClock) || errors.Is(err, scenario.ErrNeedsPlaces)) {
				t.Skip("-target is not what the story needs: ", err)
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		})
	}
}

// inProcess starts a Footfall whose clock the story moves. Each story has its
// own, for there is one clock.
func inProcess(t *testing.T) scenario.System {
	var clock atomic.Int64
	clock.Store(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC).UnixNano())
	runner := localtest.Start(t, local.Options{Clock: func() time.Time { return time.Unix(0, clock.Load()) }, NoCron: true},
		append(scenario.PlacesEnviron("testdata"), "FOOTFALL_REPORT_SETTINGS_AGE=0s")...)
	return scenario.System{
		URL: runner.URL(), AdminToken: runner.AdminToken(), Patience: 5 * time.Second, Places: true,
		SetClock: func(now time.Time) { clock.Store(now.UnixNano()) },
	}
}
