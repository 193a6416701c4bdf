package store

import (
	"context"

	"github.com/footfall/footfall/shared/erasure"
)

// Erasures holds the erasures of persons: the open ones, and for good the proof
// of those that are done.
type Erasures interface {
	// CreateErasure records a new one under the id that it has, with Version 1.
	// Conflict where the id is taken.
	CreateErasure(ctx context.Context, e erasure.Erasure) error
	// Erasure returns one of a merchant. NotFound.
	Erasure(ctx context.Context, merchant, id string) (erasure.Erasure, error)
	// Erasures lists those of a merchant after an id ("" = from the start), in
	// order of ids, at most limit.
	Erasures(ctx context.Context, merchant, after string, limit int) ([]erasure.Erasure, error)
	// OpenErasures lists those of all merchants that are not done, in order of
	// ids, after one, at most limit.
	OpenErasures(ctx context.Context, after string, limit int) ([]erasure.Erasure, error)
	// UpdateErasure replaces one whose Version is still the given one's; the
	// stored Version is one higher. Conflict where it has changed.
	UpdateErasure(ctx context.Context, e erasure.Erasure) error
}
