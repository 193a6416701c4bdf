package reprocess

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// Bounds of what an erasure does at once. Each place is looked at, recorded and
// changed within one tick or another: whoever dies in between leaves it to the
// next one, which does the same again.
const (
	eraseTime     = 20 * time.Second // of a tick: nothing is begun after it
	eraseHours    = 48               // whose documents are looked at together
	eraseDocs     = 16               // of these that are changed together
	eraseRejects  = 500
	erasuresPage  = 100
	readBatchFile = 5 * time.Minute // for all of one file of the archive
)

// erase takes every open erasure on, as far as the tick's time goes.
func (s *Service) erase(ctx context.Context) error {
	var errs faults
	until := time.Now().Add(eraseTime)
	for after := ""; ; {
		asking, cancel := s.call(ctx)
		page, err := s.Erasures.OpenErasures(asking, after, erasuresPage)
		cancel()
		if err != nil {
			return fmt.Errorf("cannot list open erasures: %w", err)
		}
		for i := range page {
			if time.Now().After(until) {
				return errs.err()
			}
			if err := s.eraseOne(ctx, &page[i], until); err != nil {
				errs.add(fmt.Errorf("cannot go on with erasure %q of merchant %q: %w", page[i].ID, page[i].Merchant, err))
			}
		}
		if len(page) < erasuresPage {
			return errs.err()
		}
		after = page[len(page)-1].ID
	}
}

// eraseOne takes an erasure on step by step, each of which is stored.
func (s *Service) eraseOne(ctx context.Context, e *erasure.Erasure, until time.Time) error {
	for was := e.State; e.Open() && time.Now().Before(until); was = e.State {
		changed, err := s.eraseStep(ctx, e)
		if err != nil || !changed {
			return err
		}
		if e.State != was {
			e.Since = s.Clock().UTC()
			s.Log.Info("erasure goes on", "function", "reprocess", "erasure", e.ID, "merchant", e.Merchant, "from", was, "to", e.State)
		}
		updating, cancel := s.call(ctx)
		err = s.Erasures.UpdateErasure(updating, *e)
		cancel()
		if fault.Is(err, fault.Conflict) {
			return nil // another instance is at it
		}
		if err != nil {
			return err
		}
		e.Version++
	}
	return nil
}

// eraseStep does the next thing that there is to do, and reports whether the
// erasure is to be stored.
func (s *Service) eraseStep(ctx context.Context, e *erasure.Erasure) (changed bool, err error) {
	switch e.State {
	case erasure.Waiting:
		return s.awaitAccepted(ctx, e)
	case erasure.Keeping:
		return s.keepReplaced(ctx, e)
	}
	m, err := s.merchant(ctx, e.Merchant)
	if fault.Is(err, fault.NotFound) {
		s.endErasure(e, fmt.Sprintf("there is no merchant %q any more: nobody can tell which events of the archive were its", e.Merchant))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	p := &pass{Service: s, e: e, m: &m}
	switch e.Work.Step {
	case erasure.Documents:
		return p.documents(ctx)
	case erasure.Rejects:
		return p.rejects(ctx)
	case erasure.Archive:
		return p.archive(ctx)
	case erasure.Forget:
		return p.forget(ctx)
	default:
		return p.remaining(ctx)
	}
}

// awaitAccepted begins the first pass when all that was accepted before the
// erasure was asked for is archived and processed: then no payload of it is in
// the journal any more.
func (s *Service) awaitAccepted(ctx context.Context, e *erasure.Erasure) (bool, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	rows, err := s.Journal.Unfinished(ctx, store.StageArchived|store.StageProcessed, time.Time{}, e.RequestedAt, 1)
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		s.beginPass(e, erasure.Erasing)
		return true, nil
	}
	return waitFor(e, fmt.Sprintf("batch %s of %s is not archived and processed yet", rows[0].Batch, rows[0].ReceivedAt.UTC().Format(time.RFC3339))), nil
}

func waitFor(e *erasure.Erasure, what string) (changed bool) {
	changed = e.WaitingFor != what
	e.WaitingFor = what
	return changed
}

func (s *Service) beginPass(e *erasure.Erasure, state erasure.State) {
	e.State, e.WaitingFor = state, ""
	e.Work = erasure.Work{Step: erasure.Documents, Hour: firstHour, Arrivals: e.Work.Arrivals, Pass: erasure.Pass{Began: s.Clock().UTC()}}
}

// endPass ends one that has looked at everything.
func (p *pass) endPass() {
	e, now := p.e, p.Clock().UTC()
	e.Work.Pass.Ended, e.WaitingFor = now, ""
	e.Proof.Passes = append(e.Proof.Passes, e.Work.Pass)
	if e.State == erasure.Checking && e.Work.Pass.Nothing() {
		p.endErasure(e)
		return
	}
	e.Proof.ErasedAt = now
	e.State = erasure.Keeping
	e.Work = erasure.Work{Arrivals: e.Work.Arrivals} // a later pass looks there, too
}

func (s *Service) endErasure(e *erasure.Erasure, problems ...string) {
	e.State, e.Person, e.Work, e.WaitingFor = erasure.Done, erasure.Person{}, erasure.Work{}, ""
	e.Proof.DoneAt = s.Clock().UTC()
	e.Problems = append(e.Problems, problems...)
}

// keepReplaced removes replaced files when nobody reads them any more, and
// begins the last pass when nothing can come back.
func (s *Service) keepReplaced(ctx context.Context, e *erasure.Erasure) (bool, error) {
	now := s.Clock()
	var replaced time.Time
	var hours []event.Hour
	for i := range e.Proof.Files {
		f := &e.Proof.Files[i]
		hours = append(hours, f.Hour)
		if f.At.After(replaced) {
			replaced = f.At
		}
	}
	if e.Proof.SweptAt.Before(replaced) {
		if due := replaced.Add(s.cfg.EraseKeep); now.Before(due) {
			return waitFor(e, "files of the archive that were replaced are kept until "+due.UTC().Format(time.RFC3339)), nil
		}
		slices.Sort(hours)
		for _, h := range slices.Compact(hours) {
			err := s.sweepArchive(ctx, h, replaced.Add(time.Nanosecond))
			if fault.Is(err, fault.Conflict) {
				return waitFor(e, busy(h)), nil
			}
			if err != nil {
				return false, err
			}
		}
		e.Proof.SweptAt = now.UTC()
		return true, nil
	}
	if due := e.RequestedAt.Add(s.cfg.EraseSettle); now.Before(due) {
		return waitFor(e, "messages of the Broker may bring a batch again until "+due.UTC().Format(time.RFC3339)), nil
	}
	left, err := s.uncounted(ctx, e.Merchant)
	if err != nil {
		return false, err
	}
	if left > 0 {
		return waitFor(e, fmt.Sprintf("%d hours of the merchant are still to be counted again", left)), nil
	}
	s.beginPass(e, erasure.Checking)
	return true, nil
}

// busy says that others look after the files of an hour, or one who died at it
// a moment ago.
func busy(h event.Hour) string {
	return fmt.Sprintf("another process looks after the archive's hour %s", h)
}

func (s *Service) sweepArchive(ctx context.Context, h event.Hour, before time.Time) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	_, _, err := s.Archive.Sweep(ctx, h, before)
	if fault.Is(err, fault.NotFound) {
		return nil // its retention is over
	}
	return err
}

// uncounted is how many ended hours a merchant's views are still to count anew.
func (s *Service) uncounted(ctx context.Context, id string) (int, error) {
	m, err := s.merchant(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var queues []store.Queue
	for _, v := range m.AllViews() {
		queues = append(queues, store.Queue(v.Generation))
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	hours, err := s.Processed.DirtyOf(ctx, id, queues, 1, event.HourOf(s.Clock()))
	return len(hours), err
}

// pass is one step of a pass.
type pass struct {
	*Service
	e *erasure.Erasure
	m *access.Merchant
}

// next goes on to a step.
func (p *pass) next(step erasure.Step) {
	w := &p.e.Work
	w.Step, w.Found, w.Hour, w.Cursor, w.Revision = step, false, firstHour, "", 0
}

// revisions are all that a merchant may have documents of, ascending.
func (p *pass) revisions(ctx context.Context) ([]store.Revision, error) {
	revs := []store.Revision{store.LiveRevision}
	for below := store.Revision(0); ; {
		jobs, err := p.jobs(ctx, below, jobsPage)
		if err != nil {
			return nil, err
		}
		for i := range jobs {
			if j := &jobs[i]; j.State != revision.Refused && j.Covers(p.m.ID) && (j.State != revision.Discarded || j.Swept.IsZero()) {
				revs = append(revs, j.Revision)
			}
		}
		if len(jobs) < jobsPage {
			slices.Sort(revs)
			return revs, nil
		}
		below = jobs[len(jobs)-1].Revision
	}
}

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
	revs, err := p.revisions(ctx)
	if err != nil {
		return false, err
	}
	w := &p.e.Work
	first, last, some, err := p.extent(ctx, p.m.ID, revs...)
	if err != nil {
		return false, err
	}
	from := max(w.Hour, first)
	if !some || from > last {
		p.next(erasure.Rejects)
		return true, nil
	}
	to := min(from+eraseHours, last+1)
	hits, all, err := p.find(ctx, revs, from, to)
	if err != nil {
		return false, err
	}
	if len(hits) > 0 && !w.Found {
		for _, h := range hits {
			p.record(&h)
		}
		w.Found = true
		return true, nil
	}
	for i := range hits {
		if err := p.cutRows(ctx, &hits[i]); err != nil {
			return false, err
		}
	}
	for i := range hits {
		w.Touch(hits[i].doc.Key.Hour)
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

// record notes what is about to be removed of a document, where in the archive
// it came from, and whose first event may be another then.
func (p *pass) record(h *hit) {
	w := &p.e.Work
	w.Pass.Rows += int64(len(h.rows))
	w.Touch(h.doc.Key.Hour)
	for _, i := range h.rows {
		w.Arrive(arrival(h.frame.Batches[h.frame.Batch[i]]))
		w.User(h.frame.User[i])
	}
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
	if len(hits) > 0 && !w.Found {
		w.Found = true
		w.Pass.Rejects += int64(len(hits))
		for i := range hits {
			w.Arrive(arrival(hits[i].Batch))
		}
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
	return mentions(r.EventID+"\x00"+r.Detail+"\x00"+string(r.Data), p.e.Person.Spellings())
}

func mentions(text string, spellings []string) bool {
	return slices.ContainsFunc(spellings, func(s string) bool { return strings.Contains(text, s) })
}

// folders are the hours of the archive that may have something of the person
// (see arrival), ascending.
func (p *pass) folders() []event.Hour {
	var hours []event.Hour
	for _, h := range p.e.Work.Arrivals {
		hours = append(hours, h-1, h, h+1)
	}
	slices.Sort(hours)
	return slices.Compact(hours)
}

// archive edits one file of the archive, or finds that an hour has none to edit.
func (p *pass) archive(ctx context.Context) (bool, error) {
	w := &p.e.Work
	hours := p.folders()
	at, _ := slices.BinarySearch(hours, w.Hour)
	if at == len(hours) {
		p.next(erasure.Forget)
		return true, nil
	}
	h := hours[at]
	listing, cancel := p.call(ctx)
	files, err := p.Archive.List(listing, h, h+1)
	cancel()
	if err != nil {
		return false, err
	}
	for i := range files {
		f := &files[i]
		if !f.Complete || slices.ContainsFunc(p.e.Problems, func(problem string) bool { return strings.Contains(problem, f.Path) }) {
			continue
		}
		reading, cancel := context.WithTimeout(ctx, readBatchFile)
		found, err := p.search(reading, f.Path)
		var done store.Replaced
		if err == nil && found > 0 {
			done, err = p.Archive.Replace(reading, store.Replacement{Hour: h, Sources: []string{f.Path}, At: p.Clock(), Edit: p.edit})
		}
		cancel()
		var damaged *store.DamagedFileError
		switch {
		case errors.As(err, &damaged):
			p.e.Problems = append(p.e.Problems, fmt.Sprintf("file %q of the archive cannot be read to its end, and so not be edited: %v", f.Path, damaged.Err))
			return true, nil
		case fault.Is(err, fault.Conflict), fault.Is(err, fault.NotFound):
			return waitFor(p.e, busy(h)), nil
		case err != nil:
			return false, err
		case found > 0:
			w.Pass.Archived += found
			p.e.Proof.Files = append(p.e.Proof.Files, erasure.File{
				Before: digest(&done.Sources[0]), After: digest(&done.File), Batches: done.Edited, Hour: h, At: p.Clock().UTC(),
			})
			return true, nil // it is recorded before the next file is looked at
		}
	}
	w.Hour, p.e.WaitingFor = h+1, ""
	return true, nil
}

func digest(d *store.Digest) erasure.Digest {
	return erasure.Digest{Path: d.Path, Bytes: d.Bytes, SHA256: hex.EncodeToString(d.SHA256[:])}
}

// search counts what a file has of the person.
func (p *pass) search(ctx context.Context, path string) (found int64, err error) {
	in, err := p.Archive.Open(ctx, path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	spellings := p.e.Person.Spellings()
	read := &failing{Reader: in}
	blocks := event.NewReader(read)
	for {
		b, err := blocks.NextBlock()
		if failed := errors.Join(read.err, ctx.Err()); failed != nil {
			return 0, failed
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return 0, &store.DamagedFileError{Path: path, Err: err}
		}
		if !p.e.Covers(b.Batch) || !slices.ContainsFunc(spellings, b.Mentions) {
			continue
		}
		batch, err := b.Decode()
		if err != nil {
			return 0, &store.DamagedFileError{Path: path, Err: err}
		}
		found += p.blank(batch)
	}
}

// failing keeps the error that reading ended with, other than the file's end:
// what could not be read is not damaged.
type failing struct {
	io.Reader
	err error
}

func (r *failing) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// edit is search for who writes the file anew.
func (p *pass) edit(b *event.Block) ([]byte, error) {
	if !p.e.Covers(b.Batch) || !slices.ContainsFunc(p.e.Person.Spellings(), b.Mentions) {
		return b.Data, nil
	}
	return b.Edit(func(batch *event.Batch) bool { return p.blank(batch) > 0 })
}

// blank erases what a batch has of the person, in the merchant's streams.
func (p *pass) blank(b *event.Batch) (n int64) {
	for i := range b.Events {
		if e := &b.Events[i]; p.e.Person.Did(e) && p.m.Stream(e.Stream) != nil {
			e.Erase()
			n++
		}
	}
	for i := range b.Refused {
		r := &b.Refused[i]
		if p.m.Stream(r.Stream) != nil && mentions(r.ID+"\x00"+r.Detail+"\x00"+string(r.Data), p.e.Person.Spellings()) {
			r.Erase()
			n++
		}
	}
	return n
}

// forget takes out of the memory of first-seen visitors all users who lost
// events. Those who have others left are seen again when these are counted.
func (p *pass) forget(ctx context.Context) (bool, error) {
	w := &p.e.Work
	w.User(p.e.Person.Actor())
	if w.Pass.Nothing() {
		p.endPass()
		return true, nil
	}
	for _, v := range p.m.AllViews() {
		if v.State == access.ViewGone {
			continue
		}
		forgetting, cancel := p.call(ctx)
		err := p.Visitors.Forget(forgetting, p.m.ID, v.Generation, w.Users)
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
	revs, err := p.revisions(ctx)
	if err != nil {
		return false, err
	}
	w := &p.e.Work
	first, last, some, err := p.extent(ctx, p.m.ID, revs...)
	if err != nil {
		return false, err
	}
	from := max(w.Hour, first)
	if !some || from > last {
		p.endPass()
		return true, nil
	}
	to := min(from+eraseHours, last+1)
	var hours []event.Hour
	for _, rev := range revs {
		scanning, cancel := p.call(ctx)
		err := p.Processed.Scan(scanning, p.m.ID, rev, from, to, func(doc store.Doc) error {
			if doc.Events == 0 || len(hours) > 0 && hours[len(hours)-1] == doc.Key.Hour {
				return nil
			}
			f, err := processed.Decode(doc.Data, processed.Columns{Actors: true})
			if err != nil {
				return err
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
