package reprocess

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store/embedded"
)

// A sweep takes a while: from its beginning on, and not only from its end, a job
// cannot be taken back.
func TestNoWayBackOnceTheSweepMayHaveBegun(t *testing.T) {
	stores, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	flip := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	now := flip
	cfg := DefaultConfig()
	s := &Service{Ports: Ports{Revisions: stores.Revisions, Clock: func() time.Time { return now }}, cfg: cfg}
	j := &revision.Job{Revision: 2, State: revision.Published, Flips: []revision.Flip{{At: flip, On: true}}}
	for _, c := range []struct {
		after time.Duration
		may   bool
	}{{time.Second, true}, {cfg.Grace - 1, true}, {cfg.Grace, false}, {2 * cfg.Grace, false}} {
		now = flip.Add(c.after)
		err := s.mayRollBack(context.Background(), j)
		if c.may != (err == nil) || err != nil && !fault.Is(err, fault.Conflict) {
			t.Errorf("%s after it was published: %v", c.after, err)
		}
	}
}
