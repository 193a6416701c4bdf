package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

const (
	// patience is how long a flush whose events are durable in one sink waits
	// for the other before the next flush begins without it.
	patience = 250 * time.Millisecond
	// pause is how long a sink that failed is left alone while the other does.
	pause = time.Second
)

// sink is one of the two places in which a batch is durable.
type sink struct {
	name  string
	write func(ctx context.Context, a *attempt) error

	// ready asks whether a write would succeed; nil where nobody can say
	// before it is tried.
	ready func(ctx context.Context) error

	took    atomic.Int64 // when the last write succeeded, ns since the Unix epoch
	busy    atomic.Bool  // a write of an earlier flush hangs
	failing atomic.Bool  // the last write failed
	until   atomic.Int64 // do not try before, ns since the Unix epoch
}

// writer writes flushes to journal and Broker at once. One of them is enough
// to answer; what the other missed, the journal tick makes good.
type writer struct {
	cfg     Config
	clock   function.Clock
	log     *slog.Logger
	meters  *meters
	sinks   [2]*sink
	marks   *marks
	writing atomic.Bool    // a flush is being written
	waiting waiting        // the flushing goroutine's
	hanging sync.WaitGroup // writes that go on beyond their flush
	ending  chan struct{}  // closed by end
	end     func()         // close was called

	gatherer store.Gatherer // nil: none
	open     *openBatch     // nil: none; the flushing goroutine's
	spare    *openBatch     // the next open one's memory

	published chan struct{} // closed when the publish that goes on beside has ended; the flushing goroutine's

	mu       sync.Mutex
	returned waiting // what a publish that hung did not bring to the Broker
	wake     func()  // tells the flushing goroutine that something was returned
}

func newWriter(cfg Config, ports Ports, m *meters) *writer {
	w := &writer{cfg: cfg, clock: ports.Clock, log: ports.Log, meters: m, gatherer: ports.Gatherer, spare: &openBatch{}, published: make(chan struct{}), ending: make(chan struct{})}
	w.end = sync.OnceFunc(func() { close(w.ending) })
	close(w.published)
	w.sinks[0] = &sink{name: "journal", ready: ports.JournalReady, write: func(ctx context.Context, a *attempt) error {
		return ports.Journal.Append(ctx, a.rows)
	}}
	w.sinks[1] = &sink{name: "broker", ready: ports.BrokerReady, write: func(ctx context.Context, a *attempt) error {
		return ports.Publisher.Publish(ctx, broker.Batches, a.publish...)
	}}
	w.marks = newMarks(cfg, ports)
	return w
}

// fresh is how long after a write that succeeded nobody needs to be asked
// whether another would.
const fresh = 5 * time.Second

// takes is nil where one of the sinks would take a batch now. It asks where no
// write lately has told: else an instance that has just begun would promise
// what it cannot know, and one that gets no requests because it is not ready
// would never find out that it is again.
func (w *writer) takes(ctx context.Context) error {
	now := time.Now()
	for _, s := range w.sinks {
		if !s.failing.Load() && now.Sub(time.Unix(0, s.took.Load())) < fresh {
			return nil
		}
	}
	answers := make(chan error, len(w.sinks))
	for _, s := range w.sinks {
		go func() { answers <- s.ask(ctx) }()
	}
	var errs []error
	for range w.sinks {
		select {
		case err := <-answers:
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	return errors.Join(errs...)
}

func (s *sink) ask(ctx context.Context) error {
	if s.ready != nil {
		if err := s.ready(ctx); err != nil {
			return fmt.Errorf("the %s is away: %w", s.name, err)
		}
		return nil
	}
	// Not for ever: whoever balances sends nothing to an instance that is not
	// ready, and only a request finds out that the sink is back.
	if s.failing.Load() && (s.busy.Load() || time.Now().UnixNano() < s.until.Load()) {
		return fmt.Errorf("the %s did not take the last batch", s.name)
	}
	return nil
}

// failing reports whether neither sink took what was last written to it.
func (w *writer) failing() bool { return w.sinks[0].failing.Load() && w.sinks[1].failing.Load() }

// hopeless reports whether a flush is tried at this moment although both sinks
// were away before: whoever comes meanwhile need not wait for it to fail, too.
func (w *writer) hopeless() bool { return w.writing.Load() && w.failing() }

// nowhere is what a sender is told whose events could not be written down.
func nowhere(err error) error {
	return &fault.Error{Kind: fault.Transient, RetryAfter: retryAfter, Err: fault.New(fault.Transient, "cannot write a batch anywhere: %w", err)}
}

var (
	errBothAway = errors.New("journal and broker are away")
	errBothBusy = errors.New("journal and broker are still at what they got before")
)

type outcome struct {
	sink int
	err  error
}

// attempt is the writing of one flush. It outlives the flush where a sink
// hangs. The Broker may get batches of earlier flushes with it.
type attempt struct {
	rows      []store.JournalRow
	msgs      []cloudevents.Event // of rows
	published []store.JournalRow  // rows, and those that waited to be published
	publish   []cloudevents.Event // of published
	started   [2]bool
	wrote     [2]bool
	pending   int
	outcomes  chan outcome
}

// flush seals and writes f, tells the waiting requests as soon as their events
// are durable in one sink, and returns when the next flush may begin. Where
// requests come together the journal is enough: then a flush is part of a batch,
// or the Broker gets the batches of some flushes in one publish.
func (w *writer) flush(f *flush, together bool) {
	w.writing.Store(true)
	defer w.writing.Store(false)
	now := w.clock()
	begin := time.Now() // the meter's own: durations are real
	if together && w.addPart(f, now, begin) {
		return
	}
	if err := f.seal(&w.cfg, now); err != nil {
		w.log.Error("cannot seal a flush", "events", f.events, "error", err)
		f.settle(err)
		return
	}
	if len(f.rows) == 0 {
		return
	}
	a := &attempt{rows: f.rows, msgs: f.msgs, outcomes: make(chan outcome, len(w.sinks))}
	alone := together && w.ready(0) && w.ready(1) && w.waiting.room(f, begin)
	for i := range w.sinks {
		if w.ready(i) && (i == 0 || !alone) {
			w.start(a, i)
		}
	}
	if a.pending == 0 {
		w.startRest(a)
	}
	if alone {
		w.hedge(a)
	}
	if w.await(a, f) {
		w.meters.accepted.Add(context.Background(), int64(f.events))
		w.meters.flushed(begin)
		w.meters.sealed(a.rows)
	}
	if !a.started[1] && a.wrote[0] {
		// Either they may wait for others, or the Broker is busy or failing:
		// then they are published as soon as it takes something again.
		w.waiting.add(a.rows, a.msgs, begin)
	}
	w.finish(a)
}

// ready reports whether a sink should be tried: no write hangs in it, and it
// has not failed lately.
func (w *writer) ready(i int) bool {
	s := w.sinks[i]
	return !s.busy.Load() && time.Now().UnixNano() >= s.until.Load()
}

// takeWaiting lets a's publish take along what waits.
func (w *writer) takeWaiting(a *attempt) {
	w.collect()
	rows, msgs := w.waiting.take()
	a.published, a.publish = append(rows, a.rows...), append(msgs, a.msgs...)
}

// hedge waits a little for the journal, and asks the Broker as well where that
// does not answer.
func (w *writer) hedge(a *attempt) {
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	select {
	case o := <-a.outcomes:
		a.outcomes <- o // for await: there is room
		return
	case <-timer.C:
	}
	timer.Reset(patience)
	select {
	case o := <-a.outcomes:
		a.outcomes <- o
		return
	case <-w.published: // the Broker may take something again
	case <-timer.C:
	}
	w.startRest(a)
}

// release publishes what waits, unless the Broker is busy or failing: then it
// goes on waiting. Flushes go on meanwhile.
func (w *writer) release() {
	w.sealDue(time.Now())
	w.collect()
	if len(w.waiting.msgs) == 0 || !w.ready(1) {
		return
	}
	a := &attempt{outcomes: make(chan outcome, len(w.sinks))}
	w.takeWaiting(a)
	w.start(a, 1)
	w.published = w.goOn(a)
}

// await waits for the first success and tells the requests; false where no
// sink took the flush.
func (w *writer) await(a *attempt, f *flush) bool {
	var errs []error
	for {
		for a.pending > 0 {
			o := w.outcome(a)
			if o.err == nil {
				if o.sink == 1 {
					w.awaitJournal(a)
				}
				f.settle(nil)
				return true
			}
			errs = append(errs, o.err)
		}
		if !w.startRest(a) && !(w.awaitPublished() && w.startRest(a)) {
			f.settle(nowhere(cmp.Or(errors.Join(errs...), errBothBusy)))
			return false
		}
	}
}

// awaitPublished waits a little for a publish that goes on beside.
func (w *writer) awaitPublished() bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.published:
		return true
	case <-timer.C:
		return false
	}
}

// awaitJournal gives the journal a moment to know of a batch that the Broker
// has taken already: until it does, the watermark and the ledger do not, and a
// sender who asks right after the answer would be told that nothing is pending.
// The batch is durable, so a journal that is slow or away holds nobody up.
func (w *writer) awaitJournal(a *attempt) {
	if a.pending == 0 {
		return
	}
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	select {
	case o := <-a.outcomes:
		w.record(a, o)
	case <-timer.C:
	}
}

// finish waits a little for the sink that has not answered yet, then lets it
// go on alone.
func (w *writer) finish(a *attempt) {
	if a.pending > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case o := <-a.outcomes:
			w.record(a, o)
		case <-timer.C:
			w.goOn(a)
			return
		}
	}
	w.mark(a)
	w.keep(a)
}

// goOn lets what is under way of an attempt go on alone; its sinks take nothing
// else until then, which the channel tells.
func (w *writer) goOn(a *attempt) (ended chan struct{}) {
	ended = make(chan struct{})
	for i := range w.sinks {
		if a.started[i] && !a.wrote[i] {
			w.sinks[i].busy.Store(true)
		}
	}
	w.hanging.Go(func() {
		for a.pending > 0 {
			o := w.outcome(a)
			w.sinks[o.sink].busy.Store(false)
		}
		close(ended)
		w.mark(a)
		w.giveBack(a)
	})
	return ended
}

// keep lets what the Broker did not take wait for another publish, as far as
// it stands in the journal.
func (w *writer) keep(a *attempt) {
	rows, msgs := a.unpublished()
	w.waiting.add(rows, msgs, time.Now())
}

// unpublished is what the attempt should have brought to the Broker and did
// not, and what the journal has.
func (a *attempt) unpublished() ([]store.JournalRow, []cloudevents.Event) {
	if !a.started[1] || a.wrote[1] {
		return nil, nil
	}
	n := len(a.published)
	if !a.wrote[0] {
		n -= len(a.rows) // their senders were told that they are nowhere
	}
	return a.published[:n], a.publish[:n]
}

// giveBack is keep for an attempt that has outlived its flush: a Broker that is
// away is tried until the deadline, so that each of its failures comes late.
func (w *writer) giveBack(a *attempt) {
	rows, msgs := a.unpublished()
	if len(msgs) == 0 {
		return
	}
	w.mu.Lock()
	w.returned.add(rows, msgs, time.Now())
	w.mu.Unlock()
	w.wake()
}

// collect takes over what was given back. The flushing goroutine calls it.
func (w *writer) collect() {
	w.mu.Lock()
	rows, msgs := w.returned.take()
	w.mu.Unlock()
	w.waiting.add(rows, msgs, time.Now())
}

// mark remembers that what the Broker took is published. It comes after the
// journal's answer, for a mark would otherwise make a row without its payload.
func (w *writer) mark(a *attempt) {
	if a.wrote[1] {
		w.marks.add(a.published)
	}
}

// startRest tries the sinks that were left out; false where there are none.
func (w *writer) startRest(a *attempt) bool {
	tried := false
	for i, s := range w.sinks {
		if !a.started[i] && !s.busy.Load() {
			w.start(a, i)
			tried = true
		}
	}
	return tried
}

func (w *writer) start(a *attempt, i int) {
	if i == 1 && a.publish == nil {
		w.takeWaiting(a)
	}
	a.started[i] = true
	a.pending++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), w.cfg.WriteTimeout)
		defer cancel()
		a.outcomes <- outcome{sink: i, err: w.sinks[i].write(ctx, a)}
	}()
}

func (w *writer) outcome(a *attempt) outcome {
	o := <-a.outcomes
	w.record(a, o)
	return o
}

func (w *writer) record(a *attempt, o outcome) {
	a.pending--
	a.wrote[o.sink] = o.err == nil
	w.heard(w.sinks[o.sink], o.err)
}

// heard notes how a write to a sink ended.
func (w *writer) heard(s *sink, err error) {
	if err == nil {
		s.took.Store(time.Now().UnixNano())
		if s.failing.Swap(false) {
			w.log.Info("sink takes batches again", "sink", s.name)
		}
		return
	}
	s.until.Store(time.Now().Add(pause).UnixNano())
	w.meters.add(w.meters.failures, 1, "sink", s.name)
	if !s.failing.Swap(true) {
		w.log.Warn("sink takes no batches; going on with the other", "sink", s.name, "error", err)
	}
}

// close waits for writes that hang, publishes what waited for them, and writes
// the last marks. The flushing goroutine has ended.
func (w *writer) close(ctx context.Context) error {
	w.end()
	if w.settled(ctx) {
		w.release() // a Broker that was slow for the last flushes may have come back
		w.settled(ctx)
	}
	w.marks.close(ctx)
	return nil
}

// settled waits for writes that hang; false where ctx ends before.
func (w *writer) settled(ctx context.Context) bool {
	done := make(chan struct{})
	go func() {
		w.hanging.Wait() // each has a deadline
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
