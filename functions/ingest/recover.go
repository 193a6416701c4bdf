package ingest

import (
	"context"
	"time"
)

// recoverAfter is how long after its start an instance looks for batches
// that came before it and were not published. Other instances have marked
// theirs by then.
const recoverAfter = 4 * markEvery

// recover publishes the batches that are in the journal alone because the
// instance that took them was killed. A tick would do it as well, but later:
// it cannot tell them from batches that are under way.
func (in *Ingest) recover(ctx context.Context) {
	start := in.ports.Clock()
	timer := time.NewTimer(recoverAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	if err := in.publishLeft(ctx, start); err != nil {
		in.ports.Log.Warn("cannot publish what was left unpublished; a tick tries again", "error", err)
	}
}
