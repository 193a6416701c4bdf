package store

import (
	"context"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
)

// MaxCreations bounds one call of CreateMerchants: a transaction of a thousand
// merchants of some KB each is far from what MongoDB takes.
const MaxCreations = 1000

// CheckCreations checks what CreateMerchants is given.
func CheckCreations(ms []access.Merchant) error {
	if len(ms) > MaxCreations {
		return fault.New(fault.Invalid, "cannot create %d merchants at once: expected at most %d", len(ms), MaxCreations)
	}
	for i := range ms {
		if ms[i].ID == "" {
			return fault.Field("merchant_id", "an id")
		}
	}
	return nil
}

// Registry holds merchants with their streams, secrets and report tokens.
type Registry interface {
	// CreateMerchant records a new merchant. Conflict where its id, one of
	// its measurement ids or its idempotency name is taken.
	CreateMerchant(ctx context.Context, m access.Merchant) error
	// CreateMerchants records new merchants in one step, at most
	// MaxCreations, but for those of which the id or a measurement id is
	// taken, be it by an earlier one of the same call. Those it returns, by
	// their places in ms, in order.
	CreateMerchants(ctx context.Context, ms []access.Merchant) (taken []int, err error)
	// Merchant returns one by id. NotFound where there is none.
	Merchant(ctx context.Context, id string) (access.Merchant, error)
	// MerchantByStream returns the owner of a stream. NotFound.
	MerchantByStream(ctx context.Context, measurementID string) (access.Merchant, error)
	// UpdateMerchant replaces a merchant whose Version is still the given
	// one's; the stored Version is one higher. Conflict where it has changed.
	UpdateMerchant(ctx context.Context, m access.Merchant) error
	// Changes lists merchants changed after a cursor ("" = all), in the order
	// of change, at most limit, and the cursor to go on from. A merchant
	// changed again may be listed again.
	Changes(ctx context.Context, cursor string, limit int) (changed []access.Merchant, next string, err error)
	// Secret returns the system secret of a name, made by make at its first
	// use by anyone; every caller gets the same bytes.
	Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error)
}
