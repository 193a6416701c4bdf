package revision

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
)

// Mode says what a job does when its comparison is there.
type Mode string

const (
	// ModeCompare waits for somebody to publish or discard it.
	ModeCompare Mode = "compare"
	// ModePublish publishes it where the comparison is within Bounds, and else
	// waits.
	ModePublish Mode = "publish"
)

// Request asks for a job. Its JSON is the data of a
// footfall.reprocess.requested.v1 and the body of POST /v1/reprocess.
type Request struct {
	// From and To bound the arrival of the batches that are replayed,
	// [From, To). To absent: now. Both are cut to whole seconds.
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
	// Lateness is how long after To batches are replayed, too, so that events
	// of the range that came late are counted anew: a duration such as "48h".
	Lateness string `json:"lateness,omitempty"`
	// Merchants limits the job; empty is all.
	Merchants []string `json:"merchants,omitempty"`
	Reason    string   `json:"reason"`
	Mode      Mode     `json:"mode,omitempty"` // absent: compare
	Bounds    Bounds   `json:"bounds,omitzero"`
	By        string   `json:"by,omitempty"` // who asks, for the history
}

// Bounds say how much a comparison may differ to be published unseen.
type Bounds struct {
	// Events is the largest change of eventCount of any merchant and of all
	// together, as a part of what it was: 0.01 is one per cent.
	Events float64 `json:"events"`
	// Merchants is how many merchants may change; 0 is any number.
	Merchants int64 `json:"merchants,omitempty"`
}

const (
	maxMerchants = 10_000
	maxReason    = 2000 // letters
	maxLateness  = 400 * 24 * time.Hour
)

// Validate returns the first fault as an Invalid error that names the field,
// and sets what is absent. now is the instant of asking.
func (r *Request) Validate(now time.Time) error {
	r.From, r.To = r.From.UTC().Truncate(time.Second), r.To.UTC().Truncate(time.Second)
	if r.From.IsZero() || r.From.Unix() < 0 {
		return fault.Field("from", "an instant such as 2026-10-01T00:00:00Z: the first arrival to replay")
	}
	if !r.From.Before(now) {
		return fault.Field("from", "an instant in the past")
	}
	if !r.To.IsZero() && !r.From.Before(r.To) {
		return fault.Field("to", "an instant after from, or absent for now")
	}
	if r.Lateness != "" {
		d, err := time.ParseDuration(r.Lateness)
		if err != nil || d < 0 || d > maxLateness {
			return fault.Field("lateness", `a duration of 0 to 9600h such as "48h"`)
		}
		if r.To.IsZero() && d > 0 {
			return fault.Field("lateness", "none where to is absent: everything up to now is replayed")
		}
	}
	if len(r.Merchants) > maxMerchants {
		return fault.Field("merchants", fmt.Sprintf("at most %d, or absent for all", maxMerchants))
	}
	slices.Sort(r.Merchants)
	r.Merchants = slices.Compact(r.Merchants)
	if len(r.Merchants) > 0 && r.Merchants[0] == "" {
		return fault.Field("merchants", "ids of merchants")
	}
	r.Reason = strings.TrimSpace(r.Reason)
	if n := len([]rune(r.Reason)); n == 0 || n > maxReason {
		return fault.Field("reason", fmt.Sprintf("1 to %d letters: why history is computed anew", maxReason))
	}
	if r.Mode == "" {
		r.Mode = ModeCompare
	}
	if r.Mode != ModeCompare && r.Mode != ModePublish {
		return fault.Field("mode", `"compare" or "publish"`)
	}
	if b := r.Bounds; b.Events < 0 || b.Events > 1e6 || b.Events != b.Events {
		return fault.Field("bounds.events", "a part of what it was, such as 0.01")
	}
	if r.Bounds.Merchants < 0 {
		return fault.Field("bounds.merchants", "0 (any number) or more")
	}
	return nil
}

// State is where a job stands. The story of a job:
//
//	planned → replaying → building → comparing → compared → published ⇄ rolled_back
//	                                                 └────→ discarded
//	any of the first four → discarded, or failed
//	a wish that cannot become a job: refused, for the history only
type State string

const (
	Planned    State = "planned"     // it waits until all batches of its range stand in the archive
	Replaying  State = "replaying"   // shards write the revision's documents
	Building   State = "building"    // merchants get a view of it, and summaries
	Comparing  State = "comparing"   // shards compare the views
	Compared   State = "compared"    // it waits to be published or discarded
	Published  State = "published"   // reports show it from its last flip on
	RolledBack State = "rolled_back" // reports do not show it any more; it may be published again
	Discarded  State = "discarded"   // its data are dropped
	Failed     State = "failed"      // it cannot go on; it may be discarded
	Refused    State = "refused"     // it never began: its problems say why
)

// Open reports whether a job in this state keeps others from its merchants: it
// has, or will have, views that are not published, or may be published again.
func (s State) Open() bool {
	switch s {
	case Published, Discarded, Refused:
		return false
	}
	return true
}

// Job is one reprocess: a revision, from the wish to the sweep.
type Job struct {
	Revision access.Revision `json:"revision"`
	Version  uint64          `json:"version"` // for optimistic updates
	Request
	RequestID string    `json:"request_id,omitempty"` // of the wish, so that one that comes twice is one job
	CreatedAt time.Time `json:"created_at"`
	State     State     `json:"state"`
	Since     time.Time `json:"since"` // when it came to this state
	// Cut ends the range: batches that arrived before it belong to the job.
	Cut      time.Time `json:"cut"`
	Phases   []Phase   `json:"phases,omitempty"`
	Problems []Problem `json:"problems,omitempty"` // the first of them
	// Problem counts are whole, unlike the list.
	ProblemCount int64 `json:"problem_count"`
	// Held says why a job of ModePublish was not published by itself.
	Held  []string `json:"held,omitempty"`
	Flips []Flip   `json:"flips,omitempty"`
	// Sweeping is when the removal of what it took the place of, or of what it
	// made, began: from then on it cannot be rolled back.
	Sweeping time.Time `json:"sweeping,omitzero"`
	// Swept is when what it took the place of was removed: from then on it
	// cannot be rolled back, and no report shows what was before.
	Swept time.Time `json:"swept,omitzero"`
}

// Layer is what the job's revision lies over.
func (j *Job) Layer() access.Layer {
	return access.Layer{Revision: j.Revision, From: j.From.UnixMilli(), To: j.Cut.UnixMilli()}
}

// Covers reports whether a merchant is within the job's scope.
func (j *Job) Covers(merchant string) bool {
	if len(j.Merchants) == 0 {
		return true
	}
	_, found := slices.BinarySearch(j.Merchants, merchant)
	return found
}

// Overlaps reports whether two jobs may touch the same merchant.
func (j *Job) Overlaps(o *Job) bool {
	if len(j.Merchants) == 0 || len(o.Merchants) == 0 {
		return true
	}
	return slices.ContainsFunc(j.Merchants, o.Covers)
}

// InTheWay is the Conflict of a job that an open one keeps from its merchants.
func (j *Job) InTheWay() error {
	return fault.New(fault.Conflict, "job %d (%s) is over the same merchants: publish or discard it first", j.Revision, j.State)
}

// Phase is the progress of one state's shards.
type Phase struct {
	Name    State     `json:"name"`
	Shards  int       `json:"shards"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended,omitzero"`
	Planned bool      `json:"planned"` // no more shards are to come
	// Next is the first shard that was not told to the workers yet, Told when
	// some were last.
	Next int       `json:"next"`
	Told time.Time `json:"told,omitzero"`
}

// Problem is something that did not stop the job and that whoever publishes it
// must know.
type Problem struct {
	Shard  string `json:"shard"`
	Path   string `json:"path,omitempty"` // of a file
	Detail string `json:"detail"`
}

// Flip is a change of what reports show.
type Flip struct {
	At     time.Time `json:"at"` // from this instant on
	On     bool      `json:"on"` // published; false: rolled back
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Shard is one part of a phase's work. It is named by phase and index, and may
// be done any number of times.
type Shard struct {
	Revision access.Revision `json:"revision"`
	Phase    State           `json:"phase"`
	Index    int             `json:"index"`
	// Files are the archive's paths to replay; of Replaying.
	Files []string `json:"files,omitempty"`
	Bytes int64    `json:"bytes,omitempty"`
	// Merchants are to be built or compared; of Building and Comparing. Cursor
	// is where the next shard's begin.
	Merchants []string `json:"merchants,omitempty"`
	Cursor    string   `json:"cursor,omitempty"`
	// Done is when it was finished, zero before.
	Done     time.Time `json:"done,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	Counts   Counts    `json:"counts"`
	Problems []Problem `json:"problems,omitempty"`
}

// Counts are what shards did. They add up.
type Counts struct {
	Batches   int64 `json:"batches,omitempty"`
	Events    int64 `json:"events,omitempty"`
	Documents int64 `json:"documents,omitempty"`
	Rejects   int64 `json:"rejects,omitempty"`
	Merchants int64 `json:"merchants,omitempty"`
	Unchanged int64 `json:"unchanged,omitempty"` // of Merchants: the revision says the same of them
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Batches += o.Batches
	c.Events += o.Events
	c.Documents += o.Documents
	c.Rejects += o.Rejects
	c.Merchants += o.Merchants
	c.Unchanged += o.Unchanged
}

// Publication is a revision that was ever published, with its flips in order.
type Publication struct {
	Revision access.Revision `json:"revision"`
	Flips    []Flip          `json:"flips"`
}

// Publications are all there are.
type Publications []Publication

// Book is what is published at an instant. It implements access.Published.
type Book struct {
	on map[access.Revision]bool
}

// At is the book of an instant.
func (p Publications) At(now time.Time) Book {
	if len(p) == 0 {
		return Book{}
	}
	b := Book{on: make(map[access.Revision]bool, len(p))}
	for i := range p {
		for _, f := range p[i].Flips {
			if !f.At.After(now) {
				b.on[p[i].Revision] = f.On
			}
		}
	}
	return b
}

// Published implements access.Published.
func (b Book) Published(r access.Revision) bool { return r == access.LiveRevision || b.on[r] }
