package reprocess

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// hit is a document with rows of the person.
type hit struct {
	doc   store.Doc
	place uint64 // above those of its hour's merged documents
	rows  []int  // of the frame, ascending
	frame *processed.Frame
}

// documents takes the person's rows out of documents: of some hours, or of some
// of their documents where these are many.
func (p *pass) documents(ctx context.Context) (bool, error) {
	revs, from, to, err := p.window(ctx)
	if err != nil {
		return false, err
	}
	w := &p.e.Work
	if from == to {
		p.next(erasure.Rejects)
		return true, nil
	}
	hits, all, err := p.find(ctx, revs, from, to)
	if err != nil {
		return false, err
	}
	if p.record(hits) {
		return true, nil
	}
	for i := range hits {
		if err := p.cutRows(ctx, &hits[i]); err != nil {
			return false, err
		}
	}
	if err := p.countAgain(ctx, w.Touched); err != nil {
		return false, err
	}
	w.Touched = nil
	if w.Found = false; all {
		w.Hour = to
	}
	return true, nil
}

// find lists documents with rows of the person in hours [from, to); all says
// that there are no more.
func (p *pass) find(ctx context.Context, revs []store.Revision, from, to event.Hour) (hits []hit, all bool, err error) {
	actor := p.e.Person.Actor()
	for _, rev := range revs {
		places := map[event.Hour]uint64{}
		scanning, cancel := p.call(ctx)
		err := p.Processed.Scan(scanning, p.m.ID, rev, from, to, func(doc store.Doc) error {
			places[doc.Key.Hour] = max(places[doc.Key.Hour], doc.Key.Place())
			if doc.Events == 0 {
				return nil
			}
			f, err := processed.Decode(doc.Data, processed.Columns{Actors: true, Identity: true})
			if err != nil {
				return fmt.Errorf("cannot read document of batch %s, hour %s: %w", doc.Key.Batch, doc.Key.Hour, err)
			}
			h := hit{doc: doc}
			for i, of := range p.e.Person.Column(f) {
				if of == actor && p.e.Covers(f.Batches[f.Batch[i]]) {
					h.rows = append(h.rows, i)
				}
			}
			if len(h.rows) == 0 {
				return nil
			}
			if len(hits) == eraseDocs {
				return errFull
			}
			h.doc.Data = slices.Clone(doc.Data)
			if h.frame, err = processed.Decode(h.doc.Data, processed.Everything()); err != nil {
				return err
			}
			hits = append(hits, h)
			return nil
		})
		cancel()
		for i := range hits {
			if h := &hits[i]; h.doc.Key.Revision == rev {
				h.place = places[h.doc.Key.Hour] + 1
			}
		}
		if errors.Is(err, errFull) {
			return hits, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return hits, true, nil
}

// record notes what is about to be removed of documents, where in the archive it
// came from, and whose first event may be another then. It reports whether any of
// it was not noted yet: then it is to be stored first.
func (p *pass) record(hits []hit) (news bool) {
	w := &p.e.Work
	news = len(hits) > 0 && !w.Found
	for _, h := range hits {
		if !w.Found {
			w.Pass.Rows += int64(len(h.rows))
		}
		news = w.Touch(h.doc.Key.Hour) || news
		for _, i := range h.rows {
			news = w.Arrive(arrival(h.frame.Batches[h.frame.Batch[i]])) || news
			news = w.User(h.frame.User[i]) || news
		}
	}
	w.Found = w.Found || news
	return news
}

// arrival is the hour under which a batch was archived, or one beside it: the
// batch was opened by one clock and archived by the instant that it says.
func arrival(b event.BatchID) event.Hour { return event.HourOf(time.UnixMilli(b.Millis())) }

// cutRows puts a document without the person's rows in the place of one. In the
// ledger they stay, as rejects: these are written first.
func (p *pass) cutRows(ctx context.Context, h *hit) error {
	var rows processed.Builder
	var gone []store.Reject
	for i := range h.frame.Len {
		row := h.frame.Row(i)
		if _, cut := slices.BinarySearch(h.rows, i); !cut {
			rows.Add(row)
			continue
		}
		gone = append(gone, store.Reject{
			Merchant: p.m.ID, Revision: h.doc.Key.Revision, Stream: row.Text[processed.ColStream], Batch: row.Batch, Index: int(row.Seq),
			Hour: h.doc.Key.Hour, ReceivedAt: time.UnixMilli(row.Batch.Millis()).UTC(), Reason: enrich.ReasonErased,
		})
	}
	if err := p.putRejects(ctx, h.doc.Key.Revision, gone); err != nil {
		return err
	}
	old := []store.DocKey{h.doc.Key}
	merged := store.Doc{Key: h.doc.Key, Events: rows.Len()}
	merged.Data = rows.Encode()
	merged.Key.Batch = store.MergedInto(h.place, old)
	ctx, cancel := p.call(ctx)
	defer cancel()
	return p.Processed.Replace(ctx, old, merged)
}

// putRejects writes rejects of a revision over what stands in their places.
func (p *pass) putRejects(ctx context.Context, rev store.Revision, rejects []store.Reject) error {
	ctx, cancel := p.call(ctx)
	defer cancel()
	if rev > store.LiveRevision {
		return p.Processed.PutRevision(ctx, rev, nil, rejects)
	}
	byBatch := map[event.BatchID][]store.Reject{}
	for _, r := range rejects {
		byBatch[r.Batch] = append(byBatch[r.Batch], r)
	}
	for batch, of := range byBatch {
		if err := p.Processed.Put(ctx, store.Put{Batch: batch, Rejects: of}); err != nil {
			return err
		}
	}
	return nil
}

// countAgain has hours that rows were taken out of counted again, with those
// as far as one hour's events may matter to another's, in every view.
func (p *pass) countAgain(ctx context.Context, touched []event.Hour) error {
	var hours []event.Hour
	for _, h := range touched {
		for near := h - summary.Reach; near <= h+summary.Reach; near++ {
			hours = append(hours, near)
		}
	}
	slices.Sort(hours)
	return p.markHours(ctx, slices.Compact(hours))
}

// markHours marks ascending hours in the queues of all views.
func (p *pass) markHours(ctx context.Context, hours []event.Hour) error {
	for i := 0; i < len(hours); {
		end := i + 1
		for end < len(hours) && hours[end] == hours[end-1]+1 {
			end++
		}
		for _, v := range p.m.AllViews() {
			if v.State == access.ViewGone {
				continue
			}
			marking, cancel := p.call(ctx)
			err := p.Processed.MarkDirty(marking, p.m.ID, store.Queue(v.Generation), v.Layers.Revisions(), hours[i], hours[end-1]+1)
			cancel()
			if err != nil {
				return err
			}
		}
		i = end
	}
	return nil
}

// rejects takes what rejects hold of the person: a page of one revision's.
func (p *pass) rejects(ctx context.Context) (bool, error) {
	revs, err := p.revisions(ctx)
	if err != nil {
		return false, err
	}
	w := &p.e.Work
	at, _ := slices.BinarySearch(revs, store.Revision(w.Revision))
	if at == len(revs) {
		p.next(erasure.Archive)
		return true, nil
	}
	rev := revs[at]
	var own access.Layers // that give all batches to the revision
	if rev > store.LiveRevision {
		own = access.Layers{{Revision: rev, From: math.MinInt64, To: math.MaxInt64}}
	}
	listing, cancel := p.call(ctx)
	page, next, err := p.Processed.Rejects(listing, p.m.ID, own, firstHour, endOfHours, w.Cursor, eraseRejects)
	cancel()
	if err != nil {
		return false, err
	}
	var hits []store.Reject
	for i := range page {
		if r := &page[i]; p.e.Covers(r.Batch) && p.holds(r) {
			hits = append(hits, *r)
		}
	}
	news := len(hits) > 0 && !w.Found
	if news {
		w.Pass.Rejects += int64(len(hits))
	}
	for i := range hits {
		news = w.Arrive(arrival(hits[i].Batch)) || news
	}
	if news {
		w.Found = true
		return true, nil
	}
	for i := range hits {
		r := &hits[i]
		r.EventID, r.Field, r.Detail, r.Data = "", "", "", nil
		if !r.Refused {
			r.Reason = enrich.ReasonErased
		}
	}
	if err := p.putRejects(ctx, rev, hits); err != nil {
		return false, err
	}
	w.Found, w.Revision, w.Cursor = false, uint32(rev), next
	if next == "" {
		w.Revision++
	}
	return true, nil
}

// holds reports whether a reject says something of the person.
func (p *pass) holds(r *store.Reject) bool {
	if !r.Refused && len(r.Data) > 0 {
		if e, err := event.DecodeEvent(r.Data); err == nil {
			return p.e.Person.Did(&e)
		}
	}
	return p.mentioned(r.EventID + "\x00" + r.Detail + "\x00" + string(r.Data))
}

// mentioned reports whether the person's name stands in a text that was not
// understood.
func (p *pass) mentioned(text string) bool {
	return slices.ContainsFunc(p.spellings, func(s string) bool { return strings.Contains(text, s) })
}

// forget takes out of the memory of first-seen visitors all users who lost
// events, and when they first bought. Those who have others left are seen again when these are counted.
func (p *pass) forget(ctx context.Context) (bool, error) {
	w := &p.e.Work
	if w.Pass.Nothing() {
		p.endPass()
		return true, nil
	}
	w.User(p.e.Person.Actor())
	forgotten := slices.Clone(w.Users)
	for _, u := range w.Users {
		forgotten = append(forgotten, summary.Buyer(u))
	}
	for _, v := range p.m.AllViews() {
		if v.State == access.ViewGone {
			continue
		}
		forgetting, cancel := p.call(ctx)
		var err error
		if w.Everyone {
			err = p.Visitors.Drop(forgetting, p.m.ID, v.Generation)
		} else {
			err = p.Visitors.Forget(forgetting, p.m.ID, v.Generation, forgotten)
		}
		cancel()
		if err != nil {
			return false, err
		}
	}
	p.next(erasure.Remaining)
	return true, nil
}

// remaining has the hours counted again in which these users have events left.
func (p *pass) remaining(ctx context.Context) (bool, error) {
	revs, from, to, err := p.window(ctx)
	if err != nil {
		return false, err
	}
	w := &p.e.Work
	if from == to {
		p.endPass()
		return true, nil
	}
	var hours []event.Hour
	for _, rev := range revs {
		scanning, cancel := p.call(ctx)
		err := p.Processed.Scan(scanning, p.m.ID, rev, from, to, func(doc store.Doc) error {
			if doc.Events == 0 || len(hours) > 0 && hours[len(hours)-1] == doc.Key.Hour {
				return nil
			}
			if w.Everyone {
				hours = append(hours, doc.Key.Hour)
				return nil
			}
			f, err := processed.Decode(doc.Data, processed.Columns{Actors: true})
			if err != nil {
				return fmt.Errorf("cannot read document of batch %s, hour %s: %w", doc.Key.Batch, doc.Key.Hour, err)
			}
			if slices.ContainsFunc(f.User, func(u uint64) bool { _, lost := slices.BinarySearch(w.Users, u); return lost }) {
				hours = append(hours, doc.Key.Hour)
			}
			return nil
		})
		cancel()
		if err != nil {
			return false, err
		}
	}
	slices.Sort(hours)
	if err := p.markHours(ctx, slices.Compact(hours)); err != nil {
		return false, err
	}
	w.Hour = to
	return true, nil
}
