package ingest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/event"
)

func TestLanesHoldFewStreams(t *testing.T) {
	f := &flush{}
	cfg := defaults(t)
	const streams, each = 40, 100
	all := map[string]int{}
	for s := range streams {
		sub := &submission{receivedAt: arrival.Add(time.Duration(s) * time.Millisecond)}
		for i := range each {
			// Two hours, in turn, so that each event is a run of its own.
			id := fmt.Sprintf("%d-%d", s, i)
			sub.encoded = event.AppendEvent(sub.encoded, &event.Event{ID: id, Stream: fmt.Sprintf("G-%d", s)})
			sub.add(fmt.Sprintf("G-%d", s), uint64(s)*0x9e3779b97f4a7c15, event.Hour(i%2))
			all[id]++
		}
		f.subs = append(f.subs, sub)
		f.events += each
	}
	if err := f.seal(&cfg, arrival.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if len(f.rows) != 4 || len(f.msgs) != 4 {
		t.Fatalf("%d batches", len(f.rows))
	}
	where := map[string]event.BatchID{}
	for _, r := range f.rows {
		b, err := event.DecodeBatch(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if !b.ReceivedAt.Equal(arrival) || !r.ReceivedAt.Equal(arrival) {
			t.Errorf("received at %s", b.ReceivedAt)
		}
		counts := map[string]int64{}
		var total int64
		for _, c := range r.Counts {
			counts[c.Stream] += c.Events
			total += c.Events
		}
		if total != int64(len(b.Events)) || len(counts) > 20 {
			t.Errorf("batch of %d events of %d streams counts %d", len(b.Events), len(counts), total)
		}
		for _, e := range b.Events {
			if all[e.ID]--; all[e.ID] != 0 {
				t.Errorf("event %s twice", e.ID)
			}
			if id, ok := where[e.Stream]; ok && id != b.ID {
				t.Errorf("stream %s is in two batches", e.Stream)
			}
			where[e.Stream] = b.ID
		}
	}
	for i, sub := range f.subs {
		if len(sub.batches) != 1 || sub.batches[0] != where[fmt.Sprintf("G-%d", i)] {
			t.Errorf("the receipt of submission %d names %v", i, sub.batches)
		}
	}
}

func TestLargeFlushBecomesSeveralBatches(t *testing.T) {
	f := &flush{}
	cfg := defaults(t)
	cfg.MaxLanes = 1
	noise := make([]byte, 6000)
	rnd := rand.New(rand.NewPCG(1, 1))
	for s := range 2 {
		sub := &submission{receivedAt: arrival}
		for i := range 900 { // 5.4 MB in one run: more than a batch holds
			for k := range noise {
				noise[k] = byte(' ' + rnd.IntN(90))
			}
			sub.encoded = event.AppendEvent(sub.encoded, &event.Event{ID: fmt.Sprintf("%d-%d", s, i), Extra: string(noise)})
			sub.add("G-A", 1, 1)
		}
		f.subs = append(f.subs, sub)
		f.events += 900
	}
	if err := f.seal(&cfg, arrival); err != nil {
		t.Fatal(err)
	}
	var events, counted int64
	for _, r := range f.rows {
		b, err := event.DecodeBatch(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Payload) > event.MaxBatchBytes {
			t.Errorf("a batch of %d bytes", len(r.Payload))
		}
		events += int64(len(b.Events))
		for _, c := range r.Counts {
			counted += c.Events
		}
	}
	if events != 1800 || counted != 1800 || len(f.subs[0].batches) < 2 {
		t.Fatalf("%d batches of %d events, counted %d", len(f.rows), events, counted)
	}
}

// One merchant may have a fifth of all events and more: no partition may have
// them all, for what shares it with them would wait behind them.
func TestHotStreamIsSpreadOverPartitions(t *testing.T) {
	const partitions, flushes, streams = 24, 400, 500
	rnd := rand.New(rand.NewPCG(2, 3))
	cfg := defaults(t)
	for _, size := range []int{1, 100, 5000} { // events of a flush
		var all, hot [partitions]int64
		for range min(flushes, 400_000/size) {
			f := &flush{events: size}
			sub := &submission{receivedAt: arrival}
			for i := range size {
				stream := rnd.IntN(streams)
				if rnd.IntN(5) == 0 {
					stream = 0 // the hot one
				}
				name := fmt.Sprint("G-", stream)
				sub.encoded = event.AppendEvent(sub.encoded, &event.Event{ID: fmt.Sprint(i), Stream: name})
				sub.add(name, xxh3.HashString(name), 1)
			}
			f.subs = append(f.subs, sub)
			if err := f.seal(&cfg, arrival); err != nil {
				t.Fatal(err)
			}
			for _, r := range f.rows {
				p := kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: []byte(r.PartitionKey)}, numbers(partitions)...)
				for _, c := range r.Counts {
					all[p] += c.Events
					if c.Stream == "G-0" {
						hot[p] += c.Events
					}
				}
			}
		}
		sum := func(of [partitions]int64) (n int64) {
			for _, v := range of {
				n += v
			}
			return n
		}
		mostOf := func(of [partitions]int64) float64 { return float64(slices.Max(of[:])) / float64(sum(of)) }
		t.Logf("flushes of %d: the fullest partition has %.1f %% of all events and %.1f %% of the hot stream's", size, 100*mostOf(all), 100*mostOf(hot))
		if mostOf(all) > 0.12 || mostOf(hot) > 0.2 {
			t.Errorf("flushes of %d: expected every partition of %d to have a part of %v, and of the hot stream's %v", size, partitions, all, hot)
		}
	}
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
