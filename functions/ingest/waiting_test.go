package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// crowdOf lets n senders submit, each rounds times.
func crowdOf(t *testing.T, c *collector, n, rounds int) {
	var wg sync.WaitGroup
	for s := range n {
		wg.Go(func() {
			for i := range rounds {
				if err := c.submit(submissionOf(fmt.Sprintf("%d-%d", s, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// eachKind runs a test in still time, with a journal that takes whole batches only
// and with one that takes them in parts.
func eachKind(t *testing.T, test func(t *testing.T, gathers bool)) {
	for name, gathers := range map[string]bool{"whole": false, "in parts": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, gathers) })
		})
	}
}

func TestCrowdIsPublishedTogether(t *testing.T) {
	eachKind(t, func(t *testing.T, gathers bool) {
		j, p := &memoryJournal{gathers: gathers, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, nil)
		crowdOf(t, c, 64, 100)
		time.Sleep(openAge)
		synctest.Wait()
		// Nobody comes any more, and nothing is left behind.
		seen := map[event.BatchID]int{}
		for _, b := range p.batches(t) {
			seen[b.ID]++
		}
		for _, r := range j.rows {
			if seen[r.Batch] != 1 {
				t.Errorf("batch %s was published %d times", r.Batch, seen[r.Batch])
			}
		}
		if gathers && len(j.rows) > 100/4 {
			t.Errorf("the events of some 100 flushes are %d batches", len(j.rows))
		}
		if !gathers && p.publishes > len(j.rows)/4 {
			t.Errorf("%d batches were published in %d publishes", len(j.rows), p.publishes)
		}
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(j.marks) != len(j.rows) {
			t.Errorf("%d of %d batches are marked as published", len(j.marks), len(j.rows))
		}
	})
}

func TestCloseLeavesNothingUnpublished(t *testing.T) {
	eachKind(t, func(t *testing.T, gathers bool) {
		j, p := &memoryJournal{gathers: gathers, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, nil)
		crowdOf(t, c, 8, 20)
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(p.batches(t)); n != len(j.rows) || len(j.marks) != n {
			t.Errorf("of %d batches %d are published and %d marked", len(j.rows), n, len(j.marks))
		}
	})
}

// TestCloseAwaitsABrokerThatIsSlow: its first publish hangs while others follow
// and the instance is told to stop.
func TestCloseAwaitsABrokerThatIsSlow(t *testing.T) {
	eachKind(t, func(t *testing.T, gathers bool) {
		hang := make(chan struct{})
		j, p := &memoryJournal{gathers: gathers, delay: time.Millisecond}, &topic{hang: hang}
		c := stillCollector(t, j, p, nil)
		crowdOf(t, c, 1, 40)
		time.AfterFunc(2*patience, func() {
			p.mu.Lock()
			p.hang = nil
			p.mu.Unlock()
			close(hang)
		})
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(p.batches(t)); n != len(j.rows) || len(j.marks) != n {
			t.Errorf("of %d batches %d are published and %d marked", len(j.rows), n, len(j.marks))
		}
	})
}

// TestCrowdMeetsAJournalThatHangs: the journal alone would be enough, and does
// not answer.
func TestCrowdMeetsAJournalThatHangs(t *testing.T) {
	eachKind(t, func(t *testing.T, gathers bool) {
		j, p := &memoryJournal{gathers: gathers, delay: time.Millisecond}, &topic{}
		c := stillCollector(t, j, p, nil)
		crowdOf(t, c, 8, 20)
		synctest.Wait()
		j.slow(time.Hour, false)
		start := time.Now()
		crowdOf(t, c, 8, 1)
		if d := time.Since(start); d > 2*(hedge+patience) {
			t.Errorf("it took %v to answer from the Broker", d)
		}
		published := func() (events int) {
			for _, b := range p.batches(t) {
				events += len(b.Events)
			}
			return events
		}
		if n := published(); n < 8 || !gathers && n != 8*21 {
			t.Errorf("%d of %d events are in the Broker", n, 8*21)
		}
		// A batch to which a part was added that nobody has heard of is published when
		// the journal says that it is not in it.
		j.slow(time.Millisecond, false)
		time.Sleep(time.Minute)
		if n := published(); n != 8*21 {
			t.Errorf("%d of %d events are in the Broker now", n, 8*21)
		}
		sameInBoth(t, j, p)
		if err := c.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// leftJournal holds rows of a killed instance.
type leftJournal struct {
	memoryJournal
	left []store.JournalRow
}

func (j *leftJournal) Unfinished(_ context.Context, lacks store.Stage, _, before time.Time, limit int) (rows []store.JournalRow, _ error) {
	for _, r := range j.left {
		if lacks == store.StagePublished && r.ReceivedAt.Before(before) && len(rows) < limit {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func (j *leftJournal) Payload(_ context.Context, id event.BatchID) ([]byte, error) {
	for _, r := range j.left {
		if r.Batch == id {
			return r.Payload, nil
		}
	}
	return nil, nil
}

func TestStartPublishesWhatAKillLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, j := &topic{}, &leftJournal{}
		var packer event.Packer
		e := event.AppendEvent(nil, &event.Event{ID: "left", Stream: "G-A"})
		packer.AddRun(e, []int{len(e)}, 0)
		sealed, err := packer.Seal(event.NewBatchID, time.Now(), "killed")
		if err != nil {
			t.Fatal(err)
		}
		j.left = []store.JournalRow{{Batch: sealed[0].ID, ReceivedAt: time.Now(), PartitionKey: "001", Payload: sealed[0].Container}}
		time.Sleep(time.Second)
		in, err := New(defaults(t), Ports{Journal: j, Publisher: p, Clock: time.Now, Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{}})
		if err != nil {
			t.Fatal(err)
		}
		in.recover(t.Context())
		if got := p.batches(t); len(got) != 1 || got[0].Events[0].ID != "left" {
			t.Errorf("%d batches were published", len(got))
		}
		if err := in.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(j.marks) != 1 {
			t.Errorf("%d marks", len(j.marks))
		}
	})
}

// TestBrokerThatWasAwayGetsAllWithoutATick: it stalls, or fails, for some
// seconds; what the journal alone took meanwhile follows soon.
func TestBrokerThatWasAwayGetsAllWithoutATick(t *testing.T) {
	for name, away := range map[string]func(p *topic) (back func()){
		"stalls": func(p *topic) func() {
			hang := make(chan struct{})
			p.hang = hang
			return func() {
				p.mu.Lock()
				p.hang = nil
				p.mu.Unlock()
				close(hang)
			}
		},
		"hangs until the deadline": func(p *topic) func() {
			p.hang = make(chan struct{})
			return func() {
				p.mu.Lock()
				p.hang = nil
				p.mu.Unlock()
			}
		},
		"fails": func(p *topic) func() {
			p.fails(func() error { return errors.New("no leader") })
			return func() { p.fails(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, gathers bool) {
				j, p := &memoryJournal{gathers: gathers, delay: 2 * time.Millisecond}, &topic{}
				back := away(p)
				c := stillCollector(t, j, p, nil)
				for range 20 {
					crowdOf(t, c, 8, 1)
					time.Sleep(100 * time.Millisecond)
				}
				back()
				time.Sleep(c.cfg.WriteTimeout + 2*pause)
				seen := map[event.BatchID]bool{}
				for _, b := range p.batches(t) {
					seen[b.ID] = true
				}
				for _, r := range j.all(t) {
					if !seen[r.Batch] {
						t.Errorf("batch %s is not published", r.Batch)
					}
				}
				if err := c.close(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
