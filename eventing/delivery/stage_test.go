package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	ce "github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/kafka"
)

// stage is one scenario's view of the system: its own events and what came of
// them.
type stage struct {
	t    *testing.T
	sys  *system
	name string // begins the ids of its events, behind the run's
	skip string
}

func (s *system) stage(t *testing.T) *stage {
	name := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
	return &stage{t: t, sys: s, name: s.run + "." + name}
}

func (st *stage) outcome(took time.Duration) string {
	switch {
	case st.skip != "":
		return "skipped: " + st.skip
	case st.t.Failed():
		return "FAILED"
	}
	return fmt.Sprintf("passed, %.1f s", took.Seconds())
}

func (st *stage) skipf(why string) {
	st.skip = why
	st.t.Skip(why)
}

// id is the full id of an event that the scenario calls by a short one.
func (st *stage) id(short string) string { return st.name + "." + short }

// event for the Trigger that wants the type "footfall.delivery." + kind.
func (st *stage) event(kind, short string, extensions ...string) cloudevents.Event {
	e := cloudevents.New()
	e.SetID(st.id(short))
	e.SetType("footfall.delivery." + kind)
	e.SetSource("/footfall/delivery")
	for i := 0; i+1 < len(extensions); i += 2 {
		e.SetExtension(extensions[i], extensions[i+1])
	}
	return e
}

// answers says how the subscriber answers this scenario's events: on whatever
// path they come, several at a time.
func (st *stage) answers(f func(*arrival) answer) { st.sys.sub.register(st.name, f) }

// post sends a request to the Broker.
func (st *stage) post(method, url string, header http.Header, body []byte) (int, []byte) {
	st.t.Helper()
	ctx, cancel := context.WithTimeout(st.t.Context(), st.sys.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		st.t.Fatal(err)
	}
	req.Header = header
	res, err := st.sys.sub.client.Do(req)
	if err != nil {
		st.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		st.t.Fatal(err)
	}
	return res.StatusCode, text
}

// send gives events to the Broker, one request each, one after the other.
func (st *stage) send(events ...cloudevents.Event) {
	st.t.Helper()
	for i := range events {
		h := make(http.Header)
		if err := ce.WriteHTTP(h, &events[i]); err != nil {
			st.t.Fatal(err)
		}
		if status, body := st.post(http.MethodPost, st.sys.url, h, events[i].Data()); status != http.StatusAccepted || len(body) > 0 {
			st.t.Fatalf("event %s: the Broker answered %d %q", events[i].ID(), status, body)
		}
	}
}

// await waits until ok, which is asked again when something has come and from
// time to time.
func (st *stage) await(what string, ok func() bool) {
	st.t.Helper()
	deadline := time.NewTimer(st.sys.patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond) // for what is asked of Kafka
	defer tick.Stop()
	for {
		changed := st.sys.sub.changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-deadline.C:
			st.t.Fatalf("%s: not within %v; at the subscriber: %v; dead: %v", what, st.sys.patience, st.seen(), st.dead())
		}
	}
}

// arrivals of an event on a path so far, in order of time.
func (st *stage) arrivals(path, short string) []*arrival {
	return slices.DeleteFunc(st.all(), func(a *arrival) bool { return a.path != path || a.id() != st.id(short) })
}

// all arrivals of this scenario's events.
func (st *stage) all() []*arrival { return st.sys.sub.arrivals(st.name) }

func (st *stage) seen() []string {
	var list []string
	for _, a := range st.all() {
		list = append(list, a.path+" "+strings.TrimPrefix(a.id(), st.name+"."))
	}
	return list
}

func (st *stage) dead() []string {
	var list []string
	for _, id := range st.sys.letters.ids() {
		if short, ok := strings.CutPrefix(id, st.name+"."); ok {
			list = append(list, short)
		}
	}
	return list
}

// awaitArrivals waits until an event has come n times.
func (st *stage) awaitArrivals(path, short string, n int) []*arrival {
	st.t.Helper()
	st.await(fmt.Sprintf("%d deliveries of %s to %s", n, short, path), func() bool { return len(st.arrivals(path, short)) >= n })
	return st.arrivals(path, short)
}

// letter waits for the one dead letter of an event in the sink's topic.
func (st *stage) letter(short string) letter {
	st.t.Helper()
	st.await("dead letter of "+short, func() bool { return len(st.sys.letters.of(st.id(short))) > 0 })
	return st.sys.letters.of(st.id(short))[0]
}

// settled waits until a Trigger has committed everything that stands in the
// topic now: whatever it does with that, it has done.
func (st *stage) settled(trigger string) {
	st.t.Helper()
	ends := st.ends()
	st.await("trigger "+trigger+" to commit everything", func() bool {
		committed := st.committed(trigger)
		for p, end := range ends {
			if committed[p] < end {
				return false
			}
		}
		return true
	})
}

func (st *stage) ends() map[int]int64 {
	st.t.Helper()
	ends, err := st.sys.client.Ends(st.t.Context(), st.sys.topic())
	if err != nil {
		st.t.Fatal(err)
	}
	return ends
}

func (st *stage) committed(trigger string) map[int]int64 {
	st.t.Helper()
	committed, err := st.sys.client.Committed(st.t.Context(), st.sys.trigger(st.t, trigger).ConsumerGroup, st.sys.topic())
	if err != nil {
		st.t.Fatal(err)
	}
	return committed
}

// noLetter reports events that went to the sink although they were taken. It
// is for when their Trigger has settled.
func (st *stage) noLetter(shorts ...string) {
	st.t.Helper()
	for _, short := range shorts {
		if l := st.sys.letters.of(st.id(short)); len(l) > 0 {
			st.t.Errorf("%s has a dead letter: %v", short, l[0].attributes)
		}
	}
}

// wantAttributes compares those that are named.
func wantAttributes(t *testing.T, what string, got, want map[string]string, absent ...string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s has %s=%q, want %q", what, name, got[name], want[name])
		}
	}
	for _, name := range absent {
		if v, ok := got[name]; ok {
			t.Errorf("%s has %s=%q, want none", what, name, v)
		}
	}
}

// answer is what the subscriber says to a delivery.
type answer struct {
	status int
	header map[string]string
	body   string
	hangUp bool // close the connection instead
}

func status(code int) func(*arrival) answer {
	return func(*arrival) answer { return answer{status: code} }
}

// arrival is one delivery at the subscriber.
type arrival struct {
	at       time.Time
	answered time.Time // when its answer was about to be written; zero before
	path     string    // with query
	header   http.Header
	body     []byte
	try      int             // of this event on this path, from 1
	gone     <-chan struct{} // the sender has given up
}

func (a *arrival) id() string { return a.header.Get("Ce-Id") }

// partition and offset from which the event was read.
func (a *arrival) place() (partition, offset int64) {
	// Without them the zeros will not fit the scenario.
	_, _ = fmt.Sscan(a.header.Get("Ce-Knativekafkapartition"), &partition)
	_, _ = fmt.Sscan(a.header.Get("Ce-Knativekafkaoffset"), &offset)
	return partition, offset
}

// attributes as a map, lower case.
func (a *arrival) attributes() map[string]string {
	m := map[string]string{"content-type": a.header.Get("Content-Type")}
	for name := range a.header {
		if short, ok := strings.CutPrefix(name, "Ce-"); ok {
			m[strings.ToLower(short)] = a.header.Get(name)
		}
	}
	return m
}

// subscriber is the one HTTP server that all Triggers deliver to. It answers
// events of other runs with 202 and forgets them.
type subscriber struct {
	url    string
	client *http.Client // to send to the Broker

	mu       sync.Mutex
	handlers map[string]func(*arrival) answer // by the scenario's name
	log      map[string][]*arrival
	changes  chan struct{} // closed and renewed when something comes
}

func newSubscriber(t *testing.T, listen, url string) *subscriber {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	s := &subscriber{
		url: url, client: &http.Client{Transport: transport},
		handlers: make(map[string]func(*arrival) answer), log: make(map[string][]*arrival), changes: make(chan struct{}),
	}
	if s.url == "" {
		s.url = "http://" + l.Addr().String()
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until Close
	t.Cleanup(func() {
		_ = server.Close()
		transport.CloseIdleConnections()
	})
	return s
}

func (s *subscriber) register(name string, f func(*arrival) answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[name] = f
}

func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &arrival{at: time.Now(), path: r.URL.RequestURI(), header: r.Header, gone: r.Context().Done()}
	var err error
	if a.body, err = io.ReadAll(r.Body); err != nil {
		return // the sender is gone
	}
	name := a.id()
	if i := strings.IndexByte(name, '.'); i > 0 {
		if j := strings.IndexByte(name[i+1:], '.'); j > 0 {
			name = name[:i+1+j]
		}
	}
	s.mu.Lock()
	f := s.handlers[name]
	if f != nil {
		a.try = 1
		for _, other := range s.log[name] {
			if other.path == a.path && other.id() == a.id() {
				a.try++
			}
		}
		s.log[name] = append(s.log[name], a)
		s.signal()
	}
	s.mu.Unlock()
	if f == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	ans := f(a)
	s.mu.Lock()
	a.answered = time.Now()
	s.signal()
	s.mu.Unlock()
	if ans.hangUp {
		panic(http.ErrAbortHandler)
	}
	for k, v := range ans.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(ans.status)
	_, _ = io.WriteString(w, ans.body) // the sender may be gone
}

func (s *subscriber) signal() {
	close(s.changes)
	s.changes = make(chan struct{})
}

func (s *subscriber) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// arrivals gives copies, in order of time.
func (s *subscriber) arrivals(name string) []*arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*arrival, len(s.log[name]))
	for i, a := range s.log[name] {
		one := *a
		list[i] = &one
	}
	return list
}

// letter is a record of the sink's topic.
type letter struct {
	key        string
	attributes map[string]string // ce_ headers without ce_, and content-type
	headers    []string          // names, as they are
	value      []byte
}

// letters reads the sink's topic, from its end at the start of the run.
type letters struct {
	mu   sync.Mutex
	byID map[string][]letter
}

func readLetters(t *testing.T, client *kafka.Client, topic, group string) *letters {
	t.Helper()
	if err := client.InitOffsets(t.Context(), group, topic); err != nil {
		t.Fatal(err)
	}
	l := &letters{byID: make(map[string][]letter)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Consume(ctx, kafka.GroupConfig{Group: group, Topic: topic}, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("cannot read dead letters: %v", err)
		}
	})
	return l
}

func (l *letters) of(id string) []letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byID[id]
}

func (l *letters) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.byID))
}

// letters is a kafka.Handler that commits nothing.

func (l *letters) Assigned(map[int]int64, func(map[int]int64) error) {}
func (l *letters) Ready(int) bool                                    { return true }
func (l *letters) Wait(context.Context)                              {}
func (l *letters) Skipped(int, int64, int64)                         {}
func (l *letters) Revoked()                                          {}

func (l *letters) Take(_ context.Context, _ int, records []kafka.Record, _ int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		one := letter{key: string(r.Message.Key), value: r.Message.Value, attributes: make(map[string]string)}
		for _, h := range r.Message.Headers {
			one.headers = append(one.headers, h.Key)
			one.attributes[strings.TrimPrefix(h.Key, "ce_")] = string(h.Value)
		}
		id := one.attributes["id"]
		l.byID[id] = append(l.byID[id], one)
	}
}
