package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
)

// Produce writes messages to a topic with acks from all in-sync replicas: one
// request to each leader carries all of its partitions, so that a publish is
// one round trip. It tries again until ctx is done (at most Config.Timeout)
// while Kafka is away or a leader moves; a message may then stand in the topic
// twice. Messages of one key keep their order. Errors: fault.TooLarge for a
// message over the limit, before anything is sent; else fault.Transient.
func (c *Client) Produce(ctx context.Context, topic string, messages ...broker.Message) error {
	if len(messages) == 0 {
		return nil
	}
	for i := range messages {
		if n := messages[i].Size(); n > c.cfg.MaxMessageBytes {
			return fault.New(fault.TooLarge, "cannot publish to topic %q: message %d has %d bytes, the limit is %d", topic, i, n, c.cfg.MaxMessageBytes)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()

	l, err := c.layout(ctx, topic, false)
	for try := 0; err != nil; try++ {
		c.refresh(topic)
		if pause(ctx, try) != nil {
			return fault.New(fault.Transient, "cannot publish to topic %q: %w", topic, err)
		}
		l, err = c.layout(ctx, topic, true)
	}
	queues := c.balance(l, messages)
	for try := 0; ; {
		sent, err := c.produceOnce(ctx, topic, l, queues)
		if queues = slices.DeleteFunc(queues, func(q *queue) bool { return len(q.messages) == 0 }); len(queues) == 0 {
			return nil
		}
		if err != nil {
			if errors.Is(err, kafkago.MessageSizeTooLarge) {
				return fault.New(fault.TooLarge, "cannot publish to topic %q: %w", topic, err)
			}
			c.refresh(topic)
			if pause(ctx, try) != nil {
				return fault.New(fault.Transient, "cannot publish to topic %q: %w", topic, err)
			}
			try++
			if fresh, err := c.layout(ctx, topic, true); err == nil && len(fresh.partitions) >= len(l.partitions) {
				l = fresh
			}
		} else if !sent { // cannot happen; never spin
			return fault.New(fault.Transient, "cannot publish to topic %q: no progress", topic)
		}
	}
}

// queue is what one partition still has to take, in order.
type queue struct {
	index    int // into layout.partitions
	messages []broker.Message
	taken    int // how many of them are in the request under way
}

func (c *Client) balance(l *layout, messages []broker.Message) []*queue {
	pick := func(m *broker.Message) int {
		p := c.balancer.Balance(kafkago.Message{Key: m.Key}, l.partitions...)
		i, _ := slices.BinarySearch(l.partitions, p)
		return i
	}
	if len(messages) == 1 {
		return []*queue{{index: pick(&messages[0]), messages: messages}}
	}
	byPartition := make([]*queue, len(l.partitions))
	var queues []*queue
	for i := range messages {
		p := pick(&messages[i])
		if byPartition[p] == nil {
			byPartition[p] = &queue{index: p}
			queues = append(queues, byPartition[p])
		}
		byPartition[p].messages = append(byPartition[p].messages, messages[i])
	}
	return queues
}

// produceOnce sends each leader one request with the next batch of each of its
// partitions, takes what was written off the queues, and returns whether that
// was anything, and the first error.
func (c *Client) produceOnce(ctx context.Context, topic string, l *layout, queues []*queue) (bool, error) {
	requests := make(map[int]*produce.Request, 1)
	for _, q := range queues {
		leader := l.leaders[q.index]
		r := requests[leader]
		if r == nil {
			r = &produce.Request{Acks: int16(kafkago.RequireAll), Timeout: timeoutMillis(ctx), Topics: []produce.RequestTopic{{Topic: topic}}}
			requests[leader] = r
		}
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, produce.RequestPartition{
			Partition: int32(l.partitions[q.index]),
			RecordSet: protocol.RecordSet{Records: q.take(c.cfg.MaxMessageBytes)},
		})
	}
	if len(requests) == 1 {
		for _, r := range requests {
			return c.send(ctx, r, l, queues)
		}
	}
	type result struct {
		sent bool
		err  error
	}
	results := make(chan result, len(requests)) // at most one per node of the cluster
	for _, r := range requests {
		go func() {
			sent, err := c.send(ctx, r, l, queues)
			results <- result{sent, err}
		}()
	}
	var all result
	for range requests {
		r := <-results
		all.sent = all.sent || r.sent
		if all.err == nil {
			all.err = r.err
		}
	}
	return all.sent, all.err
}

// send does one request; it touches only the queues of the request's partitions.
func (c *Client) send(ctx context.Context, r *produce.Request, l *layout, queues []*queue) (sent bool, first error) {
	m, err := c.transport.RoundTrip(ctx, c.addr, r)
	if err != nil {
		return false, err
	}
	res, ok := m.(*produce.Response)
	if !ok || len(res.Topics) != 1 {
		return false, kafkago.Unknown
	}
	for _, p := range res.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			if first == nil {
				first = kafkago.Error(p.ErrorCode)
			}
			continue
		}
		for _, q := range queues {
			if l.partitions[q.index] == int(p.Partition) {
				q.messages = q.messages[q.taken:]
				sent = true
				break
			}
		}
	}
	return sent, first
}

// take makes the next record batch: as many messages as fit, at least one.
func (q *queue) take(limit int) protocol.RecordReader {
	size := 0
	q.taken = 0
	for i := range q.messages {
		n := q.messages[i].Size()
		if q.taken > 0 && size+n > limit {
			break
		}
		size += n
		q.taken++
	}
	records := make([]protocol.Record, q.taken)
	for i := range records {
		m := &q.messages[i]
		headers := make([]protocol.Header, len(m.Headers))
		for j, h := range m.Headers {
			headers[j] = protocol.Header{Key: h.Key, Value: h.Value}
		}
		records[i] = protocol.Record{Key: protocol.NewBytes(m.Key), Value: protocol.NewBytes(m.Value), Headers: headers}
	}
	return protocol.NewRecordReader(records...)
}

func timeoutMillis(ctx context.Context) int32 {
	d, ok := ctx.Deadline()
	if !ok {
		return 10_000
	}
	return int32(max(time.Until(d).Milliseconds(), 1))
}
