package summary

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1_800_000_000, 0)
	p.worked("quick", now, now.Add(longWork-1), 20)
	p.worked("busy", now, now.Add(10*time.Second), 20)
	p.worked("other", now, now.Add(4*time.Second), 20)
	p.worked("all", now, now.Add(time.Hour), 0)
	for _, c := range []struct {
		merchant string
		after    time.Duration // of the end of busy's work
		free     bool
	}{
		{"quick", 0, true}, {"all", 0, true}, {"unknown", 0, true},
		{"busy", 0, false}, {"busy", 189 * time.Second, false}, {"busy", 190 * time.Second, true},
	} {
		if got := p.free(c.merchant, now.Add(10*time.Second+c.after)); got != c.free {
			t.Errorf("%s, %v later: %v", c.merchant, c.after, got)
		}
	}
	// What has passed is forgotten, asked for or not.
	later := now.Add(time.Hour)
	p.worked("busy", later, later.Add(10*time.Second), 20)
	if len(p.until) != 1 {
		t.Errorf("held back: %v", p.until)
	}
}

// A tick that has late events wait no longer closes the hours of who is held back, too.
func TestPaceOfWhoIsAskedFor(t *testing.T) {
	s, now := &Service{}, time.Now()
	s.pace.worked("busy", now.Add(-10*time.Second), now, 20)
	if s.free("busy", now, &lateness{}) || !s.free("busy", now, &lateness{asked: true}) {
		t.Error("expected the merchant to be held back, and not where it is asked for")
	}
}
