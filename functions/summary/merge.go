package summary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// Documents of the hours under way are merged, too, when there are many: a busy
// merchant's batches bring a few events each, and whoever counts the hour meanwhile
// would spend most of its time on opening documents. So it is with a late hour that
// waits.
const (
	// someFresh is how many events of batches are merged without a look at what was
	// merged before.
	someFresh = 4000
	// mostMerges is how many times a merchant's hour is merged in a run, each of as
	// many events as a document may hold.
	mostMerges = 8
)

// mergeHours merges the documents of a merchant's dirty hours of LiveQueue, as far as
// there are many.
func (s *Service) mergeHours(ctx context.Context, merchant string, hours []event.Hour) error {
	c := &closing{Service: s, m: access.Merchant{ID: merchant}}
	for _, h := range hours {
		for range mostMerges {
			more, err := c.mergeFresh(ctx, h)
			if err != nil {
				return fmt.Errorf("cannot merge documents of hour %s of %q: %w", h, merchant, err)
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// mergeFresh merges documents of batches; more is true where others may be left.
func (c *closing) mergeFresh(ctx context.Context, h event.Hour) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if many, err := c.many(ctx, c.m.ID, h); err != nil || !many {
		return false, err
	}
	var chosen []store.DocKey
	union, bytes := processed.NewUnion(processed.Everything()), 0
	err = c.Processed.Scan(ctx, c.m.ID, store.LiveRevision, h, h+1, func(d store.Doc) error {
		// Merged ones stand behind those of batches.
		if d.Key.IsMerged() {
			return errEnough
		}
		if union.Len()+d.Events > c.cfg.MergeEvents || bytes+len(d.Data) > mergeBytes {
			more = true
			return errEnough
		}
		chosen = append(chosen, d.Key)
		bytes += len(d.Data)
		return union.Add(d.Data, nil)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, err
	}
	if union.Len() < someFresh && !more {
		return false, c.mergeHour(ctx, store.LiveRevision, h)
	}
	if len(chosen) < 2 {
		return false, nil
	}
	// Batches sort before all that is merged, so that no reader misses what takes
	// their place, wherever that stands among the merged ones.
	return more, c.replace(ctx, union, chosen, 1)
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

// errEnough ends a scan.
var errEnough = errors.New("enough")

// replace puts a document of all that was gathered in place of the chosen ones.
func (c *closing) replace(ctx context.Context, union *processed.Union, chosen []store.DocKey, place uint64) error {
	merged, err := union.Frame()
	if err != nil {
		return err
	}
	doc := store.Doc{Key: chosen[0], Events: merged.Len, Data: processed.Encode(merged)}
	doc.Key.Batch = store.MergedInto(place, chosen)
	return c.Processed.Replace(ctx, chosen, doc)
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
			if err := c.mergeHour(ctx, rev, h); err != nil {
				return fmt.Errorf("cannot merge documents of hour %s: %w", h, err)
			}
		}
	}
	return nil
}

func (c *closing) mergeHour(ctx context.Context, rev store.Revision, h event.Hour) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	// Nearly always all documents are merged, so that they are gathered while
	// they are listed.
	var docs []listed
	union, gathered, bytes := processed.NewUnion(processed.Everything()), 0, 0
	if err := c.Processed.Scan(ctx, c.m.ID, rev, h, h+1, func(d store.Doc) error {
		docs = append(docs, listed{key: d.Key, events: d.Events, bytes: len(d.Data)})
		if gathered < len(docs)-1 || union.Len()+d.Events > c.cfg.MergeEvents || bytes+len(d.Data) > mergeBytes {
			return nil
		}
		gathered++
		bytes += len(d.Data)
		return union.Add(d.Data, nil)
	}); err != nil {
		return err
	}
	chosen, place := choose(docs, c.cfg.MergeEvents)
	if len(chosen) < 2 {
		return nil
	}
	if gathered < len(docs) || len(chosen) < len(docs) {
		var err error
		if union, err = c.gather(ctx, rev, h, chosen); union == nil {
			return err
		}
	}
	return c.replace(ctx, union, chosen, place+1)
}

// gather reads the chosen documents; nil where some are not there any more,
// because another instance has merged them meanwhile.
func (c *closing) gather(ctx context.Context, rev store.Revision, h event.Hour, chosen []store.DocKey) (*processed.Union, error) {
	take := make(map[store.DocKey]bool, len(chosen))
	for _, k := range chosen {
		take[k] = true
	}
	union, found := processed.NewUnion(processed.Everything()), 0
	if err := c.Processed.Scan(ctx, c.m.ID, rev, h, h+1, func(d store.Doc) error {
		if !take[d.Key] {
			return nil
		}
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

// choose picks the documents to merge: those of batches, and merged ones that
// are small, or not much larger than what is to be added. place is the highest
// place of a merged document there.
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
		if d.key.IsMerged() && d.events > rewritten && d.events > 4*fresh {
			continue
		}
		sum += d.events
		bytes += d.bytes
		chosen = append(chosen, d.key)
	}
	if place+1 >= store.MaxPlace {
		return nil, place
	}
	return chosen, place
}
