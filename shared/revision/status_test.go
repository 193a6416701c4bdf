package revision

import (
	"testing"
	"time"
)

func TestPhaseStatus(t *testing.T) {
	begun := noon
	now := noon.Add(10 * time.Second)
	for _, c := range []struct {
		name         string
		phase        Phase
		of           Progress
		events, left float64 // left -1: not known
	}{
		{"by bytes", Phase{Begun: begun, Planned: true}, Progress{Shards: 9, Done: 1, Bytes: 1000, DoneBytes: 250, Counts: Counts{Events: 500}}, 50, 30},
		{"by shards", Phase{Begun: begun, Planned: true}, Progress{Shards: 4, Done: 2}, 0, 10},
		{"done", Phase{Begun: begun, Planned: true}, Progress{Shards: 4, Done: 4}, 0, 0},
		{"not planned", Phase{Begun: begun}, Progress{Shards: 4, Done: 2, Counts: Counts{Events: 10}}, 1, -1},
		{"nothing done", Phase{Begun: begun, Planned: true}, Progress{Shards: 4}, 0, -1},
		{"no shards", Phase{Begun: begun, Planned: true}, Progress{}, 0, -1},
		{"ended", Phase{Begun: begun, Ended: noon.Add(2 * time.Second), Planned: true}, Progress{Shards: 4, Done: 4, Counts: Counts{Events: 10}}, 5, -1},
		{"just begun", Phase{Begun: now, Planned: true}, Progress{Shards: 4, Done: 1, Counts: Counts{Events: 10}}, 0, -1},
	} {
		s := c.phase.Status(c.of, now)
		left := -1.0
		if s.SecondsLeft != nil {
			left = *s.SecondsLeft
		}
		if s.EventsPerSecond != c.events || left != c.left {
			t.Errorf("%s: %g events/s, %g s left; expected %g, %g", c.name, s.EventsPerSecond, left, c.events, c.left)
		}
	}
}
