package store

import (
	"context"
	"fmt"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
)

// Revisions holds reprocess jobs, their shards and their comparisons.
type Revisions interface {
	// CreateJob records a new job under the next revision number, above
	// LiveRevision and never given twice, with Version 1. A job of the same
	// non-empty RequestID is returned instead of a second one. Conflict, naming
	// the other, where it is open and an open job overlaps it.
	CreateJob(ctx context.Context, j revision.Job) (revision.Job, error)
	// Job returns one. NotFound.
	Job(ctx context.Context, rev Revision) (revision.Job, error)
	// Jobs lists jobs below a revision (0 = all), the newest first, at most limit.
	Jobs(ctx context.Context, below Revision, limit int) ([]revision.Job, error)
	// UpdateJob replaces a job whose Version is still the given one's; the
	// stored Version is one higher. Conflict where it has changed. It does not
	// look at other jobs: who opens one again does.
	UpdateJob(ctx context.Context, j revision.Job) error
	// Publications are those of all jobs that have flips, by revision. It is
	// cheap, for every report asks.
	Publications(ctx context.Context) (revision.Publications, error)

	// PutShards records shards; one that is there is left as it is.
	PutShards(ctx context.Context, shards []revision.Shard) error
	// Shard returns one. NotFound.
	Shard(ctx context.Context, rev Revision, phase revision.State, index int) (revision.Shard, error)
	// FinishShard replaces a shard by one that is done; one that is done
	// already is left as it is. NotFound where it was never put.
	FinishShard(ctx context.Context, s revision.Shard) error
	// Shards lists a phase's shards from an index on, in order.
	Shards(ctx context.Context, rev Revision, phase revision.State, from, limit int) ([]revision.Shard, error)
	// Unfinished lists those of them that are not done. It is cheap, however
	// many are.
	Unfinished(ctx context.Context, rev Revision, phase revision.State, from, limit int) ([]revision.Shard, error)
	// Progress is how many shards of a phase there are, how many are done, and
	// the sum of what these did. It is cheap.
	Progress(ctx context.Context, rev Revision, phase revision.State) (Progress, error)

	// PutPart records bytes of a job under a name, in place of what was there.
	// A name is 1 to MaxPartName bytes of ASCII from ! to ~ (Invalid), data are
	// at most MaxPart (TooLarge).
	PutPart(ctx context.Context, rev Revision, name string, data []byte) error
	// Parts lists the parts whose names begin with a prefix, after a name ("" =
	// from the start), in order of names, at most limit.
	Parts(ctx context.Context, rev Revision, prefix, after string, limit int) ([]Part, error)
	// DropJob removes a job's shards and parts. The job itself stays, for the
	// history.
	DropJob(ctx context.Context, rev Revision) error
}

// Bounds of a part.
const (
	MaxPartName = 200
	MaxPart     = 1 << 20
)

// CheckPart returns what is wrong with a part.
func CheckPart(name string, data []byte) error {
	ok := len(name) >= 1 && len(name) <= MaxPartName
	for i := range len(name) {
		ok = ok && name[i] >= '!' && name[i] <= '~'
	}
	if !ok {
		return fault.Field("name", fmt.Sprintf("1 to %d bytes of ASCII from ! to ~", MaxPartName))
	}
	if len(data) > MaxPart {
		return fault.New(fault.TooLarge, "a part of %d bytes: expected at most %d", len(data), MaxPart)
	}
	return nil
}

// Progress of a phase.
type Progress = revision.Progress

// Part is bytes of a job under a name.
type Part struct {
	Name string
	Data []byte
}
