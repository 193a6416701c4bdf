package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// MaxMessageBytes is what a topic takes by Kafka's default (max.message.bytes
// 1048588 for a record batch), less room for the batch's own header.
const MaxMessageBytes = 1<<20 - 256

// Config names a Kafka cluster. Zero values mean the defaults.
type Config struct {
	Brokers         []string      // bootstrap addresses, host:port
	ClientID        string        // default "footfall"
	Timeout         time.Duration // of a call whose context has no deadline; default 10 s
	MaxMessageBytes int           // of one record batch; default MaxMessageBytes
	Security        Security
}

// Validate fills in defaults and reports all faults.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, fault.Field("brokers", "at least one host:port"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, &fault.Error{Kind: fault.Invalid, Field: "brokers", Expected: "host:port", Err: err})
		}
	}
	if c.ClientID == "" {
		c.ClientID = "footfall"
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = MaxMessageBytes
	}
	if c.Timeout < 0 {
		errs = append(errs, fault.Field("timeout", "a positive duration"))
	}
	if c.MaxMessageBytes < 1<<10 {
		errs = append(errs, fault.Field("max_message_bytes", "at least 1024"))
	}
	errs = append(errs, c.Security.Validate())
	return errors.Join(errs...)
}

// Client speaks to one Kafka cluster. It is safe for concurrent use.
type Client struct {
	cfg       Config
	addr      net.Addr
	transport *kafkago.Transport
	api       *kafkago.Client
	tls       *tls.Config             // nil: not encrypted
	sasl      sasl.Mechanism          // nil: no login
	balancer  kafkago.Murmur2Balancer // the Java client's partition for a key, any partition without one

	mu        sync.RWMutex
	topics    map[string]*layout
	refreshed time.Time             // when refresh last did something
	conns     map[net.Conn]struct{} // open ones, so that Close leaves nothing behind
	closed    bool
}

// layout is where a topic's partitions are.
type layout struct {
	partitions []int // ids, in order
	leaders    []int // node of partitions[i]
}

// New makes a client; it connects on first use.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot make a Kafka client: %w", err)
	}
	c := &Client{cfg: cfg, addr: kafkago.TCP(cfg.Brokers...), topics: make(map[string]*layout), conns: make(map[net.Conn]struct{})}
	var err error
	if c.tls, err = c.cfg.Security.tls(); err != nil {
		return nil, err
	}
	if c.sasl, err = c.cfg.Security.sasl(); err != nil {
		return nil, err
	}
	c.transport = c.newTransport()
	c.api = &kafkago.Client{Addr: c.addr, Transport: c.transport, Timeout: cfg.Timeout}
	return c, nil
}

func (c *Client) newTransport() *kafkago.Transport {
	return &kafkago.Transport{
		Dial: c.dial, ClientID: c.cfg.ClientID, DialTimeout: min(c.cfg.Timeout, 5*time.Second), TLS: c.tls, SASL: c.sasl,
	}
}

// Close closes all connections. Calls under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	c.transport.CloseIdleConnections()
	for conn := range conns {
		_ = conn.(*trackedConn).Conn.Close() // it may have closed by itself in the meantime
	}
	return nil
}

var errClosed = errors.New("the client is closed")

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if c.tls != nil {
		conn = function.HearAlerts(conn)
	}
	t := &trackedConn{Conn: conn, client: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, errClosed
	}
	c.conns[t] = struct{}{}
	return t, nil
}

type trackedConn struct {
	net.Conn
	client *Client
}

func (t *trackedConn) Close() error {
	t.client.mu.Lock()
	delete(t.client.conns, t)
	t.client.mu.Unlock()
	return t.Conn.Close()
}

// deadline gives a call without one the client's timeout.
func (c *Client) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// layout is where the topic's partitions were when last asked; fresh asks the
// transport again, which itself refreshes every few seconds.
func (c *Client) layout(ctx context.Context, topic string, fresh bool) (*layout, error) {
	if !fresh {
		c.mu.RLock()
		l := c.topics[topic]
		c.mu.RUnlock()
		if l != nil {
			return l, nil
		}
	}
	r, err := c.transport.RoundTrip(ctx, c.addr, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return nil, err
	}
	res, ok := r.(*metadata.Response)
	if !ok || len(res.Topics) != 1 {
		return nil, kafkago.UnknownTopicOrPartition
	}
	t := &res.Topics[0]
	if t.ErrorCode != 0 {
		return nil, kafkago.Error(t.ErrorCode)
	}
	if len(t.Partitions) == 0 {
		return nil, kafkago.LeaderNotAvailable
	}
	l := &layout{partitions: make([]int, len(t.Partitions)), leaders: make([]int, len(t.Partitions))}
	for i, p := range t.Partitions { // kafka-go keeps them in order of id
		l.partitions[i], l.leaders[i] = int(p.PartitionIndex), int(p.LeaderID)
	}
	c.mu.Lock()
	c.topics[topic] = l
	c.mu.Unlock()
	return l, nil
}

// refreshPause is how often the client may ask anew where everything is.
const refreshPause = 250 * time.Millisecond

// refresh forgets where the topic is, after an answer that says it is elsewhere
// or none at all. The transport by itself would look only every few seconds;
// without its pools it has to look at once. Calls under way keep theirs.
func (c *Client) refresh(topic string) {
	c.mu.Lock()
	delete(c.topics, topic)
	now := time.Now()
	due := now.Sub(c.refreshed) >= refreshPause
	if due {
		c.refreshed = now
	}
	c.mu.Unlock()
	if due {
		c.transport.CloseIdleConnections()
	}
}

// Topic is a topic that EnsureTopics makes where it is missing.
type Topic struct {
	Name              string
	Partitions        int
	ReplicationFactor int
	Config            map[string]string // retention.ms, …
}

// EnsureTopics makes the topics that do not exist yet and leaves the others as
// they are. It returns once the client knows them all.
func (c *Client) EnsureTopics(ctx context.Context, topics ...Topic) error {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	var missing []kafkago.TopicConfig
	for _, t := range topics {
		if _, err := c.layout(ctx, t.Name, true); err == nil {
			continue
		} else if !errors.Is(err, kafkago.UnknownTopicOrPartition) {
			return fault.New(fault.Transient, "cannot look up topic %q: %w", t.Name, err)
		}
		entries := make([]kafkago.ConfigEntry, 0, len(t.Config))
		for k, v := range t.Config {
			entries = append(entries, kafkago.ConfigEntry{ConfigName: k, ConfigValue: v})
		}
		missing = append(missing, kafkago.TopicConfig{
			Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.ReplicationFactor, ConfigEntries: entries,
		})
	}
	if len(missing) > 0 {
		res, err := c.api.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Addr: c.addr, Topics: missing})
		if err != nil {
			return fault.New(fault.Transient, "cannot make topics: %w", err)
		}
		for name, err := range res.Errors {
			if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) { // another instance was quicker
				return fault.New(fault.Transient, "cannot make topic %q: %w", name, err)
			}
		}
	}
	for _, t := range topics {
		if err := c.awaitTopic(ctx, t.Name); err != nil {
			return err
		}
	}
	return nil
}

// awaitTopic waits until every partition answers, which is some time after
// Kafka has said that the topic is made.
func (c *Client) awaitTopic(ctx context.Context, name string) error {
	for try := 0; ; try++ {
		_, err := c.layout(ctx, name, true)
		if err == nil {
			if _, err = c.Ends(ctx, name); err == nil {
				return nil
			}
		}
		c.refresh(name)
		if pause(ctx, try) != nil {
			return fault.New(fault.Transient, "cannot make topic %q: it has no leader: %w", name, err)
		}
	}
}

// pause waits before the next try: 20 ms, doubling up to 1 s.
func pause(ctx context.Context, try int) error {
	d := time.Duration(math.Min(float64(20*time.Millisecond)*math.Exp2(float64(try)), float64(time.Second)))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
