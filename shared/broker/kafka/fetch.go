package kafka

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/footfall/footfall/shared/broker"
)

// Record is a message in its place.
type Record struct {
	Partition int
	Offset    int64
	Time      time.Time
	Message   broker.Message
}

// fetchComplain is how often it is told that fetching fails.
const fetchComplain = 10 * time.Second

// pausedWait is how long a poll lasts while some partition is left out of it
// because its handler is full: it must soon be let in again.
const pausedWait = 20 * time.Millisecond

// fetchAll runs one fetch loop per leader until ctx is done, and sorts the
// partitions anew when a leader has moved.
func (c *Client) fetchAll(ctx context.Context, cfg *GroupConfig, offsets map[int]int64, h Handler) {
	var told time.Time
	for try := 0; ctx.Err() == nil; {
		byLeader, err := c.byLeader(ctx, cfg.Topic, offsets, try > 0)
		if err == nil {
			err = c.fetchLeaders(ctx, cfg, byLeader, offsets, h)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil: // a leader moved, or records came before the fault
			try = 1
		default:
			if now := time.Now(); now.Sub(told) >= fetchComplain {
				told = now
				cfg.Log.Warn("cannot fetch, trying again", "group", cfg.Group, "topic", cfg.Topic, "err", err)
			}
			try++
		}
		c.refresh(cfg.Topic)
		if pause(ctx, try) != nil {
			return
		}
	}
	<-ctx.Done() // a generation without partitions lasts until it is revoked
}

func (c *Client) byLeader(ctx context.Context, topic string, offsets map[int]int64, fresh bool) (map[int][]int, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	l, err := c.layout(ctx, topic, fresh)
	if err != nil {
		return nil, err
	}
	groups := make(map[int][]int, 1)
	for i, p := range l.partitions {
		if _, ok := offsets[p]; ok {
			groups[l.leaders[i]] = append(groups[l.leaders[i]], p)
		}
	}
	return groups, nil
}

// fetchLeaders runs until one of its loops ends. The loops share offsets, each
// with its own partitions.
func (c *Client) fetchLeaders(ctx context.Context, cfg *GroupConfig, byLeader map[int][]int, offsets map[int]int64, h Handler) error {
	if len(byLeader) == 0 {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loops := make([]*fetchLoop, 0, len(byLeader))
	for _, partitions := range byLeader {
		l := &fetchLoop{client: c, cfg: cfg, handler: h, partitions: partitions, offsets: make([]int64, len(partitions)), ends: make([]int64, len(partitions))}
		for i, p := range partitions {
			l.offsets[i] = offsets[p]
		}
		loops = append(loops, l)
	}
	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, l := range loops {
		wg.Go(func() {
			defer cancel()
			errs[i] = l.run(ctx)
		})
	}
	wg.Wait()
	for _, l := range loops {
		for i, p := range l.partitions {
			offsets[p] = l.offsets[i]
		}
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// fetchLoop polls one leader for its partitions.
type fetchLoop struct {
	client     *Client
	cfg        *GroupConfig
	handler    Handler
	partitions []int
	offsets    []int64 // next to fetch
	ends       []int64 // as last heard
	request    []fetch.RequestPartition
}

var errMoved = errors.New("a partition's leader has moved")

func (l *fetchLoop) run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.request = l.request[:0]
		for i, p := range l.partitions {
			if l.handler.Ready(p) {
				l.request = append(l.request, fetch.RequestPartition{
					Partition: int32(p), CurrentLeaderEpoch: -1, FetchOffset: l.offsets[i], LogStartOffset: -1,
					PartitionMaxBytes: int32(l.cfg.PartitionBytes),
				})
			}
		}
		if len(l.request) == 0 {
			l.handler.Wait(ctx)
			continue
		}
		wait := l.cfg.MaxWait
		if len(l.request) < len(l.partitions) {
			wait = pausedWait
		}
		if err := l.poll(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

func (l *fetchLoop) poll(ctx context.Context, wait time.Duration) error {
	pctx, cancel := context.WithTimeout(ctx, wait+l.client.cfg.Timeout)
	defer cancel()
	m, err := l.client.transport.RoundTrip(pctx, l.client.addr, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: int32(l.cfg.MaxBytes),
		SessionID: 0, SessionEpoch: -1, // no incremental session
		Topics: []fetch.RequestTopic{{Topic: l.cfg.Topic, Partitions: l.request}},
	})
	if err != nil {
		return err
	}
	res, ok := m.(*fetch.Response)
	if !ok {
		return kafkago.Unknown
	}
	if res.ErrorCode != 0 {
		return kafkago.Error(res.ErrorCode)
	}
	for t := range res.Topics {
		for i := range res.Topics[t].Partitions {
			if err := l.take(ctx, &res.Topics[t].Partitions[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *fetchLoop) take(ctx context.Context, p *fetch.ResponsePartition) error {
	partition := int(p.Partition)
	i := slices.Index(l.partitions, partition)
	if i < 0 {
		return kafkago.Unknown
	}
	switch e := kafkago.Error(p.ErrorCode); {
	case e == 0:
	case errors.Is(e, kafkago.OffsetOutOfRange):
		return l.reset(ctx, i)
	case errors.Is(e, kafkago.NotLeaderForPartition), errors.Is(e, kafkago.UnknownTopicOrPartition),
		errors.Is(e, kafkago.FencedLeaderEpoch), errors.Is(e, kafkago.LeaderNotAvailable):
		return errMoved
	default:
		return e
	}
	records, next, err := read(p.RecordSet.Records, partition, l.offsets[i])
	if err != nil {
		return err
	}
	l.offsets[i] = next
	if len(records) > 0 || l.ends[i] != p.HighWatermark {
		l.ends[i] = p.HighWatermark
		l.handler.Take(ctx, partition, records, p.HighWatermark)
	}
	return nil
}

// reset goes on at the first record there is: what stood between is gone by
// the topic's retention.
func (l *fetchLoop) reset(ctx context.Context, i int) error {
	p := l.partitions[i]
	found, err := l.client.listOffsets(ctx, l.cfg.Topic, []kafkago.OffsetRequest{kafkago.FirstOffsetOf(p)})
	if err != nil || len(found) != 1 {
		return errors.Join(err, kafkago.OffsetOutOfRange)
	}
	from, to := l.offsets[i], found[0].FirstOffset
	l.offsets[i] = to
	l.handler.Skipped(p, from, to)
	return nil
}

// read copies the records from an offset on out of a fetch's buffers and
// returns the offset to go on at.
func read(set protocol.RecordReader, partition int, from int64) ([]Record, int64, error) {
	stream, ok := set.(*protocol.RecordStream)
	if !ok { // nothing came
		return nil, from, nil
	}
	var records []Record
	next := from
	for _, batch := range stream.Records {
		_, control := batch.(*protocol.ControlBatch) // a transaction's marker: takes an offset, is no message
		for {
			r, err := batch.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return records, next, err
			}
			rec, err := copyRecord(r, partition, control || r.Offset < next)
			if err != nil {
				return records, next, err
			}
			if r.Offset < next { // a batch comes whole, with what was read before
				continue
			}
			next = r.Offset + 1
			if !control {
				records = append(records, rec)
			}
		}
	}
	return records, next, nil
}

// copyRecord takes a record out of the driver's pages and gives them back.
func copyRecord(r *protocol.Record, partition int, skip bool) (rec Record, err error) {
	if r.Key != nil {
		defer r.Key.Close()
	}
	if r.Value != nil {
		defer r.Value.Close()
	}
	if skip {
		return rec, nil
	}
	rec = Record{Partition: partition, Offset: r.Offset, Time: r.Time}
	if rec.Message.Key, err = protocol.ReadAll(r.Key); err != nil {
		return rec, err
	}
	if rec.Message.Value, err = protocol.ReadAll(r.Value); err != nil {
		return rec, err
	}
	if len(r.Headers) > 0 {
		rec.Message.Headers = make([]broker.Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Message.Headers[i] = broker.Header{Key: h.Key, Value: h.Value}
		}
	}
	return rec, nil
}
