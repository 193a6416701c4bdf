package summary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// Documents of the hours under way are merged, too, when there are many: a busy
// merchant's batches bring a few events each, and whoever counts the hour meanwhile
// would spend most of its time on opening documents.
const (
	// someFresh is how many events of batches are merged without a look at what was
	// merged before.
	someFresh = 4000
	// mostMerges is how many times a merchant's hour is merged in a run, each of as
	// many events as a document may hold.
	mostMerges = 8
)

// mergePass merges documents of the hours under way and of the last one, of each
// merchant at every other tick.
func (s *Service) mergePass(ctx, budget context.Context, shard store.Shard, watermark time.Time) error {
	if s.cfg.MergeEvents == 0 {
		return nil
	}
	since, minute := event.HourOf(watermark)-1, uint64(watermark.Unix()/60)
	return s.eachMerchant(ctx, budget, false, shard, watermark.Add(ahead), func(dirty []store.DirtyHour) (work func() error) {
		merchant, hours := dirty[0].Merchant, hoursOf(dirty)
		first, _ := slices.BinarySearch(hours, since)
		if hours = hours[first:]; len(hours) == 0 || (xxh3.HashString(merchant)+minute)%2 != 0 {
			return nil
		}
		return func() error { return s.mergeUnderWay(ctx, budget, merchant, hours) }
	})
}

// mergeUnderWay merges the documents of a merchant's hours as far as there are many.
func (s *Service) mergeUnderWay(ctx, budget context.Context, merchant string, hours []event.Hour) error {
	for _, h := range hours {
		for range mostMerges {
			many, err := s.many(ctx, merchant, h)
			if err == nil && many {
				many, err = s.mergeFresh(ctx, budget, merchant, h)
			}
			if err != nil {
				return fmt.Errorf("cannot merge documents of hour %s of %q: %w", h, merchant, err)
			}
			if !many {
				break
			}
		}
	}
	return nil
}

func (s *Service) mergeFresh(ctx, budget context.Context, merchant string, h event.Hour) (more bool, err error) {
	leave, err := s.elastic.Enter(budget)
	if err != nil {
		return false, nil // the budget is spent: the next tick goes on
	}
	defer leave()
	return s.mergeHour(ctx, merchant, store.LiveRevision, h, false)
}

// many reports whether so many batches have brought documents of an hour that they are
// merged before it ends.
func (s *Service) many(ctx context.Context, merchant string, h event.Hour) (bool, error) {
	if s.cfg.MergeEvents == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	marks, err := s.Processed.Marks(ctx, merchant, []store.Queue{store.LiveQueue}, h, h+1)
	if err != nil {
		return false, fmt.Errorf("cannot list what is new in hour %s: %w", h, err)
	}
	fresh := 0
	for _, m := range marks {
		if !(store.DocKey{Batch: m.Batch}).IsMerged() {
			fresh++
		}
	}
	return fresh >= s.cfg.MergeFresh, nil
}

// mergeDocuments puts one document in place of an hour's small ones, so that
// whoever reads the hour again reads little. Those of a reprocess are merged
// when a view of them is built, for later nothing is added to them. A document that is large already
// is left alone until there is enough to add to it: each event is written again
// a few times at most.
func (c *closing) mergeDocuments(ctx context.Context, hours []event.Hour) error {
	if c.cfg.MergeEvents == 0 {
		return nil
	}
	for _, rev := range c.m.Layers.Revisions() {
		if rev == store.LiveRevision && !slices.Contains(c.queues, store.LiveQueue) || rev != store.LiveRevision && c.view.State == access.ViewReady {
			continue // nothing came to it
		}
		for _, h := range hours {
			if _, err := c.mergeHour(ctx, c.m.ID, rev, h, true); err != nil {
				return fmt.Errorf("cannot merge documents of hour %s: %w", h, err)
			}
		}
	}
	return nil
}

// mergeHour puts one document in place of those of an hour that choose picks: of all,
// or else of those that stand first, where batches stand, as long as they fill a
// document or are some. more is true where it was filled.
func (s *Service) mergeHour(ctx context.Context, merchant string, rev store.Revision, h event.Hour, all bool) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	// Nearly always all documents are merged, so that they are gathered while
	// they are listed.
	var docs []listed
	union, gathered, bytes := processed.NewUnion(processed.Everything()), 0, 0
	fresh, passed := 0, uint64(0) // events of batches, which stand first; the highest place of a document that is passed over
	want := func(k store.DocKey, events int) bool {
		if !k.IsMerged() {
			fresh += events
		} else if leftAlone(events, fresh) {
			passed = max(passed, k.Place())
			return false
		}
		return true
	}
	err = s.Processed.Pick(ctx, merchant, rev, h, h+1, want, func(d store.Doc) error {
		fits := union.Len()+d.Events <= s.cfg.MergeEvents && bytes+len(d.Data) <= mergeBytes
		if !all && (!fits || d.Key.IsMerged() && union.Len() >= someFresh) {
			more = !fits
			return errEnough
		}
		docs = append(docs, listed{key: d.Key, events: d.Events, bytes: len(d.Data)})
		if !fits || gathered < len(docs)-1 {
			return nil
		}
		gathered++
		bytes += len(d.Data)
		return union.Add(d.Data, nil)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, err
	}
	chosen, place := choose(docs, s.cfg.MergeEvents)
	if place = max(place, passed); len(chosen) < 2 || place+1 >= store.MaxPlace {
		return false, nil
	}
	if gathered < len(docs) || len(chosen) < len(docs) {
		if union, err = s.gather(ctx, merchant, rev, h, chosen); union == nil {
			return false, err
		}
	}
	merged, err := union.Frame()
	if err != nil {
		return false, err
	}
	doc := store.Doc{Key: chosen[0], Events: merged.Len, Data: processed.Encode(merged)}
	doc.Key.Batch = store.MergedInto(place+1, chosen)
	return more, s.Processed.Replace(ctx, chosen, doc)
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// gather reads the chosen documents; nil where some are not there any more,
// because another instance has merged them meanwhile.
func (s *Service) gather(ctx context.Context, merchant string, rev store.Revision, h event.Hour, chosen []store.DocKey) (*processed.Union, error) {
	take := make(map[store.DocKey]bool, len(chosen))
	for _, k := range chosen {
		take[k] = true
	}
	union, found := processed.NewUnion(processed.Everything()), 0
	if err := s.Processed.Pick(ctx, merchant, rev, h, h+1, func(k store.DocKey, _ int) bool { return take[k] }, func(d store.Doc) error {
		found++
		return union.Add(d.Data, nil)
	}); err != nil || found < len(chosen) {
		return nil, err
	}
	return union, nil
}

// mergeBytes bounds a merged document by what its parts take: a document of
// MongoDB may hold 16 MiB, however few its events are.
const mergeBytes = 8 << 20

// listed is a document of an hour without its bytes.
type listed struct {
	key    store.DocKey
	events int
	bytes  int
}

// rewritten is the size (events) up to which a merged document is written
// again for however little.
const rewritten = 1000

// leftAlone reports whether a merged document is too large to be written again for so
// many events of batches.
func leftAlone(events, fresh int) bool { return events > rewritten && events > 4*fresh }

// choose picks the documents to merge: those of batches, and merged ones that
// are small, or not much larger than what is to be added. place is the highest
// place of a merged document among them: what takes the place of some sorts after all
// of these, so that no reader misses it.
func choose(docs []listed, most int) (chosen []store.DocKey, place uint64) {
	for _, d := range docs {
		place = max(place, d.key.Place())
	}
	fresh := 0
	for _, d := range docs {
		if !d.key.IsMerged() {
			fresh += d.events
		}
	}
	sum, bytes := 0, 0
	for _, d := range docs {
		if sum+d.events > most || bytes+d.bytes > mergeBytes {
			continue
		}
		if d.key.IsMerged() && leftAlone(d.events, fresh) {
			continue
		}
		sum += d.events
		bytes += d.bytes
		chosen = append(chosen, d.key)
	}
	return chosen, place
}
