package report

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// maxMerchants bounds how many merchants' settings are kept at once.
const maxMerchants = 10_000

// merchants keeps what the registry said of a merchant for a moment: a page of
// charts asks for the same merchant many times within a second.
type merchants struct {
	registry access.Merchants
	age      time.Duration
	clock    function.Clock
	flight   singleflight.Group

	mu    sync.Mutex
	known map[string]knownMerchant
}

type knownMerchant struct {
	merchant access.Merchant
	err      error // nil or NotFound
	until    time.Time
}

func newMerchants(registry access.Merchants, age time.Duration, clock function.Clock) *merchants {
	return &merchants{registry: registry, age: age, clock: clock, known: map[string]knownMerchant{}}
}

// Merchant implements access.Merchants; what it returns is read only.
func (c *merchants) Merchant(ctx context.Context, id string) (access.Merchant, error) {
	now := c.clock()
	c.mu.Lock()
	k, ok := c.known[id]
	c.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.merchant, k.err
	}
	// One question to the registry serves all who wait; a caller whose
	// context ends stops waiting.
	result := c.flight.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registryTimeout)
		defer cancel()
		m, err := c.registry.Merchant(ctx, id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		k := knownMerchant{m, err, now.Add(c.age)}
		c.keep(id, k, now)
		return k, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return access.Merchant{}, r.Err
		}
		k := r.Val.(knownMerchant)
		return k.merchant, k.err
	case <-ctx.Done():
		return access.Merchant{}, ctx.Err()
	}
}

func (c *merchants) keep(id string, k knownMerchant, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxMerchants {
		for old, k := range c.known {
			if !now.Before(k.until) {
				delete(c.known, old)
			}
		}
		if len(c.known) >= maxMerchants {
			clear(c.known)
		}
	}
	c.known[id] = k
}
