package history

import (
	"context"
	"maps"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// TellOrigins tells facts, whose users' first sight is known, what brought each
// user for the first time. Users who came before the facts' window are looked up
// in the documents of their first hour: room is asked, for each read, whether so
// many more events may be looked at.
func (l *Loader) TellOrigins(ctx context.Context, m *access.Merchant, facts *summary.Facts, room func(events int) error) error {
	users, _ := facts.Users()
	seen := facts.FirstSeen()
	first := map[uint64]int64{}
	for i, u := range users {
		first[u] = seen[i]
	}
	origins := facts.Origins(first)
	hours := map[event.Hour]bool{}
	for u, at := range first {
		if _, found := origins[u]; !found {
			from, _ := summary.Window{From: at, To: at + 1}.UTCHours()
			hours[from] = true
		}
	}
	columns := processed.Columns{Text: summary.ResolveText | summary.OriginText}
	for _, run := range Runs(slices.Sorted(maps.Keys(hours)), longestRun) {
		w := summary.Of(run[0], run[len(run)-1]+1)
		near, err := l.Near(ctx, m, columns, w)
		if err != nil {
			return err
		}
		if err := room(near.Frame().Len); err != nil {
			return err
		}
		maps.Copy(origins, summary.Resolve(near.Frame(), w, SettingsOf(m.Settings)).Origins(first))
	}
	facts.SetOrigins(origins)
	return nil
}
