package local

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/broker"
)

// Each row is a sentence of how Knative's Kafka dispatcher delivers.
func TestDeliverySemantics(t *testing.T) {
	const dest = "http://sub.footfall.svc.cluster.local/in"
	type want struct {
		attempts int
		letter   map[string]string // extensions of the dead letter; nil: none
		absent   []string          // of the dead letter
		replies  int               // events in the Broker's topic besides the one sent
		lost     int64
	}
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		name   string
		answer func(int, received) (int, map[string]string, string)
		change func(*eventing.Trigger)
		want   want
	}{
		{name: "below 300 is success", answer: status(299), want: want{attempts: 1}},
		{name: "204 is success", answer: status(204), want: want{attempts: 1}},
		{name: "500 is retried up to retry, then a dead letter", answer: status(500),
			want: want{attempts: 3, letter: map[string]string{"knativeerrordest": dest, "knativeerrorcode": "500"}, absent: []string{"knativeerrordata"}}},
		{name: "404 is retried", answer: status(404), want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "404"}}},
		{name: "408 is retried", answer: status(408), want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "408"}}},
		{name: "409 is retried", answer: status(409), want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "409"}}},
		{name: "429 is retried", answer: status(429), want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "429"}}},
		{name: "400 is a dead letter at once", answer: status(400), want: want{attempts: 1, letter: map[string]string{"knativeerrorcode": "400"}}},
		{name: "422 is a dead letter at once", answer: status(422), want: want{attempts: 1, letter: map[string]string{"knativeerrorcode": "422"}}},
		{name: "3xx is a dead letter at once", answer: status(302), want: want{attempts: 1, letter: map[string]string{"knativeerrorcode": "302"}}},
		{name: "a retry that succeeds is success", answer: func(n int, _ received) (int, map[string]string, string) {
			if n < 3 {
				return 503, nil, ""
			}
			return 202, nil, ""
		}, want: want{attempts: 3}},
		{name: "without retry there is one attempt", answer: status(500), change: func(t *eventing.Trigger) { t.Delivery.Retry = 0 },
			want: want{attempts: 1, letter: map[string]string{"knativeerrorcode": "500"}}},
		{name: "linear back-off", answer: status(500), change: func(t *eventing.Trigger) { t.Delivery.Backoff = eventing.Linear },
			want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "500"}}},
		{name: "the body and the Kne- headers of a failure go with the dead letter", answer: func(int, received) (int, map[string]string, string) {
			return 422, map[string]string{"Kne-Reason": "no such stream", "Other": "x"}, long
		}, want: want{attempts: 1, letter: map[string]string{
			"knativeerrorcode": "422", "reason": "no such stream", "knativeerrordata": base64.StdEncoding.EncodeToString([]byte(long[:1024]))}}},
		{name: "without dead-letter sink the event is lost and the offset committed", answer: status(422), change: func(t *eventing.Trigger) { t.Delivery.DeadLetter = nil },
			want: want{attempts: 1, lost: 1}},
		{name: "2xx with a text is a dead letter without retry and without code", answer: func(int, received) (int, map[string]string, string) {
			return 200, nil, "ok"
		}, want: want{attempts: 1, letter: map[string]string{"knativeerrordest": dest}, absent: []string{"knativeerrorcode", "knativeerrordata"}}},
		{name: "2xx with a binary event is a reply", answer: func(n int, _ received) (int, map[string]string, string) {
			if n > 1 {
				return 202, nil, ""
			}
			return 200, map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r", "Ce-Type": "reply", "Ce-Source": "/sub", "Content-Type": "text/plain"}, "re"
		}, want: want{attempts: 2, replies: 1}},
		{name: "2xx with a structured event is a reply", answer: func(n int, _ received) (int, map[string]string, string) {
			if n > 1 {
				return 202, nil, ""
			}
			return 200, map[string]string{"Content-Type": "application/cloudevents+json"}, `{"specversion":"1.0","id":"r","type":"reply","source":"/sub","data":{"a":1}}`
		}, want: want{attempts: 2, replies: 1}},
		{name: "a panic of the handler is a 500", answer: func(int, received) (int, map[string]string, string) { panic("boom") },
			want: want{attempts: 3, letter: map[string]string{"knativeerrorcode": "500"}}},
		{name: "a broken connection is retried and has no code", answer: func(int, received) (int, map[string]string, string) { panic(http.ErrAbortHandler) },
			want: want{attempts: 3, letter: map[string]string{"knativeerrordest": dest}, absent: []string{"knativeerrorcode"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := trigger()
			if c.change != nil {
				c.change(&tr)
			}
			w := newWorld(t, 1, tr)
			in := &inbox{answer: c.answer}
			w.http["sub"] = in
			d := w.start()
			w.publish(event("e1", "hello"))
			w.idle(d)

			got := in.all()
			if len(got) != c.want.attempts {
				t.Fatalf("%d attempts, want %d", len(got), c.want.attempts)
			}
			letters := w.topic(w.dead())
			if (c.want.letter != nil) != (len(letters) == 1) || len(letters) > 1 {
				t.Fatalf("%d dead letters", len(letters))
			}
			if len(letters) == 1 {
				h := headers(letters[0])
				for k, v := range c.want.letter {
					if h[k] != v {
						t.Errorf("dead letter has %s=%q, want %q", k, h[k], v)
					}
				}
				for _, k := range append(c.want.absent, "other") {
					if v, ok := h[k]; ok {
						t.Errorf("dead letter has %s=%q, want none", k, v)
					}
				}
				if h["id"] != "e1" || h["knativekafkapartition"] != "0" || h["knativekafkaoffset"] != "0" || string(letters[0].Message.Value) != "hello" {
					t.Errorf("dead letter is not the event: %v %q", h, letters[0].Message.Value)
				}
			}
			if n := len(w.topic(w.batches())); n != 1+c.want.replies {
				t.Errorf("%d events in the broker, want %d", n, 1+c.want.replies)
			}
			s := d.Status()[0].Triggers[0]
			if s.Lost != c.want.lost || s.InFlight != 0 || s.Lag != 0 {
				t.Errorf("status %+v", s)
			}
			d.Close()
			committed, err := w.client.Committed(w.ctx(), w.group(), w.batches())
			if err != nil || committed[0] != int64(1+c.want.replies) {
				t.Errorf("committed %v, %v", committed, err)
			}
		})
	}
}

func TestRequestOfADelivery(t *testing.T) {
	w := newWorld(t, 1, trigger())
	in := &inbox{}
	w.http["sub"] = in
	d := w.start()
	e := event("e1", "hello")
	e.SetSubject("G-1")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC))
	e.SetExtension("partitionkey", "m1")
	w.publish(e)
	w.idle(d)
	got := in.all()[0]
	want := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "e1", "Ce-Type": "footfall.test.v1", "Ce-Source": "/test", "Ce-Subject": "G-1",
		"Ce-Time": "2026-01-02T03:04:05.6Z", "Ce-Partitionkey": "m1", "Ce-Knativekafkapartition": "0", "Ce-Knativekafkaoffset": "0",
		"Content-Type": "text/plain", "Prefer": "reply", "Kn-Namespace": "footfall",
	}
	for k, v := range want {
		if got.header.Get(k) != v {
			t.Errorf("%s is %q, want %q", k, got.header.Get(k), v)
		}
	}
	if got.path != "/in" || got.body != "hello" {
		t.Errorf("path %q, body %q", got.path, got.body)
	}
}

func TestFilterPasses(t *testing.T) {
	only, err := filter.Attributes(map[string]string{"type": "footfall.test.v1", "tick": "summary"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 3, trigger(func(t *eventing.Trigger) { t.Filter = only }))
	in := &inbox{}
	w.http["sub"] = in
	d := w.start()
	for i := range 20 {
		e := event(fmt.Sprint(i), "")
		if i%4 == 0 {
			e.SetExtension("tick", "summary")
		}
		w.publish(e)
	}
	w.idle(d)
	s := d.Status()[0].Triggers[0]
	if len(in.all()) != 5 || s.Delivered != 5 || s.Filtered != 15 {
		t.Errorf("delivered %v, status %+v", in.ids(), s)
	}
}

func TestInvalidRecordIsDiscarded(t *testing.T) {
	w := newWorld(t, 1, trigger())
	in := &inbox{}
	w.http["sub"] = in
	d := w.start()
	if err := w.client.Produce(w.ctx(), w.batches(), broker.Message{Value: []byte("no event")}); err != nil {
		t.Fatal(err)
	}
	w.publish(event("e1", ""))
	w.idle(d)
	if s := d.Status()[0].Triggers[0]; s.Invalid != 1 || s.Delivered != 1 || s.DeadLetters != 0 {
		t.Errorf("status %+v", s)
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

func TestBackoffGrows(t *testing.T) {
	for _, c := range []struct {
		backoff eventing.Backoff
		want    []time.Duration
	}{
		{eventing.Exponential, []time.Duration{40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond}},
		{eventing.Linear, []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond}},
	} {
		w := newWorld(t, 1, trigger(func(t *eventing.Trigger) {
			t.Delivery.Retry, t.Delivery.Backoff, t.Delivery.BackoffDelay = 3, c.backoff, 20*time.Millisecond
		}))
		var at []time.Time
		w.http["sub"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			at = append(at, time.Now()) // one at a time: there is one event
			rw.WriteHeader(500)
		})
		d := w.start()
		w.publish(event("e1", ""))
		w.idle(d)
		for i, want := range c.want {
			if gap := at[i+1].Sub(at[i]); gap < want || gap > want+2*time.Second {
				t.Errorf("backoff %d: pause %d was %v, want %v", c.backoff, i+1, gap, want)
			}
		}
	}
}

func TestDeadLetterToService(t *testing.T) {
	dls := func(t *eventing.Trigger) {
		t.Delivery.DeadLetter = &eventing.Destination{Kind: eventing.TargetService, Name: "dls", Path: "/"}
	}
	t.Run("with the same retries", func(t *testing.T) {
		w := newWorld(t, 1, trigger(dls))
		letters := &inbox{answer: func(n int, _ received) (int, map[string]string, string) {
			if n < 3 {
				return 503, nil, ""
			}
			return 202, nil, ""
		}}
		w.http["sub"], w.http["dls"] = &inbox{answer: status(422)}, letters
		d := w.start()
		w.publish(event("e1", "hello"))
		w.idle(d)
		if s := d.Status()[0].Triggers[0]; s.DeadLetters != 1 || s.Retries != 2 || len(letters.all()) != 3 || letters.all()[0].header.Get("Ce-Knativeerrorcode") != "422" {
			t.Errorf("status %+v", s)
		}
	})
	for name, answer := range map[string]func(int, received) (int, map[string]string, string){
		"refused": status(400), "unavailable": status(503),
		"answered with a text": func(int, received) (int, map[string]string, string) { return 200, nil, "ok" },
	} {
		t.Run(name+" loses the event and goes on", func(t *testing.T) {
			w := newWorld(t, 1, trigger(dls))
			w.http["sub"], w.http["dls"] = &inbox{answer: status(422)}, &inbox{answer: answer}
			d := w.start()
			w.publish(event("e1", "hello"))
			w.idle(d)
			s := d.Status()[0].Triggers[0]
			if s.Lost != 1 || s.DeadLetters != 0 || s.LastFailure == nil || s.LastFailure.ID != "e1" {
				t.Errorf("status %+v", s)
			}
		})
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
