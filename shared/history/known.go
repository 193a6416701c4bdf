package history

import (
	"context"
	"fmt"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Known are the lean facts of a window of a merchant in a view, for questions about
// the columns, of which Actors stands for instants; looked is the events that they
// are of. Where a question comes that was asked before in the same version of the
// merchant's data, what it has had resolved is packed and kept in the loader's cache
// for the next ones: they need not ask the same. At the first question of a version
// only that is noted. Of a merchant to whom events come all the time no facts hold
// until the next question, and packing them would only push documents out.
//
// Columns that were asked for before are kept with those that are asked for now.
func (l *Loader) Known(ctx context.Context, m *access.Merchant, w summary.Window, columns processed.Columns, version store.Version) (facts *summary.Facts, looked int, err error) {
	name := knownName(m, w)
	kept, of, asked := l.cache.known(name)
	again := asked && of == version
	if again && kept != nil {
		if kept.Holds(columns) {
			return kept.Facts(SettingsOf(m.Settings), columns.Actors), kept.Looked, nil
		}
		if kept.Size() < mostPacked(l.cache.most)/2 {
			columns = kept.With(columns)
		}
	}
	facts, err = l.Lean().Facts(ctx, m, w, columns, false, nil)
	if err != nil {
		return nil, 0, err
	}
	if version != (store.Version{}) {
		var packed *summary.Packed
		if again {
			packed = facts.Pack(columns)
		}
		l.cache.keep(name, packed, version)
	}
	return facts, facts.Frame.Len, nil
}

// knownName names facts by all that resolving depends on besides the documents.
func knownName(m *access.Merchant, w summary.Window) string {
	s := SettingsOf(m.Settings)
	return fmt.Sprintf("%q %v %d %d %t %t %s %q", m.ID, m.Layers, w.From, w.To, s.BotFilter, s.InternalFilter, s.Inactivity, s.KeyEvents)
}
