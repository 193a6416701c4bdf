package reprocess

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// moves tells what a job that is limited to some merchants leaves half done:
// events that were counted for one of them and are now another's, who is out of
// scope, and the other way round. Such a job would lose or double them.
func (s *Service) moves(ctx context.Context, j *revision.Job, m *access.Merchant, base access.Layers) (found []string, err error) {
	first, last, ok, err := s.extent(ctx, m.ID, append(base.Revisions(), j.Revision)...)
	if err != nil || !ok {
		return nil, err
	}
	gone := map[string]bool{} // streams that are not the merchant's
	var came int64
	for from := first; from <= last; from += window {
		n, err := s.movesIn(ctx, j, m, base, from, min(from+window, last+1), gone)
		if errors.Is(err, errTooManyRows) {
			return []string{fmt.Sprintf("merchant %q has too many events from hour %s on to tell whether some move to or from others: compare all merchants", m.ID, from)}, nil
		}
		if err != nil {
			return nil, err
		}
		came += n
	}
	for _, stream := range slices.Sorted(maps.Keys(gone)) {
		asking, cancel := s.call(ctx)
		owner, err := s.Registry.MerchantByStream(asking, stream)
		cancel()
		switch {
		case fault.Is(err, fault.NotFound):
		case err != nil:
			return nil, err
		case !j.Covers(owner.ID):
			found = append(found, fmt.Sprintf("events of stream %q are counted for merchant %q and belong to %q: name that one, too", stream, m.ID, owner.ID))
		}
	}
	if came > 0 {
		found = append(found, fmt.Sprintf("%d events of merchant %q were neither counted nor rejected for it before, so they may be another's: compare all merchants", came, m.ID))
	}
	return found, nil
}

// place names an event.
type place struct {
	batch event.BatchID
	seq   uint32
}

// movesIn notes streams in hours [from, to) that are not the merchant's, and
// counts its events that no one had before.
func (s *Service) movesIn(ctx context.Context, j *revision.Job, m *access.Merchant, base access.Layers, from, to event.Hour, gone map[string]bool) (came int64, err error) {
	before := map[place]bool{}
	note := func(p place, stream string) {
		before[p] = true
		if m.Stream(stream) == nil {
			gone[stream] = true
		}
	}
	// An event may have moved by hours, too; a day on either side is enough.
	for _, rev := range base.Revisions() {
		ours := func(b event.BatchID) bool { return s.inRange(j, b) && base.Owner(b.Millis()) == rev }
		if err := s.eachRow(ctx, m.ID, rev, from-window, to+window, ours, note); err != nil {
			return 0, err
		}
	}
	after := map[place]bool{}
	if err := s.eachRow(ctx, m.ID, j.Revision, from, to, func(b event.BatchID) bool { return s.inRange(j, b) }, func(p place, _ string) {
		if !before[p] {
			after[p] = true
		}
	}); err != nil || len(after) == 0 {
		return 0, err
	}
	for _, id := range []string{m.ID, ""} { // rejected for it, or of a stream that was nobody's
		if err := s.eachReject(ctx, id, base, from-window, to+window, func(x *store.Reject) {
			delete(after, place{x.Batch, uint32(x.Index)})
		}); err != nil {
			return 0, err
		}
	}
	return int64(len(after)), nil
}

func (s *Service) inRange(j *revision.Job, b event.BatchID) bool {
	at := b.Millis()
	return at >= j.From.UnixMilli() && at < j.Cut.UnixMilli()
}

// eachRow calls fn with the events of a revision's batches that count.
func (s *Service) eachRow(ctx context.Context, merchant string, rev store.Revision, from, to event.Hour, ours func(event.BatchID) bool, fn func(place, string)) error {
	rows := 0
	ctx, cancel := s.call(ctx)
	defer cancel()
	return s.Processed.Scan(ctx, merchant, rev, from, to, func(doc store.Doc) error {
		if !doc.Key.IsMerged() && !ours(doc.Key.Batch) {
			return nil
		}
		if rows += doc.Events; rows > s.cfg.MaxRows {
			return errTooManyRows
		}
		f, err := processed.Decode(doc.Data, processed.Columns{Identity: true, Text: 1 << processed.ColStream})
		if err != nil {
			return err
		}
		for i := range f.Len {
			if b := f.Batches[f.Batch[i]]; ours(b) {
				fn(place{b, f.Seq[i]}, f.Text[processed.ColStream].At(i))
			}
		}
		return nil
	})
}

// rejectsPage is how many rejects are read at once.
const rejectsPage = 1000

func (s *Service) eachReject(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour, fn func(*store.Reject)) error {
	for cursor := ""; ; {
		asking, cancel := s.call(ctx)
		page, next, err := s.Processed.Rejects(asking, merchant, layers, from, to, cursor, rejectsPage)
		cancel()
		if err != nil {
			return err
		}
		for i := range page {
			if !page[i].Refused {
				fn(&page[i])
			}
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}
