package history

import (
	"context"
	"fmt"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Packed are the lean facts of a window of a merchant in a view, packed for
// questions about the columns, of which Actors stands for instants. What one
// question has had resolved is kept for the next one in the loader's cache, as
// long as the merchant's data stay in the version that was read before: the next
// question need not ask the same. Columns that were asked for before are kept with
// those that are asked for now.
func (l *Loader) Packed(ctx context.Context, m *access.Merchant, w summary.Window, columns processed.Columns, version store.Version) (*summary.Packed, error) {
	name := packedName(m, w)
	kept, of := l.cache.packed(name)
	if kept != nil && of == version && kept.Holds(columns) {
		return kept, nil
	}
	if kept != nil && kept.Size() < mostPacked(l.cache.most)/2 {
		columns = kept.With(columns)
	}
	facts, err := l.Lean().Facts(ctx, m, w, columns, false, nil)
	if err != nil {
		return nil, err
	}
	p := facts.Pack(columns)
	if version != (store.Version{}) {
		l.cache.keep(name, p, version)
	}
	return p, nil
}

// packedName names facts by all that resolving depends on besides the documents.
func packedName(m *access.Merchant, w summary.Window) string {
	s := SettingsOf(m.Settings)
	return fmt.Sprintf("%q %v %d %d %t %t %s %q", m.ID, m.Layers, w.From, w.To, s.BotFilter, s.InternalFilter, s.Inactivity, s.KeyEvents)
}
