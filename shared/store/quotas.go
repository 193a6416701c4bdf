package store

import (
	"context"
	"time"
)

// Usage is what a tenant has used in a window of time.
type Usage struct {
	Tenant string // a merchant's id
	Window int64  // first second of the window, since the Unix epoch
	Events int64  // to add; not below zero
}

// Quotas counts what tenants use, for all instances together. The counts are
// bounds and not bills: they may be forgotten at any time, and where a
// connection broke a use may count twice.
type Quotas interface {
	// Add adds what one instance has counted since it last did, and returns
	// what all instances have added so far, in the order of uses. All of it
	// takes as many round trips as there are servers. A caller does not repeat
	// what failed. A window is forgotten keep after it was last added to, not
	// earlier and some time later.
	Add(ctx context.Context, uses []Usage, keep time.Duration) ([]int64, error)
}
