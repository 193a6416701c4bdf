package kafka_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
)

func cluster(t testing.TB, nodes int, opts ...kfake.Opt) (*kfake.Cluster, *kafka.Client) {
	t.Helper()
	k, err := kfake.NewCluster(append(opts, kfake.NumBrokers(nodes), kfake.GroupMinSessionTimeout(100*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, client(t, k, kafka.Config{})
}

// server gives a topic and a group of the test's own on a cluster to test
// with: a real one where the environment names it, else one in this process.
func server(t testing.TB) (c *kafka.Client, brokers []string, topic, group string) {
	t.Helper()
	if brokers := os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS"); brokers != "" {
		c, err := kafka.New(kafka.Config{Brokers: strings.Split(brokers, ",")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		own := fmt.Sprintf("footfall-test-%d", time.Now().UnixNano())
		return c, strings.Split(brokers, ","), own, own
	}
	k, c := cluster(t, 1)
	return c, k.ListenAddrs(), "t", "g"
}

func client(t testing.TB, k *kfake.Cluster, cfg kafka.Config) *kafka.Client {
	t.Helper()
	cfg.Brokers = k.ListenAddrs()
	c, err := kafka.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func ensure(t testing.TB, c *kafka.Client, topic string, partitions int) {
	t.Helper()
	if err := c.EnsureTopics(within(t, 10*time.Second), kafka.Topic{Name: topic, Partitions: partitions, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
}

func message(key, value string) broker.Message {
	m := broker.Message{Value: []byte(value), Headers: []broker.Header{{Key: "h", Value: []byte("v")}}}
	if key != "" {
		m.Key = []byte(key)
	}
	return m
}

// member is a Handler that keeps what comes.
type member struct {
	mu       sync.Mutex
	records  []kafka.Record
	assigned []map[int]int64
	revoked  int
	commit   func(map[int]int64) error
	came     chan struct{}
	skipped  int64
	room     func(int) bool
}

func newMember() *member { return &member{came: make(chan struct{}, 1)} }

func (m *member) Assigned(offsets map[int]int64, commit func(map[int]int64) error) {
	m.mu.Lock()
	m.assigned, m.commit = append(m.assigned, offsets), commit
	m.mu.Unlock()
	m.signal()
}

func (m *member) Ready(p int) bool { return m.room == nil || m.room(p) }
func (m *member) Wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Millisecond):
	}
}

func (m *member) Take(_ context.Context, _ int, r []kafka.Record, _ int64) {
	m.mu.Lock()
	m.records = append(m.records, r...)
	m.mu.Unlock()
	m.signal()
}

func (m *member) Skipped(_ int, from, to int64) { m.mu.Lock(); m.skipped += to - from; m.mu.Unlock() }
func (m *member) Revoked()                      { m.mu.Lock(); m.revoked++; m.mu.Unlock(); m.signal() }

func (m *member) signal() {
	select {
	case m.came <- struct{}{}:
	default:
	}
}

func (m *member) until(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		m.mu.Lock()
		yes := ok()
		m.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-m.came:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			t.Fatalf("it did not come: %d records, assigned %v", len(m.records), m.assigned)
		}
	}
}

func (m *member) values(partition int) []string {
	var v []string
	for _, r := range m.records {
		if partition < 0 || r.Partition == partition {
			v = append(v, string(r.Message.Value))
		}
	}
	return v
}

// session is the shortest session timeout that the Kafka under test takes, so
// that groups change hands soon: a real one takes 6 s at least by default.
func session() time.Duration {
	if os.Getenv("FOOTFALL_TEST_KAFKA_BROKERS") != "" {
		return 6 * time.Second
	}
	return 600 * time.Millisecond
}

// join consumes until the returned function is called.
func join(t testing.TB, c *kafka.Client, group, topic string, m *member) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(ctx, kafka.GroupConfig{Group: group, Topic: topic, MaxWait: time.Second, SessionTimeout: session()}, m)
	}()
	var once sync.Once
	leave := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("consume: %v", err)
			}
		})
	}
	t.Cleanup(leave)
	return leave
}

func TestPublishIsOneRequestAndKeepsTheOrderOfKeys(t *testing.T) {
	k, c := cluster(t, 1)
	ensure(t, c, "t", 4)
	var requests atomic.Int32
	k.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		requests.Add(1)
		if acks := r.(*kmsg.ProduceRequest).Acks; acks != -1 {
			t.Errorf("acks %d", acks)
		}
		return nil, nil, false
	})
	p := kafka.NewPublisher(c, map[string]string{"batches": "t"})
	var events []cloudevents.Event
	for i := range 100 {
		e := cloudevents.New()
		e.SetID(fmt.Sprintf("%03d", i))
		e.SetType("t")
		e.SetSource("s")
		e.SetExtension("partitionkey", fmt.Sprintf("key%d", i%10))
		events = append(events, e)
	}
	if err := p.Publish(within(t, 5*time.Second), "batches", events...); err != nil {
		t.Fatal(err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	m := newMember()
	join(t, c, "g", "t", m)
	m.until(t, func() bool { return len(m.records) == 100 })
	last, where := map[string]string{}, map[string]int{}
	for _, r := range m.records {
		e, err := broker.Decode(&r.Message)
		if err != nil {
			t.Fatal(err)
		}
		key := string(r.Message.Key)
		if e.ID() <= last[key] {
			t.Errorf("key %s: %s came after %s", key, e.ID(), last[key])
		}
		if p, ok := where[key]; ok && p != r.Partition {
			t.Errorf("key %s is in two partitions", key)
		}
		last[key], where[key] = e.ID(), r.Partition
		if want := (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: []byte(key)}, 0, 1, 2, 3); r.Partition != want {
			t.Errorf("key %s is in partition %d, Java's client puts it into %d", key, r.Partition, want)
		}
	}
}

func TestLargeBatchesAreSplitAndTooLargeMessagesRefused(t *testing.T) {
	c, _, topic, group := server(t)
	ensure(t, c, topic, 2)
	big := string(make([]byte, 400<<10))
	var messages []broker.Message
	for i := range 7 {
		messages = append(messages, message("k", fmt.Sprint(i)+big))
	}
	if err := c.Produce(within(t, 10*time.Second), topic, messages...); err != nil {
		t.Fatal(err)
	}
	m := newMember()
	join(t, c, group, topic, m)
	m.until(t, func() bool { return len(m.records) == 7 })
	for i, v := range m.values(-1) {
		if v[:1] != fmt.Sprint(i) {
			t.Errorf("message %d is %s", i, v[:1])
		}
	}
	err := c.Produce(within(t, 5*time.Second), topic, message("", "small"), message("", string(make([]byte, 1<<20))))
	if !fault.Is(err, fault.TooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := c.EnsureTopics(within(t, 5*time.Second), kafka.Topic{Name: topic + "-tiny", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"max.message.bytes": "1000"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Produce(within(t, 5*time.Second), topic+"-tiny", message("", big)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("over the topic's own limit: %v", err)
	}
}

func TestPublishFaults(t *testing.T) {
	k, c := cluster(t, 1)
	ensure(t, c, "t", 1)
	p := kafka.NewPublisher(c, map[string]string{"batches": "t"})
	good := cloudevents.New()
	good.SetID("1")
	good.SetType("t")
	good.SetSource("s")
	if err := p.Publish(t.Context(), "other", good); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown broker: %v", err)
	}
	if err := p.Publish(t.Context(), "batches", good, cloudevents.New()); !fault.Is(err, fault.Invalid) {
		t.Errorf("no event: %v", err)
	}
	if err := p.Publish(t.Context(), "batches"); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := c.Produce(within(t, 100*time.Millisecond), "none", message("", "x")); !fault.Is(err, fault.Transient) {
		t.Errorf("unknown topic: %v", err)
	}
	k.Close()
	begin := time.Now()
	if err := p.Publish(within(t, 200*time.Millisecond), "batches", good); !fault.Is(err, fault.Transient) {
		t.Errorf("Kafka away: %v", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("the deadline was 200 ms, it took %v", d)
	}
}

func TestPublishTriesAgain(t *testing.T) {
	k, c := cluster(t, 1)
	ensure(t, c, "t", 2)
	var n atomic.Int32
	k.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if n.Add(1) > 2 {
			return nil, nil, false
		}
		req := r.(*kmsg.ProduceRequest)
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, int16(kafkago.NotEnoughReplicas)
				st.Partitions = append(st.Partitions, sp)
			}
			res.Topics = append(res.Topics, st)
		}
		return res, nil, true
	})
	if err := c.Produce(within(t, 5*time.Second), "t", message("a", "1"), message("b", "2"), message("c", "3")); err != nil {
		t.Fatal(err)
	}
	ends, err := c.Ends(within(t, 5*time.Second), "t")
	if err != nil || ends[0]+ends[1] != 3 {
		t.Errorf("ends %v, %v", ends, err)
	}
}

// Three nodes; leaders move while events are published and read.
func TestLeadersMove(t *testing.T) {
	k, c := cluster(t, 3)
	ensure(t, c, "t", 6)
	m := newMember()
	join(t, c, "g", "t", m)
	const n = 200
	for i := range n {
		if i%50 == 25 {
			k.ShufflePartitionLeaders()
		}
		if err := c.Produce(within(t, 20*time.Second), "t", message("", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	m.until(t, func() bool {
		seen := map[string]bool{}
		for _, v := range m.values(-1) {
			seen[v] = true
		}
		return len(seen) == n
	})
	if len(m.records) != n {
		t.Errorf("%d records, want %d", len(m.records), n)
	}
}

func TestGroupSharesPartitionsAndHandsThemOver(t *testing.T) {
	c, _, topic, group := server(t)
	ensure(t, c, topic, 4)
	a, b := newMember(), newMember()
	leaveA := join(t, c, group, topic, a)
	a.until(t, func() bool { return len(a.assigned) == 1 && len(a.assigned[0]) == 4 })
	join(t, c, group, topic, b)
	b.until(t, func() bool { return len(b.assigned) > 0 && len(b.assigned[len(b.assigned)-1]) == 2 })
	a.until(t, func() bool { return len(a.assigned[len(a.assigned)-1]) == 2 && a.revoked == len(a.assigned)-1 })
	for i := range 40 {
		if err := c.Produce(within(t, 5*time.Second), topic, message(fmt.Sprint(i), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	a.until(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(a.records)+len(b.records) == 40 && len(a.records) > 0 && len(b.records) > 0
	})
	// A commits what it has, and leaves: B goes on behind it.
	offsets := map[int]int64{}
	for _, r := range a.records {
		offsets[r.Partition] = r.Offset + 1
	}
	if err := a.commit(offsets); err != nil {
		t.Fatal(err)
	}
	leaveA()
	b.until(t, func() bool { return len(b.assigned[len(b.assigned)-1]) == 4 })
	got := b.assigned[len(b.assigned)-1]
	for p, o := range offsets {
		if got[p] != o {
			t.Errorf("partition %d goes on at %d, want %d", p, got[p], o)
		}
	}
	committed, err := c.Committed(within(t, 5*time.Second), group, topic)
	if err != nil || !maps.Equal(committed, offsets) {
		t.Errorf("committed %v, %v; want %v", committed, err, offsets)
	}
}

// A session timeout that Kafka refuses will not get better by asking again.
func TestRefusedSessionTimeoutIsAnError(t *testing.T) {
	c, _, topic, group := server(t)
	ensure(t, c, topic, 1)
	err := c.Consume(within(t, 20*time.Second), kafka.GroupConfig{Group: group, Topic: topic, SessionTimeout: 30 * time.Millisecond}, newMember())
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "30ms") {
		t.Errorf("got %v", err)
	}
}

func TestInitOffsets(t *testing.T) {
	c, _, topic, group := server(t)
	ensure(t, c, topic, 2)
	ctx := within(t, 10*time.Second)
	if err := c.Produce(ctx, topic, message("a", "old")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second changes nothing
		if err := c.InitOffsets(ctx, group, topic); err != nil {
			t.Fatal(err)
		}
		if err := c.Produce(ctx, topic, message("a", "new")); err != nil {
			t.Fatal(err)
		}
	}
	m := newMember()
	join(t, c, group, topic, m)
	m.until(t, func() bool { return len(m.records) == 2 })
	if !slices.Equal(m.values(-1), []string{"new", "new"}) {
		t.Errorf("got %v", m.values(-1))
	}
	if err := c.InitOffsets(ctx, group, topic); err != nil { // while a member is at work
		t.Error(err)
	}
}

func TestFullPartitionPausesAlone(t *testing.T) {
	c, _, topic, group := server(t)
	ensure(t, c, topic, 2)
	var open atomic.Bool
	m := newMember()
	m.room = func(p int) bool { return p == 1 || open.Load() }
	join(t, c, group, topic, m)
	for i := range 20 {
		if err := c.Produce(within(t, 5*time.Second), topic, message(fmt.Sprint(i), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	ends, err := c.Ends(within(t, 5*time.Second), topic)
	if err != nil {
		t.Fatal(err)
	}
	m.until(t, func() bool { return len(m.values(1)) == int(ends[1]) })
	if len(m.values(0)) != 0 {
		t.Error("a partition without room was read")
	}
	open.Store(true)
	m.until(t, func() bool { return len(m.records) == 20 })
}

func TestCompressedBatches(t *testing.T) {
	c, brokers, topic, group := server(t)
	ensure(t, c, topic, 1)
	codecs := []kafkago.Compression{kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd}
	for _, z := range codecs {
		w := &kafkago.Writer{Addr: kafkago.TCP(brokers...), Topic: topic, Compression: z, BatchTimeout: time.Millisecond}
		if err := w.WriteMessages(within(t, 5*time.Second), kafkago.Message{Key: []byte("k"), Value: []byte(z.String())}); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	m := newMember()
	join(t, c, group, topic, m)
	m.until(t, func() bool { return len(m.records) == len(codecs) })
	if got := m.values(0); !slices.Equal(got, []string{"gzip", "snappy", "lz4", "zstd"}) {
		t.Errorf("got %v", got)
	}
}

func TestEnsureTopicsLeavesWhatExists(t *testing.T) {
	c, _, topic, _ := server(t)
	ensure(t, c, topic, 3)
	ensure(t, c, topic, 5)
	ends, err := c.Ends(within(t, 5*time.Second), topic)
	if err != nil || len(ends) != 3 {
		t.Errorf("%v, %v", ends, err)
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	for _, cfg := range []kafka.Config{{}, {Brokers: []string{"nohost"}}, {Brokers: []string{"h:1"}, Timeout: -1}, {Brokers: []string{"h:1"}, MaxMessageBytes: 1}} {
		if _, err := kafka.New(cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
