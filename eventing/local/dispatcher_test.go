package local

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/broker"
)

// What a Broker promises is in eventing/delivery; here is what the dispatcher
// tells of it.
func TestEveryEventIsCountedByWhatCameOfIt(t *testing.T) {
	only, err := filter.Attributes(map[string]string{"type": "footfall.test.v1"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 1,
		trigger(func(t *eventing.Trigger) { t.Filter = only }),
		trigger(func(t *eventing.Trigger) {
			t.Name, t.ConsumerGroup, t.Filter = "no-letter", "knative-trigger-footfall-no-letter", only
			t.Delivery.DeadLetter = nil
		}))
	w.http["sub"] = &inbox{answer: func(_ int, r received) (int, map[string]string, string) {
		switch r.id() {
		case "final":
			return 422, nil, "no such stream"
		case "down":
			return 503, nil, ""
		case "panic":
			panic("boom")
		case "cut":
			panic(http.ErrAbortHandler)
		case "text":
			return 200, nil, "ok"
		case "answered":
			return 200, map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r", "Ce-Type": "reply", "Ce-Source": "/sub"}, ""
		}
		return 204, nil, ""
	}}
	d := w.start()
	if err := w.client.Produce(w.ctx(), w.batches(), broker.Message{Value: []byte("no event")}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"ok", "down", "panic", "cut", "text", "answered", "final"} {
		w.publish(event(id, "hello"))
		w.idle(d) // so that the last failure is the last one's
	}
	// Both Triggers answer "answered", and neither wants the replies.
	want := Counts{Delivered: 2, Filtered: 2, Retries: 6, DeadLetters: 5, Invalid: 1}
	triggers := d.Status()[0].Triggers
	if got := triggers[0]; got.Counts != want || got.InFlight != 0 || got.Lag != 0 {
		t.Errorf("with a dead letter sink %+v, want %+v", got, want)
	}
	want.DeadLetters, want.Lost = 0, 5
	if got := triggers[1]; got.Counts != want || got.InFlight != 0 || got.Lag != 0 {
		t.Errorf("without one %+v, want %+v", got, want)
	}
	if f := triggers[1].LastFailure; f == nil || f.ID != "final" || f.Status != 422 || f.Type != "footfall.test.v1" || f.Target != "http://sub.footfall.svc.cluster.local/in" {
		t.Errorf("last failure %+v", f)
	}
	if n := len(w.topic(w.dead())); n != 5 {
		t.Errorf("%d dead letters", n)
	}
}

func TestTimeoutIsRetriedAndTheSlowHandlerLeftAlone(t *testing.T) {
	w := newWorld(t, 1, trigger(func(t *eventing.Trigger) { t.Delivery.Timeout = 30 * time.Millisecond }))
	release := make(chan struct{})
	var calls, sawEnd atomic.Int32
	w.http["sub"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			rw.WriteHeader(202)
			return
		}
		<-r.Context().Done()
		sawEnd.Add(1)
		<-release // does not heed it
	})
	d := w.start()
	w.publish(event("e1", ""))
	w.idle(d)
	close(release)
	if s := d.Status()[0].Triggers[0]; s.Delivered != 1 || s.Retries != 1 || calls.Load() != 2 || sawEnd.Load() != 1 {
		t.Errorf("calls %d, status %+v", calls.Load(), s)
	}
}

func TestRealHTTP(t *testing.T) {
	in := &inbox{answer: func(n int, _ received) (int, map[string]string, string) {
		if n == 1 {
			return 503, nil, "busy"
		}
		return 204, nil, ""
	}}
	srv := httptest.NewServer(in)
	defer srv.Close()
	w := newWorld(t, 1, trigger(func(t *eventing.Trigger) { t.Subscriber.Path = "/in?x=1" }))
	d := w.start(func(c *DispatcherConfig) {
		c.Services = URLMap{URLs: map[string]string{"sub": srv.URL}, Transport: srv.Client().Transport}
	})
	w.publish(event("e1", "hello"))
	w.idle(d)
	got := in.all()
	if len(got) != 2 || got[1].path != "/in?x=1" || got[1].body != "hello" || got[1].header.Get("Ce-Id") != "e1" || got[1].header.Get("Content-Type") != "text/plain" {
		t.Errorf("got %+v", got)
	}
}

func TestUnorderedBoundsDeliveriesInFlight(t *testing.T) {
	w := newWorld(t, 4, trigger())
	var now, peak atomic.Int32
	full, release := make(chan struct{}), make(chan struct{})
	w.http["sub"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		if n == 8 {
			close(full)
		}
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		<-release
		now.Add(-1)
		rw.WriteHeader(202)
	})
	d := w.start(func(c *DispatcherConfig) { c.MaxInFlight = 8 })
	for i := range 100 {
		w.publish(event(fmt.Sprint(i), ""))
	}
	<-full
	close(release)
	w.idle(d)
	if peak.Load() > 8 {
		t.Errorf("%d in flight, the bound is 8", peak.Load())
	}
}

func TestOrderedKeepsOrderAndOneStuckPartitionStopsNoOther(t *testing.T) {
	w := newWorld(t, 2, trigger(func(t *eventing.Trigger) {
		t.Order = eventing.Ordered
		t.Delivery.Retry = 50
		t.Delivery.BackoffDelay = time.Microsecond
	}))
	release := make(chan struct{})
	others := make(chan string, 1000)
	in := &inbox{}
	var flaky atomic.Int32
	in.answer = func(_ int, r received) (int, map[string]string, string) {
		if r.header.Get("Ce-Partitionkey") == "stuck" {
			<-release
		} else if flaky.Add(1)%3 == 0 {
			return 503, nil, ""
		} else {
			others <- r.id()
		}
		return 202, nil, ""
	}
	w.http["sub"] = in
	d := w.start()
	keys := []string{"stuck", partnerOf(t, "stuck", 2)}
	const n = 300 // more than a partition's queue
	for i := range n {
		for _, k := range keys {
			e := event(fmt.Sprintf("%s-%03d", k, i), "")
			e.SetExtension("partitionkey", k)
			w.publish(e)
		}
	}
	var ids []string
	for range n { // all of them while the other partition is stuck
		ids = append(ids, <-others)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("out of order: %v", ids)
	}
	close(release)
	w.idle(d)
	var stuck []string
	for _, r := range in.all() {
		if r.header.Get("Ce-Partitionkey") == "stuck" {
			stuck = append(stuck, r.id())
		}
	}
	if len(stuck) != n || !slices.IsSorted(stuck) {
		t.Errorf("%d of the stuck partition, sorted %v", len(stuck), slices.IsSorted(stuck))
	}
}

func TestCommitStopsAtTheFirstGap(t *testing.T) {
	tr := trigger()
	w := newWorld(t, 1, tr)
	release := make(chan struct{})
	in := &inbox{answer: func(_ int, r received) (int, map[string]string, string) {
		if r.id() == "3" {
			<-release
		}
		return 202, nil, ""
	}}
	w.http["sub"] = in
	d := w.start(func(c *DispatcherConfig) { c.DrainTimeout = 10 * time.Millisecond })
	for i := range 10 {
		w.publish(event(fmt.Sprint(i), ""))
	}
	committed := func() int64 {
		m, err := w.client.Committed(w.ctx(), w.group(), w.batches())
		if err != nil {
			t.Fatal(err)
		}
		return m[0]
	}
	eventually(t, func() bool { return committed() == 3 && d.Status()[0].Triggers[0].Delivered == 9 })
	if s := d.Status()[0].Triggers[0]; s.Lag != 7 || s.InFlight != 1 {
		t.Errorf("status %+v", s)
	}
	d.Close() // cuts the slow one
	if c := committed(); c != 3 {
		t.Errorf("committed %d over the gap at 3", c)
	}
	close(release)
	// Everything after the gap comes again, nothing before it does.
	d2 := w.start()
	w.idle(d2)
	count := map[string]int{}
	for _, id := range in.ids() {
		count[id]++
	}
	for i := range 10 {
		want := 1
		if i >= 3 {
			want = 2
		}
		if count[fmt.Sprint(i)] != want {
			t.Errorf("event %d was delivered %d times, want %d", i, count[fmt.Sprint(i)], want)
		}
	}
	d2.Close()
	if c := committed(); c != 10 {
		t.Errorf("committed %d, want 10", c)
	}
}

// What is published between Prepare and the first join is not lost, although a
// new group starts at the end.
func TestPublishedBeforeTheFirstConsumerJoins(t *testing.T) {
	w := newWorld(t, 3, trigger())
	in := &inbox{}
	w.http["sub"] = in
	d, err := NewDispatcher(w.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(w.ctx()); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		w.publish(event(fmt.Sprint(i), ""))
	}
	if err := d.Start(w.ctx()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w.idle(d)
	if len(in.all()) != 10 {
		t.Errorf("got %v", in.ids())
	}
}

func TestNewTriggerStartsAtTheEnd(t *testing.T) {
	w := newWorld(t, 1, trigger())
	in := &inbox{}
	w.http["sub"] = in
	d := w.start()
	w.publish(event("old", ""))
	w.idle(d)
	d.Close()
	w.wiring.Triggers[0].ConsumerGroup += "-new"
	d = w.start()
	w.publish(event("new", ""))
	w.idle(d)
	if got := in.ids(); !slices.Equal(got, []string{"old", "new"}) {
		t.Errorf("got %v", got)
	}
}

func TestFaultsLoseNothing(t *testing.T) {
	w := newWorld(t, 4, trigger(func(t *eventing.Trigger) { t.Delivery.Retry = 20; t.Delivery.BackoffDelay = time.Microsecond / 1000 }))
	in := &inbox{}
	w.http["sub"] = in
	d := w.start(func(c *DispatcherConfig) {
		c.Faults = Faults{Seed: 7, Duplicate: 0.2, LoseAck: 0.2, Delay: 0.3, MaxDelay: time.Millisecond, Reorder: true}
	})
	const n = 300
	for i := range n {
		w.publish(event(fmt.Sprint(i), ""))
	}
	w.idle(d)
	seen := map[string]bool{}
	for _, id := range in.ids() {
		seen[id] = true
	}
	if len(seen) != n || len(in.ids()) < n+n/5 {
		t.Errorf("%d of %d events, %d deliveries", len(seen), n, len(in.ids()))
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// partnerOf finds a key that goes to another partition.
func partnerOf(t *testing.T, key string, partitions int) string {
	t.Helper()
	of := func(k string) int { return balance(k, partitions) }
	for i := range 100 {
		if k := fmt.Sprintf("key%d", i); of(k) != of(key) {
			return k
		}
	}
	t.Fatal("no partner")
	return ""
}
