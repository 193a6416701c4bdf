package revision

import "time"

// Progress is how far the shards of a phase are.
type Progress struct {
	Shards    int    `json:"shards"`
	Done      int    `json:"done"`
	Bytes     int64  `json:"bytes"` // of all shards
	DoneBytes int64  `json:"done_bytes"`
	Counts    Counts `json:"counts"` // what those that are done did
}

// PhaseStatus is a phase's progress at an instant.
type PhaseStatus struct {
	Phase State     `json:"phase"`
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended,omitzero"`
	// Planned: no more shards are to come. Before, nobody knows how long it takes.
	Planned bool `json:"planned"`
	Progress
	EventsPerSecond float64 `json:"events_per_second,omitempty"`
	ShardsPerSecond float64 `json:"shards_per_second,omitempty"`
	// SecondsLeft is how long the rest takes if it goes on as it went; absent
	// where that is not known.
	SecondsLeft *float64 `json:"seconds_left,omitempty"`
}

// Status is the phase's progress at an instant. What is done is measured in
// bytes where shards have some.
func (p *Phase) Status(of Progress, now time.Time) PhaseStatus {
	s := PhaseStatus{Phase: p.Name, Begun: p.Begun, Ended: p.Ended, Planned: p.Planned, Progress: of}
	end := p.Ended
	if end.IsZero() {
		end = now
	}
	seconds := end.Sub(p.Begun).Seconds()
	if seconds <= 0 {
		return s
	}
	s.EventsPerSecond = float64(of.Counts.Events) / seconds
	s.ShardsPerSecond = float64(of.Done) / seconds
	part := 0.0
	switch {
	case of.Bytes > 0:
		part = float64(of.DoneBytes) / float64(of.Bytes)
	case of.Shards > 0:
		part = float64(of.Done) / float64(of.Shards)
	}
	if p.Planned && p.Ended.IsZero() && part > 0 {
		left := seconds * (1 - part) / part
		s.SecondsLeft = &left
	}
	return s
}

// Status is a job with how far it is: the answer of GET /v1/reprocess/{revision}.
type Status struct {
	Job
	Progress []PhaseStatus `json:"progress"` // of its phases so far, in order
	// Exceeds says by what a finished comparison is not within the bounds.
	Exceeds []string `json:"exceeds,omitempty"`
}

// Change is the body of POST /v1/reprocess/{revision}/publish, discard and
// rollback.
type Change struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// AcceptProblems publishes a job in spite of its problems.
	AcceptProblems bool `json:"accept_problems,omitempty"`
}
