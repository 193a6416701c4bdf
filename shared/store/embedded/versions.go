package embedded

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
)

// versions number the changes of something of merchants', in memory: whoever
// compares versions lives as long as this process. A part that is full forgets,
// and then answers with a number that no merchant had before.
type versions struct {
	last  atomic.Uint64
	parts [64]versionsPart
}

type versionsPart struct {
	mu    sync.Mutex
	floor uint64 // of all who are not in at
	at    map[xxh3.Uint128]uint64
}

// maxVersions bounds the merchants of one part: 65,536 in all, some 3 MB.
const maxVersions = 1024

// changed gives a merchant another version. It is called when the change is visible
// to readers, and before the call that made it returns.
func (v *versions) changed(merchant string) {
	key := xxh3.HashString128(merchant)
	p := &v.parts[key.Lo%uint64(len(v.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	v.set(p, key)
}

// changedFrom is changed where the version is the given one.
func (v *versions) changedFrom(merchant string, last uint64) bool {
	key := xxh3.HashString128(merchant)
	p := &v.parts[key.Lo%uint64(len(v.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of(key) != last {
		return false
	}
	v.set(p, key)
	return true
}

func (v *versions) set(p *versionsPart, key xxh3.Uint128) {
	n := v.last.Add(1)
	if _, known := p.at[key]; !known && len(p.at) >= maxVersions {
		// The number is later than all that the forgotten ones had.
		p.at, p.floor = nil, n
	}
	if p.at == nil {
		p.at = make(map[xxh3.Uint128]uint64)
	}
	p.at[key] = n
}

func (p *versionsPart) of(key xxh3.Uint128) uint64 {
	if n, known := p.at[key]; known {
		return n
	}
	return p.floor
}

// of is a merchant's version.
func (v *versions) of(merchant string) uint64 {
	key := xxh3.HashString128(merchant)
	p := &v.parts[key.Lo%uint64(len(v.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(key)
}

// Version implements store.Processed.
func (p *processed) Version(ctx context.Context, merchant string) (v store.Version, err error) {
	err = p.e.read(ctx, "read the version of a merchant's data", func() error {
		v.N = p.versions.of(merchant) + 1 // never the zero version
		return nil
	})
	return v, err
}

// Claim implements store.Processed.
func (p *processed) Claim(ctx context.Context, merchant string, last uint64) (ok bool, err error) {
	err = p.e.write(ctx, "claim a merchant's hours", func() error {
		ok = p.claims.changedFrom(merchant, last)
		return nil
	})
	return ok, err
}

// Claimed implements store.Processed.
func (p *processed) Claimed(ctx context.Context, merchant string) (n uint64, err error) {
	err = p.e.read(ctx, "see who claims a merchant's hours", func() error {
		n = p.claims.of(merchant)
		return nil
	})
	return n, err
}
