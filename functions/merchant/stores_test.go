package merchant

import (
	"context"
	"strconv"
	"sync"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// memory is a registry and the marks of processed data in memory.
type memory struct {
	mu     sync.Mutex
	order  []string
	all    map[string]access.Merchant
	race   func(*access.Merchant) // changes a merchant under the caller's feet, once
	extent [2]event.Hour
	marked []string
	away   error // of MarkDirty
}

func newMemory() *memory { return &memory{all: map[string]access.Merchant{}} }

func (m *memory) CreateMerchant(_ context.Context, x access.Merchant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.all[x.ID]; ok {
		return fault.New(fault.Conflict, "taken")
	}
	m.all[x.ID] = x
	m.order = append(m.order, x.ID)
	return nil
}

func (m *memory) Merchant(_ context.Context, id string) (access.Merchant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, ok := m.all[id]
	if !ok {
		return x, fault.New(fault.NotFound, "cannot find merchant %q", id)
	}
	return x, nil
}

func (m *memory) MerchantByStream(context.Context, string) (access.Merchant, error) {
	return access.Merchant{}, fault.New(fault.NotFound, "none")
}

func (m *memory) UpdateMerchant(_ context.Context, x access.Merchant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.race != nil {
		other := m.all[x.ID]
		m.race(&other)
		other.Version++
		m.all[x.ID], m.race = other, nil
	}
	if m.all[x.ID].Version != x.Version {
		return fault.New(fault.Conflict, "changed")
	}
	x.Version++
	m.all[x.ID] = x
	return nil
}

func (m *memory) Changes(_ context.Context, cursor string, limit int) (out []access.Merchant, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, _ := strconv.Atoi(cursor)
	for ; at < len(m.order) && len(out) < limit; at++ {
		out = append(out, m.all[m.order[at]])
	}
	return out, strconv.Itoa(at), nil
}

func (m *memory) Secret(context.Context, string, func() ([]byte, error)) ([]byte, error) {
	return nil, nil
}

func (m *memory) Extent(_ context.Context, _ string, _ store.Revision) (first, last event.Hour, ok bool, err error) {
	return m.extent[0], m.extent[1], m.extent[1] > 0, nil
}

func (m *memory) MarkDirty(_ context.Context, merchant string, _ store.Revision, from, to event.Hour) error {
	if m.away != nil {
		return m.away
	}
	m.marked = append(m.marked, merchant+" "+strconv.Itoa(int(from))+"-"+strconv.Itoa(int(to)))
	return nil
}
