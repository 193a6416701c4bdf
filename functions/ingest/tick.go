package ingest

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// tickJournal is the value of the extension "tick" on journal ticks.
const tickJournal = "journal"

const (
	publishTogether = 16            // batches in one publish
	listRows        = 10_000        // rows looked at in one tick
	maxRepublished  = 50_000        // batches whose last publication is remembered
	maxBackoff      = 2 * time.Hour // so long at most a batch waits when its trouble is over
)

// Tick closes the gaps that the Broker left: it publishes the batches that never
// were, and again those that were and long after are still not processed or
// archived, and removes finished rows that are past their retention. It may run
// on several instances at once; on one, ticks that come together share a run,
// for each would publish the same batches.
//
// What was never published nobody else brings: of that a tick does all that its
// time allows. Of the rest it takes TickBatches, for nearly all of it is only
// late, and whoever is behind is not helped by more of the same.
//
// Processing and archiving are asked for apart: a batch is processed within
// seconds, but archived only when its file is complete, and a pile of the one
// kind must not hide the other.
func (in *Ingest) Tick(ctx context.Context, e cloudevents.Event) error {
	if tick, ok := e.Extensions()[event.ExtensionTick]; ok && tick != tickJournal {
		return nil
	}
	return in.ticks(ctx, e)
}

func (in *Ingest) closeGaps(ctx context.Context, _ cloudevents.Event) error {
	in.collector.writer.marks.write(ctx)
	now := in.ports.Clock()
	left := in.cfg.TickBatches
	errs := []error{in.publishLeft(ctx, now.Add(-in.cfg.RepublishAfter))}
	// What came while a clock went ahead is not late until that time has come,
	// and nobody is to wait for it that long.
	n, err := in.republish(ctx, store.AllStages, now.Add(clockError), farFuture, now, left)
	left -= n
	errs = append(errs, err)
	for _, gap := range []struct {
		lacks store.Stage
		after time.Duration
	}{
		{store.StageProcessed, in.cfg.StaleAfter},
		{store.StageArchived, in.cfg.UnarchivedAfter},
	} {
		n, err := in.republish(ctx, gap.lacks, time.Time{}, now.Add(-gap.after), now, left)
		left -= n
		errs = append(errs, err)
	}
	_, err = in.ports.Journal.Sweep(ctx, now.Add(-in.cfg.JournalRetention))
	if err := errors.Join(append(errs, err)...); err != nil {
		return fault.New(fault.Transient, "cannot finish the journal tick: %w", err)
	}
	return nil
}

// clockError is more than the clocks of instances differ.
const clockError = time.Minute

// farFuture is after everything that any clock has said.
var farFuture = time.UnixMicro(math.MaxInt64)

// tickReserve is how much of a tick's time is kept for the rest of it.
const tickReserve = 10 * time.Second

// publishLeft publishes the batches that were not published and came before a
// time: all of them, as far as ctx has time.
func (in *Ingest) publishLeft(ctx context.Context, before time.Time) error {
	end, bounded := ctx.Deadline()
	for {
		n, err := in.republish(ctx, store.StagePublished, time.Time{}, before, in.ports.Clock(), in.cfg.TickBatches)
		if err != nil || n < in.cfg.TickBatches || bounded && time.Until(end) < tickReserve {
			return err
		}
	}
}

// republish publishes the batches that lack a stage, came in [from, before) and
// were not published since. It returns how many.
func (in *Ingest) republish(ctx context.Context, lacks store.Stage, from, before, now time.Time, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	rows, err := in.ports.Journal.Unfinished(ctx, lacks, from, before, listRows)
	if err != nil {
		return 0, err
	}
	done := 0
	var group []store.JournalRow
	var msgs []cloudevents.Event
	send := func() error {
		if len(group) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, in.cfg.WriteTimeout)
		defer cancel()
		if err := in.ports.Publisher.Publish(ctx, broker.Batches, msgs...); err != nil {
			return err
		}
		for i := range group {
			in.again.note(group[i].Batch, now)
		}
		// At once: another instance may be about to look for the same gap.
		in.collector.writer.marks.add(group)
		in.collector.writer.marks.write(ctx)
		in.meters.republished.Add(ctx, int64(len(group)))
		done += len(group)
		group, msgs = group[:0], msgs[:0]
		return nil
	}
	for i := range rows {
		if done+len(group) >= limit {
			break
		}
		r := &rows[i]
		if !r.PublishedAt.Before(before) {
			continue // late, because it was published late
		}
		if !in.again.due(r.Batch, now, in.cfg.StaleAfter) {
			continue
		}
		payload, err := in.ports.Journal.Payload(ctx, r.Batch)
		if fault.Is(err, fault.NotFound) {
			// The journal was away when it came: it lives in the Broker only.
			in.again.note(r.Batch, now)
			continue
		}
		if err != nil {
			return done, errors.Join(err, send())
		}
		msg, err := broker.AcceptedBatch("/ingest/"+in.cfg.Instance, r.Batch, r.ReceivedAt, r.PartitionKey, payload)
		if err != nil {
			return done, err
		}
		group, msgs = append(group, *r), append(msgs, msg)
		if len(group) == publishTogether {
			if err := send(); err != nil {
				return done, err
			}
		}
	}
	err = send()
	if done > 0 {
		in.ports.Log.Info("published batches again", "batches", done, "lacked", stageName(lacks))
	}
	return done, err
}

func stageName(s store.Stage) string {
	switch s {
	case store.StagePublished:
		return "publication"
	case store.StageProcessed:
		return "processing"
	case store.StageArchived:
		return "archive"
	default:
		return "any"
	}
}

// republished remembers what this instance published again, and how often, so
// that a batch that no consumer can take does not come with every tick.
type republished struct {
	mu sync.Mutex
	at map[event.BatchID]publication
}

type publication struct {
	last  time.Time
	times int
}

func newRepublished() *republished {
	return &republished{at: map[event.BatchID]publication{}}
}

// due reports whether a batch may be published again: after each time it
// waits twice as long, first for the given time.
func (r *republished) due(id event.BatchID, now time.Time, first time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.at[id]
	if !ok {
		return true
	}
	return now.Sub(p.last) >= min(maxBackoff, first<<min(p.times-1, 10))
}

func (r *republished) note(id event.BatchID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.at) >= maxRepublished {
		clear(r.at) // only means that some come earlier than they should
	}
	p := r.at[id]
	r.at[id] = publication{last: now, times: p.times + 1}
}
