package delivery

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	kafkago "github.com/segmentio/kafka-go"
)

// keysApart are two keys of different partitions, by the partitioner that the
// Java client has.
func keysApart(st *stage) (a, b string) {
	st.t.Helper()
	br, _ := st.sys.wiring.Broker(brokerName)
	ids := make([]int, br.Topic.Partitions)
	for i := range ids {
		ids[i] = i
	}
	place := func(key string) int {
		return kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: []byte(key)}, ids...)
	}
	a = "key"
	for i := range 100 {
		if b = fmt.Sprintf("key%d", i); place(b) != place(a) {
			return a, b
		}
	}
	st.t.Fatal("no two keys of different partitions")
	return "", ""
}

func ordered(st *stage) {
	const n = 20
	held, flowing := keysApart(st)
	var flowed sync.WaitGroup // events of the other partition
	flowed.Add(n)
	st.answers(func(a *arrival) answer {
		if a.header.Get("Ce-Partitionkey") == held {
			flowed.Wait()
			return answer{status: 204}
		}
		if a.try == 1 && strings.HasSuffix(a.id(), "7") {
			return answer{status: 503}
		}
		flowed.Done()
		return answer{status: 204}
	})
	for i := range n {
		for _, key := range []string{held, flowing} {
			st.send(st.event("in-order", fmt.Sprintf("%s-%02d", key, i), "partitionkey", key))
		}
	}
	for _, key := range []string{held, flowing} {
		st.awaitArrivals("/in-order", fmt.Sprintf("%s-%02d", key, n-1), 1)
	}
	st.settled("in-order")
	byPartition := make(map[int64][]*arrival)
	for _, a := range st.all() {
		p, _ := a.place()
		byPartition[p] = append(byPartition[p], a)
	}
	if len(byPartition) != 2 {
		st.t.Errorf("%d partitions, want 2", len(byPartition))
	}
	total := 0
	for p, list := range byPartition {
		total += len(list)
		for i := 1; i < len(list); i++ {
			_, before := list[i-1].place()
			_, offset := list[i].place()
			if list[i-1].answered.After(list[i].at) {
				st.t.Errorf("partition %d: %d was on its way while %d was", p, offset, before)
			}
			if offset < before {
				st.t.Errorf("partition %d: %d came after %d", p, offset, before)
			}
		}
	}
	if want := 2*n + 2; total != want { // 07 and 17 are retried
		st.t.Errorf("%d deliveries, want %d", total, want)
	}
}

// What is known of Knative's: it asks for more while fewer than 50 are on
// their way, and gets at most 50 more then.
const (
	leastInFlight = 50
	mostInFlight  = 100
)

func unordered(st *stage) {
	var mu sync.Mutex
	now, peak := 0, 0
	full := make(chan struct{})
	st.answers(func(*arrival) answer {
		mu.Lock()
		now++
		if now > peak {
			peak = now
			if peak == leastInFlight {
				close(full)
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		now--
		mu.Unlock()
		return answer{status: 204}
	})
	const n = 150
	events := make([]cloudevents.Event, n)
	for i := range events {
		events[i] = st.event("at-once", fmt.Sprint(i), "partitionkey", "one")
	}
	st.send(events...)
	st.await("all deliveries", func() bool { return len(st.all()) >= n })
	st.settled("at-once")
	if got := len(st.all()); got != n {
		st.t.Errorf("%d deliveries of %d events", got, n)
	}
	mu.Lock()
	defer mu.Unlock()
	if peak > mostInFlight {
		st.t.Errorf("%d at a time, want at most %d", peak, mostInFlight)
	}
	st.t.Logf("%d at a time at most", peak)
}

// hold publishes events of one partition of which the one in the middle is held
// at the subscriber until the returned function is called. It returns when all
// others are delivered and everything before the held one is committed, and
// says at which place the gap is.
func hold(st *stage, trigger string) (partition int, offset int64, before, after []string, release func()) {
	st.t.Helper()
	holding := make(chan struct{})
	st.answers(func(a *arrival) answer {
		if a.try == 1 && strings.HasSuffix(a.id(), ".held") {
			select {
			case <-holding:
			case <-a.gone:
			}
		}
		return answer{status: 204}
	})
	path := "/" + trigger
	for i := range 5 {
		before = append(before, fmt.Sprintf("before-%d", i))
	}
	for i := range 20 {
		after = append(after, fmt.Sprintf("after-%d", i))
	}
	for _, short := range slices.Concat(before, []string{"held"}, after) {
		st.send(st.event(trigger, short, "partitionkey", "one"))
	}
	for _, short := range slices.Concat(before, []string{"held"}, after) {
		st.awaitArrivals(path, short, 1)
	}
	p, offset := st.arrivals(path, "held")[0].place()
	partition = int(p)
	st.await("the commit of what is before the gap", func() bool { return st.committed(trigger)[partition] == offset })
	return partition, offset, before, after, sync.OnceFunc(func() { close(holding) })
}

func gap(st *stage) {
	partition, offset, before, after, release := hold(st, "gap")
	defer release()
	// Commits are made for all partitions at a time: when that of another
	// partition has gone on, this one's would have as well.
	for i := 0; ; i++ {
		key := fmt.Sprintf("key%d", i)
		short := "other-" + key
		st.send(st.event("gap", short, "partitionkey", key))
		p, o := st.awaitArrivals("/gap", short, 1)[0].place()
		if int(p) != partition {
			st.await("a commit of another partition", func() bool { return st.committed("gap")[int(p)] > o })
			break
		}
		after = append(after, short)
	}
	if c := st.committed("gap")[partition]; c != offset {
		st.t.Errorf("committed %d over the gap at %d", c, offset)
	}
	release()
	st.settled("gap")
	for _, short := range slices.Concat(before, []string{"held"}, after) {
		if n := len(st.arrivals("/gap", short)); n != 1 {
			st.t.Errorf("%s was delivered %d times, want 1", short, n)
		}
	}
}

func killed(st *stage) {
	if st.sys.noKill != "" {
		st.skipf(st.sys.noKill)
	}
	partition, offset, before, after, release := hold(st, "killed")
	defer release()
	st.t.Logf("killed with a gap at partition %d, offset %d", partition, offset)
	st.sys.killDispatcher(st.t)
	for _, short := range append([]string{"held"}, after...) {
		st.awaitArrivals("/killed", short, 2)
	}
	st.settled("killed")
	for _, short := range before {
		if n := len(st.arrivals("/killed", short)); n != 1 {
			st.t.Errorf("%s was delivered %d times, want 1: it was committed", short, n)
		}
	}
	st.noLetter(slices.Concat(before, []string{"held"}, after)...)
}
