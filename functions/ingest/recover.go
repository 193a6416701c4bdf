package ingest

import (
	"context"
	"time"

	"github.com/footfall/footfall/shared/store"
)

const (
	// recoverAfter is how long after its start an instance looks for batches
	// that came before it and were not published. Other instances have marked
	// theirs by then.
	recoverAfter = 4 * markEvery
	// recoverRounds bounds it; ticks do the rest.
	recoverRounds = 20
)

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
	for range recoverRounds {
		n, err := in.republish(ctx, store.StagePublished, start, in.ports.Clock(), in.cfg.TickBatches)
		if err != nil {
			in.ports.Log.Warn("cannot publish what was left unpublished; a tick tries again", "error", err)
			return
		}
		if n < in.cfg.TickBatches {
			return
		}
	}
}
