package ingest

import (
	"context"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// openBatch is a batch to which one flush after the other adds what it holds,
// each as a part that is durable in the journal before its senders are answered.
// Senders who wait for their answers make flushes as small as there are senders,
// and whatever stands behind the journal has its price by the batch.
type openBatch struct {
	id       event.BatchID
	received time.Time // as of the first of its events
	since    time.Time // by the clock that durations are measured by
	packer   event.Packer
	counts   []event.StreamHour // in order of streams and hours
}

// begin makes another batch of b, with its memory.
func (b *openBatch) begin(id event.BatchID, received, since time.Time) {
	b.id, b.received, b.since = id, received, since
	b.packer.Reset()
	b.counts = nil // those of the last one are in its row
}

// partShare is how much smaller than a batch a flush must be to be part of one.
const partShare = 4

// full reports whether there is no room for a part with so much more.
func (b *openBatch) full(cfg *Config, events, bytes int) bool {
	return b.packer.Events()+events > cfg.LaneEvents || b.packer.Bytes()+bytes > publishBytes || !b.packer.Fits(events, bytes)
}

// addPart makes a flush part of the open batch, and tells the waiting requests;
// false where it has to have batches of its own.
func (w *writer) addPart(f *flush, now, begin time.Time) bool {
	if w.gatherer == nil || f.events == 0 || f.events > w.cfg.LaneEvents/partShare || !w.ready(0) || w.sinks[1].failing.Load() {
		return false
	}
	part := f.whole()
	if part == nil {
		return false
	}
	if part.packer.Bytes() > publishBytes/partShare {
		part.reset()
		return false
	}
	if w.open != nil && w.open.full(&w.cfg, f.events, part.packer.Bytes()) {
		w.seal()
	}
	if w.open == nil {
		received := f.received(now)
		id, err := event.NewBatchIDAt(received)
		if err != nil {
			part.reset()
			return false
		}
		w.open = w.spare
		w.open.begin(id, received, begin)
	}
	b := w.open
	row := store.JournalRow{
		Batch: b.id, ReceivedAt: b.received, PartitionKey: partitionKey(b.id), Counts: part.counts(),
		Payload: part.packer.Part(b.id, b.received, w.cfg.Instance),
	}
	if !w.gather(row) {
		// Nobody knows whether the journal has it: the batch goes on without it, and
		// the flush has another.
		w.sealWithout()
		part.reset()
		return false
	}
	b.packer.AddAll(&part.packer)
	b.counts = event.SumCounts(append(b.counts, row.Counts...))
	for _, s := range f.subs {
		s.batches = append(s.batches, b.id)
	}
	w.meters.accepted.Add(context.Background(), int64(f.events))
	w.meters.flushed(begin)
	f.settle(nil)
	return true
}

// gather writes a part; false where it failed or the journal does not answer.
func (w *writer) gather(part store.JournalRow) bool {
	s := w.sinks[0]
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), w.cfg.WriteTimeout)
		defer cancel()
		answer <- w.gatherer.Gather(ctx, part)
	}()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	select {
	case err := <-answer:
		w.heard(s, err)
		return err == nil
	case <-timer.C:
	}
	s.busy.Store(true)
	w.hanging.Go(func() {
		// Where its batch was sealed meanwhile, a journal that works refuses the part.
		if err := <-answer; !fault.Is(err, fault.Conflict) {
			w.heard(s, err)
		}
		s.busy.Store(false)
	})
	return false
}

// seal ends the open batch: what it holds takes the place of its parts in the
// journal, and waits to be published.
func (w *writer) seal() {
	row, msg, ok := w.sealed()
	if !ok {
		return
	}
	w.hanging.Go(func() { w.whole(row) })
	w.waiting.addOne(row, msg, time.Now())
}

// sealWithout is seal where the journal may have a part that the batch has not. Only
// when it has none any more may the batch be published: else a kill in between would
// leave a batch that is one thing in the Broker and another in the journal. Its events
// are durable, and who counts them reads the same store, which does not answer.
func (w *writer) sealWithout() {
	row, msg, ok := w.sealed()
	if !ok {
		return
	}
	w.hanging.Go(func() {
		again := time.NewTicker(pause)
		defer again.Stop()
		for !w.whole(row) {
			select {
			case <-again.C:
			case <-w.ending:
				return // the next instance publishes what the journal has
			}
		}
		w.mu.Lock()
		w.returned.addOne(row, msg, time.Now())
		w.mu.Unlock()
		w.wake()
	})
}

// sealed closes the open batch; ok is false where there is none.
func (w *writer) sealed() (row store.JournalRow, msg cloudevents.Event, ok bool) {
	b := w.open
	if b == nil {
		return row, msg, false
	}
	w.open, w.spare = nil, b
	payload, err := b.packer.SealOne(b.id, b.received, w.cfg.Instance)
	if err == nil {
		row = store.JournalRow{Batch: b.id, ReceivedAt: b.received, PartitionKey: partitionKey(b.id), Counts: b.counts, Payload: payload}
		msg, err = broker.AcceptedBatch("/ingest/"+w.cfg.Instance, row.Batch, row.ReceivedAt, row.PartitionKey, payload)
	}
	if err != nil { // cannot be, for it is bounded; a tick publishes its parts
		w.log.Error("cannot seal a batch", "batch", b.id, "events", b.packer.Events(), "error", err)
		return row, msg, false
	}
	w.meters.sealed([]store.JournalRow{row})
	return row, msg, true
}

// whole puts a sealed batch in place of its parts in the journal; false where that
// keeps them.
func (w *writer) whole(row store.JournalRow) bool {
	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.WriteTimeout)
	defer cancel()
	if err := w.gatherer.Append(ctx, []store.JournalRow{row}); err != nil {
		w.log.Warn("the journal keeps a batch in parts", "batch", row.Batch, "error", err)
		return false
	}
	return true
}

// due is how long from now something has to be published at the latest; false
// where there is nothing.
func (w *writer) due(now time.Time) (age time.Duration, any bool) {
	age, any = w.waiting.due(now)
	if w.open == nil {
		return age, any
	}
	opened := max(0, w.open.since.Add(openAge).Sub(now))
	if any {
		opened = min(opened, age)
	}
	return opened, true
}

// sealDue ends the open batch where it has waited long enough, and the Broker
// would take it: as long as that is busy, more may come.
func (w *writer) sealDue(now time.Time) {
	if w.open != nil && now.Sub(w.open.since) >= openAge && w.ready(1) {
		w.seal()
	}
}

// whole is all that a flush holds, in one lane; nil where it does not fit.
func (f *flush) whole() *lane {
	if len(f.lanes) == 0 {
		f.lanes = append(f.lanes, lane{})
	}
	l := &f.lanes[0]
	for _, s := range f.subs {
		if !l.packer.AddRun(s.encoded, s.ends, 0) {
			l.reset()
			return nil
		}
		for _, r := range s.runs {
			l.runs = append(l.runs, laneRun{run: r, sub: s})
		}
	}
	for i := range f.refused {
		l.packer.AddRefused(&f.refused[i])
	}
	return l
}

// received is when the first of a flush's events came.
func (f *flush) received(now time.Time) time.Time {
	for _, s := range f.subs {
		if s.receivedAt.Before(now) {
			now = s.receivedAt
		}
	}
	return now
}

// counts is what a lane holds, in order of streams and hours.
func (l *lane) counts() []event.StreamHour {
	all := make([]event.StreamHour, 0, len(l.runs))
	for i := range l.runs {
		r := &l.runs[i]
		all = append(all, event.StreamHour{Stream: r.stream, Hour: r.hour, Events: int64(r.events)})
	}
	all = event.SumCounts(all)
	for i := range all {
		all[i].Stream = strings.Clone(all[i].Stream) // the submission's texts end with its request
	}
	return all
}
