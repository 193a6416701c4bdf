package ingest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// flush is what is written together. Its memory is used again, except for
// rows and messages: a write that hangs may hold them longer.
type flush struct {
	subs    []*submission
	refused []event.Refused
	events  int

	lanes []lane
	rows  []store.JournalRow
	msgs  []cloudevents.Event
}

// lane gathers the events of some of the streams.
type lane struct {
	packer event.Packer
	runs   []laneRun
}

// laneRun is a run with its owner.
type laneRun struct {
	run
	sub *submission
}

func (f *flush) reset() {
	clear(f.subs)
	clear(f.refused)
	f.subs, f.refused, f.events = f.subs[:0], f.refused[:0], 0
	f.rows, f.msgs = nil, nil
	for i := range f.lanes {
		f.lanes[i].reset()
	}
}

func (l *lane) reset() {
	l.packer.Reset()
	clear(l.runs)
	l.runs = l.runs[:0]
}

// seal packs the submissions into batches: rows for the journal and messages
// for the Broker. Streams are spread over lanes by their hash, so that each
// batch of a large flush holds few merchants.
func (f *flush) seal(cfg *Config, now time.Time) error {
	n := min(max(1, f.events/cfg.LaneEvents), cfg.MaxLanes)
	for len(f.lanes) < n {
		f.lanes = append(f.lanes, lane{})
	}
	received := f.received(now)
	for _, s := range f.subs {
		first := 0
		for _, r := range s.runs {
			l := &f.lanes[r.hash%uint64(n)]
			if err := f.add(l, cfg, received, s, r, first); err != nil {
				return err
			}
			first += r.events
		}
	}
	for i := range f.refused {
		f.lanes[0].packer.AddRefused(&f.refused[i])
	}
	for i := range n {
		if err := f.sealLane(&f.lanes[i], cfg, received); err != nil {
			return err
		}
	}
	return nil
}

// add puts a run, which begins at event first of its submission, into a lane;
// a batch that is full is sealed on the way.
func (f *flush) add(l *lane, cfg *Config, received time.Time, s *submission, r run, first int) error {
	start := 0
	if first > 0 {
		start = s.ends[first-1]
	}
	end := s.ends[first+r.events-1]
	if l.packer.AddRun(s.encoded[start:end], s.ends[first:first+r.events], start) {
		l.runs = append(l.runs, laneRun{run: r, sub: s})
		return nil
	}
	if l.packer.Events() > 0 {
		if err := f.sealLane(l, cfg, received); err != nil {
			return err
		}
		return f.add(l, cfg, received, s, r, first)
	}
	// A run that is too large for a batch of its own.
	half := r
	half.events = r.events / 2
	if half.events == 0 {
		return fault.New(fault.TooLarge, "cannot pack an event of %d bytes", end-start)
	}
	if err := f.add(l, cfg, received, s, half, first); err != nil {
		return err
	}
	rest := r
	rest.events -= half.events
	return f.add(l, cfg, received, s, rest, first+half.events)
}

// sealLane makes batches of what a lane holds, and empties it.
func (f *flush) sealLane(l *lane, cfg *Config, received time.Time) error {
	newID := func() (event.BatchID, error) { return event.NewBatchIDAt(received) }
	sealed, err := l.packer.Seal(newID, received, cfg.Instance)
	if err != nil {
		return fmt.Errorf("cannot pack a batch: %w", err)
	}
	next, left := 0, 0 // run, and how many of its events are still to be placed
	if len(l.runs) > 0 {
		left = l.runs[0].events
	}
	for i := range sealed {
		b := &sealed[i]
		counts := map[store.LedgerCount]int64{}
		for n := b.Events; n > 0; {
			r := &l.runs[next]
			took := min(n, left)
			counts[store.LedgerCount{Stream: r.stream, Hour: r.hour}] += int64(took)
			if k := len(r.sub.batches); k == 0 || r.sub.batches[k-1] != b.ID {
				r.sub.batches = append(r.sub.batches, b.ID)
			}
			n, left = n-took, left-took
			if left == 0 {
				if next++; next < len(l.runs) {
					left = l.runs[next].events
				}
			}
		}
		row := store.JournalRow{Batch: b.ID, ReceivedAt: received, PartitionKey: partitionKey(b.ID), Payload: b.Container, Counts: make([]event.StreamHour, 0, len(counts))}
		for k, n := range counts {
			// The submission's texts end with its request.
			row.Counts = append(row.Counts, event.StreamHour{Stream: strings.Clone(k.Stream), Hour: k.Hour, Events: n})
		}
		slices.SortFunc(row.Counts, func(a, b event.StreamHour) int {
			return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Hour, b.Hour))
		})
		msg, err := broker.AcceptedBatch("/ingest/"+cfg.Instance, row.Batch, row.ReceivedAt, row.PartitionKey, b.Container)
		if err != nil {
			return err
		}
		f.rows, f.msgs = append(f.rows, row), append(f.msgs, msg)
	}
	l.reset()
	return nil
}

// partitionKey spreads batches evenly over partitions. Nobody needs those of a
// merchant in order, and one may have a fifth of all events: named by its stream,
// they would all stand in one partition, with others' behind them.
func partitionKey(id event.BatchID) string {
	return fmt.Sprintf("%03x", binary.BigEndian.Uint16(id[len(id)-2:])%4096)
}

// settle tells the waiting requests.
func (f *flush) settle(err error) {
	for _, s := range f.subs {
		s.err = err
		if err != nil {
			s.batches = s.batches[:0]
		}
		s.done <- struct{}{}
	}
	f.subs = f.subs[:0]
}
