package embedded

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
)

// versions number the changes of merchants' processed data, in memory: whoever
// compares versions lives as long as this process. A part that is full forgets,
// and then answers with a number that no merchant had before.
type versions struct {
	last  atomic.Uint64
	parts [64]struct {
		mu    sync.Mutex
		floor uint64 // of all who are not in at
		at    map[xxh3.Uint128]uint64
	}
}

// maxVersions bounds the merchants of one part: 65,536 in all, some 3 MB.
const maxVersions = 1024

// changed is called when the change is visible to readers, and before the call
// that made it returns.
func (v *versions) changed(merchant string) {
	key := xxh3.HashString128(merchant)
	p := &v.parts[key.Lo%uint64(len(v.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	n := v.last.Add(1)
	if _, known := p.at[key]; !known && (p.at == nil || len(p.at) >= maxVersions) {
		// The number is later than all that the forgotten ones had.
		p.at, p.floor = make(map[xxh3.Uint128]uint64), n
	}
	p.at[key] = n
}

// Version implements store.Processed.
func (p *processed) Version(ctx context.Context, merchant string) (v store.Version, err error) {
	err = p.e.read(ctx, "read the version of a merchant's data", func() error {
		key := xxh3.HashString128(merchant)
		part := &p.versions.parts[key.Lo%uint64(len(p.versions.parts))]
		part.mu.Lock()
		defer part.mu.Unlock()
		n, known := part.at[key]
		if !known {
			n = part.floor
		}
		v.N = n + 1 // never the zero version
		return nil
	})
	return v, err
}
